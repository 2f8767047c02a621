"""Upstreams for tests, good and bad, each a real HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from pccs_process import Asked, Loop
from quotehelper.collateral.sources import escape_chain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Upstream(Loop, Asked):
    """A server whose ``handler`` answers every request. ``asked`` are the paths and queries so far."""

    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self.asked: list[str] = []
        self._handler = handler
        self.url = self.enter(self._serving())

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/sgx/certification/v4/"
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        return await self._handler(request)

    def count(self, part: str) -> int:
        """How many requests had ``part`` in them."""
        return sum(part in asked for asked in self.asked)


class Bytes(Loop, Asked):
    """A server that answers every request with ``raw``, whatever that is, and then closes or waits for ever."""

    def __init__(self, raw: bytes, *, hang: bool = False) -> None:
        super().__init__()
        self._raw = raw
        self._hang = hang
        self.url = self.enter(self._serving())

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/sgx/certification/v4/"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self._raw)
            await writer.drain()
            if self._hang:
                await reader.read()
        writer.close()


def signed(body: bytes, header: str, chain: bytes) -> web.Response:
    """A document as Intel's service gives it."""
    return web.Response(body=body, content_type="application/json", headers={header: escape_chain(chain)})
