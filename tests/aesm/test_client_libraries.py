from __future__ import annotations

import pytest

from quotehelper.aesm import messages as m
from quotehelper.aesm import retired as r
from quotehelper.aesm.client_libraries import SgxStatus, dcap_ql_error, intel_client_status
from quotehelper.sgx.quote3_error import Quote3Error

COMMON = {
    0: 0x0000,
    2: 0x2006,
    3: 0x0002,
    **dict.fromkeys((12, 13, 14), 0x4007),
    **dict.fromkeys((17, 30, 46, 48), 0x4001),
    18: 0x400A,
    20: 0x4006,
    21: 0x0003,
    31: 0x4012,
}
"""The part of aesm 3.2 that all calls share; everything else is 1."""

MEASURED = """
         select   init_ex  size_ex  quote_ex num
    4    0x0001   0x4003   0x0001   0x4003   0x0001
    5    0x0001   0x4005   0x0001   0x4005   0x0001
    19   0x0001   0x400a   0x0001   0x400a   0x0001
    29   0x0001   0x2005   0x0001   0x2005   0x0001
    38   0x8001   0x8001   0x8001   0x8001   0x0001
    42   0x0001   0x0001   0x8003   0x8003   0x0001
    44   0x0001   0x8005   0x0001   0x0001   0x0001
    45   0x0001   0x0001   0x0001   0x3001   0x0001
    47   0x0001   0x0001   0x0001   0x3001   0x0001
    50   0x0001   0x8002   0x0001   0x0001   0x0001
"""
"""The table of aesm 3.2, measured on Intel's library; ids is as num."""

CALLS: dict[str, type[m.Request]] = {
    "select": m.SelectAttKeyIDRequest,
    "init_ex": m.InitQuoteExRequest,
    "size_ex": m.GetQuoteSizeExRequest,
    "quote_ex": m.GetQuoteExRequest,
    "num": m.GetSupportedAttKeyIDNumRequest,
    "ids": m.GetSupportedAttKeyIDsRequest,
}

LEGACY: dict[type[m.Request], dict[int, int]] = {
    r.GetLaunchTokenRequest: {6: 0x4004, 29: 0x2005},
    r.InitQuoteRequest: {4: 0x4003, 5: 0x4005, 19: 0x400A, 29: 0x2005},
    r.GetQuoteRequest: {4: 0x4003, 5: 0x4005, 19: 0x400A, 29: 0x2005},
    r.ReportAttestationErrorRequest: {19: 0x400A, 26: 0x0002, 4: 0x4003, 29: 0x2005},
    r.CheckUpdateStatusRequest: {19: 0x400A, 26: 0x0002, 4: 0x4003, 29: 0x2005, 51: 0x4013},
}

DCAP_QL = {
    0x0000: 0,
    0x0001: 0xE001,
    0x0002: 0xE002,
    0x0003: 0xE003,
    0x2006: 0xE03F,
    0x4001: 0xE040,
    0x4007: 0xE041,
    0x4002: 0xE042,
    0x400A: 0xE043,
    0x8001: 0xE00B,
    0x8002: 0xE010,
    0x8005: 0xE011,
    0x8003: 0xE00F,
}
"""aesm 3.3; everything else is 0xE001."""


def measured(call: str) -> dict[int, int]:
    header, *rows = [line.split() for line in MEASURED.strip().splitlines()]
    column = header.index("num" if call == "ids" else call) + 1
    return {int(row[0]): int(row[column], 16) for row in rows}


@pytest.mark.parametrize("call", CALLS)
def test_intel_s_library_makes_of_every_status_what_was_measured(call: str) -> None:
    expected = COMMON | measured(call)
    for status in (*range(60), 2**32 - 1):
        assert intel_client_status(CALLS[call], status) == expected.get(status, 1), status


@pytest.mark.parametrize("kind", LEGACY, ids=lambda kind: kind.__name__)
def test_legacy_calls_have_their_own_additions(kind: type[m.Request]) -> None:
    expected = COMMON | LEGACY[kind]
    for status in range(60):
        assert intel_client_status(kind, status) == expected.get(status, 1), status


def test_libsgx_dcap_ql_maps_what_libsgx_quote_ex_returns() -> None:
    for status in (*SgxStatus, 0x0004, 0x9999):
        assert dcap_ql_error(status) == DCAP_QL.get(status, 0xE001), hex(status)


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        (47, Quote3Error.ERROR_UNEXPECTED),
        (18, Quote3Error.ERROR_BUSY),
        (42, Quote3Error.ATT_KEY_NOT_INITIALIZED),
        (30, Quote3Error.SERVICE_UNAVAILABLE),
        (38, Quote3Error.UNSUPPORTED_ATT_KEY_ID),
    ],
)
def test_what_an_application_sees_of_a_failed_quote(status: int, seen: Quote3Error) -> None:
    assert dcap_ql_error(intel_client_status(m.GetQuoteExRequest, status)) is seen
