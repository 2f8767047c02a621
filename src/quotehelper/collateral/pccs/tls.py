"""HTTPS with a certificate that can be renewed while the service runs. Shell.

New connections get the new certificate; those that exist keep theirs. A pair that can't be used is said and left.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from quotehelper.collateral.keeper import Log


class TlsFiles(NamedTuple):
    """PEM files: the certificate with its chain, and its private key."""

    certificate: Path
    key: Path


class Tls:
    """The TLS context over ``files``. Raises ConfigError if they can't be used."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load(self.context, files)
        self._seen = self._stamps()

    def reload_if_changed(self, log: Log) -> bool:
        """Take the files again if they are others than before. Returns whether that was done."""
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        self._seen = stamps
        try:
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self._files)  # a trial: half a pair must not be served
            _load(self.context, self._files)
        except ConfigError as error:
            log.error("certificate not taken", reason=str(error))
            return False
        log.info("certificate renewed")
        return True

    def _stamps(self) -> tuple[object, ...]:
        return tuple(_stamp(path) for path in self._files)


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    def refuse_password() -> str:
        raise ConfigError(
            f"{files.key} is encrypted", "Give a key without a password, in a file that only you can read"
        )

    try:
        context.load_cert_chain(files.certificate, files.key, refuse_password)
    except (OSError, ssl.SSLError) as error:
        problem = f"Certificate {files.certificate} with key {files.key} can't be used: {error.strerror or error}"
        raise ConfigError(problem, "Give PEM files that belong together") from error
