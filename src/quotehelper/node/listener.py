"""Own the path that clients know: claim it, publish a socket there, hand it over, give it up. Shell.

A live owner is never robbed, whatever wants the path (users had their host's service orphaned by a second one:
aesm 1.8), unless the operator says that it is to be taken over. A socket nobody answers at is replaced. Anything else
at the path is named and left alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.aesm.transport import ABSTRACT_NAME, display_address
from quotehelper.errors import ConfigError
from quotehelper.node.inode import change_mode, directory_of, inode, mode_of

if TYPE_CHECKING:
    from quotehelper.node.config import SocketSettings
    from quotehelper.node.log import Log

BACKLOG = 4096
"""Connections that may wait to be accepted; the kernel cuts it to net.core.somaxconn. Intel's 32 refused bursts."""

MOST_SOCKETS = 8
"""Listening sockets kept when the path is taken away again and again; the oldest file mounts lose theirs then."""

SETTLE_S = 0.05
"""Seconds between two looks at a socket that refuses: a peer just starting may have bound it but not listen yet."""


class Peer(NamedTuple):
    """Who listens at a socket. ``pid`` 0: a process of another pid namespace."""

    pid: int
    uid: int

    def __str__(self) -> str:
        """The process as an operator can find it."""
        if not self.pid:
            return f"a process of another container (uid {self.uid})"
        try:
            with open(f"/proc/{self.pid}/comm", encoding="utf-8", errors="replace") as comm:  # noqa: PTH123  pathlib costs a serving process 5 ms
                name = comm.read(64).strip()
        except OSError:
            name = "?"
        return f"process {self.pid} ({name!r}, uid {self.uid})"


class Listener:
    """Listening sockets, and the claim on the path that goes with them. Ends by ``release`` or ``leave``.

    ``sockets``: the path's first, the abstract name's last if it was bound. Should the path be taken away, a further
    socket is published there, and the former ones go on listening for whoever has mounted their files. ``is_lent``:
    the path and its socket are another process's, which keeps them.
    """

    def __init__(
        self,
        settings: SocketSettings,
        sockets: tuple[socket.socket, ...],
        published: tuple[int, int] | None = None,
        *,
        is_lent: bool = False,
    ) -> None:
        self._settings = settings
        self.is_lent = is_lent
        self.sockets = sockets
        self._inode = published or _own_inode(settings.path)
        self._mode = mode_of(settings.path)  # whoever gave us the socket may have chosen another than ours
        self._directory_mode = mode_of(directory_of(settings.path))

    @property
    def path(self) -> str:
        """Where clients find it."""
        return self._settings.path

    @property
    def has_abstract(self) -> bool:
        """Whether the abstract name leads here."""
        return any(map(is_abstract, self.sockets))

    @property
    def published(self) -> tuple[int, int] | None:
        """Device and inode of the socket at the path; None once it was given up."""
        return self._inode

    def holds_path(self) -> bool:
        """Whether the path still leads here."""
        return self._inode is not None and inode(self.path) == self._inode

    def publish_again(self) -> None:
        """Put a further socket at the path, atomically over whatever socket is there. Raises ConfigError.

        Beyond `MOST_SOCKETS` the one published last before it goes, not the first, which clients may have mounted.
        """
        published = _publish_over(self._settings)
        earlier = sorted(self.sockets, key=is_abstract)
        if len(earlier) >= MOST_SOCKETS:
            earlier.pop(0).close()
        self.sockets = (published, *earlier)
        self.is_lent = False
        self._inode, self._mode = _own_inode(self.path), self._settings.mode

    def mend_access(self) -> bool:
        """Give socket and directory the permissions back that they had at the beginning; whether that was needed."""
        mended = False
        if self.holds_path() and self._mode is not None and mode_of(self.path) != self._mode:
            mended = change_mode(self.path, self._mode, self._inode)
        found = mode_of(directory_of(self.path))
        if self._directory_mode is not None and found is not None and self._directory_mode & ~found:
            mended |= change_mode(directory_of(self.path), self._directory_mode, inode(directory_of(self.path)))
        return mended

    def release(self) -> None:
        """Let nobody connect any more, give the path up if it still is ours, and close the sockets.

        Whoever has connected before can still be accepted by processes that have the sockets too. What is lent is left.
        """
        if self.is_lent:
            self.leave()
            return
        for listening in self.sockets:
            if listening.fileno() >= 0:
                listening.shutdown(socket.SHUT_RD)
        if self.holds_path():
            with contextlib.suppress(OSError):  # it leads nowhere; what is in flight must not suffer
                os.unlink(self.path)  # noqa: PTH108  pathlib costs a serving process 5 ms
        self.leave()

    def leave(self) -> None:
        """Close the sockets and leave the path as it is: another instance has both."""
        self._inode = None
        for listening in self.sockets:
            listening.close()


