from __future__ import annotations

import re
from typing import Any

import pytest

from quotehelper.errors import DecodeError, PlatformCause, PlatformError
from quotehelper.platforms.simulated.cpu import Cpu, Enclave, EnclaveIdentity, Fuses, KeyRefusal, aes_cmac, covers
from quotehelper.sgx.key_request import KeyName, KeyPolicy, KeyRequest
from quotehelper.sgx.report import AttributeFlags, Attributes, Report, ReportBody, TargetInfo

FUSES = Fuses.from_secret(bytes(range(32)))
CPU_SVN = bytes(range(16, 32))
PLAIN = AttributeFlags.INIT | AttributeFlags.MODE64BIT
PRIVILEGED = PLAIN | AttributeFlags.PROVISION_KEY | AttributeFlags.EINITTOKEN_KEY
ALL_POLICIES = 0x3F
WHOLE = Attributes.build(flags=(1 << 64) - 1, xfrm=(1 << 64) - 1)

IDENTITY = EnclaveIdentity(
    mr_enclave=b"\x01" * 32,
    mr_signer=b"\x02" * 32,
    attributes=Attributes.build(flags=PRIVILEGED | AttributeFlags.KSS, xfrm=0xE7),
    misc_select=1,
    isv_prod_id=3,
    isv_svn=4,
    config_id=b"\x05" * 64,
    config_svn=6,
    isv_family_id=b"\x07" * 16,
    isv_ext_prod_id=b"\x08" * 16,
)
REQUEST = KeyRequest.build(
    key_name=KeyName.SEAL,
    isv_svn=2,
    cpu_svn=CPU_SVN,
    attribute_mask=WHOLE,
    misc_mask=0xFFFF_FFFF,
    key_id=b"\x09" * 32,
)


def with_flags(flags: int) -> EnclaveIdentity:
    return IDENTITY._replace(attributes=Attributes.build(flags=flags, xfrm=0xE7))


OTHER_IDENTITY = {
    "mr_enclave": IDENTITY._replace(mr_enclave=bytes(32)),
    "mr_signer": IDENTITY._replace(mr_signer=bytes(32)),
    "flags": with_flags(IDENTITY.attributes.flags & ~AttributeFlags.MODE64BIT),
    "debug": with_flags(IDENTITY.attributes.flags | AttributeFlags.DEBUG),
    "xfrm": IDENTITY._replace(attributes=IDENTITY.attributes.replace(xfrm=3)),
    "misc_select": IDENTITY._replace(misc_select=0),
    "isv_prod_id": IDENTITY._replace(isv_prod_id=4),
    "isv_svn": IDENTITY._replace(isv_svn=5),
    "config_id": IDENTITY._replace(config_id=bytes(64)),
    "config_svn": IDENTITY._replace(config_svn=7),
    "isv_family_id": IDENTITY._replace(isv_family_id=bytes(16)),
    "isv_ext_prod_id": IDENTITY._replace(isv_ext_prod_id=bytes(16)),
}
ATTRIBUTES = {"flags", "debug", "xfrm"}
MASKED = ATTRIBUTES | {"misc_select"}
KSS_CHOICE = {"config_id", "isv_family_id", "isv_ext_prod_id"}

