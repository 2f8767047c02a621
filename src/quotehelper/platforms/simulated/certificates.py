"""Certificates and CRLs with Intel's habits to the letter, so that every verifier of Intel's accepts them. Pure.

Source: dcap 5.2 and 5.3, measured on real chains: names CN, O, L, ST, C in this order; five extensions everywhere, in
this order (AKI with the key id only, one CRL distribution point, SKI, key usage critical, basic constraints
critical), the SGX extension last in a leaf; SKI is SHA-1 over the whole SubjectPublicKeyInfo; the serial number of
everything but a leaf is its SKI. Every name says "Simulated" in front of Intel's phrase: verifiers look for the
phrase, people for the word.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from quotehelper.documents.sgx_extension import OID, SgxExtension, encode_sgx_extension

if TYPE_CHECKING:
    import datetime as dt

    from quotehelper.documents.pck import Role

SIMULATED = "Simulated"
_SERIAL_BITS = 159
"""Bits of a serial number at most: 20 bytes with a sign bit of 0 (RFC 5280)."""


class Issuer(NamedTuple):
    """Who signs: a private key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


class Validity(NamedTuple):
    """From when until when, to the second."""

    start: dt.datetime
    end: dt.datetime

    @classmethod
    def of_years(cls, start: dt.datetime, years: int) -> Validity:
        """From ``start`` to the same day and second ``years`` later (1 March for a 29 February)."""
        start = start.replace(microsecond=0)
        try:
            return cls(start, start.replace(year=start.year + years))
        except ValueError:
            return cls(start, start.replace(year=start.year + years, month=3, day=1))


def common_name(role: Role) -> str:
    """The common name of certificates in ``role``."""
    return f"{SIMULATED} {role.value}"


def make_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key whose id can be a serial number of 20 bytes, as Intel's are: its first bit is 0."""
    while True:
        key = ec.generate_private_key(ec.SECP256R1())
        if _serial(key.public_key()).bit_length() <= _SERIAL_BITS:
            return key


def make_root(key: ec.EllipticCurvePrivateKey, role: Role, crl_uri: str, validity: Validity) -> x509.Certificate:
    """A self-signed root for ``key``."""
    name = _name(role)
    builder = x509.CertificateBuilder(name, name, key.public_key(), _serial(key.public_key()), *validity)
    return _extended(builder, key.public_key(), key.public_key(), crl_uri, path_length=1).sign(key, SHA256())


def make_authority(
    public_key: ec.EllipticCurvePublicKey, role: Role, issuer: Issuer, crl_uri: str, validity: Validity
) -> x509.Certificate:
    """An intermediate CA's certificate."""
    return _issue(public_key, role, issuer, crl_uri, validity, path_length=0)


def make_signer(
    public_key: ec.EllipticCurvePublicKey, role: Role, issuer: Issuer, crl_uri: str, validity: Validity
) -> x509.Certificate:
    """The certificate of whoever signs collateral."""
    return _issue(public_key, role, issuer, crl_uri, validity, path_length=None)


def make_pck(
    public_key: ec.EllipticCurvePublicKey,
    role: Role,
    issuer: Issuer,
    crl_uri: str,
    validity: Validity,
    extension: SgxExtension,
) -> x509.Certificate:
    """A PCK certificate, its serial number random."""
    builder = x509.CertificateBuilder(
        issuer.certificate.subject, _name(role), public_key, 1 << _SERIAL_BITS - 1 | secrets.randbits(_SERIAL_BITS - 1)
    )
    builder = builder.not_valid_before(validity.start).not_valid_after(validity.end)
    builder = _extended(builder, public_key, issuer.key.public_key(), crl_uri, path_length=None)
    value = x509.UnrecognizedExtension(x509.ObjectIdentifier(OID), encode_sgx_extension(extension))
    return builder.add_extension(value, critical=False).sign(issuer.key, SHA256())


def make_crl(issuer: Issuer, validity: Validity, revoked: tuple[int, ...]) -> bytes:
    """The DER of ``issuer``'s CRL with the serial numbers ``revoked``, as of ``validity.start``."""
    builder = x509.CertificateRevocationListBuilder(issuer.certificate.subject, validity.start, validity.end)
    for serial_number in revoked:
        entry = x509.RevokedCertificateBuilder(serial_number, validity.start)
        reason = x509.CRLReason(x509.ReasonFlags.key_compromise)
        builder = builder.add_revoked_certificate(entry.add_extension(reason, critical=False).build())
    builder = builder.add_extension(x509.CRLNumber(1), critical=False)
    builder = builder.add_extension(_authority_key_id(issuer.key.public_key()), critical=False)
    return builder.sign(issuer.key, SHA256()).public_bytes(Encoding.DER)


def _issue(
    public_key: ec.EllipticCurvePublicKey,
    role: Role,
    issuer: Issuer,
    crl_uri: str,
    validity: Validity,
    *,
    path_length: int | None,
) -> x509.Certificate:
    builder = x509.CertificateBuilder(
        issuer.certificate.subject, _name(role), public_key, _serial(public_key), *validity
    )
    builder = _extended(builder, public_key, issuer.key.public_key(), crl_uri, path_length=path_length)
    return builder.sign(issuer.key, SHA256())


def _extended(
    builder: x509.CertificateBuilder,
    public_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    crl_uri: str,
    *,
    path_length: int | None,
) -> x509.CertificateBuilder:
    """``builder`` with the five extensions; ``path_length`` None: of an end entity."""
    is_ca = path_length is not None
    usage = x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=not is_ca,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_uri)], None, None, None)
    return (
        builder.add_extension(_authority_key_id(issuer_key), critical=False)
        .add_extension(x509.CRLDistributionPoints([point]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier(_key_id(public_key)), critical=False)
        .add_extension(usage, critical=True)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=path_length), critical=True)
    )


def _name(role: Role) -> x509.Name:
    attributes = (
        (NameOID.COMMON_NAME, common_name(role)),
        (NameOID.ORGANIZATION_NAME, SIMULATED),
        (NameOID.LOCALITY_NAME, "Santa Clara"),
        (NameOID.STATE_OR_PROVINCE_NAME, "CA"),
        (NameOID.COUNTRY_NAME, "US"),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def _key_id(public_key: ec.EllipticCurvePublicKey) -> bytes:
    info = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha1(info, usedforsecurity=False).digest()


def _authority_key_id(public_key: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(_key_id(public_key), None, None)


def _serial(public_key: ec.EllipticCurvePublicKey) -> int:
    """The SKI as a number."""
    return int.from_bytes(_key_id(public_key), "big")