def claim(settings: SocketSettings, log: Log) -> Listener:
    """Listen at the path, and at the abstract name if it is wanted and free.

    Raises ConfigError, naming owner or obstacle and what to do, if the path can't be had.
    """
    return Listener(settings, _with_abstract([_publish(settings)], settings, log))


def take_over(settings: SocketSettings, log: Log) -> Listener:
    """As ``claim``, but a socket that somebody alive serves is replaced too, in one moment for all clients."""
    return Listener(settings, _with_abstract([_publish_over(settings)], settings, log))


def adopt(
    settings: SocketSettings,
    sockets: tuple[socket.socket, ...],
    published: tuple[int, int] | None,
    log: Log,
    *,
    is_lent: bool = False,
) -> Listener:
    """Go on with ``sockets`` that another instance listened to: clients don't notice, and see this process as peer.

    ``published``: device and inode of what it had put at the path; None if that is not known. ``is_lent``: that one
    goes on holding them.
    """
    for listening in sockets:
        listening.listen(BACKLOG)
    known = sorted(sockets, key=is_abstract)
    if not any(map(is_abstract, known)):
        known = list(_with_abstract(known, settings, log))
    return Listener(settings, tuple(known), published, is_lent=is_lent)


def is_abstract(listening: socket.socket) -> bool:
    """Whether ``listening`` has an abstract name."""
    return isinstance(listening.getsockname(), bytes)


def owner_of(path: str) -> Peer | None:
    """Who accepts connections at ``path``, or None if nobody does. Raises ConfigError if it can't be asked."""
    try:
        return _owner(path)
    except OSError as error:
        raise cannot_listen(path, error) from error


