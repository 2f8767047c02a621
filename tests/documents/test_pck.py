"""Certificates, chains and CRLs, held against real ones: what they say, and that nothing else is read."""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from quotehelper.documents.pck import (
    CERTIFICATES_LIMIT,
    CHAIN_LIMIT,
    CRL_LIMIT,
    Certificate,
    Crl,
    Role,
    read_certificate,
    read_chain,
    read_crl,
)
from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

VECTORS = Path(__file__).parents[1] / "vectors"
CASES = sorted(path.parent for path in (VECTORS / "quotes").glob("*/pck_chain.pem"))
CRLS = sorted((VECTORS / "quotes").glob("*/*.der"))
PROCESSOR = next(case for case in CASES if case.name.startswith("v01"))
PLATFORM = next(case for case in CASES if case.name.startswith("v15"))
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def pem(der: bytes, kind: bytes = b"CERTIFICATE") -> bytes:
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (kind, base64.encodebytes(der), kind)


def certificate(
    key: CertificateIssuerPrivateKeyTypes, name: str = "Nobody", *, serial: int = 1, hashed: SHA256 | None = None
) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)] if name else [])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), serial, NOW, NOW + dt.timedelta(days=1))
    return builder.sign(key, hashed).public_bytes(Encoding.DER)


def touch(read: Certificate | Crl) -> None:
    """Ask for everything: fields that say so may refuse, none may fail."""
    for name in dir(type(read)):
        if not name.startswith("_"):
            try:
                value = getattr(read, name)
                value() if callable(value) else None
            except DecodeError:
                assert name in {"public_key", "sgx_extension", "next_update"}


