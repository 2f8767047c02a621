from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dcap_qvl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from quotehelper.errors import DecodeError
from quotehelper.sgx.key_id import QE3_MR_SIGNER
from quotehelper.sgx.quote import (
    INTEL_QE_VENDOR_ID,
    SIGNATURE_DATA_LIMIT,
    CertificationData,
    CertificationType,
    PpidCertification,
    Quote,
    QuoteHeader,
    TdReportBody,
    TdReportBody15,
    TdReportBody15Extended,
    read_quote,
)
from quotehelper.sgx.report import ReportBody

if TYPE_CHECKING:
    from quotehelper.wire import Structure

VECTORS = Path(__file__).parents[1] / "vectors" / "quotes"
CASES = sorted(path.parent for path in VECTORS.glob("*/quote.bin"))
REAL_CASES = [case for case in CASES if "synthetic" not in case.name]
TYPE_3 = VECTORS / "cert-type-3-encrypted-ppid.bin"
TDX_4 = VECTORS / "tdx-v4.bin"
ALL = [case / "quote.bin" for case in CASES] + [TYPE_3, TDX_4]


def case_name(path: Path) -> str:
    return path.parent.name if path.name == "quote.bin" else path.name


def of_case(case: Path) -> Quote:
    return read_quote((case / "quote.bin").read_bytes())


def verify(point: bytes, signature: bytes, signed: bytes) -> None:
    """Raise InvalidSignature unless ``signature``, r ‖ s, holds."""
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\4" + point)
    der = utils.encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    key.verify(der, signed, ec.ECDSA(SHA256()))


# Layouts


def test_every_field_of_the_header_stands_where_the_specification_has_it() -> None:
    assert layout(QuoteHeader) == {
        "version": (0, 2),
        "att_key_type": (2, 2),
        "tee_type": (4, 4),
        "qe_svn": (8, 2),
        "pce_svn": (10, 2),
        "qe_vendor_id": (12, 16),
        "user_data": (28, 20),
    }
    assert QuoteHeader.SIZE == 48


TD_10 = {
    "tee_tcb_svn": (0, 16),
    "mr_seam": (16, 48),
    "mr_signer_seam": (64, 48),
    "seam_attributes": (112, 8),
    "td_attributes": (120, 8),
    "xfam": (128, 8),
    "mr_td": (136, 48),
    "mr_config_id": (184, 48),
    "mr_owner": (232, 48),
    "mr_owner_config": (280, 48),
    "rtmr0": (328, 48),
    "rtmr1": (376, 48),
    "rtmr2": (424, 48),
    "rtmr3": (472, 48),
    "report_data": (520, 64),
}
TD_15 = {**TD_10, "tee_tcb_svn_2": (584, 16), "mr_service_td": (600, 48)}


@pytest.mark.parametrize(
    ("kind", "size", "fields"),
    [(TdReportBody, 584, TD_10), (TdReportBody15, 648, TD_15), (TdReportBody15Extended, 885, TD_15)],
)
def test_every_field_of_a_td_report_stands_where_the_specification_has_it(
    kind: type[Structure], size: int, fields: dict[str, tuple[int, int]]
) -> None:
    assert size == kind.SIZE
    assert layout(kind) == fields


def layout(kind: type[Structure]) -> dict[str, tuple[int, int]]:
    return {field.name: (field.offset, field.size) for field in kind.FIELDS}


# Real quotes


@pytest.mark.parametrize("path", ALL, ids=case_name)
def test_real_quotes_are_encoded_again_to_the_byte(path: Path) -> None:
    raw = path.read_bytes()
    assert read_quote(raw).encode() == raw


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_real_quotes_show_what_is_known_of_them(case: Path) -> None:
    known: dict[str, Any] = json.loads((case / "meta.json").read_text())["quote"]
    quote = of_case(case)
    assert quote.header.version == known["version"]
    assert quote.header.qe_svn == known["qe_svn"]
    assert quote.header.pce_svn == known["pce_svn"]
    assert quote.certification.type == known["cert_data_type"]
    assert len(quote.certification.data) == known["cert_data_size"]
    assert len(quote.encode()) - len(quote.trailing) == known["declared_size"]
    assert isinstance(quote.body, ReportBody)
    assert quote.body.attributes.debug is known["debug"]


