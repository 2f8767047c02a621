"""A client of AESM daemons, this project's or any other, that waits for its answers. Shell: the socket, the clock."""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING, TypeVar

from quotehelper.aesm import conversation, transport
from quotehelper.aesm.messages import FRAME_HEADER_SIZE, Request, Response, frame_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quotehelper.aesm.conversation import Conversation, QuoteReply, QuotingEnclave
    from quotehelper.sgx.key_id import AttestationKeyId, QeReportInfo
    from quotehelper.sgx.report import Report

_T = TypeVar("_T")
_CHUNK_SIZE = 1 << 16


class AesmClient:
    """Asks the daemon at ``address``: a path, or an abstract name as bytes that begin with NUL.

    Every request takes a connection of its own, as Intel's library does. ``timeout_s`` seconds are what a call may
    take altogether; ``response_limit_bytes`` is how much a response may have. Every call raises TransportError if the
    daemon can't be reached, breaks off or is too slow, DaemonError if it answers with an error, DecodeError if its
    answer is not what it should be. Safe to use from several threads.
    """

    def __init__(
        self,
        address: str | bytes = transport.SOCKET_PATH,
        *,
        timeout_s: float = transport.TIMEOUT_S,
        response_limit_bytes: int = transport.RESPONSE_LIMIT_BYTES,
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._limit = response_limit_bytes

    def select_key_id(self, offered: Sequence[AttestationKeyId] = ()) -> AttestationKeyId:
        """The id, of those ``offered`` (at most 10) if there are any, of the key that the daemon prefers."""
        return self._converse(conversation.select_key_id(offered))

    def supported_key_ids(self) -> tuple[AttestationKeyId, ...]:
        """The ids of the daemon's keys."""
        return self._converse(conversation.supported_key_ids())

    def init_quote(self, key: AttestationKeyId) -> QuotingEnclave:
        """The target info for reports and the 32-byte id of the attestation key, which is prepared if need be."""
        return self._converse(conversation.init_quote(key))

    def quote_size(self, key: AttestationKeyId) -> int:
        """The exact size in bytes of a quote by ``key``."""
        return self._converse(conversation.quote_size(key))

    def quote(
        self,
        report: Report,
        key: AttestationKeyId,
        buf_size: int | None = None,
        qe_report_info: QeReportInfo | None = None,
    ) -> QuoteReply:
        """A quote over ``report``; see ``conversation.quote``."""
        return self._converse(conversation.quote(report, key, buf_size, qe_report_info))

    def exchange(self, request: Request) -> Response:
        """The response to any request, whose status is success."""
        return self._converse(conversation.ask(request, request.RESPONSE))

    def _converse(self, talk: Conversation[_T]) -> _T:
        deadline = time.monotonic() + self._timeout_s
        frame = next(talk)
        while True:
            body = self._exchange_frames(frame, deadline)
            try:
                frame = talk.send(body)
            except StopIteration as end:
                result: _T = end.value
                return result

    def _exchange_frames(self, frame: bytes, deadline: float) -> bytes:
        """The body of the frame that answers ``frame``."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                self._connect(connection, deadline)
                connection.settimeout(_left(deadline))
                connection.sendall(frame)
                header = self._receive(connection, FRAME_HEADER_SIZE, 0, deadline)
                return self._receive(connection, frame_size(header, self._limit), FRAME_HEADER_SIZE, deadline)
        except TimeoutError:
            raise transport.too_slow(self._address, self._timeout_s) from None
        except (BrokenPipeError, ConnectionResetError):
            raise transport.broke_off(self._address, 0) from None
        except OSError as error:
            raise transport.unreachable(self._address, error) from error

    def _connect(self, connection: socket.socket, deadline: float) -> None:
        """Connect, waiting for room in the backlog: a socket with Python's time-out would not, it gets EAGAIN."""
        seconds, fraction = divmod(_left(deadline), 1)
        timeval = struct.pack("@ll", int(seconds), int(fraction * 1e6) or 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        try:
            connection.connect(self._address)
        except BlockingIOError:
            raise TimeoutError from None

    def _receive(self, connection: socket.socket, size: int, before: int, deadline: float) -> bytes:
        """Exactly ``size`` bytes, ``before`` of the answer having been received already."""
        received = bytearray()
        while len(received) < size:
            connection.settimeout(_left(deadline))
            chunk = connection.recv(min(size - len(received), _CHUNK_SIZE))
            if not chunk:
                raise transport.broke_off(self._address, before + len(received))
            received += chunk
        return bytes(received)


def _left(deadline: float) -> float:
    """Seconds until ``deadline``. Raises TimeoutError if there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