ENCLAVE_INPUTS: list[tuple[KeyName, int, set[str]]] = [
    (KeyName.REPORT, 0, MASKED | {"mr_enclave", "config_id", "config_svn"}),
    (KeyName.SEAL, 0, MASKED | {"isv_prod_id"}),
    (KeyName.SEAL, KeyPolicy.MRENCLAVE, MASKED | {"isv_prod_id", "mr_enclave"}),
    (KeyName.SEAL, KeyPolicy.MRSIGNER, MASKED | {"isv_prod_id", "mr_signer"}),
    (KeyName.SEAL, KeyPolicy.NOISVPRODID, MASKED),
    (KeyName.SEAL, KeyPolicy.CONFIGID, MASKED | {"isv_prod_id", "config_id"}),
    (KeyName.SEAL, KeyPolicy.ISVFAMILYID, MASKED | {"isv_prod_id", "isv_family_id"}),
    (KeyName.SEAL, KeyPolicy.ISVEXTPRODID, MASKED | {"isv_prod_id", "isv_ext_prod_id"}),
    (KeyName.SEAL, ALL_POLICIES, MASKED | KSS_CHOICE | {"mr_enclave", "mr_signer"}),
    (KeyName.PROVISION, 0, MASKED | {"isv_prod_id", "mr_signer"}),
    (KeyName.PROVISION, ALL_POLICIES, MASKED | {"isv_prod_id", "mr_signer"}),
    (KeyName.PROVISION_SEAL, 0, MASKED | {"isv_prod_id", "mr_signer"}),
    (KeyName.PROVISION_SEAL, ALL_POLICIES, MASKED | KSS_CHOICE | {"mr_signer"}),
    (KeyName.EINITTOKEN, 0, MASKED | {"isv_prod_id", "mr_signer"}),
    (KeyName.EINITTOKEN, ALL_POLICIES, MASKED | {"isv_prod_id", "mr_signer"}),
]

OTHER_REQUEST: dict[str, dict[str, Any]] = {
    "isv_svn": {"isv_svn": 1},
    "cpu_svn": {"cpu_svn": bytes(16)},
    "attribute_mask": {"attribute_mask": WHOLE.replace(xfrm=0xFF)},  # bits the enclave lacks: only the mask differs
    "misc_mask": {"misc_mask": 1},
    "key_id": {"key_id": bytes(32)},
    "config_svn": {"config_svn": 5},
    "key_policy": {"key_policy": KeyPolicy.MRSIGNER},
}
VERSIONS = {"isv_svn", "cpu_svn"}
MASKS = {"attribute_mask", "misc_mask"}

REQUEST_INPUTS: list[tuple[KeyName, int, set[str]]] = [
    (KeyName.REPORT, 0, {"key_id"}),
    (KeyName.SEAL, 0, VERSIONS | MASKS | {"key_id", "key_policy"}),
    (KeyName.SEAL, KeyPolicy.CONFIGID, VERSIONS | MASKS | {"key_id", "key_policy", "config_svn"}),
    (KeyName.PROVISION, 0, VERSIONS | MASKS),
    (KeyName.PROVISION_SEAL, 0, VERSIONS | MASKS | {"key_policy"}),
    (KeyName.PROVISION_SEAL, KeyPolicy.CONFIGID, VERSIONS | MASKS | {"key_policy", "config_svn"}),
    (KeyName.EINITTOKEN, 0, VERSIONS | {"key_id"}),
]

SECRETS = {"provisioning_root", "seal_fuses", "owner_epoch"}
CPU_INPUTS: dict[KeyName, set[str]] = {
    KeyName.REPORT: SECRETS,
    KeyName.SEAL: SECRETS,
    KeyName.EINITTOKEN: SECRETS,
    KeyName.PROVISION: {"provisioning_root"},
    KeyName.PROVISION_SEAL: {"provisioning_root", "seal_fuses"},
}


def reporter(cpu: Cpu) -> Enclave:
    return cpu.load(IDENTITY._replace(mr_enclave=b"\xbb" * 32))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        (KeyName.EINITTOKEN, "92596c9de7fb1be061c8fd44015851af"),
        (KeyName.PROVISION, "a18c079e090fe21a1f8832f236a46aa7"),
        (KeyName.PROVISION_SEAL, "2468f086706bc3b406188ec8f15b4af3"),
        (KeyName.REPORT, "23efeab79894f85029d4cd75cd2f0170"),
        (KeyName.SEAL, "4499e8004fab65596a81a3d51994e889"),
    ],
)
def test_derivations_never_change(cpu: Cpu, name: KeyName, key: str) -> None:
    request = REQUEST.replace(key_name=name, key_policy=KeyPolicy.MRSIGNER | KeyPolicy.CONFIGID, config_svn=6)
    assert cpu.load(IDENTITY).key(request).hex() == key


