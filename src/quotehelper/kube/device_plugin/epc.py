"""How much EPC a machine has, who says so, and, where it is none, why. Pure.

What the sources said comes in (``machine`` reads them), the decision goes out. The order, best first (kubernetes 4.3):

1. sysfs, ``node<N>/x86/sgx_total_bytes``: what the kernel really serves, for each NUMA node; Linux 5.17 and later;
2. CPUID leaf 0x12: what the processor enumerates; may differ from what is served;
3. the operator's override;
4. none, with the reason.

A simulated amount stands before all of them. Every answer is a total: no kernel file tells what is free.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from quotehelper.kube.device_plugin.cpuid import ProcessorSgx

TEXT_LIMIT = 32
"""Bytes of a sysfs file that are looked at."""
SIZE_LIMIT = 1 << 52
"""Bytes of EPC beyond which a number is no size: processors address less memory."""


class EpcSource(enum.Enum):
    """Who says how much EPC there is."""

    SYSFS = "sysfs"
    CPUID = "cpuid"
    OVERRIDE = "override"
    SIMULATED = "simulated"
    NONE = "none"


class EpcAbsence(enum.Enum):
    """Why there is no EPC to hand out: a sentence, and what to do. The member's name is the event's reason."""

    NO_PROCESSOR_SUPPORT = (
        "the processor has no SGX",
        "keep the device plugin off this node by a node selector",
    )
    NO_EPC_SECTIONS = (
        "the processor has SGX, but not one EPC section: the BIOS has it off, or the hypervisor gives none",
        "switch SGX on in the BIOS and reserve memory for it (PRMRR), or choose an instance type with EPC",
    )
    NO_FLAG = (
        "/proc/cpuinfo has no sgx flag: no SGX in the processor, off in the BIOS, or not in this kernel",
        "look for `SGX disabled by BIOS` in the kernel's log; give access to /dev/cpu/0/cpuid to tell the causes apart",
    )
    SERVED_NONE = (
        "the kernel runs SGX, but serves no EPC at all",
        "look for `sgx:` in the kernel's log (unmapped sections, memory errors); drain and reboot the host",
    )
    SIZE_UNKNOWN = (
        "there is SGX, but its size can't be read: neither sysfs nor CPUID tells",
        "use a kernel of 5.17 or later, or give access to /dev/cpu/0/cpuid (modprobe cpuid), or pass --epc-override",
    )

    def __init__(self, sentence: str, remedy: str) -> None:
        self.sentence = sentence
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class NodeEpc:
    """The EPC of one NUMA node. ``node``: its number, or None where the source does not tell nodes apart."""

    node: int | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Said:
    """What one source said: EPC by NUMA node, or None with the reason in ``problem``."""

    nodes: tuple[NodeEpc, ...] | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known of the machine's EPC.

    ``sysfs``: the kernel's word. ``processor``: CPUID's, or None with the reason in ``processor_problem``.
    ``flagged``: whether /proc/cpuinfo lists ``sgx``; None if it can't be read. ``override_bytes``,
    ``simulated_bytes``: the operator's words.
    """

    sysfs: Said
    processor: ProcessorSgx | None
    processor_problem: str
    flagged: bool | None
    override_bytes: int | None = None
    simulated_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Epc:
    """How much EPC there is. ``absence``: why none, if none. ``trail``: what each source said, in order."""

    nodes: tuple[NodeEpc, ...]
    source: EpcSource
    absence: EpcAbsence | None
    trail: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """All nodes together."""
        return sum(node.size_bytes for node in self.nodes)


def parse_total_bytes(raw: bytes) -> int:
    """The number in a ``sgx_total_bytes``: decimal digits and a line feed. Raises DecodeError for anything else."""
    text = raw.removesuffix(b"\n")
    if len(raw) > TEXT_LIMIT or not text.isdigit():
        raise DecodeError("sgx_total_bytes", "", f"{raw[:TEXT_LIMIT]!r} is not a decimal number")
    if (size_bytes := int(text)) > SIZE_LIMIT:
        raise DecodeError("sgx_total_bytes", "", f"{size_bytes} is more memory than any processor addresses")
    return size_bytes


def has_sgx_flag(cpuinfo: str) -> bool:
    """Whether the first processor of a ``/proc/cpuinfo`` has the flag ``sgx``."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return "sgx" in value.split()
    return False


def decide(evidence: Evidence) -> Epc:
    """The best answer that ``evidence`` allows, with the way to it."""
    trail = _trail(evidence)
    if evidence.simulated_bytes is not None:
        return Epc((NodeEpc(None, evidence.simulated_bytes),), EpcSource.SIMULATED, None, trail)
    if evidence.sysfs.nodes is not None:
        absence = None if any(node.size_bytes for node in evidence.sysfs.nodes) else EpcAbsence.SERVED_NONE
        return Epc(evidence.sysfs.nodes, EpcSource.SYSFS, absence, trail)
    if evidence.processor is not None and evidence.processor.size_bytes:
        return Epc((NodeEpc(None, evidence.processor.size_bytes),), EpcSource.CPUID, None, trail)
    if evidence.override_bytes:
        return Epc((NodeEpc(None, evidence.override_bytes),), EpcSource.OVERRIDE, None, trail)
    return Epc((), EpcSource.NONE, _absence(evidence), trail)


def _absence(evidence: Evidence) -> EpcAbsence:
    if evidence.processor is not None:
        return EpcAbsence.NO_EPC_SECTIONS if evidence.processor.supported else EpcAbsence.NO_PROCESSOR_SUPPORT
    return EpcAbsence.NO_FLAG if evidence.flagged is False else EpcAbsence.SIZE_UNKNOWN


def _trail(evidence: Evidence) -> tuple[str, ...]:
    sysfs, processor = evidence.sysfs, evidence.processor
    steps = []
    if evidence.simulated_bytes is not None:
        steps.append(f"simulated: {evidence.simulated_bytes} bytes that do not exist")
    if sysfs.nodes is None:
        steps.append(f"sysfs: {sysfs.problem}")
    else:
        steps.append("sysfs: " + ", ".join(f"node {node.node} has {node.size_bytes} bytes" for node in sysfs.nodes))
    if processor is None:
        steps.append(f"cpuid: {evidence.processor_problem}")
    elif not processor.supported:
        steps.append("cpuid: no SGX")
    else:
        control = "" if processor.launch_control else ", no launch control, which the kernel's driver needs"
        steps.append(f"cpuid: SGX, {len(processor.sections)} sections, {processor.size_bytes} bytes{control}")
    flag = {True: "sgx flag is there", False: "no sgx flag", None: "can't be read"}[evidence.flagged]
    steps.append(f"cpuinfo: {flag}")
    if evidence.override_bytes:
        steps.append(f"override: {evidence.override_bytes} bytes")
    return tuple(steps)
