"""Nothing is published that would hurt clients: a new instance proves itself before it takes the path over."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import frames
from harness import DEADLINE_S, Daemon
from quotehelper.node.proving import Told, Verdict, encode_verdict, parse_verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOLD = st.builds(Told, st.text(), st.text())


@pytest.fixture
def own_state(state: Path, tmp_path: Path) -> Path:
    """A copy of the platform that the test may damage."""
    return shutil.copytree(state, tmp_path / "own")


@pytest.fixture
def serving(start_daemon: Callable[..., Daemon], tmp_path: Path, own_state: Path) -> Daemon:
    return start_daemon(["--private-dir", str(tmp_path / "private")], state=own_state)


@pytest.fixture
def update(start_daemon: Callable[..., Daemon], tmp_path: Path, own_state: Path) -> Callable[..., Daemon]:
    def start(*options: str, ready: bool = False) -> Daemon:
        private = ["--private-dir", str(tmp_path / "private"), "--take-over"]
        return start_daemon([*private, *options], state=own_state, ready=ready)

    return start


def assert_refused(candidate: Daemon, serving: Daemon, reason: str) -> None:
    assert candidate.process.wait(DEADLINE_S) == 1
    assert reason in candidate.wait_for("ERROR not published")
    assert serving.process.poll() is None
    assert frames.reply(serving.exchange(frames.NUM)) == (21, {1: 0, 2: 1})


def test_quotes_too_large_for_gramine_are_not_published(
    serving: Daemon, update: Callable[..., Daemon], own_state: Path
) -> None:
    chain = (own_state / "pck_chain.pem").read_bytes().rstrip(b"\0")
    (own_state / "pck_chain.pem").write_bytes(chain.ljust(9000, b"\n") + b"\0")
    assert_refused(update(), serving, "within its 8192 bytes")


def test_a_worse_tcb_status_is_not_published(serving: Daemon, update: Callable[..., Daemon]) -> None:
    assert_refused(update("--qe-isv-svn", "7"), serving, "OutOfDate is worse than UpToDate")


def test_quotes_that_do_not_verify_are_not_published(serving: Daemon, update: Callable[..., Daemon]) -> None:
    assert_refused(update("--qe-isv-svn", "5"), serving, "below every level")


def test_a_changed_quoting_enclave_alone_is_no_reason(serving: Daemon, update: Callable[..., Daemon]) -> None:
    update("--qe-isv-svn", "12", ready=True)
    serving.wait_for("INFO retired")


def test_missing_collateral_is_only_told(serving: Daemon, update: Callable[..., Daemon], own_state: Path) -> None:
    (own_state / "authority" / "root.key").unlink()
    candidate = update(ready=True)
    assert "remedy=" in candidate.wait_for("WARNING doubt before publishing")
    serving.wait_for("INFO retired")


def test_an_examination_that_was_refused_leaves_nothing_behind(
    serving: Daemon, update: Callable[..., Daemon], tmp_path: Path
) -> None:
    assert_refused(update("--qe-isv-svn", "7"), serving, "worse")
    assert not list((tmp_path / "private").glob("candidate.*"))


def test_who_is_told_to_end_while_being_examined_ends(
    serving: Daemon, update: Callable[..., Daemon], tmp_path: Path
) -> None:
    candidate = update()
    end = time.monotonic() + DEADLINE_S
    while not list((tmp_path / "private").glob("candidate.*")):
        assert time.monotonic() < end, candidate.lines
    assert candidate.stop() == 0
    assert frames.reply(serving.exchange(frames.NUM)) == (21, {1: 0, 2: 1})


@given(st.builds(Verdict, st.lists(TOLD).map(tuple), st.lists(TOLD).map(tuple)))
def test_a_verdict_survives_its_way(verdict: Verdict) -> None:
    assert parse_verdict(encode_verdict(verdict).encode()) == verdict


@given(st.binary())
def test_whatever_an_examination_writes_it_publishes_nothing_by_accident(raw: bytes) -> None:
    assert parse_verdict(raw).blocking
