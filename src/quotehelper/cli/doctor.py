"""``quotehelper doctor``: why quoting does not work, one check a subcommand."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from quotehelper.cli.exit_codes import EXIT_REFUSED
from quotehelper.cli.output import console, json_option, print_json, printable

if TYPE_CHECKING:
    from quotehelper.doctor.quoting_mode import Finding, Workload

_MODES = ("out-of-process", "in-process")


@click.group()
def command() -> None:
    """Find out why quoting does not work."""


@command.command()
@click.argument("pid", type=click.IntRange(1))
@click.option("--expect", type=click.Choice(_MODES), help="Exit with 1 unless this mode is in use.")
@json_option
def process(*, pid: int, expect: str | None, as_json: bool) -> None:
    """Tell which quoting mode the running process PID really uses.

    Looks at its environment, loaded libraries and open SGX devices, and says what shows what. Exit code 1 if it uses
    both modes, or not the one that is expected. Run it on the node, as root or as the process's user.
    """
    from quotehelper.doctor.quoting_mode import QuotingMode, judge_quoting_mode
    from quotehelper.doctor.workload import read_workload

    seen = read_workload(pid)
    finding = judge_quoting_mode(seen)
    if as_json:
        print_json(_as_json(pid, seen, finding))
    else:
        _print(pid, seen, finding)
    if finding.mode is QuotingMode.BOTH or (expect is not None and finding.mode.value != expect):
        sys.exit(EXIT_REFUSED)


def _as_json(pid: int, seen: Workload, finding: Finding) -> dict[str, object]:
    return {
        "pid": pid,
        "executable": seen.executable,
        "mode": finding.mode.value,
        "out_of_process_evidence": list(finding.out_of_process),
        "in_process_evidence": list(finding.in_process),
        "sgx_aesm_addr": seen.aesm_variable,
        "aesm_socket": seen.socket.value,
        "devices": sorted(seen.devices),
        "remedy": finding.remedy,
    }


def _print(pid: int, seen: Workload, finding: Finding) -> None:
    out = console()
    out.print(f"[bold]{pid} {printable(seen.executable)}: {finding.mode.value}[/]")
    for side, evidence in (("out-of-process", finding.out_of_process), ("in-process", finding.in_process)):
        for sentence in evidence:
            out.print(f"  {side}: {printable(sentence)}")
    variable = "not set" if seen.aesm_variable is None else f"set to {seen.aesm_variable!r}"
    out.print(f"  SGX_AESM_ADDR at its start: {printable(variable)}")
    out.print(f"  at the AESM socket's path: {seen.socket.value}")
    out.print(f"  SGX devices open: {printable(', '.join(sorted(seen.devices)) or 'none')}")
    if finding.remedy:
        out.print(f"What to do: {printable(finding.remedy)}")
