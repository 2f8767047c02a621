"""Certificate chains and revocation lists: roles, extensions, signatures, revocation. Pure.

Three links need no path building: each certificate has a role, by Intel's phrases in its name, and its issuer is the
next (dcap 5.2, 7.4 step 6). What is proven here does not depend on time; windows are `validity`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from quotehelper.documents.pck import Certificate, Crl, Role, read_chain, read_crl
from quotehelper.errors import CollateralError, DecodeError, VerificationError, VerificationReason
from quotehelper.verification.roots import Origin, public_point
from quotehelper.verification.steps import Step

if TYPE_CHECKING:
    from quotehelper.documents.sgx_extension import SgxExtension
    from quotehelper.verification.roots import Roots
    from quotehelper.verification.semantics import Semantics

_EXTENSIONS: dict[type[x509.ExtensionType], str] = {
    x509.AuthorityKeyIdentifier: "authority key identifier",
    x509.CRLDistributionPoints: "CRL distribution points",
    x509.SubjectKeyIdentifier: "subject key identifier",
    x509.KeyUsage: "key usage",
    x509.BasicConstraints: "basic constraints",
}
"""What every certificate has; Intel's verifier only looks whether it is there (dcap 5.3)."""

_CRL_EXTENSIONS: dict[type[x509.ExtensionType], str] = {
    x509.AuthorityKeyIdentifier: "authority key identifier",
    x509.CRLNumber: "CRL number",
}
_UNDERSTOOD = {kind.oid for kind in _EXTENSIONS}
_INTERMEDIATE_PHRASE = "CA"
_FORMAT, _ISSUER = VerificationReason.FORMAT, VerificationReason.ISSUER


@dataclass(frozen=True, slots=True)
class PckChain:
    """A PCK chain whose links hold: leaf, intermediate, root, the leaf's key, and what it says about its platform."""

    leaf: Certificate
    intermediate: Certificate
    root: Certificate
    pck: ec.EllipticCurvePublicKey
    platform: SgxExtension


@dataclass(frozen=True, slots=True)
class SigningChain:
    """Who signed a document: their certificate, the root, and the root's revocation list."""

    signer: Certificate
    root: Certificate
    root_crl: Crl
    step: Step
    """For whose document."""


def verify_pck_chain(pem: bytes, roots: Roots, semantics: Semantics) -> PckChain:
    """The chain in ``pem``, which came with a quote. Raises VerificationError: PCK_CHAIN, TRUSTED_ROOT."""
    step = Step.PCK_CHAIN
    certificates = _read(pem, step)
    if len(certificates) != 3:  # noqa: PLR2004  leaf, intermediate, root
        raise VerificationError(step, _FORMAT, f"The PCK chain has {len(certificates)} certificates, not three")
    root = _take(certificates, Role.ROOT.value, step)
    leaf = _take(certificates, Role.PCK.value, step)
    intermediate = _take(certificates, _INTERMEDIATE_PHRASE, step)
    _check_issued(root, root, step)
    _check_issued(intermediate, root, step)
    _check_issued(leaf, intermediate, step)
    for certificate, length in ((root, 1), (intermediate, 0), (leaf, None)):
        _check_extensions(certificate, step, semantics, path_length=length)
    try:
        platform = leaf.sgx_extension
    except DecodeError as error:
        raise VerificationError(step, _FORMAT, f"The PCK certificate's SGX extension can't be read: {error}") from error
    _check_trusted(root, roots, Step.TRUSTED_ROOT)
    return PckChain(leaf, intermediate, root, leaf.public_key, platform)


def verify_ca_chain(pem: bytes, step: Step, roots: Roots, semantics: Semantics) -> tuple[Certificate, Certificate]:
    """Intermediate and root in ``pem``, which came with a revocation list. Raises VerificationError of ``step``."""
    certificates = _read(pem, step)
    if len(certificates) != 2:  # noqa: PLR2004  intermediate and root
        raise VerificationError(step, _FORMAT, f"The CA's chain has {len(certificates)} certificates, not two")
    root = _take(certificates, Role.ROOT.value, step)
    intermediate = _take(certificates, _INTERMEDIATE_PHRASE, step)
    _check_issued(root, root, step)
    _check_issued(intermediate, root, step)
    for certificate, length in ((root, 1), (intermediate, 0)):
        _check_extensions(certificate, step, semantics, path_length=length)
    _check_trusted(root, roots, step)
    return intermediate, root


def verify_root(pem: bytes, step: Step, roots: Roots, semantics: Semantics) -> Certificate:
    """The root in ``pem``, any chain that ends in it. Raises VerificationError of ``step``."""
    root = _take(_read(pem, step), Role.ROOT.value, step)
    _check_issued(root, root, step)
    _check_extensions(root, step, semantics, path_length=1)
    _check_trusted(root, roots, step)
    return root


