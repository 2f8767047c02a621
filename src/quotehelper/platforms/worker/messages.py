"""What a serving process and a platform worker say to each other, one message a packet. Pure.

::

    offset  size  field    note
    0       4     kind     see Kind
    4       8     number   of the request; an answer carries its request's; 0: a description nobody asked for
    12      …     payload  by kind, see the functions

All integers little endian. A worker answers in the order in which it was asked, so that an answer also says of all
requests sent before it that they have been answered, or that the worker that had them is gone.

Both sides are this program, but either may be the survivor of a crash of the other: what does not fit is a
DecodeError on both.
"""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import PlatformCause, PlatformError
from quotehelper.platforms.platform import Quoted, QuoteOrder, QuotingTarget
from quotehelper.sgx.key_id import KEY_ID_LIST_LIMIT, AttestationKeyId, QeReportInfo
from quotehelper.sgx.report import Report, TargetInfo
from quotehelper.wire import Reader

if TYPE_CHECKING:
    from collections.abc import Mapping

QUOTE_LIMIT_BYTES = 96 * 1024
"""A quote at most: the largest buffer that ``limits.buffer_bytes`` can allow a client."""

MESSAGE_LIMIT_BYTES = 128 * 1024
"""A message at most: a quote, and a report over it."""

REOPENING_LIMIT_BYTES = 4096
"""The JSON of ``Platform.reopening`` at most."""

DETAIL_LIMIT_BYTES = 1000
"""Of an error's explanation, which is for the log, this much is passed on."""

PUBLIC_KEY_ID_SIZE = 32


class Kind(enum.IntEnum):
    """What a message is."""

    DESCRIBE = 1
    QUOTE = 2
    DESCRIPTION = 16
    QUOTED = 17
    FAILED = 18


class KeyDescription(NamedTuple):
    """One attestation key: who signs with it, and how large its quotes are in bytes; or why it can't be used."""

    key: AttestationKeyId
    target: QuotingTarget | PlatformError
    quote_size: int | PlatformError

    @property
    def is_faulty(self) -> bool:
        """Whether the key can't be used now."""
        return isinstance(self.target, PlatformError) or isinstance(self.quote_size, PlatformError)


class Description(NamedTuple):
    """What a platform says of itself without making a quote.

    ``generation`` tells one worker from its predecessor: another number is another process. Without ``keys`` the
    platform can't say now. ``reopening`` is the platform's.
    """

    generation: int
    keys: tuple[KeyDescription, ...]
    reopening: Mapping[str, str | int]


class Request(NamedTuple):
    """What the serving process asks; without ``order``, for a description."""

    number: int
    order: QuoteOrder | None


class Answer(NamedTuple):
    """What the worker says to the request ``number``."""

    number: int
    content: Description | Quoted | PlatformError


_CAUSES = tuple(PlatformCause)
_NO_STATUS = 0xFFFF_FFFF


def encode_describe(number: int) -> bytes:
    """A request for a description: no payload."""
    return _header(Kind.DESCRIBE, number)


def encode_order(order: QuoteOrder) -> bytes:
    """The payload of a request for a quote: key id (256 bytes), report (432), and qe_report_info (960) or nothing."""
    report, key, info = order
    return key.raw + report.raw if info is None else key.raw + report.raw + info.raw


def encode_quote(number: int, payload: bytes) -> bytes:
    """A request for a quote; ``payload`` is what ``encode_order`` gave, so that it can be sent again."""
    return _header(Kind.QUOTE, number) + payload


def read_request(raw: bytes) -> Request:
    """The request in ``raw``. Raises DecodeError."""
    reader = Reader(raw, "WorkerRequest")
    kind, number = _read_header(reader)
    if kind == Kind.DESCRIBE:
        reader.end()
        return Request(number, None)
    if kind != Kind.QUOTE:
        reader.refuse("kind", f"{kind} is no request")
    key = AttestationKeyId(reader.octets(AttestationKeyId.SIZE, "key"))
    report = Report(reader.octets(Report.SIZE, "report"))
    info = QeReportInfo(reader.octets(QeReportInfo.SIZE, "qe_report_info")) if reader.remaining else None
    reader.end()
    return Request(number, QuoteOrder(report, key, info))


def encode_answer(answer: Answer) -> bytes:
    """The message of ``answer``."""
    number, content = answer
    if isinstance(content, Quoted):
        return _header(Kind.QUOTED, number) + _encode_quoted(content)
    if isinstance(content, PlatformError):
        return _header(Kind.FAILED, number) + _encode_error(content)
    return _header(Kind.DESCRIPTION, number) + _encode_description(content)


def read_answer(raw: bytes) -> Answer:
    """The answer in ``raw``. Raises DecodeError."""
    reader = Reader(raw, "WorkerAnswer")
    kind, number = _read_header(reader)
    content: Description | Quoted | PlatformError
    if kind == Kind.QUOTED:
        content = _read_quoted(reader)
    elif kind == Kind.FAILED:
        content = _read_error(reader)
    elif kind == Kind.DESCRIPTION:
        content = _read_description(reader)
    else:
        reader.refuse("kind", f"{kind} is no answer")
    reader.end()
    return Answer(number, content)


