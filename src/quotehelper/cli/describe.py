"""SGX structures as nested facts, ready for JSON or for a table: names are the specification's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.errors import DecodeError
from quotehelper.sgx.key_id import AttestationAlgorithm
from quotehelper.sgx.quote import (
    INTEL_QE_VENDOR_ID,
    TEE_TDX,
    CertificationType,
    QuoteHeader,
    TdReportBody,
)
from quotehelper.wire import Octets, Structure

if TYPE_CHECKING:
    from quotehelper.cli.facts import Facts
    from quotehelper.sgx.key_id import AttestationKeyId, QeReportInfo
    from quotehelper.sgx.quote import CertificationData, Quote, QuoteBody
    from quotehelper.sgx.report import Attributes, Report, ReportBody, TargetInfo

_TD_DEBUG = 1


def describe_quote(quote: Quote) -> Facts:
    """All of a quote, its certification data included; certificates as a list of facts."""
    facts: Facts = {
        "header": _describe_header(quote.header),
        "body": describe_body(quote.body),
        "signature": quote.signature.hex(),
        "attestation_key": quote.attestation_key.hex(),
        "qe_report": describe_body(quote.qe_report),
        "qe_report_signature": quote.qe_report_signature.hex(),
        "auth_data": quote.auth_data.hex(),
        "certification": _describe_certification(quote.certification),
    }
    if quote.trailing:
        facts["trailing_bytes"] = len(quote.trailing)
    return facts


def describe_body(body: QuoteBody) -> Facts:
    """A report body, of an SGX enclave or of a TDX domain."""
    if isinstance(body, TdReportBody):
        facts = _describe_fields(body)
        facts["debug"] = bool(body.td_attributes & _TD_DEBUG)
        return facts
    return _describe_report_body(body)


def describe_report(report: Report) -> Facts:
    """A report with its key id and MAC."""
    return {"body": _describe_report_body(report.body), "key_id": report.key_id.hex(), "mac": report.mac.hex()}


def describe_target_info(target: TargetInfo) -> Facts:
    """For whom a report is made."""
    return {**_describe_fields(target), "attributes": _describe_attributes(target.attributes)}


def describe_qe_report_info(info: QeReportInfo) -> Facts:
    """A nonce, a target, and the QE's report."""
    return {
        "nonce": info.nonce.hex(),
        "app_enclave_target_info": describe_target_info(info.app_enclave_target_info),
        "qe_report": describe_report(info.qe_report),
    }


def describe_key_id(key_id: AttestationKeyId) -> Facts:
    """An attestation key's id; the algorithm by name where it has one."""
    facts = _describe_fields(key_id)
    if key_id.algorithm_id in set(AttestationAlgorithm):
        facts["algorithm"] = AttestationAlgorithm(key_id.algorithm_id).name
    return facts


def _describe_header(header: QuoteHeader) -> Facts:
    facts = _describe_fields(header)
    facts["tee_type"] = "TDX" if header.tee_type == TEE_TDX else "SGX"
    if header.qe_vendor_id == INTEL_QE_VENDOR_ID:
        facts["qe_vendor"] = "Intel"
    return facts


def _describe_report_body(body: ReportBody) -> Facts:
    attributes = body.attributes
    return {**_describe_fields(body), "attributes": _describe_attributes(attributes), "debug": attributes.debug}


def _describe_attributes(attributes: Attributes) -> Facts:
    return {
        "flags": f"{attributes.flags:#x}",
        "flag_names": list(attributes.flag_names),
        "xfrm": f"{attributes.xfrm:#x}",
    }


def _describe_fields(structure: Structure) -> Facts:
    """Octets as hexadecimal, integers as they are; embedded structures are left to whoever knows them."""
    values = {field.name: (field, getattr(structure, field.name)) for field in structure.FIELDS}
    return {
        name: value.hex() if isinstance(field, Octets) else value
        for name, (field, value) in values.items()
        if not isinstance(value, Structure)
    }


def _describe_certification(certification: CertificationData) -> Facts:
    from quotehelper.cli.describe_documents import describe_chain

    kind = certification.type
    facts: Facts = {"type": int(kind), "name": kind.name, "size_bytes": len(certification.data)}
    try:
        if kind is CertificationType.PCK_CHAIN:
            facts["certificates"] = describe_chain(certification.data)
        elif kind <= CertificationType.PPID_RSA_3072:
            facts |= _describe_ppid(certification)
    except DecodeError as error:
        facts["unreadable"] = str(error)
    return facts


def _describe_ppid(certification: CertificationData) -> Facts:
    """Which certificate would be needed; the PPID, which identifies the machine, is not shown."""
    ppid = certification.ppid()
    clear = certification.type is CertificationType.PPID_CLEAR
    return {
        "ppid": "in clear, not shown" if clear else "encrypted for Intel",
        "cpu_svn": ppid.cpu_svn.hex(),
        "pce_isv_svn": ppid.pce_isv_svn,
        "pce_id": ppid.pce_id,
        "consequence": "no certificate inside: this quote can't be verified without asking Intel. The machine that "
        "made it has no quote provider library, or can't reach its certificate cache",
    }
