"""Documents proven before they are kept: nothing reaches the store but what this room returns. Pure.

Proof is verification's (chains, endorsements), in strict semantics. Whether a document is still valid is a question
of its own, as one that has expired may be kept for lack of a newer one (see `check_current`).
"""

from __future__ import annotations

import datetime as dt
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.collateral.catalog import (
    CAS,
    ENCLAVE_OF,
    Document,
    Key,
    Kind,
    PckCertificate,
    PckSet,
    RawTcb,
)
from quotehelper.documents.collateral import Collateral
from quotehelper.documents.der import encode_ecdsa_signature
from quotehelper.documents.pck import Role
from quotehelper.documents.signed_json import parse_object, split_signed
from quotehelper.errors import DecodeError, SourceCause, SourceError, VerificationError
from quotehelper.verification import chains, endorsements
from quotehelper.verification.semantics import STRICT
from quotehelper.verification.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quotehelper.documents.pck import Certificate
    from quotehelper.verification.roots import Roots
    from quotehelper.verification.semantics import Semantics

EVALUATION_NUMBERS_NAME = "tcbEvaluationDataNumbers"
CLOCK_SLACK = dt.timedelta(minutes=10)
"""How far in the future a document may have been issued: clocks differ."""

_VERSION_OF_API = {2: 3, 3: 4}
"""The API version that serves a TCB info of each version (dcap 6.1)."""
_CA_OF_ROLE = {Role.PROCESSOR_CA: CAS[0], Role.PLATFORM_CA: CAS[1]}


class Trust(NamedTuple):
    """Whose documents are kept."""

    roots: Roots
    semantics: Semantics = STRICT


def prove_tcb_info(
    raw: bytes, chain: bytes, root_crl: bytes, trust: Trust, *, update: str, fmspc: str | None = None
) -> Document:
    """The TCB info in ``raw``, of SGX or TDX, signed by ``chain`` (PEM). It must be of ``fmspc``, if that is given.

    Raises SourceError: UNPROVEN, or MALFORMED for another platform family's.
    """
    with _proving("TCB info"):
        proven = endorsements.verify_tcb_info(_collateral(chain, root_crl, tcb_info=raw), trust.roots, trust.semantics)
    info = proven.document
    subject = info.fmspc.hex().upper()
    if fmspc is not None and subject != fmspc:
        raise SourceError(SourceCause.MALFORMED, "TCB info", f"of FMSPC {subject}, not of {fmspc}")
    kind = Kind.TDX_TCB_INFO if info.id == "TDX" else Kind.TCB_INFO
    key = Key(kind, subject, _VERSION_OF_API[info.version], update)
    return Document(key, raw, chain, info.tcb_evaluation_data_number, info.issue_date, info.next_update)


def prove_identity(  # noqa: PLR0913  see prove_tcb_info
    raw: bytes, chain: bytes, root_crl: bytes, trust: Trust, *, kind: Kind, version: int, update: str
) -> Document:
    """The identity in ``raw`` of the enclave of ``kind``. Raises SourceError: UNPROVEN, MALFORMED for another's."""
    with _proving("enclave identity"):
        collateral = _collateral(chain, root_crl, qe_identity=raw)
        identity = endorsements.verify_qe_identity(collateral, trust.roots, trust.semantics).document
    if identity.id != ENCLAVE_OF[kind]:
        raise SourceError(SourceCause.MALFORMED, "enclave identity", f"of {identity.id}, not of {ENCLAVE_OF[kind]}")
    key = Key(kind, "", version, update)
    return Document(key, raw, chain, identity.tcb_evaluation_data_number, identity.issue_date, identity.next_update)


def prove_evaluation_numbers(raw: bytes, chain: bytes, root_crl: bytes, trust: Trust) -> Document:
    """The list of TCB evaluation data numbers in ``raw``. Raises SourceError: UNPROVEN."""
    with _proving("TCB evaluation data numbers"):
        signers = chains.verify_signing_chain(chain, Step.TCB_INFO_CHAIN, root_crl, *trust)
        body, signature = split_signed(raw, EVALUATION_NUMBERS_NAME)
        if not chains.signature_holds(signers.signer.public_key, encode_ecdsa_signature(signature), body):
            raise DecodeError(EVALUATION_NUMBERS_NAME, "signature", "does not hold")
        fields = parse_object(body, EVALUATION_NUMBERS_NAME)
        return Document(
            Key(Kind.EVALUATION_NUMBERS, "", 4), raw, chain, 0, fields.time("issueDate"), fields.time("nextUpdate")
        )


def prove_root_crl(raw: bytes, chain: bytes, trust: Trust) -> Document:
    """The root's revocation list in ``raw``; ``chain``: any PEM chain that ends in the root. Raises SourceError.

    Its name is the distribution point that the root's certificate gives.
    """
    with _proving("root's revocation list"):
        root = chains.verify_root(chain, Step.ROOT_CA_CRL, *trust)
        crl = chains.verify_crl(raw, root, Step.ROOT_CA_CRL, trust.semantics)
        key = Key(Kind.ROOT_CA_CRL, root.crl_distribution_point or "")
        return Document(key, crl.der, root.pem(), 0, crl.this_update, crl.next_update)


