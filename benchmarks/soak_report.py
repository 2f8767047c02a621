"""What a soak has seen: kept in a file, judged, told in a table, and drawn. Pure, but for the file."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.plot import Lane, Panel, Plot, Series
from benchmarks.soak_clients import BURST, CAREFUL, STEADY, Failure
from benchmarks.soak_node import Look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

EXPLAINED_S = 3.0
"""Seconds after a kill within which clients of the killed process see it, on a machine with much else to do."""

KILL_SERVING, KILL_IN_BURST = "kill serving process", "kill in a burst"
COST = {KILL_SERVING: STEADY + CAREFUL, KILL_IN_BURST: STEADY + CAREFUL + BURST}
"""Good requests that one kill can cost at most: as many as there are good clients. No other step may cost any."""

GROWTH = {"processes": 0, "rss_kib": 1024, "anonymous_kib": 1024, "descriptors": 0}
"""What may differ between early and late. Of PSS only the anonymous part is judged: the rest changes whenever another
program that shares Python's pages comes or goes."""

POINTS = 360
"""Points of a line in the picture."""

BROKEN_OFF = {"closed", "short"}


class Mark(NamedTuple):
    """Something that was done to the node. ``moment``: of the monotonic clock, as all moments here."""

    moment: float
    name: str


class Sample(NamedTuple):
    """One look: at the instance that serves, and at all processes of the node."""

    moment: float
    serving: Look
    node: Look


class Aged(NamedTuple):
    """A look at an instance, all at the same age."""

    instance: int
    look: Look


class Run(NamedTuple):
    """All that was seen.

    ``stay``: beginning and end of the time in which one instance stayed. ``answered``: moments, and quotes that the
    steady clients had been given until then. ``counts``: requests by who made them. ``complaints``: of processes,
    files and logs. ``machine``: what it ran on.
    """

    begin: float
    end: float
    stay: tuple[float, float]
    marks: Sequence[Mark]
    samples: Sequence[Sample]
    aged: Sequence[Aged]
    failures: Sequence[Failure]
    answered: Sequence[tuple[float, int]]
    counts: Mapping[str, int]
    complaints: Sequence[str]
    machine: str


