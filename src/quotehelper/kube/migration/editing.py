"""Edits of YAML text by position: what is not edited stays as it is, byte for byte. Pure.

PyYAML's parser tells where each node stands; nothing is ever written by an emitter, so comments, order, quotes and
indentation stay. Flow style, and so JSON, is edited in its own style.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import yaml

from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT_LIMIT = 4 * 1024 * 1024
"""Characters of a file that are read at most."""
_MERGE = "tag:yaml.org,2002:merge"
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
"""An anchor or a tag in front of a node, which the parser counts as part of it."""
_PLAIN = re.compile(r"[A-Za-z0-9/][\w./-]*", re.ASCII)

Pair = tuple[yaml.ScalarNode, yaml.Node]


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def parse_documents(text: str) -> list[yaml.Node]:
    """The documents in ``text``, which is the user's. Raises DecodeError for what is not YAML, or too much."""
    if len(text) > TEXT_LIMIT:
        raise DecodeError("manifest", "", f"more than {TEXT_LIMIT} characters")
    try:
        return list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        hint = ". Templates must be rendered first, as with `helm template`" if "{{" in text else ""
        raise DecodeError("manifest", "", f"line {line}: {error.problem or error.context}{hint}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DecodeError("manifest", "", f"not YAML: {type(error).__name__}") from error


def pairs(node: yaml.Node | None) -> Iterator[Pair]:
    """The members of a mapping with scalar names, those merged into it included; none of anything else."""
    if not isinstance(node, yaml.MappingNode):
        return
    merged: list[yaml.Node] = []
    for key, value in node.value:
        if key.tag == _MERGE:
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
        elif isinstance(key, yaml.ScalarNode):
            yield key, value
    for source in merged:
        if isinstance(source, yaml.MappingNode):
            for key, value in source.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                    yield key, value


def find(node: yaml.Node | None, *path: str) -> yaml.Node | None:
    """The node at the end of ``path``, a name a step; None if there is none."""
    for name in path:
        node = next((value for key, value in pairs(node) if key.value == name), None)
    return node


def elements(node: yaml.Node | None) -> list[yaml.Node]:
    """The items of a list; none of anything else."""
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def scalar(node: yaml.Node | None) -> str:
    """The text of a scalar; "" of anything else."""
    return node.value if isinstance(node, yaml.ScalarNode) else ""


class Editor:
    """Collects edits of ``text``; ``result`` applies them. Editing a node that has an alias edits it once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._edits: set[_Edit] = set()
        self._removed: dict[int, tuple[yaml.MappingNode, set[int]]] = {}
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self.is_json = text.lstrip("\ufeff \t\r\n")[:1] in {"{", "["}

    def replace(self, node: yaml.Node, value: str, *, quoted: bool = False) -> None:
        """Write ``value`` where the scalar ``node`` stands, in quotes as it was, or as ``quoted`` says."""
        style = node.style if isinstance(node, yaml.ScalarNode) and node.style in {"'", '"'} else None
        quote = style or ('"' if quoted or self.is_json or not _PLAIN.fullmatch(value) else "")
        written = f"{quote}{value}{quote}"
        if node.start_mark.index == node.end_mark.index:
            written = f" {written}"  # an absent value: right behind its colon
        self._edits.add(_Edit(self._start(node), node.end_mark.index, written))

    def add_behind(self, mapping: yaml.CollectionNode, pair: Pair, name: str, value: str) -> None:
        """Add a member to the mapping that ``pair`` is a member of, behind it. ``value`` is written as it is."""
        key = pair[0]
        at = self._end(pair[1])
        indent = " " * key.start_mark.column
        if mapping.flow_style:
            first = self.text.rfind("\n", 0, key.start_mark.index) + 1
            own_line = not self.text[first : key.start_mark.index].strip()
            separator = f",{self._newline}{indent}" if own_line else ", "
            quoted = value if value.startswith('"') or value in {"true", "false"} else f'"{value}"'
            self._edits.add(_Edit(at, at, f'{separator}"{name}": {quoted}'))
            return
        at = self._line_end(at)
        self._edits.add(_Edit(at, at, f"{self._newline}{indent}{name}: {value}"))

    def remove(self, mapping: yaml.MappingNode, pair: Pair) -> bool:
        """Take a member out of its mapping; one left empty becomes ``{}``. False: it came by a merge, and stays."""
        at = next((at for at, (key, _) in enumerate(mapping.value) if key is pair[0]), None)
        if at is None:
            return False
        self._removed.setdefault(id(mapping), (mapping, set()))[1].add(at)
        return True

    def replace_document(self, root: yaml.Node, comment: str) -> None:
        """Put a comment in place of a whole document."""
        self._edits.add(_Edit(root.start_mark.index, self._end(root), comment))

    def result(self) -> str:
        """The text with all edits. Raises DecodeError if they are in each other's way, which is a fault of ours."""
        parts: list[str] = []
        at = 0
        for edit in sorted((*self._edits, *self._removals())):
            if edit.start < at:
                raise DecodeError("manifest", "", f"changes overlap at byte {edit.start}; please report the manifest")
            parts += [self.text[at : edit.start], edit.text]
            at = edit.end
        return "".join((*parts, self.text[at:]))

    def _removals(self) -> Iterator[_Edit]:
        """Edits that take members out, those that stand together at once."""
        for mapping, removed in self._removed.values():
            if len(removed) == len(mapping.value):
                yield _Edit(self._start(mapping), self._end(mapping), "{}")
                continue
            for first in (at for at in removed if at - 1 not in removed):
                last = next(at for at in range(first, len(mapping.value)) if at + 1 not in removed)
                yield self._removal(mapping, first, last)

    def _removal(self, mapping: yaml.MappingNode, first: int, last: int) -> _Edit:
        members = mapping.value
        start, end = members[first][0].start_mark.index, self._end(members[last][1])
        line = self.text.rfind("\n", 0, start) + 1
        shares_line = bool(self.text[line:start].strip())  # with its list's dash, or its mapping's brace
        if first == 0 and (mapping.flow_style or shares_line):
            return _Edit(start, members[last + 1][0].start_mark.index, "")
        if mapping.flow_style:
            return _Edit(self._end(members[first - 1][1]), end, "")
        after = self._line_end(end)
        if after < len(self.text):
            return _Edit(line, after + len(self._newline), "")
        return _Edit(max(line - len(self._newline), 0), after, "")

    def _start(self, node: yaml.Node) -> int:
        """Where ``node`` itself begins, behind its anchor and tag."""
        start = node.start_mark.index
        properties = _PROPERTIES.match(self.text, start, node.end_mark.index)
        return properties.end() if properties else start

    def _end(self, node: yaml.Node) -> int:
        """Where ``node`` ends: for block style the end of its last scalar, since the parser names the next token."""
        while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
            last = node.value[-1]
            node = last[1] if isinstance(last, tuple) else last
        end = node.end_mark.index
        if isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"}:
            end = len(self.text[:end].rstrip())
        return end

    def _line_end(self, at: int) -> int:
        end = self.text.find("\n", at)
        end = len(self.text) if end < 0 else end
        return end - 1 if end > at and self.text[end - 1] == "\r" else end
