"""Certificates and chains around the PCK, and CRLs: read, typed, not verified. Pure.

Source: dcap 5.1 and 5.2. Parsing X.509 is the cryptography library's; what is here bounds its input, turns its many
exceptions into DecodeError, and gives the fields that verification needs. The library parses lazily, so reading
touches every field once: what has been read can be asked for anything. Chains are sorted by issuer, as generators
disagree on the order (dcap 1.1); the exact DER of each certificate is kept.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
import warnings
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from quotehelper.documents.sgx_extension import OID, SgxExtension, read_sgx_extension
from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

CHAIN_LIMIT = 64 * 1024
"""Bytes of a chain's text; the largest that a QE takes has 12,294 (dcap 1.1)."""
CERTIFICATES_LIMIT = 8
"""Certificates in a chain; Intel's have 2 or 3."""
CRL_LIMIT = 4 << 20
"""Bytes of a CRL; Intel's largest has 2,700."""

_T = TypeVar("_T")
_E = TypeVar("_E", bound=x509.ExtensionType)
_CERTIFICATE_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*")
_CRL_PEM = re.compile(rb"\s*-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]+)-----END X509 CRL-----\s*")
_HEXADECIMAL = re.compile(rb"\s*(?:[0-9A-Fa-f]{2})+\s*")
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    Warning,
)
"""What the library says of bytes it can't read. Its warnings are about what no standard allows."""


class Role(enum.Enum):
    """What a certificate is for, by Intel's phrases in its common name (dcap 5.3)."""

    ROOT = "SGX Root CA"
    PROCESSOR_CA = "SGX PCK Processor CA"
    PLATFORM_CA = "SGX PCK Platform CA"
    PCK = "SGX PCK Certificate"
    TCB_SIGNING = "SGX TCB Signing"


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate: its ``der``, and what it says; its sender controls all of it until it is verified."""

    der: bytes
    x509: x509.Certificate

    @property
    def subject(self) -> str:
        """The subject's common name; empty if it has none."""
        return _common_name(self.x509.subject)

    @property
    def issuer(self) -> str:
        """The issuer's common name; empty if it has none."""
        return _common_name(self.x509.issuer)

    @property
    def role(self) -> Role | None:
        """What it is for, or None if its name doesn't say."""
        return next((role for role in Role if role.value in self.subject), None)

    @property
    def serial_number(self) -> int:
        """The number that a CRL revokes it by: at least 1, at most 160 bits."""
        return self.x509.serial_number

    @property
    def not_before(self) -> dt.datetime:
        """From when it is good."""
        return self.x509.not_valid_before_utc

    @property
    def not_after(self) -> dt.datetime:
        """Until when it is good."""
        return self.x509.not_valid_after_utc

    @property
    def subject_key_id(self) -> bytes | None:
        """The key's id, if it says one; Intel's is SHA-1 over the SubjectPublicKeyInfo, which nobody checks."""
        return _value(self.x509.extensions, x509.SubjectKeyIdentifier, lambda ski: ski.digest)

    @property
    def authority_key_id(self) -> bytes | None:
        """The id of the issuer's key, if it says one."""
        return _value(self.x509.extensions, x509.AuthorityKeyIdentifier, lambda aki: aki.key_identifier)

    @property
    def signed(self) -> bytes:
        """The bytes that the issuer's signature covers (TBSCertificate)."""
        return self.x509.tbs_certificate_bytes

    @property
    def signature(self) -> bytes:
        """The issuer's signature: DER of r and s."""
        return self.x509.signature

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Its P-256 key. Raises DecodeError for any other."""
        key = _guarded("Certificate", "public_key", self.x509.public_key)
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise DecodeError("Certificate", "public_key", "a P-256 key expected")
        return key

    @property
    def sgx_extension(self) -> SgxExtension:
        """Its SGX extension. Raises DecodeError if it has none, or a malformed one."""
        oid = x509.ObjectIdentifier(OID)
        try:
            value = self.x509.extensions.get_extension_for_oid(oid).value
        except x509.ExtensionNotFound as error:
            raise DecodeError("Certificate", "sgx_extension", "absent") from error
        return read_sgx_extension(value.public_bytes())

    @property
    def crl_distribution_point(self) -> str | None:
        """Where its issuer's CRL is served, if it says so by one URI."""
        points = _value(self.x509.extensions, x509.CRLDistributionPoints, tuple) or ()
        names = [name for point in points for name in point.full_name or ()]
        uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
        return uris[0] if len(uris) == 1 else None

    def pem(self) -> bytes:
        """Its PEM text, line ends LF."""
        return self.x509.public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class CertificateChain:
    """Certificates from the leaf to the root, whatever order they came in."""

    certificates: tuple[Certificate, ...]

    @property
    def leaf(self) -> Certificate:
        """The certificate that no other was issued by."""
        return self.certificates[0]

    @property
    def root(self) -> Certificate:
        """The last certificate: the trust anchor, if it is one's own."""
        return self.certificates[-1]

    def pem(self) -> bytes:
        """The chain's PEM text, leaf first."""
        return b"".join(certificate.pem() for certificate in self.certificates)


