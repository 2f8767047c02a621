"""Real evidence: Intel's verdict with Intel's semantics, dcap-qvl's with the strict ones, in every form."""

from __future__ import annotations

import base64
import re

import pytest

from evidence import RECORDED, is_status, meta, recorded
from harness import VECTORS
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import CollateralError, VerificationError
from quotehelper.verification.roots import Origin, Roots
from quotehelper.verification.semantics import INTEL, STRICT
from quotehelper.verification.verify import verify

INTEL_RESULTS = {
    "OK": TcbStatus.UP_TO_DATE,
    "SW_HARDENING_NEEDED": TcbStatus.SW_HARDENING_NEEDED,
    "CONFIG_NEEDED": TcbStatus.CONFIGURATION_NEEDED,
    "CONFIG_AND_SW_HARDENING_NEEDED": TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    "OUT_OF_DATE": TcbStatus.OUT_OF_DATE,
    "OUT_OF_DATE_CONFIG_NEEDED": TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
}
"""sgx_ql_qv_result_t without its prefix."""
GOOD = [name for name in RECORDED if is_status(recorded(name).judge())]
REAL = [name for name in RECORDED if "synthetic" not in name]


def what_intel_said(name: str) -> tuple[TcbStatus, bool]:
    """Status, and whether collateral had expired."""
    told = meta(name)["results"]["intel QVL composed like sgx_qv_verify_quote"]
    found = re.fullmatch(r"SGX_QL_QV_RESULT_(\w+)( \+ collateral_expiration_status=1)?", told)
    assert found, told
    return INTEL_RESULTS[found[1]], found[2] is not None


def what_dcap_qvl_said(name: str) -> str:
    return str(meta(name)["results"]["dcap-qvl 0.7.0 (PyPI wheel)"])


def test_there_are_as_many_cases_as_were_recorded() -> None:
    assert len(RECORDED) == 14
    assert len(GOOD) >= 6


@pytest.mark.parametrize("name", RECORDED)
def test_intels_semantics_give_intels_verdict(name: str) -> None:
    verified = recorded(name).verify(INTEL)
    assert (verified.status, verified.collateral_expired) == what_intel_said(name)


@pytest.mark.parametrize("name", RECORDED)
def test_strict_semantics_give_dcap_qvls_verdict(name: str) -> None:
    """No case is an exception: what dcap-qvl can't read, strict refuses for reasons of its own."""
    told = what_dcap_qvl_said(name)
    if told.startswith("ERR"):
        with pytest.raises(VerificationError):
            recorded(name).verify(STRICT)
        return
    status, advisories = re.fullmatch(r"(\w+) adv=([\w,-]*) .*", told).groups()  # type: ignore[union-attr]
    verified = recorded(name).verify(STRICT)
    assert verified.status.value == status
    assert set(verified.advisory_ids) == set(filter(None, advisories.split(",")))
    assert list(verified.advisory_ids) == sorted(verified.advisory_ids)


@pytest.mark.parametrize("name", RECORDED)
def test_dcap_qvl_says_today_what_was_recorded(name: str) -> None:
    told = what_dcap_qvl_said(name)
    assert is_status(recorded(name).judge_by_dcap_qvl()) is not told.startswith("ERR")


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("v02-expired-collateral", "pck_validity: expired"),
        ("v03-debug-enclave", "enclave_debug: debug"),
        ("v23-maa-debug", "enclave_debug: debug"),
        ("v25-pck-crl-expired", "pck_validity: expired"),
        ("v26-swhardening-oe-tcbv2", "enclave_debug: debug"),
        ("v36-synthetic-private-root", "certification_data: unsupported"),
        ("v40-swhardening-maa-oe-tcbv2", "pck_validity: not_yet_valid"),
        ("v41-debug-occlum", "enclave_debug: debug"),
    ],
)
def test_a_refusal_names_step_and_reason(name: str, verdict: str) -> None:
    assert recorded(name).judge(STRICT) == verdict


@pytest.mark.parametrize("name", ["v02-expired-collateral", "v25-pck-crl-expired"])
def test_expired_collateral_is_neither_yes_nor_no(name: str) -> None:
    with pytest.raises(CollateralError, match="Fetch current collateral"):
        recorded(name).verify(STRICT)


@pytest.mark.parametrize("name", REAL)
def test_real_quotes_lead_to_intels_root_as_it_is_compiled_in(name: str) -> None:
    case = recorded(name)
    verified = verify(case.quote, case.collateral, roots=Roots.intel(), at=case.at, semantics=INTEL)
    assert verified.origin is Origin.INTEL


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("form", ["PEM", "hexadecimal", "hexadecimal and NUL"])
def test_revocation_lists_are_taken_in_every_form_that_services_serve(name: str, form: str) -> None:
    def written(crl: bytes) -> bytes:
        if form == "PEM":
            return b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(crl) + b"-----END X509 CRL-----\n"
        return crl.hex().upper().encode() + (b"\0" if "NUL" in form else b"")

    case = recorded(name)
    crls = {field: written(getattr(case.collateral, field)) for field in ("root_ca_crl", "pck_crl")}
    changed = case._replace(collateral=case.collateral._replace(**crls))
    for semantics in (STRICT, INTEL):
        assert changed.judge(semantics) == case.judge(semantics)


@pytest.mark.parametrize("name", GOOD)
def test_what_stands_behind_a_quote_does_not_matter(name: str) -> None:
    case = recorded(name)
    for trailing in (b"\0", b"claims" * 30):
        longer = case._replace(quote=case.quote + trailing)
        assert longer.judge(STRICT) == case.judge(STRICT) == longer.judge_by_dcap_qvl()
        assert longer.judge(INTEL) == case.judge(INTEL)


@pytest.mark.parametrize("name", GOOD)
def test_a_quote_cut_short_is_refused_as_such(name: str) -> None:
    case = recorded(name)
    size = 436 + int.from_bytes(case.quote[432:436], "little")
    for cut in (0, 1, 47, 431, 432, 1019, size - 1):
        assert case._replace(quote=case.quote[:cut]).judge(INTEL) == "quote_format: format"


@pytest.mark.parametrize("name", GOOD)
def test_a_document_served_with_added_white_space_is_what_intels_semantics_take(name: str) -> None:
    case = recorded(name)
    spaced = case.collateral._replace(
        tcb_info=b" " + case.collateral.tcb_info.replace(b'":', b'" : ').replace(b"},{", b"},\r\n\t{") + b"\n"
    )
    changed = case._replace(collateral=spaced)
    assert changed.judge(INTEL) == case.judge(INTEL)
    assert changed.judge(STRICT) == "tcb_info_signature: signature"


def test_a_quote_without_a_chain_is_refused_with_a_remedy() -> None:
    case = recorded("v01-configandsw-processor-v3")
    raw = (VECTORS / "quotes" / "cert-type-3-encrypted-ppid.bin").read_bytes()
    for semantics, collateral in ((STRICT, case.collateral), (INTEL, case.collateral._replace(pck_chain=None))):
        without = case._replace(quote=raw, collateral=collateral)
        assert without.judge(semantics) == "certification_data: unsupported"
        with pytest.raises(VerificationError, match="collateral service, and quote again"):
            without.verify(semantics)


def test_a_quote_of_tdx_is_refused_as_one() -> None:
    case = recorded("v01-configandsw-processor-v3")
    tdx = case._replace(quote=(VECTORS / "quotes" / "tdx-v4.bin").read_bytes())
    assert {tdx.judge(semantics) for semantics in (STRICT, INTEL)} == {"quote_format: unsupported"}
    with pytest.raises(VerificationError, match="TDX"):
        tdx.verify()
