from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.errors import DecodeError
from quotehelper.kube.quantity import LARGEST, TEXT_LIMIT, format_bytes, parse_quantity, whole_number

SCALES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18} | {
    suffix: 1024**power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("10", 10),
        ("10Mi", 10 * 2**20),
        ("1.5Gi", 3 * 2**29),
        (".5k", 500),
        ("5.", 5),
        ("+7", 7),
        ("-7", -7),
        ("100m", Fraction(1, 10)),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("12e-1", Fraction(12, 10)),
        ("1n", Fraction(1, 10**9)),
        ("0.1n", Fraction(1, 10**9)),
        ("-0.1n", Fraction(-1, 10**9)),
        ("16Ei", LARGEST),
        ("-16Ei", -LARGEST),
        ("1e999999999", LARGEST),
        ("1e-999999999", Fraction(1, 10**9)),
        ("0e999999999", 0),
        (12, 12),
    ],
)
def test_a_quantity_has_the_value_that_the_api_server_gives_it(text: object, value: Fraction) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mi",
        "1 Mi",
        " 1",
        "1KI",
        "1ki",
        "1mi",
        "1e",
        "1e+",
        "1.2.3",
        "0x10",
        "1_0",
        "\u0661",
        "1Mi\n",
        True,
        None,
        1.5,
        [],
    ],
)
def test_what_is_no_quantity_is_refused(text: object) -> None:
    with pytest.raises(DecodeError):
        parse_quantity(text)


def test_text_beyond_the_limit_is_refused_without_being_read() -> None:
    with pytest.raises(DecodeError):
        parse_quantity("1" * (TEXT_LIMIT + 1))


@given(st.integers(0, 2**40), st.integers(0, 999_999), st.sampled_from(sorted(SCALES)), st.sampled_from(["", "+", "-"]))
def test_values_agree_with_rational_arithmetic(whole: int, millionths: int, suffix: str, sign: str) -> None:
    text = f"{sign}{whole}.{millionths:06d}{suffix}"
    exact = min((whole + Fraction(millionths, 10**6)) * SCALES[suffix], Fraction(LARGEST))
    finest = Fraction(-(-exact * 10**9 // 1), 10**9)
    assert parse_quantity(text) == (-finest if sign == "-" else finest)


@given(st.integers(0, LARGEST))
def test_bytes_come_back_from_their_text(size: int) -> None:
    assert parse_quantity(format_bytes(size)) == size


@given(st.integers(1, 2**20), st.sampled_from(["Ki", "Mi", "Gi"]))
def test_the_text_of_bytes_is_canonical(count: int, suffix: str) -> None:
    size = count * SCALES[suffix]
    number = format_bytes(size).rstrip("KMGTPEi")
    assert int(number) % 1024
    assert int(number) <= count


@given(st.one_of(st.text(max_size=80), st.integers(), st.floats(), st.none(), st.lists(st.integers())))
def test_anything_is_a_value_or_a_decode_error(value: object) -> None:
    try:
        parsed = parse_quantity(value)
    except DecodeError:
        return
    assert abs(parsed) <= LARGEST


def test_a_fraction_is_no_whole_number() -> None:
    assert whole_number("1000m") == 1
    with pytest.raises(DecodeError, match="not a whole number"):
        whole_number("1500m")
