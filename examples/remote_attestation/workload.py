"""Two workloads attest each other and agree on a key; this program is either of them.

Each makes a key pair that never leaves it and has a quote made, by its node's helper, over that key and the other's
nonce. Each verifies the other's quote: genuine, current, the enclave it wants, and made for this very exchange. Only
then they speak TLS, and each trusts exactly the key that the other's quote vouches for; so whoever sits between them
can pass everything on, but read nothing and change nothing.

On real hardware `Workload` is code inside an enclave. Here it plays an enclave on a simulated processor (--state);
everything else is what it would be: the socket, the protocol, the quotes, their verification.

    python workload.py listen  127.0.0.1:7000 --state STATE --collateral COLLATERAL
    python workload.py connect 127.0.0.1:7000 --state STATE --collateral COLLATERAL
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import secrets
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from quotehelper.aesm.client import AesmClient
from quotehelper.aesm.transport import SOCKET_PATH
from quotehelper.cli.quote import enclave_identity, quote_enclave
from quotehelper.documents.collateral import from_files
from quotehelper.errors import QuoteHelperError
from quotehelper.platforms.simulated.state import load_cpu
from quotehelper.verification.policy import Policy, appraise
from quotehelper.verification.roots import Roots
from quotehelper.verification.rules import ReportDataSha256, Signer
from quotehelper.verification.verify import Verifier

if TYPE_CHECKING:
    from quotehelper.platforms.simulated.cpu import Enclave

LABEL = b"quotehelper example: remote attestation, version 1"
NONCE_BYTES = 32
FRAME_LIMIT_BYTES = 64 * 1024
PATIENCE_S = 30.0
SIGNER, PRODUCT, VERSION = b"\x51" * 32, 1, 2
"""The enclave that both want the other to be: who signed it, which of that signer's, from which version on."""


class Evidence(NamedTuple):
    """What a workload shows: a certificate by which TLS names its key, and a quote over that key."""

    certificate: bytes
    quote: bytes


class RefusedError(QuoteHelperError):
    """The other side is not who it should be, or broke off."""


class Workload:
    """One side: its key, and the enclave that keeps it."""

    def __init__(self, enclave: Enclave, helper: AesmClient) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = _self_signed(self._key)
        self._enclave = enclave
        self._helper = helper

    def evidence(self, role: str, challenge: bytes) -> Evidence:
        """A quote that binds this side's key to the other's ``challenge``, made by the node's helper."""
        statement = _statement(role, challenge, self.certificate)
        quote = quote_enclave(self._helper, self._enclave, hashlib.sha256(statement).digest() + bytes(32))
        return Evidence(self.certificate, quote)

    def tls(self, *, listens: bool, peer: bytes) -> ssl.SSLContext:
        """TLS with this side's key that trusts the certificate ``peer`` and no other."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if listens else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # who it is, its quote has said
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=peer)
        pem = ssl.DER_cert_to_PEM_cert(self.certificate).encode() + self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with open(os.memfd_create("key"), "wb", buffering=0) as memory:  # noqa: PTH123  a key never goes to a disk
            memory.write(pem)
            context.load_cert_chain(f"/proc/self/fd/{memory.fileno()}")
        return context


def check_evidence(shown: Evidence, role: str, challenge: bytes, verifier: Verifier) -> None:
    """Prove that ``shown`` is of the enclave that is wanted and answers ``challenge``.

    Raises VerificationError if the quote is not genuine, PolicyError if it is not what is wanted.
    """
    verified = verifier.verify(shown.quote, at=dt.datetime.now(dt.UTC))
    statement = _statement(role, challenge, shown.certificate)
    appraise(verified, Policy(Signer([SIGNER], [PRODUCT], VERSION), ReportDataSha256(statement)))


def agree_on_key(plain: socket.socket, workload: Workload, verifier: Verifier, *, listens: bool) -> bytes:
    """Attest both ways over ``plain``, then exchange secrets over TLS; the key of 32 bytes that both have then."""
    mine, theirs = ("listener", "connector") if listens else ("connector", "listener")
    challenge = secrets.token_bytes(NONCE_BYTES)
    _send(plain, challenge)
    evidence = workload.evidence(mine, _receive(plain))
    _send(plain, evidence.certificate)
    _send(plain, evidence.quote)
    shown = Evidence(_receive(plain), _receive(plain))
    check_evidence(shown, theirs, challenge, verifier)
    context = workload.tls(listens=listens, peer=shown.certificate)
    secret = secrets.token_bytes(32)
    try:
        with context.wrap_socket(plain, server_side=listens) as channel:
            _send(channel, secret)
            secret_of_peer = _receive(channel)
    except ssl.SSLError as error:
        raise RefusedError(f"the other side has not the key that its quote names: {error.reason}") from error
    ordered = (secret, secret_of_peer) if listens else (secret_of_peer, secret)
    return HKDF(hashes.SHA256(), 32, salt=None, info=LABEL).derive(b"".join(ordered))


def _statement(role: str, challenge: bytes, certificate: bytes) -> bytes:
    """What a quote's report data is the SHA-256 of: each part behind the other, all but the last of fixed length."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b"".join((LABEL, hashlib.sha256(role.encode()).digest(), hashlib.sha256(challenge).digest(), spki))


