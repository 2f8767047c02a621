"""What verification yields: facts about a quote that is genuine. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt

    from quotehelper.documents.sgx_extension import SgxExtension
    from quotehelper.documents.tcb_info import TcbStatus
    from quotehelper.sgx.quote import Quote
    from quotehelper.sgx.report import ReportBody
    from quotehelper.verification.roots import Origin
    from quotehelper.verification.semantics import Semantics
    from quotehelper.verification.steps import Step
    from quotehelper.verification.tcb import Standing


@dataclass(frozen=True, slots=True)
class Supplemental:
    """The facts of Intel's ``sgx_ql_qv_supplemental_t``, version 3.2 (dcap 4.1), as Intel's verifier computes them.

    ``earliest_…`` and ``latest_…`` are taken over all certificates, revocation lists and documents; those that begin
    with ``qe_identity_`` over the chain of the QE identity's signer. ``sa_list``: the advisories of the platform's
    level alone. ``platform``: what the PCK certificate says, its PPID included, which identifies the machine: don't
    log it. ``tcb_evaluation_data_number`` is the lower of the two documents'.
    """

    earliest_issue_date: dt.datetime
    latest_issue_date: dt.datetime
    earliest_expiration_date: dt.datetime
    tcb_level_date: dt.datetime
    pck_crl_number: int
    root_ca_crl_number: int
    tcb_evaluation_data_number: int
    root_key_id: bytes
    """SHA-384 (48 bytes) of the root key as an uncompressed point."""
    platform: SgxExtension
    sa_list: tuple[str, ...]
    qe_identity_earliest_issue_date: dt.datetime
    qe_identity_latest_issue_date: dt.datetime
    qe_identity_earliest_expiration_date: dt.datetime
    qe_identity_tcb_level_date: dt.datetime
    qe_identity_tcb_evaluation_data_number: int
    qe_status: TcbStatus


@dataclass(frozen=True, slots=True)
class VerifiedQuote:
    """A quote that is genuine: whoever's root ``origin`` names stands for it, at the time ``at``.

    Only ``verify`` makes one. Whether it is *wanted* is another question: which enclave it is, and whether ``status``
    is good enough, a policy decides (`policy.appraise`).
    """

    quote: Quote
    report: ReportBody
    """What the quote says: the enclave's report."""
    status: TcbStatus
    """Platform and quoting enclave together. Never Revoked."""
    platform: Standing
    qe: Standing
    advisory_ids: tuple[str, ...]
    """Of both levels, sorted."""
    collateral_expired: bool
    """Something was not valid at ``at``, which only Intel's semantics let pass, or those of a policy with a grace."""
    let_pass: tuple[Step, ...]
    """The steps that did not hold, which the semantics let pass: windows of validity, and a debug enclave."""
    at: dt.datetime
    origin: Origin
    semantics: Semantics
    supplemental: Supplemental
