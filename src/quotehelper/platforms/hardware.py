"""What a machine has of SGX: processor, device nodes, libraries; and what of it stands in the way of quoting.

``read_hardware`` looks (shell), ``obstacles`` judges (pure). Source: aesm 7.2 to 7.4, dcap 3.6.
"""

from __future__ import annotations

import errno
import os
import re
from typing import NamedTuple

from quotehelper.platforms.dcap.files import PROVIDER_LIBRARIES, QUOTING_LIBRARY

ENCLAVE_NODES = ("/dev/sgx_enclave", "/dev/sgx/enclave")
PROVISION_NODES = ("/dev/sgx_provision", "/dev/sgx/provision")
OLD_NODES = ("/dev/isgx", "/dev/sgx")
"""Nodes of drivers from before Linux 5.11: Intel's library may still use them, containers are seldom given them."""

_LIBRARY_DIRECTORIES = (
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
)
_LOADER_CACHE = "/etc/ld.so.cache"
_LOADER_CACHE_LIMIT = 16 << 20
_PROC_LIMIT = 4 << 20


class DeviceNode(NamedTuple):
    """A device node that is there. ``mode``: its permission bits; ``owner``, ``group``: numbers.

    ``problem``: 0 if this process can open it to read and write, or the errno that says why not.
    """

    path: str
    mode: int
    owner: int
    group: int
    problem: int


class Hardware(NamedTuple):
    """What was found.

    ``sgx``, ``launch_control``: the processor's flags as the kernel shows them. ``enclave``, ``provision``: the device
    nodes, None if there are none. ``old_nodes``: paths of nodes of old drivers. ``dev_noexec``: /dev is mounted so that
    no enclave can be mapped from it. ``library``, ``provider``: where the loader would find them, or None.
    ``groups``: the numbers of the groups of this process.
    """

    sgx: bool
    launch_control: bool
    enclave: DeviceNode | None
    provision: DeviceNode | None
    old_nodes: tuple[str, ...]
    dev_noexec: bool
    library: str | None
    provider: str | None
    groups: tuple[int, ...]


class Obstacle(NamedTuple):
    """One thing that stands in the way: what is wrong, and what to do. Sentences without full stop."""

    problem: str
    remedy: str


def read_hardware(root: str = "", library: str | None = None, provider: str | None = None) -> Hardware:
    """What this machine, or container, has. Never raises.

    ``root``: the directory that stands for ``/``. ``library``, ``provider``: paths, if they are not left to the loader.
    """
    flags = _cpu_flags(root)
    return Hardware(
        sgx="sgx" in flags,
        launch_control="sgx_lc" in flags,
        enclave=_first_node(root, ENCLAVE_NODES),
        provision=_first_node(root, PROVISION_NODES),
        old_nodes=tuple(path for path in OLD_NODES if _is_node(root + path)),
        dev_noexec=_dev_noexec(root),
        library=_find_library(root, library, (QUOTING_LIBRARY,)),
        provider=_find_library(root, provider, PROVIDER_LIBRARIES),
        groups=tuple(sorted({os.getegid(), *os.getgroups()})),
    )


def obstacles(hardware: Hardware) -> tuple[Obstacle, ...]:
    """Everything that keeps Intel's library from quoting, what has to be mended first in front. Empty: it may work."""
    found = [*_processor(hardware), *_device(hardware)]
    if hardware.dev_noexec:
        found.append(
            Obstacle("/dev is mounted noexec", "mount -o remount,exec /dev; under systemd do without PrivateDevices=")
        )
    if hardware.library is None:
        found.append(
            Obstacle(f"{QUOTING_LIBRARY} is not there", "Install libsgx-dcap-ql, or name it with --dcap-library")
        )
    if hardware.provider is None:
        found.append(
            Obstacle(
                "there is no quote provider library, so quotes would carry no certificate",
                "Install libsgx-dcap-default-qpl, or az-dcap-client on Azure, or name one with --dcap-provider",
            )
        )
    return tuple(found)


def likely_reason() -> str:
    """What this machine lacks of processor support and devices, in a few words; empty if nothing."""
    hardware = read_hardware()
    found = [*_device(hardware), *_processor(hardware)]
    return found[0].problem if found else ""


