"""Bodies from outside: whatever they are, they are read or refused by name."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.collateral.catalog import CAS, PckCertificate, PckSet, PlatformId, RawTcb, Registration
from quotehelper.collateral.pccs.endpoints import ENDPOINTS, read_parameters
from quotehelper.collateral.platform_collateral import (
    encode_pck_certs,
    encode_registration,
    parse_pck_certs,
    parse_platform_collateral,
    parse_registration,
)
from quotehelper.errors import DecodeError

MEMBERS = st.sampled_from(
    [
        *("platforms", "collaterals", "version", "pck_certs", "tcbinfos", "certificates", "certs", "cert", "tcbm"),
        *("qe_id", "pce_id", "cpu_svn", "pce_svn", "enc_ppid", "platform_manifest", "pckcacrl", "rootcacrl"),
        *("sgx_tcbinfo", "qeidentity", "SGX-PCK-Certificate-Issuer-Chain", "PROCESSOR", "fmspc"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40) | st.sampled_from(["0000", "00" * 18, "4"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=8),
    max_leaves=30,
)
HEX = st.text("0123456789ABCDEF", min_size=4, max_size=4)


@given(VALUES)
def test_whatever_json_comes_is_read_or_refused(value: object) -> None:
    raw = json.dumps(value).encode()
    for parse in (parse_platform_collateral, parse_registration, parse_pck_certs):
        with suppress(DecodeError):
            parse(raw)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_are_refused(raw: bytes) -> None:
    for parse in (parse_platform_collateral, parse_registration):
        with pytest.raises(DecodeError):
            parse(raw)


@given(st.dictionaries(st.sampled_from([p.name for e in ENDPOINTS for p in e.parameters]), st.text(max_size=800)))
def test_whatever_parameters_come_are_taken_in_form_or_refused(query: dict[str, str]) -> None:
    for endpoint in ENDPOINTS:
        with suppress(DecodeError):
            values = read_parameters(endpoint, query)
            assert values.keys() == {parameter.name for parameter in endpoint.parameters}


@given(st.binary(min_size=1, max_size=16), HEX, st.binary(min_size=16, max_size=16), HEX, st.booleans())
def test_a_registration_comes_back(qe_id: bytes, pce_id: str, cpu_svn: bytes, pce_svn: str, with_raw: object) -> None:
    raw = RawTcb(cpu_svn.hex().upper(), pce_svn) if with_raw else None
    registration = Registration(PlatformId(qe_id.hex().upper(), pce_id), raw, "", "0A")
    assert parse_registration(json.dumps(encode_registration(registration)).encode()) == registration


def test_a_list_of_certificates_comes_back_with_what_is_not_available() -> None:
    tcb = RawTcb("0F" * 16, "0D00")
    found = PckSet((PckCertificate(b"a certificate +/=\n", tcb, "00" * 6, "0000", CAS[0], b""),), ("0E" * 18,))
    assert parse_pck_certs(json.dumps(encode_pck_certs(found)).encode()) == (
        (tcb.tcbm, b"a certificate +/=\n"),
        ("0E" * 18, None),
    )


@pytest.mark.parametrize("version", [3, 4, "3", "4.0", 3.0])
def test_versions_are_read_in_every_spelling(version: object) -> None:
    body = {"version": version, "pck_certs": [], "tcbinfos": [], "certificates": {}}
    assert parse_platform_collateral(json.dumps({"platforms": [], "collaterals": body}).encode()).version in {3, 4}


def test_the_v3_shape_of_tcb_infos_is_read() -> None:
    body = {"version": 3, "pck_certs": [], "tcbinfos": [{"fmspc": "0", "tcbinfo": {"a": 1}}], "certificates": {}}
    (found,) = parse_platform_collateral(json.dumps({"platforms": [], "collaterals": body}).encode()).tcb_infos
    assert found.text == b'{"a":1}'


def test_a_registration_does_not_show_who_it_is() -> None:
    registration = Registration(PlatformId("ABCDEF", "0000"), None, "AB" * 384, "0A")
    assert "AB" not in repr(registration) + repr(registration.id)