def verify_signing_chain(pem: bytes, step: Step, root_crl: bytes, roots: Roots, semantics: Semantics) -> SigningChain:
    """The chain in ``pem``, which came with a signed document. Raises VerificationError of ``step``.

    ``root_crl``: the root's revocation list, which must not revoke the signer.
    """
    certificates = _read(pem, step)
    if len(certificates) != 2:  # noqa: PLR2004  signer and root
        raise VerificationError(step, _FORMAT, f"The signer's chain has {len(certificates)} certificates, not two")
    root = _take(certificates, Role.ROOT.value, step)
    signer = _take(certificates, Role.TCB_SIGNING.value, step)
    _check_issued(root, root, step)
    _check_issued(signer, root, step)
    _check_extensions(root, step, semantics, path_length=1)
    _check_extensions(signer, step, semantics, path_length=None)
    crl = verify_crl(root_crl, root, step, semantics)
    check_not_revoked(signer, crl, step)
    _check_trusted(root, roots, step)
    return SigningChain(signer, root, crl, step)


def check_same_root(chain: SigningChain, pck_chain: PckChain) -> None:
    """Check that both chains end in one certificate, to the byte. Raises VerificationError of the signer's step."""
    if chain.root.signature != pck_chain.root.signature:
        problem = "The signer's chain ends in another certificate of the root than the PCK chain"
        raise VerificationError(
            chain.step, VerificationReason.UNTRUSTED, problem, "Strict semantics compare the root's key"
        )


def verify_crl(raw: bytes, issuer: Certificate, step: Step, semantics: Semantics) -> Crl:
    """The revocation list in ``raw``, issued by ``issuer``, which is verified. Raises VerificationError of ``step``."""
    if not raw:
        raise missing(step, f"revocation list of {issuer.subject!r}")
    try:
        crl = read_crl(raw)
        _ = crl.next_update
    except DecodeError as error:
        raise VerificationError(step, _FORMAT, f"The revocation list can't be read: {error}") from error
    name = f"The revocation list of {crl.issuer!r}"
    if crl.x509.issuer.public_bytes() != issuer.x509.subject.public_bytes():
        raise VerificationError(step, _ISSUER, f"{name} is not by {issuer.subject!r}")
    for kind, called in _CRL_EXTENSIONS.items():
        if not _has(crl.x509.extensions, kind):
            raise VerificationError(step, _FORMAT, f"{name} has no {called}")
    if semantics.check_path_constraints and not _usage(issuer).crl_sign:
        raise VerificationError(step, _ISSUER, f"The key of {issuer.subject!r} is not meant for revocation lists")
    if not signature_holds(issuer.public_key, crl.signature, crl.signed):
        raise VerificationError(step, VerificationReason.SIGNATURE, f"{name}: its signature does not hold")
    return crl


def read_crl_issuers(pem: bytes, chain: PckChain, semantics: Semantics) -> tuple[Certificate, ...]:
    """The certificates in ``pem``, which came with the revocation list of ``chain``'s intermediate.

    Raises VerificationError, PCK_CRL, if it can't be read; in strict semantics also if it holds other keys than those
    of the intermediate and the root.
    """
    certificates = _read(pem, Step.PCK_CRL)
    expected = {_identity(chain.intermediate), _identity(chain.root)}
    if semantics.check_crl_issuer_chain and set(map(_identity, certificates)) != expected:
        problem = "The chain that came with the PCK's revocation list is not that of the PCK's issuer"
        remedy = "Fetch collateral for the CA (processor or platform) that issued this platform's certificate"
        raise VerificationError(Step.PCK_CRL, VerificationReason.MISMATCH, problem, remedy)
    return tuple(certificates)


def check_not_revoked(certificate: Certificate, crl: Crl, step: Step) -> None:
    """Raise VerificationError of ``step`` if ``crl``, which is verified, revokes ``certificate``."""
    entry = crl.x509.get_revoked_certificate_by_serial_number(certificate.serial_number)
    if entry is not None:
        since = entry.revocation_date_utc.date()
        problem = f"{crl.issuer!r} has revoked the certificate {certificate.subject!r} on {since}"
        raise VerificationError(step, VerificationReason.REVOKED, problem, "Don't trust what it stands for any more")


