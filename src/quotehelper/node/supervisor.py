"""The supervisor: holds the listening sockets, starts serving processes, and outlives them. Shell.

It has no threads, loads no platform and parses no client's byte, so there is little that could bring it down. A
serving process that dies is replaced; clients wait in the sockets' backlog meanwhile instead of being refused.
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import ConfigError, QuoteHelperError
from quotehelper.node.listener import Listener, claim
from quotehelper.node.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.node.config import Reloadable, Settings

_HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
"""Seconds before a serving process that died is replaced; doubled each time it dies without having become ready."""
GRACE_S = 2.0
"""Seconds beyond ``limits.drain_s`` until serving processes that don't end are killed."""

EXIT_DONE, EXIT_CONFIG, EXIT_UNAVAILABLE = 0, 2, 3


class Child(NamedTuple):
    """A serving process. ``ready``: our end of the pipe in which it says that it serves, or why it can't."""

    number: int
    pid: int
    ready: int


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    Raises ConfigError if the settings, the path or the platform's state can't be used; nothing is left behind then.
    """
    reloadable = settings.reloadable()
    log = Log(reloadable.log)
    _raise_descriptor_limit()
    listener = claim(settings.socket, log)
    try:
        return Supervisor(settings, reloadable, listener, log).run()
    finally:
        listener.release()


class Supervisor:
    """Keeps ``settings.processes`` serving processes alive on ``listener``'s sockets."""

    def __init__(self, settings: Settings, reloadable: Reloadable, listener: Listener, log: Log) -> None:
        self._settings = settings
        self._drain_s = reloadable.limits.drain_s
        self._listener = listener
        self._log = log
        self._children: dict[int, Child] = {}
        self._ready: set[int] = set()
        self._started = False
        self._pauses = dict.fromkeys(range(settings.processes), FIRST_PAUSE_S)
        self._due: dict[int, float] = dict.fromkeys(range(settings.processes), 0.0)
        self._end_by: float | None = None
        self._wakeup, self._wakeup_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._lifeline, self._lifeline_in = os.pipe2(os.O_CLOEXEC)

    def run(self) -> int:
        """Supervise until told to end and all serving processes have ended."""
        restore = _heed(self._wakeup_in)
        try:
            while self._end_by is None or self._children:
                self._start_due()
                self._wait()
                self._reap()
                if self._end_by is not None and time.monotonic() >= self._end_by:
                    self._log.warning("killing serving processes that did not end", processes=len(self._children))
                    self._signal_children(signal.SIGKILL)
            self._log.info("ended", socket=self._listener.path)
            return EXIT_DONE
        finally:
            self._signal_children(signal.SIGKILL)
            restore()

    # Serving processes

    def _start_due(self) -> None:
        now = time.monotonic()
        for number in [number for number, at in self._due.items() if at <= now]:
            del self._due[number]
            self._start(number)

    def _start(self, number: int) -> None:
        ready, ready_in = os.pipe2(os.O_CLOEXEC)
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)  # until the child can heed them, none must be lost
        pid = os.fork()
        if not pid:
            os._exit(self._become_serving(ready_in))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEEDED)
        os.close(ready_in)
        self._children[pid] = Child(number, pid, ready)

    def _become_serving(self, ready_in: int) -> int:
        """The life of a serving process, from the fork on."""
        signal.set_wakeup_fd(-1)
        for fd in (
            self._wakeup,
            self._wakeup_in,
            self._lifeline_in,
            *(child.ready for child in self._children.values()),
        ):
            os.close(fd)
        from quotehelper.node.process import serve  # noqa: PLC0415  the supervisor itself never needs it

        try:
            serve(self._settings, self._listener.sockets, self._log, lifeline=self._lifeline, ready=ready_in)
        except ConfigError as error:
            os.write(ready_in, f"!{error.problem}\0{error.remedy}".encode())
            return EXIT_CONFIG
        except BaseException as error:  # noqa: BLE001  the edge of the process: say it, then end
            self._log.error(
                "serving process failed", reason=f"{type(error).__name__}: {error}", remedy="please report this"
            )
            return EXIT_UNAVAILABLE
        return EXIT_DONE

    def _reap(self) -> None:
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._bury(self._children[pid], os.waitstatus_to_exitcode(status))

    def _bury(self, child: Child, code: int) -> None:
        self._heed_ready(child)
        del self._children[child.pid]
        os.close(child.ready)
        if self._end_by is not None:
            return
        was_ready = child.pid in self._ready
        self._ready.discard(child.pid)
        pause = FIRST_PAUSE_S if was_ready else self._pauses[child.number]
        self._pauses[child.number] = min(2 * pause, LONGEST_PAUSE_S)
        self._due[child.number] = time.monotonic() + pause
        self._log.error(
            "serving process ended",
            pid=child.pid,
            cause=f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}",
            consequence=f"a new one starts in {pause:g} s, clients wait",
        )

    def _heed_ready(self, child: Child) -> None:
        """Hear what a serving process says of itself; at the daemon's start a ConfigError ends it."""
        if child.pid in self._ready or not select.select([child.ready], [], [], 0)[0]:
            return
        said = os.read(child.ready, 4096)
        if said[:1] == b"!":
            problem, _, remedy = said[1:].decode(errors="replace").partition("\0")
            if not self._started:
                raise ConfigError(problem, remedy)
            self._log.error("serving process can't start", reason=problem, remedy=remedy)
        elif said:
            self._ready.add(child.pid)
            self._pauses[child.number] = FIRST_PAUSE_S
            if len(self._ready) == self._settings.processes and not self._started:
                self._started = True
                self._log.announce(
                    "ready",
                    socket=self._listener.path,
                    abstract=len(self._listener.sockets) > 1,
                    platform=self._settings.platform,
                    processes=self._settings.processes,
                )

    # Events

    def _wait(self) -> None:
        poller = select.poll()
        poller.register(self._wakeup, select.POLLIN)
        starting = [child for child in self._children.values() if child.pid not in self._ready]
        for child in starting:
            poller.register(child.ready, select.POLLIN)
        poller.poll(self._patience_ms())
        for child in starting:
            self._heed_ready(child)
        try:
            numbers = os.read(self._wakeup, 256)
        except BlockingIOError:
            return
        for number in numbers:
            self._heed_signal(signal.Signals(number))

    def _patience_ms(self) -> int | None:
        deadlines = [*self._due.values(), *([] if self._end_by is None else [self._end_by])]
        return max(0, int(1000 * (min(deadlines) - time.monotonic())) + 1) if deadlines else None

    def _heed_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            self._reload()
        elif number in {signal.SIGTERM, signal.SIGINT} and self._end_by is None:
            self._log.info("ending", reason=number.name, drain_s=self._drain_s)
            self._end_by = time.monotonic() + self._drain_s + GRACE_S
            self._due.clear()
            self._listener.release()
            self._signal_children(signal.SIGTERM)

    def _reload(self) -> None:
        """Read the settings anew, and let the serving processes do so; what is in flight goes on."""
        try:
            reloadable = self._settings.reloadable()
        except QuoteHelperError as error:
            self._log.error("not reloaded", reason=error, consequence="the settings in force stay")
            return
        self._log.settings, self._drain_s = reloadable.log, reloadable.limits.drain_s
        self._signal_children(signal.SIGHUP)

    def _signal_children(self, number: signal.Signals) -> None:
        for pid in self._children:
            os.kill(pid, number)


def _heed(wakeup_in: int) -> Callable[[], None]:
    """Turn the heeded signals into bytes of a pipe; returns how to undo it."""
    before = {number: signal.signal(number, lambda *_: None) for number in _HEEDED}
    old = signal.set_wakeup_fd(wakeup_in, warn_on_full_buffer=False)

    def restore() -> None:
        signal.set_wakeup_fd(old)
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore


def _raise_descriptor_limit() -> None:
    """Use all descriptors the system grants: the usual soft limit of 1,024 is less than ``limits.connections``."""
    import resource  # noqa: PLC0415  needed once

    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
