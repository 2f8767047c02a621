"""The control process: ``python -m quotehelper.node.control``, exec'ed by the supervisor. Shell.

Answers ``/healthz``, ``/readyz``, ``/startupz`` and ``/metrics``, and asks the daemon for a quote of its own from time
to time. It only reads what the others count, so that it may die and come back at any time. It is the only process of
the daemon that has asyncio, an HTTP library and X.509.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from quotehelper.errors import ConfigError, QuoteHelperError
from quotehelper.node import exposition, telemetry
from quotehelper.node.config import decode_settings
from quotehelper.node.counters import Counters, DaemonState, Supervision, WorkerCount
from quotehelper.node.epc import epc_mapped_by
from quotehelper.node.health import Finding, Readiness, is_alive
from quotehelper.node.leash import Leash, Word
from quotehelper.node.log import Log
from quotehelper.platforms.hardware import obstacles, read_hardware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quotehelper.node.config import Settings
    from quotehelper.node.exposition import Sample
    from quotehelper.node.health import Answer
    from quotehelper.node.telemetry import Metric
    from quotehelper.node.watch import Watch

CONNECTIONS = 32
"""HTTP connections at a time; beyond it new ones are closed at once. A kubelet and some Prometheus servers use few."""
CONNECTION_S = 15.0
"""Seconds that a connection may be kept: who sends its request slower, or keeps it open for later, starts anew."""
LINE_BYTES = FIELD_BYTES = 4096
"""Of a request line, and of a header."""
HEADERS = 32
"""In a request."""
RETRY_S = 2.0
"""Seconds to the next self-check after one that has not passed."""
LOOK_S = 0.1
"""Seconds between two looks whether the daemon serves by now."""
EXIT_CONFIG, EXIT_UNAVAILABLE = 2, 3


class Control:
    """What the control process knows, and the answers that it gives."""

    def __init__(self, settings: Settings, counters: Counters, log: Log) -> None:
        self._settings = settings
        self._counters = counters
        self._log = log
        self._readiness = Readiness(settings.self_check_interval_s)
        self._checks = dict.fromkeys(("passed", "failed", "undecided"), 0)
        self._last: Finding | None = None
        self._watch: Watch | None = None
        self._obstacles: int | None = None

    # Answers

    async def healthz(self, _request: web.Request) -> web.Response:
        """Whether the supervisor's loop turns."""
        return _respond(is_alive(self._counters.supervisor[Supervision.HEARTBEAT_NS], time.monotonic_ns()))

    async def readyz(self, _request: web.Request) -> web.Response:
        """Whether a quote could be made of late."""
        return _respond(self._is_ready())

    async def startupz(self, _request: web.Request) -> web.Response:
        """Whether one could be made ever."""
        return _respond(self._readiness.has_started())

    async def metrics(self, _request: web.Request) -> web.Response:
        """All counters as Prometheus text."""
        samples = exposition.collect(self._counters, time.monotonic_ns()) | self._own_samples()
        text = exposition.encode(samples).encode()
        return web.Response(body=text, headers={"Content-Type": exposition.CONTENT_TYPE, "Cache-Control": "no-store"})

    def _is_ready(self) -> Answer:
        alive = is_alive(self._counters.supervisor[Supervision.HEARTBEAT_NS], time.monotonic_ns())
        if not alive.ok:
            return alive
        return self._readiness.is_ready(self._counters.supervisor[Supervision.STATE], time.monotonic())

    def _own_samples(self) -> dict[Metric, list[Sample]]:
        sample = exposition.Sample
        own = {
            telemetry.READY: [sample({}, float(self._is_ready().ok))],
            telemetry.SELF_CHECKS: [sample({"outcome": outcome}, count) for outcome, count in self._checks.items()],
            telemetry.EPC_MAPPED_BYTES: [
                sample({"slot": str(slot)}, mapped)
                for slot, row in enumerate(self._counters.workers)
                if (mapped := epc_mapped_by(row[WorkerCount.PID])) is not None
            ],
        }
        if self._last is not None:
            own[telemetry.SELF_CHECK_SECONDS] = [sample({}, self._last.seconds)]
            if self._last.expires is not None:
                own[telemetry.CERTIFICATE_EXPIRY_TIMESTAMP_SECONDS] = [sample({}, self._last.expires.timestamp())]
        if self._obstacles is not None:
            own[telemetry.HARDWARE_OBSTACLES] = [sample({}, self._obstacles)]
        return own if self._watch is None else own | self._watch.samples()

    def reload(self) -> None:
        """Take the log's settings anew; what is wrong with them the supervisor says."""
        with contextlib.suppress(QuoteHelperError):
            self._log.settings = self._settings.reloadable().log

    # Self-check

    async def check_for_ever(self) -> None:
        """Ask for a quote, judge it, and remember what was found, again and again."""
        while True:
            pause_s = LOOK_S
            if self._counters.supervisor[Supervision.STATE] == DaemonState.SERVING:
                try:
                    self._look_at_hardware()
                    finding = await self._check()
                except Exception as error:  # noqa: BLE001  the edge of a background task: it must go on
                    self._log.error("self-check broke", reason=repr(error), remedy="please report this")
                    pause_s = RETRY_S
                else:
                    self._take(finding)
                    passed = finding.decided and not finding.problem
                    pause_s = self._settings.self_check_interval_s if passed else RETRY_S
            await asyncio.sleep(min(pause_s, self._settings.self_check_interval_s))

    async def _check(self) -> Finding:
        from quotehelper.aesm.async_client import AsyncAesmClient  # noqa: PLC0415  answers must not wait for it
        from quotehelper.node import self_check  # noqa: PLC0415  same

        examiner = None
        if self._settings.platform == "simulated":
            try:
                examiner = self_check.simulated_examiner(Path(self._settings.state))
            except QuoteHelperError as error:
                return Finding(time.monotonic(), f"{error}", "Mend the platform's state, then send the daemon SIGHUP")
        return await self_check.check(AsyncAesmClient(self._settings.socket.path), examiner)

    # Outlook

    async def watch_for_ever(self) -> None:
        """Judge the daemon's quotes by collateral, if there is any to watch, again and again."""
        if self._settings.bundle is None and self._settings.pccs is None:
            return
        from quotehelper.node.watch import Watch  # noqa: PLC0415  answers must not wait for it

        self._watch = watch = Watch(self._settings, self._log)
        while True:
            pause_s = LOOK_S
            if self._last is not None and self._last.decided:
                pause_s = self._settings.self_check_interval_s
                try:
                    await watch.look(self._last.quote or None, dt.datetime.now(dt.UTC))
                except Exception as error:  # noqa: BLE001  the edge of a background task: it must go on
                    self._log.error("outlook broke", reason=repr(error), remedy="please report this")
            await asyncio.sleep(pause_s)

    def _look_at_hardware(self) -> None:
        """Count what is in Intel's library's way: a device may appear late, and is used then."""
        if self._settings.platform != "dcap":
            return
        library, _enclaves, provider = self._settings.dcap
        was, self._obstacles = self._obstacles, len(obstacles(read_hardware(library=library, provider=provider)))
        if was is not None and self._obstacles != was:
            self._log.info("SGX obstacles changed", was=was, now=self._obstacles)

    def _take(self, finding: Finding) -> None:
        outcome = "undecided" if not finding.decided else "failed" if finding.problem else "passed"
        self._checks[outcome] += 1
        was = self._last
        self._last = finding
        self._readiness.take(finding)
        if finding.problem and finding.decided:
            self._log.error("self-check failed", reason=finding.problem, remedy=finding.remedy)
        elif was is not None and was.problem and not finding.problem:
            self._log.info("self-check passed again")


