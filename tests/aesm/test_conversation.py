from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from quotehelper.aesm import conversation
from quotehelper.aesm import messages as m
from quotehelper.errors import DaemonError, DecodeError
from quotehelper.sgx.key_id import QE3_KEY_ID, AttestationKeyId, QeReportInfo, encode_key_id_list
from quotehelper.sgx.report import Report

if TYPE_CHECKING:
    from quotehelper.aesm.conversation import Conversation

_T = TypeVar("_T")

RECORDED = Path(__file__).parents[1] / "vectors" / "frames" / "intel-quote-ex-nonce"
K = QE3_KEY_ID
OTHER = K.replace(algorithm_id=3)
MARKED = K.replace(spid=b"\x5a" * 16)
REPORT = Report(bytes(432))
INFO = QeReportInfo.build(nonce=b"\x0f" * 16)


def recorded(number: int) -> m.Response:
    request = m.decode_request((RECORDED / f"{number:02}.req").read_bytes()[4:])
    return m.decode_response((RECORDED / f"{number:02}.res").read_bytes()[4:], request.RESPONSE)


QUOTED = recorded(6)
assert isinstance(QUOTED, m.GetQuoteExResponse)
assert QUOTED.quote is not None
QUOTE = QUOTED.quote
SIZE = len(QUOTE)


def hold(talk: Conversation[_T], *answers: m.Response) -> tuple[list[m.Request], _T]:
    """What was asked, and the result, if a daemon gives ``answers``."""
    asked: list[m.Request] = []
    frame = next(talk)
    try:
        for answer in answers:
            asked.append(m.decode_request(frame[4:]))
            frame = talk.send(m.encode_response(answer)[4:])
    except StopIteration as end:
        return asked, end.value
    raise AssertionError("the conversation wants more answers")


# What is asked, and what comes of it


def test_select_without_an_offer_takes_the_daemon_s_key() -> None:
    asked, selected = hold(conversation.select_key_id(), m.SelectAttKeyIDResponse(0, K.raw))
    assert asked == [m.SelectAttKeyIDRequest()]
    assert selected == K


def test_select_offers_a_list_and_takes_one_of_it() -> None:
    asked, selected = hold(conversation.select_key_id([OTHER, MARKED]), m.SelectAttKeyIDResponse(0, MARKED.raw))
    assert asked == [m.SelectAttKeyIDRequest(att_key_id_list=encode_key_id_list([OTHER, MARKED]))]
    assert selected == MARKED


def test_key_ids_are_counted_then_listed() -> None:
    asked, ids = hold(
        conversation.supported_key_ids(),
        m.GetSupportedAttKeyIDNumResponse(0, 2),
        m.GetSupportedAttKeyIDsResponse(0, K.raw + OTHER.raw),
    )
    assert asked == [m.GetSupportedAttKeyIDNumRequest(), m.GetSupportedAttKeyIDsRequest(buf_size=512)]
    assert ids == (K, OTHER)


def test_init_asks_for_the_key_id_at_once() -> None:
    asked, enclave = hold(conversation.init_quote(K), recorded(4))
    assert asked == [m.InitQuoteExRequest(att_key_id=K.raw, b_pub_key_id=True, buf_size=32)]
    assert enclave.target_info.mr_enclave.hex().startswith("2c79e5df3e9e8707")
    assert len(enclave.public_key_id) == 32


def test_quote_size_is_an_integer() -> None:
    asked, size = hold(conversation.quote_size(K), m.GetQuoteSizeExResponse(0, 4800))
    assert asked == [m.GetQuoteSizeExRequest(att_key_id=K.raw)]
    assert size == 4800


def test_quote_asks_for_the_size_first() -> None:
    asked, reply = hold(
        conversation.quote(REPORT, K), m.GetQuoteSizeExResponse(0, SIZE), m.GetQuoteExResponse(0, QUOTE)
    )
    assert asked == [
        m.GetQuoteSizeExRequest(att_key_id=K.raw),
        m.GetQuoteExRequest(report=REPORT.raw, att_key_id=K.raw, buf_size=SIZE),
    ]
    assert reply == (QUOTE, None)


def test_a_quote_comes_without_its_padding() -> None:
    asked, reply = hold(
        conversation.quote(REPORT, K, SIZE + 100), m.GetQuoteExResponse(0, QUOTE.ljust(SIZE + 100, b"\0"))
    )
    assert [request.FIELD for request in asked] == [17]
    assert reply.quote == QUOTE


def test_a_quote_may_come_with_the_quoting_enclave_s_report() -> None:
    asked, reply = hold(conversation.quote(REPORT, K, SIZE, INFO), QUOTED)
    assert isinstance(asked[0], m.GetQuoteExRequest)
    assert asked[0].qe_report_info == INFO.raw
    assert reply.qe_report_info is not None
    assert reply.qe_report_info.raw == QUOTED[2]


