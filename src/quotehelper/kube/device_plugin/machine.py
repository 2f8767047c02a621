"""Look at the machine: its EPC and its SGX device nodes. Shell: reads below the roots it is given, changes nothing.

Only ``/dev/cpu/0/cpuid`` is opened, and needs rights; device nodes are looked at, never opened, so a container
needs no more than to see the host's ``/dev``. Nothing here lets an OSError out: what can't be read is a finding.
"""

from __future__ import annotations

import enum
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from quotehelper.errors import DecodeError
from quotehelper.kube.device_plugin.cpuid import ProcessorSgx, read_processor
from quotehelper.kube.device_plugin.epc import (
    TEXT_LIMIT,
    Epc,
    Evidence,
    NodeEpc,
    Said,
    decide,
    has_sgx_flag,
    parse_total_bytes,
)

NODE_LIMIT = 1024
"""NUMA nodes that are looked at: the kernel's greatest CONFIG_NODES_SHIFT."""
CPUINFO_LIMIT = 64 * 1024
"""Bytes of /proc/cpuinfo that are looked at: the first processor's flags stand within 4 KiB."""
HOST_DEV = "/dev"
"""Where the host has its device nodes, wherever we see them."""


class NodeKind(enum.Enum):
    """A device node: its name in containers, the names under which hosts have it (best first), its old name.

    The kernel calls them ``sgx_…`` since 5.11; the driver before that ``sgx/…`` (kubernetes 4.1).
    """

    ENCLAVE = ("sgx_enclave", ("sgx_enclave", "sgx/enclave"), "sgx/enclave")
    PROVISION = ("sgx_provision", ("sgx_provision", "sgx/provision"), "sgx/provision")

    def __init__(self, standard: str, host_names: tuple[str, ...], legacy: str) -> None:
        self.standard = standard
        self.host_names = host_names
        self.legacy = legacy


class SimulatedDevices(enum.Enum):
    """What stands for device nodes where the EPC is simulated."""

    NULL = "null"
    """/dev/null, under the names of the real ones."""
    NONE = "none"
    """Nothing: containers get no device at all."""


@dataclass(frozen=True, slots=True)
class Roots:
    """Where the machine's file systems are seen; tests bring trees of their own."""

    sysfs: Path = Path("/sys")
    proc: Path = Path("/proc")
    dev: Path = Path("/dev")


@dataclass(frozen=True, slots=True)
class Stated:
    """What the operator says of the EPC, in bytes, and what stands for devices where it is simulated."""

    override_bytes: int | None = None
    simulated_bytes: int | None = None
    simulated_devices: SimulatedDevices = SimulatedDevices.NULL


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device node of the host.

    ``host_path``: where the host has it; None: there is none to give. ``problem``: why it can't be used, or "".
    """

    kind: NodeKind
    host_path: str | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is there to hand out."""

    epc: Epc
    enclave: DeviceNode
    provision: DeviceNode

    @property
    def has_sgx(self) -> bool:
        """Whether there is any sign of SGX."""
        return bool(self.epc.size_bytes or not self.enclave.problem or not self.provision.problem)


def look(roots: Roots, stated: Stated) -> Machine:
    """The machine as it is now."""
    processor, processor_problem = _processor(roots.dev / "cpu/0/cpuid")
    evidence = Evidence(
        _sysfs(roots.sysfs / "devices/system/node"),
        processor,
        processor_problem,
        _flagged(roots.proc / "cpuinfo"),
        stated.override_bytes,
        stated.simulated_bytes,
    )
    if stated.simulated_bytes is None:
        enclave, provision = (_device_node(roots.dev, kind) for kind in NodeKind)
    else:
        path = "/dev/null" if stated.simulated_devices is SimulatedDevices.NULL else None
        enclave, provision = (DeviceNode(kind, path) for kind in NodeKind)
    return Machine(decide(evidence), enclave, provision)


def _sysfs(directory: Path) -> Said:
    try:
        names = os.listdir(directory)  # noqa: PTH208  names alone, before anything is made of them
    except OSError as error:
        return Said(None, f"{directory}: {error.strerror}")
    numbers = sorted(int(name[4:]) for name in names if name.startswith("node") and name[4:].isdecimal())
    nodes = []
    for number in numbers[:NODE_LIMIT]:
        file = directory / f"node{number}/x86/sgx_total_bytes"
        try:
            nodes.append(NodeEpc(number, parse_total_bytes(_read(file, TEXT_LIMIT + 1))))
        except FileNotFoundError:
            continue
        except OSError as error:
            return Said(None, f"{file}: {error.strerror}")
        except DecodeError as error:
            return Said(None, f"{file}: {error}")
    if not nodes:
        return Said(None, "no node has x86/sgx_total_bytes: a kernel before 5.17, or its SGX is not running")
    return Said(tuple(nodes))


def _processor(device: Path) -> tuple[ProcessorSgx | None, str]:
    try:
        descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        hints = {FileNotFoundError: " (modprobe cpuid, and mount it)", PermissionError: " (needs root and the device)"}
        return None, f"{device}: {error.strerror}{hints.get(type(error), '')}"
    try:
        return read_processor(lambda leaf, subleaf: os.pread(descriptor, 16, leaf | subleaf << 32)), ""
    except (OSError, DecodeError) as error:
        return None, f"{device}: {error}"
    finally:
        os.close(descriptor)


def _flagged(cpuinfo: Path) -> bool | None:
    try:
        return has_sgx_flag(_read(cpuinfo, CPUINFO_LIMIT).decode("utf-8", "replace"))
    except OSError:
        return None


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit)


def _device_node(dev: Path, kind: NodeKind) -> DeviceNode:
    problems = []
    for name in kind.host_names:
        path = dev / name
        try:
            mode = path.stat().st_mode
            real = path.resolve().relative_to(dev.resolve())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            problems.append(f"{HOST_DEV}/{name}: {error}")
            continue
        if stat.S_ISCHR(mode):
            return DeviceNode(kind, f"{HOST_DEV}/{real}")
        problems.append(f"{HOST_DEV}/{name} is no character device")
    return DeviceNode(kind, None, "; ".join(problems) or _missing(dev, kind))


def _missing(dev: Path, kind: NodeKind) -> str:
    """Why a node is not there; the drivers before Linux 5.11 had others."""
    problem = f"{HOST_DEV}/{kind.standard} is missing: the kernel's SGX driver is not running"
    if (dev / "isgx").exists():
        problem += "; /dev/isgx is there: the driver is the old one without flexible launch control, which can't quote"
    return problem
