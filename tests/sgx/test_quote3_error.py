from __future__ import annotations

from quotehelper.sgx.quote3_error import Quote3Error, name_quote3_error

SPECIFIED = {
    *range(0x01, 0x36),
    *range(0x37, 0x4A),
    *range(0x50, 0x54),
    *range(0x60, 0x69),
}
"""dcap 4.5 without the appraisal enclave's 70 to 73 and the bound FF."""


def test_every_code_of_the_specification_has_a_name() -> None:
    assert {int(code) for code in Quote3Error} == {0} | {0xE000 + number for number in SPECIFIED}


def test_a_code_is_shown_in_hex_with_intel_s_name() -> None:
    assert name_quote3_error(0xE00F) == "0xE00F SGX_QL_ATT_KEY_NOT_INITIALIZED"
    assert name_quote3_error(0xE0FE) == "0xE0FE (not known)"
