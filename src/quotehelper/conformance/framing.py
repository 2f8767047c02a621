"""Checks of how requests may arrive and how answers leave. Shell. Source: aesm 0, 1.2, 1.4, 1.7, 9.7, 9.8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.aesm import messages as m
from quotehelper.conformance.check import Check, Family, Unmet
from quotehelper.conformance.examined import COUNT, INIT, excerpt
from quotehelper.conformance.oddities import frame, message, number, octets
from quotehelper.conformance.quoting import quote_request
from quotehelper.errors import TransportError

if TYPE_CHECKING:
    from quotehelper.conformance.connection import Connection
    from quotehelper.conformance.examined import Examined

_PROBES = 1000
_LOOKS = 16
"""How often an answer is looked at: two writes in a row are not always seen as two."""
_COUNT = m.encode_request(COUNT)
_UNANSWERABLE = {
    "length 0": frame(b""),
    "a byte that is no key": frame(b"\0"),
    "twelve bytes ff": frame(b"\xff" * 12),
    "an unknown request": frame(octets(99, b"xyz")),
    "a request that is a number": frame(number(21, 5)),
    "field 20": frame(octets(20, b"")),
}


def _apart(examined: Examined) -> None:
    with examined.peer.connect() as connection:
        _send_apart(examined, connection, _COUNT[: m.FRAME_HEADER_SIZE], _COUNT[m.FRAME_HEADER_SIZE :])
        connection.receive()


def _byte_by_byte(examined: Examined) -> None:
    request = m.encode_request(INIT)
    with examined.peer.connect() as connection:
        _send_apart(examined, connection, request[:1], request[1:2])
        connection.send(request[at : at + 1] for at in range(2, len(request)))
        connection.receive()


def _send_apart(examined: Examined, connection: Connection, first: bytes, rest: bytes) -> None:
    connection.send((first,))
    if not connection.is_quiet_for(examined.peer.pause_s):
        raise Unmet("patience until the rest of the request is there", f"an answer or an end after {len(first)} bytes")
    connection.send((rest,))


def _one_piece(examined: Examined) -> None:
    _ = examined.prepared
    request = INIT if examined.reporter is None else quote_request(examined.report.raw, examined.quote_size)
    for _number in range(_LOOKS):
        with examined.peer.connect() as connection:
            connection.say(m.encode_request(request))
            piece = connection.receive_piece()
            announced = m.FRAME_HEADER_SIZE + int.from_bytes(piece[: m.FRAME_HEADER_SIZE], "little")
            if len(piece) < announced or len(piece) < m.FRAME_HEADER_SIZE:
                raise Unmet("length and body in one piece", f"a first piece of {len(piece)} bytes")


def _ends(examined: Examined) -> None:
    with examined.peer.connect() as connection:
        connection.say(_COUNT)
        connection.receive()
        rest = connection.receive_end(examined.peer.prompt_s)
    if rest is None:
        raise Unmet(f"an end of the connection within {examined.peer.prompt_s:g} s of the answer", "none")
    if rest:
        raise Unmet("an end of the connection behind the answer", f"{len(rest)} bytes more: {excerpt(rest)}")


def _half_closed(examined: Examined) -> None:
    with examined.peer.connect() as connection:
        connection.say(_COUNT)
        connection.end_sending()
        connection.receive()


def _sent_ahead(examined: Examined) -> None:
    with examined.peer.connect() as connection:
        connection.send((_COUNT + m.encode_request(INIT),))
        connection.receive()


def _probes(examined: Examined) -> None:
    for sent in (b"", b"\6"):
        for number_ in range(_PROBES // 2):
            try:
                with examined.peer.connect() as connection:
                    connection.send((sent,) if sent else ())
            except TransportError as error:
                raise Unmet(f"room for {_PROBES} probes", f"at probe {number_}: {error}") from error
    if not examined.is_answered(examined.peer.prompt_s):
        raise Unmet("an answer after the probes", "none")


def _unknown_fields(examined: Examined) -> None:
    plain = examined.peer.exchange(_COUNT)
    odd = octets(77, b"?") + number(78, 1 << 60)
    for timeout in (0, 1_000_000, 0xFFFF_FFFF):
        request = message(type(COUNT), number(9, timeout), odd)
        answer = examined.peer.exchange(request)
        if answer != plain:
            raise Unmet("the answer that comes without them", excerpt(answer))


def _unanswerable(examined: Examined) -> None:
    for name, sent in _UNANSWERABLE.items():
        with examined.peer.connect() as connection:
            try:
                connection.send((sent,))
            except TransportError:
                continue  # closed while it was sent: that is an end as well
            rest = connection.receive_end(examined.peer.prompt_s)
        if rest is None:
            raise Unmet(f"an end of the connection within {examined.peer.prompt_s:g} s after {name}", "silence")
        if rest:
            raise Unmet(f"an end of the connection without a byte after {name}", f"{len(rest)} bytes: {excerpt(rest)}")
    if not examined.is_answered(examined.peer.prompt_s):
        raise Unmet("an answer to the next client", "none")


_E = Family.EVERY_CLIENT
_BUG = "Report it to the daemon's makers; no setting helps"

CHECKS = (
    Check(
        "framing.apart",
        "Length and body of a request may come apart",
        "aesm 1.2, 9.7",
        _E,
        "Clients that write twice (Intel, Gramine, enarx, rune) fail when the machine is busy",
        _BUG,
        _apart,
        quick=True,
    ),
    Check(
        "framing.byte-by-byte",
        "A request may come a byte at a time",
        "aesm 9.7",
        _E,
        "Clients behind a proxy fail now and then",
        _BUG,
        _byte_by_byte,
    ),
    Check(
        "framing.one-piece",
        "An answer comes in one piece, length and body together",
        "aesm 0.1, 1.4, 9.8",
        _E,
        "Intel's library overwrites what it has read, and crashes the application now and then; rune fails",
        "Put quotehelper in front of the daemon",
        _one_piece,
        quick=True,
    ),
    Check(
        "framing.end",
        "The connection ends behind the answer",
        "aesm 0.4, 1.6",
        _E,
        "Connections that nobody uses add up in the daemon",
        _BUG,
        _ends,
    ),
    Check(
        "framing.half-closed",
        "A client that has shut its sending side down gets its answer",
        "aesm 0.11",
        _E,
        "Clients behind a proxy get none",
        _BUG,
        _half_closed,
    ),
    Check(
        "framing.sent-ahead",
        "Of two requests sent ahead the first is answered",
        "aesm 9.7",
        _E,
        "A client that is ahead of its answers gets none",
        _BUG,
        _sent_ahead,
    ),
    Check(
        "framing.probes",
        "A thousand clients that connect and leave hurt nobody",
        "aesm 0.11, 9.7",
        _E,
        "Fortanix's try_connect and health probes take the service away from others",
        _BUG,
        _probes,
    ),
    Check(
        "framing.unknown-fields",
        "Fields that are not known, and any timeout, are passed over",
        "aesm 0.11, 1.5",
        _E,
        "Newer clients, and those whose timeout is in microseconds (Fortanix), are refused",
        _BUG,
        _unknown_fields,
    ),
    Check(
        "framing.unanswerable",
        "What can't be answered in kind is closed without a byte",
        "aesm 0.2, 1.7",
        _E,
        "Intel's library crashes the application if the answer is of another kind, or waits 15 s if there is none",
        _BUG,
        _unanswerable,
    ),
)
