"""What is advertised of a machine, under which names, in what state, and why. Pure.

Exactly one *accounting resource* stands for the EPC, so that the same memory is never sold twice. Under the three
names in MiB the kubelet counts devices; ``sgx.intel.com/epc``, in bytes, has no devices: it is an extended resource
on the node's status (``node_status``). Device nodes have names of their own beside it.

A total that shrinks shortens the list: units are interchangeable, and nobody knows whose memory was lost. What is
there, but can't be used, stays in the list as unhealthy: the node's capacity shows it, its allocatable does not.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quotehelper.kube.device_plugin.device_list import Health, largest_count, list_bytes
from quotehelper.kube.device_plugin.epc import EpcSource
from quotehelper.kube.resources import ENCLAVE, INTEL_EPC, PROVISION

if TYPE_CHECKING:
    from quotehelper.kube.device_plugin.machine import DeviceNode, Machine
    from quotehelper.kube.resources import EpcResource

DEFAULT_LIMIT = 110
"""Holders of a device node: as many as a kubelet has pods by default."""
LIMIT_LIMIT = 10_000
"""Holders of a device node that can be configured."""


class Reason(enum.Enum):
    """Why something is advertised as it is; node events carry the value as their reason."""

    AVAILABLE = "EpcAvailable"
    SIMULATED = "SimulatedEpc"
    NO_EPC = "NoEpc"
    NO_DEVICE_NODE = "NoSgxDeviceNode"
    NO_CDI_FILE = "CdiFileNotWritten"
    TOO_MANY_UNITS = "EpcListTooLarge"


@dataclass(frozen=True, slots=True)
class Offer:
    """What is to be advertised. ``accounting``: the name of the EPC. The limits: holders of each device node."""

    accounting: EpcResource
    enclave_limit: int = DEFAULT_LIMIT
    provision_limit: int = DEFAULT_LIMIT


@dataclass(frozen=True, slots=True)
class Advertised:
    """One resource as the kubelet is told. ``count``: its devices. ``device``: the node that its holders get."""

    resource: str
    count: int
    health: Health
    device: DeviceNode
    reason: Reason
    explanation: str

    @property
    def listed(self) -> int:
        """Devices in the list: an unhealthy one is longer, so that of the largest lists a part is left out."""
        return min(self.count, largest_count(self.health))


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything that is advertised.

    ``accounting_reason``: in what state the EPC is sold; ``explanation``, ``remedy`` are its sentences. ``sold_bytes``:
    EPC that pods can be given now. ``extended_bytes``: what the node's status is to say under ``sgx.intel.com/epc``,
    or None if the EPC has another name.
    """

    machine: Machine
    accounting: EpcResource
    reason: Reason
    explanation: str
    remedy: str
    sold_bytes: int
    extended_bytes: int | None
    resources: tuple[Advertised, ...]

    @property
    def refused(self) -> bool:
        """Whether the configuration can't serve this machine: the operator must choose another name."""
        return self.reason is Reason.TOO_MANY_UNITS


def take_stock(machine: Machine, offer: Offer, delivery_problem: str = "") -> Inventory:
    """What to advertise of ``machine``. ``delivery_problem``: why containers can't be given devices, or ""."""
    reason, explanation, remedy = _state(machine, offer, delivery_problem)
    usable = reason in {Reason.AVAILABLE, Reason.SIMULATED}
    units = machine.epc.size_bytes // offer.accounting.unit_bytes
    sold_bytes = units * offer.accounting.unit_bytes if usable else 0
    resources = []
    if offer.accounting is not INTEL_EPC:
        count = 0 if reason is Reason.TOO_MANY_UNITS else units
        health = Health.HEALTHY if usable else Health.UNHEALTHY
        resources.append(Advertised(offer.accounting.name, count, health, machine.enclave, reason, explanation))
    for name, device, limit in (
        (ENCLAVE, machine.enclave, offer.enclave_limit),
        (PROVISION, machine.provision, offer.provision_limit),
    ):
        if limit:
            resources.append(_device_resource(name, device, limit, machine, delivery_problem))
    extended_bytes = sold_bytes if offer.accounting is INTEL_EPC else None
    return Inventory(
        machine, offer.accounting, reason, explanation, remedy, sold_bytes, extended_bytes, tuple(resources)
    )


def _state(machine: Machine, offer: Offer, delivery_problem: str) -> tuple[Reason, str, str]:
    """In what state the EPC is: reason, explanation, remedy."""
    epc = machine.epc
    if epc.absence is not None or not epc.size_bytes:
        cause = (epc.absence.sentence, epc.absence.remedy) if epc.absence else ("the operator says so", "")
        return Reason.NO_EPC, f"no EPC: {cause[0]}", cause[1]
    if (problem := _too_many(machine, offer)) is not None:
        return Reason.TOO_MANY_UNITS, problem, _ALTERNATIVE
    if machine.enclave.problem:
        remedy = "load the kernel's driver (CONFIG_X86_SGX); this is noticed when the node appears"
        return Reason.NO_DEVICE_NODE, f"{epc.size_bytes} bytes of EPC, but {machine.enclave.problem}", remedy
    if delivery_problem:
        return Reason.NO_CDI_FILE, delivery_problem, "mount the CDI directory writable, or leave CDI off"
    if epc.source is EpcSource.SIMULATED:
        return Reason.SIMULATED, f"{epc.size_bytes} bytes of simulated EPC: no enclave can run in it", ""
    return Reason.AVAILABLE, f"{epc.size_bytes} bytes of EPC by {epc.source.value}", ""


_ALTERNATIVE = f"Account EPC in bytes: --resource {INTEL_EPC.name}, which has no list and no such limit"


def _too_many(machine: Machine, offer: Offer) -> str | None:
    units = machine.epc.size_bytes // offer.accounting.unit_bytes
    largest = largest_count(Health.HEALTHY)
    if offer.accounting is INTEL_EPC or units <= largest:
        return None
    return (
        f"{units} MiB of EPC make a list of {list_bytes(units, Health.HEALTHY)} bytes; the kubelet takes "
        f"4194304, which {offer.accounting.name} reaches at {largest} MiB"
    )


def _device_resource(name: str, device: DeviceNode, limit: int, machine: Machine, delivery_problem: str) -> Advertised:
    problem = device.problem or delivery_problem
    if not problem:
        reason = Reason.SIMULATED if machine.epc.source is EpcSource.SIMULATED else Reason.AVAILABLE
        return Advertised(name, limit, Health.HEALTHY, device, reason, f"up to {limit} holders")
    reason = Reason.NO_DEVICE_NODE if device.problem else Reason.NO_CDI_FILE
    count = limit if machine.has_sgx else 0
    return Advertised(name, count, Health.UNHEALTHY, device, reason, problem)
