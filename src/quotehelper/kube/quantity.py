"""Kubernetes quantities: exact values from their text, and text from whole values. Pure.

::

    quantity = [ "+" / "-" ] number suffix
    number   = digits / digits "." [ digits ] / "." digits
    suffix   = Ki Mi Gi Ti Pi Ei              powers of 1024
             / n u m "" k M G T P E           powers of 1000
             / ("e" / "E") [ "+" / "-" ] digits

As the API server does it (apimachinery, ``resource.ParseQuantity``): what is finer than a billionth is rounded away
from zero, what is greater than 2^63 - 1 in magnitude becomes that.
"""

from __future__ import annotations

import re
from fractions import Fraction

from quotehelper.errors import DecodeError

LARGEST = (1 << 63) - 1
"""The greatest magnitude of a quantity."""
TEXT_LIMIT = 64
"""Characters of a quantity's text that are looked at: the longest canonical one has about 30."""

_FORM = re.compile(r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?|[eE][+-]?[0-9]+)", re.ASCII)
_BINARY = {suffix: 1024**power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
_DECIMAL = {
    suffix: Fraction(1000) ** power
    for power, suffix in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)
}
_FINEST = Fraction(1, 10**9)
_EXPONENT_LIMIT = 64
"""Beyond it nothing changes: every value is 0, a billionth or the largest."""


def parse_quantity(value: object) -> Fraction:
    """The value of a quantity as it stands in a manifest or review: text, or a whole number.

    ``value`` is the user's. Raises DecodeError if it is no quantity.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return _bounded(Fraction(value))
    if not isinstance(value, str):
        raise DecodeError("Quantity", "", f"text or a whole number expected, {type(value).__name__} found")
    form = _FORM.fullmatch(value) if len(value) <= TEXT_LIMIT else None
    if form is None:
        raise DecodeError("Quantity", "", f"{value[:TEXT_LIMIT]!r} is not a number with a suffix such as Ki, Mi, Gi, k")
    sign, number, suffix = form.groups()
    whole, _, fraction = number.partition(".")
    magnitude = Fraction(int(whole + fraction or "0"), 10 ** len(fraction)) * _scale(suffix)
    return _bounded(-magnitude if sign == "-" else magnitude)


def whole_number(value: object) -> int:
    """The value of a quantity that must be a whole number, as extended resources' must.

    Raises DecodeError if it is no quantity, or has a fraction.
    """
    exact = parse_quantity(value)
    if exact.denominator != 1:
        raise DecodeError("Quantity", "", f"{value!r} is not a whole number")
    return exact.numerator


def format_bytes(size_bytes: int) -> str:
    """``size_bytes`` as text in the canonical binary form: the greatest suffix that leaves a whole number."""
    text = str(size_bytes)
    for suffix, factor in _BINARY.items():
        if size_bytes == 0 or size_bytes % factor:
            break
        text = f"{size_bytes // factor}{suffix}"
    return text


def _scale(suffix: str) -> Fraction:
    if suffix in _BINARY:
        return Fraction(_BINARY[suffix])
    if suffix in _DECIMAL:
        return _DECIMAL[suffix]
    exponent = int(suffix[1:])
    return Fraction(10) ** max(-_EXPONENT_LIMIT * 2, min(_EXPONENT_LIMIT * 2, exponent))


def _bounded(value: Fraction) -> Fraction:
    magnitude = min(abs(value), Fraction(LARGEST))
    billionths = magnitude / _FINEST
    rounded = Fraction(-(-billionths.numerator // billionths.denominator)) * _FINEST
    return -rounded if value < 0 else rounded
