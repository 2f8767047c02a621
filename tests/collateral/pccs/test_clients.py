"""What each client family asks, answered by the live service (dcap 6.2 and 6.3)."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import json
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import dcap_qvl
import pytest

from pccs_process import TDX, V3, V4, Pccs
from quotehelper.documents.pck import read_chain, read_crl

if TYPE_CHECKING:
    from pathlib import Path

    from collateral_world import World


@pytest.mark.parametrize("with_path", [True, False])
def test_dcap_qvl_fetches_collateral_and_verifies(
    offline: Pccs, quote_of_ours: bytes, trusted: bytes, *, with_path: bool
) -> None:
    async def fetch() -> dcap_qvl.QuoteCollateralV3:
        return await dcap_qvl.get_collateral(offline.url if with_path else offline.origin, quote_of_ours)

    collateral = asyncio.run(fetch())
    now = int(dt.datetime.now(dt.UTC).timestamp())
    assert str(dcap_qvl.verify_with_root_ca(quote_of_ours, collateral, trusted, now).status) == "UpToDate"


def test_intels_client_gets_the_certificate_with_its_four_headers(
    offline: Pccs, pckcert_parameters: dict[str, str], exported: Path, live_world: World
) -> None:
    answer = offline.get(V4 + "pckcert", pckcert_parameters)
    assert answer.status == 200
    assert answer.body == (exported / "qvl" / "pckCert.pem").read_bytes()
    assert answer.headers["Content-Type"] == "application/x-pem-file"
    assert answer.headers["SGX-TCBm"] == live_world.state.pck_tcb.cpu_svn.hex().upper() + "0D00"
    assert answer.headers["SGX-FMSPC"] == live_world.fmspc
    assert answer.headers["SGX-PCK-Certificate-CA-Type"] == "processor"
    chain = answer.chain("SGX-PCK-Certificate-Issuer-Chain")
    assert [c.subject for c in read_chain(chain).certificates] == [
        "Simulated SGX PCK Processor CA",
        "Simulated SGX Root CA",
    ]


def test_chains_are_percent_encoded_as_intel_does(offline: Pccs, exported: Path) -> None:
    header = offline.get(V4 + "qe/identity").headers["SGX-Enclave-Identity-Issuer-Chain"]
    assert header == quote((exported / "case" / "qe_identity_issuer_chain.pem").read_bytes(), safe="")
    assert header.startswith("-----BEGIN%20CERTIFICATE-----%0A")


@pytest.mark.parametrize("base", [V3, V4])
def test_a_client_of_either_api_version_gets_the_certificate(
    offline: Pccs, pckcert_parameters: dict[str, str], base: str
) -> None:
    assert offline.get(base + "pckcert", pckcert_parameters).status == 200


@pytest.mark.parametrize("ppid", ["0" * 768, ""])
def test_a_client_without_an_encrypted_ppid_gets_the_certificate(
    offline: Pccs, pckcert_parameters: dict[str, str], ppid: str
) -> None:
    assert offline.get(V4 + "pckcert", {**pckcert_parameters, "encrypted_ppid": ppid}).status == 200
    without = {name: value for name, value in pckcert_parameters.items() if name != "encrypted_ppid"}
    assert offline.get(V4 + "pckcert", without).status == 200


def test_values_are_taken_in_any_case(offline: Pccs, pckcert_parameters: dict[str, str]) -> None:
    lower = {name: value.lower() for name, value in pckcert_parameters.items()}
    assert offline.get(V4 + "pckcert", lower).status == 200
    assert offline.get(V4 + "pckcrl", {"ca": "PROCESSOR"}).status == 200
    assert offline.get(V4 + "tcb", {"fmspc": "515545000000", "update": "STANDARD"}).status == 200


def test_of_a_parameter_that_is_given_twice_the_first_counts(offline: Pccs) -> None:
    assert offline.get(f"{V4}pckcrl?ca=processor&ca=nonsense").status == 200
    assert offline.get(f"{V4}pckcrl?ca=nonsense&ca=processor").status == 400


def test_a_lower_raw_tcb_gets_no_certificate_that_it_does_not_reach(
    offline: Pccs, pckcert_parameters: dict[str, str]
) -> None:
    """Its PCESVN, little endian, is 12; the certificate is for 13."""
    assert offline.get(V4 + "pckcert", {**pckcert_parameters, "pcesvn": "0C00"}).status == 404
    assert offline.get(V4 + "pckcert", {**pckcert_parameters, "pcesvn": "0D00"}).status == 200


def test_an_unknown_platform_is_answered_461(offline: Pccs, pckcert_parameters: dict[str, str]) -> None:
    answer = offline.get(V4 + "pckcert", {**pckcert_parameters, "qeid": "ABCDEF"})
    assert (answer.status, answer.body) == (461, b"The platform is not in the cache.")


@pytest.mark.parametrize(
    "change",
    [
        {"qeid": ""},
        {"qeid": "A" * 261},
        {"cpusvn": "00"},
        {"cpusvn": "g" * 32},
        {"pcesvn": "000"},
        {"pceid": "00000"},
        {"encrypted_ppid": "00"},
    ],
    ids=str,
)
def test_a_parameter_of_the_wrong_form_is_answered_400(
    offline: Pccs, pckcert_parameters: dict[str, str], change: dict[str, str]
) -> None:
    answer = offline.get(V4 + "pckcert", {**pckcert_parameters, **change})
    assert answer.status == 400
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert next(iter(change)).encode() in answer.body


@pytest.fixture(scope="module")
def pck_crl(exported: Path) -> bytes:
    """The revocation list that was imported."""
    return bytes.fromhex(json.loads((exported / "pccs.json").read_bytes())["collaterals"]["pckcacrl"]["processorCrl"])


def test_a_3_0_client_gets_revocation_lists_as_hexadecimal_under_a_pem_type(
    offline: Pccs, exported: Path, pck_crl: bytes
) -> None:
    pck, roots = offline.get(V4 + "pckcrl", {"ca": "processor"}), offline.get(V4 + "rootcacrl")
    assert pck.body == pck_crl.hex().encode()
    assert roots.body == (exported / "case" / "root_ca_crl.der").read_bytes().hex().encode()
    assert {pck.headers["Content-Type"], roots.headers["Content-Type"]} == {"application/x-pem-file"}
    assert pck.chain("SGX-PCK-CRL-Issuer-Chain") == (exported / "case" / "pck_crl_issuer_chain.pem").read_bytes()


def test_a_3_1_client_gets_revocation_lists_as_der(offline: Pccs, exported: Path, pck_crl: bytes) -> None:
    """It takes the distribution point from the second certificate of the QE identity's chain."""
    chain = offline.get(V4 + "qe/identity").chain("SGX-Enclave-Identity-Issuer-Chain")
    uri = read_chain(chain).certificates[1].crl_distribution_point
    assert uri is not None
    roots = offline.get(V4 + "crl", {"uri": uri})
    assert offline.get(urlsplit(uri).path).body == roots.body
    assert roots.body == (exported / "case" / "root_ca_crl.der").read_bytes()
    pck = offline.get(V4 + "pckcrl", {"ca": "processor", "encoding": "der"})
    assert pck.body == pck_crl
    assert {pck.headers["Content-Type"], roots.headers["Content-Type"]} == {"application/pkix-crl"}


