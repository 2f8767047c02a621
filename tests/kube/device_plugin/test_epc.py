"""How much EPC there is is decided in the stated order, and its absence explained."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.errors import DecodeError
from quotehelper.kube.device_plugin.cpuid import ProcessorSgx, Section
from quotehelper.kube.device_plugin.epc import (
    SIZE_LIMIT,
    EpcAbsence,
    EpcSource,
    Evidence,
    NodeEpc,
    Said,
    decide,
    has_sgx_flag,
    parse_total_bytes,
)

SILENT = Said(None, "no files")
SERVED = Said((NodeEpc(0, 1 << 30), NodeEpc(1, 3 << 30)))
ENUMERATED = ProcessorSgx(supported=True, launch_control=True, sections=(Section(0, 5 << 30),))
SWITCHED_OFF = ProcessorSgx(supported=True, launch_control=True, sections=())
WITHOUT = ProcessorSgx(supported=False, launch_control=False, sections=())


@pytest.mark.parametrize(
    ("evidence", "source", "size_bytes"),
    [
        (
            Evidence(SERVED, ENUMERATED, "", flagged=True, override_bytes=7 << 30, simulated_bytes=9 << 30),
            EpcSource.SIMULATED,
            9 << 30,
        ),
        (Evidence(SERVED, ENUMERATED, "", flagged=True, override_bytes=7 << 30), EpcSource.SYSFS, 4 << 30),
        (Evidence(SILENT, ENUMERATED, "", flagged=True, override_bytes=7 << 30), EpcSource.CPUID, 5 << 30),
        (Evidence(SILENT, SWITCHED_OFF, "", flagged=True, override_bytes=7 << 30), EpcSource.OVERRIDE, 7 << 30),
        (Evidence(SILENT, None, "no rights", flagged=True, override_bytes=7 << 30), EpcSource.OVERRIDE, 7 << 30),
        (Evidence(SILENT, None, "no rights", flagged=True), EpcSource.NONE, 0),
    ],
)
def test_the_best_source_wins(evidence: Evidence, source: EpcSource, size_bytes: int) -> None:
    epc = decide(evidence)
    assert (epc.source, epc.size_bytes) == (source, size_bytes)


@pytest.mark.parametrize(
    ("evidence", "absence"),
    [
        (Evidence(SILENT, WITHOUT, "", flagged=False), EpcAbsence.NO_PROCESSOR_SUPPORT),
        (Evidence(SILENT, SWITCHED_OFF, "", flagged=False), EpcAbsence.NO_EPC_SECTIONS),
        (Evidence(SILENT, None, "no rights", flagged=False), EpcAbsence.NO_FLAG),
        (Evidence(SILENT, None, "no rights", flagged=True), EpcAbsence.SIZE_UNKNOWN),
        (Evidence(SILENT, None, "no rights", flagged=None), EpcAbsence.SIZE_UNKNOWN),
        (Evidence(Said((NodeEpc(0, 0),)), ENUMERATED, "", flagged=True), EpcAbsence.SERVED_NONE),
    ],
)
def test_an_absence_has_its_cause(evidence: Evidence, absence: EpcAbsence) -> None:
    epc = decide(evidence)
    assert (epc.size_bytes, epc.absence) == (0, absence)


def test_the_trail_tells_what_every_source_said() -> None:
    assert decide(Evidence(SILENT, None, "no rights", flagged=False, override_bytes=7 << 30)).trail == (
        "sysfs: no files",
        "cpuid: no rights",
        "cpuinfo: no sgx flag",
        f"override: {7 << 30} bytes",
    )


def test_a_processor_without_launch_control_is_told_of() -> None:
    processor = ProcessorSgx(supported=True, launch_control=False, sections=(Section(0, 4096),))
    assert "no launch control" in decide(Evidence(SILENT, processor, "", flagged=True)).trail[1]


def test_each_absence_says_what_to_do() -> None:
    assert all(absence.sentence and absence.remedy for absence in EpcAbsence)
    assert len({absence.value for absence in EpcAbsence}) == len(EpcAbsence)


@given(st.integers(0, SIZE_LIMIT))
def test_a_decimal_number_is_read(size_bytes: int) -> None:
    assert parse_total_bytes(b"%d\n" % size_bytes) == size_bytes


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"-1\n",
        b"1 \n",
        b"0x10\n",
        b"1\n\n",
        b"12a",
        b"9" * 33,
        b"0" * 40 + b"1\n",
        b"%d" % (SIZE_LIMIT + 1),
        b"\xb2",
    ],
)
def test_anything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_total_bytes(raw)


@given(st.binary(max_size=64))
def test_bytes_from_anywhere_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(DecodeError):
        assert 0 <= parse_total_bytes(raw) <= SIZE_LIMIT


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("processor\t: 0\nflags\t\t: fpu sgx vme\n", True),
        ("processor\t: 0\nflags\t\t: fpu sgx_lc\n", False),
        ("flags\t\t: fpu\nflags\t\t: sgx\n", False),
        ("Features\t: fp asimd sgx\n", False),
        ("", False),
    ],
)
def test_the_flag_is_a_word_of_the_first_processor(text: str, found: bool) -> None:  # noqa: FBT001  a test's parameter
    assert has_sgx_flag(text) is found
