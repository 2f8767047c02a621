"""Hours of good and bad clients against one daemon: nothing may grow, and no good client may fail.

    python -m benchmarks.soak [--minutes M]

Good: a flood of quotes from the load generator, and a careful client that checks each answer and each signature.
Bad: clients that stall in the middle of a request, send nonsense, ask for what is refused, or connect and close.
Exits with 1 if a good request failed, memory or descriptors grew, or a serving process had to be replaced.
"""

from __future__ import annotations

import random
import socket
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import click
from cryptography.exceptions import InvalidSignature
from rich.console import Console
from rich.live import Live
from rich.table import Table

from benchmarks.answers import check_answer
from benchmarks.rig import (
    BenchError,
    Daemon,
    descriptors,
    drive,
    exchange,
    platform,
    proportional_kib,
    resident_kib,
)
from benchmarks.workload import request_frames
from quotehelper.errors import QuoteHelperError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STALLED = 200
"""Clients that hold a connection without completing a request."""

SAMPLES = 120
"""Looks at the daemon in the whole time, at most."""

SETTLED_WITHIN_S = 30.0
"""Seconds in which all descriptors of clients must be gone after the last has ended: deadlines have passed by then."""

GROWTH_KIB = 256
"""What memory may differ by between early and late: as much as one look differs from the next."""

_BARS = "▁▂▃▄▅▆▇█"
_KEPT_FAILURES = 20


class Sample(NamedTuple):
    """One look at all of the daemon's processes; ``rate`` is of the flood's quotes since the last."""

    minutes: float
    rss_kib: int
    pss_kib: int
    descriptors: int
    rate: float


class Clients:
    """All clients but the flood, each kind in a thread, until ``stop``; what befell them is counted."""

    def __init__(self, server: str, frames: dict[str, bytes]) -> None:
        self.server = server
        self.frames = frames
        self.seen: Counter[str] = Counter()
        self.failures: deque[str] = deque(maxlen=_KEPT_FAILURES)
        self._stalled: deque[socket.socket] = deque()
        self._ended = threading.Event()
        kinds = {
            "careful": self._ask_and_check,
            "stalling": self._stall,
            "malformed": self._send_nonsense,
            "closing": self._connect_and_close,
        }
        self._threads = [threading.Thread(target=self._run, args=kind, daemon=True) for kind in kinds.items()]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all of them."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        while self._stalled:
            self._stalled.popleft().close()

    def _run(self, name: str, act: Callable[[random.Random], None]) -> None:
        dice = random.Random(name)  # noqa: S311  the same every time, not secret
        while not self._ended.wait(dice.uniform(0, 0.01)):
            try:
                act(dice)
            except (OSError, BenchError, QuoteHelperError, InvalidSignature) as error:
                self.failures.append(f"{name}: {type(error).__name__}: {error}")
            self.seen[name] += 1

    def _ask_and_check(self, dice: random.Random) -> None:
        kind = dice.choice(tuple(self.frames))
        check_answer(kind, self.frames[kind], exchange(self.server, self.frames[kind]))

    def _stall(self, dice: random.Random) -> None:
        """Send a part of a request and keep the connection, until the daemon or its turn ends it."""
        frame = self.frames["quote"]
        client = self._connect()
        client.send(frame[: dice.choice((0, 1, 2, 4, 5, dice.randrange(len(frame))))])
        self._stalled.append(client)
        if len(self._stalled) > STALLED:
            self._stalled.popleft().close()

    def _send_nonsense(self, dice: random.Random) -> None:
        """A request with a few bytes changed, cut off or made up; whatever the daemon does must leave it alive."""
        frame = bytearray(self.frames[dice.choice(tuple(self.frames))])
        for _ in range(dice.randrange(1, 4)):
            frame[dice.randrange(len(frame))] = dice.randrange(256)
        with self._connect() as client:
            client.settimeout(0.02)
            client.send(frame[: dice.randrange(1, len(frame) + 1)] + dice.randbytes(dice.choice((0, 0, 100))))
            try:
                client.recv(65536)
            except (TimeoutError, ConnectionError):
                return

    def _connect_and_close(self, _dice: random.Random) -> None:
        for _ in range(20):
            self._connect().close()

    def _connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.server)
        return client


@click.command()
@click.option("--minutes", type=click.FloatRange(0.01), default=60.0, show_default=True, help="For how long.")
@click.option(
    "--state", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A simulated platform's state."
)
def main(minutes: float, state: Path | None) -> None:
    """Load one daemon with good and bad clients, and see that nothing grows and no good one fails."""
    try:
        complaints = soak(state, minutes, Console(stderr=True))
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    for complaint in complaints:
        print(complaint)
    print("nothing grew, no good request failed" if not complaints else "FAILED")
    sys.exit(bool(complaints))


