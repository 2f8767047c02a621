"""As much DER as the SGX extension needs: definite lengths, single-byte tags, nothing relaxed. Pure.

Source: ITU-T X.690. Certificates as a whole are the cryptography library's business.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from quotehelper.wire import Reader

if TYPE_CHECKING:
    from typing import NoReturn

_LONG_FORM = 0x80
_LENGTH_LIMIT = 1 << 16


class Tag(enum.IntEnum):
    """The types that the SGX extension uses."""

    BOOLEAN = 0x01
    INTEGER = 0x02
    OCTET_STRING = 0x04
    OBJECT_IDENTIFIER = 0x06
    ENUMERATED = 0x0A
    SEQUENCE = 0x30


class DerReader:
    """A cursor over the elements in ``raw``, which its sender controls; errors carry the name ``structure``."""

    __slots__ = ("_reader",)

    def __init__(self, raw: bytes, structure: str) -> None:
        self._reader = Reader(raw, structure)

    @property
    def more(self) -> bool:
        """Whether another element follows."""
        return self._reader.remaining > 0

    def element(self, tag: Tag, field: str) -> bytes:
        """The content of the next element, which must have ``tag``. Raises DecodeError otherwise."""
        if (found := self._reader.unsigned(1, field)) != tag:
            self.refuse(field, f"{tag.name} expected, tag {found:#04x} found")
        return self._reader.octets(self._length(field), field)

    def integer(self, field: str, high: int, tag: Tag = Tag.INTEGER) -> int:
        """A number from 0 to ``high``, in as few bytes as possible."""
        content = self.element(tag, field)
        value = int.from_bytes(content, "big", signed=True)
        if not content or not 0 <= value <= high or content != _shortest(value):
            self.refuse(field, f"a number from 0 to {high} in its shortest form expected")
        return value

    def octets(self, field: str, size: int) -> bytes:
        """An octet string of ``size`` bytes."""
        content = self.element(Tag.OCTET_STRING, field)
        if len(content) != size:
            self.refuse(field, f"{size} bytes expected, {len(content)} found")
        return content

    def boolean(self, field: str) -> bool:
        """A truth value: FF or 00."""
        content = self.element(Tag.BOOLEAN, field)
        if content not in {b"\xff", b"\0"}:
            self.refuse(field, "FF or 00 expected")
        return content == b"\xff"

    def only(self) -> DerReader:
        """What has not been read yet as a reader of its own, in which the next element must be the last."""
        return _OnlyReader(self._reader.rest(), self._reader.structure)

    def end(self) -> None:
        """Raise DecodeError if anything is left over."""
        self._reader.end()

    def refuse(self, field: str, reason: str) -> NoReturn:
        """Raise DecodeError for ``field``."""
        self._reader.refuse(field, reason)

    def _length(self, field: str) -> int:
        first = self._reader.unsigned(1, field)
        if first < _LONG_FORM:
            return first
        size = first - _LONG_FORM
        length = int.from_bytes(self._reader.octets(size, field), "big") if 0 < size <= 2 else _LENGTH_LIMIT  # noqa: PLR2004  two bytes of length
        if length >= _LENGTH_LIMIT or encode_length(length)[0] != first:
            self.refuse(field, "its length is too large, indefinite, or not in its shortest form")
        return length


class _OnlyReader(DerReader):
    """A cursor over one element."""

    __slots__ = ()

    def element(self, tag: Tag, field: str) -> bytes:
        content = super().element(tag, field)
        self.end()
        return content


def encode(tag: Tag, *parts: bytes) -> bytes:
    """An element of ``parts``, one after the other."""
    content = b"".join(parts)
    return bytes([tag]) + encode_length(len(content)) + content


def encode_integer(value: int, tag: Tag = Tag.INTEGER) -> bytes:
    """A number of at least 0."""
    return encode(tag, _shortest(value))


def encode_boolean(*, value: bool) -> bytes:
    """A truth value."""
    return encode(Tag.BOOLEAN, b"\xff" if value else b"\0")


def encode_length(length: int) -> bytes:
    """A definite length below 64 KiB, in its shortest form."""
    if length < _LONG_FORM:
        return bytes([length])
    size = (length.bit_length() + 7) // 8
    return bytes([_LONG_FORM + size]) + length.to_bytes(size, "big")


def _shortest(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def encode_ecdsa_signature(raw: bytes) -> bytes:
    """The DER of an ECDSA signature given as r ‖ s, 32 bytes each, big endian."""
    r, s = raw[:32].lstrip(b"\0"), raw[32:].lstrip(b"\0")
    if not r or r[0] >= _LONG_FORM:
        r = b"\0" + r
    if not s or s[0] >= _LONG_FORM:
        s = b"\0" + s
    return b"\x30%c\x02%c%b\x02%c%b" % (4 + len(r) + len(s), len(r), r, len(s), s)
