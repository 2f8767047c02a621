"""Alive, ready, started: each answer has its cause, and time is given."""

from __future__ import annotations

import pytest

from quotehelper.node.counters import DaemonState
from quotehelper.node.health import FRESH_S, STALE_CHECKS, Finding, Readiness, is_alive

SECOND = 10**9
SERVING = DaemonState.SERVING


@pytest.mark.parametrize(("age_s", "ok"), [(0, True), (FRESH_S, True), (FRESH_S + 0.1, False)])
def test_alive_is_whose_loop_has_turned_of_late(age_s: float, ok: bool) -> None:  # noqa: FBT001  the expectation
    answer = is_alive(100 * SECOND, 100 * SECOND + int(age_s * SECOND))
    assert answer.ok is ok
    assert bool(answer.cause) is bool(answer.remedy) is not ok


def test_before_the_first_check_it_is_neither_ready_nor_started() -> None:
    readiness = Readiness(60)
    assert not readiness.is_ready(SERVING, 0).ok
    assert not readiness.has_started().ok
    assert readiness.has_started().cause == "No self-check has ended yet"


def test_a_passed_check_makes_it_ready_until_three_intervals_without_one() -> None:
    readiness = Readiness(60)
    readiness.take(Finding(100.0))
    assert readiness.is_ready(SERVING, 100.0 + 60 * STALE_CHECKS).ok
    assert "overloaded" in readiness.is_ready(SERVING, 101.0 + 60 * STALE_CHECKS).remedy


def test_a_failed_check_takes_readiness_away_and_says_why_but_it_has_started() -> None:
    readiness = Readiness(60)
    readiness.take(Finding(1.0))
    readiness.take(Finding(2.0, "The quote does not hold", "Look"))
    assert readiness.is_ready(SERVING, 2.0) == (False, "The quote does not hold", "Look")
    assert readiness.has_started().ok
    readiness.take(Finding(3.0))
    assert readiness.is_ready(SERVING, 3.0).ok


def test_a_daemon_too_busy_to_tell_stays_what_it_was() -> None:
    for first, ready in ((Finding(1.0), True), (Finding(1.0, "broken", "mend"), False)):
        readiness = Readiness(60)
        readiness.take(first)
        readiness.take(Finding(2.0, "18 BUSY", "wait", decided=False))
        assert readiness.is_ready(SERVING, 2.0).ok is ready


def test_busy_at_the_first_check_is_not_ready_and_says_so() -> None:
    readiness = Readiness(60)
    readiness.take(Finding(2.0, "18 BUSY", "wait", decided=False))
    assert readiness.is_ready(SERVING, 2.0) == (False, "18 BUSY", "wait")
    assert readiness.has_started() == (False, "18 BUSY", "wait")


@pytest.mark.parametrize("state", [DaemonState.RETIRED, DaemonState.ENDING])
def test_who_serves_no_more_is_not_ready_whatever_it_found(state: DaemonState) -> None:
    readiness = Readiness(60)
    readiness.take(Finding(1.0))
    assert not readiness.is_ready(state, 1.0).ok
