"""Certificates that the webhook makes itself, in generations that overlap. Pure, but for the randomness of keys.

A generation is an authority, one certificate by it, and that certificate's key; the authority's own key is thrown away
as soon as it has signed, so nobody can sign another. Generations follow each other so that no review fails:

1. a new one is *published*: the API server is told to trust its authority beside the one in use,
2. ``PUBLISHED_S`` later it is *served*, by every replica at the same time, since all read the same clock and list,
3. another ``PUBLISHED_S`` later the one before it is *forgotten*.

The first one ever is served at once: there is nobody to disturb.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from quotehelper.errors import DecodeError

LIFETIME_S = 90 * 86400.0
"""A generation's validity."""
RENEWED_S = 60 * 86400.0
"""Its age when the next one is made."""
PUBLISHED_S = 600.0
"""Between telling the API server of an authority and relying on it; API servers hear of it within seconds."""
_BACKDATED_S = 300.0
"""By which clocks of the cluster may differ."""
_TEXT_LIMIT = 256 * 1024
_GENERATIONS_LIMIT = 8


@dataclass(frozen=True, slots=True)
class Generation:
    """An authority's certificate, one certificate by it and the key of that, in PEM. ``made_at``: seconds, epoch."""

    made_at: float
    authority_pem: str
    certificate_pem: str
    key_pem: str

    def __repr__(self) -> str:
        return f"Generation(made_at={self.made_at})"


@dataclass(frozen=True, slots=True)
class Generations:
    """Those that are of use, oldest first; never empty once ``advance`` has seen it."""

    all: tuple[Generation, ...] = ()

    def advance(self, now: float, dns_names: tuple[str, ...]) -> Generations:
        """What they should be at ``now``, in seconds since the epoch: the same object if nothing is to be done."""
        kept = tuple(each for each in self.all if not self._is_over(each, now))
        if not kept or now - kept[-1].made_at >= RENEWED_S:
            kept = (*kept, make_generation(now, dns_names))
        return self if kept == self.all else Generations(kept)

    def served(self, now: float) -> Generation:
        """The newest that has been published for long enough, else the oldest."""
        ripe = [each for each in self.all if now - each.made_at >= PUBLISHED_S]
        return ripe[-1] if ripe else self.all[0]

    @property
    def bundle_pem(self) -> str:
        """Whom the API server is to trust."""
        return "".join(each.authority_pem for each in self.all)

    def _is_over(self, generation: Generation, now: float) -> bool:
        newer = [each for each in self.all if each.made_at > generation.made_at]
        return now - generation.made_at >= LIFETIME_S or any(now - each.made_at >= 2 * PUBLISHED_S for each in newer)


def encode_generations(generations: Generations) -> bytes:
    """Generations as ``read_generations`` understands them. It holds private keys."""
    fields = [[g.made_at, g.authority_pem, g.certificate_pem, g.key_pem] for g in generations.all]
    return json.dumps({"version": 1, "generations": fields}).encode()


def read_generations(data: bytes) -> Generations:
    """The generations in ``data``, from the Secret; none from nothing. Raises DecodeError, which quotes nothing."""
    if not data:
        return Generations()
    try:
        document: Any = json.loads(data[:_TEXT_LIMIT])
        rows = {1: document["generations"]}[document["version"]][:_GENERATIONS_LIMIT]
        found = [Generation(float(made_at), *map(_pem, texts)) for made_at, *texts in rows]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DecodeError("generations", "", f"not what the webhook writes ({type(error).__name__})") from None
    return Generations(tuple(sorted(found, key=lambda each: each.made_at)))


def _pem(text: object) -> str:
    if not isinstance(text, str) or not text.startswith("-----BEGIN "):
        raise TypeError("PEM expected")
    return text


def make_generation(now: float, dns_names: tuple[str, ...]) -> Generation:
    """A new authority, and a certificate by it for the service's ``dns_names``; valid from ``now`` on."""
    begin, end = (datetime.fromtimestamp(now + shift, UTC) for shift in (-_BACKDATED_S, LIFETIME_S))
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"quotehelper webhook authority {begin:%Y-%m-%d}")])
    authority = _sign_authority(issuer, authority_key, (begin, end), dns_names)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, dns_names[0][:64])])
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in dns_names])
    certificate = (
        _builder(issuer, subject, key.public_key(), (begin, end))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Generation(now, _text(authority), _text(certificate), key_pem.decode())


def _sign_authority(
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    validity: tuple[datetime, datetime],
    dns_names: tuple[str, ...],
) -> x509.Certificate:
    """A certificate of its own by which nothing but the service's names can be vouched for."""
    constraint = x509.NameConstraints([x509.DNSName(dns) for dns in dns_names], None)
    return (
        _builder(name, name, key.public_key(), validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True), critical=True)
        .add_extension(constraint, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _builder(
    issuer: x509.Name,
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    validity: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _text(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
