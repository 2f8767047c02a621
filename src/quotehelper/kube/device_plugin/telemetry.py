"""The device plugin's metrics: each name with its sentence, and one place where they are set. Shell (process state)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from quotehelper import __version__
from quotehelper.kube.device_plugin.device_list import Health
from quotehelper.kube.device_plugin.epc import EpcSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quotehelper.kube.device_plugin.attribution import Holder
    from quotehelper.kube.device_plugin.inventory import Inventory

PREFIX = "quotehelper_device_plugin"

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "info": ("Always 1; which version runs.", ("version",)),
    "epc_bytes": ("EPC in bytes, by NUMA node where the source tells nodes apart.", ("numa_node", "source")),
    "epc_sold_bytes": ("EPC in bytes that pods can be given now, under this name and for this reason.", (
        "resource", "reason")),
    "simulated": ("1 if the EPC is simulated: no enclave runs on this node.", ()),
    "devices": ("Devices in the list that the kubelet is sent.", ("resource", "health")),
    "list_bytes": ("Size of that list; the kubelet takes 4194304.", ("resource",)),
    "streams": ("Kubelets that watch the list now; 1 when all is well.", ("resource",)),
    "registered": ("1 while the kubelet knows the resource and watches it.", ("resource",)),
    "node_capacity_right": ("1 while the node's status says what it should; only with sgx.intel.com/epc.", ()),
    "pod_epc_bytes": ("EPC in bytes that a container holds, by requests; no kernel tells its use.", (
        "namespace", "pod", "container")),
    "attribution_up": ("1 if the holders of EPC could be found out at the last attempt.", ()),
}  # fmt: skip
"""Name, help, labels."""

COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "registrations": ("Attempts to register at the kubelet, by outcome: done, failed.", ("resource", "outcome")),
    "allocations": ("Calls of Allocate, by outcome: granted, refused.", ("resource", "outcome")),
    "node_patches": ("Patches of the node's status, by outcome: done, failed.", ("outcome",)),
    "node_events": ("Events written about the node, by outcome: done, failed.", ("outcome",)),
}
"""Name without _total, help, labels."""


class Telemetry:
    """All metrics of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._gauges = {
            name: Gauge(f"{PREFIX}_{name}", text, labels, registry=self._registry)
            for name, (text, labels) in GAUGES.items()
        }
        self._counters = {
            name: Counter(f"{PREFIX}_{name}", text, labels, registry=self._registry)
            for name, (text, labels) in COUNTERS.items()
        }
        self._gauges["info"].labels(__version__).set(1)

    def exposition(self) -> bytes:
        """All of them in Prometheus' text format."""
        return generate_latest(self._registry)

    def took_stock(self, inventory: Inventory) -> None:
        """How much EPC there is, and how much is sold."""
        epc = inventory.machine.epc
        self._gauges["epc_bytes"].clear()
        for node in epc.nodes:
            number = "" if node.node is None else str(node.node)
            self._gauges["epc_bytes"].labels(number, epc.source.value).set(node.size_bytes)
        self._gauges["epc_sold_bytes"].clear()
        sold = self._gauges["epc_sold_bytes"].labels(inventory.accounting.name, inventory.reason.value)
        sold.set(inventory.sold_bytes)
        self._gauges["simulated"].set(epc.source is EpcSource.SIMULATED)

    def advertises(self, resource: str, count: int, health: Health, list_bytes: int) -> None:
        """What a resource's list says now."""
        for state in Health:
            self._gauges["devices"].labels(resource, state.value).set(count if state is health else 0)
        self._gauges["list_bytes"].labels(resource).set(list_bytes)

    def streams(self, resource: str, count: int) -> None:
        """How many watch a resource's list."""
        self._gauges["streams"].labels(resource).set(count)

    def registered(self, resource: str, *, yes: bool) -> None:
        """Whether the kubelet knows a resource."""
        self._gauges["registered"].labels(resource).set(yes)

    def registration(self, resource: str, outcome: str) -> None:
        """An attempt to register came to an end."""
        self._counters["registrations"].labels(resource, outcome).inc()

    def allocated(self, resource: str, outcome: str) -> None:
        """A call of Allocate came to an end."""
        self._counters["allocations"].labels(resource, outcome).inc()

    def node_capacity(self, *, right: bool) -> None:
        """Whether the node's status says what it should."""
        self._gauges["node_capacity_right"].set(right)

    def node_patch(self, outcome: str) -> None:
        """A patch of the node's status came to an end."""
        self._counters["node_patches"].labels(outcome).inc()

    def node_event(self, outcome: str) -> None:
        """The writing of an event came to an end."""
        self._counters["node_events"].labels(outcome).inc()

    def holders(self, holders: Mapping[Holder, int] | None) -> None:
        """Who holds how much EPC; None if that could not be found out."""
        self._gauges["attribution_up"].set(holders is not None)
        self._gauges["pod_epc_bytes"].clear()
        for holder, size_bytes in (holders or {}).items():
            self._gauges["pod_epc_bytes"].labels(holder.namespace, holder.pod, holder.container).set(size_bytes)
