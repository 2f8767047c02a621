"""AESM requests, responses and frames: bytes from a socket to values and back. Pure.

A frame is a length (4 bytes, little endian, not counting itself) and an envelope, which holds one request or
response. Source: aesm 1.2, 1.7 and 2, measured on Intel's service and its client libraries; message, field names and
numbers are Intel's. Which request is answered how: ``node.service``.
"""

from __future__ import annotations

from typing import TypeVar

from quotehelper.aesm.envelope import Request, Response
from quotehelper.aesm.retired import (
    CheckUpdateStatusRequest,
    CloseSessionRequest,
    CreateSessionRequest,
    ExchangeReportRequest,
    GetLaunchTokenRequest,
    GetPsCapRequest,
    GetQuoteRequest,
    GetWhiteListRequest,
    GetWhiteListSizeRequest,
    InitQuoteRequest,
    InvokeServiceRequest,
    ReportAttestationErrorRequest,
    SGXGetExtendedEpidGroupIdRequest,
    SGXRegisterRequest,
    SGXSwitchExtendedEpidGroupRequest,
)
from quotehelper.errors import DecodeError, ProtocolError
from quotehelper.wire.protobuf import Envelope, boolean, octets, u32, u64

__all__ = [
    "FRAME_HEADER_SIZE",
    "REQUESTS",
    "RESPONSES",
    "GetQuoteExRequest",
    "GetQuoteExResponse",
    "GetQuoteSizeExRequest",
    "GetQuoteSizeExResponse",
    "GetSupportedAttKeyIDNumRequest",
    "GetSupportedAttKeyIDNumResponse",
    "GetSupportedAttKeyIDsRequest",
    "GetSupportedAttKeyIDsResponse",
    "InitQuoteExRequest",
    "InitQuoteExResponse",
    "Request",
    "Response",
    "SGXRegisterRequest",
    "SelectAttKeyIDRequest",
    "SelectAttKeyIDResponse",
    "UnsupportedRequestResponse",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
    "error_response",
    "frame_size",
]

FRAME_HEADER_SIZE = 4
_UNEXPECTED_ERROR = 1
"""What Intel's service answers a request that lacks a required field (aesm 1.7)."""


class InitQuoteExResponse(Response, field=15, echoes={"pub_key_id_size": "buf_size"}):
    """The quoting enclave's target info (512 bytes) and, if it was asked for, the key's id (32)."""

    target_info: bytes | None = octets(2, default=None)
    pub_key_id_size: int | None = u64(3, default=None)
    pub_key_id: bytes | None = octets(4, default=None)


class InitQuoteExRequest(Request, response=InitQuoteExResponse):
    """Prepare the key, if ``b_pub_key_id``; otherwise only say how large its id is.

    ``buf_size``: the client's room for the id; stack garbage from some clients if they don't ask for it.
    """

    att_key_id: bytes | None = octets(1, default=None)
    b_pub_key_id: bool = boolean(3)
    buf_size: int | None = u64(4, default=None)


class GetQuoteSizeExResponse(Response, field=16):
    """The exact size of a quote in bytes."""

    quote_size: int | None = u32(2, default=None)


class GetQuoteSizeExRequest(Request, response=GetQuoteSizeExResponse):
    """Say how large a quote by this key will be."""

    att_key_id: bytes | None = octets(1, default=None)


class GetQuoteExResponse(Response, field=17, echoes={"qe_report_info": "qe_report_info"}):
    """A quote, padded with zeros to the client's ``buf_size``; ``qe_report_info`` (960 bytes) if one was given."""

    quote: bytes | None = octets(2, default=None)
    qe_report_info: bytes | None = octets(3, default=None)


class GetQuoteExRequest(Request, response=GetQuoteExResponse):
    """Make a quote over ``report`` (432 bytes) with the key ``att_key_id`` (256)."""

    report: bytes = octets(1)
    att_key_id: bytes | None = octets(2, default=None)
    qe_report_info: bytes | None = octets(3, default=None)
    buf_size: int = u32(4)


class SelectAttKeyIDResponse(Response, field=19):
    """The key id that was chosen (256 bytes), as the client wrote it."""

    selected_att_key_id: bytes | None = octets(2, default=None)


class SelectAttKeyIDRequest(Request, response=SelectAttKeyIDResponse):
    """Choose one of these key ids, or any: an ``sgx_ql_att_key_id_list_t``. Its ``timeout`` has another number."""

    att_key_id_list: bytes | None = octets(1, default=None)
    timeout: int | None = u32(2, default=None)


class UnsupportedRequestResponse(Response, field=20):
    """In the schema; no service sends it and no client reads it."""


