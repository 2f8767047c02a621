"""Strict reading of the JSON files of a simulated platform and its authority. Pure.

Only what a format names is taken, all of it, and nothing else; values never show in errors, as some are secret.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

RESTORE = "Restore it from a copy, or create a new platform elsewhere"


class JsonFields:
    """The fields of one JSON object in the file ``path``, taken out one by one. Every fault is a ConfigError."""

    def __init__(self, path: Path, prefix: str, document: object) -> None:
        self._path = path
        self._prefix = prefix
        if not isinstance(document, dict):
            self.refuse("", "an object expected")
        self._left: dict[str, object] = document

    @classmethod
    def parse(cls, path: Path, raw: bytes) -> JsonFields:
        """The fields of the one object in ``raw``, the content of ``path``."""
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            raise damaged(path, "not a JSON document") from None
        return cls(path, "", document)

    def version(self, newest: int) -> int:
        """The format's version, from 1 to ``newest``."""
        version = self.integer("version", None)
        if version > newest:
            problem = f"{self._path} is of version {version}, this program knows {newest}"
            raise ConfigError(problem, "Use a newer quotehelper, or create a new platform elsewhere")
        if version < 1:
            self.refuse("version", f"1 to {newest} expected")
        return version

    def octets(self, name: str, size: int) -> bytes:
        """``size`` bytes in hexadecimal."""
        text = self.text(name)
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            self.refuse(name, "hexadecimal digits expected")
        if len(text) != 2 * size or len(raw) != size:
            self.refuse(name, f"{2 * size} hexadecimal digits expected")
        return raw

    def unsigned16(self, name: str) -> int:
        """A number from 0 to 65535."""
        return self.integer(name, 0xFFFF)

    def integer(self, name: str, high: int | None) -> int:
        """A whole number; from 0 to ``high``, if that is given."""
        value = self._take(name)
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(name, "an integer expected")
        if high is not None and not 0 <= value <= high:
            self.refuse(name, f"0 to {high} expected")
        return value

    def choice(self, name: str, known: Sequence[str]) -> str:
        """One of ``known``."""
        if (text := self.text(name)) not in known:
            self.refuse(name, f"one of {', '.join(known)} expected")
        return text

    def path(self, name: str) -> Path:
        """A path."""
        text = self.text(name)
        try:
            raw = os.fsencode(text)
        except UnicodeError:
            raw = b""
        if not raw or b"\0" in raw:
            self.refuse(name, "a path expected")
        return Path(text)

    def text(self, name: str) -> str:
        """A text."""
        value = self._take(name)
        if not isinstance(value, str):
            self.refuse(name, "a text expected")
        return value

    def texts(self, name: str, limit: int) -> tuple[str, ...]:
        """A list of at most ``limit`` texts."""
        values = self._list(name, limit)
        if not all(isinstance(value, str) for value in values):
            self.refuse(name, "a list of texts expected")
        return tuple(map(str, values))

    def section(self, name: str) -> JsonFields:
        """An object within."""
        return JsonFields(self._path, f"{self._prefix}{name}.", self._take(name))

    def sections(self, name: str, limit: int) -> list[JsonFields]:
        """A list of at most ``limit`` objects."""
        values = self._list(name, limit)
        return [JsonFields(self._path, f"{self._prefix}{name}[{at}].", value) for at, value in enumerate(values)]

    def end(self) -> None:
        """Refuse what has not been taken."""
        for name in self._left:
            self.refuse(ascii(name)[1:-1][:40], "not known")

    def refuse(self, name: str, reason: str) -> NoReturn:
        """Raise ConfigError for the field ``name``."""
        where = f"{self._prefix}{name}".rstrip(".")
        raise damaged(self._path, f"{where}: {reason}" if where else reason)

    def _list(self, name: str, limit: int) -> list[object]:
        value = self._take(name)
        if not isinstance(value, list) or len(value) > limit:
            self.refuse(name, f"a list of at most {limit} expected")
        return value

    def _take(self, name: str) -> object:
        if name not in self._left:
            self.refuse(name, "missing")
        return self._left.pop(name)


def damaged(path: Path, reason: str) -> ConfigError:
    """The error that says what is wrong with the file ``path``."""
    return ConfigError(f"{path} is damaged: {reason}", RESTORE)
