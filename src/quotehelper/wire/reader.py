"""The reader that cuts untrusted bytes of variable layout, front to back. Pure.

Each read names its field, so that a refusal says where the input went wrong. A length that comes from the
input is compared with a limit before anything is copied. ``end`` refuses what is left over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from typing import NoReturn


class Reader:
    """A forward-only cursor over ``raw``, which whoever sent the bytes controls.

    ``structure`` is the name that errors carry. Integers are unsigned and little endian, as everywhere in SGX.
    """

    __slots__ = ("_end", "_offset", "_raw", "structure")

    def __init__(self, raw: bytes, structure: str) -> None:
        self._raw = raw
        self.structure = structure
        self._offset = 0
        self._end = len(raw)

    @property
    def offset(self) -> int:
        """Bytes read so far: the offset of the next read."""
        return self._offset

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return self._end - self._offset

    def octets(self, size: int, field: str) -> bytes:
        """The next ``size`` bytes. Raises DecodeError if there are fewer."""
        start, stop = self._offset, self._offset + size
        if stop > self._end:
            self.refuse(field, f"{size} bytes expected, {self._end - start} left")
        self._offset = stop
        return self._raw[start:stop]

    def unsigned(self, size: int, field: str) -> int:
        """The next ``size`` bytes as an unsigned little-endian integer. Raises DecodeError if there are fewer."""
        return int.from_bytes(self.octets(size, field), "little")

    def sized(self, length_size: int, limit: int, field: str) -> bytes:
        """Bytes behind their own length, an integer of ``length_size`` bytes.

        The length is compared with ``limit`` (bytes) before anything is copied. Raises DecodeError if it is
        larger, or if fewer bytes are there.
        """
        size = self.unsigned(length_size, field)
        if size > limit:
            self.refuse(field, f"length {size} exceeds the limit of {limit} bytes")
        return self.octets(size, field)

    def rest(self) -> bytes:
        """All bytes not read yet."""
        return self.octets(self.remaining, "rest")

    def end(self) -> None:
        """Raise DecodeError if anything is left over."""
        if self._offset != self._end:
            self.refuse("", f"{self.remaining} bytes left over behind the last field")

    def refuse(self, field: str, reason: str) -> NoReturn:
        """Raise DecodeError for ``field`` at the present offset."""
        raise DecodeError(self.structure, field, reason, offset=self._offset)
