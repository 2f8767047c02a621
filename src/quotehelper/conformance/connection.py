"""Connections to a daemon under test that can be held open, cut short and read piece by piece. Shell.

`aesm.client` does what a good client does; here it matters *how* bytes come and go. Every operation ends by its
deadline, whatever the daemon does.
"""

from __future__ import annotations

import resource
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.aesm import transport
from quotehelper.aesm.messages import FRAME_HEADER_SIZE, frame_size

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

PROMPT_S = 3.0
"""Seconds within which a daemon answers what costs it nothing, and closes what it will not answer."""
PAUSE_S = 0.05
"""Seconds between two parts of a request: long enough that the daemon has seen the first by itself."""
RETRY_PAUSE_S = 1.0
"""Seconds that a client waits which was told that the daemon is busy (aesm 6.6)."""
_PATHS_BESIDE_THE_NAME = {transport.SOCKET_PATH, transport.SOCKET_PATH.removeprefix("/var")}
_CHUNK_SIZE = 1 << 17


class Speech(NamedTuple):
    """How a client library moves its bytes (aesm 1.2, 1.4, 6)."""

    writes: int = 2
    """1: a frame in one write; 2: header and body each in one."""
    reads_body_once: bool = False
    """It takes what one read of the body gives for the whole body."""
    waits_for_backlog: bool = True
    """It waits for room in the daemon's backlog; others give up at once."""


INTEL = Speech()
"""Intel's libraries, Gramine and enarx."""


class Peer:
    """The daemon at ``address``: a path, or an abstract name as bytes that begin with NUL.

    ``timeout_s``: seconds that an exchange may take, as Intel's library waits. ``prompt_s``, ``pause_s`` and
    ``retry_pause_s``: see PROMPT_S, PAUSE_S and RETRY_PAUSE_S.
    ``silences`` counts the operations that ended by their deadline.
    """

    def __init__(
        self,
        address: str | bytes,
        *,
        timeout_s: float = transport.TIMEOUT_S,
        prompt_s: float = PROMPT_S,
        pause_s: float = PAUSE_S,
        retry_pause_s: float = RETRY_PAUSE_S,
    ) -> None:
        self.address = address
        self.abstract_name = transport.ABSTRACT_NAME if address in _PATHS_BESIDE_THE_NAME else None
        """Where Gramine looks for this daemon first; None if it does not look for it at all."""
        self.pause_s = pause_s
        self.retry_pause_s = retry_pause_s
        self.timeout_s = timeout_s
        self.prompt_s = min(prompt_s, timeout_s)
        self.silences = 0

    def connect(self, *, wait: bool = True) -> Connection:
        """A new connection. Raises TransportError if there is none in time; if not ``wait``, at once."""
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            if wait:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(self.timeout_s))
            else:
                stream.settimeout(0)
            stream.connect(self.address)
        except BlockingIOError:
            stream.close()
            self.silences += 1
            raise transport.too_slow(self.address, self.timeout_s if wait else 0) from None
        except OSError as error:
            stream.close()
            raise transport.unreachable(self.address, error) from error
        return Connection(self, stream)

    def exchange(self, frame: bytes, speech: Speech = INTEL, timeout_s: float | None = None) -> bytes:
        """The whole frame that answers ``frame`` on a connection of its own. Raises as Connection does."""
        with self.connect(wait=speech.waits_for_backlog) as connection:
            connection.say(frame, speech, timeout_s)
            return connection.receive(speech, timeout_s)

    def process_id(self) -> int:
        """The id of the process that listens, 0 if it is not to be seen from here. Raises TransportError."""
        with self.connect() as connection:
            return connection.peer_id


