from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotehelper.errors import DecodeError
from quotehelper.wire.protobuf import FIELDS_LIMIT, Envelope, Kind, Message, boolean, encode_varint, octets, u32, u64


class Base(Message):
    number: int = u32(1)
    note: bytes | None = octets(9, default=None)


class Whole(Base):
    data: bytes | None = octets(2, default=None)
    flag: bool | None = boolean(3, default=None)
    long: int | None = u64(4, default=None)


class Twin(Base):
    data: bytes | None = octets(2, default=None)
    flag: bool | None = boolean(3, default=None)
    long: int | None = u64(4, default=None)


class Other(Message):
    far: bytes | None = octets(300, default=None)


ENVELOPE: Envelope[Message] = Envelope("Envelope", {1: Whole, 17: Other})
FULL = Whole(7, b"note", b"data", flag=True, long=1 << 40)
FULL_BYTES = bytes.fromhex("0807 120464617461 1801 20808080808020 4a046e6f7465")


# Records


def test_values_stand_in_order_of_declaration_the_base_s_first() -> None:
    assert [field.number for field in Whole.FIELDS] == [1, 9, 2, 3, 4]
    assert tuple(FULL) == (7, b"note", b"data", True, 1 << 40)


def test_fields_are_attributes() -> None:
    assert (FULL.number, FULL.data, FULL.flag, FULL.long, FULL.note) == (7, b"data", True, 1 << 40, b"note")


def test_optional_fields_may_be_left_out_and_are_none() -> None:
    assert tuple(Whole(7)) == tuple(Whole(number=7)) == (7, None, None, None, None)


def test_values_may_be_named() -> None:
    assert Whole(7, note=b"note", flag=True, long=1 << 40, data=b"data") == FULL


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((), {"data": b""}), ((1,), {"number": 1}), ((1,), {"other": 1}), ((1, b"", b"", True, 0, 5), {})],
)
def test_wrong_arguments_are_a_mistake_of_the_programmer(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"^Whole takes \['number', "):
        Whole(*values, **named)


def test_messages_are_equal_by_class_and_values() -> None:
    assert Whole(7) == Whole(7, None)
    assert hash(Whole(7)) == hash(Whole(7, None))
    assert Whole(7) != Whole(8)
    assert Whole(7) != Twin(7)
    assert Whole(7) != (7, None, None, None, None)


@pytest.mark.parametrize("name", ["number", "note", "other"])
def test_messages_are_immutable(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Whole(7), name, 1)


def test_the_repr_leaves_out_what_is_absent_and_what_bytes_hold() -> None:
    assert repr(Whole(7, b"secret", flag=False)) == "Whole(number=7, note=<6 bytes>, flag=False)"


def test_two_fields_of_one_number_are_an_error_at_declaration() -> None:
    with pytest.raises(TypeError, match="two fields of one number"):
        type("Bad", (Base,), {"again": u32(1)})


def test_a_field_may_be_declared_anew() -> None:
    class Moved(Base):
        note: bytes | None = octets(2, default=None)

    assert [(field.name, field.number) for field in Moved.FIELDS] == [("number", 1), ("note", 2)]


# Varints


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (150, "9601"),  # the encoding guide's own example
        (300, "ac02"),
        (16383, "ff7f"),
        (16384, "808001"),
        (2**32 - 1, "ffffffff0f"),
        (2**64 - 1, "ffffffffffffffffff01"),
    ],
)
def test_varints(value: int, encoded: str) -> None:
    assert encode_varint(value).hex() == encoded
    assert Whole.read(b"\x08\0\x20" + bytes.fromhex(encoded)).long == value


@pytest.mark.parametrize("length", range(2, 11))
def test_padded_varints_are_read(length: int) -> None:
    assert Whole.read(b"\x08\x87" + b"\x80" * (length - 2) + b"\0").number == 7


# Reading and encoding


def test_fields_are_encoded_in_order_of_number() -> None:
    assert FULL.encode() == FULL_BYTES


def test_fields_are_read_in_any_order() -> None:
    assert Whole.read(bytes.fromhex("4a046e6f7465 20808080808020 1801 1204 64617461 0807")) == FULL


