"""The DER of the SGX extension: one way to write each value, and no other is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.documents.der import DerReader, Tag, encode, encode_boolean, encode_integer
from quotehelper.errors import DecodeError


@pytest.mark.parametrize(
    ("value", "raw"),
    [(0, "020100"), (1, "020101"), (127, "02017f"), (128, "02020080"), (255, "020200ff"), (0xFFFF, "020300ffff")],
)
def test_a_number_has_one_encoding(value: int, raw: str) -> None:
    assert encode_integer(value).hex() == raw
    assert DerReader(bytes.fromhex(raw), "s").integer("f", 0xFFFF) == value


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        ("0200", "empty"),
        ("0201ff", "negative"),
        ("02020001", "a zero byte too many"),
        ("0202ffff", "negative, and a byte too many"),
        ("02020100", "above the limit"),
        ("0a0101", "another type"),
        ("02810101", "a length byte too many"),
        ("0280010000", "a length that is told at the end"),
        ("0202", "cut off"),
        ("02", "without length"),
        ("", "nothing"),
    ],
)
def test_a_number_is_refused(raw: str, why: str) -> None:
    with pytest.raises(DecodeError) as refused:
        DerReader(bytes.fromhex(raw), "s").integer("f", 0xFF)
    assert (refused.value.structure, refused.value.field) == ("s", "f"), why


@pytest.mark.parametrize("raw", ["0401" + "00", "0482000100", "0483000001" + "00", "04ff" + "00" * 300, "048400000001"])
def test_only_two_bytes_in_the_shortest_length_form_are_read(raw: str) -> None:
    with pytest.raises(DecodeError):
        DerReader(bytes.fromhex(raw), "s").octets("f", 2)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 0xFFFF])
def test_an_element_of_any_size_up_to_64_kib_is_read_as_it_was_written(size: int) -> None:
    reader = DerReader(encode(Tag.OCTET_STRING, b"x" * size), "s")
    assert reader.octets("f", size) == b"x" * size
    reader.end()


@pytest.mark.parametrize("value", [True, False])
def test_a_truth_value_is_read_as_it_was_written(value: bool) -> None:  # noqa: FBT001  pytest passes parameters so
    assert DerReader(encode_boolean(value=value), "s").boolean("f") is value


@pytest.mark.parametrize("raw", ["010101", "01017f", "0100", "0102ffff", "0201ff"])
def test_a_truth_value_is_nothing_but_ff_or_00(raw: str) -> None:
    with pytest.raises(DecodeError):
        DerReader(bytes.fromhex(raw), "s").boolean("f")


def test_an_only_element_has_no_neighbour() -> None:
    twice = encode_integer(1) * 2
    assert DerReader(twice, "s").integer("f", 1) == 1
    with pytest.raises(DecodeError, match="left over"):
        DerReader(twice, "s").only().integer("f", 1)


@given(st.binary(max_size=12), st.sampled_from(list(Tag)))
def test_whatever_is_read_was_written_in_the_only_way(raw: bytes, tag: Tag) -> None:
    reader = DerReader(raw, "s")
    try:
        content = reader.element(tag, "f")
        reader.end()
    except DecodeError:
        return
    assert encode(tag, content) == raw
