from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from quotehelper.errors import PlatformCause, PlatformError
from quotehelper.platforms.overlap import Former, OverlappingPlatform
from quotehelper.platforms.simulated.cpu import Cpu, EnclaveIdentity, Fuses
from quotehelper.platforms.simulated.state import enclave_version, load, load_cpu
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.sgx.quote import read_quote
from quotehelper.sgx.report import Attributes, Report

if TYPE_CHECKING:
    from pathlib import Path

    from quotehelper.platforms.platform import Platform

NOW = 1000.0


class Parts(NamedTuple):
    """A former and a present platform, and reports made for each."""

    former: Platform
    present: Platform
    for_former: Report
    for_present: Report
    told: list[bool]
    """For each report made for a former enclave: whether it was quoted."""

    def overlapping(self, *former: Former) -> OverlappingPlatform:
        return OverlappingPlatform(self.present, former, lambda: NOW, self.told.append)


@pytest.fixture
def parts(state: Path) -> Parts:
    former, present = (load(state, enclave_version(isv_svn)) for isv_svn in (11, 12))
    enclave = load_cpu(state).load(EnclaveIdentity(bytes(32), bytes(32), Attributes.build(flags=5, xfrm=3)))
    reports = [enclave.report(each.target(QE3_KEY_ID).target_info, bytes(64)) for each in (former, present)]
    return Parts(former, present, reports[0], reports[1], [])


def cause(platform: Platform, report: Report) -> PlatformCause:
    with pytest.raises(PlatformError) as refused:
        platform.quote(report, QE3_KEY_ID)
    return refused.value.cause


def forged(report: Report) -> Report:
    return Report(report.raw[:-1] + bytes([report.raw[-1] ^ 1]))


def test_each_report_is_quoted_by_the_enclave_it_was_made_for(parts: Parts) -> None:
    platform = parts.overlapping(Former(parts.former, NOW + 1))
    versions = [
        read_quote(platform.quote(report, QE3_KEY_ID).quote).qe_report.isv_svn
        for report in (parts.for_former, parts.for_present)
    ]
    assert versions == [11, 12]
    assert parts.told == [True]


def test_everything_else_is_the_present_ones(parts: Parts) -> None:
    platform = parts.overlapping(Former(parts.former, NOW + 1))
    assert platform.target(QE3_KEY_ID) == parts.present.target(QE3_KEY_ID)
    assert platform.attestation_keys() == parts.present.attestation_keys()
    assert platform.quote_size(QE3_KEY_ID) == parts.present.quote_size(QE3_KEY_ID)
    assert platform.reopening() == parts.present.reopening()


def test_the_overlap_ends_at_its_moment(parts: Parts) -> None:
    platform = parts.overlapping(Former(parts.former, NOW))
    assert cause(platform, parts.for_former) is PlatformCause.KEY_NOT_INITIALIZED
    assert parts.told == [False]


def test_a_forged_report_stays_one(parts: Parts) -> None:
    platform = parts.overlapping(Former(parts.former, NOW + 1))
    assert cause(platform, forged(parts.for_former)) is PlatformCause.INVALID_REPORT
    assert parts.told == []


def test_where_the_former_enclave_can_not_be_asked_the_client_is_told_to_begin_anew(parts: Parts) -> None:
    platform = parts.overlapping(Former(None, NOW + 1))
    assert cause(platform, parts.for_former) is PlatformCause.KEY_NOT_INITIALIZED
    assert parts.told == [False]


def test_what_was_made_for_another_processor_is_invalid(parts: Parts) -> None:
    other = Cpu(Fuses.from_secret(bytes(32)), bytes(16))
    enclave = other.load(EnclaveIdentity(bytes(32), bytes(32), Attributes.build(flags=5, xfrm=3)))
    foreign = enclave.report(parts.former.target(QE3_KEY_ID).target_info, bytes(64))
    assert cause(parts.overlapping(Former(parts.former, NOW + 1)), foreign) is PlatformCause.INVALID_REPORT
