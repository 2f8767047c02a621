"""The simulated authority: Intel's habits to the letter, and a verifier of somebody else's that follows them."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dcap_qvl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from quotehelper.documents.pck import Role, read_chain, read_crl
from quotehelper.documents.qe_identity import parse_enclave_identity
from quotehelper.documents.sgx_extension import PlatformConfiguration, SgxExtension, SgxType
from quotehelper.documents.signed_json import split_signed
from quotehelper.documents.tcb_info import TcbStatus, as_version_2, parse_tcb_info
from quotehelper.errors import DecodeError
from quotehelper.platforms.simulated.authority import (
    FILES,
    Authority,
    create,
    decode_authority,
    encode_authority,
)
from quotehelper.platforms.simulated.certificates import Validity, make_crl
from quotehelper.platforms.simulated.enclaves import AUTH_DATA, Tcb, encode_point, encode_signature, qe3_identity
from quotehelper.sgx.quote import (
    ECDSA_P256_KEY_TYPE,
    INTEL_QE_VENDOR_ID,
    CertificationData,
    CertificationType,
    Quote,
    QuoteHeader,
)
from quotehelper.sgx.report import AttributeFlags, Attributes, ReportBody

if TYPE_CHECKING:
    from quotehelper.documents.pck import Certificate, CertificateChain
    from quotehelper.documents.signed_json import Signed
    from quotehelper.platforms.simulated.authority import Collateral

NOW = dt.datetime(2026, 11, 24, 12, 0, 0, 999_999, tzinfo=dt.UTC)
SECOND = NOW.replace(microsecond=0)
INTEL = Path(__file__).parents[1] / "vectors" / "quotes"
INTEL_CASES = {"processor": INTEL / "v01-configandsw-processor-v3", "platform": INTEL / "v15-swhardening-automata"}
CAS = sorted(INTEL_CASES)
FMSPC = bytes.fromhex("515545000000")
TCB = Tcb(bytes.fromhex("10100202ff0100050000000000000000"), 13)
BELOW = Tcb(b"\x0f" + TCB.cpu_svn[1:], 12)
TOO_LOW = Tcb(b"\x0e" + TCB.cpu_svn[1:], 12)
PCK = ec.generate_private_key(ec.SECP256R1())
CONSTRUCTED, OCTET_STRING, KEPT = 0x20, 0x04, {0x01, 0x05, 0x06, 0x0A}
"""Bits and tags of DER; BOOLEAN, NULL, OBJECT IDENTIFIER and ENUMERATED are compared by their content too."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return create(NOW)


def extension(ca: str, tcb: Tcb = TCB) -> SgxExtension:
    several = PlatformConfiguration(b"i" * 16, dynamic_platform=True, cached_keys=False, smt_enabled=False)
    return SgxExtension(
        ppid=b"p" * 16,
        components=tuple(tcb.cpu_svn),
        pce_svn=tcb.pce_svn,
        cpu_svn=tcb.cpu_svn,
        pce_id=bytes(2),
        fmspc=FMSPC,
        sgx_type=SgxType.STANDARD if ca == "processor" else SgxType.SCALABLE,
        configuration=None if ca == "processor" else several,
    )


def chain_of(authority: Authority, ca: str) -> CertificateChain:
    return read_chain(authority.issue_pck(PCK.public_key(), extension(ca), ca, NOW))


def everyone(authority: Authority) -> list[Certificate]:
    """One certificate of each kind."""
    signer = read_chain(authority.chain(Role.TCB_SIGNING)).leaf
    return [*chain_of(authority, "processor").certificates, *chain_of(authority, "platform").certificates[:2], signer]


def shape(der: bytes, *, opened: bool = False) -> list[Any]:
    """The tree of tags of ``der``, extension values looked into; contents only where they say what something is."""
    found: list[Any] = []
    at = 0
    while at < len(der):
        tag, size, header = der[at], der[at + 1], 2
        if size & 0x80:
            header += size & 0x7F
            size = int.from_bytes(der[at + 2 : at + header], "big")
        content = der[at + header : at + header + size]
        if tag & CONSTRUCTED:
            found.append((tag, shape(content, opened=opened)))
        elif tag == OCTET_STRING and not opened:
            found.append((tag, shape(content, opened=True)))
        else:
            found.append((tag, content if tag in KEPT else None))
        at += header + size
    return found


