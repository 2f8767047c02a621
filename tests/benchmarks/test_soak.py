from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks.soak_clients import CAREFUL, STEADY, Failure
from benchmarks.soak_node import Look
from benchmarks.soak_report import KILL_SERVING, Mark, grown, load, unexplained

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

KILL, HAND_OVER = Mark(100.0, KILL_SERVING), Mark(200.0, "hand-over")


def test_a_short_soak_costs_nothing_but_what_kills_cost_and_draws_it(
    benchmark_module: Callable[..., subprocess.CompletedProcess[str]], state: Path, tmp_path: Path
) -> None:
    document, plot, kept = (tmp_path / name for name in ("performance.md", "soak.svg", "soak.json"))
    document.write_text("<!-- soak: begin -->\n<!-- soak: end -->\n")
    results = ("--out", str(kept), "--plot", str(plot), "--docs", str(document))
    done = benchmark_module("soak", "--minutes", "0.25", "--state", str(state), *results, check=False)
    run = load(kept)
    assert run.complaints == []
    assert unexplained(run.failures, run.marks) == []
    assert run.counts["steady"] > 0
    assert len({mark.name for mark in run.marks}) > 2
    assert run.samples
    assert "| good requests that failed |" in document.read_text()
    assert plot.read_text().startswith("<svg")
    assert done.returncode == ("FAILED" in done.stdout)
    again = benchmark_module("soak", "--again", "--out", str(kept), check=False)
    assert again.stdout == done.stdout


# The verdict


def closed(moment: float, kind: str = "closed") -> Failure:
    return Failure(moment, "steady", kind)


def test_what_is_broken_off_right_after_a_kill_is_explained() -> None:
    assert unexplained([closed(100.1), closed(101.0, "short")], [KILL, HAND_OVER]) == []


@pytest.mark.parametrize("failure", [closed(99.9), closed(110.0), closed(200.1), closed(100.1, "status")])
def test_anything_else_is_not(failure: Failure) -> None:
    (complaint,) = unexplained([failure], [KILL, HAND_OVER])
    assert complaint == f"1 good requests failed, steady: {failure.kind}"


def test_a_kill_costs_no_more_than_there_are_clients() -> None:
    most = STEADY + CAREFUL
    assert unexplained([closed(100.1)] * most, [KILL]) == []
    assert unexplained([closed(100.1)] * (most + 1), [KILL]) == [f"a kill cost {most + 1} requests"]


def looks(*rss_kib: int, descriptors: int = 10) -> list[Look]:
    return [Look(4, rss, 2 * rss, rss // 2, descriptors) for rss in rss_kib]


def test_memory_that_grows_is_noticed() -> None:
    assert grown(looks(*range(20_000, 30_000, 500)), "it")[0] == "it: rss_kib grew from 21,250 to 28,250"


def test_one_descriptor_more_is_noticed() -> None:
    same = looks(20_000, 20_000, 20_000)
    assert grown([*same, *looks(20_000, 20_000, 20_000, descriptors=11)], "it") == [
        "it: descriptors grew from 10 to 11"
    ]


def test_what_goes_up_and_down_has_not_grown() -> None:
    assert grown(looks(20_000, 25_000, 20_000, 22_000, 20_000, 25_000), "it") == []


def test_what_is_kept_can_be_read_again(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    look = [4, 1, 2, 3, 5]
    document = {
        "begin": 0.0,
        "end": 9.0,
        "stay": [3.0, 6.0],
        "marks": [[1.0, "reload"]],
        "samples": [[1.0, look, look]],
        "aged": [[1, look]],
        "failures": [[1.0, "steady", "closed"]],
        "answered": [[1.0, 5]],
        "counts": {},
        "complaints": [],
        "machine": "one",
    }
    file.write_text(json.dumps(document))
    assert json.loads(json.dumps(load(file)._asdict())) == document
