"""The status codes that AESM responses carry, ``aesm_error_t``, and what they mean to people. Pure.

Source: aesm 3.1; the meanings from aesm 3.4, 4, 6 and 8. What client libraries turn them into: ``client_libraries``.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

_UPDATE = "Update microcode or BIOS, or the SGX software, and try again"
_ECDSA = "Use ECDSA (DCAP) quotes: EPID has ended"
_RETRY = "Try again in a moment"
_LOG = "The daemon's log has the reason"
_PCCS = "Check the daemon's connection to its PCCS, and the provider library's settings"
_DEVICES = "See that the daemon may open /dev/sgx_enclave and /dev/sgx_provision"
_INIT = "Ask for the target info (init_quote_ex) again, and make a new report for it"
_RETIRED = "Nothing to do: no application needs it any more"
_DAEMON = "Restart the daemon; if it comes back, its log has the reason"


class AesmStatus(enum.IntEnum):
    """``errorCode``. ``meaning`` says what happened, ``remedy`` what to do. Daemons may send other numbers too."""

    meaning: str
    remedy: str

    def __new__(cls, value: int, meaning: str = "", remedy: str = "") -> Self:
        """A status with its sentences."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.remedy = remedy
        return member

    SUCCESS = 0, "done", "Nothing to do"
    UNEXPECTED_ERROR = 1, "something failed that has no status of its own, often the PCCS or its provider library", _LOG
    NO_DEVICE_ERROR = 2, "there is no SGX device", "Enable SGX in the BIOS and load the kernel's driver"
    PARAMETER_ERROR = 3, "a parameter has a wrong size or value", "Check report, key id and buffer size"
    EPIDBLOB_ERROR = 4, "the stored EPID data is damaged", _ECDSA
    EPID_REVOKED_ERROR = 5, "the platform's EPID membership is revoked", _ECDSA
    GET_LICENSETOKEN_ERROR = 6, "the launch enclave refused a launch token", "Use a driver with flexible launch control"
    SESSION_INVALID = 7, "no such session with the platform services", _RETIRED
    MAX_NUM_SESSION_REACHED = 8, "too many sessions with the platform services", _RETIRED
    PSDA_UNAVAILABLE = 9, "the platform services' applet is not there", _RETIRED
    EPH_SESSION_FAILED = 10, "no session with the platform services could be made", _RETIRED
    LONG_TERM_PAIRING_FAILED = 11, "the platform services could not be paired", _RETIRED
    NETWORK_ERROR = 12, "a server that the daemon needs could not be reached, or refused", _PCCS
    NETWORK_BUSY_ERROR = 13, "a server that the daemon needs is busy", _RETRY
    PROXY_SETTING_ASSIST = 14, "the proxy settings don't lead to the network", "Set the proxy in /etc/aesmd.conf"
    FILE_ACCESS_ERROR = 15, "the daemon could not use one of its files", _LOG
    SGX_PROVISION_FAILED = 16, "the platform could not be provisioned for EPID", _ECDSA
    SERVICE_STOPPED = 17, "the daemon is ending", _RETRY
    BUSY = 18, "the daemon has more work than it takes", _RETRY
    BACKEND_SERVER_BUSY = 19, "a server behind the daemon is busy", _RETRY
    UPDATE_AVAILABLE = 20, "the platform needs an update", _UPDATE
    OUT_OF_MEMORY_ERROR = 21, "the daemon has no memory left", "Give the daemon more memory"
    MSG_ERROR = 22, "a message from a server behind the daemon could not be read", _PCCS
    THREAD_ERROR = 23, "the daemon could not start a thread", "Raise the daemon's limit of processes"
    SGX_DEVICE_NOT_AVAILABLE = 24, "the SGX device can't be used", _DEVICES
    ENABLE_SGX_DEVICE_FAILED = 25, "enabling SGX failed", "Enable SGX in the BIOS"
    PLATFORM_INFO_BLOB_INVALID_SIG = 26, "the platform information's signature does not hold", _ECDSA
    SERVICE_NOT_AVAILABLE = 27, "the service is not available", _DAEMON
    KDF_MISMATCH = 28, "another key derivation function was expected", "Use one version of the SGX SDK on both sides"
    OUT_OF_EPC = 29, "no enclave page cache is left for the quoting enclave", "Run fewer or smaller enclaves here"
    SERVICE_UNAVAILABLE = 30, "the daemon does not serve this, or its quoting enclave can't run", _DEVICES
    UNRECOGNIZED_PLATFORM = 31, "the attestation service does not know this platform", "Register the platform"
    ECDSA_ID_MISMATCH = 32, "the key is not the one its id names", _INIT
    PATHNAME_BUFFER_OVERFLOW_ERROR = 33, "a path is too long", "Install the enclaves in a directory of a shorter name"
    ERROR_STORED_KEY = 34, "the attestation key could not be stored or loaded", _INIT
    PUB_KEY_ID_MISMATCH = 35, "the stored attestation key has another id", _INIT
    INVALID_PCE_SIG_SCHEME = 36, "the provisioning enclave signs in an unknown way", _UPDATE
    ATT_KEY_BLOB_ERROR = 37, "the stored attestation key is damaged", _INIT
    UNSUPPORTED_ATT_KEY_ID = 38, "the daemon does not have the key that is asked for", "Ask which keys it has"
    UNSUPPORTED_LOADING_POLICY = 39, "the quoting enclave can't be loaded in this way", _DAEMON
    INTERFACE_UNAVAILABLE = 40, "the quoting library lacks a function", "Install matching versions of Intel's libraries"
    PLATFORM_LIB_UNAVAILABLE = 41, "no provider library is installed", "Install libsgx-dcap-default-qpl or another one"
    ATT_KEY_NOT_INITIALIZED = 42, "no attestation key is ready, or the platform's TCB has changed since", _INIT
    ATT_KEY_CERT_DATA_INVALID = 43, "the platform's certificate data is malformed", _PCCS
    NO_PLATFORM_CERT_DATA = (
        44,
        "there is no PCK certificate for this platform",
        "Register the platform, or ask your cloud",
    )
    ERROR_REPORT = 45, "the report could not be checked", _INIT
    ENCLAVE_LOST = 46, "the quoting enclave was lost, as happens when the machine sleeps", _RETRY
    INVALID_REPORT = 47, "the report was not made on this machine for this daemon's quoting enclave", _INIT
    ENCLAVE_LOAD_ERROR = 48, "the quoting enclave could not be loaded", _DEVICES
    UNABLE_TO_GENERATE_QE_REPORT = 49, "the quoting enclave can't report to the target given", "Check the target info"
    KEY_CERTIFICATION_ERROR = 50, "the attestation key could not be certified", _DAEMON
    CONFIG_UNSUPPORTED = 51, "the configuration asked for is not supported", "Ask for less"


def describe_status(status: int) -> str:
    """What ``status`` means and what to do, for people; a number that is not known is said to be so."""
    try:
        known = AesmStatus(status)
    except ValueError:
        return "a status that is not known. The daemon's log has the reason"
    return f"{known.meaning}. {known.remedy}"


def name_status(status: int) -> str:
    """``status`` as logs show it: its number and Intel's name for it, or that it has none."""
    try:
        return f"{status} {AesmStatus(status).name}"
    except ValueError:
        return f"{status} (not known)"
