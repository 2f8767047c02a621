"""Counts by peer in the shared mapping: who has a place, who makes room, what survives."""

from __future__ import annotations

from quotehelper.node.cgroup_path import Workload, WorkloadKind
from quotehelper.node.peer_counts import IDLE_S, PLACE_CELLS, PLACES, Counted, PeerCounts

HOST = Workload(WorkloadKind.HOST)


def pod(number: int) -> Workload:
    return Workload(WorkloadKind.POD, f"{number:08x}-0000-4000-8000-000000000001", f"{number:064x}")


class Table:
    """A table in memory of its own, and a clock."""

    def __init__(self) -> None:
        self.cells = memoryview(bytearray(8 * PLACES * PLACE_CELLS)).cast("Q")
        self.now = 1000.0
        self.counts = self.anew()

    def anew(self) -> PeerCounts:
        """What a process that replaces the writer makes of it."""
        return PeerCounts(self.cells, lambda: self.now)

    def count(self, workload: Workload, times: int = 1, *, busy: bool = False) -> None:
        for _ in range(times):
            self.counts.answered(self.counts.tally(workload), 18 if busy else 0)

    def read(self) -> dict[str, Counted]:
        return {counted.pod_uid or counted.kind: counted for counted in self.anew().read()}


def test_each_pods_container_is_counted_apart() -> None:
    table = Table()
    table.count(pod(1), 3)
    table.count(pod(1), 2, busy=True)
    table.count(pod(2))
    table.count(HOST)
    got = table.read()
    assert got[pod(1).pod_uid] == Counted("pod", pod(1).pod_uid, pod(1).container_id, 5, 2)
    assert got[pod(2).pod_uid][3:] == (1, 0)
    assert got["host"] == Counted("host", "", "", 1, 0)


def test_a_container_outside_of_pods_has_no_pod_uid() -> None:
    table = Table()
    table.count(Workload(WorkloadKind.CONTAINER, container_id="0f" * 32))
    assert table.read()["container"] == Counted("container", "", "0f" * 32, 1, 0)


def test_nothing_is_told_before_anything_was_counted() -> None:
    assert Table().read() == {}


def test_who_finds_no_place_is_counted_among_the_others() -> None:
    table = Table()
    for number in range(PLACES):
        table.count(pod(number))
    assert len(table.read()) == PLACES
    assert table.read()["other"].requests == 3  # three places are shared ones


def test_who_has_been_idle_makes_room_and_the_sum_stays() -> None:
    table = Table()
    busy_pods = range(1, PLACES - 3)
    for number in (0, *busy_pods, 1000):  # the last finds no place, and makes the first look
        table.count(pod(number))
    table.now += IDLE_S
    for number in busy_pods:
        table.count(pod(number))
    table.count(pod(1001))
    got = table.read()
    assert pod(0).pod_uid not in got
    assert got[pod(1001).pod_uid].requests == 1
    assert sum(counted.requests for counted in got.values()) == 2 * len(busy_pods) + 3


def test_who_still_holds_a_lost_place_counts_among_the_others() -> None:
    table = Table()
    held = table.counts.tally(pod(0))
    for number in range(1, PLACES):
        table.count(pod(number))
    table.now += IDLE_S
    table.count(pod(2000))
    before = table.read()["other"].requests
    table.counts.answered(held, 0)
    assert table.read()["other"].requests == before + 1


def test_who_replaces_the_writer_goes_on_in_its_places() -> None:
    table = Table()
    table.count(pod(1), 3)
    table.count(HOST, 2)
    table.counts = table.anew()
    table.count(pod(1))
    table.count(pod(2))
    table.count(HOST)
    got = table.read()
    assert (got[pod(1).pod_uid].requests, got[pod(2).pod_uid].requests, got["host"].requests) == (4, 1, 3)


def test_a_place_whose_writer_died_over_it_is_left_out_and_used_again() -> None:
    table = Table()
    table.count(pod(1), 3)
    at = table.counts.tally(pod(1)).at
    table.cells[at] |= 1
    assert pod(1).pod_uid not in table.read()
    table.counts = table.anew()
    table.count(pod(2))
    assert table.counts.tally(pod(2)).at == at
    assert sum(counted.requests for counted in table.read().values()) == 4
