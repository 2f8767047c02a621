"""Which pod and container a process belongs to, by the paths of its control groups. Pure.

Source: cgroups(7) for ``/proc/PID/cgroup``; the names are those that the kubelet's two cgroup drivers, containerd,
CRI-O, Docker and podman give::

    systemd   kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope
    cgroupfs  kubepods/burstable/pod<uid>/<id>
    nested    docker/<id>/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod<uid>.slice/…   (kind)
    others    system.slice/docker-<id>.scope   docker/<id>   machine.slice/libpod-<id>.scope   libpod_parent/libpod-<id>

``<uid>`` is a pod's UID, 32 hexadecimal digits with dashes, underscores (systemd) or neither (static pods); ``<id>`` is
a container's, 64 of them. The outermost pod counts: who is in a container may make groups of any name, but only below
its own.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

LIMIT_BYTES = 4096
"""Bytes of ``/proc/PID/cgroup`` that are looked at. Hierarchies are a dozen, paths some 200 bytes."""


class WorkloadKind(enum.Enum):
    """What a process belongs to."""

    POD = "pod"
    CONTAINER = "container"
    """A container outside of any pod."""
    HOST = "host"
    """No container: a service or a session of the machine, or the daemon's own control group."""
    UNKNOWN = "unknown"


class Workload(NamedTuple):
    """What a process belongs to.

    ``pod_uid``: 32 lower-case hexadecimal digits as 8-4-4-4-12, or "". ``container_id``: 64 of them, or "".
    ``doubt``: why the kind is UNKNOWN, else "".
    """

    kind: WorkloadKind
    pod_uid: str = ""
    container_id: str = ""
    doubt: str = ""


_DIGITS = "[0-9a-f]"
_UID = rf"{_DIGITS}{{8}}(?P<dash>[-_]?)(?:{_DIGITS}{{4}}(?P=dash)){{3}}{_DIGITS}{{12}}"
_POD = re.compile(rf"(?:[a-z0-9-]*kubepods(?:-burstable|-besteffort|-guaranteed)?-)?pod(?P<uid>{_UID})(?:\.slice)?")
_CONTAINER = re.compile(rf"(?:(?P<runtime>[a-z][a-z-]{{0,30}})-)?(?P<id>{_DIGITS}{{64}})(?:\.scope)?")
_MONITORS = ("conmon", "monitor")
"""What a runtime keeps beside a container has the container's id in its name, too."""

_DELETED = " (deleted)"
_USER_SLICE = "user.slice"
_ABOVE = ".."


def parse_cgroups(raw: bytes) -> Workload:
    """What the process belongs to whose ``/proc/PID/cgroup`` is ``raw``, of which the process controls parts.

    The unified hierarchy is asked first, then the others in their order; a pod wins over a container, a container over
    the host. Never raises: what can't be read is UNKNOWN.
    """
    found = [_parse_path(path) for path in _paths(raw[:LIMIT_BYTES])]
    if not found:
        return Workload(WorkloadKind.UNKNOWN, doubt="its control groups can't be read")
    return min(found, key=lambda workload: _RANKS[workload.kind])  # of equals the first


_RANKS = {WorkloadKind.POD: 0, WorkloadKind.CONTAINER: 1, WorkloadKind.UNKNOWN: 2, WorkloadKind.HOST: 3}


def _paths(raw: bytes) -> list[str]:
    """The path in each complete line ``<number>:<controllers>:<path>``, that of hierarchy 0 first."""
    unified: list[str] = []
    others: list[str] = []
    for line in raw.decode("ascii", errors="replace").split("\n")[:-1]:
        number, colon, rest = line.partition(":")
        _controllers, second_colon, path = rest.partition(":")
        if colon and second_colon and path.startswith("/"):
            (unified if number == "0" else others).append(path.removesuffix(_DELETED))
    return unified + others


def _parse_path(path: str) -> Workload:
    parts = [part for part in path.split("/") if part]
    if parts[:1] == [_USER_SLICE]:
        return Workload(WorkloadKind.HOST)  # users may make groups of any name below their own
    for at, part in enumerate(parts):
        if (pod := _POD.fullmatch(part)) is not None:
            return Workload(WorkloadKind.POD, _write_uid(pod["uid"]), _container(parts[at + 1 : at + 2]))
    if container_id := next(filter(None, (_container([part]) for part in parts)), ""):
        if _ABOVE in parts:
            return Workload(WorkloadKind.UNKNOWN, doubt="its pod is not within sight of this control group namespace")
        return Workload(WorkloadKind.CONTAINER, container_id=container_id)
    if _ABOVE in parts:
        return Workload(WorkloadKind.UNKNOWN, doubt="it is outside of this control group namespace")
    return Workload(WorkloadKind.HOST)


def _container(parts: list[str]) -> str:
    """The id of the container that the first of ``parts`` names, or ""."""
    named = _CONTAINER.fullmatch(parts[0]) if parts else None
    if named is None or (named["runtime"] or "").endswith(_MONITORS):
        return ""
    return named["id"]


def _write_uid(uid: str) -> str:
    digits = uid.replace("-", "").replace("_", "")
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
