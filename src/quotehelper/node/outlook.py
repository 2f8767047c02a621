"""What verifiers will say of this platform's quotes, today and in the weeks ahead. Pure.

Each document is proven and dated by itself, so that one which is missing or expired hides nothing of the others.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.collateral import proof
from quotehelper.collateral.catalog import STANDARD, Kind
from quotehelper.collateral.gathering import ca_of
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import DecodeError, SourceError, VerificationError, VerificationReason
from quotehelper.sgx.quote import read_quote
from quotehelper.verification import verify
from quotehelper.verification.chains import verify_pck_chain
from quotehelper.verification.semantics import INTEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from quotehelper.collateral.proof import Trust
    from quotehelper.documents.collateral import Collateral

UNKNOWN = "unknown"
TCB_STATUSES = (*(status.value for status in TcbStatus), UNKNOWN)
"""What can be said of the platform; UNKNOWN: there was no quote to judge, or it could not be judged."""

PCK_CERTIFICATE, TCB_INFO, QE_IDENTITY = "pck_certificate", "tcb_info", "qe_identity"
PCK_CRL, ROOT_CA_CRL = "pck_crl", "root_ca_crl"
DOCUMENTS = (PCK_CERTIFICATE, TCB_INFO, QE_IDENTITY, PCK_CRL, ROOT_CA_CRL)

_MONTHS, _WEEKS = dt.timedelta(days=60), dt.timedelta(days=14)
NOTICE = {PCK_CERTIFICATE: _MONTHS, TCB_INFO: _WEEKS, QE_IDENTITY: _WEEKS, PCK_CRL: _WEEKS, ROOT_CA_CRL: _WEEKS}
"""How long before its end a document is warned of. Intel's services date the lower four 30 days ahead, and anew at
least each week; a certificate may need new firmware first."""

_UPDATE = "Update BIOS, microcode and platform software, then provision the platform again"
_CONFIGURE = "Change the BIOS settings that the advisories name, often hyper-threading"
_HARDEN = "Harden enclaves as the advisories say; verifiers may want that proven"
REMEDIES = {
    TcbStatus.UP_TO_DATE.value: "",
    TcbStatus.SW_HARDENING_NEEDED.value: _HARDEN,
    TcbStatus.CONFIGURATION_NEEDED.value: _CONFIGURE,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED.value: f"{_CONFIGURE}. {_HARDEN}",
    TcbStatus.OUT_OF_DATE.value: _UPDATE,
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED.value: f"{_UPDATE}. {_CONFIGURE}",
    TcbStatus.REVOKED.value: "Take the platform out of service: verifiers refuse all its quotes",
    UNKNOWN: "See in the daemon's log which collateral does not hold",
}
"""What to do about each status."""


class Outlook(NamedTuple):
    """What was foreseen. ``expires``: by document, those only that were proven. ``troubles``: what does not hold."""

    status: str
    advisory_ids: tuple[str, ...]
    expires: Mapping[str, dt.datetime]
    troubles: tuple[str, ...]

    def ending(self, at: dt.datetime) -> Iterator[str]:
        """The documents that end within their notice of ``at``, or have ended."""
        return (document for document, end in self.expires.items() if end - at <= NOTICE[document])


def foresee(quote: bytes | None, collateral: Collateral, trust: Trust, at: dt.datetime) -> Outlook:
    """What ``collateral``, which anybody may have served, says at ``at`` of the platform that made ``quote``.

    Without a quote the platform is unknown, unless collateral has its PCK chain; then its certificate is dated. Never
    raises for what any of them contains.
    """
    expires: dict[str, dt.datetime] = {}
    troubles: list[str] = []
    for document, prove in _proofs(quote, collateral, trust).items():
        try:
            if (end := prove()) is not None:
                expires[document] = end
        except (SourceError, VerificationError, DecodeError) as error:
            troubles.append(f"{error}")
    status = UNKNOWN
    advisory_ids: tuple[str, ...] = ()
    if quote is not None:
        try:
            verified = verify.verify(quote, collateral, roots=trust.roots, at=at, semantics=INTEL)
        except VerificationError as error:
            status = TcbStatus.REVOKED.value if error.reason is VerificationReason.REVOKED else UNKNOWN
            troubles.append(f"{error}")
        else:
            status, advisory_ids = verified.status.value, verified.advisory_ids
    return Outlook(status, advisory_ids, expires, tuple(troubles))


def _proofs(
    quote: bytes | None, collateral: Collateral, trust: Trust
) -> Mapping[str, Callable[[], dt.datetime | None]]:
    """By document: what proves it and says when it ends, None if there is none to ask for."""
    root_crl, chain = collateral.root_ca_crl, collateral.tcb_info_issuer_chain
    identity_chain, crl_chain = collateral.qe_identity_issuer_chain, collateral.pck_crl_issuer_chain
    return {
        PCK_CERTIFICATE: lambda: _end_of_chain(quote, collateral, trust),
        TCB_INFO: lambda: (
            proof.prove_tcb_info(collateral.tcb_info, chain, root_crl, trust, update=STANDARD).next_update
        ),
        QE_IDENTITY: lambda: (
            proof.prove_identity(
                collateral.qe_identity,
                identity_chain,
                root_crl,
                trust,
                kind=Kind.QE_IDENTITY,
                version=4,
                update=STANDARD,
            ).next_update
        ),
        PCK_CRL: lambda: proof.prove_pck_crl(collateral.pck_crl, crl_chain, ca_of(collateral), trust).next_update,
        ROOT_CA_CRL: lambda: proof.prove_root_crl(root_crl, chain, trust).next_update,
    }


def _end_of_chain(quote: bytes | None, collateral: Collateral, trust: Trust) -> dt.datetime | None:
    pem = collateral.pck_chain if quote is None else read_quote(quote).certification.pem_chain()
    if pem is None:
        return None
    chain = verify_pck_chain(pem, trust.roots, trust.semantics)
    return min(certificate.not_after for certificate in (chain.leaf, chain.intermediate, chain.root))
