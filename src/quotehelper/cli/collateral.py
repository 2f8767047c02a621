"""``quotehelper collateral``: what verification needs besides the quote: fetch it, look at it, compare it."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quotehelper.cli.exit_codes import EXIT_REFUSED, EXIT_UNAVAILABLE
from quotehelper.cli.output import console, json_option, print_facts, print_json, printable, write_result
from quotehelper.cli.trust import root_options, trust_of
from quotehelper.errors import ConfigError, DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quotehelper.collateral.catalog import Document
    from quotehelper.collateral.gathering import Family
    from quotehelper.collateral.proof import Trust
    from quotehelper.documents.collateral import Collateral

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_BUNDLE = click.Path(exists=True, path_type=Path)
_FMSPC_DIGITS = 12

_FAMILY_OPTIONS = (
    click.option("--quote", type=_FILE, help="For the platform that made this quote."),
    click.option("--fmspc", help="For this platform family: 12 hexadecimal digits."),
    click.option(
        "--ca",
        type=click.Choice(["processor", "platform"]),
        default="processor",
        help="With --fmspc: who certifies its platforms.",
    ),
    click.option(
        "--update",
        type=click.Choice(["standard", "early"]),
        default="standard",
        help="Whether recoveries show from the day of disclosure.",
    ),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        required=True,
        help='A directory to create, or one file if it ends in .json; "-": one file on standard output.',
    ),
)


def _family_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_FAMILY_OPTIONS):
        command = option(command)
    return command


@click.group(name="collateral")
def command() -> None:
    """Fetch, show, bundle and compare what verification needs besides the quote.

    A bundle is a directory with one file a document, or one JSON file as dcap-qvl has it; `quotehelper verify
    --bundle` reads both.
    """


@command.command()
@click.option(
    "--from",
    "source",
    default="intel",
    metavar="SOURCE",
    help='"intel", "azure", or the URL of a collateral service.',
)
@_family_options
@root_options
@json_option
def fetch(  # noqa: PLR0913  one argument an option
    *,
    source: str,
    quote: Path | None,
    fmspc: str | None,
    ca: str,
    update: str,
    out: Path,
    insecure_simulated_root: Path | None,
    insecure_root: Path | None,
    as_json: bool,
) -> None:
    """Fetch a bundle from Intel, Azure or a collateral service; written only if it is genuine and current."""
    from quotehelper.collateral.proof import check_current

    trust = trust_of(insecure_simulated_root, insecure_root)
    collateral = fetch_collateral(source, _family(quote, fmspc, ca), trust, update)
    documents = _prove(collateral, trust, update)
    for document in documents:
        check_current(document, _now())
    _write(out, collateral)
    _tell(documents, out, as_json=as_json)


@command.command()
@click.option("--db", required=True, metavar="URL", help="The store of a service.")
@_family_options
@root_options
@json_option
def bundle(  # noqa: PLR0913  one argument an option
    *,
    db: str,
    quote: Path | None,
    fmspc: str | None,
    ca: str,
    update: str,
    out: Path,
    insecure_simulated_root: Path | None,
    insecure_root: Path | None,
    as_json: bool,
) -> None:
    """Take a bundle out of the store of a collateral service: for a verifier without network."""
    from quotehelper.collateral.gathering import gather_from_store
    from quotehelper.collateral.store import Store

    trust = trust_of(insecure_simulated_root, insecure_root)
    store = Store(db)
    try:
        collateral = gather_from_store(store, _family(quote, fmspc, ca), update)
    finally:
        store.close()
    documents = _prove(collateral, trust, update)
    _write(out, collateral)
    _tell(documents, out, as_json=as_json)


@command.command()
@click.argument("path", metavar="BUNDLE", type=_BUNDLE)
@root_options
@json_option
def show(*, path: Path, insecure_simulated_root: Path | None, insecure_root: Path | None, as_json: bool) -> None:
    """Say what is in BUNDLE, once it is proven: numbers, dates, and whether it is current.

    Exit code 3 if something in it has expired.
    """
    from quotehelper.collateral.bundle import read_bundle

    trust = trust_of(insecure_simulated_root, insecure_root)
    documents = _prove(read_bundle(path), trust, "standard")
    _tell(documents, path, as_json=as_json)
    if any(document.next_update < _now() for document in documents):
        sys.exit(EXIT_UNAVAILABLE)


@command.command()
@click.argument("old", type=_BUNDLE)
@click.argument("new", type=_BUNDLE)
@click.option("--quote", "quotes", type=_FILE, multiple=True, help="A quote to judge by both; may be repeated.")
@root_options
@json_option
def diff(
    *,
    old: Path,
    new: Path,
    quotes: tuple[Path, ...],
    insecure_simulated_root: Path | None,
    insecure_root: Path | None,
    as_json: bool,
) -> None:
    """Say what the bundle NEW would change against OLD, for TCB levels and for quotes, before it is applied.

    Expired documents count here as if they were current: it is about their content. Exit code 1 if a quote's verdict
    changes, 0 if none does.
    """
    from quotehelper.collateral.bundle import read_bundle
    from quotehelper.collateral.comparison import compare

    trust = trust_of(insecure_simulated_root, insecure_root)
    both = read_bundle(old), read_bundle(new)
    for each in both:
        _prove(each, trust, "standard")
    named = {str(path): path.read_bytes() for path in quotes}
    found = compare(*both, named, trust.roots, _now())
    changed = [verdict for verdict in found.verdicts if verdict.before != verdict.after]
    if as_json:
        print_json(found.as_json())
    else:
        out = console()
        out.print(f"TCB evaluation data number  {found.numbers[0]} -> {found.numbers[1]}")
        for line in found.levels:
            out.print(printable(line))
        for verdict in found.verdicts:
            mark = "  " if verdict.before == verdict.after else "[bold]! [/]"
            out.print(f"{mark}{printable(verdict.quote)}: {printable(verdict.before)} -> {printable(verdict.after)}")
    sys.exit(EXIT_REFUSED if changed else 0)


def fetch_collateral(source: str, family: Family, trust: Trust, update: str = "standard") -> Collateral:
    """The collateral for ``family`` from ``source``, not proven. Raises ConfigError, SourceError."""
    from quotehelper.collateral.fetching import Fetcher
    from quotehelper.collateral.gathering import gather
    from quotehelper.collateral.opening import open_source

    async def run() -> Collateral:
        opened = open_source(source, Fetcher())
        try:
            return await gather(opened, family, trust, update)
        finally:
            await opened.close()

    return asyncio.run(run())


def _prove(collateral: Collateral, trust: Trust, update: str) -> Sequence[Document]:
    from quotehelper.collateral.gathering import prove

    return prove(collateral, trust, update)


def _family(quote: Path | None, fmspc: str | None, ca: str) -> Family:
    from quotehelper.collateral.gathering import Family, family_of

    if (quote is None) == (fmspc is None):
        raise click.UsageError("Give either --quote or --fmspc")
    if quote is not None:
        try:
            return family_of(quote.read_bytes())
        except DecodeError as error:
            raise ConfigError(f"{quote}: {error}", "Say the platform family with --fmspc and --ca") from error
    assert fmspc is not None  # noqa: S101  one of the two is given
    if len(fmspc) != _FMSPC_DIGITS or set(fmspc.upper()) - set("0123456789ABCDEF"):
        raise click.UsageError("--fmspc: 12 hexadecimal digits expected")
    return Family(fmspc.upper(), ca.upper())


def _write(out: Path, collateral: Collateral) -> None:
    from quotehelper.documents.collateral import encode_collateral, to_files
    from quotehelper.documents.pck import read_crl

    if str(out) == "-" or out.suffix == ".json":
        ders = {name: read_crl(getattr(collateral, name)).der for name in ("root_ca_crl", "pck_crl")}
        write_result(out, encode_collateral(collateral._replace(**ders)))
        return
    out.mkdir(parents=True)
    for name, content in to_files(collateral).items():
        (out / name).write_bytes(content)


def _tell(documents: Sequence[Document], where: Path, *, as_json: bool) -> None:
    from quotehelper.documents.signed_json import write_time

    told = [
        {
            "document": str(document.key),
            "tcb_evaluation_data_number": document.number or None,
            "issued_at": write_time(document.issued_at),
            "next_update": write_time(document.next_update),
            "current": document.next_update >= _now(),
        }
        for document in documents
    ]
    if as_json:
        print_json({"bundle": str(where), "documents": told})
    elif str(where) != "-":
        for facts in told:
            print_facts(str(facts.pop("document")), facts, as_json=False)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
