"""``quotehelper pccs``: run and administer a collateral service."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quotehelper.cli.exit_codes import EXIT_UNAVAILABLE, plain
from quotehelper.cli.output import Address, json_option, print_facts, print_json, talk, write_result
from quotehelper.cli.trust import root_options, trust_of
from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quotehelper.collateral.catalog import Platform
    from quotehelper.collateral.proof import Trust
    from quotehelper.collateral.store import Store

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_db = click.option(
    "--db",
    required=True,
    metavar="URL",
    help="The store: sqlite:///FILE, postgresql://USER@HOST/NAME, or the path of a file.",
)
_upstream = click.option("--upstream", metavar="URL", help="Where documents come from: Intel's PCS, or any PCCS.")
_api_key_file = click.option("--api-key-file", type=_FILE, help="File with Intel's subscription key, for its PCS.")
_upstream_ca = click.option(
    "--upstream-ca", type=_FILE, help="PEM file of the authorities that the upstream's TLS may have."
)


@click.group(name="pccs")
def command() -> None:
    """Run and administer a collateral service (PCCS).

    It keeps PCK certificates and verification collateral, and serves them as clients of Intel's PCCS and PCS expect.
    Nothing is kept that is not proven to be genuine, and nothing older replaces what is kept.
    """


@command.command()
@_db
@click.option("--listen", type=Address(), default="127.0.0.1:8081", help="Where clients connect.")
@click.option(
    "--mode",
    type=click.Choice(["LAZY", "REQ", "OFFLINE"], case_sensitive=False),
    default="LAZY",
    help="Fetch what is missing at once, when a platform registers, or never.",
)
@_upstream
@_api_key_file
@_upstream_ca
@click.option("--tls-cert", type=_FILE, help="PEM file: certificate and chain; read anew if changed.")
@click.option("--tls-key", type=_FILE, help="PEM file: its private key.")
@click.option("--insecure-http", is_flag=True, help="Serve plain HTTP.")
@click.option("--admin-token-hash", default="", metavar="SHA512", help="SHA-512 of the admin token.")
@click.option("--user-token-hash", default="", metavar="SHA512", help="SHA-512 of the user token.")
@click.option(
    "--crl-prefix",
    multiple=True,
    metavar="URL",
    show_default="Intel's",
    help="Revocation lists may be fetched from URIs that begin so.",
)
@click.option(
    "--refresh-hours",
    type=click.FloatRange(min=0),
    default=24.0,
    help="Fetch everything anew so often; 0: only when asked.",
)
@root_options
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Of the log.")
def serve(  # noqa: PLR0913  one argument an option
    *,
    db: str,
    listen: tuple[str, int],
    mode: str,
    upstream: str | None,
    api_key_file: Path | None,
    upstream_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure_http: bool,
    admin_token_hash: str,
    user_token_hash: str,
    crl_prefix: tuple[str, ...],
    refresh_hours: float,
    insecure_simulated_root: Path | None,
    insecure_root: Path | None,
    log_format: str,
) -> None:
    """Serve collateral in the foreground; says "ready" when it does.

    SIGTERM ends it once what is in flight is answered. Tokens are given by their hash: printf %s TOKEN | sha512sum.
    """
    from quotehelper.collateral.mode import Mode
    from quotehelper.collateral.pccs.process import Settings
    from quotehelper.collateral.pccs.process import serve as run
    from quotehelper.collateral.pccs.tls import TlsFiles
    from quotehelper.collateral.pccs.tokens import TokenHashes
    from quotehelper.collateral.sources import INTEL_CRL_PREFIXES, INTEL_PCS
    from quotehelper.node.log import Log, LogFormat, LogSettings

    if (tls_cert is None) != (tls_key is None) or (tls_cert is None) != insecure_http:
        raise click.UsageError("Give --tls-cert and --tls-key, or --insecure-http")
    settings = Settings(
        database_url=db,
        trust=trust_of(insecure_simulated_root, insecure_root),
        tokens=TokenHashes.checked(admin_token_hash, user_token_hash),
        mode=Mode(mode.upper()),
        host=listen[0],
        port=listen[1],
        upstream=upstream or INTEL_PCS,
        api_key=_read_secret(api_key_file),
        upstream_tls=_tls_of(upstream_ca),
        tls=TlsFiles(tls_cert, tls_key) if tls_cert and tls_key else None,
        crl_prefixes=crl_prefix or INTEL_CRL_PREFIXES,
        refresh_s=refresh_hours * 3600,
    )
    asyncio.run(run(settings, Log(LogSettings(format=LogFormat(log_format)))))


def _trust_of_file(raw: bytes) -> Trust:
    """The root of what ``raw`` brings: Intel's, or else whichever it is, with a word about it. Raises DecodeError."""
    from quotehelper.collateral.platform_collateral import find_roots, parse_platform_collateral
    from quotehelper.collateral.proof import Trust
    from quotehelper.documents.pck import read_chain
    from quotehelper.verification.roots import Roots

    intel, pem = Roots.intel(), find_roots(parse_platform_collateral(raw))
    roots = read_chain(pem).certificates if pem else ()
    strange = sorted({root.subject for root in roots if not intel.trust(root)})
    if not strange:
        return Trust(intel)
    talk(plain(f"The file's root is not Intel's but {', '.join(map(repr, strange))}: taken on your word."))
    return Trust(Roots.insecure(pem))


