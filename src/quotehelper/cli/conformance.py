"""``quotehelper conformance``: does a daemon answer each known client as that client needs it."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from quotehelper.aesm.transport import SOCKET_PATH, TIMEOUT_S
from quotehelper.cli.exit_codes import EXIT_REFUSED, EXIT_UNAVAILABLE
from quotehelper.cli.output import json_option, print_json, talk, watched
from quotehelper.errors import ConfigError, DecodeError

if TYPE_CHECKING:
    from quotehelper.conformance.check import Finding
    from quotehelper.conformance.connection import Peer
    from quotehelper.conformance.examined import Examined
    from quotehelper.conformance.prove import Proof
    from quotehelper.conformance.reporter import Reporter

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _Given(NamedTuple):
    """The options that say who makes reports and by what quotes are judged."""

    state: Path | None
    report: Path | None
    bundle: Path | None
    simulated_root: Path | None
    other_root: Path | None


@click.command()
@click.option("--socket", default=SOCKET_PATH, help="The daemon's socket.")
@click.option(
    "--state",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The state of the simulated platform behind the daemon: reports are made on it, its root is trusted.",
)
@click.option("--report", type=_FILE, help="A report of 432 bytes that an enclave made for the daemon's target info.")
@click.option(
    "--bundle",
    type=click.Path(exists=True, path_type=Path),
    help="Collateral, as `quotehelper verify` takes it. Without it signatures are checked, but no TCB status.",
)
@click.option("--insecure-simulated-root", type=_FILE, help="Trust this root of a simulated platform.")
@click.option("--insecure-root", type=_FILE, help="Trust this root in place of Intel's.")
@click.option("--quick", is_flag=True, help="Only what a daemon proves before it takes a socket over.")
@click.option("--gentle", is_flag=True, help="Leave out what may harm a daemon that does not keep the rules.")
@click.option("--without-reports", is_flag=True, help="Leave out what needs a report: there is no enclave to make one.")
@click.option("--timeout", type=click.FloatRange(0.05, 600), default=TIMEOUT_S, help="Seconds for one exchange.")
@json_option
def command(  # noqa: PLR0913  one argument an option
    *,
    socket: str,
    state: Path | None,
    report: Path | None,
    bundle: Path | None,
    insecure_simulated_root: Path | None,
    insecure_root: Path | None,
    quick: bool,
    gentle: bool,
    without_reports: bool,
    timeout: float,
    as_json: bool,
) -> None:
    """Try whether the daemon behind a socket keeps the AESM protocol, as each known client family speaks it.

    Works with any AESM daemon. Rows that need a report are judged with --state (simulated platforms) or --report (made
    by an enclave for `quotehelper target-info`). Some rows do what a bad client might: they harm a daemon that does not
    keep the rules, Intel's among them; leave them out with --gentle where applications depend on the daemon.

    Exit code 0 if all rows pass, 1 if one fails, 3 if none fails but some could not be judged or nobody answers.
    """
    from quotehelper.conformance.catalogue import CHECKS
    from quotehelper.conformance.connection import Peer
    from quotehelper.conformance.examine import examine
    from quotehelper.conformance.prove import QUICK, conclude

    given = _Given(state, report, bundle, insecure_simulated_root, insecure_root)
    examined = _examined(Peer(socket, timeout_s=timeout), given)
    examined.peer.connect().close()
    if without_reports and (state is not None or report is not None):
        raise click.UsageError("--without-reports goes with neither --state nor --report")
    checks = tuple(check for check in (QUICK if quick else CHECKS) if not (without_reports and check.needs_report))
    examining = examine(examined, checks, gentle=gentle)
    findings = list(watched(examining, len(checks), "examining", as_json=as_json))
    proof = conclude(examined, tuple(findings)) if quick and not without_reports else None
    if as_json:
        print_json(as_document(socket, examined, findings, proof))
    else:
        from quotehelper.cli.findings import print_findings

        print_findings(socket, examined, findings, proof)
        if examined.reporter is None and not without_reports:
            talk("Nobody made a report, so no quote was asked for: give --state or --report.")
    sys.exit(_exit_code(findings, proof))


def as_document(socket: str, examined: Examined, findings: list[Finding], proof: Proof | None) -> dict[str, Any]:
    """All findings as JSON can carry them; ``proof`` adds what they mean for publishing."""
    counts = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in _VERDICTS}
    status = examined.judgements[-1].status if examined.judgements else None
    document: dict[str, Any] = {
        "socket": socket,
        **counts,
        "tcb_status": None if status is None else status.value,
        "results": [_as_row(finding) for finding in findings],
    }
    if proof is None:
        return document
    return document | {
        "blocking": [
            {"obstacle": block.obstacle.name.lower(), "reason": block.reason, "remedy": block.remedy}
            for block in proof.blocking
        ],
        "warnings": [
            {"doubt": told.doubt.name.lower(), "reason": told.reason, "remedy": told.remedy} for told in proof.warnings
        ],
        "quote_size_bytes": proof.quote_size_bytes,
    }


_VERDICTS = ("passed", "failed", "not_judged")


def _as_row(finding: Finding) -> dict[str, Any]:
    check = finding.check
    details = dict.fromkeys(("note", "expected", "got", "reason", "consequence", "remedy"), None)
    row: dict[str, Any] = {
        "id": check.id,
        "title": check.title,
        "family": check.family.value,
        "source": check.source,
        "needs_report": check.needs_report,
        "result": finding.verdict,
        **details,
        **finding.result._asdict(),
    }
    if finding.verdict == "failed":
        row |= {"consequence": check.consequence, "remedy": check.remedy}
    return row


def _exit_code(findings: list[Finding], proof: Proof | None) -> int:
    verdicts = {finding.verdict for finding in findings}
    if "failed" in verdicts or (proof is not None and proof.blocking):
        return EXIT_REFUSED
    return EXIT_UNAVAILABLE if "not_judged" in verdicts else 0


def _examined(peer: Peer, given: _Given) -> Examined:
    from quotehelper.conformance.examined import Examined

    now = dt.datetime.now(dt.UTC)
    if given.state is not None:
        if given._replace(state=None) != _Given(None, None, None, None, None):
            raise click.UsageError("--state brings report, collateral and root: leave the options for these out")
        from quotehelper.conformance.simulated import means_of_state

        reporter, judge = means_of_state(given.state, now)
        return Examined(peer, reporter=reporter, judge=judge)
    from quotehelper.cli.trust import read_roots
    from quotehelper.collateral.bundle import read_bundle
    from quotehelper.conformance.judge import QuoteJudge

    judge = QuoteJudge(
        roots=read_roots(given.simulated_root, given.other_root),
        collateral=None if given.bundle is None else read_bundle(given.bundle),
        at=now,
    )
    return Examined(peer, reporter=_prepared(given.report), judge=judge)


def _prepared(path: Path | None) -> Reporter | None:
    if path is None:
        return None
    from quotehelper.conformance.reporter import PreparedReport
    from quotehelper.sgx.report import Report

    try:
        return PreparedReport(Report(path.read_bytes()))
    except DecodeError as error:
        raise ConfigError(f"{path}: {error}", f"Give a report of {Report.SIZE} bytes") from error
