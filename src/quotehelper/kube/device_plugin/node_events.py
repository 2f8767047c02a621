"""Tell people, by events on the Node object, what is advertised and why. Shell.

``kubectl describe node`` shows them. Optional: without access to the API server nothing is written and nothing fails.
Right needed: ``create`` on ``events`` in the namespace ``default``, where events about nodes live, as the kubelet's.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from quotehelper.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from quotehelper.kube.device_plugin.api_server import ApiServer
    from quotehelper.kube.device_plugin.event_log import EventLog
    from quotehelper.kube.device_plugin.telemetry import Telemetry

COMPONENT = "quotehelper-device-plugin"
PATH = "/api/v1/namespaces/default/events"
REPEAT_S = 600.0
"""Seconds within which the same event is not written again."""
MESSAGE_LIMIT = 1024
"""Characters of a message: the API server takes no more."""


def event(node_name: str, reason: str, message: str, *, warning: bool, now_s: float) -> dict[str, Any]:
    """An Event object about a node. ``now_s``: seconds since the epoch.

    The uid of the object it is about is the node's name, as in the kubelet's own: older ``kubectl describe node`` look
    for that alone.
    """
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{node_name}.{uuid.uuid4().hex[:16]}", "namespace": "default"},
        "involvedObject": {"apiVersion": "v1", "kind": "Node", "name": node_name, "uid": node_name},
        "reason": reason,
        "message": message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…",
        "type": "Warning" if warning else "Normal",
        "source": {"component": COMPONENT, "host": node_name},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


class NodeEvents:
    """Writes events about ``node_name``, or nothing without ``api``. ``clock``: seconds since the epoch."""

    def __init__(
        self,
        api: ApiServer | None,
        node_name: str,
        telemetry: Telemetry,
        log: EventLog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._node_name = node_name
        self._telemetry = telemetry
        self._log = log
        self._clock = clock
        self._written: dict[tuple[str, str], float] = {}

    async def inform(self, reason: str, message: str) -> None:
        """Something is as it should be."""
        await self._write(reason, message, warning=False)

    async def warn(self, reason: str, message: str) -> None:
        """Something is not as it should be."""
        await self._write(reason, message, warning=True)

    async def _write(self, reason: str, message: str, *, warning: bool) -> None:
        now_s = self._clock()
        self._written = {key: at for key, at in self._written.items() if now_s - at < REPEAT_S}
        if self._api is None or (reason, message) in self._written:
            return
        self._written[reason, message] = now_s
        try:
            await self._api.create(PATH, event(self._node_name, reason, message, warning=warning, now_s=now_s))
        except ClusterError as error:
            self._telemetry.node_event("failed")
            self._log.warning("event not written", reason=error, event_reason=reason)
            return
        self._telemetry.node_event("done")
