from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.kube.admission.spelling import CANDIDATES, LENGTH_LIMIT, edit_distance, nearest

WORDS = st.text(alphabet="abc", max_size=8)


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [
        ("", "", 0),
        ("", "ab", 2),
        ("epc", "ecp", 1),
        ("epc", "epcs", 1),
        ("epc", "ec", 1),
        ("epc", "enc", 1),
        ("ab", "cd", 2),
    ],
)
def test_edits_are_counted(one: str, other: str, edits: int) -> None:
    assert edit_distance(one, other) == edits


@given(WORDS, WORDS)
def test_distance_goes_both_ways_and_is_0_for_equals_alone(one: str, other: str) -> None:
    assert edit_distance(one, other) == edit_distance(other, one)
    assert (edit_distance(one, other) == 0) == (one == other)


@given(WORDS, st.integers(0, 8), st.sampled_from("abc"))
def test_one_character_more_is_one_edit(word: str, at: int, character: str) -> None:
    assert edit_distance(word, word[:at] + character + word[at:]) == 1


@given(WORDS, WORDS)
def test_distance_is_at_least_the_difference_in_length_and_at_most_the_longer(one: str, other: str) -> None:
    assert abs(len(one) - len(other)) <= edit_distance(one, other) <= max(len(one), len(other))


def test_the_nearest_name_is_found_and_strangers_are_not() -> None:
    assert nearest("aesmb", ["aesmd", "app"]) == "aesmd"
    assert nearest("nothing", ["aesmd", "app"]) is None


def test_short_names_are_not_taken_for_others_of_their_length() -> None:
    assert nearest("ab", ["cd"]) is None
    assert nearest("ab", ["ac"]) == "ac"


def test_what_is_too_long_or_too_many_is_not_compared() -> None:
    name = "a" * (LENGTH_LIMIT + 1)
    assert nearest(name, [name + "b"]) is None
    assert nearest("wordy", [*(["x"] * CANDIDATES), "wordx"]) is None
