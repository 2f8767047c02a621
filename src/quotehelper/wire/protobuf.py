"""Protobuf messages as typed records, in the subset of proto2 that AESM uses. Pure.

A message's class body *is* its schema: each field is declared once, with its number, its kind and whether it is
required. A message is a tuple of its values in order of declaration; None stands for a field that is absent, which
is not the same as zero or empty.

Reading is stricter than Google's library in three ways: groups, and known fields of another wire type, are refused
and not skipped, and so is a message of more than ``FIELDS_LIMIT`` fields. All else is as there: unknown fields are
skipped, of several values the last counts, several parts of an embedded message are merged, integers are cut to
their size.

Source: the Protocol Buffers encoding guide (base-128 varints, keys of ``number << 3 | wire type``).
"""

from __future__ import annotations

import enum
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar, dataclass_transform

from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

FIELDS_LIMIT = 32
"""Fields in one message at most, repeated and unknown ones included: four times the most that AESM has.

Without it the smallest possible fields could make 64 KiB as dear as a thousand quotes.
"""

_VARINT, _OCTETS = 0, 2
_FIXED_SIZES = {1: 8, 5: 4}
_VALUE_LIMIT, _LENGTH_LIMIT, _KEY_LIMIT = 10, 5, 5
"""Bytes of a varint at most."""

_KEY_MAX = 0xFFFF_FFFF
_SMALL = 0x80
"""Varints have seven bits a byte, and this bit in all bytes but the last."""

_ONE_BYTE = tuple(bytes((value,)) for value in range(_SMALL))
_FIELDS_AND_END = range(FIELDS_LIMIT + 1)


class Kind(enum.Enum):
    """What a field holds. The value is an integer's mask."""

    OCTETS = None
    BOOLEAN = 0
    U32 = 0xFFFF_FFFF
    U64 = 0xFFFF_FFFF_FFFF_FFFF


class Field(NamedTuple):
    """One field of a message. ``name`` is the attribute's."""

    number: int
    kind: Kind
    required: bool
    name: str = ""

    @property
    def key(self) -> int:
        """What stands before the field on the wire."""
        return self.number << 3 | (_OCTETS if self.kind is Kind.OCTETS else _VARINT)


def octets(number: int, *, default: object = ...) -> Any:  # noqa: ANN401  the annotation beside it says the type
    """Declare bytes: required, or optional with ``default=None``."""
    return Field(number, Kind.OCTETS, default is ...)


def u32(number: int, *, default: object = ..., kw_only: bool = False) -> Any:  # noqa: ANN401, ARG001  PEP 681
    """Declare an unsigned 32-bit integer: required, or optional with ``default=None``.

    ``kw_only`` is for type checkers, who then want the value by name.
    """
    return Field(number, Kind.U32, default is ...)


def u64(number: int, *, default: object = ...) -> Any:  # noqa: ANN401  the annotation beside it says the type
    """Declare an unsigned 64-bit integer: required, or optional with ``default=None``."""
    return Field(number, Kind.U64, default is ...)


def boolean(number: int, *, default: object = ...) -> Any:  # noqa: ANN401  the annotation beside it says the type
    """Declare a truth value: required, or optional with ``default=None``. Any integer but 0 is read as true."""
    return Field(number, Kind.BOOLEAN, default is ...)


