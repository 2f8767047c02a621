"""The service as a process: from settings to listening, and back at a signal. Shell.

SIGTERM and SIGINT end it once what is in flight is answered; SIGHUP takes a renewed certificate at once (which is
looked for every few seconds anyway).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import signal
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.collateral.fetching import Fetcher, FetchLimits
from quotehelper.collateral.keeper import COLLATERAL, Keeper
from quotehelper.collateral.mode import Mode
from quotehelper.collateral.opening import open_source
from quotehelper.collateral.pccs.door import Door
from quotehelper.collateral.pccs.metrics import Metrics
from quotehelper.collateral.pccs.service import Service
from quotehelper.collateral.pccs.tls import Tls
from quotehelper.collateral.sources import INTEL_CRL_PREFIXES
from quotehelper.collateral.store import Store
from quotehelper.errors import ConfigError, QuoteHelperError

try:
    from aiohttp import web
except ImportError as error:
    raise ConfigError("The collateral service needs aiohttp", "pip install 'quotehelper[collateral]'") from error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from ssl import SSLContext

    from quotehelper.collateral.catalog import Key
    from quotehelper.collateral.keeper import Log
    from quotehelper.collateral.pccs.tls import TlsFiles
    from quotehelper.collateral.pccs.tokens import TokenHashes
    from quotehelper.collateral.proof import Trust
    from quotehelper.errors import SourceError

_TLS_LOOK_S = 10.0
_RETRY_S = 3600.0
_SHUTDOWN_S = 10.0
_BACKLOG = 1024
_KEEP_ALIVE_S = 75.0


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True, slots=True)
class Settings:
    """All that the service is told at its start."""

    database_url: str
    trust: Trust
    tokens: TokenHashes
    mode: Mode = Mode.LAZY
    host: str = "127.0.0.1"
    port: int = 8081
    upstream: str | None = None
    api_key: str = field(default="", repr=False)
    upstream_tls: SSLContext | None = None
    """How the upstream is verified; None: against the system's authorities."""
    tls: TlsFiles | None = None
    """None: plain HTTP, which somebody must have asked for."""
    crl_prefixes: tuple[str, ...] = INTEL_CRL_PREFIXES
    """Distribution points that may be fetched: what a URI must begin with."""
    refresh_s: float = 86_400.0
    """Between two refreshes; 0: only when asked for."""
    connections: int = 1000
    """At a time; more are closed at once."""
    silent_s: float = 20.0
    """Until a new connection has sent its first request."""
    limits: FetchLimits = field(default_factory=FetchLimits)


async def serve(settings: Settings, log: Log) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError, SourceError if it can't start, OSError for the address."""
    async with running(settings, log) as service:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        if service.tls is not None:
            loop.add_signal_handler(signal.SIGHUP, service.tls.reload_if_changed, log)
        log.info("ready", url=service.url, mode=settings.mode.value, store=service.keeper.store.name)
        await ended.wait()
        log.info("ending")


class Running(NamedTuple):
    """A service that serves."""

    url: str
    keeper: Keeper
    tls: Tls | None


@asynccontextmanager
async def running(settings: Settings, log: Log, clock: Callable[[], dt.datetime] = _now) -> AsyncIterator[Running]:
    """The service, listening, its certificate renewed and its documents refreshed until the context ends."""
    async with AsyncExitStack() as stack:
        store = await asyncio.to_thread(Store, settings.database_url)
        stack.callback(store.close)
        keeper = make_keeper(settings, store, log, clock)
        stack.push_async_callback(keeper.close)
        if keeper.source is not None:
            stack.push_async_callback(keeper.source.close)
        tls = None if settings.tls is None else Tls(settings.tls)
        door = Door(settings.connections, settings.silent_s)
        service = Service(keeper, settings.tokens, Metrics(), log, crl_prefixes=settings.crl_prefixes, door=door)
        runner = web.AppRunner(
            service.application(), access_log=None, shutdown_timeout=_SHUTDOWN_S, keepalive_timeout=_KEEP_ALIVE_S
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        assert runner.server is not None  # noqa: S101  set by setup, says the library
        listening = await asyncio.get_running_loop().create_server(
            door.of(runner.server),
            settings.host,
            settings.port,
            ssl=None if tls is None else tls.context,
            backlog=_BACKLOG,
        )
        stack.callback(listening.close)
        stack.push_async_callback(_start_background(settings, keeper, tls, log))
        yield Running(_url(listening, tls), keeper, tls)


async def refresh_once(settings: Settings, log: Log, *, certificates: bool = False) -> dict[Key, SourceError | None]:
    """Refresh what is kept, or the platforms' certificates, without serving. Raises ConfigError, SourceError."""
    async with AsyncExitStack() as stack:
        store = await asyncio.to_thread(Store, settings.database_url)
        stack.callback(store.close)
        keeper = make_keeper(settings, store, log)
        stack.push_async_callback(keeper.close)
        if keeper.source is not None:
            stack.push_async_callback(keeper.source.close)
        return await (keeper.refresh_certificates() if certificates else keeper.refresh())


def make_keeper(settings: Settings, store: Store, log: Log, clock: Callable[[], dt.datetime] = _now) -> Keeper:
    """The keeper that ``settings`` ask for. Raises ConfigError."""
    source = None
    if settings.mode is not Mode.OFFLINE and settings.upstream is not None:
        fetcher = Fetcher(settings.limits, settings.upstream_tls)
        source = open_source(settings.upstream, fetcher, settings.api_key, settings.crl_prefixes)
    return Keeper(store, settings.trust, settings.mode, source, clock=clock, log=log)


def _start_background(settings: Settings, keeper: Keeper, tls: Tls | None, log: Log) -> Callable[[], Awaitable[None]]:
    """Renewal of the certificate, and refreshes; returns what ends them."""
    tasks = []
    if tls is not None:
        tasks.append(asyncio.create_task(_renew(tls, log)))
    if keeper.source is not None and settings.refresh_s:
        tasks.append(asyncio.create_task(_refresh(keeper, settings.refresh_s, log)))

    async def end() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    return end


async def _renew(tls: Tls, log: Log) -> None:
    while True:
        await asyncio.sleep(_TLS_LOOK_S)
        tls.reload_if_changed(log)


async def _refresh(keeper: Keeper, every_s: float, log: Log) -> None:
    """Refresh every ``every_s`` seconds, whichever process did it last; after a failure sooner."""
    started, wait = keeper.clock().timestamp(), 0.0
    while True:
        with suppress(QuoteHelperError):
            last = await asyncio.to_thread(keeper.store.refreshed_at, COLLATERAL) or started
            wait = max(wait, last + every_s - keeper.clock().timestamp())
        await asyncio.sleep(max(wait, 0.0))
        wait = 0.0
        try:
            last = await asyncio.to_thread(keeper.store.refreshed_at, COLLATERAL)
            if keeper.clock().timestamp() - last < every_s:
                continue
            outcome = await keeper.refresh()
            if any(error is not None for error in outcome.values()):
                wait = min(every_s, _RETRY_S)
        except QuoteHelperError as error:
            log.warning("not refreshed", reason=str(error))
            wait = min(every_s, _RETRY_S)


def _url(server: asyncio.Server, tls: Tls | None) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    return f"{'http' if tls is None else 'https'}://{host}:{port}/sgx/certification/v4/"