def _header(kind: Kind, number: int) -> bytes:
    return kind.to_bytes(4, "little") + number.to_bytes(8, "little")


def _read_header(reader: Reader) -> tuple[int, int]:
    return reader.unsigned(4, "kind"), reader.unsigned(8, "number")


def _encode_quoted(quoted: Quoted) -> bytes:
    """Length of the quote (4 bytes), the quote, and qe_report_info (960) or nothing."""
    quote, info = quoted
    return len(quote).to_bytes(4, "little") + quote + (b"" if info is None else info.raw)


def _read_quoted(reader: Reader) -> Quoted:
    quote = reader.sized(4, QUOTE_LIMIT_BYTES, "quote")
    info = QeReportInfo(reader.octets(QeReportInfo.SIZE, "qe_report_info")) if reader.remaining else None
    return Quoted(quote, info)


def _encode_error(error: PlatformError) -> bytes:
    """Cause (2 bytes: its place in PlatformCause), status (4; 0xFFFFFFFF: none), explanation behind its length (2)."""
    detail = error.detail.encode(errors="backslashreplace")[:DETAIL_LIMIT_BYTES]
    status = _NO_STATUS if error.status is None else error.status & _NO_STATUS
    cause = _CAUSES.index(error.cause).to_bytes(2, "little")
    return cause + status.to_bytes(4, "little") + len(detail).to_bytes(2, "little") + detail


def _read_error(reader: Reader) -> PlatformError:
    place = reader.unsigned(2, "cause")
    if place >= len(_CAUSES):
        reader.refuse("cause", f"{place} is none of {len(_CAUSES)}")
    status = reader.unsigned(4, "status")
    detail = reader.sized(2, DETAIL_LIMIT_BYTES, "detail").decode(errors="replace")
    return PlatformError(_CAUSES[place], detail, status=None if status == _NO_STATUS else status)


def _encode_description(description: Description) -> bytes:
    """Generation (8 bytes), JSON of the reopening behind its length (2), number of keys (2), and the keys.

    Each key: its id (256); 0 (1 byte), target_info (512) and public_key_id (32), or 1 and an error; 0 and the size
    (4), or 1 and an error.
    """
    generation, keys, reopening = description
    encoded = json.dumps(dict(reopening)).encode()
    return b"".join(
        (
            generation.to_bytes(8, "little"),
            len(encoded).to_bytes(2, "little"),
            encoded,
            len(keys).to_bytes(2, "little"),
            *map(_encode_key, keys),
        )
    )


def _encode_key(described: KeyDescription) -> bytes:
    key, target, size = described
    if isinstance(target, PlatformError):
        encoded = b"\1" + _encode_error(target)
    else:
        encoded = b"\0" + target.target_info.raw + target.public_key_id
    if isinstance(size, PlatformError):
        return key.raw + encoded + b"\1" + _encode_error(size)
    return key.raw + encoded + b"\0" + size.to_bytes(4, "little")


def _read_description(reader: Reader) -> Description:
    generation = reader.unsigned(8, "generation")
    reopening = _read_reopening(reader)
    count = reader.unsigned(2, "count")
    if count > KEY_ID_LIST_LIMIT:
        reader.refuse("count", f"{count} keys given, at most {KEY_ID_LIST_LIMIT} expected")
    return Description(generation, tuple(_read_key(reader) for _ in range(count)), reopening)


def _read_reopening(reader: Reader) -> dict[str, str | int]:
    try:
        reopening = json.loads(reader.sized(2, REOPENING_LIMIT_BYTES, "reopening"))
    except ValueError:
        reader.refuse("reopening", "no JSON")
    if not isinstance(reopening, dict) or not all(isinstance(value, (str, int)) for value in reopening.values()):
        reader.refuse("reopening", "no object of texts and integers")
    return reopening


def _read_key(reader: Reader) -> KeyDescription:
    key = AttestationKeyId(reader.octets(AttestationKeyId.SIZE, "key"))
    target: QuotingTarget | PlatformError
    if _read_flag(reader):
        target = _read_error(reader)
    else:
        target_info = TargetInfo(reader.octets(TargetInfo.SIZE, "target_info"))
        target = QuotingTarget(target_info, reader.octets(PUBLIC_KEY_ID_SIZE, "public_key_id"))
    size = _read_error(reader) if _read_flag(reader) else reader.unsigned(4, "quote_size")
    return KeyDescription(key, target, size)


def _read_flag(reader: Reader) -> bool:
    flag = reader.unsigned(1, "flag")
    if flag > 1:
        reader.refuse("flag", f"{flag} given, 0 or 1 expected")
    return flag == 1
