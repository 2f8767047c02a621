"""Real parts for tests of the webhook: the process, certificate volumes, HTTPS clients."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import subprocess
import sys
import threading
from http.client import HTTPSConnection
from typing import TYPE_CHECKING, Any, Self

from harness import DEADLINE_S

if TYPE_CHECKING:
    from pathlib import Path


class CertificateVolume:
    """A directory as the kubelet makes it of a Secret: files behind a link that is swapped whole."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._count = 0
        directory.mkdir()
        for name in ("tls.crt", "tls.key"):
            (directory / name).symlink_to(f"..data/{name}")

    def put(self, certificate_pem: str, key_pem: str) -> None:
        """Swap both files at once."""
        self._count += 1
        version = self._directory / f"..{self._count}"
        version.mkdir()
        (version / "tls.crt").write_text(certificate_pem)
        (version / "tls.key").write_text(key_pem)
        (self._directory / "..new").symlink_to(version.name)
        (self._directory / "..new").rename(self._directory / "..data")

    def remove(self) -> None:
        """Take both files away."""
        (self._directory / "..data").unlink()

    @property
    def options(self) -> tuple[str, ...]:
        """That name the files on the command line."""
        return ("--certificate", str(self._directory / "tls.crt"), "--key", str(self._directory / "tls.key"))


class WebhookProcess:
    """``quotehelper webhook`` as a process. ``events`` is its log so far."""

    def __init__(self, *options: str, environment: dict[str, str] | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "quotehelper", "webhook", "--listen", "127.0.0.1:0"),
                *("--health-listen", "127.0.0.1:0", "--check-interval", "0.05", "--drain", "0", *options),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                with contextlib.suppress(ValueError):
                    self.events.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self.events.append({"event": "(end of log)"})
            self._news.notify_all()

    def wait_for(self, event: str, **fields: object) -> dict[str, Any]:
        """The first event of that name with those fields, waited for."""

        def found() -> dict[str, Any] | None:
            wanted = {"event": event, **fields}
            return next((e for e in self.events if all(e.get(k) == v for k, v in wanted.items())), None)

        with self._news:
            self._news.wait_for(
                lambda: found() is not None or self.events[-1:] == [{"event": "(end of log)"}], timeout=DEADLINE_S
            )
            match = found()
            assert match is not None, f"no {event} {fields} in {self.events}"
            return match

    def wait_for_count(self, event: str, count: int) -> None:
        """Wait until an event has been logged ``count`` times."""
        with self._news:
            enough = self._news.wait_for(
                lambda: sum(e["event"] == event for e in self.events) >= count, timeout=DEADLINE_S
            )
            assert enough, self.events

    def port(self, which: str = "reviews") -> int:
        """Where it listens."""
        return int(str(self.wait_for("ready")[which]).rpartition(":")[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()


class Client:
    """An HTTPS client that verifies the webhook, as the API server does."""

    def __init__(self, port: int, bundle_pem: str) -> None:
        self.context = ssl.create_default_context(cadata=bundle_pem)
        self.connection = HTTPSConnection("localhost", port, context=self.context, timeout=DEADLINE_S)

    def post(self, path: str, body: bytes, content_type: str = "application/json") -> tuple[int, bytes]:
        """Status and body of the answer."""
        self.connection.request("POST", path, body, {"Content-Type": content_type})
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def serial_number(self) -> str:
        """Of the certificate that this connection was made with."""
        self.connection.connect()
        assert isinstance(self.connection.sock, ssl.SSLSocket)
        certificate = self.connection.sock.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"]).lower().lstrip("0")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
