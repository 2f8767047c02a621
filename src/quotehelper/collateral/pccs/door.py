"""Who may come in: connections are counted, and who says nothing is asked to leave. Shell (needs aiohttp).

The HTTP library bounds how long a connection may rest between requests, not how long it may take for its first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web


class Door:
    """Lets in at most ``connections`` at a time, and puts out who has sent no request after ``silent_s`` seconds."""

    def __init__(self, connections: int, silent_s: float) -> None:
        self._connections = connections
        self._silent_s = silent_s
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}

    def of(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """What makes the protocol of each connection to ``server``."""

        def let_in() -> asyncio.Protocol:
            if len(server.connections) >= self._connections:
                return _Refusal()
            protocol = server()
            loop = asyncio.get_running_loop()
            self._silent[protocol] = loop.call_later(self._silent_s, self._close, protocol)
            return protocol

        return let_in

    def heard(self, protocol: asyncio.BaseProtocol) -> None:
        """Remember that a whole request head came over ``protocol``."""
        timer = self._silent.pop(protocol, None)
        if timer is not None:
            timer.cancel()

    def _close(self, protocol: web.RequestHandler) -> None:
        del self._silent[protocol]
        if protocol.transport is not None:
            protocol.force_close()


class _Refusal(asyncio.Protocol):
    """Closes a connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
