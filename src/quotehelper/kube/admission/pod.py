"""Views of a pod's JSON: what admission looks at, with the pointer to each part. Pure.

The API server has checked types before a review is sent; what is not of the right type all the same raises
DecodeError, and the pod is left alone. ``null`` is as good as absent, as for the API server.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from quotehelper.errors import DecodeError
from quotehelper.kube.admission.patch import pointer
from quotehelper.kube.admission.settings import AESM_DIRECTORY

_T = TypeVar("_T", str, dict[str, object], list[object])

_AESM_PATHS = (AESM_DIRECTORY, "/run/aesmd")
"""The directory and its other name: /var/run leads to /run in most images."""


def member(holder: dict[str, object], name: str, kind: type[_T]) -> _T | None:
    """The member ``name`` if it is there. Raises DecodeError if it is not of ``kind``."""
    value = holder.get(name)
    if value is None or isinstance(value, kind):
        return value
    raise DecodeError("Pod", name, f"{kind.__name__} expected, {type(value).__name__} found")


def members(holder: dict[str, object], name: str) -> dict[str, object] | None:
    """The object ``name`` if it is there. Raises DecodeError if it is no object."""
    return member(holder, name, dict)


def items(holder: dict[str, object], name: str) -> list[object] | None:
    """The list ``name`` if it is there. Raises DecodeError if it is no list."""
    return member(holder, name, list)


def objects(holder: dict[str, object], name: str) -> list[dict[str, object]]:
    """The objects in list ``name``. Raises DecodeError if it is no list of objects."""
    found = []
    for item in items(holder, name) or ():
        if not isinstance(item, dict):
            raise DecodeError("Pod", name, f"a list of objects expected, {type(item).__name__} found")
        found.append(item)
    return found


def text(holder: dict[str, object], name: str) -> str:
    """The text ``name``, "" if it is absent. Raises DecodeError if it is no text."""
    return member(holder, name, str) or ""


def texts(holder: dict[str, object], name: str) -> dict[str, str]:
    """The object ``name`` whose values are text, as labels and annotations are; empty if absent."""
    found = members(holder, name) or {}
    return {key: text(found, key) for key in found}


def is_aesm_directory(path: str) -> bool:
    """Whether ``path`` is the directory of the AESM socket, however it is written."""
    return bool(path) and posixpath.normpath("/" + path.lstrip("/")) in _AESM_PATHS


def is_aesm_socket(path: str) -> bool:
    """Whether ``path`` is the AESM socket itself, or another file in its directory."""
    return bool(path) and is_aesm_directory(posixpath.dirname(posixpath.normpath(path)))


@dataclass(frozen=True)
class Container:
    """A regular container, an init container or a native sidecar.

    ``holder``: ``containers`` or ``initContainers``. ``index``: its place there. ``raw``: its JSON.
    """

    holder: str
    index: int
    raw: dict[str, object]

    @property
    def pointer(self) -> str:
        """Where it stands in the pod."""
        return pointer("spec", self.holder, self.index)

    @cached_property
    def name(self) -> str:
        """Unique within the pod."""
        return text(self.raw, "name")

    @property
    def is_regular(self) -> bool:
        """Whether it is no init container."""
        return self.holder == "containers"

    @property
    def stays(self) -> bool:
        """Whether it runs beside the others: regular containers and native sidecars do."""
        return self.is_regular or text(self.raw, "restartPolicy") == "Always"

    @cached_property
    def resources(self) -> dict[str, object]:
        """Its limits and requests."""
        return members(self.raw, "resources") or {}

    @cached_property
    def limits(self) -> dict[str, object] | None:
        """Limits by resource."""
        return members(self.resources, "limits")

    @cached_property
    def requests(self) -> dict[str, object] | None:
        """Requests by resource. The API server fills in what only has a limit."""
        return members(self.resources, "requests")

    @cached_property
    def environment(self) -> dict[str, dict[str, object]]:
        """Its variables by name; the last of a name holds."""
        return {text(variable, "name"): variable for variable in objects(self.raw, "env")}

    @cached_property
    def mounts(self) -> list[dict[str, object]]:
        """Its volume mounts."""
        return objects(self.raw, "volumeMounts")

    @property
    def aesm_mount(self) -> dict[str, object] | None:
        """The mount at the AESM directory."""
        return next((mount for mount in self.mounts if is_aesm_directory(text(mount, "mountPath"))), None)


@dataclass(frozen=True)
class Pod:
    """A pod of a review. Ephemeral containers are no part of it: they can't have resources."""

    raw: dict[str, object]

    @cached_property
    def spec(self) -> dict[str, object]:
        """What it runs."""
        return members(self.raw, "spec") or {}

    @cached_property
    def metadata(self) -> dict[str, object]:
        """Its names, labels and annotations."""
        return members(self.raw, "metadata") or {}

    @cached_property
    def annotations(self) -> dict[str, str]:
        """By key."""
        return texts(self.metadata, "annotations")

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        """Every container that can have resources, regular ones first."""
        return tuple(
            Container(holder, index, raw)
            for holder in ("containers", "initContainers")
            for index, raw in enumerate(objects(self.spec, holder))
        )

    @cached_property
    def volumes(self) -> dict[str, dict[str, object]]:
        """By name."""
        return {text(volume, "name"): volume for volume in objects(self.spec, "volumes")}

    def host_path(self, volume_name: str) -> str:
        """The path on the node that a volume leads to; "" if it is of another kind."""
        source = members(self.volumes.get(volume_name, {}), "hostPath")
        return text(source, "path") if source else ""