def read_certificate(der: bytes) -> Certificate:
    """The certificate whose DER is ``der``, which anybody may have written. Raises DecodeError, naming the field."""
    if len(der) > CHAIN_LIMIT:
        raise DecodeError("Certificate", "", f"{len(der)} bytes, at most {CHAIN_LIMIT} are taken")
    certificate = Certificate(der, _guarded("Certificate", "", lambda: x509.load_der_x509_certificate(der)))
    _touch(certificate, "x509.extensions", "subject", "issuer", "serial_number", "not_before", "not_after")
    return certificate


def read_chain(raw: bytes) -> CertificateChain:
    """The chain in ``raw``, PEM text with or without Intel's NUL behind it; anybody may have written it.

    Raises DecodeError if there is anything else in it, no certificate, or more than 8. The order is by issuer: each
    is followed by the one whose subject issued it.
    """
    text = raw.rstrip(b"\0")
    if len(text) > CHAIN_LIMIT:
        raise DecodeError("CertificateChain", "", f"{len(text)} bytes, at most {CHAIN_LIMIT} are taken")
    blocks = list(_CERTIFICATE_PEM.finditer(text))
    if not blocks or b"".join(map(re.Match.group, blocks)) != text.lstrip() or len(blocks) > CERTIFICATES_LIMIT:
        raise DecodeError(
            "CertificateChain", "", f"1 to {CERTIFICATES_LIMIT} PEM certificates and nothing else expected"
        )
    ders = [_decode_base64("CertificateChain", f"[{number}]", block[1]) for number, block in enumerate(blocks)]
    return CertificateChain(tuple(_sorted([read_certificate(der) for der in ders])))


@dataclass(frozen=True, slots=True)
class Revocation:
    """An entry of a CRL."""

    serial_number: int
    date: dt.datetime
    reason: str | None


