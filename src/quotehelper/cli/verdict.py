"""Verification for people: each step with a tick or the reason, the verdict, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from quotehelper.cli.output import DEBUG_WARNING, console, printable
from quotehelper.documents.signed_json import write_time
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.verification.roots import Origin
from quotehelper.verification.steps import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from quotehelper.cli.outcome import Outcome
    from quotehelper.verification.result import VerifiedQuote

ADVICE = {
    TcbStatus.UP_TO_DATE: "",
    TcbStatus.SW_HARDENING_NEEDED: "The platform is current; the enclave's own code must be hardened against the "
    "advisories. Ask its author whether it is, and list in the policy those that it is hardened against.",
    TcbStatus.CONFIGURATION_NEEDED: "The platform is current, but set up in a way that the advisories affect "
    "(hyper-threading, for one). Change the BIOS settings, or accept the advisories in the policy.",
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: "The platform is current; its configuration and the enclave's "
    "own code decide whether the advisories matter. Check both, and list in the policy what is accepted.",
    TcbStatus.OUT_OF_DATE: "Microcode, BIOS or quoting enclave are older than the advisories. Update the platform, "
    "have it provisioned again, and quote again.",
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED: "Microcode, BIOS or quoting enclave are older than the advisories, "
    "and the configuration needs a change besides. Update the platform, provision it again, and quote again.",
    TcbStatus.REVOKED: "What made the quote is not trusted any more.",
}
"""What a status asks of whom. Complete: a test compares it with the statuses."""

_ORIGINS = {
    Origin.INTEL: "by Intel's root",
    Origin.SIMULATED: "[yellow]by the root of a simulated platform, which proves no hardware[/]",
    Origin.PRIVATE: "[yellow]by a private root, not Intel's[/]",
}


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """One quote in full, or many in a table with a line each."""
    out = console()
    if len(outcomes) == 1:
        out.print(f"[bold]{printable(outcomes[0].quote)}[/]")
        print_in_full(outcomes[0], out)
    else:
        _print_table(outcomes, out)


def print_in_full(outcome: Outcome, out: Console) -> None:
    """Every step, the facts, what to do, the verdict."""
    holds, fails = ("✓", "✗") if out.encoding.startswith("utf") else ("+", "x")
    out.print(_steps(outcome, holds, fails))
    if left := _steps_left(outcome):
        out.print(f"   [dim]The {left} further steps were not taken.[/]")
    out.print()
    if outcome.verified:
        out.print(_grid(_facts(outcome.verified)))
        out.print()
    for violation in outcome.violations.violations if outcome.violations else ():
        out.print(_grid([(f"[red]{fails}[/]", f"{printable(violation.rule)}: {printable(violation.problem)}")]))
    if remedy := _remedy(outcome):
        out.print(_grid([("[bold]What to do:[/]", printable(remedy))]))
    out.print(_verdict(outcome))


def _steps(outcome: Outcome, holds: str, fails: str) -> Table:
    """Each step that was taken: a tick (``holds``) and what is so now; of the last the reason, if it ``fails``."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(justify="right", style="dim")
    grid.add_column()
    let_pass = outcome.verified.let_pass if outcome.verified else ()
    for step in Step:
        if outcome.error and step is outcome.error.step:
            grid.add_row(
                f" [red]{fails}[/]", str(step.number), f"[red]{step.value}: {printable(outcome.error.problem)}[/]"
            )
            break
        if step in let_pass:
            grid.add_row(" [yellow]![/]", str(step.number), f"[yellow]does not hold, let pass:[/] {step.holds}")
        else:
            grid.add_row(f" [green]{holds}[/]", str(step.number), step.holds)
    return grid


def _steps_left(outcome: Outcome) -> int:
    """How many steps were not taken."""
    return len(Step) - outcome.error.step.number if outcome.error and isinstance(outcome.error.step, Step) else 0


def _facts(verified: VerifiedQuote) -> list[tuple[str, str]]:
    """What is known of a quote that is genuine, under the names that JSON has and `show` uses."""
    report = verified.report
    expiry = write_time(verified.supplemental.earliest_expiration_date)
    levels = {"platform": verified.platform, "qe": verified.qe}
    return [
        ("genuine", f"yes, at {write_time(verified.at)}, {_ORIGINS[verified.origin]}"),
        ("tcb_status", f"[bold]{verified.status.value}[/]"),
        *((name, f"{level.status.value}, TCB of {level.tcb_date.date()}") for name, level in levels.items()),
        ("advisories", ", ".join(map(printable, verified.advisory_ids)) or "none"),
        ("collateral", f"[red]expired {expiry}[/]" if verified.collateral_expired else f"valid until {expiry}"),
        ("mr_enclave", report.mr_enclave.hex()),
        ("mr_signer", report.mr_signer.hex()),
        ("isv_prod_id", str(report.isv_prod_id)),
        ("isv_svn", str(report.isv_svn)),
        ("report_data", report.report_data.hex()),
        ("debug", DEBUG_WARNING if report.attributes.debug else "no"),
    ]


def _grid(rows: Sequence[tuple[str, str]]) -> Table:
    """Names and what they stand for; what is too long goes on below itself."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*row)
    return grid


def _remedy(outcome: Outcome) -> str:
    """What can be done about it: about a step that does not hold, or about a platform that is not good enough."""
    if outcome.error:
        return outcome.error.remedy
    wanted = outcome.accepted and outcome.with_policy
    return ADVICE[outcome.verified.status] if outcome.verified and not wanted else ""


def _verdict(outcome: Outcome) -> str:
    """The last line: the verdict, and why in short."""
    if outcome.lacks_collateral:
        return f"{_word(outcome)}: without valid collateral it must be refused"
    if outcome.verified is None:
        return f"{_word(outcome)}: it is not proven to be genuine"
    if outcome.violations:
        return f"{_word(outcome)}: it is genuine, but not what was asked for"
    if not outcome.accepted:
        return f"{_word(outcome)}: it is genuine, but only a policy can accept {outcome.verified.status.value}"
    if outcome.with_policy:
        which = ", ".join(f"any_of\\[{number}]" for number in outcome.alternatives)
        return f"{_word(outcome)}: it is genuine, and what the policy wants{f' ({which})' * bool(which)}"
    return (
        f"{_word(outcome)}: it is genuine. [yellow]Anybody's enclave would be: without --policy nothing says that it "
        "is the one you expect.[/]"
    )


def _word(outcome: Outcome) -> str:
    if outcome.accepted:
        return "[bold green]accepted[/]"
    return "[bold yellow]can't tell[/]" if outcome.lacks_collateral else "[bold red]refused[/]"


def _print_table(outcomes: Sequence[Outcome], out: Console) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("quote", overflow="fold", ratio=2)
    table.add_column("verdict", no_wrap=True)
    table.add_column("TCB status and advisories, or the reason", ratio=3)
    for outcome in outcomes:
        table.add_row(printable(outcome.quote), _word(outcome), printable(_in_short(outcome)))
    out.print(table)
    accepted = sum(outcome.accepted for outcome in outcomes)
    out.print(f"{accepted} of {len(outcomes)} accepted")


def _in_short(outcome: Outcome) -> str:
    if outcome.error:
        return f"{outcome.error.step.value}: {outcome.error.problem}"
    if outcome.violations:
        return "; ".join(f"{violation.rule}: {violation.problem}" for violation in outcome.violations.violations)
    return ", ".join((outcome.verified.status.value, *outcome.verified.advisory_ids)) if outcome.verified else ""
