"""Quotes through a worker, as the serving loop has them made: the quoter by itself, a real worker behind it."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

import frames
from harness import DEADLINE_S
from quotehelper.aesm.messages import GetQuoteExRequest, GetSupportedAttKeyIDNumRequest, decode_request
from quotehelper.node.config import Limits, Settings
from quotehelper.node.counters import Quoting, ServingCount, WorkerCount
from quotehelper.node.quoter import RemoteQuoter
from quotehelper.node.service import Service
from quotehelper.node.waiting import Connection
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load, load_cpu
from quotehelper.platforms.worker.remote import WINDOW
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.sgx.report import Attributes
from real_worker import RealWorker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import WrittenLog
    from quotehelper.node.counters import ServingCounts

FD = 1000
"""Stands for a connection that is open; the quoter only looks whether it is."""


class Bench:
    """A quoter over a real worker."""

    def __init__(self, worker: RealWorker, log: WrittenLog, limits: Limits) -> None:
        self.worker = worker
        self.platform = worker.platform()
        self.counts: ServingCounts = worker.counters.serving[0]
        self.quoter = RemoteQuoter(Service(self.platform, limits, log), self.platform, self.counts)
        self.answers: list[tuple[Connection, bytes]] = []

    def statuses(self, count: int) -> list[object]:
        """The statuses of ``count`` answers, waited for."""
        give_up = time.monotonic() + DEADLINE_S
        while len(self.answers) < count:
            assert time.monotonic() < give_up
            self.quoter.advance(self.answers)
        return [frames.reply(frame)[1][1] for _connection, frame in self.answers]


@pytest.fixture
def bench(state: Path, log: WrittenLog) -> Iterator[Bench]:
    with RealWorker(Settings("simulated", str(state))) as worker:
        worker.start()
        yield Bench(worker, log, Limits())


@pytest.fixture
def request_(state: Path) -> GetQuoteExRequest:
    enclave = load_cpu(state).load(EnclaveIdentity(bytes(32), bytes(32), Attributes.build(flags=5, xfrm=3)))
    report = enclave.report(load(state).target(QE3_KEY_ID).target_info, bytes(64))
    request = decode_request(frames.quote(report.raw, 8192)[4:])
    assert isinstance(request, GetQuoteExRequest)
    return request


def test_who_has_hung_up_before_the_worker_is_asked_costs_no_quote(bench: Bench, request_: GetQuoteExRequest) -> None:
    gone, there = Connection(FD, 0.0), Connection(FD, 0.0)
    bench.worker.signal(signal.SIGSTOP)
    now = time.monotonic()
    for connection in [there] * WINDOW + [gone] * 5 + [there]:
        bench.quoter.append((connection, request_, now))
    bench.quoter.advance(bench.answers)
    gone.fd = -1
    bench.worker.signal(signal.SIGCONT)
    assert bench.statuses(WINDOW + 1) == [0] * (WINDOW + 1)
    assert len(bench.quoter) == 0
    assert bench.worker.counters.workers[0][WorkerCount.QUOTED] == WINDOW + 1


def test_it_counts_what_it_answers_and_what_it_has(bench: Bench, request_: GetQuoteExRequest) -> None:
    bench.worker.signal(signal.SIGSTOP)
    for _ in range(WINDOW + 3):
        bench.quoter.append((Connection(FD, 0.0), request_, time.monotonic()))
    bench.quoter.advance(bench.answers)
    assert len(bench.quoter) == WINDOW + 3
    assert bench.counts.get(ServingCount.AT_WORKER) == WINDOW
    since = bench.counts.get(ServingCount.WORKER_SILENT_SINCE_NS)
    assert 0 < since <= time.monotonic_ns()
    bench.worker.signal(signal.SIGCONT)
    bench.statuses(WINDOW + 3)
    assert bench.counts.get(ServingCount.WORKER_SILENT_SINCE_NS) == bench.counts.get(ServingCount.AT_WORKER) == 0
    assert sum(bench.counts.latencies(Quoting.QUOTED).buckets) == WINDOW + 3


def test_a_request_that_is_not_right_is_refused_without_asking_the_worker(
    bench: Bench, request_: GetQuoteExRequest
) -> None:
    report, key, info = request_.report, request_.att_key_id, request_.qe_report_info
    bench.worker.signal(signal.SIGSTOP)
    for wrong in (
        GetQuoteExRequest(report=report[1:], att_key_id=key, qe_report_info=info, buf_size=8192),
        GetQuoteExRequest(report=report, att_key_id=key, qe_report_info=info, buf_size=100),
    ):
        bench.quoter.append((Connection(FD, 0.0), wrong, time.monotonic()))
    assert bench.statuses(2) == [3, 3]


def test_what_arrives_while_the_platform_has_trouble_waits_for_a_new_description(bench: Bench) -> None:
    bench.platform.is_doubtful = True
    bench.quoter.append((Connection(FD, 0.0), GetSupportedAttKeyIDNumRequest(), time.monotonic()))
    assert bench.statuses(1) == [0]
    assert not bench.quoter.is_doubtful
    assert bench.counts.requests() == {("get_supported_att_key_id_num", 0): 1}


def test_it_says_when_the_first_will_have_waited_too_long(bench: Bench, request_: GetQuoteExRequest) -> None:
    assert bench.quoter.next_turn() is None
    for arrived in (50.0, 60.0):
        bench.quoter.append((Connection(FD, 0.0), request_, arrived))
    assert bench.quoter.next_turn() == 50.0 + Limits().quote_s


def test_without_a_worker_for_good_everybody_is_answered_and_nothing_waited_for(
    bench: Bench, request_: GetQuoteExRequest
) -> None:
    bench.worker.signal(signal.SIGKILL)
    bench.worker.theirs.close()
    for _ in range(2):
        bench.quoter.append((Connection(FD, 0.0), request_, time.monotonic()))
    assert bench.statuses(2) == [30, 30]
    assert bench.quoter.descriptor is None
