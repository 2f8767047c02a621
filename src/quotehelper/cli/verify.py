"""``quotehelper verify``: is this quote genuine, and is it what was asked for."""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quotehelper.cli.exit_codes import EXIT_REFUSED
from quotehelper.cli.output import Hex, json_option, watched
from quotehelper.cli.trust import read_roots, root_options
from quotehelper.errors import ConfigError, DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from quotehelper.cli.outcome import Outcome
    from quotehelper.verification.policy import Policy
    from quotehelper.verification.roots import Roots
    from quotehelper.verification.rules import Rule
    from quotehelper.verification.semantics import Semantics
    from quotehelper.verification.verify import Verifier

_FAMILIES = 64
"""Platform families whose collateral is remembered while quotes are verified."""
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_SECONDS = re.compile(r"(0|[0-9]{9,12})(\.[0-9]+)?", re.ASCII)
"""Seconds since 1970, as a clock tells them; eight digits are a date, 20260131."""


class _Time(click.ParamType[dt.datetime]):
    """A moment as documents have it."""

    name = "time"

    def convert(
        self, value: str | dt.datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> dt.datetime:
        """The time in UTC; a click error that says what was expected otherwise."""
        if isinstance(value, dt.datetime):
            return value
        try:
            if _SECONDS.fullmatch(value):
                return dt.datetime.fromtimestamp(float(value), dt.UTC)
            moment = dt.datetime.fromisoformat(value.upper())
            return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
        except (ValueError, OverflowError, OSError):
            self.fail(f"{value!r} is no time; write it as 2026-01-31T23:59:59Z, or in seconds since 1970", param, ctx)


def _print_schema(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001  click's signature
    """Print the JSON Schema of policies, and be done."""
    if not value:
        return
    from importlib.resources import files

    from quotehelper.verification.policy_file import SCHEMA_FILE

    click.echo((files("quotehelper.verification") / SCHEMA_FILE).read_text(encoding="utf-8"), nl=False)
    ctx.exit()


@click.command()
@click.argument(
    "quotes",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    nargs=-1,
    required=True,
    metavar="QUOTE...",
)
@click.option(
    "--bundle",
    type=click.Path(exists=True, path_type=Path),
    help="Collateral: a directory with one file a document, or one JSON file as dcap-qvl has it.",
)
@click.option(
    "--pccs", metavar="SOURCE", help='Fetch collateral instead: "intel", "azure", or the URL of a collateral service.'
)
@click.option("--at", type=_Time(), show_default="now", help="When the quote and its collateral must be valid.")
@click.option(
    "--policy", type=_FILE, help="Which enclaves are wanted, and how good their platform must be (TOML or YAML)."
)
@click.option(
    "--report-data", type=Hex(64, padded=True), help="What the report data must be, zeros behind it: this challenge."
)
@click.option(
    "--report-data-sha256-of", type=_FILE, help="The file whose SHA-256 the report data must be, zeros behind it."
)
@click.option("--intel-semantics", is_flag=True, help="Judge exactly as Intel's verifier: what expired is a flag.")
@root_options
@click.option(
    "--policy-schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON Schema of policies and exit.",
)
@json_option
def command(  # noqa: PLR0913  one argument an option
    *,
    quotes: tuple[Path, ...],
    bundle: Path | None,
    pccs: str | None,
    at: dt.datetime | None,
    policy: Path | None,
    report_data: bytes | None,
    report_data_sha256_of: Path | None,
    intel_semantics: bool,
    insecure_simulated_root: Path | None,
    insecure_root: Path | None,
    as_json: bool,
) -> None:
    """Verify that each QUOTE is genuine, and that a policy wants it.

    QUOTE is a file, or "-" for standard input: binary, hexadecimal or base64. Without a policy this says that
    *some* enclave on a genuine processor made the quote, not that it is yours.

    Prints each step with a tick or the reason, the TCB status with its advisories, and what to do about it; several
    quotes make a table; with --json it is one object (several quotes: one a line). Exit code 0 if all are accepted,
    1 if one is refused, 3 if it can't be told for lack of valid collateral.
    """
    from quotehelper.cli.outcome import judge
    from quotehelper.verification.policy import semantics_for
    from quotehelper.verification.semantics import INTEL, STRICT

    rules = _asked_report_data(report_data, report_data_sha256_of)
    wanted: Policy | Sequence[Rule] = rules
    semantics = INTEL if intel_semantics else STRICT
    if policy is not None:
        wanted = _read_policy(policy).with_rules(*rules)
        semantics = semantics_for(wanted, semantics)
    verifier_for = _verifiers(bundle, pccs, read_roots(insecure_simulated_root, insecure_root), semantics)
    moment = dt.datetime.now(dt.UTC) if at is None else at
    read = ((str(quote), _read_quote(quote)) for quote in quotes)
    outcomes = (judge(name, raw, verifier_for(raw), moment, wanted) for name, raw in read)
    watched_outcomes = watched(outcomes, len(quotes), "verifying", as_json=as_json)
    sys.exit(_tell(watched_outcomes, alone=len(quotes) == 1, as_json=as_json))


def _verifiers(
    bundle: Path | None, source: str | None, roots: Roots, semantics: Semantics
) -> Callable[[bytes], Verifier]:
    """The verifier for a quote: with the collateral in ``bundle``, or with what ``source`` has for its platform."""
    from quotehelper.verification.verify import Verifier

    if (bundle is None) == (source is None):
        raise click.UsageError("Give either --bundle or --pccs")
    if bundle is not None:
        from quotehelper.collateral.bundle import read_bundle

        verifier = Verifier(read_bundle(bundle), roots=roots, semantics=semantics)
        return lambda _: verifier
    from functools import lru_cache

    from quotehelper.cli.collateral import fetch_collateral
    from quotehelper.collateral.gathering import Family, family_of
    from quotehelper.collateral.proof import Trust
    from quotehelper.documents.collateral import from_files

    @lru_cache(_FAMILIES)
    def of_family(family: Family | None) -> Verifier:
        assert source is not None  # noqa: S101  one of the two is given
        collateral = from_files({}) if family is None else fetch_collateral(source, family, Trust(roots))
        return Verifier(collateral, roots=roots, semantics=semantics)

    def of_quote(quote: bytes) -> Verifier:
        try:
            return of_family(family_of(quote))
        except DecodeError:  # what is wrong with it, verification says in its own words
            return of_family(None)

    return of_quote


def _tell(outcomes: Iterator[Outcome], *, alone: bool, as_json: bool) -> int:
    """Print ``outcomes``, JSON each as it comes; return the exit code of all together."""
    codes: set[int] = set()
    if as_json:
        from quotehelper.cli.output import print_json, print_json_line
        from quotehelper.cli.verdict_json import as_document

        for outcome in outcomes:
            (print_json if alone else print_json_line)(as_document(outcome))
            codes.add(outcome.exit_code)
    else:
        from quotehelper.cli.verdict import print_outcomes

        told = list(outcomes)
        print_outcomes(told)
        codes = {outcome.exit_code for outcome in told}
    return EXIT_REFUSED if EXIT_REFUSED in codes else max(codes)


def _asked_report_data(value: bytes | None, sha256_of: Path | None) -> Sequence[Rule]:
    from quotehelper.collateral.bundle import read_file
    from quotehelper.verification.rules import ReportData, ReportDataSha256

    rules: list[Rule] = [] if value is None else [ReportData(value)]
    return rules if sha256_of is None else [*rules, ReportDataSha256(read_file(sha256_of))]


def _read_policy(path: Path) -> Policy:
    from quotehelper.collateral.bundle import read_file
    from quotehelper.verification.policy_file import parse_policy

    try:
        return parse_policy(read_file(path).decode(), name=str(path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is no UTF-8", "Write the policy as UTF-8") from error


def _read_quote(path: Path) -> bytes:
    """The quote's bytes, from whatever form `show` reads as well; the first SIZE_LIMIT of them if there are more."""
    from quotehelper.cli.show import unwrap
    from quotehelper.collateral.bundle import SIZE_LIMIT

    with click.open_file(str(path), "rb") as stream:
        raw: bytes = stream.read(SIZE_LIMIT)
    unwrapped = unwrap(raw.strip(b"\0 \t\r\n"))
    return raw if unwrapped is None else unwrapped