@command.command("import")
@click.argument("file", type=_FILE)
@_db
@root_options
@json_option
def import_(
    *, file: Path, db: str, insecure_simulated_root: Path | None, insecure_root: Path | None, as_json: bool
) -> None:
    """Keep what is in FILE, the body of PUT platformcollateral, once it is proven.

    Without a root option everything is proven up to the root that FILE itself brings, and a word is said if that is
    not Intel's: who imports vouches for the file, and nobody else has to believe the service: verifiers have roots of
    their own.
    """
    from quotehelper.collateral.importing import import_collateral
    from quotehelper.collateral.platform_collateral import BODY_LIMIT

    if file.stat().st_size > BODY_LIMIT:
        raise ConfigError(f"{file} has more than {BODY_LIMIT} bytes", "Import platforms in several files")
    raw = file.read_bytes()
    named = insecure_simulated_root or insecure_root
    trust = _trust_of_file(raw) if named is None else trust_of(insecure_simulated_root, insecure_root)
    with _open_store(db) as store:
        imported = import_collateral(store, raw, trust, dt.datetime.now(dt.UTC))
    facts = {"documents": imported.documents, "platforms": imported.platforms, "expired": list(imported.expired)}
    print_facts(
        "Imported", facts if as_json else facts | {"expired": ", ".join(imported.expired) or "none"}, as_json=as_json
    )


@command.command()
@_db
@_upstream
@_api_key_file
@_upstream_ca
@click.option("--certs", is_flag=True, help="Fetch the platforms' certificates instead of documents.")
@root_options
@json_option
def refresh(  # noqa: PLR0913  one argument an option
    *,
    db: str,
    upstream: str | None,
    api_key_file: Path | None,
    upstream_ca: Path | None,
    certs: bool,
    insecure_simulated_root: Path | None,
    insecure_root: Path | None,
    as_json: bool,
) -> None:
    """Fetch anew what a store holds. What can't be had stays as it is, and is named; exit code 3 then."""
    from quotehelper.collateral.mode import Mode
    from quotehelper.collateral.pccs.process import Settings, refresh_once
    from quotehelper.collateral.pccs.tokens import TokenHashes
    from quotehelper.collateral.sources import INTEL_PCS
    from quotehelper.node.log import Level, Log, LogSettings

    settings = Settings(
        database_url=db,
        trust=trust_of(insecure_simulated_root, insecure_root),
        tokens=TokenHashes(),
        mode=Mode.REQ,
        upstream=upstream or INTEL_PCS,
        api_key=_read_secret(api_key_file),
        upstream_tls=_tls_of(upstream_ca),
    )
    outcome = asyncio.run(refresh_once(settings, Log(LogSettings(level=Level.ERROR)), certificates=certs))
    failed = {str(key): str(error) for key, error in outcome.items() if error is not None}
    if as_json:
        print_json({"refreshed": len(outcome) - len(failed), "kept_as_they_were": failed})
    else:
        print_facts(
            "Refreshed", {"refreshed": len(outcome) - len(failed), "kept as they were": len(failed)}, as_json=False
        )
        for reason in failed.values():
            talk(plain(reason))
    sys.exit(EXIT_UNAVAILABLE if failed else 0)


