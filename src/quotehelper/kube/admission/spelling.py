"""Names that were meant: the nearest known one, by edit distance. Pure."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NEAR = 2
"""Edits up to which a name is taken for a misspelling of another."""
CANDIDATES = 64
"""Known names that are compared at most: names from outside can be many."""
LENGTH_LIMIT = 128
"""Characters of a name that is compared at most."""


def edit_distance(one: str, other: str) -> int:
    """How many characters must be put in, left out, changed, or swapped with their neighbour to get ``other``."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, mine in enumerate(one, 1):
        before, last, row = row, before, [at]
        for to, theirs in enumerate(other, 1):
            cost = min(before[to] + 1, row[to - 1] + 1, before[to - 1] + (mine != theirs))
            if at > 1 and to > 1 and mine == other[to - 2] and one[at - 2] == theirs:
                cost = min(cost, last[to - 2] + 1)
            row.append(cost)
    return row[-1]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name``, which is none of them, is a misspelling of; None if there is no such."""
    if len(name) > LENGTH_LIMIT:
        return None
    close = [other for other in islice(known, CANDIDATES) if abs(len(other) - len(name)) <= NEAR]
    ranked = sorted((edit_distance(name.lower(), other.lower()), other) for other in close)
    return ranked[0][1] if ranked and ranked[0][0] <= min(NEAR, max(1, len(name) // 3)) else None