def flipped(raw: bytes, step: int = 1) -> list[bytes]:
    """``raw`` with one bit changed: each ``step``-th bit, a different one of eight in each byte."""
    changed = []
    for bit in range(0, 8 * len(raw), step):
        copy = bytearray(raw)
        copy[bit // 8] ^= 1 << bit % 8
        changed.append(bytes(copy))
    return changed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_real_chain_is_read_from_leaf_to_root(case: Path) -> None:
    chain = read_chain((case / "pck_chain.pem").read_bytes())
    leaf, intermediate, root = chain.certificates
    assert (leaf.role, root.role) == (Role.PCK, Role.ROOT)
    assert intermediate.role in {Role.PROCESSOR_CA, Role.PLATFORM_CA}
    assert (leaf, root) == (chain.leaf, chain.root)
    assert (leaf.issuer, intermediate.issuer) == (intermediate.subject, root.subject)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("name", ["tcb_info_issuer_chain.pem", "qe_identity_issuer_chain.pem"])
def test_every_real_issuer_chain_is_signer_then_root(case: Path, name: str) -> None:
    chain = read_chain((case / name).read_bytes())
    assert [one.role for one in chain.certificates] == [Role.TCB_SIGNING, Role.ROOT]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_certificate_of_a_chain_keeps_its_exact_der(case: Path) -> None:
    text = (case / "pck_chain.pem").read_text()
    blocks = [base64.b64decode(part.partition("-----END")[0]) for part in text.split("BEGIN CERTIFICATE-----")[1:]]
    chain = read_chain(text.encode())
    assert sorted(one.der for one in chain.certificates) == sorted(blocks)
    assert b"".join(sorted(one.pem() for one in chain.certificates)) == b"".join(sorted(map(pem_of_64, blocks)))


def pem_of_64(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join((b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_a_chain_is_sorted_whatever_order_it_came_in(order: tuple[int, ...]) -> None:
    chain = read_chain((PLATFORM / "pck_chain.pem").read_bytes())
    mixed = b"".join(chain.certificates[number].pem() for number in order)
    assert read_chain(mixed) == chain


def test_a_stranger_comes_before_the_root() -> None:
    root = read_chain((PROCESSOR / "pck_chain.pem").read_bytes()).root
    stranger = read_certificate(certificate(ec.generate_private_key(ec.SECP256R1()), hashed=SHA256()))
    assert read_chain(root.pem() + stranger.pem()).certificates == (stranger, root)


@pytest.mark.parametrize(
    ("head", "tail"),
    [(b"", b"\0"), (b"", b"\n\0"), (b"\n", b""), (b"", b"\r\n\n")],
    ids=["nul", "lf nul", "lf", "crlf"],
)
def test_what_intels_library_and_others_put_around_a_chain_is_no_part_of_it(head: bytes, tail: bytes) -> None:
    text = (PROCESSOR / "pck_chain.pem").read_bytes()
    assert read_chain(head + text + tail) == read_chain(text)
    assert read_chain(head + text.replace(b"\n", b"\r\n") + tail) == read_chain(text)


def test_the_fields_of_a_real_pck_certificate() -> None:
    leaf = read_chain((PROCESSOR / "pck_chain.pem").read_bytes()).leaf
    assert leaf.subject == "Intel SGX PCK Certificate"
    assert leaf.issuer == "Intel SGX PCK Processor CA"
    assert f"{leaf.serial_number:040x}" == "81b77732b761e98eb9b963a4abd1e5b9bf5dd8d6"
    assert leaf.not_before == dt.datetime(2023, 9, 20, 21, 53, 43, tzinfo=dt.UTC)
    assert leaf.not_after == dt.datetime(2030, 9, 20, 21, 53, 43, tzinfo=dt.UTC)
    assert leaf.subject_key_id == bytes.fromhex("85b8297dbadcf4716096a1d827e3025adcbc00bd")
    assert leaf.authority_key_id == bytes.fromhex("d0e8aada75d7f92e4917983c7b1465d0d5f2594d")
    assert leaf.public_key.public_numbers().x >> 192 == 0x920984ECDDC3F91B
    assert (
        leaf.crl_distribution_point
        == "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=processor&encoding=der"
    )
    assert leaf.sgx_extension.fmspc.hex() == "00a067110000"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_signed_bytes_of_real_certificates_and_crls_are_what_their_issuers_signed(case: Path) -> None:
    leaf, intermediate, root = read_chain((case / "pck_chain.pem").read_bytes()).certificates
    pck_crl, root_crl = (read_crl((case / name).read_bytes()) for name in ("pck_crl.der", "root_ca_crl.der"))
    for read, issuer in (
        (leaf, intermediate),
        (intermediate, root),
        (root, root),
        (pck_crl, intermediate),
        (root_crl, root),
    ):
        issuer.public_key.verify(read.signature, read.signed, ec.ECDSA(SHA256()))
        assert read.signed in read.der


def test_a_certificate_without_extensions_has_none() -> None:
    read = read_certificate(certificate(ec.generate_private_key(ec.SECP256R1()), "", hashed=SHA256()))
    assert (read.subject, read.issuer, read.role) == ("", "", None)
    assert (read.subject_key_id, read.authority_key_id, read.crl_distribution_point) == (None, None, None)
    with pytest.raises(DecodeError) as refused:
        _ = read.sgx_extension
    assert refused.value.field == "sgx_extension"


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (ec.generate_private_key(ec.SECP384R1()), SHA256()),
        (rsa.generate_private_key(65537, 2048), SHA256()),
        (ed25519.Ed25519PrivateKey.generate(), None),
    ],
    ids=["P-384", "RSA", "Ed25519"],
)
def test_no_key_but_p256_is_given(key: CertificateIssuerPrivateKeyTypes, hashed: SHA256 | None) -> None:
    read = read_certificate(certificate(key, hashed=hashed))
    with pytest.raises(DecodeError) as refused:
        _ = read.public_key
    assert refused.value.field == "public_key"


def test_a_key_that_is_no_point_of_the_curve_is_refused() -> None:
    leaf = read_chain((PROCESSOR / "pck_chain.pem").read_bytes()).leaf
    at = leaf.der.index(bytes.fromhex("04920984ec")) + 1
    with pytest.raises(DecodeError):
        _ = read_certificate(leaf.der[:at] + b"\0" + leaf.der[at + 1 :]).public_key


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0",
        b"-----BEGIN CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n====\n-----END CERTIFICATE-----\n",
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        b"-----BEGIN CERTIFICATE-----\n" + b"MIIB" * 100 + b"-----END PRIVATE KEY-----\n",
        bytes(range(256)),
    ],
    ids=range(10),
)
def test_what_is_no_chain_is_refused(text: bytes) -> None:
    with pytest.raises(DecodeError) as refused:
        read_chain(text)
    assert refused.value.structure in {"CertificateChain", "Certificate"}


