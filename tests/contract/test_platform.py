"""What every Platform must do, whoever makes its quotes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from quotehelper.errors import PlatformCause, PlatformError
from quotehelper.sgx.key_id import QE3_KEY_ID, AttestationKeyId, QeReportInfo
from quotehelper.sgx.quote import CertificationType, read_quote
from quotehelper.sgx.report import Report, TargetInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from contract.conftest import Subject
    from quotehelper.platforms.platform import Platform

NONCE = bytes(range(16))


def first_key(platform: Platform) -> AttestationKeyId:
    return platform.attestation_keys()[0]


def good_report(subject: Subject, report_data: bytes = bytes(64)) -> Report:
    return subject.report(subject.platform.target(first_key(subject.platform)).target_info, report_data)


def test_it_has_the_key_that_clients_have_compiled_in(subject: Subject) -> None:
    assert QE3_KEY_ID in subject.platform.attestation_keys()


def test_a_target_names_the_quoting_enclave_and_nothing_more(subject: Subject) -> None:
    target, public_key_id = subject.platform.target(first_key(subject.platform))
    named = TargetInfo.build(mr_enclave=target.mr_enclave, attributes=target.attributes, misc_select=target.misc_select)
    assert target == named
    assert any(target.mr_enclave)
    assert len(public_key_id) == 32


def test_the_target_stays_the_same(subject: Subject) -> None:
    key = first_key(subject.platform)
    assert subject.platform.target(key) == subject.platform.target(key)


def test_the_quote_size_is_exact(subject: Subject) -> None:
    key = first_key(subject.platform)
    for number in range(20):
        quote = subject.platform.quote(good_report(subject, bytes([number]) * 64), key).quote
        assert len(quote) == subject.platform.quote_size(key)


def test_a_quote_decodes_and_carries_the_report(subject: Subject) -> None:
    report = good_report(subject, bytes(range(64)))
    raw, info = subject.platform.quote(report, first_key(subject.platform))
    quote = read_quote(raw)
    assert quote.body == report.body
    assert quote.encode() == raw
    assert (quote.trailing, info) == (b"", None)
    assert quote.certification.type in {CertificationType.PPID_RSA_3072, CertificationType.PCK_CHAIN}


def test_a_quote_is_signed_by_the_key_of_the_target(subject: Subject) -> None:
    target = subject.platform.target(first_key(subject.platform))
    quote = read_quote(subject.platform.quote(good_report(subject), first_key(subject.platform)).quote)
    assert hashlib.sha256(quote.attestation_key + quote.auth_data).digest() == target.public_key_id
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + quote.attestation_key)
    r, s = (int.from_bytes(half, "big") for half in (quote.signature[:32], quote.signature[32:]))
    key.verify(encode_dss_signature(r, s), quote.signed, ec.ECDSA(SHA256()))


def test_the_certified_qe_is_the_target(subject: Subject) -> None:
    target = subject.platform.target(first_key(subject.platform))
    quote = read_quote(subject.platform.quote(good_report(subject), first_key(subject.platform)).quote)
    assert quote.qe_report.mr_enclave == target.target_info.mr_enclave
    assert quote.qe_report.report_data[:32] == target.public_key_id


def test_a_nonce_is_answered_with_a_report_of_the_qe_over_the_quote(subject: Subject) -> None:
    info = QeReportInfo.build(nonce=NONCE, app_enclave_target_info=subject.app_target)
    key = first_key(subject.platform)
    quote, answer = subject.platform.quote(good_report(subject), key, info)
    assert answer is not None
    assert (answer.nonce, answer.app_enclave_target_info) == (NONCE, subject.app_target)
    assert subject.verify_report(answer.qe_report)
    assert answer.qe_report.body.mr_enclave == subject.platform.target(key).target_info.mr_enclave
    assert answer.qe_report.body.report_data == hashlib.sha256(NONCE + quote).digest() + bytes(32)


def test_a_report_for_another_enclave_is_refused(subject: Subject) -> None:
    report = subject.report(subject.app_target, bytes(64))
    assert cause(lambda: subject.platform.quote(report, first_key(subject.platform))) is PlatformCause.INVALID_REPORT


def test_a_report_with_any_bit_flipped_is_refused(subject: Subject) -> None:
    key, genuine = first_key(subject.platform), good_report(subject)
    for at in range(Report.SIZE):
        raw = bytearray(genuine.raw)
        raw[at] ^= 1 << at % 8
        flipped = Report(bytes(raw))
        assert cause(lambda report=flipped: subject.platform.quote(report, key)) is PlatformCause.INVALID_REPORT  # type: ignore[misc]


def test_an_invalid_report_gets_no_qe_report(subject: Subject) -> None:
    info = QeReportInfo.build(nonce=NONCE, app_enclave_target_info=subject.app_target)
    report = Report(bytes(432))
    got = cause(lambda: subject.platform.quote(report, first_key(subject.platform), info))
    assert got is PlatformCause.INVALID_REPORT


@pytest.mark.parametrize("at", [0, 6, 54, 58, 154, 157])
def test_an_unknown_key_is_refused(subject: Subject, at: int) -> None:
    raw = bytearray(first_key(subject.platform).raw)
    raw[at] ^= 0x40
    key, report = AttestationKeyId(bytes(raw)), good_report(subject)
    calls: list[Callable[[], object]] = [
        lambda: subject.platform.target(key),
        lambda: subject.platform.quote_size(key),
        lambda: subject.platform.quote(report, key),
    ]
    assert [cause(call) for call in calls] == [PlatformCause.UNSUPPORTED_KEY] * 3


def test_what_follows_the_base_of_a_key_id_does_not_matter(subject: Subject) -> None:
    key = AttestationKeyId(first_key(subject.platform).base + b"\xff" * 98)
    assert subject.platform.target(key) == subject.platform.target(first_key(subject.platform))
    assert len(subject.platform.quote(good_report(subject), key).quote) == subject.platform.quote_size(key)


def test_closing_twice_is_harmless(subject: Subject) -> None:
    subject.platform.close()
    subject.platform.close()


def cause(call: Callable[[], object]) -> PlatformCause:
    with pytest.raises(PlatformError) as caught:
        call()
    return caught.value.cause
