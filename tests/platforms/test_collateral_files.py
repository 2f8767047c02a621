from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import dcap_qvl
import pytest

from quotehelper.documents.pck import Role, read_certificate, read_chain, read_crl
from quotehelper.documents.qe_identity import parse_enclave_identity
from quotehelper.documents.signed_json import split_signed
from quotehelper.documents.tcb_info import TcbStatus, parse_tcb_info
from quotehelper.platforms.simulated import provisioning
from quotehelper.platforms.simulated import state as states

VECTORS = Path(__file__).parents[1] / "vectors"
NOW = dt.datetime(2026, 11, 24, 12, 30, 15, 123456, tzinfo=dt.UTC)
CASE = VECTORS / "quotes" / "v01-configandsw-processor-v3"


@pytest.fixture(scope="module", params=["processor", "platform"])
def state(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> states.PlatformState:
    return provisioning.init(tmp_path_factory.mktemp("platform") / "state", NOW, ca=request.param)


@pytest.fixture(scope="module")
def out(state: states.PlatformState) -> Path:
    out = state.directory.with_name("collateral")
    provisioning.export_collateral(state.directory, out, NOW)
    return out


@pytest.fixture(scope="module")
def pccs(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "pccs.json").read_bytes())
    return document


def test_a_case_has_the_files_of_a_recorded_case_but_the_quote(out: Path) -> None:
    recorded = {path.name for path in CASE.iterdir()} - {"quote.bin"}
    assert {path.name for path in (out / "case").iterdir()} - {"tcb_info_v2.json"} == recorded


def test_a_cases_meta_data_have_the_recorded_names(out: Path) -> None:
    recorded, meta = (json.loads((at / "meta.json").read_bytes()) for at in (CASE, out / "case"))
    assert meta.keys() <= recorded.keys()
    assert meta["collateral"].keys() <= recorded["collateral"].keys()
    assert (meta["check_time"], meta["check_time_unix"]) == ("2026-11-24T12:30:15Z", 1795523415)


def test_the_files_for_intels_library_are_those_of_its_sample(out: Path) -> None:
    assert {path.name for path in (out / "qvl").iterdir()} == {
        "pckCert.pem",
        "pckSignChain.pem",
        "rootCaCrl.der",
        "intermediateCaCrl.der",
        "tcbInfo.json",
        "tcbSignChain.pem",
        "qeIdentity.json",
        "trustedRootCaCert.pem",
    }


def test_all_forms_carry_the_same_documents(out: Path, pccs: dict[str, Any]) -> None:
    collateral = json.loads((out / "collateral.json").read_bytes())
    read = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    tcb_info = f'{{"tcbInfo":{collateral["tcb_info"]},"signature":"{collateral["tcb_info_signature"]}"}}'
    identity = f'{{"enclaveIdentity":{collateral["qe_identity"]},"signature":"{collateral["qe_identity_signature"]}"}}'
    assert read["case/tcb_info.json"] == read["qvl/tcbInfo.json"] == tcb_info.encode()
    assert read["case/qe_identity.json"] == read["qvl/qeIdentity.json"] == identity.encode()
    assert pccs["collaterals"]["qeidentity"] == identity
    assert read["root.pem"] == read["case/trusted_root.pem"] == read["qvl/trustedRootCaCert.pem"]
    assert read["qvl/pckSignChain.pem"] == read["case/pck_crl_issuer_chain.pem"]
    assert read["case/pck_chain.pem"] == read["qvl/pckCert.pem"] + read["qvl/pckSignChain.pem"]
    assert collateral["root_ca_crl"] == read["qvl/rootCaCrl.der"].hex() == pccs["collaterals"]["rootcacrl"]
    assert collateral["pck_crl"] == read["case/pck_crl.der"].hex() == read["qvl/intermediateCaCrl.der"].hex()


def test_dcap_qvls_collateral_is_read_by_dcap_qvl(out: Path) -> None:
    collateral = dcap_qvl.QuoteCollateralV3.from_json((out / "collateral.json").read_text())
    assert collateral.root_ca_crl == (out / "case" / "root_ca_crl.der").read_bytes()


def test_collateral_json_has_the_members_of_a_recorded_one(out: Path) -> None:
    recorded = json.loads((VECTORS / "frames" / "emulated-collateral.json").read_bytes())
    assert json.loads((out / "collateral.json").read_bytes()).keys() == recorded.keys()


