"""What flaps is not passed on; what lasts is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quotehelper.kube.device_plugin.settling import Settling


def test_a_change_counts_once_it_has_lasted() -> None:
    settling = Settling("good", 2.0)
    assert not settling.offer("bad", 10.0)
    assert settling.due_s(10.5) == 1.5
    assert not settling.offer("bad", 11.9)
    assert settling.offer("bad", 12.0)
    assert (settling.value, settling.due_s(12.0)) == ("bad", None)


def test_a_flap_never_counts() -> None:
    settling = Settling("good", 2.0)
    assert not any(settling.offer("bad" if step % 2 else "good", step * 1.5) for step in range(100))


def test_another_change_begins_the_time_anew() -> None:
    settling = Settling("good", 2.0)
    settling.offer("bad", 0.0)
    assert not settling.offer("worse", 2.0)
    assert settling.offer("worse", 4.0)


def test_without_a_time_to_settle_each_change_counts_at_once() -> None:
    assert Settling("good", 0.0).offer("bad", 0.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=50))
def test_a_value_that_took_over_had_lasted(steps: list[tuple[bool, float]]) -> None:
    settling, now_s, since_s, last = Settling(value=False, settle_s=2.0), 0.0, 0.0, False
    for value, pause_s in steps:
        now_s += pause_s
        if value != last:
            since_s, last = now_s, value
        if settling.offer(value, now_s):
            assert now_s - since_s >= 2.0
            assert settling.value is value
