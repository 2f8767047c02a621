"""Collateral as files, in each of the forms that verifiers and services read. Pure.

==================  ===========================================================================================
file                for
==================  ===========================================================================================
root.pem            everybody: the trust anchor
collateral.json     dcap-qvl, ``QuoteCollateralV3``: texts, CRLs and signatures in hexadecimal
pccs.json           a collateral service: body of ``PUT platformcollateral``, version 4 (dcap 6.2)
case/               one file a document, named as in this project's test vectors
qvl/                Intel's Quote Verification Library: names as its sample application has them
==================  ===========================================================================================
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as percent_encode

from cryptography.hazmat.primitives.serialization import Encoding

from quotehelper.documents.pck import read_chain
from quotehelper.documents.qe_identity import NAME as IDENTITY
from quotehelper.documents.signed_json import write_signed, write_time
from quotehelper.documents.tcb_info import NAME as TCB_INFO

if TYPE_CHECKING:
    import datetime as dt

    from quotehelper.documents.signed_json import Signed
    from quotehelper.platforms.simulated.authority import Collateral
    from quotehelper.platforms.simulated.state import PlatformState

_NO_ENCRYPTED_PPID = "0" * 768
"""What clients send that have none (dcap 6.3); real ones are encrypted for Intel, who has no part in this."""


def encode_collateral(
    state: PlatformState, certification: bytes, collateral: Collateral, now: dt.datetime
) -> dict[str, bytes]:
    """Names and contents of all files. ``certification``: the platform's certificate chain as it stands in quotes."""
    chain = certification.rstrip(b"\0")
    tcb_info = write_signed(TCB_INFO, collateral.tcb_info.body, collateral.tcb_info.signature)
    identity = write_signed(IDENTITY, collateral.qe_identity.body, collateral.qe_identity.signature)
    root = collateral.root.public_bytes(Encoding.PEM)
    case = {
        "pck_chain.pem": chain,
        "tcb_info.json": tcb_info,
        "tcb_info_v2.json": write_signed(TCB_INFO, collateral.tcb_info_v2.body, collateral.tcb_info_v2.signature),
        "tcb_info_issuer_chain.pem": collateral.tcb_info_issuer_chain,
        "qe_identity.json": identity,
        "qe_identity_issuer_chain.pem": collateral.qe_identity_issuer_chain,
        "root_ca_crl.der": collateral.root_ca_crl,
        "pck_crl.der": collateral.pck_crl,
        "pck_crl_issuer_chain.pem": collateral.pck_crl_issuer_chain,
        "trusted_root.pem": root,
        "meta.json": _json(_meta(state, now)),
    }
    qvl = {
        "pckCert.pem": read_chain(chain).leaf.pem(),
        "pckSignChain.pem": collateral.pck_crl_issuer_chain,
        "rootCaCrl.der": collateral.root_ca_crl,
        "intermediateCaCrl.der": collateral.pck_crl,
        "tcbInfo.json": tcb_info,
        "tcbSignChain.pem": collateral.tcb_info_issuer_chain,
        "qeIdentity.json": identity,
        "trustedRootCaCert.pem": root,
    }
    return {
        "root.pem": root,
        "collateral.json": _json(_quote_collateral(collateral)),
        "pccs.json": _json(_platform_collateral(state, chain, collateral)),
        **{f"case/{name}": content for name, content in case.items()},
        **{f"qvl/{name}": content for name, content in qvl.items()},
    }


def _quote_collateral(collateral: Collateral) -> dict[str, str]:
    """dcap-qvl's form: signed texts unchanged inside strings."""

    def signed(name: str, document: Signed) -> dict[str, str]:
        return {name: document.body.decode(), f"{name}_signature": document.signature.hex()}

    return {
        "pck_crl_issuer_chain": collateral.pck_crl_issuer_chain.decode(),
        "root_ca_crl": collateral.root_ca_crl.hex(),
        "pck_crl": collateral.pck_crl.hex(),
        "tcb_info_issuer_chain": collateral.tcb_info_issuer_chain.decode(),
        **signed("tcb_info", collateral.tcb_info),
        "qe_identity_issuer_chain": collateral.qe_identity_issuer_chain.decode(),
        **signed("qe_identity", collateral.qe_identity),
    }


def _platform_collateral(state: PlatformState, chain: bytes, collateral: Collateral) -> dict[str, Any]:
    """The body that fills a collateral service; numbers in hexadecimal are little endian (dcap 10, trap 2)."""
    platform = {
        "qe_id": state.qe_id().hex(),
        "pce_id": "0000",
        "enc_ppid": _NO_ENCRYPTED_PPID,
        "platform_manifest": "",
    }
    components = {f"sgxtcbcomp{number:02}svn": svn for number, svn in enumerate(state.pck_tcb.cpu_svn, 1)}
    certificate = {
        "tcb": {**components, "pcesvn": state.pck_tcb.pce_svn},
        "tcbm": state.pck_tcb.cpu_svn.hex() + _little(state.pck_tcb.pce_svn),
        "cert": percent_encode(read_chain(chain).leaf.pem(), safe=""),
    }
    crls = {"processorCrl": "", "platformCrl": ""} | {f"{state.ca}Crl": collateral.pck_crl.hex()}
    issuers = {state.ca.upper(): percent_encode(collateral.pck_crl_issuer_chain, safe="")}
    signers = percent_encode(collateral.tcb_info_issuer_chain, safe="")
    tcb_info = write_signed(TCB_INFO, collateral.tcb_info.body, collateral.tcb_info.signature)
    identity = write_signed(IDENTITY, collateral.qe_identity.body, collateral.qe_identity.signature)
    return {
        "platforms": [{**platform, "cpu_svn": state.cpu_svn.hex(), "pce_svn": _little(state.pce.isv_svn)}],
        "collaterals": {
            "version": 4,
            "pck_certs": [{**platform, "certs": [certificate]}],
            "tcbinfos": [{"fmspc": state.fmspc.hex().upper(), "sgx_tcbinfo": json.loads(tcb_info)}],
            "pckcacrl": crls,
            "qeidentity": identity.decode(),
            "certificates": {
                "SGX-PCK-Certificate-Issuer-Chain": issuers,
                "TCB-Info-Issuer-Chain": signers,
                "SGX-TCB-Info-Issuer-Chain": signers,
                "SGX-Enclave-Identity-Issuer-Chain": percent_encode(collateral.qe_identity_issuer_chain, safe=""),
            },
            "rootcacrl_cdp": read_chain(collateral.root.public_bytes(Encoding.PEM)).root.crl_distribution_point,
            "rootcacrl": collateral.root_ca_crl.hex(),
        },
    }


def _meta(state: PlatformState, now: dt.datetime) -> dict[str, Any]:
    return {
        "id": "simulated",
        "check_time": write_time(now),
        "check_time_unix": int(now.timestamp()),
        "note": "simulated platform: its root is its own, not Intel's",
        "collateral": {"fmspc": state.fmspc.hex().upper(), "ca": state.ca},
    }


def _little(value: int) -> str:
    return value.to_bytes(2, "little").hex()


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=1).encode() + b"\n"
