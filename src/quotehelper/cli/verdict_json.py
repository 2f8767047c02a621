"""Verification for machines: what became of a quote as one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quotehelper.documents.signed_json import write_time
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import VerificationReason
from quotehelper.verification.steps import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quotehelper.cli.outcome import Outcome
    from quotehelper.errors import PolicyError, VerificationError
    from quotehelper.verification.result import VerifiedQuote


def as_document(outcome: Outcome) -> dict[str, Any]:
    """All about ``outcome`` as JSON can carry it; nothing that identifies the platform."""
    error, verified = outcome.error, outcome.verified
    document: dict[str, Any] = {
        "quote": outcome.quote,
        "accepted": outcome.accepted,
        "tcb_status": verified.status.value if verified else _status_of(error),
        "advisories": list(verified.advisory_ids) if verified else [],
        "collateral_expired": verified.collateral_expired if verified else _has_expired(error),
        "error": None
        if error is None
        else {"step": error.step.value, "reason": error.reason.value, "message": str(error)},
        "violations": _violations(outcome.violations),
        "alternatives": list(outcome.alternatives),
    }
    return document if verified is None else document | _facts(verified)


def _status_of(error: VerificationError | None) -> str | None:
    """The status that refused a quote: Revoked is the only one that does."""
    return TcbStatus.REVOKED.value if error is not None and error.step is Step.TCB_STATUS else None


def _has_expired(error: VerificationError | None) -> bool:
    return error is not None and error.reason is VerificationReason.EXPIRED


def _violations(error: PolicyError | None) -> Sequence[dict[str, str]]:
    return [] if error is None else [violation._asdict() for violation in error.violations]


def _facts(verified: VerifiedQuote) -> dict[str, Any]:
    report, supplemental = verified.report, verified.supplemental
    levels = {
        name: {
            "tcb_status": standing.status.value,
            "advisories": sorted(standing.advisory_ids),
            "tcb_date": write_time(standing.tcb_date),
        }
        for name, standing in (("platform", verified.platform), ("qe", verified.qe))
    }
    return {
        "root": verified.origin.value,
        "semantics": verified.semantics.name,
        "at": write_time(verified.at),
        "let_pass": [step.value for step in verified.let_pass],
        **levels,
        "tcb_evaluation_data_number": supplemental.tcb_evaluation_data_number,
        "collateral_earliest_expiration": write_time(supplemental.earliest_expiration_date),
        "fmspc": supplemental.platform.fmspc.hex(),
        "report": {
            "mr_enclave": report.mr_enclave.hex(),
            "mr_signer": report.mr_signer.hex(),
            "isv_prod_id": report.isv_prod_id,
            "isv_svn": report.isv_svn,
            "debug": report.attributes.debug,
            "report_data": report.report_data.hex(),
        },
    }