def intel_certificates() -> list[Certificate]:
    """One real certificate of each kind, in the order of ``everyone``."""
    chains = [read_chain((INTEL_CASES[ca] / "pck_chain.pem").read_bytes()) for ca in ("processor", "platform")]
    signer = read_chain((INTEL_CASES["processor"] / "tcb_info_issuer_chain.pem").read_bytes()).leaf
    return [*chains[0].certificates, *chains[1].certificates[:2], signer]


@pytest.mark.parametrize("number", range(6), ids=["PCK", "processor CA", "root", "PCK+", "platform CA", "signer"])
def test_a_certificate_has_exactly_the_shape_of_intels(authority: Authority, number: int) -> None:
    ours, intels = everyone(authority)[number], intel_certificates()[number]
    assert shape(ours.der) == shape(intels.der)


@pytest.mark.parametrize("number", range(6), ids=["PCK", "processor CA", "root", "PCK+", "platform CA", "signer"])
def test_a_certificate_has_the_usage_and_constraints_of_intels(authority: Authority, number: int) -> None:
    ours, intels = everyone(authority)[number].x509.extensions, intel_certificates()[number].x509.extensions
    for kind in (x509.KeyUsage, x509.BasicConstraints):
        assert ours.get_extension_for_class(kind) == intels.get_extension_for_class(kind)


@pytest.mark.parametrize("number", range(6), ids=["PCK", "processor CA", "root", "PCK+", "platform CA", "signer"])
def test_a_certificate_says_simulated_before_intels_name(authority: Authority, number: int) -> None:
    ours, intels = everyone(authority)[number], intel_certificates()[number]
    phrase = intels.subject.removeprefix("Intel ")
    assert ours.subject == f"Simulated {phrase}"
    assert ours.role is intels.role
    assert "Intel Corporation" not in ours.x509.subject.rfc4514_string()
    assert [a.value for a in ours.x509.subject][1:] == ["Simulated", "Santa Clara", "CA", "US"]


@pytest.mark.parametrize("ca", CAS)
def test_a_crl_without_entries_has_exactly_the_shape_of_intels(authority: Authority, ca: str) -> None:
    role = Role.PROCESSOR_CA if ca == "processor" else Role.PLATFORM_CA
    intels = (INTEL_CASES["processor"] / "pck_crl.der").read_bytes()
    assert shape(authority.crl(role, NOW)) == shape(intels)
    assert shape(authority.crl(Role.ROOT, NOW)) == shape((INTEL_CASES[ca] / "root_ca_crl.der").read_bytes())


def test_a_crl_with_entries_has_exactly_the_shape_of_intels(authority: Authority) -> None:
    intels = (INTEL_CASES["platform"] / "pck_crl.der").read_bytes()
    revoked = tuple(range(1, len(read_crl(intels).revoked) + 1))
    ours = make_crl(authority.issuers[Role.PLATFORM_CA], Validity(SECOND, SECOND + dt.timedelta(30)), revoked)
    assert shape(ours) == shape(intels)
    assert {(entry.date, entry.reason) for entry in read_crl(ours).revoked} == {(SECOND, "keyCompromise")}


def test_key_ids_are_hashes_of_the_whole_key_info(authority: Authority) -> None:
    for certificate in everyone(authority):
        info = certificate.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert certificate.subject_key_id == hashlib.sha1(info, usedforsecurity=False).digest()


@pytest.mark.parametrize("ca", CAS)
def test_a_chain_hangs_together_by_names_key_ids_and_signatures(authority: Authority, ca: str) -> None:
    certificates = chain_of(authority, ca).certificates
    for certificate, issuer in itertools.pairwise((*certificates, certificates[-1])):
        certificate.x509.verify_directly_issued_by(issuer.x509)
        assert certificate.authority_key_id == issuer.subject_key_id


def test_serial_numbers_are_key_ids_but_for_leaves() -> None:
    for authority in (create(NOW) for _ in range(8)):  # about half of all keys would not do
        pck, *others, signer = everyone(authority)
        for certificate in (*others[:2], others[3], signer):
            assert certificate.serial_number.to_bytes(20, "big") == certificate.subject_key_id
            assert certificate.serial_number.bit_length() < 160  # more would take 21 bytes, one above RFC 5280's limit
        assert pck.serial_number.to_bytes(20, "big") != pck.subject_key_id


