"""The service as a process: TLS and its renewal, tokens, signals, what it refuses to start with."""

from __future__ import annotations

import datetime as dt
import json
import signal
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from harness import DEADLINE_S, run_cli
from pccs_process import V4, Pccs, Thread, settings
from quotehelper.collateral.pccs.tls import TlsFiles

if TYPE_CHECKING:
    from pathlib import Path

    from collateral_world import World


def write_pair(directory: Path, name: str) -> x509.Certificate:
    """A self-signed server certificate and its key, in tls.pem and tls.key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
    )
    (directory / "tls.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate


def trusting_all() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_a_renewed_certificate_is_served_at_sighup_and_connections_go_on(root: Path, tmp_path: Path) -> None:
    first = write_pair(tmp_path, "first")
    options = ("--tls-cert", str(tmp_path / "tls.pem"), "--tls-key", str(tmp_path / "tls.key"))
    with Pccs(str(tmp_path / "store.db"), "OFFLINE", root, *options, http=False) as service:
        assert service.url.startswith("https://")
        old, new = service.http(trusting_all()), service.http(trusting_all())
        assert old.certificate() == first.public_bytes(Encoding.DER)
        second = write_pair(tmp_path, "second")
        service.process.send_signal(signal.SIGHUP)
        service.wait_for("certificate renewed")
        assert new.certificate() == second.public_bytes(Encoding.DER)
        assert (old.get("/healthz").status, new.get("/healthz").status) == (200, 200)
        old.close()
        new.close()
        assert service.stop() == 0


def test_half_a_renewed_pair_is_not_taken(live_world: World, tmp_path: Path) -> None:
    first = write_pair(tmp_path, "first")
    files = TlsFiles(tmp_path / "tls.pem", tmp_path / "tls.key")
    with Thread(settings(str(tmp_path / "store.db"), "OFFLINE", live_world.trust, tls=files)) as service:
        kept = files.key.read_bytes()
        write_pair(tmp_path, "second")
        files.key.write_bytes(kept)
        tls = service.running.tls
        assert tls is not None
        assert not tls.reload_if_changed(service.events)
        assert "certificate not taken" in service.log
        client = service.http(trusting_all())
        assert client.certificate() == first.public_bytes(Encoding.DER)
        client.close()


def test_another_service_is_verified_by_the_authorities_that_are_named(
    root: Path, tmp_path: Path, live_world: World, exported: Path
) -> None:
    write_pair(tmp_path, "localhost")
    files = TlsFiles(tmp_path / "tls.pem", tmp_path / "tls.key")
    near, far = str(tmp_path / "near.db"), str(tmp_path / "far.db")
    run_cli("pccs", "import", str(exported / "pccs.json"), "--db", far, "--insecure-simulated-root", str(root))
    with Thread(settings(far, "OFFLINE", live_world.trust, tls=files)) as source:
        upstream = ("--upstream", source.url.replace("127.0.0.1", "localhost"))
        with Pccs(near, "LAZY", root, *upstream, "--upstream-ca", str(files.certificate)) as service:
            assert service.get(V4 + "qe/identity").status == 200
        with Pccs(str(tmp_path / "other.db"), "LAZY", root, *upstream) as service:
            assert service.get(V4 + "qe/identity").status == 502
            service.wait_for("certificate verify failed|CERTIFICATE_VERIFY_FAILED")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--insecure-http"),
        (("--insecure-http", "--admin-token-hash", "abc"), "128 hexadecimal digits"),
        (("--insecure-http", "--upstream", "ftp://example.org/"), "no URL"),
        (("--insecure-http", "--listen", "nowhere"), "HOST:PORT"),
        (("--tls-cert", "/dev/null", "--tls-key", "/dev/null"), "can't be used"),
    ],
    ids=str,
)
def test_what_it_can_not_start_with_is_said_with_a_remedy(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    ended = run_cli("pccs", "serve", "--db", str(tmp_path / "store.db"), *options, check=False)
    assert ended.returncode == 2
    assert said in ended.stderr


def test_an_address_that_is_taken_is_said(offline: Pccs, tmp_path: Path) -> None:
    address = offline.origin.removeprefix("http://")
    ended = run_cli(
        *("pccs", "serve", "--db", str(tmp_path / "s.db"), "--listen", address, "--insecure-http"), check=False
    )
    assert ended.returncode == 2
    assert "address already in use" in ended.stderr


def test_importing_what_is_not_genuine_ends_with_1(exported: Path, tmp_path: Path) -> None:
    body = json.loads((exported / "pccs.json").read_text())
    body["collaterals"]["tcbinfos"][0]["sgx_tcbinfo"]["tcbInfo"]["tcbEvaluationDataNumber"] += 1
    (tmp_path / "forged.json").write_text(json.dumps(body))
    ended = run_cli("pccs", "import", str(tmp_path / "forged.json"), "--db", str(tmp_path / "s.db"), check=False)
    assert ended.returncode == 1
    assert "not proven" in ended.stderr


def test_who_connects_and_says_nothing_is_let_out(live_world: World, tmp_path: Path) -> None:
    own = settings(str(tmp_path / "store.db"), "OFFLINE", live_world.trust, silent_s=0.05)
    with Thread(own) as service, connected(service) as silent, connected(service) as half:
        half.sendall(b"GET /healthz HTTP/1.1\r\nHost: l")
        assert (silent.recv(1), half.recv(1)) == (b"", b"")
        assert service.get("/healthz").status == 200


def test_beyond_the_limit_connections_are_closed_and_those_before_answered(live_world: World, tmp_path: Path) -> None:
    own = settings(str(tmp_path / "store.db"), "OFFLINE", live_world.trust, connections=2)
    with Thread(own) as service:
        first, second = service.http(), service.http()
        assert (first.get("/healthz").status, second.get("/healthz").status) == (200, 200)
        with connected(service) as third:
            assert third.recv(1) == b""
        assert first.get("/healthz").status == 200
        first.close()
        second.close()


def connected(service: Thread) -> socket.socket:
    host, _, port = service.origin.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), DEADLINE_S)