def test_a_report_that_nobody_asked_for_is_left_out() -> None:
    _, reply = hold(conversation.quote(REPORT, K, SIZE), m.GetQuoteExResponse(0, QUOTE, INFO.raw))
    assert reply.qe_report_info is None


def test_any_request_can_be_asked() -> None:
    request = m.GetSupportedAttKeyIDNumRequest(timeout=1)
    assert hold(conversation.ask(request, request.RESPONSE), m.GetSupportedAttKeyIDNumResponse(0, 3)) == (
        [request],
        m.GetSupportedAttKeyIDNumResponse(0, 3),
    )


# Errors


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (47, "the report was not made on this machine"),
        (18, "Try again in a moment"),
        (77, "a status that is not known"),
    ],
)
def test_an_error_status_is_a_daemon_error_that_explains_itself(status: int, meaning: str) -> None:
    with pytest.raises(DaemonError, match=rf"^GetQuoteEx: the daemon answered {status}: .*{meaning}") as caught:
        hold(conversation.quote(REPORT, K, SIZE), m.error_response(17, status))
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("talk", "answers", "field"),
    [
        (conversation.select_key_id, [m.SelectAttKeyIDResponse(0)], "selected_att_key_id"),
        (conversation.select_key_id, [m.SelectAttKeyIDResponse(0, K.raw[1:])], ""),
        (lambda: conversation.select_key_id([OTHER]), [m.SelectAttKeyIDResponse(0, K.raw)], "selected_att_key_id"),
        (conversation.supported_key_ids, [m.GetSupportedAttKeyIDNumResponse(0)], "att_key_id_num"),
        (conversation.supported_key_ids, [m.GetSupportedAttKeyIDNumResponse(0, 0)], "att_key_id_num"),
        (conversation.supported_key_ids, [m.GetSupportedAttKeyIDNumResponse(0, 11)], "att_key_id_num"),
        (
            conversation.supported_key_ids,
            [m.GetSupportedAttKeyIDNumResponse(0, 1), m.GetSupportedAttKeyIDsResponse(0, K.raw * 2)],
            "att_key_ids",
        ),
        (lambda: conversation.init_quote(K), [m.InitQuoteExResponse(0, None, 32, bytes(32))], "target_info"),
        (lambda: conversation.init_quote(K), [m.InitQuoteExResponse(0, bytes(511), 32, bytes(32))], "target_info"),
        (lambda: conversation.init_quote(K), [m.InitQuoteExResponse(0, bytes(512), 32)], "pub_key_id"),
        (lambda: conversation.init_quote(K), [m.InitQuoteExResponse(0, bytes(512), 4, bytes(4))], "pub_key_id"),
        (lambda: conversation.quote_size(K), [m.GetQuoteSizeExResponse(0)], "quote_size"),
        (lambda: conversation.quote(REPORT, K, SIZE), [m.GetQuoteExResponse(0)], "quote"),
        (lambda: conversation.quote(REPORT, K, SIZE), [m.GetQuoteExResponse(0, QUOTE[:-1])], "quote"),
        (lambda: conversation.quote(REPORT, K, SIZE), [m.GetQuoteExResponse(0, QUOTE + b"\0")], "quote"),
        (
            lambda: conversation.quote(REPORT, K, SIZE - 1),
            [m.GetQuoteExResponse(0, QUOTE[:-1])],
            "signature_data_len",
        ),
        (lambda: conversation.quote(REPORT, K, 400), [m.GetQuoteExResponse(0, QUOTE[:400])], "header and body"),
        (lambda: conversation.quote(REPORT, K, SIZE, INFO), [m.GetQuoteExResponse(0, QUOTE)], "qe_report_info"),
        (
            lambda: conversation.quote(REPORT, K, SIZE, INFO),
            [m.GetQuoteExResponse(0, QUOTE, bytes(959))],
            "qe_report_info",
        ),
        (lambda: conversation.quote(REPORT, K, SIZE), [m.GetQuoteSizeExResponse(0, 5)], "GetQuoteExResponse"),
    ],
)
def test_an_answer_that_is_not_what_it_should_be_is_refused_by_its_field(
    talk: object, answers: list[m.Response], field: str
) -> None:
    assert callable(talk)
    with pytest.raises(DecodeError) as caught:
        hold(talk(), *answers)
    assert caught.value.field == field


def test_more_than_ten_ids_can_not_be_offered() -> None:
    with pytest.raises(DecodeError, match="11 ids given"):
        next(conversation.select_key_id([K] * 11))


@pytest.mark.parametrize("buf_size", [-1, 2**32])
def test_a_buffer_size_that_does_not_fit_is_refused(buf_size: int) -> None:
    with pytest.raises(DecodeError, match=r"GetQuoteExRequest\.buf_size"):
        next(conversation.quote(REPORT, K, buf_size))


def test_keys_are_known_by_their_base() -> None:
    assert AttestationKeyId(MARKED.raw).base == K.base
