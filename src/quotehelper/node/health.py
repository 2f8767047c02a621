"""Alive, ready, started: the three questions, and why not. Pure.

None of them asks the network: *alive* looks at the supervisor's heartbeat, *ready* at the last self-check, whose quote
is made and judged on this machine. A collateral service that is away makes nobody restart a daemon that quotes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quotehelper.node.counters import DaemonState

if TYPE_CHECKING:
    import datetime as dt

HEARTBEAT_S = 1.0
"""Seconds between two beats: the supervisor's loop turns at least that often."""
FRESH_S = 5.0
"""A heartbeat at most this old is alive: a machine out of memory or suspended may well skip some."""
STALE_CHECKS = 3
"""A passed self-check holds for this many intervals, if later ones can't decide."""


class Answer(NamedTuple):
    """``ok``, or cause and remedy for people."""

    ok: bool
    cause: str = ""
    remedy: str = ""


class Finding(NamedTuple):
    """What a self-check found. ``problem`` is empty if all held; ``at_s`` (monotonic) when it ended.

    ``decided`` is False if the daemon was too busy to tell: neither ready nor not. ``seconds``: how long it took.
    ``expires``: when the first certificate behind the quote does. ``quote``: the one that was made; empty if none was.
    """

    at_s: float
    problem: str = ""
    remedy: str = ""
    decided: bool = True
    seconds: float = 0.0
    expires: dt.datetime | None = None
    quote: bytes = b""


def is_alive(heartbeat_ns: int, now_ns: int) -> Answer:
    """Whether the supervisor's loop turns; both times are of the monotonic clock."""
    age_s = (now_ns - heartbeat_ns) / 1e9
    if age_s <= FRESH_S:
        return Answer(ok=True)
    cause = f"The supervisor's loop has not turned for {age_s:.1f} s"
    return Answer(ok=False, cause=cause, remedy="Restart the daemon; its log may say what it was about")


class Readiness:
    """Remembers self-checks, each of which is due ``interval_s`` seconds after the last."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._last: Finding | None = None
        self._passed_at_s: float | None = None

    def take(self, finding: Finding) -> None:
        """Remember ``finding``."""
        if finding.decided and not finding.problem:
            self._passed_at_s = finding.at_s
        if finding.decided or self._last is None:
            self._last = finding

    def is_ready(self, state: int, now_s: float) -> Answer:
        """Whether quotes can be had at ``now_s`` (monotonic) of a daemon in ``state`` (DaemonState)."""
        if state == DaemonState.RETIRED:
            return Answer(ok=False, cause="Another instance serves instead of this one", remedy="Ask that one")
        if state == DaemonState.ENDING:
            return Answer(ok=False, cause="The daemon was told to end", remedy="Wait for its successor")
        if self._last is None:
            return Answer(ok=False, cause="No self-check has ended yet", remedy="Wait a moment; see the daemon's log")
        if self._last.problem:
            return Answer(ok=False, cause=self._last.problem, remedy=self._last.remedy)
        if now_s - self._last.at_s > STALE_CHECKS * self._interval_s:
            cause = f"No self-check could be carried out for {now_s - self._last.at_s:.0f} s"
            return Answer(ok=False, cause=cause, remedy="The daemon is overloaded: see quotehelper_quotes_in_flight")
        return Answer(ok=True)

    def has_started(self) -> Answer:
        """Whether the daemon was ready once."""
        if self._passed_at_s is not None:
            return Answer(ok=True)
        last = self._last or Finding(0.0, "No self-check has ended yet", "Wait a moment; see the daemon's log")
        return Answer(ok=False, cause=last.problem, remedy=last.remedy)