def soak(state: Path | None, minutes: float, console: Console) -> list[str]:
    """What went wrong in ``minutes`` minutes of it: nothing, one hopes."""
    with platform(state) as ready, Daemon(ready) as daemon:
        frames = request_frames(daemon.socket, ready)
        flood_errors: Counter[str] = Counter()
        _drive_a_while(daemon, frames, 1.0, flood_errors)
        before, serving = _settled_descriptors(daemon), daemon.serving
        clients = Clients(daemon.socket, frames)
        try:
            samples = _watch(daemon, frames, clients, minutes, flood_errors, console)
        finally:
            clients.stop()
        after = _settled_descriptors(daemon, before)
        replaced = serving != daemon.serving
    print_samples(samples, clients.seen)
    complaints = [f"a good request failed: {failure}" for failure in clients.failures]
    complaints += [f"flood: {count:,} requests failed: {name}" for name, count in flood_errors.items() if count]
    if after > before:
        complaints.append(f"{after} descriptors when all clients had gone, {before} before they came")
    if replaced:
        complaints.append("a serving process had to be replaced")
    return complaints + grown(samples)


def grown(samples: Sequence[Sample]) -> list[str]:
    """What grew between the second tenth of ``samples`` and the last. PSS can't tell: it changes with neighbours."""
    tenth = max(1, len(samples) // 10)
    early, late = samples[tenth : 2 * tenth], samples[-tenth:]
    if not early:
        return []
    was, is_now = (median(sample.rss_kib for sample in part) for part in (early, late))
    if is_now - was <= GROWTH_KIB:
        return []
    return [f"the daemon's memory grew from {was:,.0f} to {is_now:,.0f} KiB"]


def _watch(
    daemon: Daemon,
    frames: dict[str, bytes],
    clients: Clients,
    minutes: float,
    flood_errors: Counter[str],
    console: Console,
) -> list[Sample]:
    """Flood the daemon until the time is over, and look at it in between."""
    samples: list[Sample] = []
    interval = max(0.5, minutes * 60 / SAMPLES)
    begin = time.monotonic()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while (passed := (time.monotonic() - begin) / 60) < minutes:
            rate = _drive_a_while(daemon, frames, interval, flood_errors)
            samples.append(
                Sample(
                    passed,
                    sum(map(resident_kib, daemon.processes)),
                    proportional_kib(daemon.processes),
                    sum(map(descriptors, daemon.serving)),
                    rate,
                )
            )
            if console.is_terminal:
                live.update(_table(samples, clients.seen), refresh=True)
    return samples


def _drive_a_while(daemon: Daemon, frames: dict[str, bytes], seconds: float, errors: Counter[str]) -> float:
    """Quotes a second by the load generator; its failures are added to ``errors``."""
    load = drive(daemon.socket, frames["quote"], "--clients", "32", "--seconds", str(seconds), "--two-writes")
    errors.update(load.errors)
    return load.rate


def _settled_descriptors(daemon: Daemon, wanted: int = 0) -> int:
    """Open descriptors of the serving processes, once they are ``wanted`` or don't change any more."""
    give_up = time.monotonic() + SETTLED_WITHIN_S
    last = -1
    while True:
        count = sum(map(descriptors, daemon.serving))
        if (wanted and count <= wanted) or (not wanted and count == last) or time.monotonic() > give_up:
            return count
        last = count
        time.sleep(1)


def print_samples(samples: Sequence[Sample], seen: Counter[str]) -> None:
    """The table, on standard output."""
    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(_table(samples, seen))


def _table(samples: Sequence[Sample], seen: Counter[str]) -> Table:
    clients = ", ".join(f"{count:,} {name}" for name, count in sorted(seen.items()))
    table = Table(
        "", "first", "last", "lowest", "highest", "in time", box=None, title=f"{samples[-1].minutes:.1f} min: {clients}"
    )
    for name in Sample._fields[1:]:
        values = [float(getattr(sample, name)) for sample in samples]
        shown = (values[0], values[-1], min(values), max(values))
        table.add_row(name, *(f"{value:,.0f}" for value in shown), sparkline(values))
    return table


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """``values`` as a line of bars, the lowest to the highest; of many the means of neighbours."""
    count = min(width, len(values))
    parts = [values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)]
    means = [sum(part) / len(part) for part in parts]
    low, high = min(means), max(means)
    return "".join(_BARS[int((mean - low) / (high - low or 1) * (len(_BARS) - 1))] for mean in means)


if __name__ == "__main__":
    main()
