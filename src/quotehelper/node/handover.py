"""Hand-over of the listening sockets from the instance that serves to a later one. Shell.

Over ``handover.socket`` in the private directory, datagrams (``SOCK_SEQPACKET``) of JSON, one object each::

    later one                                   serving one
    hello {versions, name, boot, started}  ->
                                           <-   welcome {version}   or   refused {reason, remedy}, and the end
    take {}                                ->
                                           <-   listeners {inode}, the sockets beside it (SCM_RIGHTS)
    taken {}                               ->   ... which now serves no new client, answers what is in flight, and
                                                stays passive until it is ended

From ``listeners`` on both hold the same sockets, so that neither's crash loses a client: until ``taken`` the serving
one would go on serving, after it the later one does. Every step has a deadline; whoever misses it is as good as gone.

The sockets are worth the trust of all clients, so the directory is private (mode 0700), and the peer must be of our
user or root.

Version 2, the present one: at ``take`` the serving one stops accepting, so that no client is served by both (a client
that was told of the later one's quoting enclave would come to nothing with the serving one's); who connects then
waits in the backlog. ``inode`` is device and inode of the published socket, so that the later one sees whether
somebody has replaced it. Version 1: the serving one goes on accepting until ``taken``, and says no ``inode``.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Protocol

from quotehelper.errors import ConfigError
from quotehelper.node.listener import listen_privately
from quotehelper.node.private_directory import Instance

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from quotehelper.node.events import Events
    from quotehelper.node.log import Log

SOCKET_NAME = "handover.socket"
SOCKET_KIND = socket.SOCK_SEQPACKET
VERSIONS = (1, 2)
_PAUSES = 2
"""The version from which on the serving instance pauses."""
STEP_S = 3.0
"""Seconds that either side waits for the other's next message."""

_MESSAGE_BYTES = 16 * 1024
_DESCRIPTORS = 16
_DEADLINE = "hand-over"


class HandoverFailed(Exception):  # noqa: N818  not an error of the daemon: it goes on another way
    """The other side is gone, silent, or not understood. The message says which."""


class Refused(NamedTuple):
    """The serving instance does not hand over to us."""

    reason: str
    remedy: str


