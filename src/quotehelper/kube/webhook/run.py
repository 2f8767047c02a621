"""The webhook as a process: starts the parts, ends them in order. Shell.

SIGTERM: not ready any more, ``drain_s`` for the API servers to hear of it, then what is in flight is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from typing import TYPE_CHECKING

from aiohttp import web

from quotehelper.errors import ConfigError, QuoteHelperError
from quotehelper.kube.webhook.certificates import CertificateSwitch, facts, read_pair, stamp
from quotehelper.kube.webhook.server import ReviewServer
from quotehelper.kube.webhook.settings import CertificateFiles
from quotehelper.kube.webhook.telemetry import Metrics, make_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from quotehelper.kube.admission.cluster import ClusterView
    from quotehelper.kube.webhook.certificates import TlsPair
    from quotehelper.kube.webhook.keeper import CertificateKeeper
    from quotehelper.kube.webhook.settings import Endpoint, WebhookSettings

_BACKLOG = 512


def serve_webhook(settings: WebhookSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError for what the operator must put right."""
    asyncio.run(_Process(settings).run())


class _Process:
    """The parts of one webhook process."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._log: FilteringBoundLogger = make_log(as_json=settings.log_json, level=settings.log_level)
        self._told_to_end = asyncio.Event()
        self._switch: CertificateSwitch | None = None
        self._served: TlsPair | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_end.set)
        async with contextlib.AsyncExitStack() as stack:
            switch, follow_certificates = await self._certificates(stack)
            view, watch = await self._cluster(stack)
            server = ReviewServer(self._settings.admission, self._settings.limits, view, self._metrics, self._log)
            health = await self._listen(stack, server, server.health(), self._settings.health, None)
            reviews = await self._listen(stack, server, server.reviews(), self._settings.listen, switch)
            for background in (follow_certificates, watch):
                await stack.enter_async_context(self._beside(background))
            server.ready = True
            self._log.info("ready", reviews=reviews, health=health)
            await self._told_to_end.wait()
            server.ready = False
            self._log.info("ending", drain_s=self._settings.limits.drain_s)
            await asyncio.sleep(self._settings.limits.drain_s)
        self._log.info("ended")

    async def _listen(
        self,
        stack: contextlib.AsyncExitStack,
        server: ReviewServer,
        application: web.Application,
        endpoint: Endpoint,
        switch: CertificateSwitch | None,
    ) -> str:
        """Serve ``application`` at ``endpoint`` until the stack unwinds; returns where it is."""
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=self._settings.limits.body_s)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        assert runner.server is not None  # noqa: S101  set by setup, says the library
        listening = _bind(endpoint)
        sockets = await asyncio.get_running_loop().create_server(
            server.door(runner.server),
            sock=listening,
            backlog=_BACKLOG,
            ssl=None if switch is None else switch.context,
            ssl_handshake_timeout=None if switch is None else self._settings.limits.handshake_s,
        )
        stack.callback(sockets.close)
        host, port, *_ = listening.getsockname()
        return f"{host}:{port}"

    async def _certificates(
        self, stack: contextlib.AsyncExitStack
    ) -> tuple[CertificateSwitch, Callable[[], Awaitable[None]]]:
        """The certificates to serve, and what follows their changes."""
        source = self._settings.certificates
        if isinstance(source, CertificateFiles):
            seen = stamp(source)
            return self._take(read_pair(source)), lambda: self._follow_files(source, seen)
        from quotehelper.kube.webhook.keeper import CertificateKeeper, open_api_server  # noqa: PLC0415  heavy, optional

        keeper = CertificateKeeper(await stack.enter_async_context(open_api_server()), source, self._log)
        return self._take(await keeper.keep(time.time())), lambda: self._follow_keeper(keeper)

    async def _cluster(
        self, stack: contextlib.AsyncExitStack
    ) -> tuple[Callable[[], ClusterView | None], Callable[[], Awaitable[None]]]:
        """What is known of the cluster, and what keeps it known."""
        if self._settings.helpers is None:
            return (lambda: None), _nothing
        from quotehelper.kube.webhook.cluster_watch import ClusterWatch, open_watching  # noqa: PLC0415  heavy, optional

        watch = ClusterWatch(self._settings.helpers, self._log, time.monotonic)
        client = await stack.enter_async_context(open_watching())
        return watch.view, lambda: watch.follow(client)

    def _take(self, pair: TlsPair) -> CertificateSwitch:
        """Serve ``pair`` from now on, if it is not what is served already."""
        if self._switch is not None and pair == self._served:
            return self._switch
        told = facts(pair)
        if self._switch is None:
            self._switch = CertificateSwitch(pair)
        else:
            self._switch.switch(pair)
        self._served = pair
        self._metrics.certificate_taken(told.not_after)
        self._log.info("certificate taken", serial_number=told.serial_number, not_after=told.not_after.isoformat())
        return self._switch

    async def _follow_files(self, files: CertificateFiles, seen: object) -> None:
        """Take the files' certificate whenever they have changed; keep the old one while they are no pair."""
        while True:
            await asyncio.sleep(self._settings.certificate_check_s)
            now = stamp(files)
            if now == seen:
                continue
            try:
                self._take(read_pair(files))
            except ConfigError as error:
                self._log.warning("certificate not taken", reason=str(error))
            else:
                seen = now

    async def _follow_keeper(self, keeper: CertificateKeeper) -> None:
        """Keep the webhook's own certificates; what fails is tried again at the next check."""
        while True:
            await asyncio.sleep(self._settings.certificate_check_s)
            try:
                self._take(await keeper.keep(time.time()))
            except QuoteHelperError as error:
                self._log.warning("certificate not kept", reason=str(error))

    @contextlib.asynccontextmanager
    async def _beside(self, background: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Run ``background`` until the block ends; a fault of ours in it is logged, and it is begun anew."""

        async def again() -> None:
            while True:
                try:
                    await background()
                except Exception as error:  # noqa: BLE001  the edge of a background task: reviews go on
                    self._log.error("background task failed", reason=repr(error), exc_info=True)
                else:
                    return
                await asyncio.sleep(self._settings.certificate_check_s)

        task = asyncio.create_task(again())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _nothing() -> None:
    """Nothing to follow."""


def _bind(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((endpoint.host, endpoint.port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"{endpoint.host}:{endpoint.port}: {error.strerror}", "Choose a free address with --listen, --health-listen"
        ) from error
    return listening