@dataclass(frozen=True, slots=True)
class Crl:
    """A certificate revocation list: its ``der``, and what it says."""

    der: bytes
    x509: x509.CertificateRevocationList

    @property
    def issuer(self) -> str:
        """The issuer's common name; empty if it has none."""
        return _common_name(self.x509.issuer)

    @property
    def this_update(self) -> dt.datetime:
        """When it was issued."""
        return self.x509.last_update_utc

    @property
    def authority_key_id(self) -> bytes | None:
        """The id of the issuer's key, if it says one."""
        return _value(self.x509.extensions, x509.AuthorityKeyIdentifier, lambda aki: aki.key_identifier)

    @property
    def signed(self) -> bytes:
        """The bytes that the issuer's signature covers (TBSCertList)."""
        return self.x509.tbs_certlist_bytes

    @property
    def signature(self) -> bytes:
        """The issuer's signature: DER of r and s."""
        return self.x509.signature

    @property
    def next_update(self) -> dt.datetime:
        """Until when it is good. Raises DecodeError if it does not say."""
        until = self.x509.next_update_utc
        if until is None:
            raise DecodeError("Crl", "next_update", "absent")
        return until

    @property
    def number(self) -> int | None:
        """Its CRL number; Intel's is always 1 (dcap 5.2)."""
        return _value(self.x509.extensions, x509.CRLNumber, lambda number: number.crl_number)

    @property
    def revoked(self) -> tuple[Revocation, ...]:
        """Its entries."""
        return _guarded("Crl", "revoked", lambda: tuple(_read_entry(entry) for entry in self.x509))

    def pem(self) -> bytes:
        """Its PEM text, line ends LF."""
        return self.x509.public_bytes(Encoding.PEM)


def read_crl(raw: bytes) -> Crl:
    """The CRL in ``raw``: DER, PEM, or hexadecimal of DER, as services serve it (dcap 6.2). Raises DecodeError."""
    if len(raw) > CRL_LIMIT:
        raise DecodeError("Crl", "", f"{len(raw)} bytes, at most {CRL_LIMIT} are taken")
    text = raw.rstrip(b"\0")
    if pem := _CRL_PEM.fullmatch(text):
        der = _decode_base64("Crl", "", pem[1])
    else:
        der = bytes.fromhex(text.decode()) if _HEXADECIMAL.fullmatch(text) else raw
    crl = Crl(der, _guarded("Crl", "", lambda: x509.load_der_x509_crl(der)))
    _touch(crl, "x509.extensions", "x509.next_update_utc", "issuer", "this_update", "number", "revoked")
    return crl


def _decode_base64(structure: str, field: str, text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise DecodeError(structure, field, "not base64") from error


def _touch(document: object, *names: str) -> None:
    """Have the library parse the fields ``names`` now. Raises DecodeError for one that it can't."""
    name = ""
    try:
        with warnings.catch_warnings(action="error"):
            for name in names:
                attrgetter(name)(document)
    except _UNREADABLE as error:
        raise _unreadable(type(document).__name__, name.removeprefix("x509."), error) from error


def _sorted(certificates: list[Certificate]) -> list[Certificate]:
    """From the certificate that issued none of the others, along the issuers; what does not fit in comes last."""
    left = list(certificates)
    issuers = [c.x509.issuer for c in left if c.x509.issuer != c.x509.subject]
    leaves = (c for c in left if c.x509.subject not in issuers and c.role is not Role.ROOT)
    following: Certificate | None = next(leaves, left[0])
    chain: list[Certificate] = []
    while following is not None:
        chain.append(following)
        left.remove(following)
        following = next((c for c in left if c.x509.subject == chain[-1].x509.issuer), None)
    return chain + left


def _read_entry(entry: x509.RevokedCertificate) -> Revocation:
    reason = _value(entry.extensions, x509.CRLReason, lambda given: str(given.reason.value))
    return Revocation(entry.serial_number, entry.revocation_date_utc, reason)


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def _value(extensions: x509.Extensions, kind: type[_E], read: Callable[[_E], _T]) -> _T | None:
    """What ``read`` finds in the extension of ``kind``, None if there is none."""
    try:
        return read(extensions.get_extension_for_class(kind).value)
    except x509.ExtensionNotFound:
        return None


def _guarded(structure: str, field: str, read: Callable[[], _T]) -> _T:
    """What ``read`` yields; whatever the library raises for bytes it can't read becomes DecodeError."""
    try:
        with warnings.catch_warnings(action="error"):
            return read()
    except _UNREADABLE as error:
        raise _unreadable(structure, field, error) from error


def _unreadable(structure: str, field: str, error: Exception) -> DecodeError:
    return DecodeError(structure, field, f"not readable: {error}".split("\n")[0][:200])
