"""What each code of Intel's library means for those who wanted a quote: its cause, and what to do. Pure.

A cause becomes an AESM status in ``node.service``. Intel's own service turns most codes from 0xE01B on into 1, so that
an application can't tell a certificate server that is down from a broken platform (aesm 3.4, 8.12); here each has the
cause that is nearest. Source: dcap 3.4, 4.5 and 6.3. The table stands in docs/hardware.md too; a test compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import PlatformCause, PlatformError
from quotehelper.sgx.quote3_error import Quote3Error, name_quote3_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SERVER = (
    "See that the certificate server (PCCS) of the quote provider's settings answers, by default in "
    "/etc/sgx_default_qcnl.conf"
)
_SETTINGS = "Correct the quote provider's settings, by default /etc/sgx_default_qcnl.conf"
_REGISTER = "Register the platform with Intel and let the certificate server (PCCS) fetch its certificates"
_PROVIDER = "Install a quote provider: libsgx-dcap-default-qpl, or az-dcap-client on Azure"
_CERTIFICATES = "Let the certificate server (PCCS) fetch this platform's certificates anew"
_VERSIONS = "Install libsgx-dcap-ql, libsgx-qe3-logic, libsgx-pce-logic and the enclaves of one release"
_TARGET = "The client must get the target info again and make a new report for it"
_RIGHTS = (
    "Install Intel's signed enclaves (libsgx-ae-qe3, libsgx-ae-pce, libsgx-ae-id-enclave), and let this process open "
    "/dev/sgx_enclave and /dev/sgx_provision, on a /dev that is not mounted noexec"
)
_PROVISION = "Let this process open /dev/sgx_provision: its group, often sgx_prv, or the device plugin grants it"
_MEMORY = "Give this process more memory"
_EPC = "Run fewer or smaller enclaves on this machine, or give it more EPC in the BIOS"
_AGAIN = "Try again; if it stays, restart this process"
_VERIFICATION = "This code belongs to verification, not to quoting: see that the libraries are of one release"
_REPORT = "Please report this with the log"


class Fault(NamedTuple):
    """Why no quote was made, and what to do about it, in one sentence."""

    cause: PlatformCause
    remedy: str


def _each(cause: PlatformCause, remedy: str, *codes: Quote3Error) -> Iterator[tuple[int, Fault]]:
    return ((code, Fault(cause, remedy)) for code in codes)


_E = Quote3Error
_C = PlatformCause

FAULTS: Mapping[int, Fault] = dict(
    (
        *_each(_C.FAILED, _REPORT, _E.ERROR_UNEXPECTED, _E.ERROR_INVALID_PARAMETER, _E.UNSUPPORTED_LOADING_POLICY),
        *_each(_C.OUT_OF_MEMORY, _MEMORY, _E.ERROR_OUT_OF_MEMORY),
        *_each(
            _C.KEY_NOT_INITIALIZED,
            _TARGET,
            _E.ERROR_ECDSA_ID_MISMATCH,
            _E.ERROR_STORED_KEY,
            _E.ERROR_PUB_KEY_ID_MISMATCH,
            _E.ATT_KEY_BLOB_ERROR,
            _E.ATT_KEY_NOT_INITIALIZED,
        ),
        *_each(_C.FILE_ACCESS, "Use shorter paths for Intel's files", _E.PATHNAME_BUFFER_OVERFLOW_ERROR),
        *_each(
            _C.FILE_ACCESS,
            "Let this process write to its home or cache directory, where the quote provider keeps certificates",
            _E.FILE_ACCESS_ERROR,
            _E.PERSISTENT_STORAGE_ERROR,
        ),
        *_each(_C.KEY_CERTIFICATION, _VERSIONS, _E.ERROR_INVALID_PCE_SIG_SCHEME),
        *_each(
            _C.KEY_CERTIFICATION,
            "The certificate server (PCCS) answers with a TCB above this platform's: let it fetch this platform's "
            "certificates anew",
            _E.KEY_CERTIFICATION_ERROR,
        ),
        *_each(_C.UNSUPPORTED_KEY, "The client must ask for ECDSA-P256 (DCAP) quotes", _E.UNSUPPORTED_ATT_KEY_ID),
        *_each(_C.ENCLAVE_LOAD, _RIGHTS, _E.ENCLAVE_LOAD_ERROR, _E.INTERFACE_UNAVAILABLE),
        *_each(_C.ENCLAVE_LOAD, _PROVISION, _E.ERROR_INVALID_PRIVILEGE),
        *_each(_C.ENCLAVE_LOST, _AGAIN, _E.ENCLAVE_LOST),
        *_each(_C.OUT_OF_EPC, _EPC, _E.OUT_OF_EPC),
        *_each(
            _C.NO_DEVICE, "Enable SGX in the BIOS, and use a kernel with the SGX driver (5.11 or later)", _E.NO_DEVICE
        ),
        *_each(_C.NO_CERTIFICATE, _PROVIDER, _E.PLATFORM_LIB_UNAVAILABLE),
        *_each(
            _C.NO_CERTIFICATE,
            _REGISTER,
            _E.NO_PLATFORM_CERT_DATA,
            _E.NO_QUOTE_COLLATERAL_DATA,
            _E.PLATFORM_UNKNOWN,
            _E.CERTS_UNAVAILABLE,
        ),
        *_each(
            _C.CERTIFICATE_DATA,
            _CERTIFICATES,
            _E.ATT_KEY_CERT_DATA_INVALID,
            _E.QUOTE_CERTIFICATION_DATA_UNSUPPORTED,
            _E.PCK_CERT_UNSUPPORTED_FORMAT,
            _E.PCK_CERT_CHAIN_ERROR,
        ),
        *_each(_C.INVALID_REPORT, _TARGET, _E.INVALID_REPORT, _E.ERROR_REPORT),
        *_each(
            _C.UNABLE_TO_MAKE_QE_REPORT,
            "The client must correct the target info in qe_report_info",
            _E.UNABLE_TO_GENERATE_QE_REPORT,
            _E.UNABLE_TO_GENERATE_REPORT,
        ),
        *_each(
            _C.NETWORK,
            _SERVER,
            _E.NETWORK_ERROR,
            _E.NETWORK_FAILURE,
            _E.SERVICE_UNAVAILABLE,
            _E.SERVICE_TIMEOUT,
            _E.INTERNAL_SERVER_ERROR,
        ),
        *_each(
            _C.NETWORK,
            "Install the certificate server's root certificate on this machine, or correct use_secure_cert in the "
            "quote provider's settings",
            _E.ROOT_CA_UNTRUSTED,
        ),
        *_each(_C.NETWORK, _SETTINGS, _E.CONFIG_INVALID_JSON, _E.UNKNOWN_API_VERSION),
        *_each(_C.MESSAGE, _SERVER, _E.MESSAGE_ERROR, _E.UNKNOWN_MESSAGE_RESPONSE, _E.ERROR_MESSAGE_PARSING_ERROR),
        *_each(_C.BUSY, "Try again in a moment", _E.ERROR_BUSY),
        *_each(
            _C.INTERFACE,
            "libsgx_dcap_ql asked another daemon: start this process without SGX_AESM_ADDR",
            _E.UNSUPPORTED_MODE,
        ),
        *_each(_C.UNAVAILABLE, "Install libsgx-urts and libsgx-enclave-common", _E.PSW_NOT_AVAILABLE),
        *_each(
            _C.FAILED,
            _VERIFICATION,
            _E.QUOTE_FORMAT_UNSUPPORTED,
            _E.QE_REPORT_INVALID_SIGNATURE,
            _E.QE_REPORT_UNSUPPORTED_FORMAT,
            _E.TCBINFO_UNSUPPORTED_FORMAT,
            _E.TCBINFO_MISMATCH,
            _E.QEIDENTITY_UNSUPPORTED_FORMAT,
            _E.QEIDENTITY_MISMATCH,
            _E.TCB_OUT_OF_DATE,
            _E.TCB_OUT_OF_DATE_CONFIGURATION_NEEDED,
            _E.SGX_ENCLAVE_IDENTITY_OUT_OF_DATE,
            _E.SGX_ENCLAVE_REPORT_ISVSVN_OUT_OF_DATE,
            _E.QE_IDENTITY_OUT_OF_DATE,
            _E.SGX_TCB_INFO_EXPIRED,
            _E.SGX_PCK_CERT_CHAIN_EXPIRED,
            _E.SGX_CRL_EXPIRED,
            _E.SGX_SIGNING_CERT_CHAIN_EXPIRED,
            _E.SGX_ENCLAVE_IDENTITY_EXPIRED,
            _E.PCK_REVOKED,
            _E.TCB_REVOKED,
            _E.TCB_CONFIGURATION_NEEDED,
            _E.UNABLE_TO_GET_COLLATERAL,
            _E.NO_QVE_IDENTITY_DATA,
            _E.CRL_UNSUPPORTED_FORMAT,
            _E.QEIDENTITY_CHAIN_ERROR,
            _E.TCBINFO_CHAIN_ERROR,
            _E.ERROR_QVL_QVE_MISMATCH,
            _E.TCB_SW_HARDENING_NEEDED,
            _E.TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED,
            _E.QVEIDENTITY_MISMATCH,
            _E.QVE_OUT_OF_DATE,
            _E.COLLATERAL_VERSION_NOT_SUPPORTED,
            _E.TDX_MODULE_MISMATCH,
            _E.QEIDENTITY_NOT_FOUND,
            _E.TCBINFO_NOT_FOUND,
            _E.SUPPLEMENTAL_DATA_VERSION_NOT_SUPPORTED,
            _E.TCB_NOT_SUPPORTED,
            _E.RESULT_INVALID_SIGNATURE,
        ),
    )
)
"""Every code but success. Complete: a test compares it with Quote3Error."""

UNKNOWN = Fault(PlatformCause.FAILED, _REPORT)
"""What a code means that is not known."""


def fault_of(code: int) -> Fault:
    """What ``code``, which the library returned, means; any number is taken."""
    return FAULTS.get(code, UNKNOWN)


def failure(function: str, code: int, circumstance: str = "") -> PlatformError:
    """The error that says that the library's ``function`` returned ``code``, and what to do.

    ``circumstance``: a sentence without full stop about the machine that is likely to be the reason.
    """
    fault = fault_of(code)
    because = f" ({circumstance})" if circumstance else ""
    return PlatformError(fault.cause, f"{function} returned {name_quote3_error(code)}{because}. {fault.remedy}")
