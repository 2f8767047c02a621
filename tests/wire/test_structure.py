from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotehelper.errors import DecodeError
from quotehelper.wire import U16, U32, U64, Octets, Structure, Substructure


class Inner(Structure):
    SIZE = 4

    low = U16(0)
    high = U16(2)


class Outer(Structure):
    """Bytes 2 to 3 and 24 to 31 are reserved."""

    SIZE = 32

    short = U16(0)
    inner = Substructure(4, Inner)
    word = U32(8)
    long = U64(12)
    tag = Octets(20, 4)


class Longer(Outer):
    SIZE = 34

    more = U16(32)


RAW = bytes(range(32))


def test_fields_are_read_at_their_offsets_little_endian() -> None:
    outer = Outer(RAW)
    assert (outer.short, outer.word, outer.long) == (0x0100, 0x0B0A0908, 0x131211100F0E0D0C)
    assert outer.tag == RAW[20:24]
    assert outer.inner == Inner(RAW[4:8])


def test_integers_are_unsigned() -> None:
    outer = Outer(b"\xff" * 32)
    assert (outer.short, outer.word, outer.long) == (2**16 - 1, 2**32 - 1, 2**64 - 1)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_only_the_exact_size_is_accepted(size: int) -> None:
    with pytest.raises(DecodeError, match=f"^Outer: 32 bytes expected, {size} given$"):
        Outer(bytes(size))


def test_raw_is_what_was_received_reserved_bytes_included() -> None:
    assert Outer(RAW).raw == RAW


def test_build_sets_the_fields_and_leaves_the_rest_zero() -> None:
    built = Outer.build(short=0x0201, inner=Inner.build(high=0x0403), tag=b"abcd")
    assert built.raw == b"\1\2" + bytes(4) + b"\3\4" + bytes(12) + b"abcd" + bytes(8)


def test_replace_changes_nothing_but_the_given_fields() -> None:
    changed = Outer(RAW).replace(word=0)
    assert changed.raw == RAW[:8] + bytes(4) + RAW[12:]


def test_replace_leaves_the_original_alone() -> None:
    outer = Outer(RAW)
    outer.replace(word=0)
    assert outer.raw == RAW


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("short", 2**16),
        ("short", -1),
        ("word", 2**32),
        ("long", 2**64),
        ("tag", b"abc"),
        ("tag", b"abcde"),
        ("inner", Outer(RAW)),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_its_field(name: str, value: object) -> None:
    with pytest.raises(DecodeError) as caught:
        Outer.build(**{name: value})
    assert caught.value.field == name


def test_an_unknown_field_is_a_mistake_of_the_programmer() -> None:
    with pytest.raises(TypeError, match="no field 'shrot'"):
        Outer.build(shrot=1)


@pytest.mark.parametrize("name", ["raw", "short", "other"])
def test_structures_are_immutable(name: str) -> None:
    with pytest.raises(AttributeError, match="immutable"):
        setattr(Outer(RAW), name, 1)


def test_structures_are_equal_by_class_and_bytes() -> None:
    class Twin(Outer):
        pass

    assert Outer(RAW) == Outer(RAW)
    assert hash(Outer(RAW)) == hash(Outer(RAW))
    assert Outer(RAW) != Outer(bytes(32))
    assert Outer(RAW) != Twin(RAW)
    assert Outer(RAW) != RAW


def test_a_field_on_the_class_tells_its_place() -> None:
    assert (Outer.word.name, Outer.word.offset, Outer.word.size, Outer.word.end) == ("word", 8, 4, 12)


def test_the_layout_is_in_order_of_offset() -> None:
    assert [field.name for field in Outer.FIELDS] == ["short", "inner", "word", "long", "tag"]


def test_a_subclass_has_its_base_s_fields_first() -> None:
    assert [field.name for field in Longer.FIELDS] == ["short", "inner", "word", "long", "tag", "more"]
    assert Longer(RAW + b"\1\2").more == 0x0201
    assert Longer(RAW + b"\1\2").word == Outer(RAW).word


def test_overlapping_fields_are_an_error_at_declaration() -> None:
    with pytest.raises(TypeError, match=r"Bad\.second overlaps"):
        type("Bad", (Structure,), {"SIZE": 8, "first": U32(0), "second": U32(3)})


def test_a_field_behind_the_end_is_an_error_at_declaration() -> None:
    with pytest.raises(TypeError, match=r"Bad\.only overlaps its neighbour or exceeds 3 bytes"):
        type("Bad", (Structure,), {"SIZE": 3, "only": U32(0)})


def test_the_repr_shows_class_and_bytes() -> None:
    assert repr(Inner(b"\1\2\3\4")) == "Inner(01020304)"


@settings(max_examples=100)
@given(st.binary(min_size=32, max_size=32))
def test_rebuilding_from_the_fields_gives_all_but_the_reserved_bytes(raw: bytes) -> None:
    outer = Outer(raw)
    rebuilt = Outer.build(**{field.name: getattr(outer, field.name) for field in Outer.FIELDS})
    assert rebuilt.raw == raw[:2] + bytes(2) + raw[4:24] + bytes(8)