def test_the_documents_speak_of_this_platform_and_this_time(out: Path, state: states.PlatformState) -> None:
    info = parse_tcb_info(split_signed((out / "qvl" / "tcbInfo.json").read_bytes(), "tcbInfo").body)
    identity = split_signed((out / "qvl" / "qeIdentity.json").read_bytes(), "enclaveIdentity").body
    assert (info.version, info.fmspc, info.issue_date) == (3, state.fmspc, NOW.replace(microsecond=0))
    assert bytes(component.svn for component in info.levels[0].components) == state.pck_tcb.cpu_svn
    assert (info.levels[0].pce_svn, info.levels[0].status) == (13, TcbStatus.UP_TO_DATE)
    assert parse_enclave_identity(identity).levels[0].isv_svn <= state.qe.isv_svn


def test_tcb_info_of_version_2_has_the_same_levels(out: Path) -> None:
    three, two = (
        parse_tcb_info(split_signed((out / "case" / name).read_bytes(), "tcbInfo").body)
        for name in ("tcb_info.json", "tcb_info_v2.json")
    )
    assert (two.version, two.id) == (2, None)
    assert two.levels == three.levels


def test_the_crls_are_the_roots_and_the_platforms_issuers(out: Path, state: states.PlatformState) -> None:
    chain = read_chain(states.read_chain(state.directory))
    assert read_crl((out / "case" / "root_ca_crl.der").read_bytes()).issuer == chain.root.subject
    assert read_crl((out / "case" / "pck_crl.der").read_bytes()).issuer == chain.leaf.issuer


def test_a_pccs_gets_the_platform_with_its_raw_tcb(pccs: dict[str, Any], state: states.PlatformState) -> None:
    ppid = state.provisioning_enclave().ppid()
    assert pccs["platforms"] == [
        {
            "qe_id": state.qe_id().hex().upper(),
            "pce_id": "0000",
            "cpu_svn": state.cpu_svn.hex().upper(),
            "pce_svn": "1000",
            "enc_ppid": provisioning.read_authority(state).encrypted_ppid(ppid).hex().upper(),
            "platform_manifest": "",
        }
    ]


def test_a_pccs_gets_the_certificate_at_its_tcb(pccs: dict[str, Any], out: Path, state: states.PlatformState) -> None:
    (platform,) = pccs["collaterals"]["pck_certs"]
    (certificate,) = platform["certs"]
    assert {platform[name] == pccs["platforms"][0][name] for name in ("qe_id", "pce_id", "enc_ppid")} == {True}
    assert unquote(certificate["cert"]).encode() == (out / "qvl" / "pckCert.pem").read_bytes()
    assert certificate["tcbm"] == state.cpu_svn.hex().upper() + "0D00"
    components = [certificate["tcb"][f"sgxtcbcomp{number:02}svn"] for number in range(1, 17)]
    assert (bytes(components), certificate["tcb"]["pcesvn"]) == (state.cpu_svn, 13)


def test_a_pccs_that_writes_the_tcb_info_anew_serves_the_signed_text(pccs: dict[str, Any], out: Path) -> None:
    (info,) = pccs["collaterals"]["tcbinfos"]
    written = json.dumps(info["sgx_tcbinfo"], separators=(",", ":")).encode()
    assert written == (out / "case" / "tcb_info.json").read_bytes()


def test_a_pccs_finds_the_tcb_info_by_the_certificates_fmspc(pccs: dict[str, Any], out: Path) -> None:
    fmspc = read_chain((out / "qvl" / "pckCert.pem").read_bytes()).leaf.sgx_extension.fmspc
    (info,) = pccs["collaterals"]["tcbinfos"]
    assert info["fmspc"] == fmspc.hex() == fmspc.hex().upper()


def test_a_pccs_gets_both_authorities_chains_and_crls(pccs: dict[str, Any], out: Path) -> None:
    collaterals = pccs["collaterals"]
    root = read_chain((out / "root.pem").read_bytes()).root.der
    for ca, role in (("processor", Role.PROCESSOR_CA), ("platform", Role.PLATFORM_CA)):
        escaped = collaterals["certificates"]["SGX-PCK-Certificate-Issuer-Chain"][ca.upper()]
        assert escaped.count("-----BEGIN%20CERTIFICATE-----%0A") == 2
        chain = read_chain(unquote(escaped).encode())
        assert (chain.leaf.role, chain.root.der) == (role, root)
        assert read_crl(bytes.fromhex(collaterals["pckcacrl"][f"{ca}Crl"])).issuer == chain.leaf.subject
    for name in ("TCB-Info-Issuer-Chain", "SGX-Enclave-Identity-Issuer-Chain"):
        chain = read_chain(unquote(collaterals["certificates"][name]).encode())
        assert (chain.leaf.role, chain.root.der) == (Role.TCB_SIGNING, root)
    assert collaterals["rootcacrl_cdp"] == read_certificate(root).crl_distribution_point
    assert collaterals["version"] == 4