def test_no_two_leaves_share_a_serial_number(authority: Authority) -> None:
    numbers = {chain_of(authority, "processor").leaf.serial_number for _ in range(20)}
    assert len(numbers) == 20
    assert {number.bit_length() for number in numbers} == {159}


def test_validity_is_intels_to_the_second(authority: Authority) -> None:
    pck, intermediate, root, _, _, signer = everyone(authority)
    for certificate in (pck, intermediate, root, signer):
        assert certificate.not_before == SECOND
    assert root.not_after == dt.datetime(2049, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
    assert intermediate.not_after == SECOND.replace(year=2041)
    assert pck.not_after == signer.not_after == SECOND.replace(year=2033)


def test_what_is_issued_on_a_29_february_ends_on_a_day_that_exists() -> None:
    leap = dt.datetime(2028, 2, 29, 1, 2, 3, tzinfo=dt.UTC)
    assert Validity.of_years(leap, 7).end == dt.datetime(2035, 3, 1, 1, 2, 3, tzinfo=dt.UTC)
    assert Validity.of_years(leap, 4).end == dt.datetime(2032, 2, 29, 1, 2, 3, tzinfo=dt.UTC)


@pytest.mark.parametrize("base", ["https://localhost:8081/sgx/certification/v4/", "https://pccs.example/x/"])
def test_certificates_say_where_their_crls_are(base: str) -> None:
    authority = create(NOW, base)
    processor, *authorities, platform, _, signer = everyone(authority)
    assert processor.crl_distribution_point == f"{base}pckcrl?ca=processor&encoding=der"
    assert platform.crl_distribution_point == f"{base}pckcrl?ca=platform&encoding=der"
    assert {one.crl_distribution_point for one in (*authorities, signer)} == {f"{base}rootcacrl.der"}


@pytest.mark.parametrize("ca", CAS)
def test_certification_data_is_leaf_intermediate_root_and_a_nul(authority: Authority, ca: str) -> None:
    data = authority.issue_pck(PCK.public_key(), extension(ca), ca, NOW)
    chain = read_chain(data)
    assert data == chain.pem() + b"\0"
    assert [one.role for one in chain.certificates] == [
        Role.PCK,
        Role.PROCESSOR_CA if ca == "processor" else Role.PLATFORM_CA,
        Role.ROOT,
    ]
    assert chain.leaf.sgx_extension == extension(ca)
    assert chain.leaf.public_key == PCK.public_key()


@pytest.mark.parametrize("ca", CAS)
def test_crls_live_as_long_as_intels_and_are_signed(authority: Authority, ca: str) -> None:
    collateral = authority.collateral(FMSPC, ca, NOW)
    issuer, root = read_chain(collateral.pck_crl_issuer_chain).certificates
    for raw, signer, days in ((collateral.pck_crl, issuer, 30), (collateral.root_ca_crl, root, 365)):
        crl = read_crl(raw)
        signer.public_key.verify(crl.signature, crl.signed, ec.ECDSA(SHA256()))
        assert (crl.issuer, crl.authority_key_id) == (signer.subject, signer.subject_key_id)
        assert (crl.this_update, crl.next_update) == (SECOND, SECOND + dt.timedelta(days))
        assert (crl.number, crl.revoked) == (1, ())


def signed_by(chain: bytes, document: Signed) -> bytes:
    """The document's body, proven."""
    r, s = (int.from_bytes(document.signature[at : at + 32], "big") for at in (0, 32))
    signer = read_chain(chain).leaf.public_key
    signer.verify(encode_dss_signature(r, s), document.body, ec.ECDSA(SHA256()))
    return document.body


def test_tcb_info_is_signed_in_both_versions_and_says_the_same(authority: Authority) -> None:
    collateral = authority.collateral(FMSPC, "processor", NOW)
    info = parse_tcb_info(signed_by(collateral.tcb_info_issuer_chain, collateral.tcb_info))
    older = parse_tcb_info(signed_by(collateral.tcb_info_issuer_chain, collateral.tcb_info_v2))
    assert (info.version, older) == (3, as_version_2(info))
    assert (info.fmspc, info.pce_id, info.tcb_type) == (FMSPC, bytes(2), 0)
    assert (info.issue_date, info.next_update) == (SECOND, SECOND + dt.timedelta(30))


def test_tcb_info_has_the_present_level_and_an_older_one_with_an_advisory(authority: Authority) -> None:
    high, low = parse_tcb_info(authority.collateral(FMSPC, "processor", NOW).tcb_info.body).levels
    assert (bytes(part.svn for part in high.components), high.pce_svn) == TCB
    assert (bytes(part.svn for part in low.components), low.pce_svn) == BELOW
    assert (high.status, high.advisory_ids) == (TcbStatus.UP_TO_DATE, ())
    assert low.status is TcbStatus.OUT_OF_DATE
    assert low.advisory_ids


def test_qe_identity_is_signed_and_what_production_qe3_is(authority: Authority) -> None:
    collateral = authority.collateral(FMSPC, "processor", NOW)
    identity = parse_enclave_identity(signed_by(collateral.qe_identity_issuer_chain, collateral.qe_identity))
    intels_text = (INTEL_CASES["processor"] / "qe_identity.json").read_bytes()
    intels = parse_enclave_identity(split_signed(intels_text, "enclaveIdentity").body)
    for name in ("id", "misc_select", "misc_select_mask", "attributes", "attributes_mask", "mr_signer", "isv_prod_id"):
        assert getattr(identity, name) == getattr(intels, name)
    assert (identity.issue_date, identity.next_update) == (SECOND, SECOND + dt.timedelta(30))


def test_an_authority_is_read_back_from_its_files(authority: Authority) -> None:
    files = encode_authority(authority)
    assert sorted(files) == sorted(FILES)
    again = decode_authority(files)
    assert encode_authority(again) == files
    assert read_chain(again.issue_pck(PCK.public_key(), extension("platform"), "platform", NOW)).root.der == (
        chain_of(authority, "platform").root.der
    )


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [None, b"", b"\xff"], ids=["missing", "empty", "damaged"])
def test_an_authority_with_a_damaged_file_is_refused_by_its_name(
    authority: Authority, name: str, content: bytes | None
) -> None:
    files = encode_authority(authority)
    if content is None:
        del files[name]
    else:
        files[name] = content
    with pytest.raises(DecodeError) as refused:
        decode_authority(files)
    assert name.startswith(refused.value.field)


