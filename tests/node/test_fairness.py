"""Turns between groups, and who makes room in a full house."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.node.fairness import MIXED_S, FairQueue


def filled(groups: str) -> FairQueue[str]:
    """One item for each letter, in order: the letter and its place among its group's."""
    queue: FairQueue[str] = FairQueue()
    for at, group in enumerate(groups):
        queue.append(group, float(at), f"{group}{groups[:at].count(group)}")
    return queue


def drained(queue: FairQueue[str]) -> list[str]:
    return [queue.popleft() for _ in range(len(queue))]


@pytest.mark.parametrize(
    ("groups", "order"),
    [
        ("aaa", "a0 a1 a2"),
        ("aaab", "a0 b0 a1 a2"),
        ("aaabbc", "a0 b0 c0 a1 b1 a2"),
    ],
)
def test_groups_are_served_by_turns_and_each_in_order(groups: str, order: str) -> None:
    assert drained(filled(groups)) == order.split()


def test_who_comes_while_a_crowd_waits_is_second() -> None:
    queue = filled("a" * 200)
    queue.popleft()
    queue.append("quiet", 300.0, "quiet")
    assert [queue.popleft(), queue.popleft()] == ["a1", "quiet"]


def test_the_first_is_what_is_taken_next() -> None:
    queue = filled("aab")
    while len(queue):
        first = queue.first()
        assert queue.popleft() == first


def test_the_last_of_the_longest_queue_makes_room() -> None:
    queue = filled("aaab")
    assert queue.displace("b") == "a2"
    assert queue.displace("c") == "a1"
    assert drained(queue) == ["a0", "b0"]


@pytest.mark.parametrize("group", ["a", "b"])
def test_who_has_as_many_as_the_longest_queue_or_one_less_displaces_nobody(group: str) -> None:
    assert filled("aab").displace(group) is None


def test_what_expired_is_taken_out_and_the_others_keep_their_turns() -> None:
    queue = filled("abbac")
    assert sorted(queue.expired(1.0)) == ["a0", "b0"]
    assert queue.oldest() == 2.0
    assert drained(queue) == ["a1", "b1", "c0"]


def test_a_single_groups_requests_are_not_mixed() -> None:
    queue = filled("aaaa")
    assert not queue.is_mixed(3.0)


def test_two_groups_are_mixed_until_one_has_asked_alone_for_a_while() -> None:
    queue = filled("aba")
    drained(queue)
    queue.append("a", 9.0, "")
    assert queue.is_mixed(2.0 + MIXED_S - 0.1)
    assert not queue.is_mixed(2.0 + MIXED_S)


@given(st.lists(st.one_of(st.sampled_from("abc"), st.just("take"), st.just("displace"), st.just("expire"))))
def test_it_does_what_a_plain_model_does(steps: list[str]) -> None:
    queue: FairQueue[int] = FairQueue()
    model: dict[str, deque[int]] = {}
    for at, step in enumerate(steps):
        if step == "take":
            if len(queue):
                group, waiting = next(iter(model.items()))
                assert queue.popleft() == waiting.popleft()
                del model[group]
                if waiting:
                    model[group] = waiting
        elif step == "displace":
            longest = max(model.values(), key=len, default=deque())
            assert queue.displace("d") == (longest.pop() if len(longest) > 1 else None)
        elif step == "expire":
            since = at - 5
            expected = {item for waiting in model.values() for item in waiting if item <= since}
            assert set(queue.expired(since)) == expected
            model = {g: deque(i for i in w if i > since) for g, w in model.items() if w[-1] > since}
        else:
            queue.append(step, float(at), at)
            model.setdefault(step, deque()).append(at)
        assert len(queue) == sum(map(len, model.values()))
        assert queue.oldest() == min((w[0] for w in model.values()), default=None)
        assert all(queue.waiting(group) == len(model.get(group, ())) for group in "abcd")
