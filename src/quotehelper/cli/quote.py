"""``quotehelper quote``: ask any AESM daemon for a quote, as an application does."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quotehelper.aesm.transport import SOCKET_PATH
from quotehelper.cli.output import Hex, enclave_options, json_option, print_facts, talk, write_result

if TYPE_CHECKING:
    from quotehelper.aesm.client import AesmClient
    from quotehelper.platforms.simulated.cpu import Enclave, EnclaveIdentity
    from quotehelper.sgx.report import Report


@click.command()
@click.option("--socket", default=SOCKET_PATH, help="The daemon's socket.")
@click.option("--report-data", type=Hex(64, padded=True), help="What the quote shall bind: up to 64 bytes.")
@click.option(
    "--state",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A simulated platform's state: play an enclave on its processor.",
)
@click.option(
    "--report",
    "report_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A report of 432 bytes that an enclave made for the daemon's target info.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help='Where it goes; "-": standard output.')
@enclave_options
@json_option
def command(  # noqa: PLR0913  one argument an option
    *,
    socket: str,
    report_data: bytes | None,
    state: Path | None,
    report_file: Path | None,
    out: Path,
    as_json: bool,
    mr_enclave: bytes,
    mr_signer: bytes,
    isv_prod_id: int,
    isv_svn: int,
    debug: bool,
) -> None:
    """Ask a daemon for a quote.

    With --state (simulated platforms) this command plays the enclave: it makes the report over --report-data, asks
    with a nonce, and checks the quoting enclave's report over the answer. On real hardware only an enclave can make
    the report: get the daemon's target info with `quotehelper target-info`, and pass the report with --report.
    """
    from quotehelper.aesm.client import AesmClient
    from quotehelper.sgx.report import Report

    client = AesmClient(socket)
    if (state is None) == (report_file is None):
        raise click.UsageError("give either --state (simulated platforms) or --report (a report made by an enclave)")
    if report_file is not None:
        if report_data is not None:
            raise click.UsageError("a report given with --report holds its own data: leave --report-data out")
        quote = quote_report(client, Report(report_file.read_bytes()))
    elif state is None or report_data is None:
        raise click.UsageError("--report-data is missing: what shall the quote bind?")
    else:
        from quotehelper.platforms.simulated.state import load_cpu

        enclave = load_cpu(state).load(enclave_identity(mr_enclave, mr_signer, isv_prod_id, isv_svn, debug=debug))
        quote = quote_enclave(client, enclave, report_data)
    write_result(out, quote)
    if str(out) == "-":
        return
    print_facts("Quote", {"written_to": str(out), "size_bytes": len(quote), "socket": socket}, as_json=as_json)
    if not as_json:
        talk(f"Not verified. Read it with: quotehelper show {out}")


def quote_report(client: AesmClient, report: Report) -> bytes:
    """The daemon's quote over a report that was made elsewhere."""
    from quotehelper.sgx.key_id import QE3_KEY_ID

    return client.quote(report, QE3_KEY_ID).quote


def quote_enclave(client: AesmClient, enclave: Enclave, report_data: bytes) -> bytes:
    """A quote over 64 bytes of ``report_data`` by ``enclave``, played here, through the whole protocol.

    As an enclave should: a fresh nonce goes along, and the quoting enclave's report over nonce and quote is checked.
    Raises CryptoError if it does not hold, TransportError and DaemonError as the client does.
    """
    from quotehelper.errors import CryptoError
    from quotehelper.sgx.key_id import QE3_KEY_ID, QeReportInfo

    target_info, _public_key_id = client.init_quote(QE3_KEY_ID)
    report = enclave.report(target_info, report_data)
    asked = QeReportInfo.build(nonce=secrets.token_bytes(16), app_enclave_target_info=enclave.target)
    quoted = client.quote(report, QE3_KEY_ID, qe_report_info=asked)
    if quoted.qe_report_info is None or not enclave.verify_report(quoted.qe_report_info.qe_report):
        raise CryptoError("the quoting enclave's report over the quote was not made on this processor for this enclave")
    expected = hashlib.sha256(asked.nonce + quoted.quote).digest() + bytes(32)
    if not hmac.compare_digest(quoted.qe_report_info.qe_report.body.report_data, expected):
        raise CryptoError("the quoting enclave's report does not bind this quote and nonce: somebody changed the quote")
    return quoted.quote


def enclave_identity(
    mr_enclave: bytes, mr_signer: bytes, isv_prod_id: int, isv_svn: int, *, debug: bool
) -> EnclaveIdentity:
    """The identity of the enclave that is played."""
    from quotehelper.platforms.simulated.cpu import EnclaveIdentity
    from quotehelper.sgx.report import AttributeFlags, Attributes

    flags = AttributeFlags.INIT | AttributeFlags.MODE64BIT | (AttributeFlags.DEBUG if debug else 0)
    attributes = Attributes.build(flags=flags, xfrm=0xE7)
    return EnclaveIdentity(mr_enclave, mr_signer, attributes, isv_prod_id=isv_prod_id, isv_svn=isv_svn)
