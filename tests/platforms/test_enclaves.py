from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.errors import PlatformCause, PlatformError
from quotehelper.platforms.simulated.cpu import Cpu, Enclave, Fuses
from quotehelper.platforms.simulated.enclaves import (
    AUTH_DATA,
    P256_ORDER,
    PCE_MR_SIGNER,
    Pce,
    Qe3,
    Tcb,
    attestation_key,
    encode_point,
    encode_signature,
    p256_scalar,
    pce_identity,
    qe3_identity,
    qe_id,
)
from quotehelper.sgx.key_id import QE3_MR_SIGNER, QeReportInfo
from quotehelper.sgx.key_request import KeyName, KeyPolicy, KeyRequest
from quotehelper.sgx.quote import CertificationData, CertificationType, read_quote
from quotehelper.sgx.report import AttributeFlags, Attributes, Report, TargetInfo

CPU_SVN = bytes(range(16, 32))
TCB = Tcb(CPU_SVN, 13)
CERTIFICATION = CertificationData(CertificationType.PCK_CHAIN, b"another chain\0")
NONCE = bytes(range(16))

SCALARS = st.integers(min_value=1, max_value=P256_ORDER - 1) | st.integers(min_value=1, max_value=1 << 128)


def cmac(key: bytes, *blocks: bytes) -> bytes:
    mac = CMAC(AES(key))
    for block in blocks:
        mac.update(block)
    return mac.finalize()


def verify(point: bytes, signature: bytes, message: bytes) -> None:
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    key.verify(der, message, ec.ECDSA(SHA256()))


def attestation_point(cpu: Cpu, isv_svn: int = 11, mr_enclave: bytes | None = None) -> bytes:
    return encode_point(attestation_key(cpu.load(qe3_identity(isv_svn, mr_enclave))).public_key())


def test_derivations_never_change(cpu: Cpu, pce: Pce, qe: Qe3) -> None:
    assert attestation_point(cpu).hex() == (
        "7f3b12c4f68fdcffc18b5ef60f380a56398cd261bf99278633ad9f65b146eedb"
        "be8dee6c47f1a91c6f060f9141e12f22ec837b1170328f6b9e27a4d1cd628795"
    )
    assert encode_point(pce.pck_public_key(TCB)).hex() == (
        "da4ce713225a7546ac8bf8880cce6169763d439b6e5c0637ae7bc6a0edb70917"
        "39b89c00f76e5b1557accfe12fd271d310358c2718fd3f457b6e0e7f13624d87"
    )
    assert pce.ppid().hex() == "e0f4945c0d39a857a17f9ca159736fcd"
    assert qe_id(cpu.load(qe3_identity())).hex() == "b25773ceefbdc9a5c387a4b3b11c27aa"
    assert qe.public_key_id.hex() == "289206c2c896d4a37030184caa902f6131f29e09b520ca3d0322dd76cdacfc6b"
    assert qe.target_info.mr_enclave.hex() == "7887f09f24eadb19792cbb63e7285a8e71766a455c6d7cc650bf8b2efd398c23"


def test_the_attestation_key_is_derived_in_the_steps_of_qe3(cpu: Cpu) -> None:
    enclave = cpu.load(qe3_identity())
    seal_key = enclave.key(
        KeyRequest.build(
            key_name=KeyName.SEAL,
            key_policy=KeyPolicy.MRSIGNER,
            isv_svn=11,
            cpu_svn=CPU_SVN,
            attribute_mask=Attributes(bytes.fromhex("fbffffffffffffff0000000000000000")),
            misc_mask=0xFFFFFFFF,
        )
    )
    blocks = [cmac(seal_key, bytes([n]) + b"QE_ATT_DER" + bytes(3) + bytes.fromhex("0140")) for n in (1, 2, 3)]
    c = int.from_bytes(b"".join(blocks)[:40], "big")
    private = ec.derive_private_key(c % (P256_ORDER - 1) + 1, ec.SECP256R1())
    assert attestation_point(cpu) == encode_point(private.public_key())


def test_the_pck_is_derived_in_the_steps_of_the_pce(cpu: Cpu, pce: Pce) -> None:
    provision_key = cpu.load(pce_identity()).key(
        KeyRequest.build(
            key_name=KeyName.PROVISION,
            isv_svn=13,
            cpu_svn=CPU_SVN,
            attribute_mask=Attributes(bytes.fromhex("fbffffffffffffff0000000000000000")),
            misc_mask=0xFFFFFFFF,
        )
    )
    blocks = [cmac(provision_key, bytes([n]) + b"PAK_KEY_DER" + bytes(2) + bytes.fromhex("0140")) for n in (1, 2, 3)]
    c = int.from_bytes(b"".join(blocks)[:40], "big")
    private = ec.derive_private_key(c % (P256_ORDER - 1) + 1, ec.SECP256R1())
    assert encode_point(pce.pck_public_key(TCB)) == encode_point(private.public_key())


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=13))
def test_derived_scalars_are_private_keys(key: bytes, label: bytes) -> None:
    assert 1 <= p256_scalar(key, label) < P256_ORDER


