"""What Intel's client libraries make of a daemon's status, which is what applications see. Pure.

An application calls ``libsgx_quote_ex``, or ``libsgx_dcap_ql`` that calls the former. Both have fewer codes than
``aesm_error_t``, and not the same for every call. Source: the tables of aesm 3.2, measured on Intel's library, and
aesm 3.3.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from quotehelper.aesm import messages as m
from quotehelper.aesm import retired
from quotehelper.aesm.status import AesmStatus
from quotehelper.sgx.quote3_error import Quote3Error

if TYPE_CHECKING:
    from collections.abc import Mapping


class SgxStatus(enum.IntEnum):
    """``sgx_status_t``, as far as a daemon can have an influence on it."""

    SUCCESS = 0x0000
    ERROR_UNEXPECTED = 0x0001
    ERROR_INVALID_PARAMETER = 0x0002
    ERROR_OUT_OF_MEMORY = 0x0003
    ERROR_OUT_OF_EPC = 0x2005
    ERROR_NO_DEVICE = 0x2006
    ERROR_MAC_MISMATCH = 0x3001
    ERROR_SERVICE_UNAVAILABLE = 0x4001
    ERROR_SERVICE_TIMEOUT = 0x4002
    ERROR_AE_INVALID_EPIDBLOB = 0x4003
    ERROR_SERVICE_INVALID_PRIVILEGE = 0x4004
    ERROR_EPID_MEMBER_REVOKED = 0x4005
    ERROR_UPDATE_NEEDED = 0x4006
    ERROR_NETWORK_FAILURE = 0x4007
    ERROR_BUSY = 0x400A
    ERROR_UNRECOGNIZED_PLATFORM = 0x4012
    ERROR_UNSUPPORTED_CONFIG = 0x4013
    ERROR_UNSUPPORTED_ATT_KEY_ID = 0x8001
    ERROR_ATT_KEY_CERTIFICATION_FAILURE = 0x8002
    ERROR_ATT_KEY_UNINITIALIZED = 0x8003
    ERROR_PLATFORM_CERT_UNAVAILABLE = 0x8005


_ANY_CALL: Mapping[int, SgxStatus] = {
    AesmStatus.SUCCESS: SgxStatus.SUCCESS,
    AesmStatus.NO_DEVICE_ERROR: SgxStatus.ERROR_NO_DEVICE,
    AesmStatus.PARAMETER_ERROR: SgxStatus.ERROR_INVALID_PARAMETER,
    AesmStatus.NETWORK_ERROR: SgxStatus.ERROR_NETWORK_FAILURE,
    AesmStatus.NETWORK_BUSY_ERROR: SgxStatus.ERROR_NETWORK_FAILURE,
    AesmStatus.PROXY_SETTING_ASSIST: SgxStatus.ERROR_NETWORK_FAILURE,
    AesmStatus.SERVICE_STOPPED: SgxStatus.ERROR_SERVICE_UNAVAILABLE,
    AesmStatus.BUSY: SgxStatus.ERROR_BUSY,
    AesmStatus.UPDATE_AVAILABLE: SgxStatus.ERROR_UPDATE_NEEDED,
    AesmStatus.OUT_OF_MEMORY_ERROR: SgxStatus.ERROR_OUT_OF_MEMORY,
    AesmStatus.SERVICE_UNAVAILABLE: SgxStatus.ERROR_SERVICE_UNAVAILABLE,
    AesmStatus.UNRECOGNIZED_PLATFORM: SgxStatus.ERROR_UNRECOGNIZED_PLATFORM,
    AesmStatus.ENCLAVE_LOST: SgxStatus.ERROR_SERVICE_UNAVAILABLE,
    AesmStatus.ENCLAVE_LOAD_ERROR: SgxStatus.ERROR_SERVICE_UNAVAILABLE,
}
_KEY_CALL: Mapping[int, SgxStatus] = {AesmStatus.UNSUPPORTED_ATT_KEY_ID: SgxStatus.ERROR_UNSUPPORTED_ATT_KEY_ID}
_EPID_CALL: Mapping[int, SgxStatus] = {
    AesmStatus.EPIDBLOB_ERROR: SgxStatus.ERROR_AE_INVALID_EPIDBLOB,
    AesmStatus.EPID_REVOKED_ERROR: SgxStatus.ERROR_EPID_MEMBER_REVOKED,
    AesmStatus.BACKEND_SERVER_BUSY: SgxStatus.ERROR_BUSY,
    AesmStatus.OUT_OF_EPC: SgxStatus.ERROR_OUT_OF_EPC,
}
_UPDATE_CALL: Mapping[int, SgxStatus] = {
    AesmStatus.EPIDBLOB_ERROR: SgxStatus.ERROR_AE_INVALID_EPIDBLOB,
    AesmStatus.BACKEND_SERVER_BUSY: SgxStatus.ERROR_BUSY,
    AesmStatus.PLATFORM_INFO_BLOB_INVALID_SIG: SgxStatus.ERROR_INVALID_PARAMETER,
    AesmStatus.OUT_OF_EPC: SgxStatus.ERROR_OUT_OF_EPC,
}
_UNINITIALIZED: Mapping[int, SgxStatus] = {AesmStatus.ATT_KEY_NOT_INITIALIZED: SgxStatus.ERROR_ATT_KEY_UNINITIALIZED}
_BY_CALL: Mapping[type[m.Request], Mapping[int, SgxStatus]] = {
    m.SelectAttKeyIDRequest: _KEY_CALL,
    m.InitQuoteExRequest: {
        **_KEY_CALL,
        **_EPID_CALL,
        AesmStatus.NO_PLATFORM_CERT_DATA: SgxStatus.ERROR_PLATFORM_CERT_UNAVAILABLE,
        AesmStatus.KEY_CERTIFICATION_ERROR: SgxStatus.ERROR_ATT_KEY_CERTIFICATION_FAILURE,
    },
    m.GetQuoteSizeExRequest: {**_KEY_CALL, **_UNINITIALIZED},
    m.GetQuoteExRequest: {
        **_KEY_CALL,
        **_EPID_CALL,
        **_UNINITIALIZED,
        AesmStatus.ERROR_REPORT: SgxStatus.ERROR_MAC_MISMATCH,
        AesmStatus.INVALID_REPORT: SgxStatus.ERROR_MAC_MISMATCH,
    },
    retired.InitQuoteRequest: _EPID_CALL,
    retired.GetQuoteRequest: _EPID_CALL,
    retired.ReportAttestationErrorRequest: _UPDATE_CALL,
    retired.CheckUpdateStatusRequest: {
        **_UPDATE_CALL,
        AesmStatus.CONFIG_UNSUPPORTED: SgxStatus.ERROR_UNSUPPORTED_CONFIG,
    },
    retired.GetLaunchTokenRequest: {
        AesmStatus.GET_LICENSETOKEN_ERROR: SgxStatus.ERROR_SERVICE_INVALID_PRIVILEGE,
        AesmStatus.OUT_OF_EPC: SgxStatus.ERROR_OUT_OF_EPC,
    },
}

_DCAP_QL: Mapping[int, Quote3Error] = {
    SgxStatus.SUCCESS: Quote3Error.SUCCESS,
    SgxStatus.ERROR_UNEXPECTED: Quote3Error.ERROR_UNEXPECTED,
    SgxStatus.ERROR_INVALID_PARAMETER: Quote3Error.ERROR_INVALID_PARAMETER,
    SgxStatus.ERROR_OUT_OF_MEMORY: Quote3Error.ERROR_OUT_OF_MEMORY,
    SgxStatus.ERROR_NO_DEVICE: Quote3Error.NO_DEVICE,
    SgxStatus.ERROR_SERVICE_UNAVAILABLE: Quote3Error.SERVICE_UNAVAILABLE,
    SgxStatus.ERROR_NETWORK_FAILURE: Quote3Error.NETWORK_FAILURE,
    SgxStatus.ERROR_SERVICE_TIMEOUT: Quote3Error.SERVICE_TIMEOUT,
    SgxStatus.ERROR_BUSY: Quote3Error.ERROR_BUSY,
    SgxStatus.ERROR_UNSUPPORTED_ATT_KEY_ID: Quote3Error.UNSUPPORTED_ATT_KEY_ID,
    SgxStatus.ERROR_ATT_KEY_CERTIFICATION_FAILURE: Quote3Error.ATT_KEY_CERT_DATA_INVALID,  # so named, and so mapped
    SgxStatus.ERROR_PLATFORM_CERT_UNAVAILABLE: Quote3Error.NO_PLATFORM_CERT_DATA,
    SgxStatus.ERROR_ATT_KEY_UNINITIALIZED: Quote3Error.ATT_KEY_NOT_INITIALIZED,
}


def intel_client_status(call: type[m.Request], aesm_status: int) -> SgxStatus:
    """What the call of Intel's library that sends ``call`` returns if a daemon answers ``aesm_status``."""
    common = _ANY_CALL.get(aesm_status, SgxStatus.ERROR_UNEXPECTED)
    return _BY_CALL.get(call, {}).get(aesm_status, common)


def dcap_ql_error(sgx_status: int) -> Quote3Error:
    """What ``libsgx_dcap_ql`` returns if ``libsgx_quote_ex`` has returned ``sgx_status``."""
    return _DCAP_QL.get(sgx_status, Quote3Error.ERROR_UNEXPECTED)
