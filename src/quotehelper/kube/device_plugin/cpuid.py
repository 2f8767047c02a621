"""EPC as the processor enumerates it: CPUID leaf 0x12. Pure.

The caller brings ``ask(leaf, subleaf)``, which returns the four registers as 16 bytes; the kernel's
``/dev/cpu/0/cpuid`` does so at offset ``leaf | subleaf << 32``.

Layout of an answer, little-endian, and of a sub-leaf 2 + n of leaf 0x12 (kubernetes 4.3; Intel SDM volume 3D):

====== ==== ======== ===========================================================
offset size register meaning for an EPC section
====== ==== ======== ===========================================================
0      4    EAX      bits 3:0 kind (0 no more sections, 1 EPC), 31:12 base, low
4      4    EBX      bits 19:0 base, high
8      4    ECX      bits 3:0 properties, 31:12 size, low
12     4    EDX      bits 19:0 size, high
====== ==== ======== ===========================================================

Other kinds than 0 and 1 are passed over, and 8 sections are looked at, both as the kernel does.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

LEAF_HIGHEST = 0x0
LEAF_FEATURES = 0x7
LEAF_SGX = 0x12
FIRST_SECTION = 2
"""The sub-leaf of the first EPC section."""
SECTION_LIMIT = 8
"""Sections that are looked at: the kernel's SGX_MAX_EPC_SECTIONS."""

_REGISTERS = struct.Struct("<4I")
_FEATURE_SGX = 1 << 2
"""Leaf 7, EBX."""
_FEATURE_LAUNCH_CONTROL = 1 << 30
"""Leaf 7, ECX."""
_KIND = 0xF
_KIND_END, _KIND_EPC = 0, 1
_LOW = 0xFFFFF000
_HIGH = 0x000FFFFF


class Registers(NamedTuple):
    """One answer of CPUID."""

    eax: int
    ebx: int
    ecx: int
    edx: int


@dataclass(frozen=True, slots=True)
class Section:
    """A range of physical memory that is EPC. ``base``: its address. ``size_bytes``: a multiple of 4096."""

    base: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ProcessorSgx:
    """What the processor says of itself.

    ``supported``: it can SGX. It says so even where the BIOS has left SGX off; then it has no ``sections``.
    ``launch_control``: it can run enclaves of any signer, which the kernel's driver needs.
    """

    supported: bool
    launch_control: bool
    sections: tuple[Section, ...]

    @property
    def size_bytes(self) -> int:
        """All sections together."""
        return sum(section.size_bytes for section in self.sections)


def read_registers(raw: bytes) -> Registers:
    """One answer from its 16 bytes. Raises DecodeError if they are not 16."""
    if len(raw) != _REGISTERS.size:
        raise DecodeError("CPUID", "", f"{len(raw)} bytes found, {_REGISTERS.size} expected")
    return Registers(*_REGISTERS.unpack(raw))


def read_section(registers: Registers) -> Section | None:
    """The EPC section of a sub-leaf, or None if it describes none."""
    if registers.eax & _KIND != _KIND_EPC:
        return None
    base = registers.eax & _LOW | (registers.ebx & _HIGH) << 32
    return Section(base, registers.ecx & _LOW | (registers.edx & _HIGH) << 32)


def read_processor(ask: Callable[[int, int], bytes]) -> ProcessorSgx:
    """What the processor behind ``ask`` can. Raises DecodeError if an answer has not 16 bytes."""
    highest = read_registers(ask(LEAF_HIGHEST, 0)).eax
    features = read_registers(ask(LEAF_FEATURES, 0)) if highest >= LEAF_FEATURES else Registers(0, 0, 0, 0)
    supported = highest >= LEAF_SGX and bool(features.ebx & _FEATURE_SGX)
    sections = _sections(ask) if supported else ()
    return ProcessorSgx(supported, bool(features.ecx & _FEATURE_LAUNCH_CONTROL), sections)


def _sections(ask: Callable[[int, int], bytes]) -> tuple[Section, ...]:
    found = []
    for subleaf in range(FIRST_SECTION, FIRST_SECTION + SECTION_LIMIT):
        registers = read_registers(ask(LEAF_SGX, subleaf))
        if registers.eax & _KIND == _KIND_END:
            break
        if (section := read_section(registers)) is not None:
            found.append(section)
    return tuple(found)