class GetSupportedAttKeyIDNumResponse(Response, field=21):
    """How many key ids there are."""

    att_key_id_num: int | None = u32(2, default=None)


class GetSupportedAttKeyIDNumRequest(Request, response=GetSupportedAttKeyIDNumResponse):
    """Say how many key ids there are."""


class GetSupportedAttKeyIDsResponse(Response, field=22):
    """The key ids, 256 bytes each."""

    att_key_ids: bytes | None = octets(2, default=None)


class GetSupportedAttKeyIDsRequest(Request, response=GetSupportedAttKeyIDsResponse):
    """List the key ids. ``buf_size``: 256 for each of them, exactly."""

    buf_size: int = u32(1)


_BY_PRIORITY: tuple[type[Request], ...] = (
    GetLaunchTokenRequest,
    InitQuoteRequest,
    GetQuoteRequest,
    ReportAttestationErrorRequest,
    CheckUpdateStatusRequest,
    GetWhiteListSizeRequest,
    GetWhiteListRequest,
    SGXGetExtendedEpidGroupIdRequest,
    SGXSwitchExtendedEpidGroupRequest,
    SGXRegisterRequest,
    InitQuoteExRequest,
    GetQuoteSizeExRequest,
    GetQuoteExRequest,
    SelectAttKeyIDRequest,
    GetSupportedAttKeyIDNumRequest,
    GetSupportedAttKeyIDsRequest,
    CreateSessionRequest,
    InvokeServiceRequest,
    ExchangeReportRequest,
    CloseSessionRequest,
    GetPsCapRequest,
)
"""Which one counts if an envelope holds several (aesm 1.7); the platform services, which Intel forgot, come last."""

REQUESTS = {kind.FIELD: kind for kind in _BY_PRIORITY}
"""Every request by its field number in the envelope, in order of priority."""

RESPONSES: dict[int, type[Response]] = {
    **{number: kind.RESPONSE for number, kind in REQUESTS.items()},
    UnsupportedRequestResponse.FIELD: UnsupportedRequestResponse,
}
"""Every response by its field number in the envelope."""

_REQUEST_ENVELOPE = Envelope("Request", REQUESTS)
_RESPONSE_ENVELOPE = Envelope("Response", RESPONSES)
_R = TypeVar("_R", bound=Response)


def frame_size(header: bytes, limit: int) -> int:
    """How many bytes follow a frame's ``header`` (4 bytes from the peer): 1 to ``limit``. Raises DecodeError else."""
    size = int.from_bytes(header, "little")
    if not 0 < size <= limit:
        raise DecodeError("Frame", "length", f"{size} given, 1 to {limit} are taken", offset=0)
    return size


def decode_request(body: bytes) -> Request:
    """The request in a frame's ``body``, which the client controls.

    Raises ProtocolError if it lacks a required field: answer that in kind. Raises DecodeError if it can't be
    decoded, or holds no known request: no answer exists, close.
    """
    found = _REQUEST_ENVELOPE.collect(body)
    if not found:
        raise DecodeError("Request", "", "no known request in it")
    if len(found) > 1:
        found = {kind: found[kind] for kind in _BY_PRIORITY if kind in found}
    kind, values = next(iter(found.items()))
    try:
        return kind.complete(values)
    except DecodeError as error:
        raise ProtocolError(kind.FIELD, _UNEXPECTED_ERROR, str(error)) from error


def encode_request(request: Request) -> bytes:
    """The whole frame that asks ``request``. Raises DecodeError for an integer that does not fit its field."""
    return _frame(_REQUEST_ENVELOPE.encode(request))


def decode_response(body: bytes, expected: type[_R]) -> _R:
    """The ``expected`` response in a frame's ``body``, which the daemon controls.

    Raises DecodeError if it can't be decoded, lacks a required field, or answers another kind of request.
    """
    found = _RESPONSE_ENVELOPE.collect(body)
    if expected not in found:
        given = " and ".join(kind.__name__ for kind in found) or "nothing known"
        raise DecodeError("Response", expected.__name__, f"expected, but {given} came")
    return expected.complete(found[expected])


def encode_response(response: Response) -> bytes:
    """The whole frame that answers ``response``, to be sent at once. Raises DecodeError as ``encode_request`` does."""
    return _frame(_RESPONSE_ENVELOPE.encode(response))


def error_response(request_field: int, status: int, request: Request | None = None) -> Response:
    """The reply with error ``status`` to the request of envelope field ``request_field``, as Intel's service has it.

    ``request``, if it could be decoded, is what the reply echoes from.
    """
    return RESPONSES[request_field].error(status, request)


def _frame(body: bytes) -> bytes:
    return len(body).to_bytes(FRAME_HEADER_SIZE, "little") + body