def _processor(hardware: Hardware) -> list[Obstacle]:
    if not hardware.sgx:
        return [
            Obstacle(
                "the processor's flags lack sgx",
                "Enable SGX in the BIOS; in a virtual machine, take one with SGX; use Linux 5.11 or later",
            )
        ]
    if not hardware.launch_control:
        return [
            Obstacle(
                "the processor's flags lack sgx_lc (flexible launch control), which DCAP needs",
                "Set SGX launch control to unlocked in the BIOS; older processors can't quote with DCAP",
            )
        ]
    return []


def _device(hardware: Hardware) -> list[Obstacle]:
    found = []
    for node, names, purpose in (
        (hardware.enclave, ENCLAVE_NODES, "enclaves can't be loaded"),
        (hardware.provision, PROVISION_NODES, "the quoting enclave can't be loaded"),
    ):
        if node is None:
            old = f"; {hardware.old_nodes[0]} belongs to an old driver" if hardware.old_nodes else ""
            found.append(
                Obstacle(
                    f"{names[0]} is not there, {purpose}{old}",
                    "Use Linux 5.11 or later; give the node to the container, by the SGX device plugin or --device",
                )
            )
        elif node.problem:
            found.append(_closed(node, purpose, hardware.groups))
    return found


def _closed(node: DeviceNode, purpose: str, groups: tuple[int, ...]) -> Obstacle:
    reason = os.strerror(node.problem)
    problem = f"{node.path} can't be opened ({reason}), {purpose}"
    if node.problem == errno.EACCES and node.group not in groups:
        return Obstacle(
            f"{problem}; it belongs to group {node.group}, of which this process is no member",
            f"Add the process to group {node.group}: SupplementaryGroups= of systemd, supplementalGroups of the pod",
        )
    if node.problem == errno.EPERM:
        return Obstacle(
            f"{problem}; the container may not use it",
            "Let the SGX device plugin or --device give it to the container: a mount alone is not enough",
        )
    return Obstacle(problem, f"Let this process read and write it: its mode is {node.mode:o}")


def _cpu_flags(root: str) -> set[str]:
    found = re.search(rb"^flags\s*:(.*)$", _read(f"{root}/proc/cpuinfo", _PROC_LIMIT), re.MULTILINE)
    return set(found[1].decode(errors="replace").split()) if found else set()


def _dev_noexec(root: str) -> bool:
    for line in _read(f"{root}/proc/mounts", _PROC_LIMIT).decode(errors="replace").splitlines():
        _device_name, _, rest = line.partition(" ")
        place, _, rest = rest.partition(" ")
        options = rest.split(" ")[1:2]
        if place == "/dev":
            return bool(options) and "noexec" in options[0].split(",")
    return False


def _first_node(root: str, paths: tuple[str, ...]) -> DeviceNode | None:
    for path in paths:
        try:
            status = os.stat(root + path)  # noqa: PTH116  pathlib is not needed for anything else
        except OSError:
            continue
        return DeviceNode(path, status.st_mode & 0o7777, status.st_uid, status.st_gid, _try_open(root + path))
    return None


def _try_open(path: str) -> int:
    """0, or the errno of opening a node as Intel's library does: permissions, device rules and modules all decide."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _is_node(path: str) -> bool:
    return os.path.exists(path) and not os.path.isdir(path)  # noqa: PTH110, PTH112  see _first_node


def _find_library(root: str, path: str | None, names: tuple[str, ...]) -> str | None:
    """Where the dynamic loader would find a library; ``path``, if it is given, itself if it is there."""
    if path is not None and "/" in path:
        return path if os.path.exists(path) else None  # noqa: PTH110  see _first_node
    wanted = names if path is None else (path,)
    given = [directory for directory in os.environ.get("LD_LIBRARY_PATH", "").split(":") if directory]
    places = [*given, *(root + directory for directory in _LIBRARY_DIRECTORIES)]
    cache = _read(root + _LOADER_CACHE, _LOADER_CACHE_LIMIT)
    for name in wanted:
        for place in places:
            if os.path.exists(f"{place}/{name}"):  # noqa: PTH110  see _first_node
                return f"{place}/{name}"
        listed = re.search(rb"(/[^\0]*/" + re.escape(name.encode()) + rb")\0", cache)
        if listed:
            return os.fsdecode(listed[1])
    return None


def _read(path: str, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  see _first_node
            return file.read(limit)
    except OSError:
        return b""