def signature_holds(key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (DER) over SHA-256 of ``message`` is by the owner of ``key``."""
    try:
        key.verify(signature, message, _ECDSA_SHA256)
    except InvalidSignature:
        return False
    return True


def missing(step: Step, what: str) -> CollateralError:
    """The error that says that ``what`` is not among the collateral."""
    remedy = "Get it from a collateral service (PCCS), or from whoever made the bundle"
    return CollateralError(step, VerificationReason.MISSING, f"There is no {what}", remedy)


_ECDSA_SHA256 = ec.ECDSA(SHA256())


def _read(pem: bytes, step: Step) -> list[Certificate]:
    if not pem.strip(b"\0 \r\n"):
        raise missing(step, "certificate chain for this")
    try:
        certificates = read_chain(pem).certificates
        for certificate in certificates:
            _ = certificate.public_key
    except DecodeError as error:
        raise VerificationError(step, _FORMAT, f"The certificate chain can't be read: {error}") from error
    return list(certificates)


def _take(certificates: list[Certificate], phrase: str, step: Step) -> Certificate:
    """The certificate in the role of ``phrase``, taken out of ``certificates``; only the root issues itself."""
    is_root = phrase == Role.ROOT.value
    for certificate in certificates:
        issues_itself = certificate.x509.issuer.public_bytes() == certificate.x509.subject.public_bytes()
        if phrase in certificate.subject and issues_itself == is_root:
            certificates.remove(certificate)
            return certificate
    raise VerificationError(step, _FORMAT, f"No certificate with {phrase!r} in its name, or issued by the wrong one")


def _check_issued(certificate: Certificate, issuer: Certificate, step: Step) -> None:
    name = repr(certificate.subject)
    if certificate.x509.issuer.public_bytes() != issuer.x509.subject.public_bytes():
        raise VerificationError(step, _ISSUER, f"The certificate {name} was not issued by {issuer.subject!r}")
    if certificate.x509.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        raise VerificationError(step, _FORMAT, f"The certificate {name} is not signed with ECDSA and SHA-256")
    try:
        certificate.x509.verify_directly_issued_by(issuer.x509)
    except InvalidSignature:
        problem = f"The certificate {name}: the signature of {issuer.subject!r} does not hold"
        raise VerificationError(step, VerificationReason.SIGNATURE, problem) from None
    except ValueError:
        problem = f"The certificate {name} names two signature algorithms, one of them unsigned"
        raise VerificationError(step, _FORMAT, problem) from None


def _check_extensions(certificate: Certificate, step: Step, semantics: Semantics, *, path_length: int | None) -> None:
    """Check the extensions of a certification authority above ``path_length`` others, or of a leaf (None)."""
    extensions = certificate.x509.extensions
    name = f"The certificate {certificate.subject!r}"
    for kind, called in _EXTENSIONS.items():
        if not _has(extensions, kind):
            raise VerificationError(step, _FORMAT, f"{name} has no extension {called}")
    if not semantics.check_path_constraints:
        return
    constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    if constraints.ca != (path_length is not None):
        raise VerificationError(step, _ISSUER, f"{name}: whether it may issue others is not as it should be")
    allowed = constraints.path_length
    if path_length is not None and allowed is not None and allowed < path_length:
        raise VerificationError(step, _ISSUER, f"{name} may not stand this high in a chain")
    if path_length is not None and not _usage(certificate).key_cert_sign:
        raise VerificationError(step, _ISSUER, f"{name}: its key is not meant for certificates")
    for extension in extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise VerificationError(step, _FORMAT, f"{name} has an unknown critical extension")
        if isinstance(extension.value, x509.ExtendedKeyUsage) and not _SERVER_AUTH & set(extension.value):
            raise VerificationError(step, _FORMAT, f"{name}: its extended key usage does not fit")


_SERVER_AUTH = {ExtendedKeyUsageOID.SERVER_AUTH}
"""The usage under which dcap-qvl builds chains; Intel's certificates name none (dcap 7.5)."""


def _check_trusted(root: Certificate, roots: Roots, step: Step) -> None:
    if not roots.trust(root):
        problem = f"The root {root.subject!r} is not one that is trusted ({roots.origin.value})"
        raise VerificationError(step, VerificationReason.UNTRUSTED, problem, _TRUST_REMEDIES[roots.origin])


_TRUST_REMEDIES = {
    Origin.INTEL: "If it is a simulated platform's, say so with --insecure-simulated-root",
    Origin.SIMULATED: "Is it of another simulated platform? Give the root.pem that was exported with its collateral",
    Origin.PRIVATE: "Give the root of those who certified this platform",
}


def _identity(certificate: Certificate) -> tuple[bytes, bytes]:
    """Name and key: what two certificates of one authority have in common."""
    return certificate.x509.subject.public_bytes(), public_point(certificate)


def _usage(certificate: Certificate) -> x509.KeyUsage:
    return certificate.x509.extensions.get_extension_for_class(x509.KeyUsage).value


def _has(extensions: x509.Extensions, kind: type[x509.ExtensionType]) -> bool:
    return any(isinstance(extension.value, kind) for extension in extensions)
