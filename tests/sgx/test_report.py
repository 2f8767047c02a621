from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from quotehelper.errors import DecodeError
from quotehelper.sgx.key_id import QE3_MR_SIGNER, QeReportInfo
from quotehelper.sgx.report import AttributeFlags, Attributes, Report, ReportBody, TargetInfo

if TYPE_CHECKING:
    from quotehelper.wire import Structure

LAYOUTS: dict[type[Structure], tuple[int, dict[str, tuple[int, int]]]] = {
    Attributes: (16, {"flags": (0, 8), "xfrm": (8, 8)}),
    TargetInfo: (
        512,
        {
            "mr_enclave": (0, 32),
            "attributes": (32, 16),
            "config_svn": (50, 2),
            "misc_select": (52, 4),
            "config_id": (64, 64),
        },
    ),
    ReportBody: (
        384,
        {
            "cpu_svn": (0, 16),
            "misc_select": (16, 4),
            "isv_ext_prod_id": (32, 16),
            "attributes": (48, 16),
            "mr_enclave": (64, 32),
            "mr_signer": (128, 32),
            "config_id": (192, 64),
            "isv_prod_id": (256, 2),
            "isv_svn": (258, 2),
            "config_svn": (260, 2),
            "isv_family_id": (304, 16),
            "report_data": (320, 64),
        },
    ),
    Report: (432, {"body": (0, 384), "key_id": (384, 32), "mac": (416, 16)}),
}
"""aesm 5.4 and 5.5: offset and size of each field."""


@pytest.mark.parametrize("kind", LAYOUTS, ids=lambda kind: kind.__name__)
def test_every_field_stands_where_the_specification_has_it(kind: type[Structure]) -> None:
    size, fields = LAYOUTS[kind]
    assert size == kind.SIZE
    assert {field.name: (field.offset, field.size) for field in kind.FIELDS} == fields


@pytest.mark.parametrize("kind", LAYOUTS, ids=lambda kind: kind.__name__)
def test_every_other_size_is_refused(kind: type[Structure]) -> None:
    for size in (0, kind.SIZE - 1, kind.SIZE + 1):
        with pytest.raises(DecodeError, match=rf"^{kind.__name__}: {kind.SIZE} bytes expected, {size} given$"):
            kind(bytes(size))


# Real ones


def test_a_real_report_shows_its_enclave_s_identity_at_the_stated_offsets(report: Report) -> None:
    body = report.body
    assert body.cpu_svn.hex() == "0b0b0202ff0100000000000000000000"
    assert body.misc_select == 0
    assert (body.attributes.flags, body.attributes.xfrm) == (0x5, 0x3)
    assert body.mr_enclave == b"\x11" * 32
    assert body.mr_signer == b"\x22" * 32
    assert (body.isv_prod_id, body.isv_svn, body.config_svn) == (7, 3, 0)
    assert body.report_data == b"report data".ljust(64, b"\0")
    assert not any(body.isv_ext_prod_id + body.config_id + body.isv_family_id)
    assert report.key_id == b"\x5a" * 32
    assert report.mac.hex() == "ba21f522eb6e3c20b36652ccdbbed85e"


def test_a_real_target_info_and_the_report_of_its_enclave_agree(
    target_info: TargetInfo, answered_info: QeReportInfo
) -> None:
    quoting = answered_info.qe_report.body
    assert target_info.mr_enclave == quoting.mr_enclave
    assert target_info.attributes == quoting.attributes
    assert target_info.misc_select == quoting.misc_select
    assert quoting.as_target() == target_info


def test_a_real_quoting_enclave_is_intel_s_and_may_provision(answered_info: QeReportInfo) -> None:
    quoting = answered_info.qe_report.body
    assert quoting.mr_signer == QE3_MR_SIGNER
    assert (quoting.isv_prod_id, quoting.isv_svn) == (1, 11)
    assert quoting.attributes.flag_names == ("INIT", "MODE64BIT", "PROVISION_KEY")


def test_a_target_is_made_of_a_report_as_clients_make_it(report: Report, quote_request: object) -> None:
    info = QeReportInfo(quote_request.qe_report_info)  # type: ignore[attr-defined]
    assert report.body.as_target() == info.app_enclave_target_info


# Values


def test_a_target_takes_all_that_identifies_the_enclave() -> None:
    body = ReportBody.build(
        mr_enclave=b"\1" * 32,
        mr_signer=b"\2" * 32,
        attributes=Attributes.build(flags=5, xfrm=7),
        misc_select=1,
        config_svn=9,
        config_id=b"\3" * 64,
    )
    assert body.as_target().raw == (
        b"\1" * 32 + bytes.fromhex("0500000000000000 0700000000000000 0000 0900 01000000") + bytes(8) + b"\3" * 64
    ).ljust(512, b"\0")


@pytest.mark.parametrize(("flags", "debug"), [(0x2, True), (0x7, True), (0x5, False), (0, False), (~0x2, False)])
def test_debug_is_one_bit(flags: int, *, debug: bool) -> None:
    assert Attributes.build(flags=flags & 0xFFFF_FFFF_FFFF_FFFF).debug is debug


def test_flags_are_named_from_the_lowest_and_unknown_ones_kept() -> None:
    attributes = Attributes.build(flags=0x8000_0000_0000_04F7)
    assert attributes.flag_names == (
        *("INIT", "DEBUG", "MODE64BIT", "PROVISION_KEY", "EINITTOKEN_KEY", "CET", "KSS", "AEX_NOTIFY"),
    )
    assert attributes.flags == 0x8000_0000_0000_04F7


def test_flags_have_the_architectural_bits() -> None:
    assert [(flag.name, flag.value) for flag in AttributeFlags] == [
        ("INIT", 0x1),
        ("DEBUG", 0x2),
        ("MODE64BIT", 0x4),
        ("PROVISION_KEY", 0x10),
        ("EINITTOKEN_KEY", 0x20),
        ("CET", 0x40),
        ("KSS", 0x80),
        ("AEX_NOTIFY", 0x400),
    ]


def test_reserved_bytes_of_a_report_are_kept() -> None:
    raw = bytes(range(256)) + bytes(range(176))
    assert Report(raw).replace(mac=raw[416:]).raw == raw