def test_zero_and_empty_are_not_absent() -> None:
    there = Whole(0, b"", b"", flag=False, long=0)
    assert there.encode().hex() == "0800120018002000" + "4a00"
    assert Whole.read(there.encode()) == there


def test_of_several_values_the_last_counts() -> None:
    assert Whole.read(bytes.fromhex("0801 120161 0802 120162 1801 1800")) == Whole(2, data=b"b", flag=False)


def test_integers_are_cut_to_their_size() -> None:
    assert Whole.read(bytes.fromhex("08 8180808010 20 ffffffffffffffffff7f")) == Whole(1, long=2**64 - 1)


@pytest.mark.parametrize("value", ["01", "02", "8002", "80808080808080808001"])
def test_any_integer_but_0_is_true(value: str) -> None:
    assert Whole.read(bytes.fromhex("0800 18" + value)).flag is True


@pytest.mark.parametrize("value", ["00", "8000", "80808080808080808000"])
def test_0_is_false_however_long(value: str) -> None:
    assert Whole.read(bytes.fromhex("0800 18" + value)).flag is False


@pytest.mark.parametrize(
    "unknown",
    [
        "3000",
        "30ffffffffffffffffff01",
        "3200",
        "3203616263",
        "3501020304",
        "310102030405060708",
        "f8ffffff0f05",
        "faffffff0f0161",
    ],
    ids=["varint", "long varint", "empty", "bytes", "fixed32", "fixed64", "highest number", "highest, bytes"],
)
def test_unknown_fields_are_skipped(unknown: str) -> None:
    raw = bytes.fromhex(unknown)
    assert Whole.read(raw + FULL_BYTES) == Whole.read(FULL_BYTES + raw) == FULL


def test_numbers_beyond_15_have_longer_keys() -> None:
    assert Other(b"x").encode().hex() == "e2120178"
    assert Other.read(bytes.fromhex("e2120178")) == Other(b"x")


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ("08", "number"),
        ("0880", "number"),
        ("08ffff", "number"),
        ("08" + "ff" * 10 + "01", "number"),
        ("0800 12", "data"),
        ("0800 1205 61626364", "data"),
        ("0800 12ffffffff0f", "data"),
        ("0800 12ffffffff7f", "data"),
        ("0800 12818080808000 61", "data"),
        ("0800 80", ""),
        ("0800 b08080808000 05", ""),
        ("0800 f8ffffff1f 05", "field 1073741823"),
        ("00", "field 0"),
        ("0200", "field 0"),
        ("0800 33 34", "field 6"),
        ("0800 34", "field 6"),
        ("0800 3600", "field 6"),
        ("0800 3700", "field 6"),
        ("0800 35010203", "field 6"),
        ("0800 3101020304050607", "field 6"),
        ("0800 30", "field 6"),
        ("0800 30" + "ff" * 10 + "01", "field 6"),
        ("0800 320161 3202", "field 6"),
        ("0a00", "field 1"),
        ("0800 1001", "field 2"),
        ("0800 0d01020304", "field 1"),
        ("120161", "number"),
    ],
)
def test_malformed_messages_are_refused_by_their_field(raw: str, field: str) -> None:
    with pytest.raises(DecodeError) as caught:
        Whole.read(bytes.fromhex(raw))
    assert (caught.value.structure, caught.value.field) == ("Whole", field)


@pytest.mark.parametrize("field", ["0800", "3000", "120161"])
def test_as_many_fields_are_read_as_the_limit_says_and_no_more(field: str) -> None:
    raw = bytes.fromhex("0800" + field * (FIELDS_LIMIT - 1))
    assert Whole.read(raw).number == 0
    with pytest.raises(DecodeError, match=f"more than {FIELDS_LIMIT} fields"):
        Whole.read(raw + bytes.fromhex(field))