@pytest.mark.parametrize("alien", [b"x", b"\0", b"Proc-Type: 4,ENCRYPTED\n", b"-----BEGIN CERTIFICATE-----\n"])
@pytest.mark.parametrize("place", ["before", "between", "inside", "behind"])
def test_a_chain_has_nothing_beside_its_certificates(alien: bytes, place: str) -> None:
    first, rest = (read_chain((PROCESSOR / "pck_chain.pem").read_bytes()).certificates[n].pem() for n in (0, 1))
    text = {
        "before": alien + first + rest,
        "between": first + alien + rest,
        "inside": first.replace(b"-----\n", b"-----\n" + alien, 1) + rest,
        "behind": first + rest + alien + b".",
    }[place]
    with pytest.raises(DecodeError):
        read_chain(text)


def test_a_chain_has_a_largest_number_of_certificates() -> None:
    root = read_chain((PROCESSOR / "pck_chain.pem").read_bytes()).root.pem()
    assert len(read_chain(root * CERTIFICATES_LIMIT).certificates) == CERTIFICATES_LIMIT
    with pytest.raises(DecodeError):
        read_chain(root * (CERTIFICATES_LIMIT + 1))


@pytest.mark.parametrize("read", [read_chain, read_certificate, read_crl], ids=lambda read: read.__name__)
def test_more_bytes_than_the_limit_are_refused_unread(read: object) -> None:
    limit = CRL_LIMIT if read is read_crl else CHAIN_LIMIT
    with pytest.raises(DecodeError, match=f"at most {limit}"):
        read(b"0" * (limit + 1))  # type: ignore[operator]


@pytest.mark.parametrize("serial", [b"\x02\x01\x00", b"\x02\x01\xff"], ids=["zero", "negative"])
def test_a_serial_number_below_1_is_refused(serial: bytes) -> None:
    der = certificate(ec.generate_private_key(ec.SECP256R1()), hashed=SHA256())
    changed = der.replace(b"\xa0\x03\x02\x01\x02\x02\x01\x01", b"\xa0\x03\x02\x01\x02" + serial, 1)
    assert changed != der
    with warnings.catch_warnings(action="ignore"), pytest.raises(DecodeError):
        read_certificate(changed)


def test_what_the_library_merely_warns_of_is_refused() -> None:
    leaf = read_chain((PROCESSOR / "pck_chain.pem").read_bytes()).leaf
    country_of_many_letters = leaf.der.replace(bytes.fromhex("0603550403"), bytes.fromhex("0603550406"))
    with warnings.catch_warnings(action="ignore"), pytest.raises(DecodeError) as refused:
        read_certificate(country_of_many_letters)
    assert refused.value.field in {"subject", "issuer"}


@pytest.mark.parametrize("number", range(3), ids=["leaf", "intermediate", "root"])
def test_each_flipped_bit_of_a_certificate_is_a_value_or_a_refusal(number: int) -> None:
    genuine = read_chain((PLATFORM / "pck_chain.pem").read_bytes()).certificates[number].der
    for changed in flipped(genuine, 3):
        try:
            touch(read_certificate(changed))
        except DecodeError:
            continue


def test_each_flipped_bit_of_a_chain_is_a_value_or_a_refusal() -> None:
    leaf, intermediate, _ = read_chain((PLATFORM / "pck_chain.pem").read_bytes()).certificates
    for changed in flipped(leaf.der, 9):
        try:
            read_chain(pem(changed) + intermediate.pem())
        except DecodeError:
            continue


