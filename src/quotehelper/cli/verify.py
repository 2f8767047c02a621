"""``quotehelper verify``: is this quote genuine, and is it what was asked for."""

from __future__ import annotations

import datetime as dt
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from quotehelper.cli.exit_codes import EXIT_REFUSED, EXIT_UNAVAILABLE
from quotehelper.cli.output import json_option
from quotehelper.errors import CollateralError, ConfigError, DecodeError, PolicyError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from quotehelper.documents.collateral import Collateral
    from quotehelper.verification.policy import Policy
    from quotehelper.verification.result import VerifiedQuote
    from quotehelper.verification.roots import Roots
    from quotehelper.verification.verify import Verifier

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SIZE_LIMIT = 8 << 20
"""Bytes of a file that are read; a quote has under 1 MiB, a bundle in one file under 8."""


class Outcome(NamedTuple):
    """What became of one quote. ``verified`` is None if it is not genuine, then ``error`` says why."""

    quote: str
    verified: VerifiedQuote | None
    error: VerificationError | None
    violations: PolicyError | None
    with_policy: bool

    @property
    def accepted(self) -> bool:
        """Whether it is genuine, and by the policy wanted; without one, whether its TCB status is good enough."""
        if self.verified is None or self.violations is not None:
            return False
        from quotehelper.verification.tcb import ACCEPTABLE

        return self.with_policy or self.verified.status in ACCEPTABLE

    @property
    def exit_code(self) -> int:
        """What the shell is told."""
        if self.accepted:
            return 0
        return EXIT_UNAVAILABLE if isinstance(self.error, CollateralError) else EXIT_REFUSED