@command.command()
@_db
@click.option("--fmspc", "fmspcs", multiple=True, help="Only this platform family; may be repeated.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help='Where it goes; "-": standard output.')
def export(*, db: str, fmspcs: tuple[str, ...], out: Path) -> None:
    """Write what a store holds as the body of PUT platformcollateral: for another service, or an isolated site."""
    from quotehelper.collateral.exporting import export_collateral

    with _open_store(db) as store:
        write_result(out, export_collateral(store, [fmspc.upper() for fmspc in fmspcs]))


@command.command()
@_db
@click.option("--queue", type=click.Choice(["reg", "reg_na"]), help="Those that wait, instead of those that are kept.")
@click.option("--fmspc", "fmspcs", multiple=True, help="Only this platform family; may be repeated.")
@json_option
def platforms(*, db: str, queue: str | None, fmspcs: tuple[str, ...], as_json: bool) -> None:
    """List the platforms in a store, by the QE ids that identify them."""
    with _open_store(db) as store:
        if queue is not None:
            listed = [{**r.id._asdict(), "queue": queue} for r in store.queued(queue)]
        else:
            listed = [_describe(platform) for platform in store.platforms([fmspc.upper() for fmspc in fmspcs])]
    if as_json:
        print_json(listed)
        return
    for facts in listed:
        click.echo("  ".join(facts.values()))


@command.command()
@click.option(
    "--state",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="State directory of the simulated platform that is registered.",
)
@click.option("--pccs", required=True, metavar="URL", help="The service, up to …/v4/.")
@click.option("--user-token-file", type=_FILE, help="File with the user token; without: only look.")
@click.option("--manifest", type=_FILE, help="File with the platform manifest of a machine of several packages.")
@_upstream_ca
@json_option
def register(
    *,
    state: Path,
    pccs: str,
    user_token_file: Path | None,
    manifest: Path | None,
    upstream_ca: Path | None,
    as_json: bool,
) -> None:
    """Register a platform with a service, and say how it stands: certified, unknown or without certificate.

    Exit code 0 if the service has its certificate, 3 if not yet.
    """
    from quotehelper.collateral.fetching import Fetcher
    from quotehelper.collateral.registration import RegistrationService, Standing, simulated_registration

    registration = simulated_registration(state, b"" if manifest is None else manifest.read_bytes())

    async def run() -> Standing:
        fetcher = Fetcher(tls=_tls_of(upstream_ca))
        try:
            service = RegistrationService(pccs, fetcher, _read_secret(user_token_file))
            if user_token_file is not None:
                await service.register(registration)
            return await service.standing(registration)
        finally:
            await fetcher.close()

    standing = asyncio.run(run())
    print_facts("Platform", {"service": pccs, "standing": standing.value}, as_json=as_json)
    sys.exit(0 if standing is Standing.CERTIFIED else EXIT_UNAVAILABLE)


@contextmanager
def _open_store(url: str) -> Iterator[Store]:
    from quotehelper.collateral.store import Store

    store = Store(url)
    try:
        yield store
    finally:
        store.close()


def _describe(platform: Platform) -> dict[str, str]:
    return {**platform.registration.id._asdict(), "fmspc": platform.fmspc, "ca": platform.ca}


def _read_secret(path: Path | None) -> str:
    return "" if path is None else path.read_text().strip()


def _tls_of(authorities: Path | None) -> Any:  # noqa: ANN401  an SSL context, imported late
    if authorities is None:
        return None
    import ssl

    try:
        return ssl.create_default_context(cafile=str(authorities))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{authorities}: no PEM certificates", "Give the authorities of the upstream's TLS"
        ) from error