def test_the_distribution_point_of_a_pck_certificate_leads_to_its_list(
    offline: Pccs, pck_crl: bytes, live_world: World
) -> None:
    uri = read_chain(live_world.chain).leaf.crl_distribution_point
    assert uri is not None
    answer = offline.get(V4 + "crl", {"uri": uri})
    assert answer.body == pck_crl


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://certificates.trustedservices.intel.com.example.org/IntelSGXRootCA.der",
        "http://[::1",
        "x" * 2049,
        "",
    ],
)
def test_nothing_is_fetched_from_where_nobody_allowed(offline: Pccs, uri: str) -> None:
    assert offline.get(V4 + "crl", {"uri": uri}).status == 400


def test_the_v4_api_has_tcb_info_of_version_3_under_its_own_header(offline: Pccs, exported: Path) -> None:
    answer = offline.get(V4 + "tcb", {"fmspc": "515545000000"})
    assert answer.body == (exported / "case" / "tcb_info.json").read_bytes()
    assert answer.json()["tcbInfo"]["version"] == 3
    assert answer.chain("TCB-Info-Issuer-Chain") == (exported / "case" / "tcb_info_issuer_chain.pem").read_bytes()
    assert "SGX-TCB-Info-Issuer-Chain" not in answer.headers


@pytest.mark.parametrize("base", [V3, V4])
def test_the_quoting_enclaves_identity_is_served_to_the_byte(offline: Pccs, exported: Path, base: str) -> None:
    answer = offline.get(base + "qe/identity", {"update": "standard"})
    assert answer.body == (exported / "case" / "qe_identity.json").read_bytes()
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        (V4 + "tcb", {"fmspc": "000000000000"}),
        (V3 + "tcb", {"fmspc": "515545000000"}),
        (V4 + "tcb", {"fmspc": "515545000000", "update": "early"}),
        (V4 + "qve/identity", None),
        (V4 + "qae/identity", None),
        (V4 + "tcbevaluationdatanumbers", None),
        (V4 + "fmspcs", None),
        (TDX + "tcb", {"fmspc": "515545000000"}),
        (TDX + "qe/identity", None),
        (V4 + "nothing", None),
    ],
    ids=str,
)
def test_what_is_not_kept_is_answered_404(offline: Pccs, path: str, parameters: dict[str, str] | None) -> None:
    answer = offline.get(path, parameters)
    assert (answer.status, answer.body) == (404, b"There is no data for this request.")


