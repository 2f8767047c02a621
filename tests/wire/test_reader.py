from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotehelper.errors import DecodeError
from quotehelper.wire import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

RAW = bytes(range(10))


def test_octets_come_front_to_back() -> None:
    reader = Reader(RAW, "Thing")
    assert (reader.octets(3, "a"), reader.octets(0, "b"), reader.octets(7, "c")) == (RAW[:3], b"", RAW[3:])


def test_offset_and_remaining_add_up_to_the_size() -> None:
    reader = Reader(RAW, "Thing")
    reader.octets(4, "a")
    assert (reader.offset, reader.remaining) == (4, 6)


@pytest.mark.parametrize(("size", "value"), [(1, 0x01), (2, 0x0201), (4, 0x04030201), (8, 0x0807060504030201)])
def test_integers_are_little_endian(size: int, value: int) -> None:
    assert Reader(RAW[1:], "Thing").unsigned(size, "n") == value


def test_integers_are_unsigned() -> None:
    assert Reader(b"\xff\xff", "Thing").unsigned(2, "n") == 0xFFFF


@pytest.mark.parametrize(("length_size", "prefix"), [(1, b"\x03"), (2, b"\x03\0"), (4, b"\x03\0\0\0")])
def test_sized_reads_bytes_behind_their_length(length_size: int, prefix: bytes) -> None:
    reader = Reader(prefix + b"abcdef", "Thing")
    assert reader.sized(length_size, 3, "data") == b"abc"
    assert reader.rest() == b"def"


def test_a_length_over_its_limit_is_refused_even_if_the_bytes_are_there() -> None:
    with pytest.raises(DecodeError, match=r"^Thing.data at byte 2: length 4 exceeds the limit of 3 bytes$"):
        Reader(b"\x04\0abcd", "Thing").sized(2, 3, "data")


def test_rest_of_nothing_is_empty() -> None:
    assert Reader(b"", "Thing").rest() == b""


def test_end_accepts_a_reader_that_is_through() -> None:
    reader = Reader(RAW, "Thing")
    reader.rest()
    reader.end()


def test_end_refuses_left_overs() -> None:
    reader = Reader(RAW, "Thing")
    reader.octets(9, "a")
    with pytest.raises(DecodeError, match=r"^Thing at byte 9: 1 bytes left over behind the last field$"):
        reader.end()


@pytest.mark.parametrize(
    "read",
    [
        lambda reader: reader.octets(11, "field"),
        lambda reader: reader.unsigned(11, "field"),
        lambda reader: reader.sized(11, 100, "field"),
        lambda reader: reader.sized(1, 255, "field") and reader.sized(4, 2**32, "field"),
    ],
)
def test_what_is_not_there_is_refused_by_its_field(read: Callable[[Reader], object]) -> None:
    with pytest.raises(DecodeError) as caught:
        read(Reader(b"\x01" * 10, "Thing"))
    assert (caught.value.structure, caught.value.field) == ("Thing", "field")


def test_a_refused_read_does_not_move() -> None:
    reader = Reader(RAW, "Thing")
    with pytest.raises(DecodeError):
        reader.octets(11, "a")
    assert reader.octets(10, "a") == RAW


@settings(max_examples=200)
@given(st.binary(max_size=40), st.lists(st.integers(0, 12), max_size=8))
def test_any_sequence_of_reads_gives_the_bytes_or_a_decode_error(raw: bytes, sizes: list[int]) -> None:
    reader, seen = Reader(raw, "Thing"), b""
    for size in sizes:
        if size <= len(raw) - len(seen):
            seen += reader.octets(size, "part")
        else:
            with pytest.raises(DecodeError):
                reader.octets(size, "part")
    assert raw.startswith(seen)
    assert reader.offset == len(seen)
