"""A client of AESM daemons for asyncio. Shell: the socket, the loop's clock."""

from __future__ import annotations

import asyncio
import socket
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
_BACKLOG_PAUSE_S = 0.005
"""Seconds between attempts to connect while the backlog is full: the kernel does not say when it has room."""


class AsyncAesmClient:
    """What ``client.AesmClient`` is, for asyncio: the same calls, limits and errors."""

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

    async def select_key_id(self, offered: Sequence[AttestationKeyId] = ()) -> AttestationKeyId:
        """The id, of those ``offered`` (at most 10) if there are any, of the key that the daemon prefers."""
        return await self._converse(conversation.select_key_id(offered))

    async def supported_key_ids(self) -> tuple[AttestationKeyId, ...]:
        """The ids of the daemon's keys."""
        return await self._converse(conversation.supported_key_ids())

    async def init_quote(self, key: AttestationKeyId) -> QuotingEnclave:
        """The target info for reports and the 32-byte id of the attestation key, which is prepared if need be."""
        return await self._converse(conversation.init_quote(key))

    async def quote_size(self, key: AttestationKeyId) -> int:
        """The exact size in bytes of a quote by ``key``."""
        return await self._converse(conversation.quote_size(key))

    async def quote(
        self,
        report: Report,
        key: AttestationKeyId,
        buf_size: int | None = None,
        qe_report_info: QeReportInfo | None = None,
    ) -> QuoteReply:
        """A quote over ``report``; see ``conversation.quote``."""
        return await self._converse(conversation.quote(report, key, buf_size, qe_report_info))

    async def exchange(self, request: Request) -> Response:
        """The response to any request, whose status is success."""
        return await self._converse(conversation.ask(request, request.RESPONSE))

    async def _converse(self, talk: Conversation[_T]) -> _T:
        frame = next(talk)
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    body = await self._exchange_frames(frame)
                    try:
                        frame = talk.send(body)
                    except StopIteration as end:
                        result: _T = end.value
                        return result
        except TimeoutError:
            raise transport.too_slow(self._address, self._timeout_s) from None

    async def _exchange_frames(self, frame: bytes) -> bytes:
        """The body of the frame that answers ``frame``."""
        loop = asyncio.get_running_loop()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(0)
                await self._connect(connection)
                await loop.sock_sendall(connection, frame)
                header = await self._receive(connection, FRAME_HEADER_SIZE, 0)
                return await self._receive(connection, frame_size(header, self._limit), FRAME_HEADER_SIZE)
        except (BrokenPipeError, ConnectionResetError):
            raise transport.broke_off(self._address, 0) from None
        except OSError as error:
            raise transport.unreachable(self._address, error) from error

    async def _connect(self, connection: socket.socket) -> None:
        """Connect, waiting for room in the backlog; ``loop.sock_connect`` takes a full one for a connection."""
        while True:
            try:
                return connection.connect(self._address)
            except BlockingIOError:
                await asyncio.sleep(_BACKLOG_PAUSE_S)

    async def _receive(self, connection: socket.socket, size: int, before: int) -> bytes:
        """Exactly ``size`` bytes, ``before`` of the answer having been received already."""
        loop = asyncio.get_running_loop()
        received = bytearray()
        while len(received) < size:
            chunk = await loop.sock_recv(connection, min(size - len(received), _CHUNK_SIZE))
            if not chunk:
                raise transport.broke_off(self._address, before + len(received))
            received += chunk
        return bytes(received)
