"""Collateral as files, in the forms that verifiers and collateral services read. Pure.

==================  ==============================================================================================
file                what it is
==================  ==============================================================================================
root.pem            the authority's root certificate: what a verifier must be told to trust
collateral.json     dcap-qvl's QuoteCollateralV3: inner documents as text, CRLs and signatures in hexadecimal
pccs.json           body of PUT platformcollateral, version 4, of a PCCS (dcap 6.2)
case/               one file a document, as the project's recorded cases have them, and TCB info of version 2
qvl/                what the sample application of Intel's Quote Verification Library takes
==================  ==============================================================================================
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cryptography.hazmat.primitives.serialization import Encoding

from quotehelper.documents import qe_identity, tcb_info
from quotehelper.documents.pck import read_chain
from quotehelper.documents.signed_json import write_object, write_signed, write_time
from quotehelper.documents.tcb_info import parse_tcb_info
from quotehelper.platforms.simulated.authority import CERTIFICATION_AUTHORITIES
from quotehelper.platforms.simulated.enclaves import PCE_ID

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from quotehelper.platforms.simulated.authority import Authority, Collateral
    from quotehelper.platforms.simulated.state import PlatformState

_PCCS_VERSION = 4


def encode_collateral(authority: Authority, state: PlatformState, chain: bytes, now: dt.datetime) -> dict[str, bytes]:
    """File names and contents for the platform of ``state``, everything signed by ``authority`` as of ``now``.

    ``chain``: the platform's certification data, of type 5.
    """
    collateral = authority.collateral(state.fmspc, state.ca, now)
    return {
        "root.pem": _root(collateral),
        "collateral.json": _for_dcap_qvl(collateral),
        "pccs.json": _for_pccs(authority, state, chain, collateral, now),
        **_within("case", _as_case(state, chain, collateral, now)),
        **_within("qvl", _for_intel_qvl(chain, collateral)),
    }


def _for_dcap_qvl(collateral: Collateral) -> bytes:
    return write_object(
        {
            "pck_crl_issuer_chain": collateral.pck_crl_issuer_chain.decode(),
            "root_ca_crl": collateral.root_ca_crl.hex(),
            "pck_crl": collateral.pck_crl.hex(),
            "tcb_info_issuer_chain": collateral.tcb_info_issuer_chain.decode(),
            "tcb_info": collateral.tcb_info.body.decode(),
            "tcb_info_signature": collateral.tcb_info.signature.hex(),
            "qe_identity_issuer_chain": collateral.qe_identity_issuer_chain.decode(),
            "qe_identity": collateral.qe_identity.body.decode(),
            "qe_identity_signature": collateral.qe_identity.signature.hex(),
        }
    )


def _for_pccs(
    authority: Authority, state: PlatformState, chain: bytes, collateral: Collateral, now: dt.datetime
) -> bytes:
    names = {
        "qe_id": state.qe_id().hex().upper(),
        "pce_id": PCE_ID.hex(),
        "enc_ppid": authority.encrypted_ppid(state.provisioning_enclave().ppid()).hex().upper(),
        "platform_manifest": "",
    }
    chains = {ca.upper(): _escape(authority.chain(role)) for ca, role in CERTIFICATION_AUTHORITIES.items()}
    crls = {f"{ca}Crl": authority.crl(role, now).hex() for ca, role in CERTIFICATION_AUTHORITIES.items()}
    raw_tcb = {"cpu_svn": state.cpu_svn.hex().upper(), "pce_svn": _pce_svn(state.pce.isv_svn)}
    collaterals = {
        "version": _PCCS_VERSION,
        "pck_certs": [{**names, "certs": [_pccs_certificate(state, chain)]}],
        "tcbinfos": [{"fmspc": state.fmspc.hex(), "sgx_tcbinfo": json.loads(_tcb_info(collateral))}],
        "pckcacrl": crls,
        "qeidentity": _qe_identity(collateral).decode(),
        "certificates": {
            "SGX-PCK-Certificate-Issuer-Chain": chains,
            "TCB-Info-Issuer-Chain": _escape(collateral.tcb_info_issuer_chain),
            "SGX-Enclave-Identity-Issuer-Chain": _escape(collateral.qe_identity_issuer_chain),
        },
        "rootcacrl_cdp": read_chain(chain).root.crl_distribution_point,
        "rootcacrl": collateral.root_ca_crl.hex(),
    }
    return write_object({"platforms": [{**names, **raw_tcb}], "collaterals": collaterals})


def _pccs_certificate(state: PlatformState, chain: bytes) -> dict[str, Any]:
    components = {f"sgxtcbcomp{number:02}svn": svn for number, svn in enumerate(state.pck_tcb.cpu_svn, 1)}
    return {
        "tcb": {**components, "pcesvn": state.pck_tcb.pce_svn},
        "tcbm": state.pck_tcb.cpu_svn.hex().upper() + _pce_svn(state.pck_tcb.pce_svn),
        "cert": _escape(read_chain(chain).leaf.pem()),
    }


def _as_case(state: PlatformState, chain: bytes, collateral: Collateral, now: dt.datetime) -> dict[str, bytes]:
    info = parse_tcb_info(collateral.tcb_info.body)
    meta = {
        "id": f"simulated-{state.ca}",
        "check_time": write_time(now),
        "check_time_unix": int(now.timestamp()),
        "note": "SIMULATED: a private root; verify with trusted_root.pem",
        "collateral": {
            "tcb_version": info.version,
            "tcb_eval": info.tcb_evaluation_data_number,
            "tcb_issue": write_time(info.issue_date),
            "tcb_next": write_time(info.next_update),
            "fmspc": info.fmspc.hex().upper(),
        },
    }
    return {
        "pck_chain.pem": chain.rstrip(b"\0"),
        "tcb_info.json": _tcb_info(collateral),
        "tcb_info_v2.json": write_signed(tcb_info.NAME, *collateral.tcb_info_v2),
        "tcb_info_issuer_chain.pem": collateral.tcb_info_issuer_chain,
        "qe_identity.json": _qe_identity(collateral),
        "qe_identity_issuer_chain.pem": collateral.qe_identity_issuer_chain,
        "root_ca_crl.der": collateral.root_ca_crl,
        "pck_crl.der": collateral.pck_crl,
        "pck_crl_issuer_chain.pem": collateral.pck_crl_issuer_chain,
        "trusted_root.pem": _root(collateral),
        "meta.json": json.dumps(meta, indent=1).encode() + b"\n",
    }


def _for_intel_qvl(chain: bytes, collateral: Collateral) -> dict[str, bytes]:
    return {
        "pckCert.pem": read_chain(chain).leaf.pem(),
        "pckSignChain.pem": collateral.pck_crl_issuer_chain,
        "rootCaCrl.der": collateral.root_ca_crl,
        "intermediateCaCrl.der": collateral.pck_crl,
        "tcbInfo.json": _tcb_info(collateral),
        "tcbSignChain.pem": collateral.tcb_info_issuer_chain,
        "qeIdentity.json": _qe_identity(collateral),
        "trustedRootCaCert.pem": _root(collateral),
    }


def _within(directory: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{directory}/{name}": content for name, content in files.items()}


def _root(collateral: Collateral) -> bytes:
    return collateral.root.public_bytes(Encoding.PEM)


def _tcb_info(collateral: Collateral) -> bytes:
    return write_signed(tcb_info.NAME, *collateral.tcb_info)


def _qe_identity(collateral: Collateral) -> bytes:
    return write_signed(qe_identity.NAME, *collateral.qe_identity)


def _escape(pem: bytes) -> str:
    """``pem`` as collateral services carry it in headers and JSON: percent-encoded."""
    return quote(pem, safe="")


def _pce_svn(number: int) -> str:
    """A PCESVN as URLs and platform lists have it: 4 hexadecimal digits, little endian (dcap 10, trap 2)."""
    return number.to_bytes(2, "little").hex().upper()
