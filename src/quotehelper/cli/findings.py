"""Conformance for people: results by client family, what a failure means for whom, a summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.cli.output import console, printable
from quotehelper.conformance.check import Failed, Family, NotJudged, Passed
from quotehelper.conformance.prove import Obstacle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from quotehelper.conformance.check import Finding
    from quotehelper.conformance.examined import Examined
    from quotehelper.conformance.prove import Proof


def print_findings(socket: str, examined: Examined, findings: Sequence[Finding], proof: Proof | None) -> None:
    """All findings, grouped; then how many passed, who is hurt, and what that means for publishing."""
    out = console()
    out.print(f"[bold]{printable(socket)}[/]")
    width = max(len(finding.check.id) for finding in findings)
    for family in Family:
        rows = [finding for finding in findings if finding.check.family is family]
        if rows:
            out.print(f"\n[bold]{family.value}[/]")
        for row in rows:
            _print_row(row, width, out)
    out.print()
    _print_summary(examined, findings, out)
    if proof is not None:
        _print_proof(proof, out)


def _print_row(finding: Finding, width: int, out: Console) -> None:
    check, result = finding
    name = f"{check.id:<{width}}"
    indent = " " * (width + 4)
    if isinstance(result, Passed):
        note = f" [dim]({printable(result.note)})[/]" if result.note else ""
        out.print(f" [green]✓[/] [dim]{name}[/] {check.title}{note}")
    elif isinstance(result, NotJudged):
        out.print(f" [yellow]~[/] [dim]{name}[/] {check.title}")
        out.print(f"{indent}[yellow]not judged: {printable(result.reason)}[/]")
    else:
        out.print(f" [red]✗[/] [dim]{name}[/] [red]{check.title}[/]")
        out.print(f"{indent}expected {printable(result.expected)}")
        out.print(f"{indent}got {printable(result.got)}")
        out.print(f"{indent}[bold]{check.consequence}[/]")
        out.print(f"{indent}What to do: {check.remedy} [dim]({check.source})[/]")


def _print_summary(examined: Examined, findings: Sequence[Finding], out: Console) -> None:
    failed = [finding for finding in findings if isinstance(finding.result, Failed)]
    unjudged = sum(isinstance(finding.result, NotJudged) for finding in findings)
    passed = len(findings) - len(failed) - unjudged
    counts = [f"[green]{passed} of {len(findings)} passed[/]"]
    counts += [f"[red]{len(failed)} failed[/]"] if failed else []
    counts += [f"[yellow]{unjudged} not judged[/]"] if unjudged else []
    out.print(", ".join(counts))
    if failed:
        hurt = {finding.check.family for finding in failed}
        out.print(f"Hurt: {', '.join(family.value for family in Family if family in hurt)}")
    if examined.judgements:
        status, concern = examined.judgements[-1]
        out.print(f"TCB status: {'not judged' if status is None else status.value}", end="")
        out.print(f" [yellow]({printable(concern)})[/]" if concern else "")


def _print_proof(proof: Proof, out: Console) -> None:
    for warned in proof.warnings:
        out.print(f"[yellow]warning[/]: {printable(warned.reason)}. {warned.remedy}")
    for obstacle in Obstacle:
        blocks = [block for block in proof.blocking if block.obstacle is obstacle]
        if blocks:
            more = f" (and {len(blocks) - 1} more)" if len(blocks) > 1 else ""
            out.print(f"[red]blocking[/]: {obstacle.value}: {printable(blocks[0].reason)}{more}")
            out.print(f"  What to do: {printable(blocks[0].remedy)}")
    if not proof.blocking:
        judged = "" if proof.tcb_status else ", as far as it could be judged"
        out.print(f"Nothing stands against publishing this daemon{judged}")
