"""Certificates, CRLs and collateral as nested facts, ready for JSON or for a table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from quotehelper.cli.facts import TITLE
from quotehelper.documents import qe_identity, tcb_info
from quotehelper.documents.pck import Certificate, Crl, Role, read_certificate, read_chain, read_crl
from quotehelper.documents.signed_json import SIZE_LIMIT, split_signed, write_time
from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from quotehelper.cli.facts import Facts
    from quotehelper.documents.qe_identity import EnclaveIdentity
    from quotehelper.documents.tcb_info import TcbInfo

_CHAINS = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
_CRLS = ("root_ca_crl", "pck_crl")


def describe_chain(raw: bytes) -> list[Facts]:
    """Each certificate of the PEM chain ``raw``, leaf first. Raises DecodeError."""
    return [_describe_certificate(certificate) for certificate in read_chain(raw).certificates]


def read_pem(raw: bytes) -> tuple[str, Facts]:
    """What the PEM text ``raw`` is, and says. Raises DecodeError."""
    if raw.startswith(b"-----BEGIN X509 CRL-----"):
        return "CRL", _describe_crl(read_crl(raw))
    if not raw.startswith(b"-----BEGIN CERTIFICATE-----"):
        raise DecodeError("Document", "", "PEM text of something else than certificates and CRLs")
    return "certificate chain", {"certificates": describe_chain(raw)}


def read_der(raw: bytes) -> tuple[str, Facts]:
    """What the DER ``raw`` is, and says. Raises DecodeError if it is neither a certificate nor a CRL."""
    try:
        return "certificate", _describe_certificate(read_certificate(raw))
    except DecodeError:
        return "CRL", _describe_crl(read_crl(raw))


def read_json(raw: bytes) -> tuple[str, Facts]:
    """What the JSON document ``raw`` is, and says. Raises DecodeError."""
    try:
        document = json.loads(raw) if len(raw) <= SIZE_LIMIT else None
    except (ValueError, RecursionError) as error:
        raise DecodeError("Document", "", "begins like JSON, but is none") from error
    if not isinstance(document, dict):
        raise DecodeError("Document", "", f"a JSON object of at most {SIZE_LIMIT} bytes expected")
    if tcb_info.NAME in document:
        return "TCB info", _describe_tcb_info(tcb_info.parse_tcb_info(split_signed(raw, tcb_info.NAME).body))
    if qe_identity.NAME in document:
        body = split_signed(raw, qe_identity.NAME).body
        return "enclave identity", _describe_identity(qe_identity.parse_enclave_identity(body))
    if "tcb_info_signature" in document:
        return "quote collateral", _describe_collateral(document)
    raise DecodeError("Document", "", f"a JSON object of {', '.join(sorted(document)[:5]) or 'nothing'}: not known")


def _describe_certificate(certificate: Certificate) -> Facts:
    parsed = certificate.x509
    facts: Facts = {
        TITLE: certificate.subject or "certificate",
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial_number": f"{parsed.serial_number:x}",
        "not_before": write_time(parsed.not_valid_before_utc),
        "not_after": write_time(parsed.not_valid_after_utc),
        "crl_distribution_point": certificate.crl_distribution_point or "none",
    }
    if certificate.role is Role.PCK:
        facts |= _describe_extension(certificate)
    return facts


def _describe_extension(certificate: Certificate) -> Facts:
    """The SGX extension but for the PPID, which identifies the machine."""
    extension = certificate.sgx_extension
    facts: Facts = {
        "fmspc": extension.fmspc.hex(),
        "sgx_type": extension.sgx_type.name.lower(),
        "tcb_components": list(extension.components),
        "pce_svn": extension.pce_svn,
        "pce_id": extension.pce_id.hex(),
    }
    if (configuration := extension.configuration) is not None:
        facts |= {
            "dynamic_platform": configuration.dynamic_platform,
            "cached_keys": configuration.cached_keys,
            "smt_enabled": configuration.smt_enabled,
        }
    return facts


def _describe_crl(crl: Crl) -> Facts:
    return {
        "issuer": crl.issuer,
        "this_update": write_time(crl.this_update),
        "next_update": write_time(crl.next_update),
        "number": crl.number,
        "revoked": len(crl.revoked),
        "serial_numbers": [f"{entry.serial_number:x}" for entry in crl.revoked],
    }


def _describe_tcb_info(info: TcbInfo) -> Facts:
    levels = [
        {
            TITLE: f"{level.status.value}, {write_time(level.tcb_date)}",
            "tcb_status": level.status.value,
            "tcb_date": write_time(level.tcb_date),
            "tcb_components": [component.svn for component in level.components],
            "pce_svn": level.pce_svn,
            "advisory_ids": list(level.advisory_ids),
        }
        for level in info.levels
    ]
    return {
        "version": info.version,
        "id": info.id or "SGX",
        "issue_date": write_time(info.issue_date),
        "next_update": write_time(info.next_update),
        "fmspc": info.fmspc.hex(),
        "pce_id": info.pce_id.hex(),
        "tcb_type": info.tcb_type,
        "tcb_evaluation_data_number": info.tcb_evaluation_data_number,
        "tcb_levels": levels,
    }


def _describe_identity(identity: EnclaveIdentity) -> Facts:
    levels = [
        {
            TITLE: f"ISVSVN {level.isv_svn}: {level.status.value}",
            "isv_svn": level.isv_svn,
            "tcb_status": level.status.value,
            "tcb_date": write_time(level.tcb_date),
            "advisory_ids": list(level.advisory_ids),
        }
        for level in identity.levels
    ]
    return {
        "id": identity.id,
        "issue_date": write_time(identity.issue_date),
        "next_update": write_time(identity.next_update),
        "tcb_evaluation_data_number": identity.tcb_evaluation_data_number,
        "misc_select": identity.misc_select.hex(),
        "misc_select_mask": identity.misc_select_mask.hex(),
        "attributes": identity.attributes.hex(),
        "attributes_mask": identity.attributes_mask.hex(),
        "mr_signer": identity.mr_signer.hex(),
        "isv_prod_id": identity.isv_prod_id,
        "tcb_levels": levels,
    }


def _describe_collateral(document: dict[str, Any]) -> Facts:
    """dcap-qvl's form: everything that a verifier needs besides the quote, as text."""
    facts: Facts = {}
    for name in _CHAINS:
        facts[name] = describe_chain(_text(document, name))
    for name in _CRLS:
        facts[name] = _describe_crl(read_crl(_text(document, name)))
    facts["tcb_info"] = _describe_tcb_info(tcb_info.parse_tcb_info(_text(document, "tcb_info")))
    identity = qe_identity.parse_enclave_identity(_text(document, "qe_identity"))
    facts["qe_identity"] = _describe_identity(identity)
    return facts


def _text(document: dict[str, Any], name: str) -> bytes:
    value = document.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise DecodeError("QuoteCollateral", name, "absent, or no ASCII text")
    return value.encode()
