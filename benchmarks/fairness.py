"""How much a flooding pod costs a quiet one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Target, middle, spread
from benchmarks.rig import Daemon, drive, finish, generator, must_answer, pod

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.figures import Plan
    from benchmarks.rig import Load

FLOODING = 64
PAUSE_MS = 4


def quiet_client(plan: Plan) -> Iterator[Figure]:
    """p99 of a pod that asks every few milliseconds, while another one's 64 clients flood, against idle."""
    idle, flooded = [], []
    with pod(1) as noisy, pod(2) as quiet, Daemon(plan.state) as daemon:
        for _ in range(plan.scale.slices):
            idle.append(_quiet(plan, daemon.socket, quiet).latency_us["p99"])
            crowd = ("--clients", str(FLOODING), "--seconds", "3600")
            with generator(daemon.socket, plan.frames["quote"], *crowd, within=noisy) as flood:
                flooded.append(_quiet(plan, daemon.socket, quiet).latency_us["p99"])
                must_answer(finish(flood, now=True), "flood")
    ratios = [a / b for a, b in zip(flooded, idle, strict=True)]
    yield Figure(
        "quiet client's p99 beside 64 that flood",
        Target("≤", 5, "times its idle p99"),
        middle(ratios),
        f"{middle(ratios):.1f}{spread(ratios)}: {middle(flooded):,.0f} µs to {middle(idle):,.0f} µs",
        {"ratios": ratios, "flooded_us": flooded, "idle_us": idle},
    )


def _quiet(plan: Plan, socket: str, within: Sequence[str]) -> Load:
    options = ("--pause-ms", str(PAUSE_MS), "--seconds", str(2 * plan.scale.slice_s), "--warm-up", "0.05")
    return must_answer(drive(socket, plan.frames["quote"], *options, within=within), "the quiet client")