def test_a_truncated_certificate_is_refused_at_every_length() -> None:
    genuine = read_chain((PLATFORM / "pck_chain.pem").read_bytes()).leaf.der
    for size in range(len(genuine)):
        with pytest.raises(DecodeError):
            read_certificate(genuine[:size])
    with pytest.raises(DecodeError):
        read_certificate(genuine + b"\0")


@pytest.mark.parametrize("path", CRLS, ids=lambda path: f"{path.parent.name[:3]}-{path.stem}")
def test_every_real_crl_is_read_in_each_of_its_forms(path: Path) -> None:
    der = path.read_bytes()
    read = read_crl(der)
    assert (read.der, read.number) == (der, 1)
    assert read.next_update > read.this_update
    forms = (der.hex(), der.hex().upper(), f"{der.hex()}\0", f"{der.hex()}\n", pem(der, b"X509 CRL").decode())
    for form in (*forms, forms[-1] + "\0"):
        assert read_crl(form.encode()) == read


def test_the_fields_of_a_real_crl() -> None:
    read = read_crl((PLATFORM / "pck_crl.der").read_bytes())
    assert read.issuer == "Intel SGX PCK Platform CA"
    assert read.this_update == dt.datetime(2025, 8, 15, 5, 41, 26, tzinfo=dt.UTC)
    assert read.next_update == dt.datetime(2025, 9, 14, 5, 41, 26, tzinfo=dt.UTC)
    assert read.authority_key_id == bytes.fromhex("956f5dcdbd1be1e94049c9d4f433ce01570bde54")
    assert len(read.revoked) == 44
    assert f"{read.revoked[0].serial_number:x}" == "6fc34e5023e728923435d61aa4b83c618166ad35"
    assert {(entry.date, entry.reason) for entry in read.revoked} == {(read.this_update, "keyCompromise")}


def test_an_empty_crl_revokes_nothing() -> None:
    assert read_crl((PROCESSOR / "pck_crl.der").read_bytes()).revoked == ()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"0",
        b"00",
        b"0g",
        "\u00e9".encode(),
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        b"-----BEGIN X509 CRL-----\nA\n-----END X509 CRL-----\n",
        pem(b"\x30\x00"),
    ],
)
def test_what_is_no_crl_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError) as refused:
        read_crl(raw)
    assert refused.value.structure == "Crl"


def test_two_crls_are_not_taken_for_one() -> None:
    text = pem((PROCESSOR / "pck_crl.der").read_bytes(), b"X509 CRL")
    with pytest.raises(DecodeError):
        read_crl(text + text)


def test_each_flipped_bit_of_a_crl_is_a_value_or_a_refusal() -> None:
    for changed in flipped((PLATFORM / "pck_crl.der").read_bytes(), 9):
        try:
            touch(read_crl(changed))
        except DecodeError:
            continue


def test_a_truncated_crl_is_refused_at_every_length() -> None:
    genuine = (PROCESSOR / "pck_crl.der").read_bytes()
    for size in range(len(genuine)):
        with pytest.raises(DecodeError):
            read_crl(genuine[:size])
    with pytest.raises(DecodeError):
        read_crl(genuine + b"\0")


@pytest.mark.parametrize("depth", [100, 10_000])
def test_deeply_nested_asn1_is_refused(depth: int) -> None:
    bomb = b""
    for _ in range(depth):
        size = len(bomb)
        bomb = b"\x30" + (bytes([size]) if size < 0x80 else b"\x83" + size.to_bytes(3, "big")) + bomb
        if len(bomb) > CHAIN_LIMIT - 8:
            break
    for read in (read_certificate, read_crl):
        with pytest.raises(DecodeError):
            read(bomb)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(raw: bytes) -> None:
    for read in (read_certificate, read_chain, read_crl):
        with pytest.raises(DecodeError):
            read(raw)
