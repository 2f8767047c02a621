"""``quotehelper demo``: the whole of it, from nothing to a verified quote, with real processes on a real socket."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quotehelper.errors import ConfigError, CryptoError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

_START_S = 20.0
_MESSAGE = b"hello from a simulated enclave"
_SIGNER, _PRODUCT, _VERSION = b"\x51" * 32, 1, 2
_REPORT_DATA_OFFSET = 48 + 320
"""Of the report data in a quote: header, then the report up to there."""


@click.command()
def command() -> None:
    """See the main job work: create a simulated platform, start the daemon, ask for a quote as an enclave, verify it.

    Everything happens in a temporary directory that is removed at the end.
    """
    from quotehelper.cli.output import console
    from quotehelper.cli.quote import enclave_identity, quote_enclave
    from quotehelper.cli.show import show_document

    verifier = _independent_verifier()
    out = console()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="quotehelper-demo-") as directory:
        place = Path(directory)
        state, socket = place / "state", place / "aesm.socket"

        out.print("[bold]1.[/] A simulated SGX platform: processor, quoting enclave, provisioning authority")
        _run("simulate", "init", "--state", str(state))
        out.print("[bold]2.[/] The daemon, on a socket that speaks Intel's AESM protocol")
        with _daemon(state, socket) as ready:
            out.print(f"   {ready}", style="dim", markup=False)
            out.print("[bold]3.[/] An application's enclave asks for a quote over SHA-256 of a message, with a nonce")
            from quotehelper.aesm.client import AesmClient
            from quotehelper.platforms.simulated.state import load_cpu

            identity = enclave_identity(b"\xe1" * 32, _SIGNER, _PRODUCT, _VERSION, debug=False)
            enclave = load_cpu(state).load(identity)
            report_data = hashlib.sha256(_MESSAGE).digest() + bytes(32)
            quote = quote_enclave(AesmClient(str(socket)), enclave, report_data)
            out.print("   the QE's report binds nonce and quote: nobody changed it on the way", style="dim")
            out.print("[bold]4.[/] The quote")
            show_document(quote, out)
        out.print("[bold]5.[/] The daemon has ended on SIGTERM, with exit code 0 and its socket removed")
        collateral = place / "collateral"
        _run("simulate", "export-collateral", "--state", str(state), "--out", str(collateral))
        out.print("[bold]6.[/] A relying party verifies it, with the simulated root and the platform's collateral;")
        out.print("   its policy wants this signer's product 1, version 2 or later, and the message's SHA-256")
        _verify(quote, collateral, out)
        status = verifier(quote, collateral)
        out.print(f"[bold]8.[/] A second opinion, dcap-qvl with the simulated root: [green]verified[/], {status}")
        seconds = time.monotonic() - started
        out.print(f"Done in {seconds:.1f} s; nothing is left behind.")


@contextlib.contextmanager
def _daemon(state: Path, socket: Path) -> Iterator[str]:
    """A running daemon and its line that says it is ready; ended as an operator would end it."""
    command_line = [*_self(), "serve", "--platform", "simulated", "--state", str(state), "--socket", str(socket)]
    with subprocess.Popen(command_line, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603  our own program
        try:
            yield _ready_line(process)
            process.send_signal(signal.SIGTERM)
            if process.wait(_START_S) != 0 or socket.exists():
                raise TransportError(f"the daemon ended with exit code {process.returncode}, not 0, or left its socket")
        finally:
            process.kill()


def _verify(quote: bytes, collateral: Path, out: Console) -> None:
    """Show what `quotehelper verify` shows, of the quote and of a forgery. Raises CryptoError for a wrong verdict."""
    from quotehelper.cli.outcome import judge
    from quotehelper.cli.verdict import print_in_full
    from quotehelper.documents.collateral import from_files
    from quotehelper.verification.policy import Policy
    from quotehelper.verification.roots import Roots
    from quotehelper.verification.rules import ReportDataSha256, Signer
    from quotehelper.verification.verify import Verifier

    files = {file.name: file.read_bytes() for file in (collateral / "case").iterdir()}
    roots = Roots.insecure_simulated((collateral / "root.pem").read_bytes())
    verifier, now = Verifier(from_files(files), roots=roots), dt.datetime.now(dt.UTC)
    policy = Policy(Signer([_SIGNER], [_PRODUCT], _VERSION), ReportDataSha256(_MESSAGE))
    outcome = judge("quote", quote, verifier, now, policy)
    print_in_full(outcome, out)
    if not outcome.accepted:
        raise CryptoError("the quote is not accepted")
    forgery = bytearray(quote)
    forgery[_REPORT_DATA_OFFSET] ^= 1
    forged = judge("forgery", bytes(forgery), verifier, now, policy)
    if forged.error is None:
        raise CryptoError("a forged quote is accepted")
    out.print(f"[bold]7.[/] With one bit of the report data flipped it is [red]refused[/]: {forged.error.problem}")


def _ready_line(process: subprocess.Popen[str]) -> str:
    lines = []
    for line in process.stderr or ():
        lines.append(line.strip())
        if " ready " in line:
            return lines[-1]
    raise TransportError("the daemon did not start: " + " / ".join(lines))


def _run(*arguments: str) -> None:
    done = subprocess.run([*_self(), *arguments], capture_output=True, text=True, check=False)  # noqa: S603  our own program
    if done.returncode:
        raise TransportError(f"quotehelper {arguments[0]} failed: {done.stderr.strip()}")


def _self() -> list[str]:
    return [sys.executable, "-m", "quotehelper"]


def _independent_verifier() -> Callable[[bytes, Path], str]:
    """dcap-qvl, given the simulated root. Raises ConfigError if it is not installed."""
    try:
        import dcap_qvl
    except ImportError as error:
        raise ConfigError("dcap-qvl is not installed", "Install it with: pip install 'quotehelper[demo]'") from error

    def verify(quote: bytes, collateral: Path) -> str:
        from cryptography.hazmat.primitives.serialization import Encoding
        from cryptography.x509 import load_pem_x509_certificate

        root = load_pem_x509_certificate((collateral / "root.pem").read_bytes()).public_bytes(Encoding.DER)
        documents = dcap_qvl.QuoteCollateralV3.from_json((collateral / "collateral.json").read_text())
        try:
            verified = dcap_qvl.verify_with_root_ca(quote, documents, root, int(time.time()))
        except ValueError as error:
            raise CryptoError(f"dcap-qvl does not accept the quote: {error}") from error
        return str(verified.status)

    return verify
