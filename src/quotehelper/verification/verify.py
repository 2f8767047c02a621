"""Is a quote genuine: quote, collateral, roots and a time make a VerifiedQuote, in the steps of `steps.Step`. Pure.

Everything is proven before it is read any further: certificates by their issuers up to a trusted root, documents by
their signers, the quoting enclave by the platform's certified key, the quote by the key that the quoting enclave
vouches for. What does not depend on the quote or on time is done once and remembered by a `Verifier`; windows of
validity are judged anew each time.

Source: dcap 7.4 (Intel's order of checks), 7.5 and 5.3 (where others differ: `semantics`).
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, TypeVar

from quotehelper.documents.der import encode_ecdsa_signature
from quotehelper.errors import DecodeError, VerificationError, VerificationReason
from quotehelper.sgx.quote import INTEL_QE_VENDOR_ID, CertificationData, CertificationType, Quote, read_quote
from quotehelper.sgx.report import ReportBody
from quotehelper.verification import chains
from quotehelper.verification.chains import signature_holds
from quotehelper.verification.endorsements import Endorsement, verify_qe_identity, verify_tcb_info
from quotehelper.verification.pck_platform import PckPlatform, verify_platform
from quotehelper.verification.quoting_enclave import (
    Facts,
    GenuineEnclave,
    QuotingEnclave,
    verify_quoting_enclave,
    weigh,
)
from quotehelper.verification.result import VerifiedQuote
from quotehelper.verification.semantics import STRICT
from quotehelper.verification.steps import Step

if TYPE_CHECKING:
    import datetime as dt

    from quotehelper.documents.collateral import Collateral
    from quotehelper.documents.qe_identity import EnclaveIdentity
    from quotehelper.documents.tcb_info import TcbInfo
    from quotehelper.verification.roots import Roots
    from quotehelper.verification.semantics import Semantics
_D = TypeVar("_D", "TcbInfo", "EnclaveIdentity")

REMEMBERED = 1024
"""Platforms, and quoting enclaves on them, that a Verifier remembers at most; each takes about 20 kB."""

_UNPROVEN = (
    CertificationType.PPID_CLEAR,
    CertificationType.PPID_RSA_2048,
    CertificationType.PPID_RSA_3072,
    CertificationType.PCK_LEAF,
)
"""Certification data that name a platform, but don't prove it."""


def verify(
    quote: bytes, collateral: Collateral, *, roots: Roots, at: dt.datetime, semantics: Semantics = STRICT
) -> VerifiedQuote:
    """The facts about ``quote``, if it is genuine at the aware time ``at`` by ``collateral`` and ``roots``.

    Anybody may have made ``quote`` and ``collateral``. Raises VerificationError, which names the step and the
    reason; CollateralError, one of them, if it can't be told for lack of valid collateral.
    """
    return Verifier(collateral, roots=roots, semantics=semantics).verify(quote, at=at)


