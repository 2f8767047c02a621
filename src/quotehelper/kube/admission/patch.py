"""JSON patches: operations of RFC 6902 on a pod, with pointers of RFC 6901. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Operation(NamedTuple):
    """One step of a patch. ``op``: add, remove or replace. ``path``: a JSON pointer. ``value``: not for remove."""

    op: str
    path: str
    value: object = None

    def as_json(self) -> dict[str, object]:
        """As it stands in a patch document."""
        step: dict[str, object] = {"op": self.op, "path": self.path}
        return step if self.op == "remove" else {**step, "value": self.value}


def pointer(*tokens: str | int) -> str:
    """The JSON pointer to the member that ``tokens`` lead to."""
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def set_member(holder: str, members: dict[str, object] | None, name: str, value: object) -> Operation:
    """Set ``name`` in the object at pointer ``holder``, whose present ``members`` are given; None: there is none."""
    if members is None:
        return Operation("add", holder, {name: value})
    return Operation("replace" if name in members else "add", holder + pointer(name), value)


def append(holder: str, items: list[object] | None, value: object) -> Operation:
    """Append ``value`` to the list at pointer ``holder``, whose present ``items`` are given; None: there is none."""
    return Operation("add", holder, [value]) if items is None else Operation("add", holder + "/-", value)
