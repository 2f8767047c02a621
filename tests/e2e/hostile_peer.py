"""A workload that means harm: in namespaces of its own, it has nothing of the daemon's but the public directory.

``python hostile_peer.py DIRECTORY DAEMON PRIVATE``: does what each line of standard input names, and answers each
with one JSON string, what came of it. DAEMON and PRIVATE, a process id and a path of the host, are what it would need.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ABSTRACT_NAME = b"\0sgx_aesm_socket_base".ljust(108, b"\0")
PTRACE_ATTACH = 16
MANY = 2000


class Peer:
    """Each method is one try, named as in the test's table; what it opens stays open, as an attacker's would."""

    def __init__(self, directory: Path, daemon: int, private: Path) -> None:
        self.directory = directory
        self.path = directory / "aesm.socket"
        self.daemon = daemon
        self.private = private
        self.kept: list[socket.socket] = []

    def listen(self, path: Path | bytes, kind: socket.SocketKind = socket.SOCK_STREAM) -> str:
        listening = socket.socket(socket.AF_UNIX, kind)
        listening.bind(path if isinstance(path, bytes) else str(path))
        if kind is not socket.SOCK_DGRAM:
            listening.listen()
        self.kept.append(listening)
        return "done"

    # At the path

    def unlink(self) -> str:
        self.path.unlink()
        return "done"

    def rename_over(self) -> str:
        self.listen(self.directory / "mine")
        (self.directory / "mine").rename(self.path)
        return "done"

    def bind_own(self) -> str:
        self.path.unlink()
        return self.listen(self.path)

    def bind_dead(self) -> str:
        self.bind_own()
        self.kept.pop().close()
        return "done"

    def bind_datagram(self) -> str:
        self.path.unlink()
        return self.listen(self.path, socket.SOCK_DGRAM)

    def make_directory(self) -> str:
        self.path.unlink()
        (self.path / "with" / "content").mkdir(parents=True)
        return "done"

    def make_file(self) -> str:
        self.path.unlink()
        self.path.write_text("no socket")
        return "done"

    def symlink_elsewhere(self) -> str:
        self.listen(self.directory / "elsewhere")
        self.path.unlink()
        self.path.symlink_to("elsewhere")
        return "done"

    def symlink_loop(self) -> str:
        self.path.unlink()
        self.path.symlink_to("aesm.socket")
        return "done"

    def close_socket_mode(self) -> str:
        self.path.chmod(0)
        return "done"

    def close_directory_mode(self) -> str:
        self.directory.chmod(0)
        return "done"

    def unlink_often(self) -> str:
        """More often than sockets are kept."""
        last = 0
        for _ in range(12):
            while not self.path.is_socket() or self.path.stat().st_ino == last:
                pass
            last = self.path.stat().st_ino
            self.path.unlink()
        return "done"

    def race_for_drafts(self) -> str:
        """Put a socket of its own in the place of each draft, before it is renamed to the path."""
        self.listen(self.directory / "mine")
        self.path.unlink()
        while not self.path.exists():
            for draft in self.drafts():
                with contextlib.suppress(OSError):
                    (self.directory / "mine").rename(draft)
        return "done"

    def drafts(self) -> Iterator[Path]:
        return (self.directory / name for name in os.listdir(self.directory) if name.startswith("."))  # noqa: PTH208  quick: it is a race

    # Beside the path

    def hard_link(self) -> str:
        (self.directory / "link").hardlink_to(self.path)
        (self.directory / "link").rename(self.directory / "another name")
        return "done"

    def remove_directory(self) -> str:
        self.directory.rmdir()
        return "done"

    def fill_with_files(self) -> str:
        for number in range(MANY):
            (self.directory / f"file-{number}").touch()
        return "done"

    def offer_handover(self) -> str:
        """Be taken for an instance that hands over."""
        return self.listen(self.directory / "handover.socket", socket.SOCK_SEQPACKET)

    def was_asked(self) -> str:
        """Whether anybody came to the socket of ``offer_handover``."""
        self.kept[-1].settimeout(0)
        self.kept[-1].accept()
        return "done"

    def ask_for_handover(self) -> str:
        """Connect to whatever looks like a hand-over socket, and talk to it."""
        places = [self.private / "handover.socket", *self.private.glob("*"), *self.directory.glob("*hand*")]
        for place in places:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
                asking.connect(str(place))
                return f"reached {place}"
        raise FileNotFoundError("no hand-over socket")

    # Through the socket

    def flood(self) -> str:
        for number in range(MANY):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(5)
            client.connect(str(self.path))
            client.send(b"\x10\x27\0\0"[: number % 5] or b"\0")
            self.kept.append(client)
        return "done"

    def send_descriptors(self) -> str:
        """Let the daemon hold descriptors that it does not know of."""
        for _ in range(20):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(self.path))
            socket.send_fds(client, [b"\xff\0"], [0] * 200)
            self.kept.append(client)
        return "done"

    # At the processes

    def kill_daemon(self) -> str:
        os.kill(self.daemon, signal.SIGKILL)
        return "done"

    def trace_daemon(self) -> str:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(PTRACE_ATTACH, self.daemon, None, None):
            raise OSError(ctypes.get_errno(), "ptrace")
        return "done"

    def read_its_descriptors(self) -> str:
        return str(os.listdir(f"/proc/{self.daemon}/fd"))  # noqa: PTH208  whatever it says

    def bind_abstract_name(self) -> str:
        return self.listen(ABSTRACT_NAME)


def run(peer: Peer) -> None:
    for line in sys.stdin:
        try:
            outcome = getattr(peer, line.strip())()
        except OSError as error:
            outcome = type(error).__name__ if error.errno is None else os.strerror(error.errno)
        print(json.dumps(outcome), flush=True)  # noqa: T201  tells the test


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    public_directory, daemon_pid, private_directory = sys.argv[1:]
    run(Peer(Path(public_directory), int(daemon_pid), Path(private_directory)))
