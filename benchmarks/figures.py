"""What a figure is: a question, a target, and what was measured; and what all measurements are given."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Target(NamedTuple):
    """The bound that a figure must keep: at least (``sign`` "≥") or at most ("≤") ``value``, in ``unit``."""

    sign: str
    value: float
    unit: str = ""

    def is_met(self, value: float) -> bool:
        """Whether ``value`` keeps it."""
        return value >= self.value if self.sign == "≥" else value <= self.value

    def __str__(self) -> str:
        return f"{self.sign} {self.value:g} {self.unit}".rstrip()


class Figure(NamedTuple):
    """One line of the result. ``value`` is what ``target`` judges; ``measured`` says in words what was seen."""

    name: str
    target: Target
    value: float
    measured: str
    details: dict[str, Any]

    @property
    def reached(self) -> bool:
        """Whether the target is met."""
        return self.target.is_met(self.value)

    def as_json(self) -> dict[str, Any]:
        """All of it, for machines."""
        return {
            "figure": self.name,
            "target": str(self.target),
            "value": self.value,
            "reached": self.reached,
            "measured": self.measured,
            "details": self.details,
        }


class Scale(NamedTuple):
    """How much is measured: a figure is the median of ``slices`` runs of ``slice_s`` seconds each.

    ``quotes``: how many are made before memory is looked at. ``starts``: how often a start is timed.
    """

    slice_s: float
    slices: int
    quotes: int
    starts: int


SCALES = {
    "tiny": Scale(0.1, 1, 2_000, 1),
    "quick": Scale(1.5, 5, 200_000, 15),
    "full": Scale(5.0, 7, 1_000_000, 41),
}
"""tiny: whether the machinery works; its figures mean nothing."""


class Plan(NamedTuple):
    """What every measurement is given.

    ``state``: a simulated platform's. ``frames``: a request frame of each kind, good for any daemon on that
    platform. ``peers``: sockets of other AESM daemons to compare with, by name.
    """

    state: Path
    frames: dict[str, bytes]
    scale: Scale
    peers: dict[str, str]


def spread(values: Sequence[float]) -> str:
    """The lowest and the highest of ``values`` behind a space, with three digits: how far to trust their median."""
    return f" ({min(values):.3g} to {max(values):.3g})" if len(values) > 1 else ""


def middle(values: Sequence[float]) -> float:
    """The median."""
    return float(median(values))
