"""A platform worker's process: ``python -m quotehelper.node.worker_process``, exec'ed by the supervisor. Shell.

Exec'ed, so that a platform's libraries begin in a process that has nothing of the daemon's in it, and without
``SGX_AESM_ADDR``, which would make Intel's library ask an AESM service, us, instead of quoting itself.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from quotehelper.errors import ConfigError
from quotehelper.node.config import decode_settings
from quotehelper.node.counters import Counters, WorkerCount
from quotehelper.node.leash import Leash, Word
from quotehelper.node.log import Log
from quotehelper.node.quoting import open_overlapping, present
from quotehelper.platforms.worker.loop import WorkerLoop

if TYPE_CHECKING:
    from quotehelper.errors import QuoteHelperError
    from quotehelper.node.config import Settings
    from quotehelper.node.counters import Row
    from quotehelper.node.private_directory import Quoting
    from quotehelper.platforms.platform import Platform

EXIT_CONFIG, EXIT_UNAVAILABLE = 2, 3


class _Opener:
    """Opens the platform, again and again, with the quoting enclaves that clients have been told of."""

    def __init__(self, settings: Settings, row: Row, log: Log) -> None:
        self._settings = settings
        self._row = row
        self._log = log
        self._named: dict[str, Quoting] = {}

    def open(self) -> Platform:
        """The platform as its state is now. Raises ConfigError."""
        limits = self._settings.reloadable().limits
        named = tuple(self._named.values())
        platform = open_overlapping(self._settings, limits.overlap_s, named, self._log, self._row)
        if (quoting := present(platform)) is not None:
            self._named[quoting.target_info] = quoting
        return platform


class _Observer:
    """Counts what the worker does, and logs what goes wrong."""

    def __init__(self, settings: Settings, row: Row, log: Log) -> None:
        self._settings = settings
        self._row = row
        self._log = log

    def quoted(self, seconds: float, *, made: bool) -> None:
        self._row[WorkerCount.QUOTED if made else WorkerCount.REFUSED] += 1
        self._row[WorkerCount.BUSY_NS] += int(seconds * 1e9)

    def reloaded(self) -> None:
        self._log.settings = self._settings.reloadable().log
        self._log.info("platform worker reloaded")

    def not_reloaded(self, error: QuoteHelperError) -> None:
        self._log.error("not reloaded", reason=error, consequence="the settings and state in force stay")

    def failed(self, error: Exception) -> None:
        self._log.error("request failed", reason=repr(error), remedy="please report this")


def main(settings_text: str, slot: int, channel_fd: int, counters_fd: int, leash_fd: int) -> int:
    """Serve the requests of serving process ``slot`` until told to end; returns the exit code."""
    leash = Leash(socket.socket(fileno=leash_fd))
    try:
        settings = decode_settings(settings_text)
        log = Log(settings.reloadable().log)
        row = Counters.open(counters_fd, writable=True).workers[slot]
        row[WorkerCount.GENERATION] += 1
        row[WorkerCount.PID] = os.getpid()
        signals, wakeup = _heed()
        opener = _Opener(settings, row, log)
        loop = WorkerLoop(
            socket.socket(fileno=channel_fd),
            opener.open,
            _Observer(settings, row, log),
            generation=row[WorkerCount.GENERATION],
            signals=signals,
            wakeup=wakeup,
        )
    except ConfigError as error:
        leash.send(Word.FAILED, f"{error.problem}\0{error.remedy}".encode())
        return EXIT_CONFIG
    leash.send(Word.READY)
    try:
        loop.run()
    except Exception as error:  # noqa: BLE001  the edge of the process: say it, then end
        log.error("platform worker failed", reason=f"{type(error).__name__}: {error}", remedy="please report this")
        return EXIT_UNAVAILABLE
    return 0


def _heed() -> tuple[list[int], int]:
    """The signals that arrive, and a pipe that wakes who waits when one does."""
    signals: list[int] = []
    wakeup, wakeup_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakeup_in, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: signals.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # what came meanwhile is heeded now
    return signals, wakeup


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:6])))
