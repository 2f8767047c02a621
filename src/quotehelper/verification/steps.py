"""The steps of verification, in the order in which they are taken. Pure.

The order is that of Intel's verifier (dcap 7.4), except that nothing signed is parsed before its signature holds.
docs/trust.md says of each what it proves, and what follows if it does not hold.
"""

from __future__ import annotations

import enum
from typing import Self


class Step(enum.Enum):
    """One step each: its name in results, and in ``holds`` a sentence: what is so when it has been taken."""

    holds: str

    def __new__(cls, name: str, holds: str) -> Self:
        """The step called ``name``."""
        step = object.__new__(cls)
        step._value_ = name
        step.holds = holds
        return step

    QUOTE_FORMAT = (
        "quote_format",
        "The bytes are a quote over an SGX enclave's report, in a version and with a key type that are known.",
    )
    CERTIFICATION_DATA = (
        "certification_data",
        "There is a certificate chain for the key that certified the quoting enclave.",
    )
    PCK_CHAIN = (
        "pck_chain",
        "Leaf, intermediate and root are in their roles, with all extensions, each issued and signed by the next.",
    )
    TRUSTED_ROOT = "trusted_root", "The chain's root key is one that the caller trusts."
    ROOT_CA_CRL = "root_ca_crl", "The root's revocation list was signed by the root."
    PCK_CRL = "pck_crl", "The intermediate's revocation list was signed by the intermediate."
    PCK_REVOCATION = "pck_revocation", "Neither root, intermediate nor leaf is revoked."
    PCK_VALIDITY = "pck_validity", "The chain and both revocation lists are valid at the time in question."
    TCB_INFO_CHAIN = (
        "tcb_info_chain",
        "Whoever signed the TCB info was appointed by the trusted root, and is not revoked.",
    )
    TCB_INFO_SIGNATURE = "tcb_info_signature", "The TCB info is what they signed."
    TCB_INFO_FORMAT = "tcb_info_format", "The TCB info can be read, and lists each TCB level once."
    TCB_INFO_VALIDITY = "tcb_info_validity", "The TCB info and its signer's chain are valid at the time in question."
    QE_IDENTITY_CHAIN = (
        "qe_identity_chain",
        "Whoever signed the QE identity was appointed by the trusted root, and is not revoked.",
    )
    QE_IDENTITY_SIGNATURE = "qe_identity_signature", "The QE identity is what they signed."
    QE_IDENTITY_FORMAT = "qe_identity_format", "The QE identity can be read."
    QE_IDENTITY_VALIDITY = (
        "qe_identity_validity",
        "The QE identity and its signer's chain are valid at the time in question.",
    )
    PLATFORM_FAMILY = (
        "platform_family",
        "The TCB info is about SGX on platforms of the leaf certificate's family (FMSPC) and PCE.",
    )
    QE_REPORT_SIGNATURE = (
        "qe_report_signature",
        "The quoting enclave's report was signed by the platform's certified key (PCK).",
    )
    QE_REPORT_DATA = "qe_report_data", "That report names the attestation key that signed the quote."
    QE_IDENTITY = "qe_identity", "The quoting enclave is Intel's: signer, product, attributes."
    QUOTE_SIGNATURE = "quote_signature", "Header and report were signed by the attestation key."
    PLATFORM_TCB = (
        "platform_tcb",
        "The platform's versions, as its certificate states them, have a level in the TCB info.",
    )
    QE_TCB = "qe_tcb", "The quoting enclave's version has a level in the QE identity."
    TCB_STATUS = "tcb_status", "Neither the platform's level nor the quoting enclave's is revoked."
    ENCLAVE_DEBUG = "enclave_debug", "The enclave is not a debug enclave."

    @property
    def number(self) -> int:
        """Its place in the order, from 1."""
        return list(Step).index(self) + 1