@dataclass_transform(frozen_default=True, field_specifiers=(octets, u32, u64, boolean))
class Message(tuple[Any, ...]):
    """Fields with values; immutable; equal if both class and values are.

    A subclass declares its fields and inherits its base's, which come first. ``FIELDS``, values and positional
    arguments are in that order; on the wire fields go in order of number.
    """

    FIELDS: ClassVar[tuple[Field, ...]] = ()

    _slots: ClassVar[dict[int, tuple[int, int | None, tuple[str, str]]]] = {}  # by key: index, mask, where it is
    _writers: ClassVar[tuple[tuple[int, bytes, int | None], ...]] = ()  # index, encoded key, mask
    _required: ClassVar[tuple[int, ...]] = ()  # indices

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        """Collect the fields and prepare for reading and encoding them."""
        fields = {field.name: field for field in cls.FIELDS}
        fields |= {name: field._replace(name=name) for name, field in vars(cls).items() if isinstance(field, Field)}
        if len({field.number for field in fields.values()}) != len(fields):
            raise TypeError(f"{cls.__name__} has two fields of one number")
        cls.FIELDS = tuple(fields.values())
        cls._slots = {f.key: (i, f.kind.value, (cls.__name__, f.name)) for i, f in enumerate(cls.FIELDS)}
        by_number = sorted(enumerate(cls.FIELDS), key=itemgetter(1))
        cls._writers = tuple((index, encode_varint(field.key), field.kind.value) for index, field in by_number)
        cls._required = tuple(index for index, field in enumerate(cls.FIELDS) if field.required)
        for index, field in enumerate(cls.FIELDS):
            setattr(cls, field.name, property(itemgetter(index)))

    def __new__(cls, *values: Any, **named: Any) -> Self:  # noqa: ANN401  the fields' types, which mypy checks
        """A message of ``values``. Optional fields may be left out."""
        if named or len(values) != len(cls.FIELDS):
            values = cls._bind(values, named)
        return tuple.__new__(cls, values)

    @classmethod
    def _bind(cls, values: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        names = [field.name for field in cls.FIELDS]
        given = dict(zip(names, values, strict=False)) | named
        lacking = {names[index] for index in cls._required} - given.keys()
        if lacking or len(given) != len(values) + len(named) or not given.keys() <= set(names):
            raise TypeError(f"{cls.__name__} takes {names}, given were {len(values)} values and {sorted(named)}")
        return tuple(map(given.get, names))

    @classmethod
    def read(cls, raw: bytes) -> Self:
        """The message in ``raw``, which its sender controls. Raises DecodeError, naming the field."""
        return cls.complete(cls.collect(raw))

    @classmethod
    def collect(cls, raw: bytes, values: list[Any] | None = None) -> list[Any]:
        """The values in ``raw`` in the order of ``FIELDS``; None where one is absent, even if it is required.

        ``values`` of an earlier part of the same message are added to. Raises DecodeError, naming the field.
        """
        values = values or [None] * len(cls.FIELDS)
        slots, here = cls._slots, (cls.__name__, "")
        where = here
        at, end = 0, len(raw)
        try:
            for _ in _FIELDS_AND_END:
                if at >= end:
                    break
                key = raw[at]
                at += 1
                if key >= _SMALL:
                    key, at = _read_varint(raw, at - 1, _KEY_LIMIT, here)
                if key not in slots:
                    at = _skip(raw, at, key, here, slots)
                    continue
                index, mask, where = slots[key]
                value = raw[at]
                at += 1
                if value >= _SMALL:
                    if (high := raw[at]) < _SMALL:  # two bytes, here for speed
                        value += (high << 7) - _SMALL
                        at += 1
                    else:
                        value, at = _read_varint(raw, at - 1, _LENGTH_LIMIT if mask is None else _VALUE_LIMIT, where)
                if mask is None:
                    start = at
                    at += value
                    values[index] = raw[start:at]  # too short if the message ends before: then at > end
                else:
                    values[index] = value & mask if mask else value != 0
            else:
                raise DecodeError(*here, f"more than {FIELDS_LIMIT} fields", offset=at)
        except IndexError:
            at = end + 1
        if at > end:
            raise DecodeError(*where, "goes on behind the end of the message", offset=end)
        return values

    @classmethod
    def complete(cls, values: list[Any]) -> Self:
        """The message of what ``collect`` gave. Raises DecodeError if a required field is absent."""
        for index in cls._required:
            if values[index] is None:
                raise DecodeError(cls.__name__, cls.FIELDS[index].name, "required, but absent")
        return tuple.__new__(cls, values)

    def encode(self) -> bytes:
        """The message's bytes, fields in order of number. Raises DecodeError for an integer that does not fit."""
        encoded = b""
        for index, prefix, mask in self._writers:
            if (value := self[index]) is None:
                pass
            elif mask is None:
                encoded += prefix + encode_varint(len(value)) + value
            elif 0 <= value < _SMALL:
                encoded += prefix + _ONE_BYTE[value]
            elif 0 <= value <= mask:
                encoded += prefix + encode_varint(value)
            else:
                field = self.FIELDS[index]
                raise DecodeError(type(self).__name__, field.name, f"{value} does not fit {field.kind.name}")
        return encoded

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((type(self), tuple(self)))

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: messages are values."""
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __repr__(self) -> str:
        """Names and values; of bytes only how many: they may be a quote."""
        named = zip(self.FIELDS, self, strict=True)
        shown = (
            f"{field.name}={f'<{len(value)} bytes>' if isinstance(value, bytes) else value}"
            for field, value in named
            if value is not None
        )
        return f"{type(self).__name__}({', '.join(shown)})"


_M = TypeVar("_M", bound=Message)


class Envelope(Generic[_M]):
    """A message whose fields are optional messages: ``kinds`` by field number. ``name`` is for errors."""

    def __init__(self, name: str, kinds: Mapping[int, type[_M]]) -> None:
        keys = {kind: number << 3 | _OCTETS for number, kind in kinds.items()}
        self._where = name, ""
        self._slots = {key: (kind, (name, kind.__name__)) for kind, key in keys.items()}
        self._prefixes = {kind: encode_varint(key) for kind, key in keys.items()}

    def collect(self, raw: bytes) -> dict[type[_M], list[Any]]:
        """What ``Message.collect`` gives for each message in ``raw``; parts of one are merged.

        ``raw`` is the sender's. Raises DecodeError, naming the field.
        """
        found: dict[type[_M], list[Any]] = {}
        slots, here = self._slots, self._where
        at, end = 0, len(raw)
        for _ in _FIELDS_AND_END:
            if at >= end:
                return found
            key, at = _read_varint(raw, at, _KEY_LIMIT, here)
            if key not in slots:
                at = _skip(raw, at, key, here, slots)
                continue
            kind, where = slots[key]
            size, start = _read_varint(raw, at, _LENGTH_LIMIT, where)
            at = start + size
            if at > end:
                raise DecodeError(*where, f"{size} bytes announced, {end - start} left", offset=start)
            found[kind] = kind.collect(raw[start:at], found.get(kind))
        raise DecodeError(*here, f"more than {FIELDS_LIMIT} fields", offset=at)

    def encode(self, message: _M) -> bytes:
        """The envelope that holds ``message`` alone. Raises DecodeError as the message's encode does."""
        encoded = message.encode()
        return self._prefixes[type(message)] + encode_varint(len(encoded)) + encoded


def encode_varint(value: int) -> bytes:
    """``value``, which is not negative, in base 128, lowest digits first."""
    if value < _SMALL:
        return _ONE_BYTE[value]
    if value < _SMALL << 7:
        return (value & 0x7F | _SMALL | value >> 7 << 8).to_bytes(2, "little")
    encoded = bytearray()
    while value >= _SMALL:
        encoded.append(value & 0x7F | _SMALL)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(raw: bytes, at: int, limit: int, where: tuple[str, str]) -> tuple[int, int]:
    """A varint of at most ``limit`` bytes at ``at``, and the offset behind it. Raises DecodeError ``where``."""
    try:
        if (value := raw[at]) < _SMALL:
            return value, at + 1
        if (high := raw[at + 1]) < _SMALL:
            return value + (high << 7) - _SMALL, at + 2
        value = 0
        for index in range(limit):
            byte = raw[at + index]
            value |= (byte & 0x7F) << 7 * index
            if byte < _SMALL:
                return value, at + index + 1
    except IndexError:
        raise DecodeError(*where, "ends within a varint", offset=at) from None
    raise DecodeError(*where, f"a varint of more than {limit} bytes", offset=at)


def _skip(raw: bytes, at: int, key: int, within: tuple[str, str], known: Iterable[int]) -> int:
    """The offset behind a field without a slot, whose ``key`` ends at ``at``. Raises DecodeError if it is malformed.

    ``known``: the keys that have a slot. A field of theirs, but with another wire type, is malformed as well.
    """
    number, wire_type = key >> 3, key & 7
    where = within[0], f"field {number}"
    if number == 0 or key > _KEY_MAX or any(number == other >> 3 for other in known):
        raise DecodeError(*where, f"does not exist with wire type {wire_type}", offset=at)
    if wire_type == _VARINT:
        return _read_varint(raw, at, _VALUE_LIMIT, where)[1]
    if wire_type == _OCTETS:
        size, at = _read_varint(raw, at, _LENGTH_LIMIT, where)
    elif wire_type in _FIXED_SIZES:
        size = _FIXED_SIZES[wire_type]
    else:
        raise DecodeError(*where, f"wire type {wire_type} is not understood", offset=at)
    if at + size > len(raw):
        raise DecodeError(*where, "goes on behind the end of the message", offset=at)
    return at + size
