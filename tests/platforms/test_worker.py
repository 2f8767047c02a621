"""A platform in a worker process: what survives the worker, and what does not. Real processes, really killed."""

from __future__ import annotations

import select
import shutil
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from harness import DEADLINE_S, run_cli
from quotehelper.errors import DecodeError, PlatformCause, PlatformError
from quotehelper.node.config import Settings
from quotehelper.node.counters import WorkerCount
from quotehelper.node.leash import Word
from quotehelper.platforms.platform import Quoted, QuoteOrder, QuotingTarget
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load_cpu
from quotehelper.platforms.worker.messages import (
    MESSAGE_LIMIT_BYTES,
    Answer,
    Description,
    KeyDescription,
    encode_answer,
    encode_describe,
    read_request,
)
from quotehelper.platforms.worker.remote import REFRESH_S, WINDOW, Outcome, RemotePlatform
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.sgx.quote import read_quote
from quotehelper.sgx.report import Attributes, Report, TargetInfo
from real_worker import RealWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BEFORE_THIS_ONE = 5
"""A number such as a serving process that died would have used."""


@pytest.fixture
def worker(state: Path) -> Iterator[RealWorker]:
    with RealWorker(Settings("simulated", str(state))) as running:
        running.start()
        yield running


@pytest.fixture
def order(state: Path, worker: RealWorker) -> Callable[[int], QuoteOrder]:
    """Orders that can be told apart, for the worker's platform."""
    enclave = load_cpu(state).load(EnclaveIdentity(bytes(32), bytes(32), Attributes.build(flags=5, xfrm=3)))
    target_info = worker.platform().target(QE3_KEY_ID).target_info
    return lambda number: QuoteOrder(enclave.report(target_info, number.to_bytes(64)), QE3_KEY_ID, None)


def hear(remote: RemotePlatform, count: int) -> list[Outcome]:
    """The outcomes of ``count`` quotes, waited for."""
    outcomes: list[Outcome] = []
    give_up = time.monotonic() + DEADLINE_S
    while len(outcomes) < count:
        assert time.monotonic() < give_up, f"only {len(outcomes)} of {count}"
        select.select([remote.fileno()], [], [], 1)
        outcomes += remote.receive()
    return outcomes


def number_in(outcome: Outcome) -> int:
    assert isinstance(outcome.result, Quoted), outcome.result
    return int.from_bytes(read_quote(outcome.result.quote).body.raw[320:384])


def test_answers_come_in_order_and_to_their_requests(worker: RealWorker, order: Callable[[int], QuoteOrder]) -> None:
    remote = worker.platform()
    asked = [remote.ask_quote(order(number)) for number in range(WINDOW)]
    outcomes = hear(remote, WINDOW)
    assert [outcome.token for outcome in outcomes] == asked
    assert [number_in(outcome) for outcome in outcomes] == list(range(WINDOW))


def test_no_more_is_asked_at_once_than_the_window_holds(worker: RealWorker, order: Callable[[int], QuoteOrder]) -> None:
    remote = worker.platform()
    worker.signal(signal.SIGSTOP)
    asked = [remote.ask_quote(order(number)) for number in range(WINDOW + 1)]
    assert asked[-1] is None
    assert None not in asked[:-1]
    assert not remote.has_room
    worker.signal(signal.SIGCONT)
    hear(remote, WINDOW)
    assert remote.has_room


def test_what_a_dead_worker_had_not_read_its_successor_does(
    worker: RealWorker, order: Callable[[int], QuoteOrder]
) -> None:
    remote = worker.platform()
    worker.signal(signal.SIGSTOP)
    asked = [remote.ask_quote(order(number)) for number in range(5)]
    worker.signal(signal.SIGKILL)
    worker.start()
    assert {outcome.token: number_in(outcome) for outcome in hear(remote, 5)} == dict(zip(asked, range(5), strict=True))


def test_workers_killed_at_any_moment_cost_no_quote(worker: RealWorker, order: Callable[[int], QuoteOrder]) -> None:
    """Each request is lost at most once here: the next worker lives until it has answered all."""
    remote = worker.platform()
    for _ in range(6):
        tokens = {remote.ask_quote(order(number)): number for number in range(WINDOW)}
        outcomes = hear(remote, 3)
        worker.signal(signal.SIGKILL)
        worker.start()
        outcomes += hear(remote, WINDOW - len(outcomes))
        assert {outcome.token: number_in(outcome) for outcome in outcomes} == tokens
    while remote.generation != 7 or remote.outstanding:
        assert select.select([remote.fileno()], [], [], DEADLINE_S)[0]
        assert remote.receive() == [], "each is told once"


def test_metadata_is_told_while_the_worker_does_not_move(worker: RealWorker) -> None:
    remote = worker.platform()
    told = (remote.attestation_keys(), remote.target(QE3_KEY_ID), remote.quote_size(QE3_KEY_ID))
    worker.signal(signal.SIGSTOP)
    assert (remote.attestation_keys(), remote.target(QE3_KEY_ID), remote.quote_size(QE3_KEY_ID)) == told


