"""TLS whose certificate changes while it serves. Shell (reads files).

Each certificate has a context of its own, made whole before it is used. The listening context never changes; in every
handshake it hands over to the newest one, so that there is no moment with half a pair, and connections that stand are
left alone.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509

from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from quotehelper.kube.webhook.settings import CertificateFiles

_FILE_LIMIT_BYTES = 256 * 1024
"""Of a PEM file; a chain has a few KiB."""


class TlsPair(NamedTuple):
    """A certificate chain and its key, in PEM."""

    certificate_pem: bytes
    key_pem: bytes


class CertificateFacts(NamedTuple):
    """What is told of a certificate."""

    serial_number: str
    not_after: datetime


def read_pair(files: CertificateFiles) -> TlsPair:
    """The pair that the files hold now. Raises ConfigError if they can't be read."""
    return TlsPair(_read(files.certificate), _read(files.key))


def stamp(files: CertificateFiles) -> tuple[tuple[int, int, int], ...]:
    """What changes when a file is replaced or written: inode, size and time of each; empty if one is gone."""
    try:
        found = [os.stat(path) for path in (files.certificate, files.key)]  # noqa: PTH116  follows a volume's links
    except OSError:
        return ()
    return tuple((status.st_ino, status.st_size, status.st_mtime_ns) for status in found)


def facts(pair: TlsPair) -> CertificateFacts:
    """Serial number and end of the first certificate. Raises ConfigError if it is none."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate_pem)
    except ValueError as error:
        raise ConfigError("the certificate is not PEM", "Name a file that begins with BEGIN CERTIFICATE") from error
    return CertificateFacts(f"{certificate.serial_number:x}", certificate.not_valid_after_utc)


class CertificateSwitch:
    """A TLS context for listening, ``context``, that serves the pair of the last ``switch``."""

    def __init__(self, first: TlsPair) -> None:
        self.context = _make_context(first)
        self._current = self.context
        self.context.sni_callback = self._hand_over

    def switch(self, pair: TlsPair) -> None:
        """Serve ``pair`` from the next handshake on. Raises ConfigError, and goes on as before, if it is no pair."""
        self._current = _make_context(pair)

    def _hand_over(self, connection: ssl.SSLObject, _server_name: str | None, _listening: ssl.SSLContext) -> None:
        connection.context = self._current


def _make_context(pair: TlsPair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with open(os.memfd_create("tls"), "wb", buffering=0) as memory:  # noqa: PTH123  a key never goes to a disk
        memory.write(pair.certificate_pem + b"\n" + pair.key_pem)
        try:
            context.load_cert_chain(f"/proc/self/fd/{memory.fileno()}", password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            problem = f"certificate and key can't be used: {getattr(error, 'reason', None) or error}"
            raise ConfigError(problem, "Name a certificate in PEM and the key it was made for") from error
    return context


def _no_password() -> str:
    """Called for an encrypted key. OpenSSL would ask on the terminal otherwise."""
    raise ValueError("the key is encrypted")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "Name readable files with --certificate and --key") from error
    if len(data) > _FILE_LIMIT_BYTES:
        raise ConfigError(f"{path}: more than {_FILE_LIMIT_BYTES} bytes", "Name a certificate or key in PEM")
    return data
