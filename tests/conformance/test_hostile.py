"""Whatever a daemon answers, each check has a result, in time."""

from __future__ import annotations

import datetime as dt
import itertools
import socket
import tempfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotehelper.conformance.catalogue import CHECKS
from quotehelper.conformance.check import Failed, NotJudged
from quotehelper.conformance.connection import Peer
from quotehelper.conformance.examine import SILENCES_LIMIT, examine
from quotehelper.conformance.examined import Examined
from quotehelper.conformance.prove import prove
from quotehelper.conformance.simulated import Means, means_of_state
from quotehelper.platforms.simulated import state as states
from rogue import Fault, Rogue

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.aesm import messages as m
    from quotehelper.conformance.check import Check

QUICKLY = [check for check in CHECKS if check.id not in {"framing.probes", "neighbours.idle"}]


@pytest.fixture(scope="module")
def means(state: Path) -> Means:
    return means_of_state(state, dt.datetime.now(dt.UTC))


class Scripted(Fault):
    """Answers with what ``write`` makes of request and right answer."""

    def __init__(self, write: Callable[[m.Request | bytes, bytes], bytes | None]) -> None:
        self.write = write

    def respond(self, request: m.Request | bytes, right: bytes) -> bytes | None:
        return self.write(request, right)

    def end(self, client: socket.socket, answer: bytes) -> None:
        if len(answer) >= 4 and len(answer) - 4 < int.from_bytes(answer[:4], "little"):
            client.shutdown(socket.SHUT_WR)


def results(path: Path, means: Means) -> list[str]:
    peer = Peer(str(path), timeout_s=2, prompt_s=0.5, pause_s=0.001, retry_pause_s=0)
    examined = Examined(peer, reporter=means.reporter, judge=means.judge)
    return [finding.verdict for finding in examine(examined, QUICKLY)]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=st.lists(st.binary(max_size=700), min_size=1, max_size=8))
def test_arbitrary_bytes_are_results(state: Path, means: Means, answers: list[bytes]) -> None:
    script = itertools.cycle(answers)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "aesm.socket"
        with Rogue(path, states.load(state), Scripted(lambda *_: next(script))):
            found = results(path, means)
    assert len(found) == len(QUICKLY)
    assert "failed" in found


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(), rate=st.sampled_from([0.02, 0.2, 1.0]))
def test_answers_with_any_bit_changed_are_results(state: Path, means: Means, seed: int, rate: float) -> None:
    """Mostly well-formed answers: they go deepest."""
    random = Random(seed)  # noqa: S311  which bit, no secret

    def spoil(_: m.Request | bytes, right: bytes) -> bytes | None:
        if not right or random.random() > rate:
            return right or None
        at = random.randrange(4, len(right))
        return right[:at] + bytes((right[at] ^ 1 << random.randrange(8),)) + right[at + 1 :]

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "aesm.socket"
        with Rogue(path, states.load(state), Scripted(spoil)):
            found = results(path, means)
            proof = prove(str(path), reporter=means.reporter, judge=means.judge, timeout_s=2)
    assert len(found) == len(QUICKLY)
    assert all(block.reason and block.remedy for block in proof.blocking)


@pytest.mark.parametrize("size", [0, 1 << 20 | 1, 0xFFFFFFFF], ids=["none", "too large", "4 GiB"])
def test_an_answer_of_no_or_absurd_size_is_refused_unread(state: Path, means: Means, tmp_path: Path, size: int) -> None:
    path = tmp_path / "aesm.socket"
    with Rogue(path, states.load(state), Scripted(lambda *_: size.to_bytes(4, "little") + bytes(8))):
        peer = Peer(str(path), timeout_s=5)
        (finding,) = examine(Examined(peer, reporter=None, judge=means.judge), [_check("num.answer")])
    assert isinstance(finding.result, Failed)
    assert f"{size} given" in finding.result.got


def test_a_silent_daemon_costs_a_few_deadlines_and_no_more(means: Means, tmp_path: Path) -> None:
    path = tmp_path / "aesm.socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(64)
        peer = Peer(str(path), timeout_s=0.05)
        findings = list(examine(Examined(peer, reporter=means.reporter, judge=means.judge), CHECKS))
    verdicts = [finding.verdict for finding in findings]
    assert verdicts.count("failed") <= SILENCES_LIMIT
    assert peer.silences <= 2 * SILENCES_LIMIT
    assert isinstance(findings[-1].result, NotJudged)
    assert "silent" in findings[-1].result.reason


def test_a_daemon_that_trickles_is_given_up_at_the_deadline(state: Path, means: Means, tmp_path: Path) -> None:
    """A byte before each single read's patience is over must not add up to for ever."""

    class Trickling(Fault):
        def send(self, client: socket.socket, answer: bytes) -> None:
            del answer
            client.sendall(b"\xff\0\0\0")
            client.settimeout(0.01)
            while True:
                client.sendall(b"\0")
                try:
                    if not client.recv(1):
                        return
                except TimeoutError:
                    pass

    path = tmp_path / "aesm.socket"
    with Rogue(path, states.load(state), Trickling()):
        peer = Peer(str(path), timeout_s=0.2)
        (finding,) = examine(Examined(peer, reporter=None, judge=means.judge), [_check("num.answer")])
    assert isinstance(finding.result, Failed)
    assert "no answer within 0.2 s" in finding.result.got


def test_a_daemon_that_ends_meanwhile_fails_what_is_left(state: Path, means: Means, tmp_path: Path) -> None:
    path = tmp_path / "aesm.socket"
    with Rogue(path, states.load(state), Fault()):
        peer = Peer(str(path), timeout_s=5)
        examining = examine(Examined(peer, reporter=means.reporter, judge=means.judge), QUICKLY[:4])
        assert next(examining).verdict == "passed"
    assert [finding.verdict for finding in examining] == ["failed"] * 3


def _check(check_id: str) -> Check:
    return next(check for check in CHECKS if check.id == check_id)