def _respond(answer: Answer) -> web.Response:
    body = {"ok": answer.ok} if answer.ok else {"ok": False, "cause": answer.cause, "remedy": answer.remedy}
    return web.json_response(body, status=200 if answer.ok else 503, headers={"Cache-Control": "no-store"})


# HTTP


class _Refuser(asyncio.Protocol):
    """Closes a connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@contextlib.asynccontextmanager
async def answering(
    control: Control, listening: socket.socket, connection_s: float = CONNECTION_S
) -> AsyncIterator[None]:
    """Answer at ``listening``, which is closed afterwards; connections last ``connection_s`` seconds at most."""
    application = web.Application(client_max_size=1)
    for path, handler in (
        ("/healthz", control.healthz),
        ("/readyz", control.readyz),
        ("/startupz", control.startupz),
        ("/metrics", control.metrics),
    ):
        application.router.add_get(path, handler)
    application.on_response_prepare.append(_sign)
    runner = web.AppRunner(
        application,
        access_log=None,
        keepalive_timeout=connection_s,
        max_line_size=LINE_BYTES,
        max_field_size=FIELD_BYTES,
        max_headers=HEADERS,
    )
    await runner.setup()
    if runner.server is None:
        raise RuntimeError("an HTTP runner that has been set up has a server")
    door = _Door(runner.server, connection_s)
    loop = asyncio.get_running_loop()
    create = loop.create_unix_server if listening.family == socket.AF_UNIX else loop.create_server
    http = await create(door.admit, sock=listening)
    try:
        yield
    finally:
        http.close()
        await runner.cleanup()


async def _sign(_request: web.Request, response: web.StreamResponse) -> None:
    """Name no library and no version: who may look at metrics need not know them."""
    response.headers["Server"] = "quotehelper"


class _Door:
    """Lets a limited number of connections in, each for a limited time."""

    def __init__(self, server: web.Server, connection_s: float) -> None:
        self._server = server
        self._connection_s = connection_s
        self._entering: set[asyncio.Protocol] = set()

    def admit(self) -> asyncio.Protocol:
        """Who talks to the next connection."""
        if len(self._server.connections) + len(self._entering) >= CONNECTIONS:
            return _Refuser()
        loop, handler = asyncio.get_running_loop(), self._server()
        self._entering.add(handler)  # the server knows of it two turns of the loop later
        loop.call_soon(loop.call_soon, self._entering.discard, handler)
        loop.call_later(self._connection_s, self._see_out, handler)
        return handler

    @staticmethod
    def _see_out(handler: web.RequestHandler) -> None:
        if handler.transport is not None:
            handler.transport.close()  # what has been answered is still sent


# The process


async def _run(control: Control, listening: socket.socket, leash: Leash) -> None:
    """Answer until SIGTERM, or until the supervisor has gone."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGHUP, control.reload)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # what came meanwhile is heeded now
    async with answering(control, listening):
        loop.add_reader(leash.fileno(), ended.set)
        leash.send(Word.READY)
        tasks = [asyncio.create_task(work) for work in (control.check_for_ever(), control.watch_for_ever())]
        await ended.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def main(settings_text: str, counters_fd: int, listening_fd: int, leash_fd: int) -> int:
    """Answer until told to end; returns the exit code."""
    leash = Leash(socket.socket(fileno=leash_fd))
    try:
        settings = decode_settings(settings_text)
        log = Log(settings.reloadable().log)
        counters = Counters.open(counters_fd, writable=False)
    except ConfigError as error:
        leash.send(Word.FAILED, f"{error.problem}\0{error.remedy}".encode())
        return EXIT_CONFIG
    listening = socket.socket(fileno=listening_fd)
    try:
        asyncio.run(_run(Control(settings, counters, log), listening, leash))
    except Exception as error:  # noqa: BLE001  the edge of the process: say it, then end
        log.error("control process failed", reason=f"{type(error).__name__}: {error}", remedy="please report this")
        return EXIT_UNAVAILABLE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:5])))