def _self_signed(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate that says nothing but the key: DER."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "workload")])
    now = dt.datetime.now(dt.UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    valid = built.not_valid_before(now - dt.timedelta(minutes=5)).not_valid_after(now + dt.timedelta(hours=1))
    return valid.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _send(channel: socket.socket, data: bytes) -> None:
    channel.sendall(len(data).to_bytes(4, "big") + data)


def _receive(channel: socket.socket) -> bytes:
    """One frame; its length is checked before anything is kept."""
    size = int.from_bytes(_exactly(channel, 4), "big")
    if size > FRAME_LIMIT_BYTES:
        raise RefusedError(f"a frame of {size} bytes, at most {FRAME_LIMIT_BYTES} are read")
    return _exactly(channel, size)


def _exactly(channel: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        chunk = channel.recv(size - len(received))
        if not chunk:
            raise RefusedError("the other side broke off: it may have refused this one")
        received += chunk
    return received


def _connection(role: str, address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if role == "connect":
        return socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    with socket.create_server((host, int(port))) as listening:
        click.echo(f"listening on port {listening.getsockname()[1]}")
        sys.stdout.flush()
        listening.settimeout(PATIENCE_S)
        connection = listening.accept()[0]
    connection.settimeout(PATIENCE_S)
    return connection


@click.command()
@click.argument("role", type=click.Choice(["listen", "connect"]))
@click.argument("address", metavar="HOST:PORT")
@click.option("--state", type=click.Path(exists=True, path_type=Path), required=True, help="The simulated processor.")
@click.option("--collateral", type=click.Path(exists=True, path_type=Path), required=True, help="What verifies quotes.")
@click.option("--socket", "helper", default=SOCKET_PATH, show_default=True, help="The node helper's socket.")
@click.option("--version", default=VERSION, show_default=True, help="This enclave's security version.")
def main(*, role: str, address: str, state: Path, collateral: Path, helper: str, version: int) -> None:
    """Be one of two workloads that attest each other."""
    enclave = load_cpu(state).load(enclave_identity(b"\xe1" * 32, SIGNER, PRODUCT, version, debug=False))
    documents = from_files({file.name: file.read_bytes() for file in (collateral / "case").iterdir()})
    roots = Roots.insecure_simulated((collateral / "root.pem").read_bytes())
    workload, verifier = Workload(enclave, AesmClient(helper)), Verifier(documents, roots=roots)
    try:
        with _connection(role, address) as plain:
            key = agree_on_key(plain, workload, verifier, listens=role == "listen")
    except (QuoteHelperError, OSError, ValueError) as error:
        click.echo(f"refused: {error}", err=True)
        sys.exit(1)
    click.echo(f"agreed on a key: SHA-256 {hashlib.sha256(key).hexdigest()}")


if __name__ == "__main__":
    main()