class _Time(click.ParamType[dt.datetime]):
    """A moment as documents have it."""

    name = "time"

    def convert(
        self, value: str | dt.datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> dt.datetime:
        """The aware time; a click error that says what was expected otherwise."""
        if isinstance(value, dt.datetime):
            return value
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time; write it as 2026-01-31T23:59:59Z", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


@click.command()
@click.argument("quotes", type=_FILE, nargs=-1, required=True, metavar="QUOTE...")
@click.option(
    "--bundle",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="Collateral: a directory with one file a document, or one JSON file as dcap-qvl has it.",
)
@click.option("--at", type=_Time(), show_default="now", help="When the quote and its collateral must be valid.")
@click.option("--policy", type=_FILE, help="Which enclaves are wanted, and how good (TOML).")
@click.option("--intel-semantics", is_flag=True, help="Judge exactly as Intel's verifier: what expired is a flag.")
@click.option(
    "--insecure-simulated-root", type=_FILE, help="Trust this root of a simulated platform, which proves no hardware."
)
@click.option("--insecure-root", type=_FILE, help="Trust this root in place of Intel's.")
@json_option
def command(  # noqa: PLR0913  one argument an option
    *,
    quotes: tuple[Path, ...],
    bundle: Path,
    at: dt.datetime | None,
    policy: Path | None,
    intel_semantics: bool,
    insecure_simulated_root: Path | None,
    insecure_root: Path | None,
    as_json: bool,
) -> None:
    """Verify that each QUOTE is genuine, and that a policy wants it.

    Without a policy this says that *some* enclave on a genuine processor made the quote, not that it is yours.

    Prints each step with a tick or the reason, the TCB status with its advisories, and what to do about it; with
    --json one object (several quotes: one a line). Exit code 0 if all are accepted, 1 if one is refused, 3 if it
    can't be told for lack of valid collateral.
    """
    from quotehelper.verification.policy import semantics_for
    from quotehelper.verification.semantics import INTEL, STRICT
    from quotehelper.verification.verify import Verifier

    wanted = None if policy is None else _read_policy(policy)
    semantics = INTEL if intel_semantics else STRICT
    verifier = Verifier(
        _read_bundle(bundle),
        roots=_read_roots(insecure_simulated_root, insecure_root),
        semantics=semantics if wanted is None else semantics_for(wanted, semantics),
    )
    moment = dt.datetime.now(dt.UTC) if at is None else at
    outcomes = []
    with _progress(len(quotes)) as advance:
        for quote in quotes:
            outcome = judge(str(quote), _read(quote), verifier, moment, wanted)
            outcomes.append(outcome)
            advance()
            if as_json:
                _print_json(outcome, alone=len(quotes) == 1)
    if not as_json:
        from quotehelper.cli.verdict import print_outcomes

        print_outcomes(outcomes)
    codes = {outcome.exit_code for outcome in outcomes}
    sys.exit(EXIT_REFUSED if EXIT_REFUSED in codes else max(codes))


def judge(name: str, quote: bytes, verifier: Verifier, at: dt.datetime, policy: Policy | None = None) -> Outcome:
    """What becomes of ``quote``, which anybody may have made; ``name`` is what people call it."""
    verified, error, violations = None, None, None
    try:
        verified = verifier.verify(quote, at=at)
        if policy is not None:
            from quotehelper.verification.policy import appraise

            appraise(verified, policy)
    except VerificationError as refused:
        error = refused
    except PolicyError as unwanted:
        violations = unwanted
    return Outcome(name, verified, error, violations, policy is not None)


def _read_bundle(bundle: Path) -> Collateral:
    from quotehelper.documents.collateral import FILES, from_files, parse_collateral

    if bundle.is_dir():
        return from_files({name: _read(bundle / name) for name in FILES.values() if (bundle / name).is_file()})
    return parse_collateral(_read(bundle))


def _read_roots(simulated: Path | None, other: Path | None) -> Roots:
    from quotehelper.verification.roots import Roots

    if simulated is not None and other is not None:
        raise click.UsageError("--insecure-simulated-root and --insecure-root exclude each other")
    try:
        if simulated is not None:
            return Roots.insecure_simulated(_read(simulated))
        return Roots.intel() if other is None else Roots.insecure(_read(other))
    except DecodeError as error:
        raise ConfigError(f"{simulated or other}: {error.reason}", "Give the PEM file of a root certificate") from error


def _read_policy(path: Path) -> Policy:
    from quotehelper.verification.policy_file import parse_policy

    return parse_policy(_read(path).decode(errors="replace"), name=path.name)


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        raw = stream.read(_SIZE_LIMIT + 1)
    if len(raw) > _SIZE_LIMIT:
        raise ConfigError(f"{path} has more than {_SIZE_LIMIT} bytes", "Neither quotes nor collateral are that large")
    return raw


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error for many quotes, where somebody watches."""
    if total == 1 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("verifying", total=total)
        yield lambda: progress.advance(task)


def _print_json(outcome: Outcome, *, alone: bool) -> None:
    from quotehelper.cli.output import print_json, print_json_line

    (print_json if alone else print_json_line)(as_json(outcome))


def as_json(outcome: Outcome) -> dict[str, Any]:
    """All about ``outcome`` as JSON can carry it; nothing that identifies the platform."""
    error, verified = outcome.error, outcome.verified
    document: dict[str, Any] = {
        "quote": outcome.quote,
        "accepted": outcome.accepted,
        "tcb_status": verified.status.value if verified else _status_of(error),
        "advisories": list(verified.advisory_ids) if verified else [],
        "collateral_expired": verified.collateral_expired if verified else _has_expired(error),
        "error": None
        if error is None
        else {"step": error.step.value, "reason": error.reason.value, "message": str(error)},
        "violations": _violations(outcome.violations),
    }
    return document if verified is None else document | _facts(verified)


def _status_of(error: VerificationError | None) -> str | None:
    """The status that refused a quote: Revoked is the only one that does."""
    from quotehelper.documents.tcb_info import TcbStatus
    from quotehelper.verification.steps import Step

    return TcbStatus.REVOKED.value if error is not None and error.step is Step.TCB_STATUS else None


def _has_expired(error: VerificationError | None) -> bool:
    from quotehelper.errors import VerificationReason

    return error is not None and error.reason is VerificationReason.EXPIRED


def _violations(error: PolicyError | None) -> Sequence[dict[str, str]]:
    return [] if error is None else [violation._asdict() for violation in error.violations]


def _facts(verified: VerifiedQuote) -> dict[str, Any]:
    from quotehelper.documents.signed_json import write_time

    report, supplemental = verified.report, verified.supplemental
    levels = {
        name: {
            "tcb_status": standing.status.value,
            "advisories": sorted(standing.advisory_ids),
            "tcb_date": write_time(standing.tcb_date),
        }
        for name, standing in (("platform", verified.platform), ("qe", verified.qe))
    }
    return {
        "root": verified.origin.value,
        "semantics": verified.semantics.name,
        "at": write_time(verified.at),
        **levels,
        "tcb_evaluation_data_number": supplemental.tcb_evaluation_data_number,
        "collateral_earliest_expiration": write_time(supplemental.earliest_expiration_date),
        "fmspc": supplemental.platform.fmspc.hex(),
        "report": {
            "mr_enclave": report.mr_enclave.hex(),
            "mr_signer": report.mr_signer.hex(),
            "isv_prod_id": report.isv_prod_id,
            "isv_svn": report.isv_svn,
            "debug": report.attributes.debug,
            "report_data": report.report_data.hex(),
        },
    }
