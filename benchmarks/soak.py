"""Half an hour of good and bad clients against a node whose daemon is killed, reloaded and relieved meanwhile.

    python -m benchmarks.soak [--minutes M] [--out FILE.json] [--plot FILE.svg] [--docs FILE.md] [--again]

In the first and the last third of the time instances come and go: some step is done every few seconds, each kind as
often as the others. In the second third one instance stays, and is only reloaded and flooded.

Exits with 1 if a good request failed that no SIGKILL of a serving process explains, if memory or descriptors grew
(an instance is compared with others of the same age, the one that stays with itself), if a process or a file was left
behind, or if a log holds what must not be there.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from benchmarks.document import markdown_table, replace_section
from benchmarks.plot import draw
from benchmarks.rig import BUILD, BenchError, platform
from benchmarks.soak_clients import Clients
from benchmarks.soak_node import Node
from benchmarks.soak_report import (
    KILL_IN_BURST,
    KILL_SERVING,
    Aged,
    Mark,
    Run,
    Sample,
    complaints_of,
    load,
    picture,
    save,
    table,
)
from benchmarks.workload import request_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

STEPS, SAMPLES = 225, 360
"""Things done to the node, and looks at it, in the whole time, if there is time enough."""

KILL_SUPERVISOR, KILL_CANDIDATE = "kill supervisor", "kill candidate"
KILL_WORKER, KILL_CONTROL = "kill platform worker", "kill control process"
RELOAD, HAND_OVER, OTHER_ENCLAVE, BURST = "reload", "hand-over", "hand-over, other QE", "burst"


@click.command()
@click.option("--minutes", type=click.FloatRange(0.1), default=30.0, show_default=True, help="For how long.")
@click.option(
    "--state", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A simulated platform's state."
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=BUILD / "soak.json", help="Where to keep it all."
)
@click.option("--again", is_flag=True, help="Judge and draw what --out holds instead of running.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw what was seen into this SVG file.")
@click.option(
    "--docs", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Put the table into this document."
)
def main(*, minutes: float, state: Path | None, out: Path, again: bool, plot: Path | None, docs: Path | None) -> None:
    """Load a node with good and bad clients, do harm to its daemon, and see that nothing grows and none fails."""
    try:
        run = load(out) if again else soak(state, minutes, Console(stderr=True))
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    if not again:
        save(run, out)
    complaints = complaints_of(run)
    rows = table(run, complaints)
    if plot is not None:
        plot.write_text(draw(picture(run)), encoding="utf-8")
    if docs is not None:
        replace_section(docs, "soak", markdown_table(("what", "seen"), rows))
    for row in rows:
        print(": ".join(row))
    for complaint in complaints:
        print(complaint)
    print("nothing grew, no good request failed that need not" if not complaints else "FAILED")
    sys.exit(bool(complaints))


def soak(state: Path | None, minutes: float, console: Console) -> Run:
    """``minutes`` minutes of it."""
    with platform(state) as ready:
        node = Node(ready)
        try:
            clients = Clients(node.socket, ready, request_frames(node.socket, ready), lambda: node.metrics)
            try:
                run = _Soaking(node, clients, minutes * 60, console).run()
            finally:
                clients.stop()
        finally:
            node.end()
    seen = clients.seen
    return run._replace(
        failures=list(seen.failures), answered=list(seen.answered), counts=dict(seen.counts), complaints=node.complaints
    )


def _machine() -> str:
    load_average = " ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"{os.cpu_count()} cores, load average at the end {load_average}"


class _Soaking:
    """A run as it goes on."""

    def __init__(self, node: Node, clients: Clients, seconds: float, console: Console) -> None:
        self._node, self._clients, self._console = node, clients, console
        self._begin = time.monotonic()
        self._end = self._begin + seconds
        self._period_s = max(1.0, seconds / STEPS)
        self._interval_s = max(0.5, seconds / SAMPLES)
        self._stay = (self._begin + seconds / 3, self._begin + 2 * seconds / 3)
        self._marks: list[Mark] = []
        self._samples: list[Sample] = []
        self._aged: list[Aged] = []
        self._over = threading.Event()
        self._acts: dict[str, Callable[[], object]] = {
            KILL_SERVING: lambda: node.kill_child("serving"),
            KILL_IN_BURST: lambda: self._kill_in_burst("serving"),
            KILL_WORKER: lambda: self._kill_in_burst("worker_process"),
            KILL_CONTROL: lambda: node.kill_child("control"),
            KILL_SUPERVISOR: node.kill_supervisor,
            KILL_CANDIDATE: node.kill_candidate,
            RELOAD: node.reload,
            HAND_OVER: node.hand_over,
            OTHER_ENCLAVE: lambda: node.hand_over(other_enclave=True),
            BURST: self._burst,
        }

    def run(self) -> Run:
        """Until the time is over."""
        watching = threading.Thread(target=self._watch, daemon=True)
        watching.start()
        steps = (_rounds(self._acts), _rounds((RELOAD, BURST)))
        try:
            while (now := time.monotonic()) < self._end:
                self._do(next(steps[self._stay[0] <= now < self._stay[1]]))
        finally:
            self._over.set()
            watching.join()
        return Run(
            begin=self._begin,
            end=time.monotonic(),
            stay=self._stay,
            marks=self._marks,
            samples=self._samples,
            aged=self._aged,
            failures=(),
            answered=(),
            counts={},
            complaints=(),
            machine=_machine(),
        )

    def _do(self, name: str) -> None:
        due, before = time.monotonic() + self._period_s, self._node.present
        self._marks.append(Mark(time.monotonic(), name))
        self._acts[name]()
        present = self._node.present
        age = present.ready_at + 0.6 * self._period_s
        _sleep_until(age)
        if present is not before:
            self._aged.append(Aged(present.number, self._node.look()))
        self._node.look_after()
        _sleep_until(due)
        if self._console.is_terminal or len(self._marks) % 10 == 0:
            passed, failed = (time.monotonic() - self._begin) / 60, len(self._clients.seen.failures)
            self._console.print(f"{passed:.1f} min, {len(self._marks)} steps, {failed} failed, last: {name}")

    def _burst(self) -> None:
        with self._clients.burst():
            time.sleep(self._period_s / 2)

    def _kill_in_burst(self, kind: str) -> None:
        with self._clients.burst():
            time.sleep(0.2)
            self._node.kill_child(kind)

    def _watch(self) -> None:
        while not self._over.wait(self._interval_s):
            self._samples.append(Sample(time.monotonic(), self._node.look(), self._node.look_at_all()))


def _rounds(names: Iterable[str]) -> Iterator[str]:
    """Each of ``names`` as often as the others, in an order that changes, but is the same every time."""
    dice = random.Random("soak")  # noqa: S311  an order, nothing secret
    round_of = list(names)
    while True:
        dice.shuffle(round_of)
        yield from round_of


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


if __name__ == "__main__":
    main()