def test_intels_pccs_as_a_client_gets_all_certificates_of_a_platform(
    offline: Pccs, pckcert_parameters: dict[str, str], exported: Path
) -> None:
    asked = {name: pckcert_parameters[name] for name in ("encrypted_ppid", "pceid")}
    answer = offline.get(V4 + "pckcerts", asked)
    (entry,) = answer.json()
    assert entry["tcb"]["pcesvn"] == 13
    assert entry["tcbm"].endswith("0D00")
    assert entry["cert"] == quote((exported / "qvl" / "pckCert.pem").read_bytes(), safe="")
    config = offline.get(V4 + "pckcerts/config", {**asked, "cpusvn": pckcert_parameters["cpusvn"]})
    assert config.json() == [entry]
    assert offline.get(V4 + "pckcerts/config", {**asked, "cpusvn": "00" * 16}).status == 404


@pytest.mark.parametrize("path", ["pckcert", "pckcrl", "tcb", "platforms", "refresh", "nothing", "crl"])
def test_every_answer_has_an_id_of_its_own_and_errors_are_plain_sentences(offline: Pccs, path: str) -> None:
    first, second = offline.get(V4 + path), offline.get(V4 + path)
    assert first.headers["Request-ID"] != second.headers["Request-ID"]
    assert first.status >= 400
    assert first.body.decode().endswith(".")


def test_a_method_that_a_path_does_not_have_is_answered_405(offline: Pccs) -> None:
    answer = offline.ask("DELETE", V4 + "tcb")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")


def test_what_a_client_has_already_is_not_sent_again(offline: Pccs) -> None:
    first = offline.get(V4 + "qe/identity")
    second = offline.get(V4 + "qe/identity", None, {"If-None-Match": first.headers["ETag"]})
    assert (second.status, second.body) == (304, b"")
    assert offline.get(V4 + "qe/identity", None, {"If-None-Match": '"other"'}).status == 200


def test_large_answers_are_compressed_for_who_can_read_them(offline: Pccs) -> None:
    plain = offline.get(V4 + "tcb", {"fmspc": "515545000000"})
    packed = offline.get(V4 + "tcb", {"fmspc": "515545000000"}, {"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert "Content-Encoding" not in plain.headers


def test_a_chain_and_document_stay_below_what_intels_client_can_hold(offline: Pccs) -> None:
    answer = offline.get(V4 + "tcb", {"fmspc": "515545000000"})
    assert len(answer.body) + len(answer.headers["TCB-Info-Issuer-Chain"]) < 1 << 16


def test_revocation_lists_can_be_read_in_both_forms(offline: Pccs) -> None:
    for parameters in ({"ca": "processor"}, {"ca": "processor", "encoding": "der"}):
        assert read_crl(offline.get(V4 + "pckcrl", parameters).body).issuer == "Simulated SGX PCK Processor CA"