@pytest.mark.parametrize(
    ("message", "field"),
    [(Whole(2**32), "number"), (Whole(-1), "number"), (Whole(0, long=2**64), "long")],
)
def test_an_integer_that_does_not_fit_is_not_encoded(message: Whole, field: str) -> None:
    with pytest.raises(DecodeError) as caught:
        message.encode()
    assert caught.value.field == field


def test_every_kind_has_its_mask() -> None:
    assert {kind.name: kind.value for kind in Kind} == {
        "OCTETS": None,
        "BOOLEAN": 0,
        "U32": 2**32 - 1,
        "U64": 2**64 - 1,
    }


# Parts


def test_collect_gives_none_for_what_is_absent_even_if_required() -> None:
    assert Whole.collect(b"") == [None] * 5


def test_parts_are_merged() -> None:
    values = Whole.collect(bytes.fromhex("120161 1801"))
    with pytest.raises(DecodeError, match=r"^Whole\.number: required, but absent$"):
        Whole.complete(values)
    values = Whole.collect(bytes.fromhex("0805 120162"), values)
    assert Whole.complete(values) == Whole(5, data=b"b", flag=True)


# Envelopes


def test_an_envelope_holds_messages_by_number() -> None:
    raw = ENVELOPE.encode(Other(b"x")) + ENVELOPE.encode(Whole(5))
    assert raw.hex() == "8a0104e2120178" + "0a020805"
    assert ENVELOPE.collect(raw) == {Other: [b"x"], Whole: [5, None, None, None, None]}


def test_a_message_in_two_parts_is_merged() -> None:
    raw = bytes.fromhex("0a020805 3a0178 0a03120161")
    assert ENVELOPE.collect(raw) == {Whole: [5, None, b"a", None, None]}


def test_an_envelope_of_unknown_fields_is_empty() -> None:
    assert ENVELOPE.collect(bytes.fromhex("100112 00 3a0178")) == {}


@pytest.mark.parametrize(
    ("raw", "structure", "field"),
    [
        ("0a", "Envelope", "Whole"),
        ("0a03 0805", "Envelope", "Whole"),
        ("0a80", "Envelope", "Whole"),
        ("8a", "Envelope", ""),
        ("0805", "Envelope", "field 1"),
        ("0b", "Envelope", "field 1"),
        ("0a01 08 0805", "Whole", "number"),
        ("0a020805 8a0102e212", "Other", "far"),
    ],
)
def test_malformed_envelopes_are_refused_by_their_field(raw: str, structure: str, field: str) -> None:
    with pytest.raises(DecodeError) as caught:
        ENVELOPE.collect(bytes.fromhex(raw))
    assert (caught.value.structure, caught.value.field) == (structure, field)


def test_an_envelope_has_a_limit_of_fields_too() -> None:
    raw = bytes.fromhex("0a00") * FIELDS_LIMIT
    assert ENVELOPE.collect(raw) == {Whole: [None] * 5}
    with pytest.raises(DecodeError, match=f"more than {FIELDS_LIMIT} fields"):
        ENVELOPE.collect(raw + b"\x0a\0")


# Properties

WHOLES = st.builds(
    Whole,
    number=st.integers(0, 2**32 - 1),
    note=st.none() | st.binary(max_size=3),
    data=st.none() | st.binary(max_size=300),
    flag=st.none() | st.booleans(),
    long=st.none() | st.integers(0, 2**64 - 1),
)


@settings(max_examples=200)
@given(WHOLES)
def test_what_is_encoded_is_read_again(message: Whole) -> None:
    assert Whole.read(message.encode()) == message


@settings(max_examples=500)
@given(st.binary(max_size=40))
def test_any_bytes_give_a_message_or_a_decode_error(raw: bytes) -> None:
    for read in (Whole.read, ENVELOPE.collect):
        with contextlib.suppress(DecodeError):
            read(raw)


@settings(max_examples=50)
@given(WHOLES)
def test_a_message_cut_short_lacks_its_last_fields_or_is_refused(message: Whole) -> None:
    raw = message.encode()
    for size in range(len(raw)):
        with contextlib.suppress(DecodeError):
            assert all(value in {None, whole} for value, whole in zip(Whole.collect(raw[:size]), message, strict=True))