def test_another_authoritys_key_is_refused(authority: Authority) -> None:
    files = encode_authority(authority) | {"root.key": encode_authority(create(NOW))["root.key"]}
    with pytest.raises(DecodeError, match="belong together"):
        decode_authority(files)


def test_no_key_shows_in_an_authoritys_text(authority: Authority) -> None:
    assert repr(authority) == "Authority(…)"


def make_quote(authority: Authority, ca: str, tcb: Tcb = TCB, qe_isv_svn: int = 11) -> bytes:
    """A quote put together by hand: a random attestation key, certified by the PCK key."""
    key = ec.generate_private_key(ec.SECP256R1())
    point = encode_point(key.public_key())
    qe = qe3_identity(qe_isv_svn)
    qe_report = ReportBody.build(
        **qe._asdict(), report_data=hashlib.sha256(point + AUTH_DATA).digest() + bytes(32), cpu_svn=tcb.cpu_svn
    )
    flags = AttributeFlags.INIT | AttributeFlags.MODE64BIT
    body = ReportBody.build(
        attributes=Attributes.build(flags=flags, xfrm=3), report_data=b"d" * 64, cpu_svn=tcb.cpu_svn
    )
    header = QuoteHeader.build(
        version=3, att_key_type=ECDSA_P256_KEY_TYPE, qe_svn=qe_isv_svn, pce_svn=16, qe_vendor_id=INTEL_QE_VENDOR_ID
    )
    certification = authority.issue_pck(PCK.public_key(), extension(ca, tcb), ca, NOW)
    return Quote(
        header=header,
        body=body,
        signature=encode_signature(key.sign(header.raw + body.raw, ec.ECDSA(SHA256()))),
        attestation_key=point,
        qe_report=qe_report,
        qe_report_signature=encode_signature(PCK.sign(qe_report.raw, ec.ECDSA(SHA256()))),
        auth_data=AUTH_DATA,
        certification=CertificationData(CertificationType.PCK_CHAIN, certification),
        trailing=b"",
    ).encode()


