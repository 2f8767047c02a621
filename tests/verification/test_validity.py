"""The boundary of each window of validity, to the second, and dcap-qvl beside."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from evidence import END, START, Evidence, evidence, is_status, reissue_crl
from harness import VECTORS
from quotehelper.documents.signed_json import write_time
from quotehelper.errors import CollateralError, VerificationError
from quotehelper.verification.semantics import INTEL, STRICT

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND = dt.timedelta(seconds=1)
FIRST, LAST = START + dt.timedelta(days=3), END - dt.timedelta(days=3)
"""A window inside all others."""
OK = "UpToDate"


def of_document(name: str) -> Callable[[Evidence], Evidence]:
    change = Evidence.with_tcb_info if name == "tcb_info" else Evidence.with_qe_identity
    return lambda e: change(
        e, lambda document: document.update(issueDate=write_time(FIRST), nextUpdate=write_time(LAST))
    )


def of_certificate(name: str) -> Callable[[Evidence], Evidence]:
    return lambda e: e.with_certificate(name, start=FIRST, end=LAST)


WINDOWS: dict[str, Callable[[Evidence], Evidence]] = {
    **{name: of_certificate(name) for name in ("root", "intermediate", "leaf", "signer")},
    "root CRL": lambda e: e.but(root_crl=reissue_crl(e.root_crl, e.root, start=FIRST, end=LAST)),
    "PCK CRL": lambda e: e.but(pck_crl=reissue_crl(e.pck_crl, e.intermediate, start=FIRST, end=LAST)),
    "TCB info": of_document("tcb_info"),
    "QE identity": of_document("qe_identity"),
}
STEPS = dict.fromkeys(WINDOWS, "pck_validity") | {
    "signer": "tcb_info_validity",
    "TCB info": "tcb_info_validity",
    "QE identity": "qe_identity_validity",
}
CRLS = {"root CRL", "PCK CRL"}
MOMENTS = [FIRST - SECOND, FIRST, LAST - SECOND, LAST, LAST + SECOND]


@pytest.mark.parametrize("window", WINDOWS)
def test_strict_takes_a_window_with_both_ends_but_a_crl_without_its_last_moment(window: str) -> None:
    made = WINDOWS[window](evidence())
    early, late = f"{STEPS[window]}: not_yet_valid", f"{STEPS[window]}: expired"
    at_the_end = late if window in CRLS else OK
    verdicts = [made.but(at=at).case().judge(STRICT) for at in MOMENTS]
    assert verdicts == [early, OK, OK, at_the_end, late]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("at", MOMENTS, ids=["before", "first", "last but one", "last", "after"])
def test_strict_agrees_with_dcap_qvl_at_each_boundary_but_for_two_documented_rows(window: str, at: dt.datetime) -> None:
    """dcap-qvl looks neither at the root certificate's window nor at when a CRL was issued."""
    case = WINDOWS[window](evidence()).but(at=at).case()
    ours, theirs = case.judge(STRICT), case.judge_by_dcap_qvl()
    if (window in CRLS and at < FIRST) or (window == "root" and not FIRST <= at <= LAST):
        assert (is_status(ours), theirs) == (False, OK)
    else:
        assert is_status(ours) == is_status(theirs), theirs


def test_the_two_rows_are_documented() -> None:
    page = (VECTORS.parents[1] / "docs" / "compatibility.md").read_text()
    assert "| CRL before thisUpdate |" in page
    assert "| root certificate before notBefore or after notAfter |" in page


@pytest.mark.parametrize("window", WINDOWS)
def test_intel_flags_what_has_expired_and_does_not_look_at_the_beginning_but_of_crls(window: str) -> None:
    made = WINDOWS[window](evidence())
    flags = [made.but(at=at).case().verify(INTEL).collateral_expired for at in MOMENTS]
    assert flags == [window in CRLS, False, False, True, True]


@pytest.mark.parametrize("window", WINDOWS)
def test_what_can_be_fetched_anew_is_cannot_tell_and_a_pck_chain_is_no(window: str) -> None:
    case = WINDOWS[window](evidence()).but(at=LAST + dt.timedelta(days=1)).case()
    with pytest.raises(VerificationError, match=f"was valid until {write_time(LAST)}") as caught:
        case.verify()
    assert isinstance(caught.value, CollateralError) is (window not in {"root", "intermediate", "leaf"})
    assert caught.value.remedy


def test_the_earliest_expiry_is_told_beforehand() -> None:
    for window, change in WINDOWS.items():
        facts = change(evidence()).case().verify().supplemental
        assert facts.earliest_expiration_date == LAST, window
        assert facts.latest_issue_date == FIRST, window


def test_fractions_of_a_second_count() -> None:
    made = WINDOWS["TCB info"](evidence())
    assert made.but(at=LAST + dt.timedelta(microseconds=1)).case().judge() == "tcb_info_validity: expired"
    assert made.but(at=FIRST - dt.timedelta(microseconds=1)).case().judge() == "tcb_info_validity: not_yet_valid"


def test_a_time_without_a_zone_is_a_mistake_of_the_caller() -> None:
    case = evidence().case()
    with pytest.raises(TypeError):
        case._replace(at=case.at.replace(tzinfo=None)).verify()
