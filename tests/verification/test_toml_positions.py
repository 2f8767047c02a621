"""Every key and value of a TOML document is found where it stands."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.verification.toml_positions import Positions

DOCUMENT = '''# a comment with [brackets], "quotes" and = signs
first = 1
  "quoted \\u00e9 key" = [ # a list
    "a # no comment", 'b]',
    """many
lines with \\"" and ]""""",
  ]
a.b."c.d" = {x = 1, y = [{z = true}]}

[[any_of]]
one = 1
[any_of.inner]
two = 2
[[any_of]]   # the second
\'one\' = \'\'\'
it's''\'\'\'
when = 1979-05-27 07:32:00
[ table . "with dots" ]
last = 0x1F'''


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("first",), 2, 1),
        (("quoted é key",), 3, 3),
        (("a",), 8, 1),
        (("a", "b", "c.d", "x"), 8, 14),
        (("a", "b", "c.d", "y", 0, "z"), 8, 27),
        (("any_of",), 10, 1),
        (("any_of", 0), 10, 1),
        (("any_of", 0, "one"), 11, 1),
        (("any_of", 0, "inner", "two"), 13, 1),
        (("any_of", 1), 14, 1),
        (("any_of", 1, "one"), 15, 1),
        (("any_of", 1, "when"), 17, 1),
        (("table",), 18, 1),
        (("table", "with dots", "last"), 19, 1),
        ((), 1, 1),
        (("not", "there"), 1, 1),
        (("any_of", 0, "not there"), 10, 1),
    ],
)
def test_a_key_is_found(path: tuple[str | int, ...], line: int, column: int) -> None:
    assert Positions(DOCUMENT).of_key(path) == (line, column)


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("first",), 2, 9),
        (("quoted é key", 0), 4, 5),
        (("quoted é key", 1), 4, 23),
        (("quoted é key", 2), 5, 5),
        (("a", "b", "c.d", "y", 0, "z"), 8, 31),
        (("any_of", 1, "when"), 17, 8),
        (("table", "with dots", "last"), 19, 8),
        (("any_of", 1), 14, 1),
    ],
)
def test_a_value_is_found(path: tuple[str | int, ...], line: int, column: int) -> None:
    assert Positions(DOCUMENT).of_value(path) == (line, column)


@pytest.mark.parametrize("mark", ['"', "'"])
def test_a_text_may_end_in_its_own_marks(mark: str) -> None:
    assert Positions(f"a = {mark * 3}x{mark * 5}\nb = 1").of_key(("b",)) == (2, 1)


def test_an_array_too_deep_to_be_followed_is_where_its_key_is() -> None:
    deep = "a = 1\nb = " + "[" * 5000 + "]" * 5000
    assert Positions(deep).of_value(("b",)) == (2, 5)
    assert Positions(deep).of_key(("c",)) == (1, 1)


SCALARS = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.sampled_from(["true", "false", "1.5", "inf", "1979-05-27", "1979-05-27T07:32:00Z"]),
    st.text(max_size=8).filter(str.isprintable).map(json.dumps),
    st.text('ab#]}[{=,"\n ', max_size=8).map(lambda text: f"'''{text}'''"),
    st.text("ab#]}[{=,'\n ", max_size=8).map(lambda text: f'"""{text}"""'),
)
"""Values as TOML writes them."""
NAMES = st.one_of(st.text("ab1_-", min_size=1, max_size=3), st.text("a.]# ", max_size=3).map(json.dumps))
GAPS = st.sampled_from(["", " ", "\n", " # note ]\n", "\r\n"])


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    entries = st.lists(st.tuples(GAPS, values, GAPS).map("".join), max_size=3)
    return st.tuples(entries, GAPS).map(lambda drawn: f"[{','.join(drawn[0])}{drawn[1]}]")


def inline_tables(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(st.tuples(NAMES, values), max_size=3, unique_by=lambda member: member[0])
    return members.map(lambda drawn: "{" + ", ".join(f"{name} = {value}" for name, value in drawn) + "}")


VALUES = st.recursive(SCALARS, lambda values: arrays(values) | inline_tables(values), max_leaves=6)
LINES = st.one_of(
    st.tuples(NAMES, VALUES).map(lambda drawn: f"{drawn[0]} = {drawn[1]}"),
    st.lists(NAMES, min_size=1, max_size=2).map(lambda names: f"[{' . '.join(names)}]"),
    st.lists(NAMES, min_size=1, max_size=2).map(lambda names: f"[[{'.'.join(names)}]] # note"),
)


def members(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:  # noqa: ANN401
    """Each value in a document, and the way to it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(path, value), *(found for name, each in inner for found in members(each, (*path, name)))]


@given(st.lists(LINES, max_size=6).map("\n".join))
def test_what_stands_at_a_values_place_is_the_value(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    text = text.replace("\r\n", "\n")
    positions, lines = Positions(text), text.split("\n")
    for path, value in members(document):
        if isinstance(value, (dict, list)):
            assert positions.of_key(path).line <= len(lines)
            continue
        line, column = positions.of_value(path)
        rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        assert str(value) == str(_first_value(rest))


def _first_value(text: str) -> object:
    """The value that ``text`` begins with, found without our scanner: the shortest beginning that is one."""
    for end in range(1, len(text) + 1):
        if end < len(text) and re.match(r"[\w.:+\"'-]", text[end]):
            continue
        try:
            return tomllib.loads(f"it = {text[:end]}")["it"]
        except tomllib.TOMLDecodeError:
            continue
    raise AssertionError(f"no value in {text!r}")