def test_a_worker_ends_on_sigterm_and_when_nobody_can_ask_any_more(state: Path) -> None:
    with RealWorker(Settings("simulated", str(state))) as worker:
        worker.start()
        worker.signal(signal.SIGTERM)
        assert worker.process is not None
        assert worker.process.wait(DEADLINE_S) == 0
        worker.start()
        worker.ours.close()
        assert worker.process.wait(DEADLINE_S) == 0


def test_a_state_that_cannot_be_used_is_told_with_its_remedy(tmp_path: Path) -> None:
    with RealWorker(Settings("simulated", str(tmp_path))) as worker:
        said = worker.start()
        problem, remedy = said.content.decode().split("\0")
        assert (said.word, str(tmp_path) in problem, bool(remedy)) == (Word.FAILED, True, True)
        assert worker.process is not None
        assert worker.process.wait(DEADLINE_S) == 2


def test_sighup_opens_the_platform_anew_and_tells_if_it_is_another(state: Path, tmp_path: Path) -> None:
    own = tmp_path / "state"
    shutil.copytree(state, own)
    with RealWorker(Settings("simulated", str(own))) as worker:
        worker.start()
        remote = worker.platform()
        before = remote.target(QE3_KEY_ID)
        told: list[None] = []
        remote.on_description = lambda: told.append(None)
        run_cli("simulate", "update-qe", "--state", str(own), "--isv-svn", "12")
        worker.signal(signal.SIGHUP)
        while not told:
            assert select.select([remote.fileno()], [], [], DEADLINE_S)[0]
            remote.receive()
        assert remote.target(QE3_KEY_ID) != before
        assert remote.generation == 1


def test_what_cannot_be_opened_anew_stays_as_it_is(
    state: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], order: Callable[[int], QuoteOrder]
) -> None:
    own = tmp_path / "state"
    shutil.copytree(state, own)
    with RealWorker(Settings("simulated", str(own))) as worker:
        worker.start()
        remote = worker.platform()
        (own / "platform.json").write_text("{}")
        worker.signal(signal.SIGHUP)
        assert isinstance(remote.quote(*order(1)), Quoted)
        worker.signal(signal.SIGTERM)
        assert worker.process is not None
        worker.process.wait(DEADLINE_S)
    assert "ERROR not reloaded" in capfd.readouterr().err


def test_a_worker_counts_what_it_does(worker: RealWorker, order: Callable[[int], QuoteOrder]) -> None:
    remote = worker.platform()
    remote.quote(*order(1))
    with pytest.raises(PlatformError) as refused:
        remote.quote(Report(bytes(432)), QE3_KEY_ID)
    assert refused.value.cause is PlatformCause.INVALID_REPORT
    row = worker.counters.workers[0]
    assert (row[WorkerCount.GENERATION], row[WorkerCount.QUOTED], row[WorkerCount.REFUSED]) == (1, 1, 1)
    assert row[WorkerCount.BUSY_NS] > 0


def test_a_worker_survives_what_makes_no_sense(worker: RealWorker, order: Callable[[int], QuoteOrder]) -> None:
    remote = worker.platform()
    for nonsense in (b"\0", b"\2\0\0\0" + bytes(8), bytes(100), bytes(MESSAGE_LIMIT_BYTES)):
        worker.ours.settimeout(DEADLINE_S)
        worker.ours.send(nonsense)
        worker.ours.settimeout(0)
    assert isinstance(remote.quote(*order(1)), Quoted)


# The asking side, the test being the worker at the other end


class Scripted:
    """The worker's end of a channel, and the asking side with a clock that stands still unless it is moved."""

    def __init__(self) -> None:
        ours, self.end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.end.settimeout(DEADLINE_S)
        self.now = 100.0
        self.complaints: list[DecodeError] = []
        self.remote = RemotePlatform(ours, self.complaints.append, lambda: self.now)

    def read(self) -> int:
        """The number of the next request."""
        return read_request(self.end.recv(MESSAGE_LIMIT_BYTES)).number

    def describe(self, number: int, generation: int, error: PlatformError | None = None) -> None:
        target = error or PlatformError(PlatformCause.FAILED)
        self.say(Answer(number, Description(generation, (KeyDescription(QE3_KEY_ID, target, error or 5),), {})))

    def say(self, answer: Answer) -> None:
        self.end.send(encode_answer(answer))


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    script = Scripted()
    yield script
    script.remote.close()
    script.end.close()


ORDER = QuoteOrder(Report(bytes(432)), QE3_KEY_ID, None)
QUOTED = Quoted(b"quote", None)


