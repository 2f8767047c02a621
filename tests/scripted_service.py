"""An AESM service that answers what a test says, frame by frame: what no well-kept daemon would."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from harness import DEADLINE_S, receive_frame
from quotehelper.aesm import messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    Answer = Callable[[messages.Request], messages.Response | bytes | None]


class ScriptedService:
    """Listens at ``path`` while it is entered. ``answer``: a response, the bytes to send instead, or None for silence.

    ``requests``: what it has been asked so far. One request a connection, as Intel's service.
    """

    def __init__(self, path: Path, answer: Answer) -> None:
        self.path = path
        self.answer = answer
        self.requests: list[messages.Request] = []
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._silent: list[socket.socket] = []

    def asked(self, kind: type[messages.Request]) -> int:
        """How many requests of ``kind`` there have been."""
        return sum(isinstance(request, kind) for request in self.requests)

    def __enter__(self) -> Self:
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE_S)
        self._listener.close()
        for connection in self._silent:
            connection.close()
        self.path.unlink()

    def _serve(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            frame = receive_frame(connection)
            if len(frame) <= messages.FRAME_HEADER_SIZE:
                connection.close()
                continue
            request = messages.decode_request(frame[messages.FRAME_HEADER_SIZE :])
            self.requests.append(request)
            answer = self.answer(request)
            if answer is None:
                self._silent.append(connection)
                continue
            with connection, contextlib.suppress(OSError):
                connection.sendall(answer if isinstance(answer, bytes) else messages.encode_response(answer))
