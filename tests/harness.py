"""Real parts for tests: the real daemon as a process on a real socket, and the command line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quotehelper.node.log import Level, Log, LogFormat, LogSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

VECTORS = Path(__file__).parent / "vectors"
DEADLINE_S = 60.0
"""Seconds after which a test gives up waiting for an event; never reached when things work."""


class Program:
    """A program of ours as a process. ``lines`` is its log so far.

    ``launcher``: a command that becomes it. ``pass_fds``: descriptors that it gets, by the same numbers.
    """

    def __init__(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        launcher: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [*launcher, sys.executable, "-m", "quotehelper", *command],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            pass_fds=pass_fds,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.lines.append("(end of log)")
            self._news.notify_all()

    def wait_for(self, pattern: str, *, times: int = 1) -> str:
        """The ``times``-th log line that matches ``pattern``, waited for."""

        def matches() -> list[str]:
            return [line for line in self.lines if re.search(pattern, line)]

        with self._news:
            found = self._news.wait_for(
                lambda: len(matches()) >= times or "(end of log)" in self.lines, timeout=DEADLINE_S
            )
            assert found, f"no {pattern!r} within {DEADLINE_S} s in {self.lines}"
        assert len(matches()) >= times, f"ended without {pattern!r}: {self.lines}"
        return matches()[times - 1]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()


class Daemon(Program):
    """``quotehelper serve`` as a process."""

    def __init__(
        self,
        state: Path,
        path: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        launcher: Sequence[str] = (),
    ) -> None:
        self.path = path
        command = ("serve", "--platform", "simulated", "--state", str(state), "--socket", str(path))
        super().__init__(*command, *options, environment=environment, launcher=launcher)

    def children(self, module: str = "quotehelper.cli.daemon") -> list[int]:
        """The process ids of its serving processes, or of those children that run another ``module``."""
        pid = self.process.pid
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [child for child in children if module in Path(f"/proc/{child}/cmdline").read_text().split("\0")]

    def resident_kib(self) -> int:
        """The resident memory of its serving processes, in KiB."""
        statuses = (Path(f"/proc/{pid}/status").read_text() for pid in self.children())
        return sum(int(m[1]) for status in statuses if (m := re.search(r"VmRSS:\s+(\d+)", status)))

    def connect(self) -> socket.socket:
        """A connection to it, with a generous time-out."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(DEADLINE_S)
        try:
            client.connect(str(self.path))
        except OSError:
            client.close()
            raise
        return client

    def exchange(self, frame: bytes) -> bytes:
        """The whole reply frame to ``frame``, or b"" if it closed without one."""
        with self.connect() as client:
            client.sendall(frame)
            return receive_frame(client)

    def __exit__(self, *details: object) -> None:
        if self.process.poll() is None:
            for child in self.children():  # with a private directory they outlive their supervisor
                os.kill(child, signal.SIGKILL)
        super().__exit__(*details)


class WrittenLog(Log):
    """A log into the file ``path`` that can be read: ``events``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        super().__init__(LogSettings(Level.DEBUG, LogFormat.JSON), self._file)

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """Every event so far, or those called ``name``."""
        events = [json.loads(line) for line in self._path.read_text().splitlines()]
        return [event for event in events if name in {"", event["event"]}]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def open_files(pid: int | str) -> set[str]:
    """What process ``pid`` has open, as its links say; what it opens and closes meanwhile may be left out."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(descriptor.readlink()))
    return found


def receive_frame(client: socket.socket) -> bytes:
    """One whole frame and nothing behind it, or what came of it before the peer closed."""
    header = _receive(client, 4)
    return header + _receive(client, int.from_bytes(header, "little"))


def _receive(client: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        try:
            chunk = client.recv(size - len(received))
        except ConnectionResetError:
            break
        if not chunk:
            break
        received += chunk
    return received


def run_cli(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the ``quotehelper`` command as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "quotehelper", *arguments],
        capture_output=True,
        text=True,
        check=check,
        timeout=DEADLINE_S,
    )
