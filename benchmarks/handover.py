"""What an update of the daemon costs its clients."""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Target, middle, spread
from benchmarks.rig import Daemon, end, finish, generator, serve_command, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.figures import Plan
    from benchmarks.rig import Load

CLIENTS, PAUSE_MS = 4, 20
"""Together they ask 200 times a second."""


def updates(plan: Plan) -> Iterator[Figure]:
    """Requests that fail, and the longest that one takes, while one instance relieves another; beside none doing so."""
    loads, alone = [], []
    with Daemon(plan.state, *_private(plan)) as first:
        serving = first.process
        try:
            for number in range(max(2, plan.scale.slices)):
                with _clients(plan, first.socket) as idle:
                    pass
                with _clients(plan, first.socket) as updated:
                    successor = _relieve(plan, first, number)
                end(serving)
                serving = successor
                alone.append(idle.load)
                loads.append(updated.load)
        finally:
            end(serving)
    failed, requests = sum(load.failures for load in loads), sum(load.requests for load in loads)
    yield Figure(
        "requests that fail in hand-overs, 200 a second",
        Target("≤", 0),
        failed,
        f"{failed} of {requests:,} in {len(loads)} hand-overs",
        {"errors": [load.errors for load in loads]},
    )
    longest, before = ([load.latency_us["max"] / 1000 for load in each] for each in (loads, alone))
    added = [with_one - without for with_one, without in zip(longest, before, strict=True)]
    yield Figure(
        "what a hand-over adds to the slowest request",
        Target("≤", 50, "ms"),
        middle(added),
        f"{middle(added):.1f} ms{spread(added)}: {middle(longest):.1f} ms to {middle(before):.1f} ms",
        {"with_ms": longest, "without_ms": before},
    )


def _private(plan: Plan) -> tuple[str, str]:
    return "--private-dir", str(plan.state.with_name("private"))


class _Clients:
    """Clients at work; ``load`` is what they saw."""

    load: Load


@contextlib.contextmanager
def _clients(plan: Plan, socket: str) -> Iterator[_Clients]:
    """Clients that ask while something happens, and for as long as a slice at least."""
    options = ("--clients", str(CLIENTS), "--pause-ms", str(PAUSE_MS), "--seconds", "3600")
    until = time.monotonic() + plan.scale.slice_s
    clients = _Clients()
    with generator(socket, plan.frames["quote"], *options) as process:
        yield clients
        time.sleep(max(0.1, until - time.monotonic()))
        clients.load = finish(process, now=True)


def _relieve(plan: Plan, first: Daemon, number: int) -> subprocess.Popen[bytes]:
    """A further instance at the same socket, once it serves."""
    log = first.directory / f"log-{number}"
    command = serve_command(plan.state, first.socket, *_private(plan), "--take-over")
    with log.open("wb") as out:
        process = subprocess.Popen(command, stderr=out, start_new_session=True)
    wait_until(lambda: b" ready " in log.read_bytes(), process, log)
    return process
