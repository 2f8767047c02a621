"""The binary interface of Intel's quoting libraries: structures and prototypes. Declares, calls nothing.

Every structure is packed without padding, little endian; sizes and offsets are pinned by tests against the
specification and against a C compiler. Every argument of every function is declared: what is not, ctypes would pass as
a 32-bit int. Source: dcap 4.1, 4.2 and 4.4.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

NONCE_SIZE = 16
TARGET_INFO_SIZE = 512
REPORT_SIZE = 432

TargetInfoBuffer = ctypes.c_uint8 * TARGET_INFO_SIZE
"""``sgx_target_info_t``: opaque here, ``sgx.report.TargetInfo`` reads it."""
ReportBuffer = ctypes.c_uint8 * REPORT_SIZE
"""``sgx_report_t``: opaque here, ``sgx.report.Report`` reads it."""


class AttestationKeyIdBase(ctypes.Structure):
    """``sgx_ql_att_key_id_t``, 158 bytes: which attestation key. Fields as in ``sgx.key_id.AttestationKeyId``."""

    _pack_ = 1
    _layout_ = "ms"  # what _pack_ has always meant; Python 3.14 wants it said
    _fields_ = (
        ("id", ctypes.c_uint16),
        ("version", ctypes.c_uint16),
        ("mrsigner_length", ctypes.c_uint16),
        ("mrsigner", ctypes.c_uint8 * 48),
        ("prod_id", ctypes.c_uint32),
        ("extended_prod_id", ctypes.c_uint8 * 16),
        ("config_id", ctypes.c_uint8 * 64),
        ("family_id", ctypes.c_uint8 * 16),
        ("algorithm_id", ctypes.c_uint32),
    )


class AttestationKeyIdExtended(ctypes.Structure):
    """``sgx_att_key_id_ext_t``, 256 bytes: the base, EPID's fields, reserved bytes."""

    _pack_ = 1
    _layout_ = "ms"  # see AttestationKeyIdBase
    _fields_ = (
        ("base", AttestationKeyIdBase),
        ("spid", ctypes.c_uint8 * 16),
        ("att_key_type", ctypes.c_uint16),
        ("reserved", ctypes.c_uint8 * 80),
    )


class QeReportInfoBuffer(ctypes.Structure):
    """``sgx_ql_qe_report_info_t``, 960 bytes: nonce and target go in, the quoting enclave's report comes out."""

    _pack_ = 1
    _layout_ = "ms"  # see AttestationKeyIdBase
    _fields_ = (
        ("nonce", ctypes.c_uint8 * NONCE_SIZE),
        ("app_enclave_target_info", TargetInfoBuffer),
        ("qe_report", ReportBuffer),
    )


PATH_QUOTING_ENCLAVE = 0
PATH_PROVISIONING_ENCLAVE = 1
PATH_PROVIDER = 2
PATH_IDENTITY_ENCLAVE = 3
"""``sgx_ql_path_type_t``: what ``sgx_ql_set_path`` sets."""

POLICY_PERSISTENT = 0
"""``sgx_ql_request_policy_t``: enclaves are loaded once and stay."""

LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_char_p)
"""What a quote provider calls with each line of its log: level, text."""

Error = ctypes.c_uint32
"""``quote3_error_t``, an enum of 32 bits."""

_Type = Any  # ctypes has no public name for the type of its types

QUOTING_LIBRARY: Mapping[str, tuple[_Type, ...]] = {
    "sgx_qe_set_enclave_load_policy": (ctypes.c_uint32,),
    "sgx_qe_get_target_info": (ctypes.POINTER(TargetInfoBuffer),),
    "sgx_qe_get_quote_size": (ctypes.POINTER(ctypes.c_uint32),),
    "sgx_qe_get_quote": (ctypes.POINTER(ReportBuffer), ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint8)),
    "sgx_qe_cleanup_by_policy": (),
    "sgx_ql_set_path": (ctypes.c_uint32, ctypes.c_char_p),
}
"""What libsgx_dcap_ql exports, and the arguments of each; all return a ``quote3_error_t``."""

LOGIC_LIBRARY: Mapping[str, tuple[_Type, ...]] = {
    "sgx_ql_init_quote": (
        ctypes.POINTER(AttestationKeyIdBase),
        ctypes.POINTER(TargetInfoBuffer),
        ctypes.c_bool,  # refresh_att_key
        ctypes.POINTER(ctypes.c_size_t),
        ctypes.POINTER(ctypes.c_uint8),
    ),
    "sgx_ql_get_quote": (
        ctypes.POINTER(ReportBuffer),
        ctypes.POINTER(AttestationKeyIdBase),
        ctypes.POINTER(QeReportInfoBuffer),
        ctypes.POINTER(ctypes.c_uint8),
        ctypes.c_uint32,
    ),
    "sgx_ql_get_keyid": (ctypes.POINTER(AttestationKeyIdExtended),),
}
"""What libsgx_qe3_logic, on which it stands, exports besides: key ids, and quotes with ``qe_report_info``."""

PROVIDER_LOGGING: Mapping[str, tuple[_Type, ...]] = {
    "sgx_ql_set_logging_callback": (LOG_CALLBACK, ctypes.c_uint32),
    "sgx_ql_set_logging_function": (LOG_CALLBACK,),
}
"""How Intel's quote provider, and Azure's, are told where to log."""


def bind(library: ctypes.CDLL, name: str, arguments: tuple[_Type, ...]) -> Any:  # noqa: ANN401  a foreign function
    """The function ``name`` of ``library`` or of those it is linked with, its types declared; None without one."""
    try:
        function = library[name]
    except AttributeError:
        return None
    function.argtypes = arguments
    function.restype = Error
    return function