def prove_pck_crl(raw: bytes, chain: bytes, ca: str, trust: Trust) -> Document:
    """The revocation list of ``ca``, a name of `CAS`, in ``raw``; ``chain``: intermediate and root. SourceError."""
    with _proving("PCK revocation list"):
        intermediate, _ = _intermediate(chain, ca, trust)
        crl = chains.verify_crl(raw, intermediate, Step.PCK_CRL, trust.semantics)
        return Document(Key(Kind.PCK_CRL, ca), crl.der, chain, 0, crl.this_update, crl.next_update)


def prove_pck_chain(chain: bytes, ca: str, trust: Trust) -> Document:
    """``chain``, intermediate and root, as what PCK certificates of ``ca`` are issued by. Raises SourceError."""
    with _proving("PCK issuer chain"):
        intermediate, root = _intermediate(chain, ca, trust)
    text = intermediate.pem() + root.pem()
    return Document(Key(Kind.PCK_CHAIN, ca), text, b"", 0, intermediate.not_before, intermediate.not_after)


def prove_pck_certificate(pem: bytes, chain: bytes, trust: Trust) -> PckCertificate:
    """The PCK certificate in ``pem``, issued by ``chain`` (intermediate and root). Raises SourceError: UNPROVEN."""
    with _proving("PCK certificate"):
        proven = chains.verify_pck_chain(pem.rstrip(b"\0\n") + b"\n" + chain, *trust)
        said = proven.platform
        role = proven.intermediate.role
        if role not in _CA_OF_ROLE:
            raise DecodeError("Certificate", "issuer", "neither processor CA nor platform CA")
        if bytes(said.components) != said.cpu_svn:
            raise DecodeError("SgxExtension", "cpu_svn", "does not equal the components")
    tcb = RawTcb(said.cpu_svn.hex().upper(), said.pce_svn.to_bytes(2, "little").hex().upper())
    fmspc, pce_id = said.fmspc.hex().upper(), said.pce_id.hex().upper()
    return PckCertificate(proven.leaf.pem(), tcb, fmspc, pce_id, _CA_OF_ROLE[role], said.ppid)


def check_one_platform(certificates: Sequence[PckCertificate], pce_id: str) -> None:
    """Raise SourceError (MALFORMED) unless all are of one platform, with ``pce_id``."""
    if len({(c.ppid, c.fmspc, c.ca) for c in certificates}) > 1 or any(c.pce_id != pce_id for c in certificates):
        raise SourceError(SourceCause.MALFORMED, "PCK certificates", "they are of different platforms")


def make_set(pairs: Sequence[tuple[str, bytes | None]], chain: bytes, pce_id: str, trust: Trust) -> PckSet:
    """The proven set of ``pairs`` of TCBm and certificate (None: not available), issued by ``chain``.

    Raises SourceError: UNPROVEN, MALFORMED if they don't belong together.
    """
    certificates = []
    for tcbm, pem in pairs:
        if pem is not None:
            certificate = prove_pck_certificate(pem, chain, trust)
            if tcbm and certificate.tcb.tcbm != tcbm:
                raise SourceError(SourceCause.MALFORMED, "PCK certificate", "it is for another TCB than the list says")
            certificates.append(certificate)
    check_one_platform(certificates, pce_id)
    return PckSet(tuple(certificates), tuple(tcbm for tcbm, pem in pairs if pem is None))


def check_current(document: Document, now: dt.datetime) -> None:
    """Raise SourceError (STALE) if ``document`` is not valid at ``now``: expired, or not yet issued."""
    if document.next_update < now:
        raise SourceError(SourceCause.STALE, str(document.key), f"valid until {document.next_update:%Y-%m-%d %H:%M}")
    if document.issued_at > now + CLOCK_SLACK:
        detail = f"issued at {document.issued_at:%Y-%m-%d %H:%M}, which is to come"
        raise SourceError(SourceCause.STALE, str(document.key), detail)


def root_crl_uri(chain: bytes, trust: Trust) -> str:
    """Where the root of ``chain`` (PEM), which must be trusted, says that its CRL is; empty if it does not say.

    Raises SourceError (UNPROVEN) for another root, so that no stranger can have anything fetched.
    """
    with _proving("issuer chain"):
        return chains.verify_root(chain, Step.ROOT_CA_CRL, *trust).crl_distribution_point or ""


def _intermediate(chain: bytes, ca: str, trust: Trust) -> tuple[Certificate, Certificate]:
    intermediate, root = chains.verify_ca_chain(chain, Step.PCK_CRL, *trust)
    if intermediate.role is None or _CA_OF_ROLE.get(intermediate.role) != ca:
        raise DecodeError("Certificate", "subject", f"not the {ca.lower()} CA")
    return intermediate, root


def _collateral(chain: bytes, root_crl: bytes, *, tcb_info: bytes = b"", qe_identity: bytes = b"") -> Collateral:
    return Collateral(
        pck_crl_issuer_chain=b"",
        root_ca_crl=root_crl,
        pck_crl=b"",
        tcb_info_issuer_chain=chain,
        tcb_info=tcb_info,
        qe_identity_issuer_chain=chain,
        qe_identity=qe_identity,
    )


@contextmanager
def _proving(what: str) -> Iterator[None]:
    """Say of whatever does not hold that ``what`` is not proven."""
    try:
        yield
    except (VerificationError, DecodeError) as error:
        raise SourceError(SourceCause.UNPROVEN, what, str(error)) from error