@pytest.mark.parametrize("path", ALL, ids=case_name)
def test_another_reader_finds_the_same_in_them(path: Path) -> None:
    raw = path.read_bytes()
    ours, theirs = read_quote(raw), dcap_qvl.Quote.parse(raw)
    header, report = theirs.header, theirs.report
    assert (ours.header.version, ours.header.tee_type) == (header.version, int(header.tee_type))
    assert ours.header.user_data == header.user_data
    assert ours.header.qe_vendor_id == header.qe_vendor_id
    for name in ("cpu_svn", "mr_enclave", "mr_signer", "report_data", "mr_seam", "mr_td", "rtmr0", "rtmr3", "mr_owner"):
        if hasattr(report, name):
            assert getattr(ours.body, name) == getattr(report, name), name


@pytest.mark.parametrize("path", ALL, ids=case_name)
def test_the_attestation_key_has_signed_exactly_what_signed_says(path: Path) -> None:
    quote = read_quote(path.read_bytes())
    verify(quote.attestation_key, quote.signature, quote.signed)


@pytest.mark.parametrize("path", ALL, ids=case_name)
def test_the_quoting_enclave_s_report_binds_key_and_auth_data(path: Path) -> None:
    quote = read_quote(path.read_bytes())
    bound = hashlib.sha256(quote.attestation_key + quote.auth_data).digest()
    assert quote.qe_report.report_data == bound + bytes(32)


@pytest.mark.parametrize("case", REAL_CASES, ids=lambda case: case.name)
def test_the_platform_s_certified_key_has_signed_the_quoting_enclave_s_report(case: Path) -> None:
    quote = of_case(case)
    chain = x509.load_pem_x509_certificates(quote.certification.pem_chain())
    assert len(chain) == 3
    key = chain[0].public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    numbers = key.public_numbers()
    point = numbers.x.to_bytes(32) + numbers.y.to_bytes(32)
    verify(point, quote.qe_report_signature, quote.qe_report.raw)


@pytest.mark.parametrize("case", REAL_CASES, ids=lambda case: case.name)
def test_the_quoting_enclave_s_svn_stands_before_the_pce_s(case: Path) -> None:
    """The header repeats the QE's ISVSVN, which its report proves: two respected libraries contradict each other."""
    quote = of_case(case)
    assert quote.header.qe_svn == quote.qe_report.isv_svn
    assert quote.qe_report.isv_prod_id == 1
    assert quote.qe_report.mr_signer == QE3_MR_SIGNER
    assert quote.header.qe_vendor_id == INTEL_QE_VENDOR_ID


def test_a_quote_with_an_encrypted_ppid_is_read() -> None:
    quote = read_quote(TYPE_3.read_bytes())
    assert quote.certification.type is CertificationType.PPID_RSA_3072
    ppid = quote.certification.ppid()
    assert len(ppid.ppid) == 384
    assert ppid.cpu_svn == quote.qe_report.cpu_svn
    assert (ppid.pce_isv_svn, ppid.pce_id) == (quote.header.pce_svn, 0)


def test_a_quote_with_a_ppid_in_clear_is_read() -> None:
    quote = of_case(VECTORS / "v36-synthetic-private-root")
    assert quote.certification.type is CertificationType.PPID_CLEAR
    assert quote.auth_data == b""
    assert len(quote.certification.ppid().ppid) == 16


def test_a_tdx_quote_is_read() -> None:
    quote = read_quote(TDX_4.read_bytes())
    assert (quote.header.version, quote.header.tee_type) == (4, 0x81)
    assert type(quote.body) is TdReportBody
    assert quote.certification.type is CertificationType.PCK_CHAIN
    assert quote.certification.pem_chain().count(b"BEGIN CERTIFICATE") == 3
    assert quote.qe_report.isv_prod_id == 2


def test_padding_is_trailing(answered_quote: bytes) -> None:
    quote = read_quote(answered_quote + bytes(100))
    assert quote.trailing == bytes(100)
    assert quote.encode() == answered_quote + bytes(100)


# Built ones

HEADER_5 = QuoteHeader.build(version=5, att_key_type=2, qe_vendor_id=INTEL_QE_VENDOR_ID)
QE_REPORT = ReportBody.build(mr_signer=QE3_MR_SIGNER)
BODIES: dict[int, type[Structure]] = {1: ReportBody, 2: TdReportBody, 3: TdReportBody15, 4: TdReportBody15Extended}