class Connection:
    """One connection. Sending and receiving raise TransportError: closed, or not in time."""

    def __init__(self, peer: Peer, stream: socket.socket) -> None:
        self._peer = peer
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._stream.close()

    @property
    def peer_id(self) -> int:
        """The id of the process that called listen(), as the kernel knows it here; 0 if it is elsewhere."""
        raw = self._stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("@iII", raw)[0])

    def say(self, frame: bytes, speech: Speech = INTEL, timeout_s: float | None = None) -> None:
        """Send ``frame`` in as many writes as the client does."""
        if speech.writes == 1:
            self.send((frame,), timeout_s)
        else:
            self.send((frame[:FRAME_HEADER_SIZE], frame[FRAME_HEADER_SIZE:]), timeout_s)

    def send(self, pieces: Iterable[bytes], timeout_s: float | None = None) -> None:
        """Send each of ``pieces`` by itself."""
        limit = self._peer.timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + limit
        try:
            for piece in pieces:
                self._stream.settimeout(_left(deadline))
                self._stream.sendall(piece)
        except TimeoutError:
            raise self._too_slow(limit) from None
        except OSError as error:
            raise transport.broke_off(self._peer.address, 0) from error

    def end_sending(self) -> None:
        """Shut the sending side down: nothing more will come."""
        try:
            self._stream.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise transport.broke_off(self._peer.address, 0) from error

    def receive(self, speech: Speech = INTEL, timeout_s: float | None = None) -> bytes:
        """The next whole frame, header included. Raises DecodeError if its length is none or too large."""
        limit = self._peer.timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + limit
        header = self._exactly(FRAME_HEADER_SIZE, 0, deadline, limit)
        size = frame_size(header, transport.RESPONSE_LIMIT_BYTES)
        if speech.reads_body_once:
            return header + self._piece(size, deadline, limit)
        return header + self._exactly(size, FRAME_HEADER_SIZE, deadline, limit)

    def receive_piece(self) -> bytes:
        """What one read gives: all that is there by then; b"" if the daemon has closed."""
        limit = self._peer.timeout_s
        return self._piece(_CHUNK_SIZE, time.monotonic() + limit, limit)

    def receive_end(self, timeout_s: float) -> bytes | None:
        """What comes until the daemon closes, None if it does not within ``timeout_s``; no more than one frame."""
        deadline = time.monotonic() + timeout_s
        received = bytearray()
        while len(received) <= transport.RESPONSE_LIMIT_BYTES:
            try:
                self._stream.settimeout(_left(deadline))
                chunk = self._stream.recv(_CHUNK_SIZE)
            except TimeoutError:
                return None
            except OSError:  # a reset is an end as well
                chunk = b""
            if not chunk:
                return bytes(received)
            received += chunk
        return bytes(received)

    def is_quiet_for(self, pause_s: float) -> bool:
        """Whether for ``pause_s`` seconds nothing comes, and the daemon does not close."""
        try:
            self._stream.settimeout(pause_s)
            self._stream.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        except OSError:
            return False
        return False

    def _exactly(self, size: int, before: int, deadline: float, limit: float) -> bytes:
        received = bytearray()
        while len(received) < size:
            piece = self._piece(size - len(received), deadline, limit)
            if not piece:
                raise transport.broke_off(self._peer.address, before + len(received))
            received += piece
        return bytes(received)

    def _piece(self, size: int, deadline: float, limit: float) -> bytes:
        try:
            self._stream.settimeout(_left(deadline))
            return self._stream.recv(min(size, _CHUNK_SIZE))
        except TimeoutError:
            raise self._too_slow(limit) from None
        except OSError as error:
            raise transport.broke_off(self._peer.address, 0) from error

    def _too_slow(self, limit: float) -> Exception:
        self._peer.silences += 1
        return transport.too_slow(self._peer.address, limit)


def resident_kib(process_id: int) -> int | None:
    """The resident memory in KiB of the process and its children, None where it is not to be seen."""
    try:
        children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text(encoding="ascii").split()
        return sum(_resident_kib(process) for process in (process_id, *map(int, children)))
    except (OSError, ValueError):
        return None


def room_for_files(wanted: int) -> bool:
    """Whether this process may open ``wanted`` more files; its own limit is raised as far as it is allowed to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + 64
    if soft != resource.RLIM_INFINITY and soft < needed and (hard == resource.RLIM_INFINITY or needed <= hard):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        soft = needed
    return soft == resource.RLIM_INFINITY or soft >= needed


def _resident_kib(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split(maxsplit=1)[0])


def _timeval(seconds: float) -> bytes:
    whole, fraction = divmod(seconds, 1)
    return struct.pack("@ll", int(whole), int(fraction * 1e6) or 1)


def _left(deadline: float) -> float:
    """Seconds until ``deadline``. Raises TimeoutError if there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
