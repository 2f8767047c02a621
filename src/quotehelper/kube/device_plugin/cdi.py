"""Device nodes by CDI, the Container Device Interface, with an owner and a mode that non-root containers can use.

``specification`` is pure; ``write_specification`` writes it where container runtimes look. Without CDI a container's
node has the owner and mode of the host's, which root alone may open on most hosts (kubernetes 6.5, rows 54 and 55).

The file outlives the plugin on purpose: a runtime reads it at each start of a container, also while there is no
plugin. It says the lowest CDI version that has what it uses, since a runtime drops files newer than itself whole:
``hostPath`` needs 0.5.0, ``additionalGids`` 0.7.0.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quotehelper.errors import ConfigError
from quotehelper.kube.device_plugin.machine import HOST_DEV

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import Any

    from quotehelper.kube.device_plugin.machine import DeviceNode, NodeKind

KIND = "quotehelper/sgx"
"""Vendor and class of our devices."""
FILE_NAME = "quotehelper-sgx.json"
"""In the CDI directory; vendor and class, as the specification asks for."""
_FILE_MODE = 0o644


@dataclass(frozen=True, slots=True)
class CdiOptions:
    """How nodes look inside containers.

    ``directory``: where the runtime reads specifications, often /var/run/cdi. ``uid``, ``gid``, ``mode``: of the node;
    None leaves the host's. ``additional_gids``: groups that the container's process gets on top of its own.
    """

    directory: Path
    uid: int | None = None
    gid: int | None = None
    mode: int | None = 0o666
    additional_gids: tuple[int, ...] = ()


def qualified_name(kind: NodeKind) -> str:
    """What a kubelet passes to the runtime for a node."""
    return f"{KIND}={kind.name.lower()}"


def container_paths(kind: NodeKind, *, legacy_aliases: bool) -> tuple[str, ...]:
    """Where a container finds a node: under the kernel's name, and under the old driver's if wanted."""
    names = (kind.standard, kind.legacy) if legacy_aliases else (kind.standard,)
    return tuple(f"{HOST_DEV}/{name}" for name in names)


def specification(nodes: Iterable[DeviceNode], options: CdiOptions, *, legacy_aliases: bool) -> dict[str, Any]:
    """The CDI specification of those ``nodes`` that are there, as it stands in the file."""
    devices = [
        {"name": node.kind.name.lower(), "containerEdits": _edits(node, options, legacy_aliases)}
        for node in nodes
        if node.host_path is not None
    ]
    version = "0.7.0" if options.additional_gids else "0.5.0"
    return {"cdiVersion": version, "kind": KIND, "devices": devices}


def write_specification(document: dict[str, Any], directory: Path) -> Path:
    """Write the file whole or not at all; returns its path. Raises ConfigError if the directory can't be written.

    A specification without devices is removed instead: the format asks for at least one.
    """
    path = directory / FILE_NAME
    partial = directory / f".{FILE_NAME}.{os.getpid()}"
    try:
        if not document["devices"]:
            path.unlink(missing_ok=True)
            return path
        directory.mkdir(mode=0o755, exist_ok=True)
        content = json.dumps(document, indent=2).encode()
        if _holds(path, content):
            return path
        try:
            _write(partial, content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        remedy = "Mount the host's CDI directory writable, name another by --cdi-directory, or leave CDI off"
        raise ConfigError(f"{path}: {error.strerror}", remedy) from error
    return path


def _holds(path: Path, content: bytes) -> bool:
    """Whether the file is there already; it is compared at each look at the machine, and seldom changes."""
    try:
        with path.open("rb") as file:
            return file.read(len(content) + 1) == content and os.fstat(file.fileno()).st_mode & 0o777 == _FILE_MODE
    except OSError:
        return False


def _write(path: Path, content: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(descriptor, _FILE_MODE)  # the runtime may be another user, whatever our umask
        os.fsync(descriptor)


def _edits(node: DeviceNode, options: CdiOptions, legacy_aliases: bool) -> dict[str, Any]:  # noqa: FBT001  passed on
    owner = {"uid": options.uid, "gid": options.gid, "fileMode": options.mode}
    edits: dict[str, Any] = {
        "deviceNodes": [
            {
                "path": path,
                **({} if path == node.host_path else {"hostPath": node.host_path}),
                "type": "c",
                "permissions": "rw",
                **{name: value for name, value in owner.items() if value is not None},
            }
            for path in container_paths(node.kind, legacy_aliases=legacy_aliases)
        ]
    }
    if options.additional_gids:
        edits["additionalGids"] = list(options.additional_gids)
    return edits
