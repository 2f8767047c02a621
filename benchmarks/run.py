"""All figures of docs/performance.md: measured, judged, and written down.

    python -m benchmarks.run [--scale quick|full] [--only GROUP …] [--peer NAME=SOCKET …] [--gate]

Prints a table on standard output and writes build/bench.json. Nothing else should be busy on the machine meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cryptography
from cryptography.hazmat.backends.openssl import backend
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import admission, fairness, footprint, handover, pccs, rig, throughput, verification
from benchmarks.document import markdown_table, replace_section
from benchmarks.figures import SCALES, Figure, Plan
from benchmarks.rig import BUILD, BenchError, Daemon, build
from benchmarks.workload import request_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

GROUPS: dict[str, Callable[[Plan], Iterator[Figure]]] = {
    "quotes": throughput.quotes,
    "metadata": throughput.metadata,
    "errors": throughput.errors,
    "cost": footprint.own_cost,
    "fairness": fairness.quiet_client,
    "memory": footprint.memory,
    "start": footprint.start,
    "handover": handover.updates,
    "admission": admission.reviews,
    "pccs": pccs.collateral_service,
    "peers": throughput.against_peers,
    "verification": verification.verification,
}

OWN_SECTIONS = ("verification",)
"""Groups whose figures, which begin with their name, stand in a section of their own; all others in ``figures``."""


@click.command(context_settings={"show_default": True})
@click.option(
    "--scale", type=click.Choice(list(SCALES)), default="quick", help="How long to measure; tiny means nothing."
)
@click.option("--only", "groups", type=click.Choice(list(GROUPS)), multiple=True, help="Only these groups of figures.")
@click.option(
    "--peer", "peers", multiple=True, metavar="NAME=SOCKET", help="Compare with this AESM daemon, already running."
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=BUILD / "bench.json", help="All details."
)
@click.option(
    "--state", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A simulated platform's state."
)
@click.option("--docs", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Put the table there, too.")
@click.option("--gate", is_flag=True, help="Exit with 1 if a target is missed.")
def main(  # noqa: PLR0913  one argument an option
    *,
    scale: str,
    groups: tuple[str, ...],
    peers: tuple[str, ...],
    out: Path,
    state: Path | None,
    docs: Path | None,
    gate: bool,
) -> None:
    """Measure the figures of docs/performance.md."""
    try:
        figures, failures = measure(state, scale, groups or tuple(GROUPS), _peers(peers))
        document = _document(scale, figures)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document, indent=2) + "\n")
        if docs is not None:
            for section, told in _by_section(figures).items():
                replace_section(docs, section, _markdown(document["machine"], scale, told))
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    _print(figures, out)
    for failure in failures:
        click.echo(failure, err=True)
    if failures or (gate and not all(figure.reached for figure in figures)):
        sys.exit(1)


def measure(
    given: Path | None, scale: str, groups: Sequence[str], peers: dict[str, str]
) -> tuple[list[Figure], list[str]]:
    """The figures of ``groups`` on the platform ``given``, or a new one; and why others could not be measured."""
    build("load_generator")
    figures: list[Figure] = []
    failures: list[str] = []
    with rig.platform(given) as state, _progress(len(groups)) as advance:
        with Daemon(state) as daemon:
            frames = request_frames(daemon.socket, state)
        plan = Plan(state, frames, SCALES[scale], peers)
        for group in groups:
            advance(group, 0)
            try:
                for figure in GROUPS[group](plan):
                    figures.append(figure)
                    advance(f"{group}: {figure.name}", 0)
            except BenchError as error:
                failures.append(f"{group} could not be measured: {error}")
            advance(group, 1)
    return figures, failures


def _by_section(figures: Sequence[Figure]) -> dict[str, list[Figure]]:
    """``figures`` by the section of the document that they belong to; what was not measured stays as it is there."""
    sections: dict[str, list[Figure]] = {}
    for figure in figures:
        own = (name for name in OWN_SECTIONS if figure.name.startswith(name))
        sections.setdefault(next(own, "figures"), []).append(figure)
    return sections


def _peers(given: Sequence[str]) -> dict[str, str]:
    peers = dict(peer.partition("=")[::2] for peer in given)
    for name, path in peers.items():
        if not name or not Path(path).is_socket():
            raise BenchError(f"--peer {name}={path}: give a name and the path of a socket")
    return peers


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[str, int], None]]:
    """A bar on standard error, where somebody watches."""
    if not sys.stderr.isatty():
        yield lambda _what, _steps: None
        return
    columns = (SpinnerColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda what, steps: progress.update(task, description=what, advance=steps)


def _document(scale: str, figures: Sequence[Figure]) -> dict[str, Any]:
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "scale": scale,
        "machine": describe_machine(),
        "figures": [figure.as_json() for figure in figures],
    }


def describe_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cryptography": cryptography.__version__,
        "openssl": backend.openssl_version_text(),
        "load_average": os.getloadavg()[0],
    }


def _print(figures: Sequence[Figure], out: Path) -> None:
    terminal = sys.stdout.isatty()
    console = Console(highlight=False, width=None if terminal else 160)
    table = Table("figure", "target", "measured", "reached", box=None, pad_edge=False)
    for figure in figures:
        verdict = "[green]yes[/]" if figure.reached else "[red]no[/]"
        table.add_row(figure.name, str(figure.target), figure.measured, verdict)
    console.print(table)
    console.print(f"Details: {os.path.relpath(out)}", style="dim")


def _markdown(machine: dict[str, Any], scale: str, figures: Sequence[Figure]) -> str:
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine.items())
    rows = [[x.name, str(x.target), x.measured, "yes" if x.reached else "no"] for x in figures]
    return f"Scale {scale}; {told}.\n\n" + markdown_table(("figure", "target", "measured", "reached"), rows)


if __name__ == "__main__":
    main()