@given(SCALARS, SCALARS)
def test_signatures_are_64_bytes_whatever_der_makes_of_the_numbers(r: int, s: int) -> None:
    assert encode_signature(encode_dss_signature(r, s)) == r.to_bytes(32, "big") + s.to_bytes(32, "big")


def test_a_new_qe_version_or_tcb_has_a_new_attestation_key(cpu: Cpu) -> None:
    raised = Cpu(Fuses.from_secret(bytes(range(32))), CPU_SVN[:-1] + b"\xff")
    other = Cpu(Fuses.from_secret(bytes(32)), CPU_SVN)
    keys = {attestation_point(cpu), attestation_point(cpu, 12), attestation_point(raised), attestation_point(other)}
    assert len(keys) == 4


def test_a_rebuilt_qe_of_the_same_version_keeps_the_attestation_key(cpu: Cpu) -> None:
    assert attestation_point(cpu, 11, b"\xee" * 32) == attestation_point(cpu)


def test_the_qe_id_outlives_updates_of_qe_and_tcb(cpu: Cpu) -> None:
    updated = Cpu(Fuses.from_secret(bytes(range(32))), b"\xff" * 16).load(qe3_identity(12))
    assert qe_id(updated) == qe_id(cpu.load(qe3_identity()))


def test_the_qe_id_changes_with_the_owner_epoch(cpu: Cpu) -> None:
    fuses = Fuses.from_secret(bytes(range(32)))._replace(owner_epoch=bytes(16))
    assert qe_id(Cpu(fuses, CPU_SVN).load(qe3_identity())) != qe_id(cpu.load(qe3_identity()))


def test_ppid_and_pck_depend_on_nothing_but_the_provisioning_root(pce: Pce) -> None:
    fuses = Fuses.from_secret(bytes(range(32)))
    twin = Pce(Cpu(fuses._replace(owner_epoch=bytes(16), seal_fuses=bytes(16)), CPU_SVN), pce_identity())
    assert twin.ppid() == pce.ppid()
    assert twin.pck_public_key(TCB) == pce.pck_public_key(TCB)


def test_a_platform_keeps_ppid_and_old_pcks_when_its_tcb_rises(pce: Pce) -> None:
    raised = Pce(Cpu(Fuses.from_secret(bytes(range(32))), b"\xff" * 16), pce_identity(17))
    assert raised.ppid() == pce.ppid()
    assert raised.pck_public_key(TCB) == pce.pck_public_key(TCB)


def test_each_tcb_level_has_a_pck_of_its_own(pce: Pce) -> None:
    levels = [TCB, TCB._replace(pce_svn=12), TCB._replace(cpu_svn=bytes(16))]
    assert len({encode_point(pce.pck_public_key(level)) for level in levels}) == 3


@pytest.mark.parametrize("tcb", [Tcb(CPU_SVN, 17), Tcb(CPU_SVN[:-1] + b"\x20", 13)], ids=["pce_svn", "cpu_svn"])
def test_the_pce_certifies_nothing_above_the_platforms_tcb(pce: Pce, qe: Qe3, tcb: Tcb) -> None:
    report = qe._enclave.report(pce.target, bytes(64))
    with pytest.raises(PlatformError, match="TCB above the platform's") as caught:
        pce.certify(report, tcb)
    assert caught.value.cause is PlatformCause.KEY_CERTIFICATION


def test_the_pce_certifies_privileged_enclaves_only(pce: Pce, app: Enclave) -> None:
    with pytest.raises(PlatformError, match="PROVISION_KEY") as caught:
        pce.certify(app.report(pce.target, bytes(64)), TCB)
    assert caught.value.cause is PlatformCause.KEY_CERTIFICATION


def test_the_pce_certifies_reports_made_for_it_only(pce: Pce, qe: Qe3) -> None:
    with pytest.raises(PlatformError) as caught:
        pce.certify(qe._enclave.report(qe.target_info, bytes(64)), TCB)
    assert caught.value.cause is PlatformCause.INVALID_REPORT


def test_an_uncertifiable_qe_does_not_come_to_be(cpu: Cpu, pce: Pce) -> None:
    with pytest.raises(PlatformError, match="TCB above"):
        Qe3(cpu, qe3_identity(), pce, Tcb(CPU_SVN, 17), CERTIFICATION)


def test_the_enclaves_have_intels_identities() -> None:
    qe3, pce = qe3_identity(), pce_identity()
    assert (qe3.mr_signer, pce.mr_signer) == (QE3_MR_SIGNER, PCE_MR_SIGNER)
    assert (qe3.isv_svn, pce.isv_svn) == (11, 16)
    for identity in (qe3, pce):
        assert identity.attributes.raw.hex() == "1500000000000000e700000000000000"
        assert (identity.isv_prod_id, identity.misc_select) == (1, 0)


