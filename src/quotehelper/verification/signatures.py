"""What a quote proves without collateral: that one platform of a trusted root signed it. Pure.

It says nothing about revocation and about how good the platform is: a quote is only *accepted* by `verify`. This is
for a daemon that must know whether it can quote, where nobody can be asked (dcap 7.4, the steps that need no
collateral).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quotehelper.documents.der import encode_ecdsa_signature
from quotehelper.errors import VerificationError, VerificationReason
from quotehelper.sgx.quote import CertificationType, Quote
from quotehelper.verification.chains import PckChain, signature_holds, verify_pck_chain
from quotehelper.verification.quoting_enclave import public_key, verify_qe_report
from quotehelper.verification.semantics import STRICT, Semantics
from quotehelper.verification.steps import Step
from quotehelper.verification.verify import read_sgx_quote

if TYPE_CHECKING:
    from quotehelper.verification.roots import Roots

TAKEN = (
    Step.QUOTE_FORMAT,
    Step.CERTIFICATION_DATA,
    Step.PCK_CHAIN,
    Step.TRUSTED_ROOT,
    Step.QE_REPORT_SIGNATURE,
    Step.QE_REPORT_DATA,
    Step.QUOTE_SIGNATURE,
)
"""The steps that need no collateral, in order."""


class SignedQuote(NamedTuple):
    """A quote whose signatures hold, up to a root, and the chain that they lead along. No verdict on its worth."""

    quote: Quote
    chain: PckChain


def verify_signatures(raw: bytes, *, roots: Roots, semantics: Semantics = STRICT) -> SignedQuote:
    """The quote in ``raw``, which anybody may have made, if its signatures hold. Validity in time is not looked at.

    Raises VerificationError of one of the steps `TAKEN`.
    """
    quote, _report = read_sgx_quote(raw)
    if quote.certification.type is not CertificationType.PCK_CHAIN:
        problem = f"The quote has certification data of type {quote.certification.type:d}, without a certificate chain"
        remedy = "On its node, give the quote provider library a working collateral service, and quote again"
        raise VerificationError(Step.CERTIFICATION_DATA, VerificationReason.UNSUPPORTED, problem, remedy)
    chain = verify_pck_chain(quote.certification.data, roots, semantics)
    verify_qe_report(
        chain.pck, quote.attestation_key, quote.qe_report.raw, quote.qe_report_signature, quote.auth_data, semantics
    )
    key = public_key(quote.attestation_key)
    if not signature_holds(key, encode_ecdsa_signature(quote.signature), quote.signed):
        problem = "The quote's signature does not hold: header or report were changed, or it is not by this key"
        raise VerificationError(Step.QUOTE_SIGNATURE, VerificationReason.SIGNATURE, problem)
    return SignedQuote(quote, chain)
