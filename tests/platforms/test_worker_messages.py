"""What a serving process and a worker say to each other: every message there and back, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.errors import DecodeError, PlatformCause, PlatformError
from quotehelper.platforms.platform import Quoted, QuoteOrder, QuotingTarget
from quotehelper.platforms.worker.messages import (
    DETAIL_LIMIT_BYTES,
    QUOTE_LIMIT_BYTES,
    Answer,
    Description,
    KeyDescription,
    Request,
    encode_answer,
    encode_describe,
    encode_order,
    encode_quote,
    read_answer,
    read_request,
)
from quotehelper.sgx.key_id import QE3_KEY_ID, QeReportInfo
from quotehelper.sgx.report import Report, TargetInfo

REPORT = Report(bytes(range(256)) + bytes(176))
INFO = QeReportInfo.build(nonce=b"\7" * 16)
TARGET = QuotingTarget(TargetInfo.build(mr_enclave=b"\1" * 32), b"\2" * 32)
ERROR = PlatformError(PlatformCause.NETWORK, "no route", status=12)


def plain(answer: Answer) -> object:
    """What of an answer can be compared: errors are equal by what they say."""

    def of(value: object) -> object:
        if isinstance(value, PlatformError):
            return value.cause, value.detail, value.status
        if isinstance(value, Description):
            keys = [(key.key, of(key.target), of(key.quote_size)) for key in value.keys]
            return value.generation, keys, value.reopening
        return value

    return answer.number, of(answer.content)


ANSWERS = [
    Answer(1, Quoted(b"quote", None)),
    Answer(2**63, Quoted(bytes(QUOTE_LIMIT_BYTES), INFO)),
    Answer(3, ERROR),
    Answer(4, PlatformError(PlatformCause.BUSY)),
    Answer(0, Description(7, (), {})),
    Answer(5, Description(8, (KeyDescription(QE3_KEY_ID, TARGET, 4600),), {"isv_svn": 11, "mr_enclave": "ab"})),
    Answer(6, Description(9, (KeyDescription(QE3_KEY_ID, ERROR, ERROR),) * 10, {})),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer.content).__name__)
def test_an_answer_arrives_as_it_was(answer: Answer) -> None:
    assert plain(read_answer(encode_answer(answer))) == plain(answer)


@pytest.mark.parametrize("info", [None, INFO])
def test_an_order_arrives_as_it_was(info: QeReportInfo | None) -> None:
    order = QuoteOrder(REPORT, QE3_KEY_ID, info)
    assert read_request(encode_quote(9, encode_order(order))) == Request(9, order)


def test_a_question_for_a_description_arrives_as_it_was() -> None:
    assert read_request(encode_describe(5)) == Request(5, None)


def test_every_cause_arrives_as_it_was() -> None:
    for cause in PlatformCause:
        assert plain(read_answer(encode_answer(Answer(1, PlatformError(cause))))) == (1, (cause, "", None))


def test_a_long_explanation_is_cut() -> None:
    answer = read_answer(encode_answer(Answer(1, PlatformError(PlatformCause.BUSY, "é" * DETAIL_LIMIT_BYTES))))
    assert isinstance(answer.content, PlatformError)
    assert 0 < len(answer.content.detail) <= DETAIL_LIMIT_BYTES


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer.content).__name__)
def test_an_answer_that_is_cut_short_is_refused(answer: Answer) -> None:
    raw = encode_answer(answer)
    lengths = {*range(min(len(raw), 700)), len(raw) - 1}
    for length in lengths - {len(raw) - 960} if isinstance(answer.content, Quoted) else lengths:
        with pytest.raises(DecodeError):
            read_answer(raw[:length])


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer.content).__name__)
def test_an_answer_with_something_behind_it_is_refused(answer: Answer) -> None:
    with pytest.raises(DecodeError):
        read_answer(encode_answer(answer) + b"\0")


def test_a_request_that_is_cut_short_or_too_long_is_refused() -> None:
    raw = encode_quote(1, encode_order(QuoteOrder(REPORT, QE3_KEY_ID, INFO)))
    whole = {len(raw), len(raw) - QeReportInfo.SIZE}
    for length in set(range(len(raw) + 2)) - whole:
        with pytest.raises(DecodeError):
            read_request((raw + b"\0")[:length])


@given(
    st.binary(max_size=900)
    | st.builds(
        lambda kind, rest: bytes([kind]) + bytes(11) + rest,
        st.sampled_from([16, 17, 18, 1, 2]),
        st.binary(max_size=900),
    )
)
def test_any_bytes_are_a_message_or_a_decode_error(raw: bytes) -> None:
    for read in (read_answer, read_request):
        try:
            read(raw)
        except DecodeError as error:
            assert error.structure.startswith("Worker")  # noqa: PT017  either outcome is right, this one has a form
