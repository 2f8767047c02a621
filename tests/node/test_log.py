from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.node.log import REPEATS_PER_SECOND, Level, Log, LogFormat, LogSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOON = 1_764_000_000.25


@pytest.fixture
def written() -> Iterator[Callable[..., list[str]]]:
    """Call with what to do to a log; returns the lines that it wrote."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    def write(
        act: Callable[[Log], None], layout: LogFormat = LogFormat.TEXT, clock: Callable[[], float] = lambda: NOON
    ) -> list[str]:
        act(Log(LogSettings(Level.INFO, layout), writing, clock))
        try:
            return os.read(reading, 1 << 20).decode().splitlines()
        except BlockingIOError:
            return []

    yield write
    os.close(reading)
    os.close(writing)


def test_a_text_line_has_time_level_event_and_fields(written: Callable[..., list[str]]) -> None:
    assert written(lambda log: log.info("client too slow", pid=7, reason="a b", empty="")) == [
        '2025-11-24T16:00:00.250Z INFO client too slow pid=7 reason="a b" empty=""'
    ]


def test_a_json_line_has_the_same(written: Callable[..., list[str]]) -> None:
    (line,) = written(lambda log: log.warning("x", pid=7), LogFormat.JSON)
    assert json.loads(line) == {"time": "2025-11-24T16:00:00.250Z", "level": "warning", "event": "x", "pid": 7}


def test_events_below_the_level_are_not_written(written: Callable[..., list[str]]) -> None:
    assert written(lambda log: log.debug("x")) == []


def test_what_must_be_seen_is_written_at_any_level(written: Callable[..., list[str]]) -> None:
    def act(log: Log) -> None:
        log.settings = LogSettings(Level.ERROR)
        log.announce("ready", socket="/s")

    assert written(act) == ["2025-11-24T16:00:00.250Z INFO ready socket=/s"]


def test_a_flood_of_one_event_is_counted_instead_of_written(written: Callable[..., list[str]]) -> None:
    now = [NOON]

    def act(log: Log) -> None:
        for _ in range(REPEATS_PER_SECOND + 90):
            log.info("malformed request")
        log.info("another event")
        now[0] += 1
        log.info("malformed request")

    lines = written(act, clock=lambda: now[0])
    assert sum("INFO malformed request" in line for line in lines) == REPEATS_PER_SECOND + 1
    assert any("another event" in line for line in lines)
    assert any('lines left out "malformed request"=90' in line for line in lines)


@given(st.text(), st.text())
def test_no_value_can_break_a_line_or_move_the_cursor(event_value: str, other: str) -> None:
    reading, writing = os.pipe()
    try:
        for layout in LogFormat:
            Log(LogSettings(Level.INFO, layout), writing, lambda: NOON).info("x", a=event_value, b=other)
        text = os.read(reading, 1 << 20).decode()
    finally:
        os.close(reading)
        os.close(writing)
    assert text.count("\n") == 2
    assert all(c.isprintable() or c == "\n" for c in text)


def test_a_log_that_can_not_be_written_ends_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    log = Log(LogSettings(), writing)
    log.info("into the void")
    os.close(writing)
