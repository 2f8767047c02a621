"""Structures of fixed layout as typed views over the exact bytes received. Pure.

A structure's class body *is* its layout table: each field is declared once, at its offset. An object holds
nothing but its bytes, so reserved fields are kept, what was signed stays what was signed, encoding is the
identity, and a field costs something only when it is read (why: ``docs/adr/0002-structures-are-views.md``).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, overload

from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from typing import Self

_T = TypeVar("_T")


class Field(Generic[_T]):
    """One field of a Structure: ``size`` bytes at ``offset``."""

    __slots__ = ("end", "name", "offset", "size")

    def __init__(self, offset: int, size: int) -> None:
        self.offset = offset
        self.size = size
        self.end = offset + size
        self.name = ""

    def __set_name__(self, owner: type[Structure], name: str) -> None:
        """Learn the attribute's name and enter it into the owner's layout."""
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type[Structure]) -> Self: ...
    @overload
    def __get__(self, instance: Structure, owner: type[Structure]) -> _T: ...
    def __get__(self, instance: Structure | None, owner: type[Structure]) -> Self | _T:
        """The field itself on the class, its value on an object."""
        if instance is None:
            return self
        return self.decode(instance.raw[self.offset : self.end])

    @abstractmethod
    def decode(self, raw: bytes) -> _T:
        """The value of exactly ``size`` bytes."""

    @abstractmethod
    def encode(self, value: _T) -> bytes:
        """Exactly ``size`` bytes. Raises DecodeError if ``value`` does not fit."""

    def _misfit(self, value: object) -> DecodeError:
        return DecodeError("value", self.name, f"{value!r} does not fit {self.size} bytes")


class Octets(Field[bytes]):
    """``size`` bytes as they are."""

    def decode(self, raw: bytes) -> bytes:
        """The bytes."""
        return raw

    def encode(self, value: bytes) -> bytes:
        """The bytes, which must be exactly ``size``."""
        if len(value) != self.size:
            raise DecodeError("value", self.name, f"{len(value)} bytes given, {self.size} expected")
        return value


class _Unsigned(Field[int]):
    """An unsigned little-endian integer."""

    def decode(self, raw: bytes) -> int:
        return int.from_bytes(raw, "little")

    def encode(self, value: int) -> bytes:
        try:
            return value.to_bytes(self.size, "little")
        except OverflowError:
            raise self._misfit(value) from None


class U16(_Unsigned):
    """An unsigned 16-bit little-endian integer."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset, 2)


class U32(_Unsigned):
    """An unsigned 32-bit little-endian integer."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset, 4)


class U64(_Unsigned):
    """An unsigned 64-bit little-endian integer."""

    def __init__(self, offset: int) -> None:
        super().__init__(offset, 8)


class Structure:
    """Exactly ``SIZE`` bytes with named fields; immutable; equal and hashable by its bytes.

    A subclass declares ``SIZE`` and its fields, in order of offset. ``raw`` is whatever was received.
    """

    __slots__ = ("raw",)

    SIZE: ClassVar[int]
    FIELDS: ClassVar[tuple[Field[Any], ...]]

    raw: bytes

    def __init_subclass__(cls) -> None:
        """Collect the layout and prove that it fits: ascending, without overlap, within ``SIZE``."""
        by_name = {n: f for c in reversed(cls.__mro__) for n, f in vars(c).items() if isinstance(f, Field)}
        fields = sorted(by_name.values(), key=lambda field: field.offset)
        at = 0
        for field in fields:
            if field.offset < at or field.end > cls.SIZE:
                raise TypeError(f"{cls.__name__}.{field.name} overlaps its neighbour or exceeds {cls.SIZE} bytes")
            at = field.end
        cls.FIELDS = tuple(fields)

    def __init__(self, raw: bytes) -> None:
        """Take ``raw`` as it is. Raises DecodeError unless it has exactly ``SIZE`` bytes."""
        if len(raw) != self.SIZE:
            raise DecodeError(type(self).__name__, "", f"{self.SIZE} bytes expected, {len(raw)} given")
        object.__setattr__(self, "raw", raw)

    @classmethod
    def build(cls, **values: Any) -> Self:  # noqa: ANN401  the fields' own types, checked as they are encoded
        """A structure with the given fields and zeros everywhere else."""
        return cls(bytes(cls.SIZE)).replace(**values)

    def replace(self, **values: Any) -> Self:  # noqa: ANN401  the fields' own types, checked as they are encoded
        """A copy with the given fields changed; all other bytes, reserved ones too, stay."""
        raw = bytearray(self.raw)
        for name, value in values.items():
            field = getattr(type(self), name, None)
            if not isinstance(field, Field):
                raise TypeError(f"{type(self).__name__} has no field {name!r}")
            raw[field.offset : field.end] = field.encode(value)
        return type(self)(bytes(raw))

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: structures are values."""
        raise AttributeError(f"{type(self).__name__} is immutable: use replace()")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.raw == self.raw if isinstance(other, Structure) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self.raw))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.raw.hex()})"


_S = TypeVar("_S", bound=Structure)


class Substructure(Field[_S]):
    """A Structure embedded whole."""

    __slots__ = ("kind",)

    def __init__(self, offset: int, kind: type[_S]) -> None:
        super().__init__(offset, kind.SIZE)
        self.kind = kind

    def decode(self, raw: bytes) -> _S:
        """The embedded structure."""
        return self.kind(raw)

    def encode(self, value: _S) -> bytes:
        """The embedded structure's bytes."""
        if type(value) is not self.kind:
            raise self._misfit(value)
        return value.raw