def test_a_request_lost_twice_fails_and_no_worker_is_asked_a_third_time(scripted: Scripted) -> None:
    remote = scripted.remote
    scripted.describe(scripted.read(), 1)
    assert remote.receive() == []
    token = remote.ask_quote(ORDER)
    outcomes: list[Outcome] = []
    for generation in (2, 3):
        scripted.read()  # and die
        scripted.describe(0, generation)
        assert remote.receive() == []
        scripted.describe(scripted.read(), generation)
        outcomes = remote.receive()
    ((lost, error),) = outcomes
    assert lost == token
    assert isinstance(error, PlatformError)
    assert error.cause is PlatformCause.UNAVAILABLE
    assert remote.outstanding == 0
    scripted.end.settimeout(0)
    with pytest.raises(BlockingIOError):
        scripted.read()


def test_an_answer_that_overtakes_shows_what_is_lost(scripted: Scripted) -> None:
    remote = scripted.remote
    scripted.describe(scripted.read(), 1)
    first, second = remote.ask_quote(ORDER), remote.ask_quote(ORDER)
    scripted.read()
    scripted.say(Answer(scripted.read(), QUOTED))
    assert remote.receive() == [Outcome(second or 0, QUOTED)]
    scripted.say(Answer(scripted.read(), QUOTED))
    assert remote.receive() == [Outcome(first or 0, QUOTED)]


def test_answers_to_a_predecessor_are_nobodys(scripted: Scripted) -> None:
    scripted.describe(scripted.read(), 1)
    scripted.remote.ask_quote(ORDER)
    scripted.say(Answer(BEFORE_THIS_ONE, QUOTED))
    assert scripted.remote.receive() == []
    assert scripted.remote.outstanding == 1


def test_what_cannot_be_read_is_complained_of_and_passed_over(scripted: Scripted) -> None:
    scripted.describe(scripted.read(), 1)
    token = scripted.remote.ask_quote(ORDER)
    scripted.end.send(b"nonsense")
    scripted.end.send(encode_describe(1))
    scripted.say(Answer(scripted.read(), QUOTED))
    assert scripted.remote.receive() == [Outcome(token or 0, QUOTED)]
    assert len(scripted.complaints) == 2


def test_when_nobody_has_the_other_end_everything_asked_for_fails_at_once(scripted: Scripted) -> None:
    token = scripted.remote.ask_quote(ORDER)
    scripted.end.close()
    ((lost, error),) = scripted.remote.receive()
    assert (lost, isinstance(error, PlatformError)) == (token, True)
    assert scripted.remote.ended
    with pytest.raises(PlatformError):
        scripted.remote.ask_quote(ORDER)


def test_a_key_that_cannot_be_used_fails_as_the_worker_said(scripted: Scripted) -> None:
    scripted.describe(scripted.read(), 1, PlatformError(PlatformCause.NETWORK, "no route", status=12))
    scripted.remote.receive()
    for ask in (scripted.remote.target, scripted.remote.quote_size):
        with pytest.raises(PlatformError) as refused:
            ask(QE3_KEY_ID)
        assert (refused.value.cause, refused.value.detail, refused.value.status) == (
            PlatformCause.NETWORK,
            "no route",
            12,
        )
    assert scripted.remote.is_doubtful


def test_a_failure_of_the_platforms_makes_doubtful_what_is_known_but_not_a_forged_report(scripted: Scripted) -> None:
    remote = scripted.remote
    target = QuotingTarget(TargetInfo(bytes(512)), bytes(32))
    scripted.say(Answer(scripted.read(), Description(1, (KeyDescription(QE3_KEY_ID, target, 5),), {})))
    remote.receive()
    assert not remote.is_doubtful
    for cause, doubtful in ((PlatformCause.INVALID_REPORT, False), (PlatformCause.UNAVAILABLE, True)):
        remote.ask_quote(ORDER)
        scripted.say(Answer(scripted.read(), PlatformError(cause)))
        remote.receive()
        assert remote.is_doubtful is doubtful


def test_a_description_that_was_asked_for_before_a_moment_says_nothing_of_it(scripted: Scripted) -> None:
    moment = scripted.now + 1
    scripted.now += 2
    scripted.describe(scripted.read(), 1)
    scripted.remote.receive()
    assert not scripted.remote.is_described_since(moment)
    scripted.remote.ask_description()
    scripted.describe(scripted.read(), 1)
    scripted.remote.receive()
    assert scripted.remote.is_described_since(moment)


def test_an_old_description_is_asked_for_anew_when_it_is_used_and_never_waited_for(scripted: Scripted) -> None:
    remote = scripted.remote
    scripted.describe(scripted.read(), 1)
    remote.receive()
    remote.attestation_keys()
    assert remote.outstanding == 0
    scripted.now += REFRESH_S
    assert remote.attestation_keys() == (QE3_KEY_ID,)
    remote.attestation_keys()
    assert remote.outstanding == 1