class Offer(Protocol):
    """The serving instance, as a hand-over needs it."""

    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets."""
        ...

    def pause(self) -> tuple[int, int] | None:
        """Accept nobody until `resume`; device and inode of the published socket, as far as they are known."""
        ...

    def resume(self) -> None:
        """Go on serving: nothing came of it."""
        ...

    def retire(self, successor: Instance) -> None:
        """Serve no new client: ``successor`` does."""
        ...


class Giver:
    """The serving side: waits at ``path`` for later instances, and speaks with one at a time. Raises ConfigError.

    The path is left behind: its successor, who replaces it, may be there already.
    """

    def __init__(self, path: str, instance: Instance, offer: Offer, events: Events, log: Log) -> None:
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108  pathlib costs 5 ms; a predecessor's, who has been relieved or is dead
        except OSError as error:
            problem = f"{path} can't be replaced: {error.strerror}"
            raise ConfigError(problem, "Let nobody but the daemon write to the private directory") from error
        self._listening = listening = listen_privately(path, SOCKET_KIND)
        self._instance = instance
        self._offer = offer
        self._events = events
        self._log = log
        self._peer: socket.socket | None = None
        self._successor: Instance | None = None
        self._gave = False
        self._version = min(VERSIONS)
        events.watch(listening.fileno(), self._accept)

    def descriptors(self) -> tuple[int, ...]:
        """What no serving process may keep."""
        peers = () if self._peer is None else (self._peer.fileno(),)
        return (self._listening.fileno(), *peers)

    def close(self) -> None:
        """Speak with nobody any more."""
        self._hang_up()
        self._events.unwatch(self._listening.fileno())
        self._listening.close()

    def _accept(self) -> None:
        try:
            peer, _address = self._listening.accept()
        except OSError:
            return
        peer.settimeout(0)
        self._peer, self._successor, self._gave = peer, None, False
        self._events.unwatch(self._listening.fileno())
        self._events.watch(peer.fileno(), self._hear)
        self._events.after(_DEADLINE, STEP_S, self._be_too_late)
        if not is_trusted(peer):
            self._refuse("you are another user", "Run both instances as the same user")

    def _hear(self) -> None:
        if self._peer is None:
            return
        try:
            message, _sockets = _receive(self._peer)
            self._heed(message)
        except HandoverFailed as failure:
            self._give_up(str(failure))

    def _be_too_late(self) -> None:
        """The deadline has passed; what was said until now counts all the same."""
        if self._peer is not None and select.select([self._peer], [], [], 0)[0]:
            self._hear()
        else:
            self._give_up("it was silent for too long")

    def _heed(self, message: Mapping[str, Any]) -> None:
        """One step of the conversation. Raises HandoverFailed for a message that does not belong here."""
        kind = message.get("message")
        self._events.after(_DEADLINE, STEP_S, self._be_too_late)
        if kind == "hello" and self._successor is None:
            self._heed_hello(message)
        elif kind == "take" and self._successor is not None and not self._gave:
            self._gave = True
            inode = self._offer.pause() if self._version >= _PAUSES else None
            self._tell({"message": "listeners", "inode": inode}, self._offer.sockets())
        elif kind == "taken" and self._successor is not None and self._gave:
            successor = self._successor
            self._hang_up()
            self._offer.retire(successor)
        else:
            raise HandoverFailed(f"it said {kind!r} out of turn")

    def _heed_hello(self, message: Mapping[str, Any]) -> None:
        version = common_version(message.get("versions"))
        successor = parse_instance(message)
        if version is None:
            self._refuse(f"you speak none of the versions {VERSIONS}", "Update one of the two step by step")
        elif not successor.is_later_than(self._instance):
            self._refuse("I started later than you", "Nothing: the later instance serves, you stay passive")
        else:
            self._successor, self._version = successor, version
            self._tell({"message": "welcome", "version": version})

    def _tell(self, message: Mapping[str, Any], sockets: tuple[socket.socket, ...] = ()) -> None:
        if self._peer is not None:
            _send(self._peer, message, sockets)

    def _refuse(self, reason: str, remedy: str) -> None:
        self._log.warning("hand-over refused", reason=reason, remedy=remedy)
        with contextlib.suppress(HandoverFailed):
            self._tell({"message": "refused", "reason": reason, "remedy": remedy})
        self._hang_up()

    def _give_up(self, reason: str) -> None:
        self._log.warning("hand-over came to nothing", reason=reason, consequence="this instance goes on serving")
        gave = self._gave
        self._hang_up()
        if gave:
            self._offer.resume()

    def _hang_up(self) -> None:
        if self._peer is None:
            return
        self._events.cancel(_DEADLINE)
        self._events.unwatch(self._peer.fileno())
        self._peer.close()
        self._peer, self._gave = None, False
        self._events.watch(self._listening.fileno(), self._accept)


class Taking(NamedTuple):
    """The later side, with the sockets in hand; ``commit`` makes it theirs to serve."""

    peer: socket.socket
    sockets: tuple[socket.socket, ...]
    inode: tuple[int, int] | None
    """Device and inode of the socket that the other instance published; None if it did not say."""

    def commit(self) -> bool:
        """Tell the other instance that it has been relieved; False if it hears no more.

        Then it is dead, or its patience was at an end and it goes on serving.
        """
        try:
            _send(self.peer, {"message": "taken"})
        except HandoverFailed:
            return False
        finally:
            self.peer.close()
        return True


def take(path: str, instance: Instance) -> Taking | Refused | None:
    """Ask the instance that serves, at its hand-over socket ``path``, for its listening sockets; None: nobody there.

    Raises HandoverFailed if it is there, but silent or not understood.
    """
    peer = socket.socket(socket.AF_UNIX, SOCKET_KIND)
    peer.settimeout(STEP_S)
    try:
        peer.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        peer.close()
        return None
    except OSError as error:
        peer.close()
        raise HandoverFailed(f"it can't be asked: {error.strerror or error}") from error
    try:
        return _converse(peer, instance)
    except BaseException:
        peer.close()
        raise


def _converse(peer: socket.socket, instance: Instance) -> Taking | Refused:
    if not is_trusted(peer):
        problem = "The hand-over socket in the private directory is served by another user"
        raise ConfigError(problem, "Somebody may be after the clients: find out who could write to the directory")
    _send(peer, {"message": "hello", "versions": list(VERSIONS), **instance._asdict()})
    answer, _ = _receive(peer)
    if answer.get("message") == "refused":
        peer.close()
        return Refused(str(answer.get("reason"))[:200], str(answer.get("remedy"))[:200])
    if answer.get("message") != "welcome" or answer.get("version") not in VERSIONS:
        raise HandoverFailed(f"it answered {answer.get('message')!r} to a greeting")
    _send(peer, {"message": "take"})
    answer, sockets = _receive(peer)
    if answer.get("message") != "listeners" or not sockets or not all(map(_is_listening, sockets)):
        for received in sockets:
            received.close()
        raise HandoverFailed("it gave no listening sockets")
    match answer.get("inode"):
        case [int(device), int(number)]:
            return Taking(peer, sockets, (device, number))
    return Taking(peer, sockets, None)


def is_trusted(peer: socket.socket) -> bool:
    """Whether whoever is at the other end is of our user, or root."""
    _pid, uid, _gid = struct.unpack("iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return uid in {0, os.geteuid()}


def common_version(offered: object) -> int | None:
    """The highest version that both sides know; None if there is none."""
    known = [version for version in offered if version in VERSIONS] if isinstance(offered, list) else []
    return max(known, default=None)


def parse_instance(message: Mapping[str, Any]) -> Instance:
    """The instance that a greeting names. Raises HandoverFailed."""
    match message:
        case {"name": str(name), "boot": str(boot), "started": float(started)}:
            return Instance(name, boot, started)
    raise HandoverFailed("its greeting does not say who it is")


def _is_listening(received: socket.socket) -> bool:
    return (
        received.family == socket.AF_UNIX
        and received.type == socket.SOCK_STREAM
        and received.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    )


def _send(peer: socket.socket, message: Mapping[str, Any], sockets: tuple[socket.socket, ...] = ()) -> None:
    try:
        socket.send_fds(peer, [json.dumps(message).encode()], [each.fileno() for each in sockets])
    except OSError as error:
        raise HandoverFailed(f"it has gone: {error.strerror or error}") from error


def _receive(peer: socket.socket) -> tuple[Mapping[str, Any], tuple[socket.socket, ...]]:
    try:
        raw, fds, flags, _address = socket.recv_fds(peer, _MESSAGE_BYTES, _DESCRIPTORS)
    except OSError as error:
        raise HandoverFailed(f"it has gone, or is silent: {error.strerror or error}") from error
    sockets = tuple(socket.socket(fileno=fd) for fd in fds)
    try:
        message = json.loads(raw) if raw and not flags & socket.MSG_TRUNC else None
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        for received in sockets:
            received.close()
        raise HandoverFailed("it sent something else than a message" if raw else "it has gone")
    return message, sockets
