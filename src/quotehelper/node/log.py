"""The daemon's log: one line an event on standard error, for people or as JSON. Shell.

The standard library's logging would cost a serving process 10 ms at start and 2 MiB; this is the small part of
it that a daemon needs. Values come partly from clients: control characters never reach the terminal.
"""

from __future__ import annotations

import enum
import json
import os
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STANDARD_ERROR = 2
REPEATS_PER_SECOND = 10
"""Lines of one event a second that are written; more are counted, so that a flooding client can't fill a disk."""


class Level(enum.IntEnum):
    """How much an event matters; a log writes its level and above."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class LogFormat(enum.Enum):
    """How a line is laid out."""

    TEXT = "text"
    JSON = "json"


class LogSettings(NamedTuple):
    """What is written, and how. Of the requests that succeed every ``successes``-th is told of, none if that is 0."""

    level: Level = Level.INFO
    format: LogFormat = LogFormat.TEXT
    successes: int = 1000


class Log:
    """Writes events to ``descriptor``. ``clock`` returns seconds since the epoch."""

    def __init__(
        self,
        settings: LogSettings,
        descriptor: int = STANDARD_ERROR,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._descriptor = descriptor
        self._clock = clock
        self._second = 0
        self._counts: dict[str, int] = {}

    def debug(self, event: str, **fields: object) -> None:
        """What helps while something is being looked into."""
        self._write(Level.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """What an operator wants to have seen."""
        self._write(Level.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """What works, but not as it should."""
        self._write(Level.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """What does not work. Say the cause and the remedy."""
        self._write(Level.ERROR, event, fields)

    def announce(self, event: str, **fields: object) -> None:
        """What others wait for, so that it is written at any level: that the daemon is ready."""
        self._put(self._clock(), Level.INFO, event, fields)

    def _write(self, level: Level, event: str, fields: dict[str, object]) -> None:
        if level < self.settings.level:
            return
        now = self._clock()
        if self._too_many(event, int(now)):
            return
        self._put(now, level, event, fields)

    def _too_many(self, event: str, second: int) -> bool:
        """Count ``event``; at a new second, say what was left out of the last one."""
        if second != self._second:
            left_out = {name: n - REPEATS_PER_SECOND for name, n in self._counts.items() if n > REPEATS_PER_SECOND}
            self._second = second
            self._counts.clear()
            if left_out:
                self._put(float(second), Level.WARNING, "lines left out", left_out)
        self._counts[event] = count = self._counts.get(event, 0) + 1
        return count > REPEATS_PER_SECOND

    def _put(self, now: float, level: Level, event: str, fields: Mapping[str, object]) -> None:
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
        if self.settings.format is LogFormat.JSON:
            line = json.dumps({"time": stamp, "level": level.name.lower(), "event": event, **fields}, default=str)
        else:
            pairs = (f"{_quoted(name)}={_quoted(value)}" for name, value in fields.items())
            line = " ".join((stamp, level.name, event, *pairs))
        try:
            os.write(self._descriptor, line.encode(errors="backslashreplace") + b"\n")
        except OSError:
            self._descriptor = STANDARD_ERROR  # a log that can't be written must not end the service


def _quoted(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and not set(text) & set(' "=\\') else json.dumps(text)