def test_each_enclave_version_has_a_measurement_of_its_own() -> None:
    identities = [qe3_identity(8), qe3_identity(11), pce_identity(8), pce_identity(11)]
    assert len({identity.mr_enclave for identity in identities}) == 4
    assert qe3_identity(8, b"\x08" * 32).mr_enclave == b"\x08" * 32


def test_the_header_names_the_running_enclaves_and_the_platform(cpu: Cpu, qe: Qe3, app: Enclave) -> None:
    quote = read_quote(qe.quote(app.report(qe.target_info, bytes(64))))
    assert (quote.header.version, quote.header.att_key_type, quote.header.tee_type) == (3, 2, 0)
    assert (quote.header.qe_svn, quote.header.pce_svn) == (11, 16)
    assert quote.header.qe_vendor_id.hex() == "939a7233f79c4ca9940a0db3957f0607"
    assert quote.header.user_data == qe_id(cpu.load(qe3_identity())) + bytes(4)


def test_a_quote_carries_the_report_and_is_signed_by_the_attestation_key(cpu: Cpu, qe: Qe3, app: Enclave) -> None:
    report = app.report(qe.target_info, bytes(range(64)))
    quote = read_quote(qe.quote(report))
    assert quote.body == report.body
    assert quote.attestation_key == attestation_point(cpu)
    verify(quote.attestation_key, quote.signature, quote.signed)
    assert (quote.certification.data, quote.trailing) == (b"a chain that nobody reads here\0", b"")


def test_the_qe_report_binds_key_and_auth_data_and_is_signed_by_the_pck(pce: Pce, qe: Qe3, app: Enclave) -> None:
    quote = read_quote(qe.quote(app.report(qe.target_info, bytes(64))))
    assert (
        quote.auth_data
        == AUTH_DATA
        == bytes.fromhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
    )
    binding = hashlib.sha256(quote.attestation_key + quote.auth_data).digest()
    assert quote.qe_report.report_data == binding + bytes(32)
    assert qe.public_key_id == binding
    assert quote.qe_report.mr_enclave == qe.target_info.mr_enclave
    verify(encode_point(pce.pck_public_key(TCB)), quote.qe_report_signature, quote.qe_report.raw)


def test_two_quotes_over_one_report_have_two_signatures(qe: Qe3, app: Enclave) -> None:
    report = app.report(qe.target_info, bytes(64))
    assert len({read_quote(qe.quote(report)).signature[:32] for _ in range(50)}) == 50


def test_short_signature_numbers_never_shift_a_quote(qe: Qe3, app: Enclave) -> None:
    report = app.report(qe.target_info, bytes(64))
    quotes = [qe.quote(report) for _ in range(1500)]  # one number in 256 has a leading zero byte
    assert {len(quote) for quote in quotes} == {qe.quote_size}
    short = [quote for quote in quotes if not quote[436] or not quote[468]]
    assert short
    for quote in short:
        verify(quote[500:564], quote[436:500], quote[:432])


def test_a_quote_is_made_for_debug_enclaves_too(cpu: Cpu, qe: Qe3, app: Enclave) -> None:
    flags = AttributeFlags.INIT | AttributeFlags.DEBUG
    debug = cpu.load(app.identity._replace(attributes=Attributes.build(flags=flags, xfrm=3)))
    quote = read_quote(qe.quote(debug.report(qe.target_info, bytes(64))))
    assert quote.body.raw[48:50] == b"\x03\0"


def test_a_report_with_a_bad_mac_is_not_quoted(qe: Qe3, app: Enclave) -> None:
    report = app.report(qe.target_info, bytes(64))
    with pytest.raises(PlatformError) as caught:
        qe.quote(Report(report.raw[:431] + bytes([report.raw[431] ^ 1])))
    assert caught.value.cause is PlatformCause.INVALID_REPORT


def test_the_qe_reports_nonce_and_quote_to_the_application(qe: Qe3, app: Enclave) -> None:
    quote = qe.quote(app.report(qe.target_info, bytes(64)))
    info = QeReportInfo.build(nonce=NONCE, app_enclave_target_info=app.target, qe_report=Report(b"\xff" * 432))
    answer = qe.report_quote(quote, info)
    assert answer.raw[:528] == info.raw[:528]
    assert app.verify_report(answer.qe_report)
    assert answer.qe_report.body.mr_enclave == qe.target_info.mr_enclave
    assert answer.qe_report.body.report_data == hashlib.sha256(NONCE + quote).digest() + bytes(32)


@pytest.mark.parametrize("at", [48, 49, 56, 63])
def test_the_qe_reports_to_no_target_with_reserved_bytes_set(qe: Qe3, app: Enclave, at: int) -> None:
    raw = bytearray(app.target.raw)
    raw[at] = 1
    info = QeReportInfo.build(app_enclave_target_info=TargetInfo(bytes(raw)))
    with pytest.raises(PlatformError) as caught:
        qe.report_quote(b"a quote", info)
    assert caught.value.cause is PlatformCause.UNABLE_TO_MAKE_QE_REPORT
