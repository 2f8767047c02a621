from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from quotehelper.collateral.catalog import PckCertificate, RawTcb
from quotehelper.collateral.pck_selection import select
from quotehelper.documents.tcb_info import Component, TcbLevel, TcbStatus

DATE = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


def raw(first: int, pce_svn: int, second: int = 0) -> RawTcb:
    return RawTcb(bytes([first, second]).ljust(16, b"\0").hex().upper(), pce_svn.to_bytes(2, "little").hex().upper())


def certificate(first: int, pce_svn: int, second: int = 0) -> PckCertificate:
    return PckCertificate(b"", raw(first, pce_svn, second), "00" * 6, "0000", "PROCESSOR", b"")


def level(first: int, pce_svn: int, second: int = 0) -> TcbLevel:
    components = tuple(Component(svn) for svn in (first, second, *[0] * 14))
    return TcbLevel(components, pce_svn, DATE, TcbStatus.UP_TO_DATE)


def test_the_certificate_of_the_highest_level_that_the_platform_reaches_is_chosen() -> None:
    high, low = certificate(5, 13), certificate(4, 13)
    levels = [level(5, 13), level(4, 13)]
    assert select([low, high], levels, raw(5, 13)) is high
    assert select([low, high], levels, raw(4, 13)) is low


def test_a_platform_that_reaches_none_gets_none() -> None:
    assert select([certificate(5, 13)], [level(5, 13)], raw(4, 13)) is None
    assert select([], [level(5, 13)], raw(5, 13)) is None


def test_a_certificate_above_the_platform_in_any_component_is_passed_over() -> None:
    above, fits = certificate(5, 13, second=9), certificate(4, 13)
    assert select([above, fits], [level(4, 13)], raw(5, 13, second=8)) is fits


def test_the_pce_svn_counts_as_a_number_and_not_as_text() -> None:
    """Little endian text: 0001 is 256, 0200 is 2."""
    assert select([certificate(1, 256)], [level(1, 1)], raw(1, 2)) is None
    found = certificate(1, 2)
    assert select([found], [level(1, 1)], raw(1, 256)) is found


def test_the_order_of_levels_decides_before_the_height_of_certificates() -> None:
    by_first, by_second = certificate(9, 1, second=0), certificate(0, 1, second=9)
    levels = [level(0, 1, second=9), level(9, 1, second=0)]
    assert select([by_first, by_second], levels, raw(9, 1, second=9)) is by_second
    assert select([by_second, by_first], levels[::-1], raw(9, 1, second=9)) is by_first


def test_within_one_level_the_higher_certificate_comes_first() -> None:
    higher, lower = certificate(6, 13), certificate(5, 13)
    assert select([lower, higher], [level(5, 13)], raw(9, 13)) is higher
    assert select([higher, lower], [level(5, 13)], raw(9, 13)) is higher


def test_a_certificate_below_every_level_is_the_last_resort() -> None:
    below, in_level = certificate(1, 1), certificate(5, 5)
    assert select([below, in_level], [level(5, 5)], raw(9, 9)) is in_level
    assert select([below, in_level], [level(5, 5)], raw(2, 2)) is below


svns = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 300))


@given(st.lists(svns, max_size=6), st.lists(svns, max_size=4), svns)
def test_whatever_is_chosen_is_reached_by_the_platform_and_some_is_chosen_if_any_is(
    certificates: list[tuple[int, int, int]], levels: list[tuple[int, int, int]], platform: tuple[int, int, int]
) -> None:
    offered = [certificate(first, pce, second) for first, second, pce in certificates]
    chosen = select(
        offered,
        [level(first, pce, second) for first, second, pce in levels],
        raw(platform[0], platform[2], platform[1]),
    )
    reached = [c for c in certificates if all(have >= want for have, want in zip(platform, c, strict=True))]
    assert (chosen is None) == (not reached)
    if chosen is not None:
        first, second = chosen.tcb.components[:2]
        assert (first, second, chosen.tcb.pce_svn_number) in reached
