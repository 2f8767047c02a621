"""Where keys and values stand in a TOML document, which the standard library does not tell. Pure.

Reads only what ``tomllib`` has accepted, so it looks for ends and checks nothing. Source: TOML 1.0.
"""

from __future__ import annotations

import re
import tomllib
from typing import NamedTuple

KeyPath = tuple[str | int, ...]
"""The way to a value: names of keys, and places in arrays from 0."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*'""")
_TEXT = re.compile(
    r""""{3}(?:\\[\s\S]|[^\\])*?"{3}(?!")|'{3}[\s\S]*?'{3}(?!')|"(?:\\.|[^"\\])*"|'[^']*\'""",
)
_WORD = re.compile(r"[^,\]}#\n]*")
"""A number, a boolean, a date: up to what ends it, blanks included."""


class Position(NamedTuple):
    """A place in a text, both counted from 1; ``column`` in characters."""

    line: int
    column: int


class Positions:
    """Where the keys and values of the TOML document ``text`` stand. Raises nothing: unknown is the nearest known."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._keys: dict[KeyPath, int] = {(): 0}
        self._values: dict[KeyPath, int] = {}
        self._last: dict[KeyPath, int] = {}
        """Of each array of tables, the number of the table that is being filled."""
        try:
            self._scan_document()
        except RecursionError:  # an array too deep for us, though not for tomllib: what is known must do
            return

    def of_key(self, path: KeyPath) -> Position:
        """Where the key at ``path`` stands, or what it is in; of a table, its header."""
        known = next(path[:size] for size in range(len(path), -1, -1) if path[:size] in self._keys)
        return self._position(self._keys[known])

    def of_value(self, path: KeyPath) -> Position:
        """Where the value at ``path`` stands, or its key."""
        return self._position(self._values[path]) if path in self._values else self.of_key(path)

    def _position(self, offset: int) -> Position:
        return Position(self._text.count("\n", 0, offset) + 1, offset - self._text.rfind("\n", 0, offset))

    def _scan_document(self) -> None:
        table: KeyPath = ()
        while self._skip() < len(self._text):
            if self._text[self._at] == "[":
                table = self._scan_header()
            else:
                self._scan_member(table)

    def _scan_header(self) -> KeyPath:
        """``[key]`` or ``[[key]]``: the table that follows."""
        start, is_array = self._at, self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        path: KeyPath = ()
        names = self._scan_key()
        for name in names:
            path = (*path, *self._current(path), name)
            self._keys.setdefault(path, start)
        if is_array:
            self._last[path] = self._last.get(path, -1) + 1
        path = (*path, *self._current(path))
        self._keys.setdefault(path, start)
        self._at += 2 if is_array else 1
        return path

    def _current(self, path: KeyPath) -> KeyPath:
        """If ``path`` leads to an array of tables: the number of its last."""
        return (self._last[path],) if path in self._last else ()

    def _scan_member(self, table: KeyPath) -> None:
        """``key = value`` in ``table``."""
        start, path = self._at, table
        for name in self._scan_key():
            path = (*path, name)
            self._keys.setdefault(path, start)
        self._at += 1
        self._scan_value(path)

    def _scan_key(self) -> list[str]:
        """The names of a dotted key; then the mark behind it is next."""
        names = []
        while match := _KEY.match(self._text, self._skip()):
            self._at = match.end()
            name = match[0]
            names.append(tomllib.loads(f"it = {name}")["it"] if name[0] in "\"'" else name)
            if self._text[self._skip()] != ".":
                break
            self._at += 1
        return names

    def _scan_value(self, path: KeyPath) -> None:
        start = self._skip()
        self._values.setdefault(path, start)
        match = _TEXT.match(self._text, start)
        if match:
            self._at = match.end()
        elif self._text[start] == "[":
            self._scan_array(path)
        elif self._text[start] == "{":
            self._scan_inline_table(path)
        else:
            self._at = _WORD.match(self._text, start).end()  # type: ignore[union-attr]  # it matches anything

    def _scan_array(self, path: KeyPath) -> None:
        self._at += 1
        number = 0
        while self._text[self._skip()] != "]":
            self._keys.setdefault((*path, number), self._at)
            self._scan_value((*path, number))
            number += 1
            if self._text[self._skip()] == ",":
                self._at += 1
        self._at += 1

    def _scan_inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while self._text[self._skip()] != "}":
            self._scan_member(path)
            if self._text[self._skip()] == ",":
                self._at += 1
        self._at += 1

    def _skip(self) -> int:
        """The place of what comes next, blanks and comments left behind."""
        self._at = _BLANK.match(self._text, self._at).end()  # type: ignore[union-attr]  # it matches anything
        return self._at