def test_a_report_never_changes(cpu: Cpu) -> None:
    report = reporter(cpu).report(cpu.load(IDENTITY).target, bytes(range(64)))
    assert report.key_id.hex() == "f4b55c986c0c18ef77a66e6f5fbe2ff0ebdd2a378437edc80402c8119953a9c6"
    assert report.mac.hex() == "c9a983f71e969306cbc0e1af14d91f46"


def test_a_report_says_what_the_enclave_is(cpu: Cpu) -> None:
    body = cpu.load(IDENTITY).report(TargetInfo(bytes(512)), bytes(range(64))).body
    assert body == ReportBody.build(cpu_svn=CPU_SVN, report_data=bytes(range(64)), **IDENTITY._asdict())


def test_report_data_has_64_bytes(cpu: Cpu) -> None:
    with pytest.raises(DecodeError, match="report_data"):
        cpu.load(IDENTITY).report(TargetInfo(bytes(512)), bytes(63))


def test_a_report_is_mac_ed_under_the_targets_report_key(cpu: Cpu) -> None:
    target = cpu.load(IDENTITY)
    report = reporter(cpu).report(target.target, bytes(64))
    key = target.key(KeyRequest.build(key_name=KeyName.REPORT, key_id=report.key_id))
    assert aes_cmac(key, report.body.raw) == report.mac


