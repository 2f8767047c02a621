"""What a client says to an AESM daemon, step by step, whoever moves the bytes. Pure.

A conversation is a generator: it yields a frame to be sent on a connection of its own, takes the body of the frame
that came back, and returns what was wanted. Everything that comes back is under the daemon's control. Every
conversation raises DecodeError if it is not what it should be, and DaemonError if it says another status than success.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from quotehelper.aesm import messages as m
from quotehelper.aesm.status import describe_status
from quotehelper.errors import DaemonError, DecodeError
from quotehelper.sgx.key_id import KEY_ID_LIST_LIMIT, AttestationKeyId, QeReportInfo, encode_key_id_list
from quotehelper.sgx.quote import SIGNATURE_DATA_LIMIT
from quotehelper.sgx.report import TargetInfo
from quotehelper.wire import Reader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quotehelper.sgx.report import Report

_T = TypeVar("_T")
_R = TypeVar("_R", bound=m.Response)

Conversation = Generator[bytes, bytes, _T]

PUBLIC_KEY_ID_SIZE = 32
"""Bytes of an ECDSA_ID, the id of an ECDSA attestation key (aesm 4.4)."""

_SIGNED_SIZE = 432
"""Bytes of a quote before the length of its signature data (aesm 5.7)."""


class QuotingEnclave(NamedTuple):
    """For whom a report must be made, and the id (32 bytes) of the key that will sign the quote."""

    target_info: TargetInfo
    public_key_id: bytes


class QuoteReply(NamedTuple):
    """A quote without padding, and the quoting enclave's report over it if ``qe_report_info`` was given."""

    quote: bytes
    qe_report_info: QeReportInfo | None


def ask(request: m.Request, expected: type[_R]) -> Conversation[_R]:
    """One request and its ``expected`` response."""
    response = m.decode_response((yield m.encode_request(request)), expected)
    if status := response.error_code:
        raise DaemonError(type(request).__name__.removesuffix("Request"), status, describe_status(status))
    return response


def select_key_id(offered: Sequence[AttestationKeyId] = ()) -> Conversation[AttestationKeyId]:
    """The id, of those ``offered`` (at most 10) if there are any, of the key that the daemon prefers."""
    listed = encode_key_id_list(offered) if offered else None
    response = yield from ask(m.SelectAttKeyIDRequest(att_key_id_list=listed), m.SelectAttKeyIDResponse)
    selected = AttestationKeyId(_present(response, "selected_att_key_id", response.selected_att_key_id))
    if offered and selected.base not in {key.base for key in offered}:
        raise DecodeError(type(response).__name__, "selected_att_key_id", "is none of the ids offered")
    return selected


def supported_key_ids() -> Conversation[tuple[AttestationKeyId, ...]]:
    """The ids of the daemon's keys."""
    counted = yield from ask(m.GetSupportedAttKeyIDNumRequest(), m.GetSupportedAttKeyIDNumResponse)
    count = _present(counted, "att_key_id_num", counted.att_key_id_num)
    if not 0 < count <= KEY_ID_LIST_LIMIT:
        raise DecodeError(type(counted).__name__, "att_key_id_num", f"{count} given, 1 to {KEY_ID_LIST_LIMIT} expected")
    size = count * AttestationKeyId.SIZE
    listed = yield from ask(m.GetSupportedAttKeyIDsRequest(buf_size=size), m.GetSupportedAttKeyIDsResponse)
    reader = Reader(_sized(listed, "att_key_ids", listed.att_key_ids, size), "att_key_ids")
    return tuple(AttestationKeyId(reader.octets(AttestationKeyId.SIZE, "id")) for _ in range(count))


def init_quote(key: AttestationKeyId) -> Conversation[QuotingEnclave]:
    """The quoting enclave behind ``key``, which is an ECDSA key; the daemon prepares the key if it has not yet."""
    request = m.InitQuoteExRequest(att_key_id=key.raw, b_pub_key_id=True, buf_size=PUBLIC_KEY_ID_SIZE)
    response = yield from ask(request, m.InitQuoteExResponse)
    target_info = _sized(response, "target_info", response.target_info, TargetInfo.SIZE)
    public_key_id = _sized(response, "pub_key_id", response.pub_key_id, PUBLIC_KEY_ID_SIZE)
    return QuotingEnclave(TargetInfo(target_info), public_key_id)


def quote_size(key: AttestationKeyId) -> Conversation[int]:
    """The exact size in bytes of a quote by ``key``."""
    response = yield from ask(m.GetQuoteSizeExRequest(att_key_id=key.raw), m.GetQuoteSizeExResponse)
    return _present(response, "quote_size", response.quote_size)


def quote(
    report: Report, key: AttestationKeyId, buf_size: int | None = None, qe_report_info: QeReportInfo | None = None
) -> Conversation[QuoteReply]:
    """A quote by ``key`` over ``report``, which was made for the key's quoting enclave.

    ``buf_size``: bytes of room for it; None asks for the exact size first. With ``qe_report_info`` the quoting
    enclave reports to the target in it over the nonce in it and the quote.
    """
    if buf_size is None:
        buf_size = yield from quote_size(key)
    info = None if qe_report_info is None else qe_report_info.raw
    request = m.GetQuoteExRequest(report=report.raw, att_key_id=key.raw, qe_report_info=info, buf_size=buf_size)
    response = yield from ask(request, m.GetQuoteExResponse)
    padded = _sized(response, "quote", response.quote, buf_size)
    if info is None:
        return QuoteReply(_without_padding(padded), None)
    told = _sized(response, "qe_report_info", response.qe_report_info, QeReportInfo.SIZE)
    return QuoteReply(_without_padding(padded), QeReportInfo(told))


def _present(response: m.Response, field: str, value: _T | None) -> _T:
    if value is None:
        raise DecodeError(type(response).__name__, field, "absent, though the status is success")
    return value


def _sized(response: m.Response, field: str, value: bytes | None, size: int) -> bytes:
    octets = _present(response, field, value)
    if len(octets) != size:
        raise DecodeError(type(response).__name__, field, f"{len(octets)} bytes given, {size} expected")
    return octets


def _without_padding(padded: bytes) -> bytes:
    reader = Reader(padded, "GetQuoteExResponse.quote")
    reader.octets(_SIGNED_SIZE, "header and body")
    reader.sized(4, SIGNATURE_DATA_LIMIT, "signature_data_len")
    return padded[: reader.offset]
