"""What a quote proves without collateral: its signatures, up to a root."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import VECTORS
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import VerificationError
from quotehelper.verification.roots import Roots
from quotehelper.verification.signatures import TAKEN, verify_signatures
from quotehelper.verification.steps import Step
from quotehelper.verification.tcb import FROM_WORST_TO_BEST, rank

if TYPE_CHECKING:
    from pathlib import Path

CASES = sorted(path for path in (VECTORS / "quotes").iterdir() if path.is_dir())
BY_INTEL = [case for case in CASES if "private-root" not in case.name]
REAL = (CASES[0] / "quote.bin").read_bytes()
PARTS = {
    "header": (30, Step.QUOTE_SIGNATURE),
    "report": (48 + 64, Step.QUOTE_SIGNATURE),
    "signature": (440, Step.QUOTE_SIGNATURE),
    "attestation key": (510, Step.QE_REPORT_DATA),
    "QE report": (564 + 64, Step.QE_REPORT_SIGNATURE),
    "QE report's signature": (960, Step.QE_REPORT_SIGNATURE),
    "auth data": (1020, Step.QE_REPORT_DATA),
    "version": (0, Step.QUOTE_FORMAT),
}


@pytest.mark.parametrize("case", BY_INTEL, ids=lambda case: case.name)
def test_real_quotes_hold_whatever_their_collateral(case: Path) -> None:
    raw = (case / "quote.bin").read_bytes()
    signed = verify_signatures(raw, roots=Roots.intel())
    assert signed.quote.encode() == raw
    assert signed.chain.root.subject == "Intel SGX Root CA"


@pytest.mark.parametrize("part", PARTS)
def test_a_bit_changed_anywhere_is_refused_at_its_step(part: str) -> None:
    at, step = PARTS[part]
    with pytest.raises(VerificationError) as refused:
        verify_signatures(REAL[:at] + bytes((REAL[at] ^ 1,)) + REAL[at + 1 :], roots=Roots.intel())
    assert refused.value.step is step


def test_another_root_is_refused() -> None:
    other = next(case for case in CASES if case not in BY_INTEL)
    with pytest.raises(VerificationError) as refused:
        verify_signatures(REAL, roots=Roots.insecure((other / "trusted_root.pem").read_bytes()))
    assert refused.value.step is Step.TRUSTED_ROOT


def test_a_quote_without_a_chain_is_refused_with_a_remedy() -> None:
    with pytest.raises(VerificationError, match="quote provider library") as refused:
        verify_signatures((VECTORS / "quotes" / "cert-type-3-encrypted-ppid.bin").read_bytes(), roots=Roots.intel())
    assert refused.value.step is Step.CERTIFICATION_DATA


@given(raw=st.binary(max_size=2000))
def test_arbitrary_bytes_are_refused_at_a_step_that_needs_no_collateral(raw: bytes) -> None:
    with pytest.raises(VerificationError) as refused:
        verify_signatures(raw, roots=Roots.intel())
    assert refused.value.step in TAKEN


@given(at=st.integers(0, len(REAL) - 1), bit=st.integers(0, 7))
def test_any_bit_changed_leaves_a_quote_or_a_deliberate_error(at: int, bit: int) -> None:
    try:
        verify_signatures(REAL[:at] + bytes((REAL[at] ^ 1 << bit,)) + REAL[at + 1 :], roots=Roots.intel())
    except VerificationError as refused:
        assert refused.step in TAKEN  # noqa: PT017  some bits, of trailing bytes, change nothing


def test_statuses_are_ranked_from_revoked_to_up_to_date() -> None:
    assert sorted(TcbStatus, key=rank) == list(FROM_WORST_TO_BEST)
    assert set(FROM_WORST_TO_BEST) == set(TcbStatus)
    assert rank(TcbStatus.REVOKED) == 0
    assert rank(TcbStatus.OUT_OF_DATE) < rank(TcbStatus.SW_HARDENING_NEEDED) < rank(TcbStatus.UP_TO_DATE)
