"""JSON documents signed as text: strict reading, and the exact bytes that the signature covers. Pure.

Source: dcap 7.1 to 7.3. A document is ``{"<name>": {…}, "signature": "<128 hex digits>"}``; the signature (ECDSA
P-256, SHA-256, r ‖ s) covers the text of the inner object as it was served, so that text is cut out and kept, never
written anew. Signature first, parse second: `split_signed` yields the bytes to verify before anything in them is
believed, `Fields` reads them afterwards.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NoReturn

SIZE_LIMIT = 1 << 20
"""Bytes of a document; Intel's largest have 14 kB, and some clients' size fields end at 64 KiB (dcap 6.3)."""

NESTING_LIMIT = 16
"""Objects and lists within each other; Intel's documents have 5."""

LEVELS_LIMIT = 256
"""Entries of a list; Intel's longest has 17."""

TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)
_SIGNATURE = re.compile(r"[0-9A-Fa-f]{128}")
_SPACE = re.compile(r"[ \t\r\n]*")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}:,]', re.DOTALL)
"""Strings, which may lack their end, and marks. Possessive: an endless string must not be searched again and again."""
_NO_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[^\[\]{}"]++', re.DOTALL)
_BRACKET = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^\[\]{}"])*+([\[\]{}])', re.DOTALL)
_PAIR = re.compile(r"\{\}|\[\]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(r"[-+.\w]+", re.ASCII)
_NAME = re.compile(r"\w{1,40}", re.ASCII)
_COMPACT = re.compile(rb'(?:[^ \t\r\n"]++|"(?:[^"\\]|\\.)*+")*+', re.DOTALL)
_TOKEN_OF_BYTES = re.compile(rb'[^ \t\r\n"]++|"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_DIGITS_LIMIT = 18


class Signed(NamedTuple):
    """The text of a document's inner object, exactly as received, and the signature (64 bytes) over it."""

    body: bytes
    signature: bytes


def split_signed(raw: bytes, name: str) -> Signed:
    """The inner object called ``name`` and its signature; anybody may have written ``raw``.

    Only brackets and strings are told apart; what stands in the object is not looked at.

    Raises DecodeError, naming the member, if ``raw`` is not such a document.
    """
    text = _check_text(raw, name)
    members = _members(text, name)
    for member in ("signature", name):
        if member not in members:
            raise DecodeError(name, member, "absent")
    signature = members["signature"].strip('"')
    if not _SIGNATURE.fullmatch(signature) or members["signature"] != f'"{signature}"':
        raise DecodeError(name, "signature", "128 hexadecimal digits expected")
    if not members[name].startswith("{"):
        raise DecodeError(name, name, "an object expected")
    return Signed(members[name].encode(), bytes.fromhex(signature))


def compact(body: bytes) -> bytes:
    """The text ``body`` without white space between its tokens: what Intel's verifier signs and checks (dcap 7.3)."""
    return body if _COMPACT.fullmatch(body) else b"".join(_TOKEN_OF_BYTES.findall(body))


def parse_object(raw: bytes, name: str) -> Fields:
    """The fields of the one object in ``raw``. Raises DecodeError if it is not strict JSON."""
    text = _check_text(raw, name)
    try:
        value = _decoder(name).decode(text)
    except json.JSONDecodeError as error:
        raise DecodeError(name, _path_at(text, error.pos), f"not JSON: {error.msg}", offset=error.pos) from error
    return Fields(name, "", value)


class Fields:
    """The members of one JSON object; each is asked for by name, and refused by its path. Unknown ones are left."""

    def __init__(self, document: str, path: str, value: object) -> None:
        self._document = document
        self._path = path
        if not isinstance(value, dict):
            self.refuse("", "an object expected")
        self._members: dict[str, Any] = value

    def refuse(self, name: str, reason: str) -> NoReturn:
        """Raise DecodeError for the member ``name``."""
        raise DecodeError(self._document, self._join(name), reason)

    def has(self, name: str) -> bool:
        """Whether there is a member ``name``."""
        return name in self._members

    def integer(self, name: str, high: int) -> int:
        """A number from 0 to ``high``."""
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= high:
            self.refuse(name, f"a whole number from 0 to {high} expected")
        return value

    def string(self, name: str) -> str:
        """A text of at most 256 characters."""
        value = self._get(name)
        if not isinstance(value, str) or len(value) > 256:  # noqa: PLR2004  see the docstring
            self.refuse(name, "a text expected")
        return value

    def octets(self, name: str, size: int) -> bytes:
        """``size`` bytes in hexadecimal."""
        value = self.string(name)
        if not re.fullmatch(rf"[0-9A-Fa-f]{{{2 * size}}}", value):
            self.refuse(name, f"{2 * size} hexadecimal digits expected")
        return bytes.fromhex(value)

    def time(self, name: str) -> dt.datetime:
        """A moment, ``YYYY-MM-DDThh:mm:ssZ``."""
        value = self.string(name)
        try:
            moment = dt.datetime.strptime(value, TIME_FORMAT).replace(tzinfo=dt.UTC)
        except ValueError:
            moment = None
        if moment is None or not _TIME.fullmatch(value):
            self.refuse(name, "a time as 2026-01-31T23:59:59Z expected")
        return moment

    def section(self, name: str) -> Fields:
        """An object within."""
        return Fields(self._document, self._join(name), self._get(name))

    def sections(self, name: str) -> Iterator[Fields]:
        """A list of objects."""
        for index, value in enumerate(self._list(name)):
            yield Fields(self._document, f"{self._join(name)}[{index}]", value)

    def strings(self, name: str) -> tuple[str, ...]:
        """A list of texts; absent is empty."""
        values = self._list(name) if self.has(name) else []
        if not all(isinstance(value, str) for value in values):
            self.refuse(name, "a list of texts expected")
        return tuple(values)

    def _list(self, name: str) -> list[Any]:
        value = self._get(name)
        if not isinstance(value, list) or len(value) > LEVELS_LIMIT:
            self.refuse(name, f"a list of at most {LEVELS_LIMIT} expected")
        return value

    def _get(self, name: str) -> object:
        if name not in self._members:
            self.refuse(name, "absent")
        return self._members[name]

    def _join(self, name: str) -> str:
        return f"{self._path}.{name}".strip(".")


def write_signed(name: str, body: bytes, signature: bytes) -> bytes:
    """The document with ``body`` called ``name``, compact as Intel serves it."""
    return b'{"%s":%s,"signature":"%s"}' % (name.encode(), body, signature.hex().encode())


def write_object(value: dict[str, Any]) -> bytes:
    """``value`` in Intel's form: compact, members in the given order; both families of verifiers need it (dcap 5.3)."""
    return json.dumps(value, separators=(",", ":")).encode()


def write_time(moment: dt.datetime) -> str:
    """``moment``, an aware time, as documents have it."""
    return moment.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def _check_text(raw: bytes, name: str) -> str:
    if len(raw) > SIZE_LIMIT:
        raise DecodeError(name, "", f"{len(raw)} bytes, at most {SIZE_LIMIT} are taken")
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError as error:
        raise DecodeError(name, "", "not ASCII", offset=error.start) from error
    if (deepest := _nesting(text)) > NESTING_LIMIT:
        raise DecodeError(name, "", f"nested {deepest} deep or more, at most {NESTING_LIMIT} are taken")
    return text


def _nesting(text: str) -> int:
    """How deep brackets stand in each other: pairs are taken away from within, a layer at a time."""
    brackets = _NO_BRACKETS.sub("", text)
    for depth in range(NESTING_LIMIT + 1):
        if not brackets:
            return depth
        inner = _PAIR.sub("", brackets)
        if inner == brackets:
            return len(brackets)  # they don't close: each counts as a layer
        brackets = inner
    return NESTING_LIMIT + 1


def _members(text: str, name: str) -> dict[str, str]:
    """The text of each member's value in the object that is ``text``, by its name's text; nothing is interpreted."""
    members: dict[str, str] = {}
    try:
        at = _skip(text, _expect(text, 0, "{"))
        more = not text.startswith("}", at)
        while more:
            start = _skip(text, at)
            at = _value_end(text, start)
            key, quoted = text[start + 1 : at - 1], text.startswith('"', start)
            start = _skip(text, _expect(text, at, ":"))
            at = _value_end(text, start)
            if not quoted or key in members:
                raise DecodeError(name, "", "a member's name is no text, or occurs twice")
            members[key] = text[start:at]
            at = _skip(text, at)
            more = text.startswith(",", at)
            at += more
        if _skip(text, _expect(text, at, "}")) != len(text):
            raise DecodeError(name, "", "something follows the document")
    except json.JSONDecodeError as error:
        path = _path_at(text, error.pos).removeprefix(name).removeprefix(".")
        raise DecodeError(name, path, f"not JSON: {error.msg}", offset=error.pos) from error
    return members


def _value_end(text: str, start: int) -> int:
    """Where the value at ``start`` ends: a string, or an object or list by its brackets. Raises JSONDecodeError."""
    if text[start : start + 1] in {"{", "["}:
        depth, at = 0, start
        while (bracket := _BRACKET.match(text, at)) is not None:  # not searched for: that would start again and again
            depth += 1 if bracket[1] in "{[" else -1
            at = bracket.end()
            if depth == 0:
                return at
    elif (string := _STRING.match(text, start)) is not None:
        return string.end()
    elif (scalar := _SCALAR.match(text, start)) is not None:
        return scalar.end()
    raise json.JSONDecodeError("a whole value expected", text, start)


def _path_at(text: str, end: int) -> str:
    """The path of the member at ``end``, as `Fields` would name it; a name that is no identifier shows as "?"."""
    path: list[str | int] = []
    name = ""
    for token in _TOKEN.finditer(text, 0, end):
        match token.group():
            case "{":
                path.append("")
            case "[":
                path.append(0)
            case "]" | "}" if path:
                path.pop()
            case "," if path:
                at = path[-1]
                path[-1] = at + 1 if isinstance(at, int) else ""
            case ":" if path:
                path[-1] = name if _NAME.fullmatch(name) else "?"
            case other:
                name = other.strip('"')
    return "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in path).strip(".")


def _expect(text: str, at: int, mark: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] != mark:
        raise json.JSONDecodeError(f"{mark!r} expected", text, at)
    return at + 1


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _decoder(name: str) -> json.JSONDecoder:
    """A JSON decoder that refuses what signed documents never have: duplicates, fractions, signs, huge numbers, NaN."""

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(members)) != len(members):
            raise DecodeError(name, "", "a member occurs twice in one object")
        return dict(members)

    def number(digits: str) -> int | None:
        return int(digits) if digits.isdigit() and len(digits) <= _DIGITS_LIMIT else None

    return json.JSONDecoder(object_pairs_hook=pairs, parse_int=number, parse_float=_nothing, parse_constant=_nothing)


def _nothing(_text: str) -> None:
    """Such numbers read as null, which no field takes: so the refusal names the field."""
