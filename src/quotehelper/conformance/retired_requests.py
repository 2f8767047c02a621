"""Checks that requests of the EPID age (1 to 4, 10 to 14, 18) are answered in kind. Shell. Source: aesm 4.9, 9.9."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.aesm import messages as m
from quotehelper.aesm import retired as r
from quotehelper.conformance.check import Check, Family
from quotehelper.conformance.oddities import INTEL_TIMEOUT, message

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.conformance.examined import Examined

_UNAVAILABLE = 30
_PARAMETER_ERROR = 3
_T = INTEL_TIMEOUT

_REQUESTS: tuple[tuple[str, m.Request], ...] = (
    ("init-quote", r.InitQuoteRequest(timeout=_T)),
    (
        "get-quote",
        r.GetQuoteRequest(report=bytes(432), quote_type=0, spid=bytes(16), buf_size=2048, qe_report=True, timeout=_T),
    ),
    (
        "launch-token",
        r.GetLaunchTokenRequest(mr_enclave=bytes(32), mr_signer=bytes(384), se_attributes=bytes(16), timeout=_T),
    ),
    (
        "report-error",
        r.ReportAttestationErrorRequest(
            platform_info=bytes(101), attestation_error_code=0, update_info_size=12, timeout=_T
        ),
    ),
    ("white-list-size", r.GetWhiteListSizeRequest(timeout=_T)),
    ("white-list", r.GetWhiteListRequest(white_list_size=0, timeout=_T)),
    ("extended-group", r.SGXGetExtendedEpidGroupIdRequest(timeout=_T)),
    ("switch-group", r.SGXSwitchExtendedEpidGroupRequest(x_group_id=0, timeout=_T)),
    ("register", r.SGXRegisterRequest(buf=bytes(8), data_type=0, timeout=_T)),
    ("update-status", r.CheckUpdateStatusRequest(update_info_size=12, config=1, timeout=_T)),
)
_DEMANDING = (
    r.GetQuoteRequest,
    r.GetLaunchTokenRequest,
    r.ReportAttestationErrorRequest,
    r.SGXRegisterRequest,
    r.CheckUpdateStatusRequest,
)
"""Those that have required fields."""


def _in_kind(request: m.Request) -> Callable[[Examined], None]:
    def run(examined: Examined) -> None:
        examined.expect(request, request.RESPONSE.error(_UNAVAILABLE, request))

    return run


def _register_other(examined: Examined) -> None:
    request = r.SGXRegisterRequest(buf=bytes(8), data_type=1, timeout=_T)
    examined.expect(request, r.SGXRegisterResponse(_PARAMETER_ERROR))


def _lacking(examined: Examined) -> None:
    for kind in _DEMANDING:
        examined.expect_status(message(kind), kind, 1)


_R = Family.RETIRED
_CONSEQUENCE = "An application that still sends it waits, or crashes in Intel's library, instead of going on without"
_REMEDY = "Releases 2.28 and later of Intel's service close instead; put quotehelper in front of it for such clients"

CHECKS = (
    *(
        Check(
            f"retired.{name}",
            f"{type(request).__name__.removesuffix('Request')} ({request.FIELD}) is answered 30 in kind",
            "aesm 2.4, 4.9, 9.9",
            _R,
            _CONSEQUENCE,
            _REMEDY,
            _in_kind(request),
        )
        for name, request in _REQUESTS
    ),
    Check(
        "retired.register-other",
        "SGXRegister of anything but a white list is answered 3 in kind",
        "aesm 4.9, 9.9",
        _R,
        _CONSEQUENCE,
        _REMEDY,
        _register_other,
    ),
    Check(
        "retired.missing-field",
        "One that lacks a required field is answered 1 in kind",
        "aesm 1.7",
        _R,
        _CONSEQUENCE,
        _REMEDY,
        _lacking,
    ),
)