class Verifier:
    """Verifies many quotes with the same ``collateral``; remembers what has been proven about chains and documents."""

    def __init__(
        self, collateral: Collateral, *, roots: Roots, semantics: Semantics = STRICT, remembered: int = REMEMBERED
    ) -> None:
        self._collateral = collateral
        self._roots = roots
        self._semantics = semantics
        self._latest: tuple[bytes, PckPlatform] | None = None
        self._platform = lru_cache(remembered)(self._verify_platform)
        self._enclave = lru_cache(remembered)(self._verify_enclave)
        self._worth = lru_cache(remembered)(self._weigh)

    def verify(self, raw: bytes, *, at: dt.datetime) -> VerifiedQuote:
        """As the function `verify`, with what this Verifier was made of."""
        quote, report = read_sgx_quote(raw)
        platform = self._platform_of(self._chain_of(quote.certification))
        expired = [Step.PCK_VALIDITY] if platform.validity.judge(at, self._semantics) else []
        expired += self._find_expired(self._tcb_info, Step.TCB_INFO_VALIDITY, platform, at)
        expired += self._find_expired(self._qe_identity, Step.QE_IDENTITY_VALIDITY, platform, at)
        enclave = self._enclave(
            platform, quote.attestation_key, quote.qe_report.raw, quote.qe_report_signature, quote.auth_data
        )
        if not signature_holds(enclave.key, encode_ecdsa_signature(quote.signature), quote.signed):
            problem = "The quote's signature does not hold: header or report were changed, or it is not by this key"
            raise VerificationError(Step.QUOTE_SIGNATURE, VerificationReason.SIGNATURE, problem)
        facts = self._worth(platform, enclave.isv_svn)
        debug = report.attributes.debug
        if debug and self._semantics.refuse_debug:
            problem = "It is a debug enclave, whose memory can be read and changed from outside"
            remedy = "Build and sign the enclave for production"
            raise VerificationError(Step.ENCLAVE_DEBUG, VerificationReason.DEBUG, problem, remedy)
        return VerifiedQuote(
            quote=quote,
            report=report,
            status=facts.status,
            platform=facts.platform,
            qe=facts.qe,
            advisory_ids=facts.advisory_ids,
            collateral_expired=bool(expired)
            or (self._semantics.insecure_expired_is_flag and at >= facts.supplemental.earliest_expiration_date),
            let_pass=(*expired, Step.ENCLAVE_DEBUG) if debug else tuple(expired),
            at=at,
            origin=self._roots.origin,
            semantics=self._semantics,
            supplemental=facts.supplemental,
        )

    def _platform_of(self, pem: bytes) -> PckPlatform:
        """The platform whose PCK chain is ``pem``: comparing it with the one before is cheaper than hashing it."""
        latest = self._latest
        if latest is None or latest[0] != pem:
            self._latest = latest = (pem, self._platform(pem))
        return latest[1]

    def _chain_of(self, certification: CertificationData) -> bytes:
        """The PEM text of the PCK chain: the quote's own, or collateral's, if it has none and the semantics allow."""
        if certification.type is CertificationType.PCK_CHAIN:
            return certification.data
        step = Step.CERTIFICATION_DATA
        if certification.type not in _UNPROVEN:
            raise VerificationError(
                step, VerificationReason.UNSUPPORTED, f"Certification data of type {certification.type:d} prove nothing"
            )
        separate = self._collateral.pck_chain
        if self._semantics.insecure_separate_pck_chain and separate is not None:
            return separate
        problem = f"The quote has certification data of type {certification.type:d}, without a certificate chain"
        remedy = "On its node, give the quote provider library a working collateral service, and quote again"
        raise VerificationError(step, VerificationReason.UNSUPPORTED, problem, remedy)

    def _find_expired(
        self, endorsement: Endorsement[_D], step: Step, platform: PckPlatform, at: dt.datetime
    ) -> list[Step]:
        """The ``step``, if ``endorsement`` is not valid at ``at`` and the semantics let that pass."""
        if self._semantics.same_root_certificate:
            chains.check_same_root(endorsement.chain, platform.chain)
        return [step] if endorsement.validity.judge(at, self._semantics) else []

    @cached_property
    def _tcb_info(self) -> Endorsement[TcbInfo]:
        return verify_tcb_info(self._collateral, self._roots, self._semantics)

    @cached_property
    def _qe_identity(self) -> Endorsement[EnclaveIdentity]:
        return verify_qe_identity(self._collateral, self._roots, self._semantics)

    @cached_property
    def _genuine(self) -> GenuineEnclave:
        return GenuineEnclave(self._qe_identity.document)

    def _verify_platform(self, pem: bytes) -> PckPlatform:
        return verify_platform(pem, self._collateral, self._roots, self._semantics)

    def _verify_enclave(
        self, platform: PckPlatform, key: bytes, qe_report: bytes, signature: bytes, auth_data: bytes
    ) -> QuotingEnclave:
        parts = (platform, key, qe_report, signature, auth_data)
        return verify_quoting_enclave(*parts, self._tcb_info, self._genuine, self._semantics)

    def _weigh(self, platform: PckPlatform, isv_svn: int) -> Facts:
        return weigh(platform, isv_svn, self._tcb_info, self._qe_identity, self._semantics)


def read_sgx_quote(raw: bytes) -> tuple[Quote, ReportBody]:
    """The quote in ``raw``, which anybody may have made, and its SGX report. Raises VerificationError, QUOTE_FORMAT."""
    step = Step.QUOTE_FORMAT
    try:
        quote = read_quote(raw)
    except DecodeError as error:
        raise VerificationError(step, VerificationReason.FORMAT, f"The quote can't be read: {error}") from error
    report = quote.body
    if not isinstance(report, ReportBody):
        problem = "It is a TDX quote, only quotes of SGX enclaves are verified"
        raise VerificationError(step, VerificationReason.UNSUPPORTED, problem)
    if quote.header.qe_vendor_id != INTEL_QE_VENDOR_ID:
        problem = f"The quoting enclave's vendor is {quote.header.qe_vendor_id.hex()}, not Intel"
        raise VerificationError(step, VerificationReason.UNSUPPORTED, problem)
    return quote, report
