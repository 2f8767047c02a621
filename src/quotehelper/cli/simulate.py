"""``quotehelper simulate``: create and use a simulated SGX platform."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from quotehelper.cli.output import (
    Address,
    Hex,
    enclave_options,
    json_option,
    print_facts,
    print_json,
    talk,
    write_result,
)
from quotehelper.cli.simulate_authority import COMMANDS, show, state_option


@click.group(name="simulate")
def command() -> None:
    """Create and use a simulated SGX platform, and have its authority say what a test needs.

    Its processor, quoting enclave and provisioning authority are complete, but its root of trust is its own: whoever
    verifies its quotes must be given that root, and nobody who is not can be deceived by them.
    """


@command.command()
@state_option
@click.option(
    "--authority",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="State of another simulated platform whose authority certifies this one: a second node.",
)
@click.option(
    "--authority-files",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    show_envvar=True,
    help="Files of an authority, as a Secret holds them, of which this platform gets a copy. If there are none, the "
    "authority is a new one.",
)
@click.option("--if-absent", is_flag=True, help="Leave a platform that is there already as it is.")
@click.option("--ca", type=click.Choice(["processor", "platform"]), default="processor", help="Which CA certifies it.")
@click.option("--qe-isv-svn", type=click.IntRange(1, 0xFFFF), default=11, help="Version of the quoting enclave.")
@click.option("--qe-mr-enclave", type=Hex(32), help="Its MRENCLAVE.  [default: its own for each version]")
@json_option
def init(  # noqa: PLR0913  one argument an option
    *,
    state: Path,
    authority: Path | None,
    authority_files: Path | None,
    if_absent: bool,
    ca: str,
    qe_isv_svn: int,
    qe_mr_enclave: bytes | None,
    as_json: bool,
) -> None:
    """Create a platform: a processor, its enclaves, and an authority that has certified it."""
    from quotehelper.platforms.simulated import provisioning
    from quotehelper.platforms.simulated.state import PLATFORM_FILE, describe

    if authority is not None and authority_files is not None:
        raise click.UsageError("--authority and --authority-files name two authorities: give one")
    if not (if_absent and (state / PLATFORM_FILE).exists()):
        given = authority if authority_files is None else provisioning.read_authority_files(authority_files)
        provisioning.init(state, _now(), authority=given, ca=ca, qe_isv_svn=qe_isv_svn, qe_mr_enclave=qe_mr_enclave)
    print_facts("Simulated platform", describe(state), as_json=as_json)
    if not as_json:
        talk(f"Serve it with: quotehelper serve --platform simulated --state {state}")


@command.command()
@state_option
@json_option
def info(state: Path, *, as_json: bool) -> None:
    """Say what the platform is, and what its authority says of it; nothing secret or identifying."""
    from quotehelper.platforms.simulated.state import read_state

    show(read_state(state), as_json=as_json)


@command.command()
@state_option
@click.option(
    "--target-info",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="For whom the report is: 512 bytes, as `quotehelper target-info` writes them.",
)
@click.option("--report-data", type=Hex(64, padded=True), required=True, help="What it shall say: up to 64 bytes.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help='Where it goes; "-": standard output.')
@enclave_options
def report(  # noqa: PLR0913  one argument an option
    *,
    state: Path,
    target_info: Path,
    report_data: bytes,
    out: Path,
    mr_enclave: bytes,
    mr_signer: bytes,
    isv_prod_id: int,
    isv_svn: int,
    debug: bool,
) -> None:
    """Make the 432-byte report (EREPORT) of an enclave on the platform's processor."""
    from quotehelper.cli.quote import enclave_identity
    from quotehelper.platforms.simulated.state import load_cpu
    from quotehelper.sgx.report import TargetInfo

    target = TargetInfo(target_info.read_bytes())
    enclave = load_cpu(state).load(enclave_identity(mr_enclave, mr_signer, isv_prod_id, isv_svn, debug=debug))
    write_result(out, enclave.report(target, report_data).raw)


@command.command("update-qe")
@state_option
@click.option("--isv-svn", type=click.IntRange(1, 0xFFFF), required=True, help="The new version.")
@click.option("--mr-enclave", type=Hex(32), help="Its MRENCLAVE.  [default: its own for each version]")
@json_option
def update_qe(state: Path, isv_svn: int, mr_enclave: bytes | None, *, as_json: bool) -> None:
    """Replace the quoting enclave by another version; a running daemon takes it over in a second."""
    from quotehelper.platforms.simulated.provisioning import update_qe as replace
    from quotehelper.platforms.simulated.state import describe

    replace(state, isv_svn, mr_enclave)
    print_facts("Simulated platform", describe(state), as_json=as_json)


@command.command("export-collateral")
@state_option
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory to create.")
@json_option
def export_collateral(state: Path, out: Path, *, as_json: bool) -> None:
    """Write all that a verifier needs besides the quote, freshly signed, in the forms that verifiers read.

    root.pem and collateral.json (dcap-qvl), pccs.json (body of PUT platformcollateral), qvl/ (Intel's Quote
    Verification Library) and case/ (one file a document).
    """
    from quotehelper.platforms.simulated.provisioning import export_collateral as export

    export(state, out, _now())
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    if as_json:
        print_json({"out": str(out), "files": files})
    else:
        print_facts("Collateral", {"written_to": out, "files": ", ".join(files)}, as_json=False)


@command.command("serve-pcs")
@click.option(
    "--state",
    "states",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    multiple=True,
    help="State of a platform that is certified; several if one authority certified them.",
)
@click.option("--listen", type=Address(), default="127.0.0.1:8080", help="Where clients connect.")
def serve_pcs(*, states: tuple[Path, ...], listen: tuple[str, int]) -> None:
    """Serve the simulated authority as Intel's provisioning certification service (PCS) is served, over plain HTTP.

    Collateral services can have it as their upstream, and clients can ask it directly.
    """
    import asyncio

    from quotehelper.collateral.simulated_pcs import SimulatedPcs, serve
    from quotehelper.node.log import Log, LogSettings

    asyncio.run(serve(SimulatedPcs(states, _now), *listen, Log(LogSettings())))


for each in COMMANDS:
    command.add_command(each)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
