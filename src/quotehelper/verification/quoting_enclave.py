"""Which quoting enclave made a quote, and what its quotes are worth on its platform. Pure.

Source: dcap 7.4 steps 9 and 10.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec

from quotehelper.documents.der import encode_ecdsa_signature
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import VerificationError, VerificationReason
from quotehelper.sgx.report import ReportBody
from quotehelper.verification import tcb
from quotehelper.verification.chains import signature_holds
from quotehelper.verification.result import Supplemental
from quotehelper.verification.roots import public_point
from quotehelper.verification.steps import Step

if TYPE_CHECKING:
    from quotehelper.documents.qe_identity import EnclaveIdentity
    from quotehelper.documents.sgx_extension import SgxExtension
    from quotehelper.documents.tcb_info import TcbInfo
    from quotehelper.verification.endorsements import Endorsement
    from quotehelper.verification.pck_platform import PckPlatform
    from quotehelper.verification.semantics import Semantics
    from quotehelper.verification.tcb import Standing
    from quotehelper.wire.structure import Field

AUTH_DATA_SIZE = 32
"""Bytes of auth data that Intel's QE3 writes, and dcap-qvl insists on (dcap 7.5)."""

_MISMATCH, _UNSUPPORTED = VerificationReason.MISMATCH, VerificationReason.UNSUPPORTED


def verify_quoting_enclave(  # noqa: PLR0913  the parts of a quote, each by itself
    platform: PckPlatform,
    key: bytes,
    qe_report: bytes,
    signature: bytes,
    auth_data: bytes,
    tcb_info: Endorsement[TcbInfo],
    genuine: GenuineEnclave,
    semantics: Semantics,
) -> QuotingEnclave:
    """The quoting enclave on ``platform`` that vouches for the attestation key ``key`` (x ‖ y, 64 bytes).

    ``qe_report`` (384 bytes), its ``signature`` (64) and ``auth_data`` are the quote's; ``genuine`` is the QE
    identity's. Raises VerificationError: PLATFORM_FAMILY, QE_REPORT_SIGNATURE, QE_REPORT_DATA, QE_IDENTITY.
    """
    _check_family(tcb_info.document, platform.chain.platform)
    report = verify_qe_report(platform.chain.pck, key, qe_report, signature, auth_data, semantics)
    genuine.check(report)
    return QuotingEnclave(public_key(key), report.isv_svn)


def verify_qe_report(
    pck: ec.EllipticCurvePublicKey,
    key: bytes,
    qe_report: bytes,
    signature: bytes,
    auth_data: bytes,
    semantics: Semantics,
) -> ReportBody:
    """The quoting enclave's report body, if ``pck`` signed it and it vouches for ``key`` (x ‖ y, 64 bytes).

    Raises VerificationError: QE_REPORT_SIGNATURE, QE_REPORT_DATA.
    """
    if not signature_holds(pck, encode_ecdsa_signature(signature), qe_report):
        problem = "The quoting enclave's report was not signed by the platform's certified key"
        raise VerificationError(Step.QE_REPORT_SIGNATURE, VerificationReason.SIGNATURE, problem)
    report = ReportBody(qe_report)
    if semantics.refuse_odd_auth_data and len(auth_data) != AUTH_DATA_SIZE:
        problem = f"The quoting enclave's auth data have {len(auth_data)} bytes, Intel's have {AUTH_DATA_SIZE}"
        raise VerificationError(Step.QE_REPORT_DATA, _UNSUPPORTED, problem)
    if hashlib.sha256(key + auth_data).digest() != report.report_data[:32]:
        problem = "The quoting enclave's report does not name the key that signed the quote"
        raise VerificationError(Step.QE_REPORT_DATA, _MISMATCH, problem)
    return report


