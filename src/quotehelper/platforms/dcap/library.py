"""Intel's libsgx_dcap_ql in this process: bytes in, bytes out, every code an error. Shell: foreign functions.

The library reads ``SGX_AESM_ADDR`` when it is loaded and would then ask an AESM daemon, which is us; so the variable
is removed first. Enclave paths count only before the first use, policy "persistent" keeps enclaves loaded between
quotes. ``sgx_ql_init_quote`` and its like live in libsgx_qe3_logic; they are used if libsgx_dcap_ql is linked with it,
as in every current release: a second copy would have a second quoting enclave with a key of its own. Source: dcap 3.4,
4.2 and 10.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from quotehelper.errors import PlatformCause, PlatformError
from quotehelper.platforms.dcap import abi
from quotehelper.platforms.dcap.faults import failure
from quotehelper.platforms.dcap.files import QUOTING_LIBRARY, find_paths
from quotehelper.platforms.hardware import likely_reason

if TYPE_CHECKING:
    from quotehelper.platforms.dcap.files import DcapFiles

OUT_OF_PROCESS_VARIABLE = "SGX_AESM_ADDR"
QUOTE_SIZE_LIMIT = 1 << 20
"""Bytes that a quote may have; the largest possible has 13,346 (dcap 1.1)."""

_PUBLIC_KEY_ID_SIZE = 32
_KEEP_KEY = False
"""``refresh_att_key``: no client can ask for a new key (aesm 4.4)."""
_DEPENDS_ON_MACHINE = {PlatformCause.ENCLAVE_LOAD, PlatformCause.NO_DEVICE}


class Initialized(NamedTuple):
    """What initialising the key tells: the quoting enclave's target info (512), and the key's id (32) if known."""

    target_info: bytes
    public_key_id: bytes | None


class QuotingLibrary:
    """The loaded library. Every call raises PlatformError with function, code and remedy if it does not succeed."""

    def __init__(self, files: DcapFiles) -> None:
        """Load it and set it up. Raises PlatformError: UNAVAILABLE, INTERFACE, ENCLAVE_LOAD; try again later."""
        paths = find_paths(files)
        os.environ.pop(OUT_OF_PROCESS_VARIABLE, None)
        name = files.library or QUOTING_LIBRARY
        try:
            library = ctypes.CDLL(name)
        except OSError as error:
            raise PlatformError(
                PlatformCause.UNAVAILABLE,
                f"{error}. Install libsgx-dcap-ql, or name its library with --dcap-library",
            ) from error
        self._functions = {
            function: abi.bind(library, function, arguments)
            for function, arguments in (*abi.QUOTING_LIBRARY.items(), *abi.LOGIC_LIBRARY.items())
        }
        if missing := [function for function in abi.QUOTING_LIBRARY if self._functions[function] is None]:
            raise PlatformError(
                PlatformCause.INTERFACE, f"{name} has no {missing[0]}: it is not libsgx_dcap_ql. Name the right library"
            )
        self._call("sgx_qe_set_enclave_load_policy", abi.POLICY_PERSISTENT)
        for kind, path in (
            (abi.PATH_PROVIDER, paths.provider),
            (abi.PATH_QUOTING_ENCLAVE, paths.quoting_enclave),
            (abi.PATH_PROVISIONING_ENCLAVE, paths.provisioning_enclave),
            (abi.PATH_IDENTITY_ENCLAVE, paths.identity_enclave),
        ):
            if path is not None:
                self._call("sgx_ql_set_path", kind, os.fsencode(path))

    @property
    def knows_key_ids(self) -> bool:
        """Whether libsgx_qe3_logic is there: key ids, and quotes with ``qe_report_info``."""
        return all(self._functions[name] is not None for name in abi.LOGIC_LIBRARY)

    def key_id(self) -> bytes | None:
        """The 256 bytes that name the library's key, or None if it can't tell."""
        if not self.knows_key_ids:
            return None
        key_id = abi.AttestationKeyIdExtended()
        self._call("sgx_ql_get_keyid", ctypes.byref(key_id))
        return bytes(key_id)

    def init(self) -> Initialized:
        """Load the enclaves, if need be; make the key and have it certified, if need be."""
        target_info = abi.TargetInfoBuffer()
        if not self.knows_key_ids:
            self._call("sgx_qe_get_target_info", ctypes.byref(target_info))
            return Initialized(bytes(target_info), None)
        size = ctypes.c_size_t()
        self._call("sgx_ql_init_quote", None, None, _KEEP_KEY, ctypes.byref(size), None)
        if size.value != _PUBLIC_KEY_ID_SIZE:
            raise PlatformError(
                PlatformCause.INTERFACE,
                f"the library's key ids have {size.value} bytes, not {_PUBLIC_KEY_ID_SIZE}: its release is not known",
            )
        public_key_id = (ctypes.c_uint8 * _PUBLIC_KEY_ID_SIZE)()
        self._call(
            "sgx_ql_init_quote", None, ctypes.byref(target_info), _KEEP_KEY, ctypes.byref(size), _octets(public_key_id)
        )
        return Initialized(bytes(target_info), bytes(public_key_id))

    def quote_size(self) -> int:
        """The exact size in bytes of the next quote."""
        size = ctypes.c_uint32()
        self._call("sgx_qe_get_quote_size", ctypes.byref(size))
        if not 0 < size.value <= QUOTE_SIZE_LIMIT:
            raise PlatformError(
                PlatformCause.FAILED, f"the library speaks of quotes of {size.value} bytes. Please report this"
            )
        return size.value

    def quote(self, report: bytes, size: int) -> bytes:
        """A quote of ``size`` bytes over ``report`` (432 bytes)."""
        quote = (ctypes.c_uint8 * size)()
        self._call("sgx_qe_get_quote", _report(report), size, _octets(quote))
        return bytes(quote)

    def quote_reported(self, report: bytes, size: int, qe_report_info: bytes) -> tuple[bytes, bytes]:
        """The same, and ``qe_report_info`` (960 bytes) with the quoting enclave's report in it.

        Raises PlatformError also, UNABLE_TO_MAKE_QE_REPORT, without libsgx_qe3_logic.
        """
        if not self.knows_key_ids:
            raise PlatformError(
                PlatformCause.UNABLE_TO_MAKE_QE_REPORT,
                "libsgx_dcap_ql is not linked with libsgx_qe3_logic, which makes such reports. Install a current "
                "release of libsgx-dcap-ql and libsgx-qe3-logic",
            )
        info = abi.QeReportInfoBuffer.from_buffer_copy(qe_report_info)
        quote = (ctypes.c_uint8 * size)()
        self._call("sgx_ql_get_quote", _report(report), None, ctypes.byref(info), _octets(quote), size)
        return bytes(quote), bytes(info)

    def clean_up(self) -> None:
        """Let go of the enclaves, as far as the policy does. Its code is not looked at: nothing could be done."""
        self._functions["sgx_qe_cleanup_by_policy"]()

    def _call(self, function: str, *arguments: object) -> None:
        code: int = self._functions[function](*arguments)
        if code:
            error = failure(function, code)
            if error.cause in _DEPENDS_ON_MACHINE:
                error = failure(function, code, likely_reason())
            raise error


def _report(raw: bytes) -> Any:  # noqa: ANN401  a pointer
    return ctypes.byref(abi.ReportBuffer.from_buffer_copy(raw))


def _octets(buffer: ctypes.Array[ctypes.c_uint8]) -> Any:  # noqa: ANN401  a pointer
    return ctypes.cast(buffer, ctypes.POINTER(ctypes.c_uint8))
