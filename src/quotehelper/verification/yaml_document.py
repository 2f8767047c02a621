"""YAML documents as plain values, and where each stands. Pure.

Takes of YAML 1.2 what JSON can say as well: mappings, lists, texts, numbers, booleans, null. Aliases, tags and keys
that come twice are refused: they make a document mean something else than it seems to. So ``yes`` is a text, and so
is a date.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from quotehelper.verification.toml_positions import Position

if TYPE_CHECKING:
    from quotehelper.verification.toml_positions import KeyPath

_WHOLE = re.compile(r"[-+]?[0-9]{1,100}")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


class YamlError(Exception):
    """What is wrong with a document, and where."""

    def __init__(self, problem: str, position: Position) -> None:
        super().__init__(problem)
        self.problem = problem
        self.position = position


class YamlDocument:
    """The YAML document ``text``: its ``value``, and where its parts stand. Raises YamlError if it is none."""

    def __init__(self, text: str) -> None:
        self._keys: dict[KeyPath, Position] = {(): Position(1, 1)}
        self._values: dict[KeyPath, Position] = {}
        try:
            node = yaml.compose(text, Loader=_Composer)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise YamlError(str(error.problem), _position(mark) if mark else Position(1, 1)) from error
        except yaml.reader.ReaderError as error:
            before = text[: error.position]
            position = Position(before.count("\n") + 1, len(before) - before.rfind("\n"))
            raise YamlError("a character that YAML does not have", position) from error
        except (ValueError, OverflowError, RecursionError) as error:
            raise YamlError("nested too deeply, or an escape of no character", Position(1, 1)) from error
        self.value = {} if node is None else self._read(node, ())

    def of_key(self, path: KeyPath) -> Position:
        """Where the key at ``path`` stands, or what it is in."""
        return next(self._keys[path[:size]] for size in range(len(path), -1, -1) if path[:size] in self._keys)

    def of_value(self, path: KeyPath) -> Position:
        """Where the value at ``path`` stands, or its key."""
        return self._values.get(path) or self.of_key(path)

    def _read(self, node: yaml.Node, path: KeyPath) -> Any:  # noqa: ANN401  whatever YAML can say
        self._values[path] = _position(node.start_mark)
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            entries = []
            for number, each in enumerate(node.value):
                self._keys[*path, number] = _position(each.start_mark)
                entries.append(self._read(each, (*path, number)))
            return entries
        return _read_scalar(node) if isinstance(node, yaml.ScalarNode) else None

    def _read_mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for key, value in node.value:
            where = _position(key.start_mark)
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError("a key that is no text", where)
            name = _text(key)
            if name in members:
                raise YamlError(f"the key {name!r} comes twice", where)
            self._keys[*path, name] = where
            members[name] = self._read(value, (*path, name))
        return members


class _Composer(yaml.SafeLoader):
    """Composes nodes, and refuses what a reader of the text could overlook."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # its types lack it
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not taken", event.start_mark)
        if event.tag is not None:
            raise yaml.composer.ComposerError(None, None, "tags are not taken", event.start_mark)
        return super().compose_node(parent, index)


def _read_scalar(node: yaml.ScalarNode) -> object:
    """A text, or of what has no quotation marks the number or word that it is."""
    if node.style is not None:
        return _text(node)
    plain = node.value
    if plain.lower() in _WORDS and plain in {plain.lower(), plain.upper(), plain.capitalize()}:
        return _WORDS[plain.lower()]
    if _WHOLE.fullmatch(plain):
        return int(plain)
    return float(plain) if _NUMBER.fullmatch(plain) else _text(node)


def _text(node: yaml.ScalarNode) -> str:
    """The text of ``node``; characters that JSON writes as two escapes are one."""
    try:
        return str(node.value).encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise YamlError("an escape of no character", _position(node.start_mark)) from error


def _position(mark: yaml.Mark) -> Position:
    return Position(mark.line + 1, mark.column + 1)
