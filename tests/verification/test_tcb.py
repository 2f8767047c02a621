"""Levels and statuses: which is reached, and all 21 combinations, as dcap-qvl has them and as measured with Intel's."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence import evidence, sgx_extension
from quotehelper.documents.tcb_info import Component, TcbLevel, TcbStatus
from quotehelper.verification.semantics import INTEL, STRICT
from quotehelper.verification.tcb import ACCEPTABLE, converge, has_duplicates, match_platform, sort_levels

UP, OLD, REVOKED = TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED
OLD_AND_CONFIGURATION = TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED
MEASURED = {
    TcbStatus.UP_TO_DATE: OLD,
    TcbStatus.SW_HARDENING_NEEDED: OLD,
    TcbStatus.CONFIGURATION_NEEDED: OLD_AND_CONFIGURATION,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: OLD_AND_CONFIGURATION,
    TcbStatus.OUT_OF_DATE: OLD,
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED: OLD_AND_CONFIGURATION,
    TcbStatus.REVOKED: REVOKED,
}
"""A platform's status beside an out-of-date quoting enclave (dcap 7.4 step 10)."""
COMBINATIONS = list(itertools.product(TcbStatus, (UP, OLD, REVOKED)))
EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def expected(platform: TcbStatus, qe: TcbStatus) -> TcbStatus:
    return {UP: platform, OLD: MEASURED[platform], REVOKED: REVOKED}[qe]


def test_there_are_21_combinations() -> None:
    assert len(COMBINATIONS) == 21


@pytest.mark.parametrize(("platform", "qe"), COMBINATIONS, ids=lambda status: status.value)
def test_statuses_converge_as_measured(platform: TcbStatus, qe: TcbStatus) -> None:
    assert converge(platform, qe) is expected(platform, qe)


@pytest.mark.parametrize(("platform", "qe"), COMBINATIONS, ids=lambda status: status.value)
def test_a_quote_gets_the_converged_status_from_us_and_from_dcap_qvl(platform: TcbStatus, qe: TcbStatus) -> None:
    def on(status: TcbStatus, advisory: str) -> Any:  # noqa: ANN401  a change of a document
        fields = {"tcbStatus": status.value, "advisoryIDs": [advisory, "INTEL-SA-00000"]}
        return lambda document: document["tcbLevels"][0].update(fields)

    made = evidence().with_tcb_info(on(platform, "INTEL-SA-00002")).with_qe_identity(on(qe, "INTEL-SA-00001"))
    case = made.case()
    status = expected(platform, qe)
    if status is REVOKED:
        assert case.judge(STRICT) == case.judge(INTEL) == "tcb_status: revoked"
        assert case.judge_by_dcap_qvl().startswith("refused: ")
        return
    assert case.judge(STRICT) == case.judge(INTEL) == case.judge_by_dcap_qvl() == status.value
    verified = case.verify()
    assert verified.advisory_ids == ("INTEL-SA-00000", "INTEL-SA-00001", "INTEL-SA-00002")
    assert verified.supplemental.sa_list == ("INTEL-SA-00002", "INTEL-SA-00000")
    assert (verified.platform.status, verified.qe.status) == (platform, qe)


def test_what_is_acceptable_is_what_is_current() -> None:
    assert {status for status in TcbStatus if "OutOfDate" in status.value or status is REVOKED} == set(TcbStatus) - (
        ACCEPTABLE
    )


SVNS = st.lists(st.integers(0, 3), min_size=16, max_size=16)


def level(svns: list[int], pce_svn: int, status: TcbStatus = UP) -> TcbLevel:
    return TcbLevel(tuple(map(Component, svns)), pce_svn, EPOCH, status)


@given(svns=SVNS, pce_svn=st.integers(0, 3), wanted=SVNS, wanted_pce_svn=st.integers(0, 3))
def test_a_level_is_reached_if_every_component_and_the_pce_reach_it(
    svns: list[int], pce_svn: int, wanted: list[int], wanted_pce_svn: int
) -> None:
    platform = sgx_extension(components=tuple(svns), cpu_svn=bytes(svns), pce_svn=pce_svn)
    reached = pce_svn >= wanted_pce_svn and all(map(int.__ge__, svns, wanted))
    for counts in (True, False):
        standing = match_platform([level(wanted, wanted_pce_svn)], platform, cpu_svn_counts=counts)
        assert (standing is not None) is reached


@given(levels=st.lists(st.tuples(SVNS, st.integers(0, 3)), max_size=6), svns=SVNS)
def test_of_the_levels_reached_the_highest_counts_in_whatever_order_they_come(
    levels: list[tuple[list[int], int]], svns: list[int]
) -> None:
    platform = sgx_extension(components=tuple(svns), cpu_svn=bytes(svns), pce_svn=2)
    ordered = sort_levels([level(*each) for each in levels])
    assert ordered == sort_levels(list(reversed(ordered)))
    reached = [each for each in levels if all(map(int.__ge__, svns, each[0])) and each[1] <= 2]
    standing = match_platform(ordered, platform)
    assert (standing is not None) is bool(reached)
    assert has_duplicates(ordered) is (len({(tuple(a), b) for a, b in levels}) < len(levels))


def test_levels_that_cannot_be_compared_count_in_the_order_of_their_components() -> None:
    one = level([2] + [1] * 15, 1, OLD)
    other = level([1] + [2] * 15, 1, UP)
    platform = sgx_extension(components=(2,) * 16, cpu_svn=b"\2" * 16, pce_svn=1)
    standing = match_platform(sort_levels([other, one]), platform)
    assert standing is not None
    assert standing.status is OLD