def listen_privately(path: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A listening socket at ``path``, in a directory of our own. Raises ConfigError."""
    listening = _new_socket(kind)
    try:
        _bind(listening, path, 0o600)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise cannot_listen(path, error) from error
    return listening


def _own_inode(path: str) -> tuple[int, int] | None:
    """Device and inode at ``path`` if this very process listens there: somebody may have been quicker than we."""
    found = inode(path)
    with contextlib.suppress(OSError):
        if (owner := _owner(path)) is not None and owner.pid == os.getpid() and inode(path) == found:
            return found
    return None


def _with_abstract(sockets: list[socket.socket], settings: SocketSettings, log: Log) -> tuple[socket.socket, ...]:
    if settings.binds_abstract and (abstract := _bind_abstract(log)) is not None:
        sockets.append(abstract)
    return tuple(sockets)


def _publish_over(settings: SocketSettings) -> socket.socket:
    """A listening socket, complete before it is renamed to the path: no client ever meets a half-made one."""
    path = settings.path
    draft = f"{directory_of(path)}/.{os.urandom(3).hex()}"
    listening = _new_socket()
    try:
        _check_obstacle(path)
        _makedirectory_of(path)
        _bind(listening, draft, settings.mode)
        try:
            if settings.group is not None:
                os.chown(draft, -1, settings.group, follow_symlinks=False)  # others may write to the directory
            listening.listen(BACKLOG)
            os.rename(draft, path)  # noqa: PTH104  as above
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(draft)  # noqa: PTH108  as above
            raise
    except OSError as error:
        listening.close()
        raise cannot_listen(path, error) from error
    except ConfigError:
        listening.close()
        raise
    return listening


def _publish(settings: SocketSettings) -> socket.socket:
    path = settings.path
    listening = _new_socket()
    try:
        _make_room(path)
        _bind(listening, path, settings.mode)
        if settings.group is not None:
            os.chown(path, -1, settings.group, follow_symlinks=False)  # others may write to the directory
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise cannot_listen(path, error) from error
    except ConfigError:
        listening.close()
        raise
    return listening


def _bind(listening: socket.socket, path: str, mode: int) -> None:
    """Bind with the permissions right from the first moment: chmod afterwards would leave a gap."""
    umask = os.umask(0o777 & ~mode)
    try:
        listening.bind(path)
    finally:
        os.umask(umask)


def _make_room(path: str) -> None:
    """Remove a dead socket at ``path``. Raises ConfigError if anything else is there."""
    if not _check_obstacle(path):
        _makedirectory_of(path)
        return
    found = inode(path)
    for attempt in range(2):
        if attempt:
            time.sleep(SETTLE_S)
        if (owner := _owner(path)) is not None:
            raise ConfigError(
                f"{path} is served by {owner}, which is alive",
                "Stop it first (often: systemctl disable --now aesmd), or use --socket for another path",
            )
    if inode(path) == found:
        os.unlink(path)  # noqa: PTH108  pathlib costs a serving process 5 ms


def _check_obstacle(path: str) -> bool:
    """Whether a socket is at ``path``. Raises ConfigError if anything else is."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(found.st_mode):
        kind = "directory" if stat.S_ISDIR(found.st_mode) else "file"
        hint = "A container runtime makes a directory where a missing socket was to be mounted: mount the directory"
        remedy = f"{hint} above it instead, and remove {path}" if kind == "directory" else "Remove it, or use --socket"
        raise ConfigError(f"{path} is a {kind}, not a socket", remedy)
    return True


def _makedirectory_of(path: str) -> None:
    """Make the directory that is to hold the socket, as Intel's unit does; its parents must be there."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory_of(path), 0o755)  # noqa: PTH102  pathlib costs a serving process 5 ms


def _owner(address: str | bytes) -> Peer | None:
    """Who accepts connections at ``address``, or None if nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(address)
        except BlockingIOError:
            return Peer(0, -1)  # its backlog is full: very much alive, but it can't be asked
        except OSError as error:
            if error.errno in {errno.ECONNREFUSED, errno.ENOENT}:
                return None
            raise
        pid, uid, _gid = struct.unpack("iII", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return Peer(pid, uid)


def _bind_abstract(log: Log) -> socket.socket | None:
    listening = _new_socket()
    try:
        listening.bind(ABSTRACT_NAME)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        owner = _owner(ABSTRACT_NAME) if error.errno == errno.EADDRINUSE else None
        log.warning(
            "abstract socket not bound",
            name=display_address(ABSTRACT_NAME),
            owner=owner or error.strerror,
            consequence="Gramine tries this name first and will talk to its owner",
            remedy="end that process, or pass --no-abstract-socket if it is meant to be there",
        )
        return None
    return listening


def _new_socket(kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, kind)
    listening.settimeout(0)
    return listening


def cannot_listen(path: str, error: OSError) -> ConfigError:
    """The error that says why no socket can be had at ``path``, and what to do."""
    directory = directory_of(path)
    remedies = {
        errno.ENOENT: f"Create {directory} first, owned by the daemon's user",
        errno.ENOTDIR: f"{directory} is not a directory: remove it and create one",
        errno.EACCES: f"Give uid {os.geteuid()} write permission on {directory}, or use --socket",
        errno.EPERM: f"Give uid {os.geteuid()} the right to it: --socket-group takes a group the daemon is a member of",
        errno.EROFS: f"{directory} is mounted read-only: mount it writable for the daemon",
        errno.ENOSPC: f"Make room on the file system of {directory}: no further file can be made there",
        errno.EADDRINUSE: "Another daemon took the path at the same moment: start only one",
    }
    named = errno.errorcode.get(error.errno or 0, "")
    problem = f"Can't listen at {path}: {error.strerror or error} {f'({named})' if named else ''}".rstrip()
    if "AF_UNIX path too long" in str(error):
        return ConfigError(problem, "A Unix socket's path has at most 107 bytes: choose a shorter one")
    return ConfigError(problem, remedies.get(error.errno or 0, "See docs/operations.md"))