def wrapped(certification_type: int = 5, data: bytes = b"chain") -> bytes:
    """Signature data of versions 4 and 5, made by hand."""
    inner = QE_REPORT.raw + b"\3" * 64 + b"\4\0auth" + certification_type.to_bytes(2, "little")
    inner += len(data).to_bytes(4, "little") + data
    return b"\1" * 64 + b"\2" * 64 + b"\6\0" + len(inner).to_bytes(4, "little") + inner


def version_5(number: int, body: bytes, size: int | None = None, tee_type: int | None = None) -> bytes:
    header = HEADER_5.replace(tee_type=(0 if number == 1 else 0x81) if tee_type is None else tee_type)
    told = len(body) if size is None else size
    data = wrapped()
    return b"".join(
        (
            *(header.raw, number.to_bytes(2, "little"), told.to_bytes(4, "little"), body),
            *(len(data).to_bytes(4, "little"), data),
        )
    )


@pytest.mark.parametrize("number", BODIES)
def test_version_5_is_read_with_every_body_and_encoded_again(number: int) -> None:
    kind = BODIES[number]
    body = bytes(index * 7 % 251 for index in range(kind.SIZE))
    raw = version_5(number, body)
    quote = read_quote(raw)
    assert type(quote.body) is kind
    assert quote.body.raw == body
    assert quote.signed == raw[: 48 + 6 + kind.SIZE]
    assert (quote.signature, quote.attestation_key) == (b"\1" * 64, b"\2" * 64)
    assert (quote.qe_report, quote.qe_report_signature, quote.auth_data) == (QE_REPORT, b"\3" * 64, b"auth")
    assert quote.certification == CertificationData(CertificationType.PCK_CHAIN, b"chain")
    assert quote.encode() == raw


def test_version_4_with_an_sgx_body_is_read_and_encoded_again() -> None:
    data = wrapped()
    raw = HEADER_5.replace(version=4).raw + QE_REPORT.raw + len(data).to_bytes(4, "little") + data
    quote = read_quote(raw)
    assert quote.body == QE_REPORT
    assert quote.encode() == raw


@pytest.mark.parametrize("number", [0, 5, 0xFFFF])
def test_an_unknown_body_type_is_refused(number: int) -> None:
    with pytest.raises(DecodeError, match=rf"^Quote\.body_type at byte 50: {number} given"):
        read_quote(version_5(number, bytes(384), tee_type=0))


@pytest.mark.parametrize("size", [0, 383, 385, 0xFFFFFFFF])
def test_a_body_size_that_does_not_fit_the_type_is_refused(size: int) -> None:
    with pytest.raises(DecodeError, match=rf"^Quote\.body_size at byte 54: {size} given"):
        read_quote(version_5(1, bytes(384), size))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"version": 0}, "header.version"),
        ({"version": 2}, "header.version"),
        ({"version": 6}, "header.version"),
        ({"att_key_type": 0}, "header.att_key_type"),
        ({"att_key_type": 3}, "header.att_key_type"),
        ({"tee_type": 1}, "header.tee_type"),
        ({"tee_type": 0x81}, "header.tee_type"),
    ],
)
def test_a_header_of_another_kind_is_refused_by_its_field(changes: dict[str, int], field: str) -> None:
    raw = (CASES[0] / "quote.bin").read_bytes()
    changed = QuoteHeader(raw[:48]).replace(**changes).raw + raw[48:]
    with pytest.raises(DecodeError) as caught:
        read_quote(changed)
    assert caught.value.field == field


def test_signature_data_has_a_limit() -> None:
    raw = (CASES[0] / "quote.bin").read_bytes()
    with pytest.raises(DecodeError, match=f"exceeds the limit of {SIGNATURE_DATA_LIMIT} bytes"):
        read_quote(raw[:432] + (SIGNATURE_DATA_LIMIT + 1).to_bytes(4, "little") + raw[436:])


@pytest.mark.parametrize("number", [0, 8, 0xFFFF])
def test_an_unknown_certification_type_is_refused(number: int) -> None:
    with pytest.raises(DecodeError, match=rf"certification_type at byte \d+: {number} given, 1 to 7 are known$"):
        read_quote(HEADER_5.replace(version=4).raw + bytes(384) + sized(wrapped(number)))


