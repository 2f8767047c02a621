"""Real structures: quotes made in the field, and what clients and Intel's service said to each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from quotehelper.aesm import messages as m
from quotehelper.sgx.key_id import QeReportInfo
from quotehelper.sgx.report import Report, TargetInfo

FRAMES = Path(__file__).parents[1] / "vectors" / "frames"


def body(name: str) -> bytes:
    return (FRAMES / name).read_bytes()[4:]


@pytest.fixture(scope="session")
def quote_request() -> m.GetQuoteExRequest:
    """A quote request of Intel's client, with nonce."""
    request = m.decode_request(body("intel-quote-ex-nonce/06.req"))
    assert isinstance(request, m.GetQuoteExRequest)
    return request


@pytest.fixture(scope="session")
def report(quote_request: m.GetQuoteExRequest) -> Report:
    """The report in it, made by an enclave of known identity."""
    return Report(quote_request.report)


@pytest.fixture(scope="session")
def answered_info() -> QeReportInfo:
    """The qe_report_info of the answer."""
    response = m.decode_response(body("intel-quote-ex-nonce/06.res"), m.GetQuoteExResponse)
    assert response.qe_report_info is not None
    return QeReportInfo(response.qe_report_info)


@pytest.fixture(scope="session")
def answered_quote() -> bytes:
    """The quote of the answer."""
    response = m.decode_response(body("intel-quote-ex-nonce/06.res"), m.GetQuoteExResponse)
    assert response.quote is not None
    return response.quote


@pytest.fixture(scope="session")
def target_info() -> TargetInfo:
    """The quoting enclave's target info, from the same service."""
    response = m.decode_response(body("intel-quote-ex-nonce/04.res"), m.InitQuoteExResponse)
    assert response.target_info is not None
    return TargetInfo(response.target_info)