def verify(quote: bytes, collateral: Collateral, at: dt.datetime = NOW) -> tuple[str, list[str]]:
    """Status and advisories, as somebody else's verifier finds them. Raises ValueError if it refuses."""
    given = dcap_qvl.QuoteCollateralV3(
        pck_crl_issuer_chain=collateral.pck_crl_issuer_chain.decode(),
        root_ca_crl=collateral.root_ca_crl,
        pck_crl=collateral.pck_crl,
        tcb_info_issuer_chain=collateral.tcb_info_issuer_chain.decode(),
        tcb_info=collateral.tcb_info.body.decode(),
        tcb_info_signature=collateral.tcb_info.signature,
        qe_identity_issuer_chain=collateral.qe_identity_issuer_chain.decode(),
        qe_identity=collateral.qe_identity.body.decode(),
        qe_identity_signature=collateral.qe_identity.signature,
    )
    root = collateral.root.public_bytes(Encoding.DER)
    verified = dcap_qvl.verify_with_root_ca(quote, given, root, int(at.timestamp()))
    return verified.status, verified.advisory_ids


@pytest.mark.parametrize("ca", CAS)
@pytest.mark.parametrize("qe_isv_svn", [8, 11])
def test_a_quote_at_the_present_level_is_up_to_date(authority: Authority, ca: str, qe_isv_svn: int) -> None:
    collateral = authority.collateral(FMSPC, ca, NOW)
    assert verify(make_quote(authority, ca, qe_isv_svn=qe_isv_svn), collateral) == ("UpToDate", [])


@pytest.mark.parametrize("ca", CAS)
def test_a_quote_at_the_level_below_is_out_of_date(authority: Authority, ca: str) -> None:
    collateral = authority.collateral(FMSPC, ca, NOW)
    advisories = list(parse_tcb_info(collateral.tcb_info.body).levels[1].advisory_ids)
    assert verify(make_quote(authority, ca, BELOW), collateral) == ("OutOfDate", advisories)


def test_a_quote_by_an_old_quoting_enclave_is_out_of_date(authority: Authority) -> None:
    collateral = authority.collateral(FMSPC, "processor", NOW)
    advisories = list(parse_enclave_identity(collateral.qe_identity.body).levels[1].advisory_ids)
    assert verify(make_quote(authority, "processor", qe_isv_svn=6), collateral) == ("OutOfDate", advisories)


@pytest.mark.parametrize(
    ("tcb", "qe_isv_svn", "why"),
    [(TOO_LOW, 11, "No matching TCB level"), (TCB, 5, "below minimum required 6")],
    ids=["platform", "QE"],
)
def test_a_quote_below_every_level_is_refused(authority: Authority, tcb: Tcb, qe_isv_svn: int, why: str) -> None:
    quote = make_quote(authority, "processor", tcb, qe_isv_svn)
    with pytest.raises(ValueError, match=why):
        verify(quote, authority.collateral(FMSPC, "processor", NOW))


def test_another_familys_collateral_is_refused(authority: Authority) -> None:
    collateral = authority.collateral(b"\1" * 6, "processor", NOW)
    with pytest.raises(ValueError, match=r"(?i)fmspc"):
        verify(make_quote(authority, "processor"), collateral)


@pytest.mark.parametrize("ca", CAS)
def test_a_revoked_certificate_is_refused(authority: Authority, ca: str) -> None:
    quote = make_quote(authority, ca)
    collateral = authority.collateral(FMSPC, ca, NOW)
    chain = read_chain(quote[1052:])
    issuer = authority.issuers[Role.PROCESSOR_CA if ca == "processor" else Role.PLATFORM_CA]
    month = Validity(SECOND, SECOND + dt.timedelta(30))
    leaf, intermediate = chain.certificates[:2]
    with_leaf = make_crl(issuer, month, (leaf.serial_number,))
    with_intermediate = make_crl(authority.issuers[Role.ROOT], month, (intermediate.serial_number,))
    for revoking in (replace(collateral, pck_crl=with_leaf), replace(collateral, root_ca_crl=with_intermediate)):
        with pytest.raises(ValueError, match=r"(?i)revoked"):
            verify(quote, revoking)


@pytest.mark.parametrize("days", [-1, 31], ids=["before", "after"])
def test_collateral_is_good_for_its_month_only(authority: Authority, days: int) -> None:
    quote, collateral = make_quote(authority, "processor"), authority.collateral(FMSPC, "processor", NOW)
    assert verify(quote, collateral, NOW + dt.timedelta(29))[0] == "UpToDate"
    with pytest.raises(ValueError, match=r"."):
        verify(quote, collateral, NOW + dt.timedelta(days))
    assert verify(quote, authority.collateral(FMSPC, "processor", NOW + dt.timedelta(31)), NOW + dt.timedelta(31))
