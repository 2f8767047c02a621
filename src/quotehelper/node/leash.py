"""The leash: one socket pair between the supervisor and each serving process. Shell.

Datagrams (``SOCK_SEQPACKET``), each whole or not at all; listening sockets travel beside them (``SCM_RIGHTS``). When
either process ends, the other reads the end of the leash.

=========  ===========  ==============  =================================================================
from       first byte   the rest        meaning
=========  ===========  ==============  =================================================================
serving    ``r``        JSON            ready: the platform is open; what it quotes with, again after a reload
serving    ``f``        problem NUL     it can't start: only the operator can mend it
                        remedy
serving    ``l``                        it listens to the sockets of the last order, and to no others
supervisor ``L``                        listen to the sockets that come with this, and to no others
=========  ===========  ==============  =================================================================

Both ends are processes of one program; a message that makes no sense is a bug, and ends the serving process.
"""

from __future__ import annotations

import enum
import socket
from typing import NamedTuple

MESSAGE_BYTES = 64 * 1024
DESCRIPTORS = 16
"""Listening sockets in one order at most: one is the rule, two with the abstract name, more after re-publications."""


class Word(enum.Enum):
    """What a message is about."""

    READY = b"r"
    FAILED = b"f"
    LISTENING = b"l"
    LISTEN = b"L"


class Message(NamedTuple):
    """One message; ``sockets`` came with it and belong to the receiver."""

    word: Word
    content: bytes = b""
    sockets: tuple[socket.socket, ...] = ()


class Leash:
    """One end. It becomes readable when there is a message, or when the other end has gone."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.settimeout(0)

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._end.fileno()

    def send(self, word: Word, content: bytes = b"", sockets: tuple[socket.socket, ...] = ()) -> bool:
        """Send a message, copies of ``sockets`` with it; whether the other end could still be reached."""
        try:
            socket.send_fds(self._end, [word.value + content], [listening.fileno() for listening in sockets])
        except OSError:
            return False
        return True

    def receive(self) -> Message | None:
        """The next message; None if the other end has gone. Raises BlockingIOError if there is neither."""
        try:
            raw, fds, _flags, _address = socket.recv_fds(self._end, MESSAGE_BYTES, DESCRIPTORS)
        except ConnectionResetError:
            return None
        if not raw:
            return None
        return Message(Word(raw[:1]), raw[1:], tuple(_listening(fd) for fd in fds))

    def close(self) -> None:
        """Let go; the other end reads that."""
        self._end.close()


def make_leash() -> tuple[Leash, Leash]:
    """Both ends: the supervisor's, and the serving process's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Leash(ours), Leash(theirs)


def _listening(fd: int) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=fd)
    listening.settimeout(0)
    return listening
