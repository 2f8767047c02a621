"""What a node gives two pods: to each a network namespace of its own, and one link between them.

A sandbox is held by a process that does nothing, as a pod's is. Mounts and process ids are made anew for each program
that is started in it. All belong to one user namespace, so that a test needs no privilege.
"""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

from harness import DEADLINE_S

if TYPE_CHECKING:
    from pathlib import Path

_HOLD = ("sh", "-c", "echo there && exec cat")
"""Holds its namespaces until its standard input ends."""
_MOUNTS = (
    'mount --bind "$1" /mnt && mount -t tmpfs tmpfs /run && mkdir /run/aesmd && mount --bind /mnt /run/aesmd'
    ' && mount -o remount,bind,ro /run/aesmd && shift && exec "$@"'
)
"""The helper's directory, read-only, at its known path; nothing else of the machine's /run."""


class UnavailableError(Exception):
    """This machine lets nobody make namespaces, or lacks the tools for it; the message says which."""


class Sandbox:
    """One pod's. ``address``: its own on the link."""

    def __init__(self, held_by: int, address: str) -> None:
        self.enter = ("nsenter", "--target", str(held_by), "--user", "--net", "--preserve-credentials")
        self.held_by = held_by
        self.address = address

    def program(self, directory: Path) -> tuple[str, ...]:
        """The beginning of a command that runs in here, with ``directory`` at /var/run/aesmd."""
        own = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
        return (*self.enter, *own, "sh", "-c", _MOUNTS, "sh", str(directory))


class TwoSandboxes:
    """Two linked sandboxes, for as long as the context lasts. Entering raises UnavailableError."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> tuple[Sandbox, Sandbox]:
        try:
            node = Sandbox(self._hold(("unshare", "--map-root-user", "--net")), "")
            first, second = (
                Sandbox(self._hold((*node.enter, "unshare", "--net")), address)
                for address in ("192.0.2.1", "192.0.2.2")
            )
            one, other = (("name", "pod", "netns", str(sandbox.held_by)) for sandbox in (first, second))
            _run(*node.enter, "ip", "link", "add", *one, "type", "veth", "peer", *other)
            for sandbox in (first, second):
                _run(*sandbox.enter, "ip", "address", "add", f"{sandbox.address}/30", "dev", "pod")
                for device in ("lo", "pod"):
                    _run(*sandbox.enter, "ip", "link", "set", device, "up")
        except BaseException:
            self._stack.close()
            raise
        return first, second

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _hold(self, command: tuple[str, ...]) -> int:
        """The process id of a holder in namespaces that ``command`` makes."""
        try:
            process = subprocess.Popen(
                [*command, *_HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        except FileNotFoundError as error:
            raise UnavailableError(f"{command[0]}, of util-linux,") from error
        self._stack.callback(process.communicate, timeout=DEADLINE_S)
        assert process.stdout is not None
        if process.stdout.readline() != "there\n":
            raise UnavailableError(f"{command[0]} that may make namespaces")
        return process.pid


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=DEADLINE_S)
    if done.returncode:
        raise UnavailableError(f"{' '.join(command)}, which fails here ({done.stderr.strip()}),")
