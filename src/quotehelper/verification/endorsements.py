"""TCB info and QE identity: signed documents, proven before they are read. Pure.

Source: dcap 7.3 and 7.4 steps 7 and 8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from quotehelper.documents import qe_identity, tcb_info
from quotehelper.documents.der import encode_ecdsa_signature
from quotehelper.documents.qe_identity import EnclaveIdentity, parse_enclave_identity
from quotehelper.documents.signed_json import compact, split_signed
from quotehelper.documents.tcb_info import TcbInfo, TcbStatus, parse_tcb_info
from quotehelper.errors import DecodeError, VerificationError, VerificationReason
from quotehelper.verification import chains, tcb, validity
from quotehelper.verification.steps import Step
from quotehelper.verification.validity import Validity

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.documents.collateral import Collateral
    from quotehelper.verification.chains import SigningChain
    from quotehelper.verification.roots import Roots
    from quotehelper.verification.semantics import Semantics

_D = TypeVar("_D", TcbInfo, EnclaveIdentity)

_QE_STATUSES = frozenset(TcbStatus) - {
    TcbStatus.SW_HARDENING_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
}
"""The statuses that Intel's verifier knows of a quoting enclave."""


@dataclass(frozen=True, eq=False)
class Endorsement(Generic[_D]):
    """A signed document that was proven: its content, who signed it, and when both are valid."""

    document: _D
    chain: SigningChain
    validity: Validity


class _Kind(NamedTuple):
    """A kind of document: its name in JSON, its name for people, its steps."""

    member: str
    title: str
    chain: Step
    signature: Step
    format: Step
    validity: Step


_TCB_INFO = _Kind(
    tcb_info.NAME,
    "TCB info",
    Step.TCB_INFO_CHAIN,
    Step.TCB_INFO_SIGNATURE,
    Step.TCB_INFO_FORMAT,
    Step.TCB_INFO_VALIDITY,
)
_QE_IDENTITY = _Kind(
    qe_identity.NAME,
    "QE identity",
    Step.QE_IDENTITY_CHAIN,
    Step.QE_IDENTITY_SIGNATURE,
    Step.QE_IDENTITY_FORMAT,
    Step.QE_IDENTITY_VALIDITY,
)


def verify_tcb_info(collateral: Collateral, roots: Roots, semantics: Semantics) -> Endorsement[TcbInfo]:
    """The TCB info in ``collateral``, its levels from the highest down. Raises VerificationError of its steps."""
    proof = _verify(
        _TCB_INFO,
        collateral.tcb_info,
        collateral.tcb_info_issuer_chain,
        parse_tcb_info,
        collateral.root_ca_crl,
        roots,
        semantics,
    )
    info = proof.document
    if tcb.has_duplicates(info.levels):
        problem = "The TCB info lists a TCB level twice"
        raise VerificationError(Step.TCB_INFO_FORMAT, VerificationReason.FORMAT, problem)
    return replace(proof, document=replace(info, levels=tuple(tcb.sort_levels(info.levels))))


def verify_qe_identity(collateral: Collateral, roots: Roots, semantics: Semantics) -> Endorsement[EnclaveIdentity]:
    """The identity in ``collateral``. Raises VerificationError of its steps."""
    proof = _verify(
        _QE_IDENTITY,
        collateral.qe_identity,
        collateral.qe_identity_issuer_chain,
        parse_enclave_identity,
        collateral.root_ca_crl,
        roots,
        semantics,
    )
    for level in proof.document.levels:
        if level.status not in _QE_STATUSES:
            problem = f"The QE identity has a level of status {level.status.value}, which is none of an enclave's"
            raise VerificationError(Step.QE_IDENTITY_FORMAT, VerificationReason.FORMAT, problem)
    return proof


def _verify(  # noqa: PLR0913  one document with all that proves it
    kind: _Kind,
    raw: bytes,
    pem: bytes,
    parse: Callable[[bytes], _D],
    root_crl: bytes,
    roots: Roots,
    semantics: Semantics,
) -> Endorsement[_D]:
    """Chain, signature, content; in this order. Raises VerificationError of the ``kind``'s steps."""
    chain = chains.verify_signing_chain(pem, kind.chain, root_crl, roots, semantics)
    raw = raw.rstrip(b"\0")  # Intel's clients count the end of their strings (dcap 4.1)
    if not raw.strip():
        raise chains.missing(kind.signature, kind.title)
    try:
        body, signature = split_signed(raw, kind.member)
    except DecodeError as error:
        problem = f"The {kind.title} is no signed document: {error}"
        raise VerificationError(kind.signature, VerificationReason.FORMAT, problem) from error
    signed = compact(body) if semantics.insecure_text_rewritten else body
    key = chain.signer.public_key
    if signed != compact(body) or not chains.signature_holds(key, encode_ecdsa_signature(signature), signed):
        problem = (
            f"The {kind.title}'s signature does not hold: it was changed, or {chain.signer.subject!r} is not its author"
        )
        raise VerificationError(kind.signature, VerificationReason.SIGNATURE, problem)
    try:
        document = parse(body)
    except DecodeError as error:
        problem = f"The {kind.title} can't be read: {error}"
        raise VerificationError(kind.format, VerificationReason.FORMAT, problem) from error
    windows = (
        validity.of_certificate(f"root of the {kind.title}'s signer", chain.root, semantics),
        validity.of_certificate(f"certificate of the {kind.title}'s signer", chain.signer, semantics),
        validity.of_crl("root's revocation list", chain.root_crl, semantics),
        validity.of_document(kind.title, document.issue_date, document.next_update, semantics),
    )
    return Endorsement(document, chain, Validity(kind.validity, windows))