def save(run: Run, file: Path) -> None:
    """Keep it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(run._asdict()), encoding="utf-8")


def load(file: Path) -> Run:
    """What ``save`` has kept."""
    run = Run(**json.loads(file.read_text(encoding="utf-8")))
    return run._replace(
        stay=(run.stay[0], run.stay[1]),
        marks=[Mark(*each) for each in run.marks],
        samples=[Sample(moment, Look(*serving), Look(*node)) for moment, serving, node in run.samples],
        aged=[Aged(instance, Look(*look)) for instance, look in run.aged],
        failures=[Failure(*each) for each in run.failures],
        answered=[(moment, count) for moment, count in run.answered],
    )


# The verdict


def complaints_of(run: Run) -> list[str]:
    """What went wrong: nothing, one hopes."""
    return [
        *unexplained(run.failures, run.marks),
        *grown([each.look for each in run.aged], "instances of the same age"),
        *grown(_stayed(run), "the instance that stays"),
        *run.complaints,
    ]


def _stayed(run: Run) -> list[Look]:
    """Looks at the instance that stays, once it is there and has warmed up."""
    begin, end = run.stay
    warm = begin + (end - begin) / 10
    return [each.serving for each in run.samples if warm <= each.moment <= end and each.serving.processes]


def unexplained(failures: Iterable[Failure], marks: Iterable[Mark]) -> list[str]:
    """Complaints of good requests that failed, unless they were broken off by the kill of a serving process."""
    kills = [mark for mark in marks if mark.name in COST]
    cost: Counter[Mark] = Counter()
    others: Counter[str] = Counter()
    for failure in failures:
        kill = next((kill for kill in kills if 0 <= failure.moment - kill.moment <= EXPLAINED_S), None)
        if kill is None or failure.kind not in BROKEN_OFF:
            others[f"{failure.who}: {failure.kind}"] += 1
        else:
            cost[kill] += 1
    complaints = [f"{count} good requests failed, {what}" for what, count in others.items()]
    return complaints + [f"a kill cost {count} requests" for kill, count in cost.items() if count > COST[kill.name]]


def grown(looks: Sequence[Look], what: str) -> list[str]:
    """Complaints of what is more in the last third of ``looks`` than in the first, by their medians."""
    third = len(looks) // 3
    if not third:
        return []
    complaints = []
    for name, tolerance in GROWTH.items():
        was, is_now = (median(getattr(look, name) for look in part) for part in (looks[:third], looks[-third:]))
        if is_now - was > tolerance:
            complaints.append(f"{what}: {name} grew from {was:,.0f} to {is_now:,.0f}")
    return complaints


# What is shown


def table(run: Run, complaints: Sequence[str]) -> list[tuple[str, str]]:
    """The figures, as rows."""
    done = Counter(mark.name for mark in run.marks)
    failed = Counter(f"{failure.who}, {failure.kind}" for failure in run.failures)
    looks = [each.look for each in run.aged]
    third = max(1, len(looks) // 3)
    stayed = _stayed(run)
    return [
        ("time", f"{(run.end - run.begin) / 60:.1f} min; {run.machine}"),
        ("done to the node", _counted(done)),
        ("requests", _counted(run.counts)),
        ("good requests that failed", _counted(failed) or "none"),
        (f"instances of the same age ({len(looks)}), first third", _middle(looks[:third])),
        ("the same, last third", _middle(looks[-third:])),
        ("the instance that stays, its first third", _middle(stayed[: len(stayed) // 3])),
        ("the same, its last third", _middle(stayed[-(len(stayed) // 3) :])),
        ("verdict", "; ".join(complaints) or "nothing grew, no good request failed that no kill explains"),
    ]


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))


def _middle(looks: Sequence[Look]) -> str:
    if not looks:
        return "not seen"
    rss, pss, descriptors = (
        median(getattr(look, name) for look in looks) for name in ("rss_kib", "pss_kib", "descriptors")
    )
    return f"RSS {rss / 1024:.1f} MiB, PSS {pss / 1024:.1f} MiB, {descriptors:.0f} descriptors"


def picture(run: Run) -> Plot:
    """What was seen over time, in minutes."""

    def minutes(moment: float) -> float:
        return max(0.0, (moment - run.begin) / 60)

    def line(name: str, look: Callable[[Sample], Look], value: Callable[[Look], float]) -> Series:
        looks = [(sample.moment, look(sample)) for sample in run.samples]
        return Series(name, [(minutes(moment), value(each) if each.processes else None) for moment, each in looks])

    def serving(sample: Sample) -> Look:
        return sample.serving

    def node(sample: Sample) -> Look:
        return sample.node

    def pss(look: Look) -> float:
        return look.pss_kib / 1024

    def descriptors(look: Look) -> float:
        return look.descriptors

    names = dict.fromkeys(mark.name for mark in sorted(run.marks, key=lambda mark: mark.name))
    return Plot(
        f"{STEADY + CAREFUL} good clients and three kinds of bad ones; {len(run.marks)} steps done to the daemon",
        "time, minutes",
        minutes(run.end),
        [
            Panel("quotes a second", [Series("steady clients, answered with status 0", _rates(run, minutes))]),
            Panel(
                "memory (PSS), MiB",
                [
                    line("instance that serves", serving, pss),
                    line("all processes, retired ones included", node, pss),
                ],
            ),
            Panel(
                "open descriptors",
                [
                    line("instance that serves", serving, descriptors),
                    line("all processes (clients' connections left aside)", node, descriptors),
                ],
            ),
        ],
        [
            *(Lane(name, [minutes(mark.moment) for mark in run.marks if mark.name == name]) for name in names),
            Lane("failed requests", [minutes(failure.moment) for failure in run.failures], bad=True),
        ],
    )


def _rates(run: Run, minutes: Callable[[float], float]) -> list[tuple[float, float]]:
    """The steady stream's quotes a second, over as long a time as between two samples."""
    told = run.answered
    stride = max(1, len(told) // POINTS)
    return [
        (minutes(later[0]), (later[1] - earlier[1]) / (later[0] - earlier[0]))
        for earlier, later in itertools.pairwise(told[::stride])
    ]
