"""CPUID's answers read as the kernel reads them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.errors import DecodeError
from quotehelper.kube.device_plugin.cpuid import (
    SECTION_LIMIT,
    ProcessorSgx,
    Section,
    read_processor,
    read_registers,
    read_section,
)

if TYPE_CHECKING:
    from collections.abc import Callable

U32 = st.integers(0, 0xFFFFFFFF)
Leaves = dict[tuple[int, int], tuple[int, int, int, int]]
CAPABLE: Leaves = {(0, 0): (0x20, 0, 0, 0), (7, 0): (0, 1 << 2, 1 << 30, 0)}


def ask(leaves: Leaves) -> Callable[[int, int], bytes]:
    return lambda leaf, subleaf: struct.pack("<4I", *leaves.get((leaf, subleaf), (0, 0, 0, 0)))


def test_a_section_is_cut_at_the_bits_of_the_manual() -> None:
    section = read_section(read_registers(struct.pack("<4I", 0x80000001, 0x0000000F, 0x7C000001, 0x00000003)))
    assert section == Section(base=0xF80000000, size_bytes=0x37C000000)


def test_reserved_bits_are_no_part_of_base_or_size() -> None:
    section = read_section(read_registers(struct.pack("<4I", 0x80000FF1, 0xFFF00000, 0x10000FFF, 0xFFF00000)))
    assert section == Section(base=0x80000000, size_bytes=0x10000000)


@pytest.mark.parametrize("kind", [0, 2, 15])
def test_only_kind_one_is_a_section(kind: int) -> None:
    assert read_section(read_registers(struct.pack("<4I", kind, 0, 0x1000, 0))) is None


def test_sections_of_both_sockets_are_added() -> None:
    leaves = CAPABLE | {(0x12, 2): (0x1, 8, 0, 4), (0x12, 3): (0x1, 16, 0, 4)}
    assert read_processor(ask(leaves)).size_bytes == 32 << 30


def test_sections_behind_the_last_are_not_looked_for() -> None:
    leaves = CAPABLE | {(0x12, 2): (1, 0, 0x1000, 0), (0x12, 4): (1, 0, 0x1000, 0)}
    assert read_processor(ask(leaves)).size_bytes == 0x1000


def test_a_section_of_another_kind_is_passed_over() -> None:
    leaves = CAPABLE | {(0x12, 2): (2, 0, 0x1000, 0), (0x12, 3): (1, 0, 0x2000, 0)}
    assert read_processor(ask(leaves)).size_bytes == 0x2000


def test_eight_sections_are_looked_at_as_the_kernel_does() -> None:
    leaves = CAPABLE | {(0x12, subleaf): (1, 0, 0x1000, 0) for subleaf in range(2, 64)}
    assert len(read_processor(ask(leaves)).sections) == SECTION_LIMIT


def test_a_processor_without_the_feature_is_not_asked_for_sections() -> None:
    leaves: Leaves = {(0, 0): (0x20, 0, 0, 0), (0x12, 2): (1, 0, 0x1000, 0)}
    assert read_processor(ask(leaves)) == ProcessorSgx(supported=False, launch_control=False, sections=())


def test_a_processor_too_old_for_the_leaf_has_no_sgx() -> None:
    leaves = CAPABLE | {(0, 0): (0x11, 0, 0, 0), (0x12, 2): (1, 0, 0x1000, 0)}
    assert not read_processor(ask(leaves)).supported


def test_the_bios_switch_shows_as_support_without_sections() -> None:
    assert read_processor(ask(CAPABLE)) == ProcessorSgx(supported=True, launch_control=True, sections=())


@given(st.binary(max_size=40).filter(lambda raw: len(raw) != 16))
def test_an_answer_of_another_size_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        read_registers(raw)


@given(st.tuples(U32, U32, U32, U32))
def test_any_registers_give_whole_pages_below_the_address_limit(registers: tuple[int, int, int, int]) -> None:
    section = read_section(read_registers(struct.pack("<4I", *registers)))
    if section is not None:
        assert section.size_bytes % 4096 == section.base % 4096 == 0
        assert max(section.size_bytes, section.base) < 1 << 52