class GenuineEnclave:
    """What a report of the enclave that ``identity`` describes must look like; made once for many reports.

    All that is compared is one mask and one value over the whole report. The identity's values are not masked
    themselves (dcap 7.2): one that has bits outside its mask is met by no report.
    """

    __slots__ = ("_identity", "_mask", "_value")

    def __init__(self, identity: EnclaveIdentity) -> None:
        self._identity = identity
        mask, value = bytearray(ReportBody.SIZE), bytearray(ReportBody.SIZE)
        for field, wanted, its_mask in self._fields():
            mask[field.offset : field.end] = its_mask
            value[field.offset : field.end] = wanted
        self._mask, self._value = int.from_bytes(mask), int.from_bytes(value)

    def check(self, report: ReportBody) -> None:
        """Raise VerificationError, QE_IDENTITY, if ``report`` is another enclave's."""
        if self._identity.id != "QE":
            problem = f"The enclave identity is about {self._identity.id}, not the quoting enclave of SGX (QE)"
            raise VerificationError(Step.QE_IDENTITY, _MISMATCH, problem)
        if int.from_bytes(report.raw) & self._mask == self._value:
            return
        for field, wanted, mask in self._fields():
            found = report.raw[field.offset : field.end]
            if int.from_bytes(found) & int.from_bytes(mask) != int.from_bytes(wanted):
                name = field.name.replace("_", "").upper()
                problem = f"The quoting enclave's {name} is not that of Intel's quoting enclave"
                raise VerificationError(Step.QE_IDENTITY, _MISMATCH, problem)

    def _fields(self) -> tuple[tuple[Field[Any], bytes, bytes], ...]:
        """Each field of a report that counts, its value, and which bits of it."""
        identity = self._identity
        return (
            (ReportBody.misc_select, identity.misc_select, identity.misc_select_mask),
            (ReportBody.attributes, identity.attributes, identity.attributes_mask),
            (ReportBody.mr_signer, identity.mr_signer, b"\xff" * 32),
            (ReportBody.isv_prod_id, identity.isv_prod_id.to_bytes(2, "little"), b"\xff\xff"),
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """What a quote by a quoting enclave is worth."""

    status: TcbStatus
    platform: Standing
    qe: Standing
    advisory_ids: tuple[str, ...]
    supplemental: Supplemental


class QuotingEnclave(NamedTuple):
    """What was proven of a quoting enclave: the key that it vouches for, and its version."""

    key: ec.EllipticCurvePublicKey
    isv_svn: int


def weigh(
    platform: PckPlatform,
    isv_svn: int,
    tcb_info: Endorsement[TcbInfo],
    qe_identity: Endorsement[EnclaveIdentity],
    semantics: Semantics,
) -> Facts:
    """What quotes by a quoting enclave of ``isv_svn`` on ``platform`` are worth.

    Raises VerificationError: PLATFORM_TCB, QE_TCB, TCB_STATUS.
    """
    levels = tcb_info.document.levels
    standing = tcb.match_platform(levels, platform.chain.platform, cpu_svn_counts=semantics.match_cpu_svn)
    if standing is None:
        problem = "The platform's TCB, as its certificate states it, is below every level of the TCB info"
        remedy = "Update the platform's BIOS and microcode, then provision it again"
        raise VerificationError(Step.PLATFORM_TCB, _UNSUPPORTED, problem, remedy)
    qe = tcb.match_quoting_enclave(qe_identity.document.levels, isv_svn)
    if qe is None:
        problem = f"The quoting enclave's ISVSVN {isv_svn} is below every level of the QE identity"
        raise VerificationError(Step.QE_TCB, _UNSUPPORTED, problem, "Update the quoting enclave on its node")
    status = tcb.converge(standing.status, qe.status)
    if status is TcbStatus.REVOKED:
        which = "platform" if standing.status is TcbStatus.REVOKED else "quoting enclave"
        problem = f"The TCB level of the {which} has been revoked"
        remedy = "It can't be trusted any more; update it and provision it again"
        raise VerificationError(Step.TCB_STATUS, VerificationReason.REVOKED, problem, remedy)
    advisory_ids = tuple(sorted({*standing.advisory_ids, *qe.advisory_ids}))
    supplemental = _supplemental(platform, standing, qe, tcb_info, qe_identity)
    return Facts(status, standing, qe, advisory_ids, supplemental)


def _check_family(info: TcbInfo, platform: SgxExtension) -> None:
    step, remedy = Step.PLATFORM_FAMILY, "Fetch the TCB info of this platform's FMSPC"
    if info.id not in {None, "SGX"}:
        raise VerificationError(step, _MISMATCH, f"The TCB info is about {info.id}, the quote is of SGX", remedy)
    if info.fmspc != platform.fmspc:
        problem = f"The TCB info is about FMSPC {info.fmspc.hex()}, the platform has {platform.fmspc.hex()}"
        raise VerificationError(step, _MISMATCH, problem, remedy)
    if info.pce_id != platform.pce_id:
        problem = f"The TCB info is about PCE id {info.pce_id.hex()}, the platform has {platform.pce_id.hex()}"
        raise VerificationError(step, _MISMATCH, problem, remedy)


def public_key(key: bytes) -> ec.EllipticCurvePublicKey:
    """The attestation key ``key`` (x ‖ y, 64 bytes). Raises VerificationError, QUOTE_SIGNATURE, if it is no point."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + key)
    except ValueError as error:
        problem = "The attestation key is no point of the curve P-256"
        raise VerificationError(Step.QUOTE_SIGNATURE, VerificationReason.FORMAT, problem) from error


def _supplemental(
    platform: PckPlatform,
    standing: Standing,
    qe: Standing,
    tcb_info: Endorsement[TcbInfo],
    qe_identity: Endorsement[EnclaveIdentity],
) -> Supplemental:
    info, identity = tcb_info.document, qe_identity.document
    chain = platform.chain
    signers = (qe_identity.chain.signer, qe_identity.chain.root)
    certificates = (
        *(chain.leaf, chain.intermediate, chain.root),
        *(tcb_info.chain.signer, tcb_info.chain.root),
        *signers,
        *platform.crl_issuers,
    )
    crls = (platform.root_crl, platform.pck_crl)
    issued = [c.not_before for c in certificates] + [crl.this_update for crl in crls]
    issued += [info.issue_date, identity.issue_date]
    expiring = [c.not_after for c in certificates] + [crl.next_update for crl in crls]
    expiring += [info.next_update, identity.next_update]
    return Supplemental(
        earliest_issue_date=min(issued),
        latest_issue_date=max(issued),
        earliest_expiration_date=min(expiring),
        tcb_level_date=standing.tcb_date,
        pck_crl_number=platform.pck_crl.number or 0,
        root_ca_crl_number=platform.root_crl.number or 0,
        tcb_evaluation_data_number=min(info.tcb_evaluation_data_number, identity.tcb_evaluation_data_number),
        root_key_id=hashlib.sha384(public_point(chain.root)).digest(),
        platform=chain.platform,
        sa_list=standing.advisory_ids,
        qe_identity_earliest_issue_date=min(c.not_before for c in signers),
        qe_identity_latest_issue_date=max(c.not_before for c in signers),
        qe_identity_earliest_expiration_date=min(c.not_after for c in signers),
        qe_identity_tcb_level_date=qe.tcb_date,
        qe_identity_tcb_evaluation_data_number=identity.tcb_evaluation_data_number,
        qe_status=qe.status,
    )