@pytest.mark.parametrize(
    "change",
    [
        {"mr_enclave": bytes(32)},
        {"attributes": IDENTITY.attributes.replace(xfrm=3)},
        {"attributes": IDENTITY.attributes.replace(flags=IDENTITY.attributes.flags | AttributeFlags.DEBUG)},
        {"misc_select": 0},
        {"config_id": bytes(64)},
        {"config_svn": 7},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_report_for_another_target_is_refused(cpu: Cpu, change: dict[str, Any]) -> None:
    enclave = cpu.load(IDENTITY)
    assert enclave.verify_report(reporter(cpu).report(enclave.target, bytes(64)))
    assert not enclave.verify_report(reporter(cpu).report(enclave.target.replace(**change), bytes(64)))


@pytest.mark.parametrize("change", [{"mr_signer": bytes(32)}, {"isv_svn": 9}, {"isv_prod_id": 9}], ids=str)
def test_signer_and_versions_of_the_target_are_no_inputs_of_its_report_key(cpu: Cpu, change: dict[str, Any]) -> None:
    report = reporter(cpu).report(cpu.load(IDENTITY).target, bytes(64))
    assert cpu.load(IDENTITY._replace(**change)).verify_report(report)


def test_reserved_bytes_of_a_target_are_no_inputs_of_its_report_key(cpu: Cpu) -> None:
    raw = bytearray(cpu.load(IDENTITY).target.raw)
    for at in (48, 49, *range(56, 64), *range(128, 512)):
        raw[at] = 0xFF
    assert cpu.load(IDENTITY).verify_report(reporter(cpu).report(TargetInfo(bytes(raw)), bytes(64)))


@pytest.mark.parametrize(
    "other", [Cpu(Fuses.from_secret(bytes(32)), CPU_SVN), Cpu(FUSES, CPU_SVN[:-1] + b"\0")], ids=["cpu", "tcb"]
)
def test_a_report_holds_on_its_own_processor_at_its_own_tcb_only(cpu: Cpu, other: Cpu) -> None:
    enclave = cpu.load(IDENTITY)
    report = reporter(other).report(enclave.target, bytes(64))
    assert not enclave.verify_report(report.replace(key_id=cpu.report_key_id))
    assert not enclave.verify_report(report)


@pytest.mark.parametrize("warm", [False, True], ids=["first report", "report key known"])
def test_no_bit_of_a_report_can_be_changed(cpu: Cpu, *, warm: bool) -> None:
    enclave = cpu.load(IDENTITY)
    genuine = reporter(cpu).report(enclave.target, bytes(64))
    if warm:
        assert enclave.verify_report(genuine)
    for bit in range(432 * 8):
        raw = bytearray(genuine.raw)
        raw[bit // 8] ^= 1 << bit % 8
        assert not enclave.verify_report(Report(bytes(raw)))
    assert enclave.verify_report(genuine)


def test_forged_key_ids_leave_nothing_behind(cpu: Cpu) -> None:
    enclave = cpu.load(IDENTITY)
    genuine = reporter(cpu).report(enclave.target, bytes(64))
    for number in range(100):
        assert not enclave.verify_report(genuine.replace(key_id=number.to_bytes(32, "big")))
    assert not enclave._report_macs


def test_the_memory_for_report_keys_is_bounded(cpu: Cpu) -> None:
    enclave = cpu.load(IDENTITY)
    for number in range(100):
        key_id = number.to_bytes(32, "big")
        mac = aes_cmac(cpu.report_key(enclave.target, key_id), enclave.body.raw)
        assert enclave.verify_report(Report(enclave.body.raw + key_id + mac))
    assert len(enclave._report_macs) == 8


@pytest.mark.parametrize(("name", "policy", "expected"), ENCLAVE_INPUTS)
def test_keys_are_bound_to_these_properties_of_the_enclave(
    cpu: Cpu, name: KeyName, policy: int, expected: set[str]
) -> None:
    request = REQUEST.replace(key_name=name, key_policy=policy, config_svn=6 if policy & KeyPolicy.CONFIGID else 0)
    key = cpu.load(IDENTITY).key(request)
    assert {what for what, other in OTHER_IDENTITY.items() if cpu.load(other).key(request) != key} == expected


@pytest.mark.parametrize(("name", "policy", "expected"), REQUEST_INPUTS)
def test_keys_are_bound_to_these_fields_of_the_request(
    cpu: Cpu, name: KeyName, policy: int, expected: set[str]
) -> None:
    request = REQUEST.replace(key_name=name, key_policy=policy)
    enclave = cpu.load(IDENTITY)
    changed = {what for what, fields in OTHER_REQUEST.items() if differ(enclave, request, request.replace(**fields))}
    assert changed == expected


def differ(enclave: Enclave, one: KeyRequest, other: KeyRequest) -> bool:
    return enclave.key(one) != enclave.key(other)


@pytest.mark.parametrize(("name", "expected"), CPU_INPUTS.items())
def test_keys_are_bound_to_these_secrets_of_the_processor(name: KeyName, expected: set[str]) -> None:
    def key(fuses: Fuses) -> bytes:
        return Cpu(fuses, CPU_SVN).load(IDENTITY).key(REQUEST.replace(key_name=name))

    others = {what: FUSES._replace(**{what: bytes(16)}) for what in SECRETS}
    assert {what for what, other in others.items() if key(other) != key(FUSES)} == expected


@pytest.mark.parametrize("name", KeyName)
def test_a_debug_enclave_reaches_no_production_key(cpu: Cpu, name: KeyName) -> None:
    request = REQUEST.replace(key_name=name, attribute_mask=Attributes(bytes(16)))
    debug = with_flags(IDENTITY.attributes.flags | AttributeFlags.DEBUG)
    assert cpu.load(debug).key(request) != cpu.load(IDENTITY).key(request)


@pytest.mark.parametrize("name", [name for name in KeyName if name is not KeyName.REPORT])
def test_unmasked_attributes_and_misc_bits_do_not_matter(cpu: Cpu, name: KeyName) -> None:
    request = REQUEST.replace(key_name=name, attribute_mask=Attributes(bytes(16)), misc_mask=0)
    other = OTHER_IDENTITY["flags"]._replace(misc_select=0)
    assert cpu.load(other).key(request) == cpu.load(IDENTITY).key(request)


REFUSALS: list[tuple[str, EnclaveIdentity, dict[str, Any], KeyRefusal]] = [
    ("no launch right", with_flags(PLAIN), {"key_name": KeyName.EINITTOKEN}, KeyRefusal.INVALID_ATTRIBUTE),
    ("no provisioning right", with_flags(PLAIN), {"key_name": KeyName.PROVISION}, KeyRefusal.INVALID_ATTRIBUTE),
    ("nor its seal", with_flags(PLAIN), {"key_name": KeyName.PROVISION_SEAL}, KeyRefusal.INVALID_ATTRIBUTE),
    ("no such name", IDENTITY, {"key_name": 5}, KeyRefusal.INVALID_KEY_NAME),
    ("config_svn", IDENTITY, {"config_svn": 7}, KeyRefusal.INVALID_ISV_SVN),
    ("unknown policy", IDENTITY, {"key_policy": 0x40}, KeyRefusal.FAULT),
    *(
        (f"policy {policy:#x} without KSS", with_flags(PRIVILEGED), {"key_policy": policy}, KeyRefusal.FAULT)
        for policy in (4, 8, 0x10, 0x20)
    ),
    ("config_svn without KSS", with_flags(PRIVILEGED), {"config_svn": 1}, KeyRefusal.FAULT),
    *(
        (f"{name.name} of a later isv_svn", IDENTITY, {"key_name": name, "isv_svn": 5}, KeyRefusal.INVALID_ISV_SVN)
        for name in KeyName
        if name is not KeyName.REPORT
    ),
    *(
        (
            f"{name.name} of a later cpu_svn",
            IDENTITY,
            {"key_name": name, "cpu_svn": bytes(15) + b"\x20"},
            KeyRefusal.INVALID_CPU_SVN,
        )
        for name in KeyName
        if name is not KeyName.REPORT
    ),
]


@pytest.mark.parametrize(
    ("identity", "fields", "refusal"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
def test_egetkey_refuses(cpu: Cpu, identity: EnclaveIdentity, fields: dict[str, Any], refusal: KeyRefusal) -> None:
    with pytest.raises(PlatformError, match=re.escape(refusal)) as caught:
        cpu.load(identity).key(REQUEST.replace(**fields))
    assert caught.value.cause is PlatformCause.KEY_REFUSED
    assert caught.value.detail is refusal


@pytest.mark.parametrize("at", [6, 7, 78, 300, 511])
def test_egetkey_faults_on_reserved_bytes(cpu: Cpu, at: int) -> None:
    raw = bytearray(REQUEST.raw)
    raw[at] = 1
    with pytest.raises(PlatformError, match="reserved bits"):
        cpu.load(IDENTITY).key(KeyRequest(bytes(raw)))


@pytest.mark.parametrize("policy", [0, 1, 2, 3])
def test_mrenclave_and_mrsigner_policies_need_no_kss(cpu: Cpu, policy: int) -> None:
    assert len(cpu.load(with_flags(PRIVILEGED)).key(REQUEST.replace(key_policy=policy))) == 16


@pytest.mark.parametrize("name", [KeyName.PROVISION, KeyName.PROVISION_SEAL, KeyName.EINITTOKEN])
def test_config_svn_has_a_ceiling_for_seal_keys_alone(cpu: Cpu, name: KeyName) -> None:
    assert len(cpu.load(IDENTITY).key(REQUEST.replace(key_name=name, config_svn=7))) == 16


def test_report_keys_have_no_ceilings(cpu: Cpu) -> None:
    request = KeyRequest.build(key_name=KeyName.REPORT, isv_svn=0xFFFF, cpu_svn=b"\xff" * 16)
    assert cpu.load(IDENTITY).key(request) == cpu.load(IDENTITY).key(KeyRequest.build(key_name=KeyName.REPORT))


def test_one_component_above_the_processors_is_too_much() -> None:
    assert covers(CPU_SVN, CPU_SVN)
    assert covers(CPU_SVN, bytes(16))
    for at in range(16):
        above = bytearray(16)
        above[at] = CPU_SVN[at] + 1
        assert not covers(CPU_SVN, bytes(above))


def test_a_processor_needs_a_whole_secret_and_cpu_svn() -> None:
    with pytest.raises(DecodeError, match=r"Cpu.secret: 32 bytes expected, 31 given"):
        Fuses.from_secret(bytes(31))
    with pytest.raises(DecodeError, match=r"Cpu.cpu_svn: 16 bytes expected, 17 given"):
        Cpu(FUSES, bytes(17))


def test_two_secrets_have_no_fuse_in_common() -> None:
    other = Fuses.from_secret(bytes(range(1, 33)))
    assert not set(FUSES) & set(other)
    assert len(set(FUSES)) == 4


def test_secrets_are_not_shown() -> None:
    assert repr(FUSES) == str(FUSES) == "Fuses(…)"
