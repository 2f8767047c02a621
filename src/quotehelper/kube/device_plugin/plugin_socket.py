"""Own a socket's path in the kubelet's directory: claim it, never rob a live peer, give up only what is ours. Shell.

gRPC's core removes whatever is at the path of a Unix socket, both before it binds and when its server ends, without
looking whose it is: a plugin that ends late would remove its successor's socket. So a server binds to a private name
(``staging``); once it serves, ``publish`` links that socket to the name the kubelet is told, which fails where
something is there, and removes the private name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from quotehelper.errors import ConfigError
from quotehelper.kube.resources import ALIBABA_EPC

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH_LIMIT = 107
"""Bytes of a Unix socket's path that the kernel takes: sizeof(sun_path) less the NUL."""
KUBELET_SOCKET = "kubelet.sock"
LOCALHOST = (("grpc.default_authority", "localhost"),)
"""Option of a channel to it. Without it older gRPC cores send the socket's path as the authority, which grpc-go
refuses."""
_OTHERS = {ALIBABA_EPC.name: ("sgx.sock",)}
"""Further names under which other plugins serve a resource. Intel's are called like ours."""
_CREDENTIALS = struct.Struct("3i")
"""struct ucred: pid, uid, gid."""

Identity = tuple[int, int, int]
"""Device, inode and time of change of a file: what tells a socket from its successor, inodes being used again."""


class PeerAliveError(ConfigError):
    """Another plugin serves the resource on this node. Waiting for its end helps as well."""


def socket_name(resource: str) -> str:
    """The name of a resource's socket in the kubelet's directory, as Intel's plugins form it."""
    return f"{resource.replace('/', '-')}.sock"


def identity(path: Path) -> Identity | None:
    """What is at ``path``, or None if nothing is."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns


class PluginSocket:
    """The path of one resource's socket in ``directory``."""

    def __init__(self, directory: Path, resource: str) -> None:
        self.path = directory / socket_name(resource)
        self._staging = directory / f".quotehelper-{secrets.token_hex(6)}"  # process ids repeat among containers
        self._resource = resource
        self._published: tuple[int, int] | None = None
        if len(os.fsencode(self.path)) > PATH_LIMIT:
            raise ConfigError(f"{self.path} is longer than {PATH_LIMIT} bytes", "Use a shorter --kubelet-directory")

    @property
    def staging(self) -> Path:
        """Where the server binds before it is published."""
        return self._staging

    @property
    def ours(self) -> bool:
        """Whether what was published is still at the path."""
        return self._published is not None and _inode(self.path) == self._published

    def publish(self) -> None:
        """Put the socket that listens at ``staging`` where the kubelet looks for it.

        Raises PeerAliveError if a live process serves there, ConfigError if something else is in the way.
        """
        try:
            with _locked(self.path.parent):
                self._make_room()
                self.path.hardlink_to(self._staging)
                self._published = _inode(self.path)
        except OSError as error:
            remedy = (
                f"Give uid {os.geteuid()} write permission on {self.path.parent} (SELinux: container_device_plugin_t)"
            )
            raise ConfigError(f"{self.path}: {error.strerror}", remedy) from error
        finally:
            self._staging.unlink(missing_ok=True)

    def release(self) -> None:
        """Remove the socket, if it still is ours."""
        with contextlib.suppress(OSError):
            if self.ours:
                self.path.unlink()
        self._published = None

    def _make_room(self) -> None:
        for path in (self.path, *(self.path.with_name(name) for name in _OTHERS.get(self._resource, ()))):
            if (owner := owner_of(path)) is not None:
                raise PeerAliveError(
                    f"{self._resource} is served by {owner} at {path}, which is alive",
                    "End that plugin, or account EPC under another name here; it is taken over when the other ends",
                )
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise ConfigError(f"{self.path} is no socket", "Remove it: the kubelet keeps nothing there")
            self.path.unlink()


def owner_of(path: Path) -> str | None:
    """Who accepts connections at ``path``, in words, or None if nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return "a process too busy to accept"
        except OSError:
            return None
        pid, uid, _ = _CREDENTIALS.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if not pid:
        return f"a process of another container (uid {uid})"
    with contextlib.suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
        return f"process {pid} ({name!r}, uid {uid})"
    return f"process {pid} (uid {uid})"


def live_sockets(directory: Path) -> dict[str, str]:
    """Every live socket in ``directory`` but the kubelet's: its name, and who serves it."""
    found = {}
    with contextlib.suppress(OSError):
        for path in sorted(directory.iterdir()):
            if path.name != KUBELET_SOCKET and (owner := owner_of(path)) is not None:
                found[path.name] = owner
    return found


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other instances of ours from claiming at the same moment; the kubelet can't wipe a lock on the directory.

    Raises ConfigError if one is at it: waiting would hold up the event loop, and the claim is tried again anyway.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            remedy = "It is tried again by itself"
            raise ConfigError(f"another process claims a socket in {directory} at this moment", remedy) from error
        yield
    finally:
        os.close(descriptor)


def _inode(path: Path) -> tuple[int, int] | None:
    found = identity(path)
    return None if found is None else found[:2]