def test_versions_4_and_5_must_wrap_the_quoting_enclave_s_report() -> None:
    data = b"\1" * 128 + b"\5\0" + sized(b"chain")
    with pytest.raises(DecodeError, match=r": 5 given, versions 4 and 5 wrap in type 6$"):
        read_quote(HEADER_5.replace(version=4).raw + bytes(384) + sized(data))


def sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


# Certification data


def test_a_pem_chain_comes_without_the_provider_library_s_nul() -> None:
    assert CertificationData(CertificationType.PCK_CHAIN, b"PEM\n\0").pem_chain() == b"PEM\n"


@pytest.mark.parametrize("number", [1, 2, 3, 4, 6, 7])
def test_other_types_hold_no_pem_chain(number: int) -> None:
    with pytest.raises(DecodeError, match=f"type {number} holds no PCK chain"):
        CertificationData(CertificationType(number), b"").pem_chain()


@pytest.mark.parametrize(("number", "size"), [(1, 16), (2, 256), (3, 384)])
def test_types_1_to_3_hold_a_ppid_and_the_tcb(number: int, size: int) -> None:
    data = b"\1" * size + b"\2" * 16 + b"\3\0" + b"\4\0"
    certification = CertificationData(CertificationType(number), data)
    assert certification.ppid() == PpidCertification(b"\1" * size, b"\2" * 16, 3, 4)


def test_the_older_form_of_type_1_has_no_pce_id() -> None:
    certification = CertificationData(CertificationType.PPID_CLEAR, b"\1" * 16 + b"\2" * 16 + b"\3\0")
    assert certification.ppid() == PpidCertification(b"\1" * 16, b"\2" * 16, 3, None)


@pytest.mark.parametrize("number", [4, 5, 6, 7])
def test_other_types_hold_no_ppid(number: int) -> None:
    with pytest.raises(DecodeError, match=f"type {number} holds no PPID"):
        CertificationData(CertificationType(number), bytes(404)).ppid()


@pytest.mark.parametrize(("number", "size"), [(1, 33), (1, 35), (1, 37), (2, 274), (3, 402), (3, 405)])
def test_ppid_data_of_another_size_is_refused(number: int, size: int) -> None:
    with pytest.raises(DecodeError):
        CertificationData(CertificationType(number), bytes(size)).ppid()


# Damaged ones

DAMAGED = [CASES[0] / "quote.bin", VECTORS / "v36-synthetic-private-root" / "quote.bin", TYPE_3, TDX_4]
STRUCTURES = {"Quote", "Quote.signature_data", "Quote.qe_report_certification_data"}


@pytest.mark.parametrize("path", DAMAGED, ids=case_name)
def test_a_quote_cut_short_anywhere_is_refused_by_its_field(path: Path) -> None:
    raw = path.read_bytes()
    whole = len(raw) - len(read_quote(raw).trailing)
    for size in range(whole):
        with pytest.raises(DecodeError) as caught:
            read_quote(raw[:size])
        assert caught.value.structure in STRUCTURES
        assert caught.value.field


@pytest.mark.parametrize("path", DAMAGED, ids=case_name)
def test_a_quote_with_any_bit_flipped_is_another_quote_or_refused_by_its_field(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    refused = 0
    for at in range(len(raw)):
        for bit in range(8):
            raw[at] ^= 1 << bit
            try:
                assert read_quote(bytes(raw)).encode() == raw
            except DecodeError as error:
                refused += 1
                where = error.structure
            else:
                where = "Quote"
            assert where in STRUCTURES
            raw[at] ^= 1 << bit
    assert refused < 256, "only versions, types and lengths can be wrong by themselves"


@settings(max_examples=300)
@given(st.binary(max_size=60), st.integers(0, 1200), st.binary(max_size=12))
def test_any_bytes_are_a_quote_or_refused(head: bytes, at: int, patch: bytes) -> None:
    template = DAMAGED[1].read_bytes()
    for raw in (head, template[:at] + patch + template[at:], template[:at] + patch + template[at + len(patch) :]):
        try:
            quote = read_quote(raw)
        except DecodeError:
            continue
        assert quote.encode() == raw
