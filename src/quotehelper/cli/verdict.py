"""Verification for people: each step with a tick or the reason, the verdict, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.cli.output import console, printable
from quotehelper.documents.signed_json import write_time
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import CollateralError
from quotehelper.verification.roots import Origin
from quotehelper.verification.steps import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from quotehelper.cli.verify import Outcome
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
    Origin.INTEL: "Intel stands for it",
    Origin.SIMULATED: "[yellow]a simulated platform's authority stands for it: it proves no hardware[/]",
    Origin.PRIVATE: "[yellow]a private root stands for it, not Intel's[/]",
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
    """Every step, the facts, the verdict."""
    failed = outcome.error.step if outcome.error else None
    width = len(str(len(Step)))
    for step in Step:
        if step is failed and outcome.error:
            out.print(f" [red]✗ {step.number:>{width}} {step.value}: {printable(outcome.error.problem)}[/]")
            break
        tick = "[yellow]~[/]" if outcome.verified and step in _let_pass(outcome.verified) else "[green]✓[/]"
        out.print(f" {tick} [dim]{step.number:>{width}}[/] {printable(step.holds)}")
    left = len(Step) - failed.number if isinstance(failed, Step) else 0
    if left:
        out.print(f"   [dim]{left} further steps were not taken[/]")
    out.print()
    if outcome.verified:
        _print_facts(outcome.verified, out)
    _print_verdict(outcome, out)


def _let_pass(verified: VerifiedQuote) -> set[Step]:
    """Steps that Intel's semantics don't insist on, where it makes a difference."""
    steps = _VALIDITY if verified.collateral_expired else set()
    return steps | ({Step.ENCLAVE_DEBUG} if verified.report.attributes.debug else set())


_VALIDITY = {Step.PCK_VALIDITY, Step.TCB_INFO_VALIDITY, Step.QE_IDENTITY_VALIDITY}


def _print_facts(verified: VerifiedQuote, out: Console) -> None:
    report, supplemental = verified.report, verified.supplemental
    expiry = write_time(supplemental.earliest_expiration_date)
    facts = {
        "genuine": f"yes at {write_time(verified.at)}: {_ORIGINS[verified.origin]}",
        "TCB status": f"{verified.status.value} (platform {verified.platform.status.value}, "
        f"quoting enclave {verified.qe.status.value})",
        "advisories": ", ".join(map(printable, verified.advisory_ids)) or "none",
        "collateral": f"[red]expired {expiry}[/]" if verified.collateral_expired else f"valid until {expiry}",
        "MRENCLAVE": report.mr_enclave.hex(),
        "MRSIGNER": report.mr_signer.hex(),
        "product, SVN": f"{report.isv_prod_id}, {report.isv_svn}",
        "report data": report.report_data.hex(),
    }
    if report.attributes.debug:
        facts["debug"] = "[bold red]yes: its memory can be read from outside, it proves nothing[/]"
    width = max(map(len, facts))
    for name, value in facts.items():
        out.print(f"{name:<{width}}  {value}")


def _print_verdict(outcome: Outcome, out: Console) -> None:
    for violation in outcome.violations.violations if outcome.violations else ():
        out.print(f"[red]✗ policy, {printable(violation.rule)}: {printable(violation.problem)}[/]")
    if outcome.error and outcome.error.remedy:
        out.print(f"What to do: {printable(outcome.error.remedy)}")
    if outcome.verified and (advice := ADVICE[outcome.verified.status]):
        out.print(f"What to do: {advice}")
    if not outcome.accepted:
        out.print(_refusal(outcome))
    elif outcome.with_policy:
        out.print("[bold green]accepted[/]: genuine, and what the policy wants")
    else:
        out.print(
            "[bold green]accepted[/]: genuine. Without a policy nothing says that it is the enclave you expect: "
            "compare MRENCLAVE or MRSIGNER, product, SVN and report data"
        )


def _refusal(outcome: Outcome) -> str:
    if isinstance(outcome.error, CollateralError):
        return "[bold yellow]can't tell[/]: without valid collateral it must be refused"
    return "[bold red]refused[/]"


def _print_table(outcomes: Sequence[Outcome], out: Console) -> None:
    from rich.table import Table

    table = Table("quote", "verdict", "TCB status", "advisories", "reason", box=None, pad_edge=False)
    for outcome in outcomes:
        verified = outcome.verified
        reasons = [violation.problem for violation in outcome.violations.violations] if outcome.violations else []
        reasons += [f"{outcome.error.step.value}: {outcome.error.problem}"] if outcome.error else []
        if verified and not outcome.accepted and not reasons:
            reasons = [ADVICE[verified.status]]
        table.add_row(
            printable(outcome.quote),
            "[green]accepted[/]" if outcome.accepted else _refusal(outcome).partition(":")[0],
            verified.status.value if verified else "",
            str(len(verified.advisory_ids)) if verified else "",
            printable("; ".join(reasons)),
        )
    out.print(table)
    accepted = sum(outcome.accepted for outcome in outcomes)
    out.print(f"{accepted} of {len(outcomes)} accepted")
