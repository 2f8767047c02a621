"""Who is calling: process, user, pod and container of the other end of a connection. Shell.

The kernel says which process connected (SO_PEERCRED); a process descriptor (pidfd) says whether that process still
lives, so that its number can't mean another one meanwhile. What ``/proc`` says of it is believed only if it was alive
after it was read. What was found is kept for as long as the process lives, behind its open pidfd: a further connection
costs one system call, a batch of them a second one. For fairness and the log, never for authorisation (design 4).
"""

from __future__ import annotations

import _socket
import errno
import os
import resource
import select
import struct
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.node.cgroup_path import LIMIT_BYTES, Workload, WorkloadKind, parse_cgroups

if TYPE_CHECKING:
    from quotehelper.node.log import Log
    from quotehelper.node.peer_counts import PeerCounts, Tally

REMEMBERED = 1024
"""Processes that are kept, each with an open descriptor; beyond it the one that has been kept longest is forgotten."""

SHARE_OF_DESCRIPTORS = 4
"""At most one in so many of the descriptors that a process may have open is a pidfd."""

SO_PEERPIDFD = 77
"""From asm-generic/socket.h, Linux 6.5: a pidfd of the very process that connected."""

_STREAM = (_socket.AF_UNIX, _socket.SOCK_STREAM, 0)
_UCRED = struct.Struct("=iII")
_ENDED = {errno.ESRCH, errno.EINVAL}
"""What the kernel says instead of a pidfd of a process that is no more."""

_REMEDY = "run the daemon with hostPID: true, and without a private control group namespace"


class Peer(NamedTuple):
    """Who is calling.

    ``pid``: in the daemon's PID namespace, 0: not in it. ``uid``: in its user namespace. ``group``: whose share of the
    quotes this is: the pod's, else the container's, else the user's. ``tally``: where its requests are counted.
    """

    pid: int
    uid: int
    workload: Workload
    group: str
    tally: Tally

    def fields(self) -> dict[str, object]:
        """What the log says of it."""
        named = {"pod_uid": self.workload.pod_uid, "container_id": self.workload.container_id}
        return {"pid": self.pid, "uid": self.uid, **{name: value for name, value in named.items() if value}}


class Peers:
    """The peers of a serving process's connections; those that were asked for lately are known.

    ``descriptor`` becomes readable when a known process has ended: ``forget_ended`` then.
    """

    def __init__(self, log: Log, counts: PeerCounts, remembered: int | None = None) -> None:
        self._log = log
        self._counts = counts
        descriptors, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._remembered = remembered or min(REMEMBERED, descriptors // SHARE_OF_DESCRIPTORS)
        self._known: dict[bytes, tuple[Peer, int]] = {}
        self._credentials: dict[int, bytes] = {}
        self._endings = select.epoll()
        self._doubts: set[str] = set()
        self._has_peer_pidfd = True
        self.descriptor = self._endings.fileno()

    def __len__(self) -> int:
        """Processes known."""
        return len(self._known)

    def identify(self, fd: int) -> Peer:
        """Who connected the Unix stream socket ``fd``. Never raises.

        A known process is taken to live; let ``forget_ended`` say so after the connections of a batch were accepted,
        and identify those again if it does not.
        """
        connection = _socket.socket(*_STREAM, fd)
        try:
            credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
            known = self._known.get(credentials)
            return self._meet(connection, credentials) if known is None else known[0]
        except OSError:
            return self._peer(0, 0, Workload(WorkloadKind.UNKNOWN, doubt="the kernel does not say who it is"))
        finally:
            connection.detach()

    def forget_ended(self) -> bool:
        """Forget processes that have ended, and say whether there were any."""
        ended = self._endings.poll(0, self._remembered + 1)
        for pidfd, _mask in ended:
            self._forget(pidfd)
        return bool(ended)

    def close(self) -> None:
        """Forget everybody."""
        for pidfd in list(self._credentials):
            self._forget(pidfd)
        self._endings.close()

    def _meet(self, connection: _socket.socket, credentials: bytes) -> Peer:
        """Find out who it is, and remember that if the process lives."""
        pid, uid, _gid = _UCRED.unpack(credentials)
        if pid <= 0:
            return self._doubt(pid, uid, "its process is not in the daemon's PID namespace")
        try:
            pidfd = self._open_pidfd(connection, pid)
        except OSError as error:
            doubt = "its process has ended" if error.errno in _ENDED else f"it can't be watched: {error.strerror}"
            return self._doubt(pid, uid, doubt)
        workload = _read_workload(pid)
        if _has_ended(pidfd):
            os.close(pidfd)
            return self._doubt(pid, uid, "its process has ended")
        known = workload.kind is not WorkloadKind.UNKNOWN
        peer = self._peer(pid, uid, workload) if known else self._doubt(pid, uid, workload.doubt)
        while len(self._known) >= self._remembered:
            self._forget(next(iter(self._known.values()))[1])
        self._known[credentials] = (peer, pidfd)
        self._credentials[pidfd] = credentials
        self._endings.register(pidfd, select.EPOLLIN)
        return peer

    def _open_pidfd(self, connection: _socket.socket, pid: int) -> int:
        """A pidfd of who connected; before Linux 6.5, of who has its number now, hardly ever another one."""
        if self._has_peer_pidfd:
            try:
                return connection.getsockopt(_socket.SOL_SOCKET, SO_PEERPIDFD)
            except OSError as error:
                if error.errno != errno.ENOPROTOOPT:
                    raise
                self._has_peer_pidfd = False
        return os.pidfd_open(pid)

    def _forget(self, pidfd: int) -> None:
        del self._known[self._credentials.pop(pidfd)]
        os.close(pidfd)  # by which the poller forgets it, too

    def _doubt(self, pid: int, uid: int, doubt: str) -> Peer:
        """A peer of unknown workload; each reason is said once, with what to do about it."""
        if doubt not in self._doubts and not doubt.endswith("has ended"):
            self._doubts.add(doubt)
            self._log.warning(
                "peer unknown",
                pid=pid,
                uid=uid,
                reason=doubt,
                consequence="such peers share one queue a user, and are counted as unknown",
                remedy=_REMEDY,
            )
        return self._peer(pid, uid, Workload(WorkloadKind.UNKNOWN, doubt=doubt))

    def _peer(self, pid: int, uid: int, workload: Workload) -> Peer:
        group = workload.pod_uid or workload.container_id or f"uid {uid}"
        return Peer(pid, uid, workload, group, self._counts.tally(workload))


def _read_workload(pid: int) -> Workload:
    try:
        descriptor = os.open(f"/proc/{pid}/cgroup", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return parse_cgroups(os.read(descriptor, LIMIT_BYTES))
        finally:
            os.close(descriptor)
    except OSError as error:
        return Workload(WorkloadKind.UNKNOWN, doubt=f"its control groups can't be read: {error.strerror}")


def _has_ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))
