"""A daemon on a real socket that keeps all rules but one: what the conformance list must find, and nothing else."""

from __future__ import annotations

import array
import contextlib
import fcntl
import select
import socket
import termios
import threading
from typing import TYPE_CHECKING, Any

from quotehelper.aesm import messages as m
from quotehelper.errors import DecodeError, ProtocolError
from quotehelper.node.config import Limits
from quotehelper.node.log import Level, Log, LogSettings
from quotehelper.node.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from quotehelper.platforms.platform import Platform

Alteration = Any
"""A function of (request, response) that returns a response, a frame, or None to close."""


class Fault:
    """What a rogue does otherwise than it should; this one does nothing otherwise."""

    def admit(self) -> bool:
        """Whether a new connection is taken."""
        return True

    def left(self) -> None:
        """A client has left without a whole request."""

    def receive(self, client: socket.socket) -> bytes | None:
        """A whole frame, None if the client has left or must be closed."""
        header = read_exactly(client, 4)
        if len(header) < 4 or not 0 < int.from_bytes(header, "little") <= 1 << 16:
            return None
        body = read_exactly(client, int.from_bytes(header, "little"))
        return header + body if len(body) == int.from_bytes(header, "little") else None

    def respond(self, request: m.Request | bytes, right: bytes) -> bytes | None:
        """What is sent in place of the ``right`` answer; None closes. ``request``: a frame if it can't be decoded."""
        del request
        return right

    def send(self, client: socket.socket, answer: bytes) -> None:
        """Send it."""
        client.sendall(answer)

    def end(self, client: socket.socket, answer: bytes) -> None:
        """What happens between ``answer`` and the end of the connection."""


class Altering(Fault):
    """Answers requests of ``kinds`` with what ``alter`` makes of request and right response."""

    def __init__(self, *kinds: type[m.Request], alter: Callable[[Any, Any], Any]) -> None:
        self._kinds = kinds
        self._alter = alter

    def respond(self, request: m.Request | bytes, right: bytes) -> bytes | None:
        if not isinstance(request, self._kinds):
            return right
        altered = self._alter(request, m.decode_response(right[4:], request.RESPONSE))
        return m.encode_response(altered) if isinstance(altered, m.Response) else altered


def changed(response: m.Response, **changes: object) -> m.Response:
    """``response`` with other values in some fields."""
    values = dict(zip((field.name for field in response.FIELDS), response, strict=True)) | changes
    return type(response)(*values.values())


class Rogue:
    """Serves ``platform`` on ``path``, a thread for each connection, with ``fault``."""

    def __init__(self, path: Path, platform: Platform, fault: Fault) -> None:
        self.path = path
        self._fault = fault
        self._service = Service(platform, Limits(), Log(LogSettings(Level.ERROR)))
        self._lock = threading.Lock()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(128)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(60)
        self._listening.close()
        self.path.unlink()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # shut down
            while True:
                client, _ = self._listening.accept()
                if self._fault.admit():
                    threading.Thread(target=self._serve, args=(client,), daemon=True).start()
                else:
                    client.close()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):  # the client has left
            frame = self._fault.receive(client)
            if frame is None:
                self._fault.left()
                return
            with self._lock:
                answer = self._answer(frame)
            if answer is not None:
                self._fault.send(client, answer)
                self._fault.end(client, answer)

    def _answer(self, frame: bytes) -> bytes | None:
        try:
            request = m.decode_request(frame[4:])
        except ProtocolError as error:
            return self._fault.respond(frame, self._service.refuse(error))
        except DecodeError:
            return self._fault.respond(frame, b"") or None
        return self._fault.respond(request, self._service.answer(request))


def read_exactly(client: socket.socket, size: int) -> bytes:
    """``size`` bytes, or fewer if the client ends before."""
    received = b""
    while len(received) < size:
        piece = client.recv(size - len(received))
        if not piece:
            break
        received += piece
    return received


def wait_until_read(client: socket.socket) -> None:
    """Wait until the client has read all that was sent to it."""
    unread = array.array("i", [1])
    while unread[0]:
        if select.select([client], [], [], 0.001)[0]:
            return  # it has left
        fcntl.ioctl(client, termios.TIOCOUTQ, unread)
