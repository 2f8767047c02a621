from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quotehelper.node.config import Limits
from quotehelper.node.waiting import Connection, Phase, WaitingRoom

LIMITS = Limits(connections=3, received_bytes=100, header_s=5, body_s=10, idle_s=1)


def arrive(room: WaitingRoom, at: float, phase: Phase = Phase.HEADER, received: bytes = b"") -> Connection:
    connection = Connection(7, at)
    connection.received += received
    room.enter(connection, phase, at)
    return connection


def test_each_phase_has_its_own_deadline() -> None:
    room = WaitingRoom(LIMITS)
    deadlines = [arrive(room, 100.0, phase).deadline for phase in (Phase.HEADER, Phase.BODY, Phase.IDLE)]
    assert deadlines == [105.0, 110.0, 101.0]


def test_bytes_that_trickle_in_do_not_move_the_deadline() -> None:
    room = WaitingRoom(LIMITS)
    slow = arrive(room, 100.0, Phase.BODY, b"four")
    room.receive(slow, b"x")
    room.enter(slow, Phase.BODY, 109.0)
    assert [*room.expired(109.9)] == []
    assert next(room.expired(110.0)) is slow


def test_the_next_deadline_is_the_earliest_of_all_phases() -> None:
    room = WaitingRoom(LIMITS)
    assert room.next_deadline() is None
    arrive(room, 100.0, Phase.BODY)
    arrive(room, 103.0, Phase.HEADER)
    assert room.next_deadline() == 108.0


def test_the_connection_here_longest_makes_room() -> None:
    room = WaitingRoom(LIMITS)
    first = arrive(room, 1.0, Phase.BODY)
    for at in (2.0, 3.0):
        arrive(room, at)
        assert room.surplus() is None
    arrive(room, 4.0)
    assert room.surplus() is first


def test_too_many_bytes_received_make_room_too() -> None:
    room = WaitingRoom(LIMITS)
    first = arrive(room, 1.0, Phase.BODY, b"x" * 60)
    second = arrive(room, 2.0, Phase.BODY, b"x" * 40)
    assert room.surplus() is None
    room.receive(second, b"x")
    assert room.surplus() is first
    room.leave(first)
    assert room.surplus() is None


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([*Phase, None]), st.integers(0, 30)), max_size=60))
def test_the_room_counts_what_it_holds(steps: list[tuple[int, Phase | None, int]]) -> None:
    room = WaitingRoom(LIMITS)
    everybody = [Connection(fd, 0.0) for fd in range(6)]
    for now, (who, phase, size) in enumerate(steps):
        connection = everybody[who]
        if phase is None:
            room.leave(connection)
            connection.received.clear()
        else:
            room.enter(connection, phase, float(now))
            room.receive(connection, b"x" * size)
        inside = [c for c in everybody if c.phase is not None]
        assert set(room) == set(inside)
        assert len(room) == len(inside)
        over = len(inside) > LIMITS.connections or sum(len(c.received) for c in inside) > LIMITS.received_bytes
        assert (room.surplus() is not None) == over
