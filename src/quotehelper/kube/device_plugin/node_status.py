"""Keep ``sgx.intel.com/epc`` right on the node's status, and notice EPC that is sold twice. Pure decisions, thin shell.

The resource has no device plugin behind it: it is a number in ``status.capacity``, from which the kubelet derives
``status.allocatable``. The kubelet sets it to 0 when it registers a node anew, and a recreated Node lacks it
(kubernetes 2.2). So it is looked at again: at once after the plugin's own number or the kubelet's socket changed, then
often for a minute, since a kubelet takes its time after a start, and else from time to time.

Rights needed, all of them on the ClusterRole: ``get`` on ``nodes``, ``patch`` on ``nodes/status``. A patch tests the
node's uid first, so that it never meets a namesake.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from quotehelper.errors import ClusterError, DecodeError
from quotehelper.kube.device_plugin.news import News
from quotehelper.kube.quantity import whole_number
from quotehelper.kube.resources import EPC_RESOURCES, INTEL_EPC

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from quotehelper.kube.device_plugin.api_server import ApiServer
    from quotehelper.kube.device_plugin.event_log import EventLog
    from quotehelper.kube.device_plugin.inventory import Inventory
    from quotehelper.kube.device_plugin.node_events import NodeEvents
    from quotehelper.kube.device_plugin.telemetry import Telemetry

_POINTER = INTEL_EPC.name.replace("~", "~0").replace("/", "~1")
"""The resource's name as a part of a JSON pointer (RFC 6901)."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds between two looks at the node: ``often`` times ``often_s`` after a change, then ``check_s``."""

    check_s: float = 60.0
    often_s: float = 5.0
    often: int = 12


def capacity_of(node: dict[str, Any]) -> dict[str, Any]:
    """The capacities that a Node object states; empty if it states none."""
    status = node.get("status")
    capacity = status.get("capacity") if isinstance(status, dict) else None
    return capacity if isinstance(capacity, dict) else {}


def stated_bytes(node: dict[str, Any]) -> int | None:
    """The EPC in bytes that a Node object states, or None if it states none that can be read."""
    try:
        return whole_number(capacity_of(node)[INTEL_EPC.name])
    except (KeyError, DecodeError):
        return None


def operations_for(node: dict[str, Any], size_bytes: int) -> list[dict[str, Any]]:
    """The JSON patch that makes ``node`` state ``size_bytes``; empty if it does. Of a node without EPC 0 is not stated.

    Raises ClusterError if ``node`` is no Node object.
    """
    metadata = node.get("metadata")
    uid = metadata.get("uid") if isinstance(metadata, dict) else None
    if not isinstance(uid, str) or not uid:
        raise ClusterError("the API server's node has no uid")
    stated = stated_bytes(node)
    if stated == size_bytes or (stated is None and not size_bytes and INTEL_EPC.name not in capacity_of(node)):
        return []
    value: object = str(size_bytes)
    path = f"/status/capacity/{_POINTER}"
    if not capacity_of(node):
        path, value = "/status/capacity", {INTEL_EPC.name: value}
    return [{"op": "test", "path": "/metadata/uid", "value": uid}, {"op": "add", "path": path, "value": value}]


def sold_elsewhere(node: dict[str, Any], accounting: str) -> dict[str, str]:
    """Further names under which ``node`` offers EPC, with their amounts: the same memory, sold once more."""
    found = {}
    for name, amount in capacity_of(node).items():
        if name in EPC_RESOURCES and name != accounting:
            with contextlib.suppress(DecodeError):
                if whole_number(amount):
                    found[name] = str(amount)
    return found


class NodeStatus:
    """Looks after one node. ``problem``: why its status may be wrong now, or ""."""

    def __init__(
        self,
        api: ApiServer,
        node_name: str,
        rhythm: Rhythm,
        *,
        events: NodeEvents,
        telemetry: Telemetry,
        log: EventLog,
    ) -> None:
        self.problem = "the node has not been looked at yet"
        self._api = api
        self._path = f"/api/v1/nodes/{quote(node_name, safe='')}"
        self._node_name = node_name
        self._rhythm = rhythm
        self._events = events
        self._telemetry = telemetry
        self._log = log
        self._news = News()
        self._sold_elsewhere: dict[str, str] = {}

    def wake(self) -> None:
        """Something may have changed: look now, and often for a while."""
        self._news.tell()

    async def keep(self, inventory: Callable[[], Inventory]) -> None:
        """Look after the node for ever; ``inventory`` returns what counts now."""
        looks = 0
        while True:
            await self.look(inventory())
            looks += 1
            pause_s = self._rhythm.often_s if looks <= self._rhythm.often else self._rhythm.check_s
            if await self._news.wait(pause_s):
                looks = 0

    async def look(self, inventory: Inventory) -> None:
        """Look once, and put right what is wrong. A failure is told and tried again at the next look."""
        try:
            node = await self._api.get(self._path)
            if inventory.extended_bytes is not None:
                await self._put_right(node, inventory.extended_bytes)
        except ClusterError as error:
            if str(error) != self.problem:
                self._log.warning("node status not kept", node=self._node_name, reason=error, remedy=_remedy(error))
            self._set_problem(str(error))
            return
        self._set_problem("")
        await self._tell_sold_elsewhere(sold_elsewhere(node, inventory.accounting.name))

    async def _put_right(self, node: dict[str, Any], size_bytes: int) -> None:
        operations = operations_for(node, size_bytes)
        if not operations:
            return
        try:
            await self._api.patch(f"{self._path}/status", operations)
        except ClusterError:
            self._telemetry.node_patch("failed")
            raise
        self._telemetry.node_patch("done")
        was = capacity_of(node).get(INTEL_EPC.name, "nothing")
        self._log.info("node status put right", node=self._node_name, was=was, now=size_bytes)

    async def _tell_sold_elsewhere(self, found: dict[str, str]) -> None:
        if found and found != self._sold_elsewhere:
            names = ", ".join(f"{name} ({amount})" for name, amount in found.items())
            message = (
                f"the node offers its EPC under further names: {names}. Pods of both kinds will be placed on the same "
                "memory. End the other plugin, or remove its capacity from the node's status"
            )
            self._log.warning("EPC sold twice", node=self._node_name, names=names)
            await self._events.warn("EpcSoldTwice", message)
        self._sold_elsewhere = found

    def _set_problem(self, problem: str) -> None:
        self.problem = problem
        self._telemetry.node_capacity(right=not problem)


def _remedy(error: ClusterError) -> str:
    forbidden, not_found = 403, 404
    if error.status == forbidden:
        return "the service account needs get on nodes and patch on nodes/status"
    if error.status == not_found:
        return "set --node-name to the node's name (downward API: spec.nodeName)"
    return "tried again by itself"
