from __future__ import annotations

import pytest

from quotehelper.errors import DecodeError
from quotehelper.sgx.key_request import KSS_POLICIES, KeyName, KeyPolicy, KeyRequest

OFFSETS = {
    "key_name": (0, 2),
    "key_policy": (2, 2),
    "isv_svn": (4, 2),
    "cpu_svn": (8, 16),
    "attribute_mask": (24, 16),
    "key_id": (40, 32),
    "misc_mask": (72, 4),
    "config_svn": (76, 2),
}


def test_every_field_stands_where_sgx_key_request_t_has_it() -> None:
    assert {field.name: (field.offset, field.size) for field in KeyRequest.FIELDS} == OFFSETS


def test_a_request_has_512_bytes() -> None:
    with pytest.raises(DecodeError, match="512 bytes expected, 511 given"):
        KeyRequest(bytes(511))


def test_reserved_is_exactly_what_no_field_covers() -> None:
    covered = {byte for offset, size in OFFSETS.values() for byte in range(offset, offset + size)}
    for byte in range(512):
        raw = bytearray(512)
        raw[byte] = 1
        assert any(KeyRequest(bytes(raw)).reserved) is (byte not in covered)


def test_key_names_have_the_architectural_numbers() -> None:
    assert [(name.name, name.value) for name in KeyName] == [
        ("EINITTOKEN", 0),
        ("PROVISION", 1),
        ("PROVISION_SEAL", 2),
        ("REPORT", 3),
        ("SEAL", 4),
    ]


def test_the_kss_policies_are_all_but_mrenclave_and_mrsigner() -> None:
    assert KSS_POLICIES == 0x3C
    assert KeyPolicy(0x3F) & ~KSS_POLICIES == KeyPolicy.MRENCLAVE | KeyPolicy.MRSIGNER
