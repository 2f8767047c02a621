"""One mapping for all processes: rows, totals that survive, a layout that holds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.aesm.messages import REQUESTS, GetQuoteExRequest, InitQuoteExRequest
from quotehelper.aesm.status import AesmStatus
from quotehelper.errors import ConfigError
from quotehelper.node.counters import (
    BUCKETS,
    FIRST_BUCKET_US,
    OPERATIONS,
    STATUSES,
    Counters,
    Quoting,
    ServingCount,
    Supervision,
    WorkerCount,
    quoting_of,
)


def test_what_one_process_counts_another_reads_and_a_successor_counts_on() -> None:
    counters = Counters.create(3)
    script = (
        "import sys; from quotehelper.node.counters import Counters; from quotehelper.aesm.messages import *;"
        "row = Counters.open(int(sys.argv[1]), writable=True).serving[2]; row.answered(InitQuoteExRequest, 0)"
    )
    for _ in range(2):
        fd = counters.descriptor
        subprocess.run([sys.executable, "-c", script, str(fd)], pass_fds=[fd], check=True)
    assert counters.serving[2].requests() == {("init_quote_ex", 0): 2}
    assert counters.serving[1].requests() == {}


def test_rows_do_not_touch_each_other() -> None:
    counters = Counters.create(2)
    for cell in Supervision:
        counters.supervisor[cell] = 1
    for slot, row in enumerate(counters.workers):
        for worker_cell in WorkerCount:
            row[worker_cell] = 10 + slot
    for slot, serving in enumerate(counters.serving):
        for serving_cell in ServingCount:
            serving.set(serving_cell, 100 + slot)
        for kind in REQUESTS.values():
            for status in range(STATUSES):
                serving.answered(kind, status)
        for status in range(STATUSES):
            serving.quoted(status, 1e9)
    again = Counters.open(counters.descriptor, writable=False)
    assert {again.supervisor[cell] for cell in Supervision} == {1}
    for slot in range(2):
        assert {again.workers[slot][cell] for cell in WorkerCount} == {10 + slot}
        assert {again.serving[slot].get(cell) for cell in ServingCount} == {100 + slot}
        requests = again.serving[slot].requests()
        assert len(requests) == (len(OPERATIONS) + 1) * STATUSES
        assert requests["get_quote_ex", 5] == 2
        assert requests["init_quote_ex", 5] == 1
        assert requests["retired", 5] == len(REQUESTS) - len(OPERATIONS)
        assert sum(sum(again.serving[slot].latencies(quoting).buckets) for quoting in Quoting) == STATUSES


def test_every_status_of_aesm_is_counted_apart() -> None:
    assert max(AesmStatus) < STATUSES - 1


def test_a_status_that_only_a_foreign_service_gives_is_counted_at_the_end() -> None:
    row = Counters.create(1).serving[0]
    row.answered(InitQuoteExRequest, 4_000_000_000)
    row.quoted(70, 0.001)
    assert row.requests() == {("init_quote_ex", STATUSES - 1): 1, ("get_quote_ex", STATUSES - 1): 1}


@given(st.floats(0, 1e6))
def test_a_latency_is_in_the_first_bucket_whose_bound_it_does_not_reach(seconds: float) -> None:
    row = Counters.create(1).serving[0]
    row.quoted(0, seconds)
    ((bucket, count),) = [(at, n) for at, n in enumerate(row.latencies(Quoting.QUOTED).buckets) if n]
    microseconds = int(seconds * 1e6)
    below = bucket == 0 or FIRST_BUCKET_US << (bucket - 1) <= microseconds
    above = bucket == BUCKETS - 1 or microseconds < FIRST_BUCKET_US << bucket
    assert (count, below, above) == (1, True, True)
    assert row.latencies(Quoting.QUOTED).sum_us == microseconds


@pytest.mark.parametrize(
    ("status", "quoting"),
    [(0, Quoting.QUOTED), (18, Quoting.BUSY), (30, Quoting.UNAVAILABLE), (3, Quoting.REFUSED), (47, Quoting.REFUSED)],
)
def test_latencies_are_told_apart_by_what_became_of_the_request(status: int, quoting: Quoting) -> None:
    row = Counters.create(1).serving[0]
    row.quoted(status, 0.0)
    assert quoting_of(status) is quoting
    assert {each: sum(row.latencies(each).buckets) for each in Quoting} == {each: each is quoting for each in Quoting}


def test_what_a_dead_process_had_going_on_is_taken_back_and_its_totals_stay() -> None:
    counters = Counters.create(1)
    for cell in ServingCount:
        counters.serving[0].set(cell, 7)
    counters.serving[0].answered(GetQuoteExRequest, 0)
    counters.clear_gauges(0)
    left = {cell for cell in ServingCount if counters.serving[0].get(cell)}
    assert left == {ServingCount.CONNECTIONS, ServingCount.REFUSED_FRAMES, ServingCount.EXPIRED, ServingCount.MADE_ROOM}
    assert counters.serving[0].requests() == {("get_quote_ex", 0): 1}


def test_another_layout_is_refused_with_what_to_do() -> None:
    counters = Counters.create(1)
    os.pwrite(counters.descriptor, b"\xff", 0)
    with pytest.raises(ConfigError, match="restart the daemon"):
        Counters.open(counters.descriptor, writable=False)


def test_nobody_can_change_the_size_so_that_others_would_crash() -> None:
    counters = Counters.create(1)
    with pytest.raises(PermissionError):
        os.ftruncate(counters.descriptor, 0)


def test_a_reader_cannot_write() -> None:
    counters = Counters.create(1)
    with pytest.raises(TypeError):
        Counters.open(counters.descriptor, writable=False).serving[0].add(ServingCount.CONNECTIONS)


def test_a_dead_workers_process_id_is_forgotten_and_its_totals_are_not() -> None:
    counters = Counters.create(2)
    counters.workers[1][WorkerCount.PID] = 4711
    counters.workers[1][WorkerCount.QUOTED] = 3
    counters.forget_worker(1)
    assert (counters.workers[1][WorkerCount.PID], counters.workers[1][WorkerCount.QUOTED]) == (0, 3)
