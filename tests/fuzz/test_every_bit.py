"""One quote request, cut at every length and with each of its bits flipped, against a live daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import frames
from prescribed import exchange_all, is_prescribed
from quotehelper.sgx.report import Report

if TYPE_CHECKING:
    from harness import Daemon

AT_ONCE = 64


def exchange_in_batches(daemon: Daemon, requests: list[bytes]) -> list[bytes]:
    batches = (requests[at : at + AT_ONCE] for at in range(0, len(requests), AT_ONCE))
    return [answer for batch in batches for answer in exchange_all(daemon, batch)]


def test_a_frame_cut_at_any_length_is_closed_without_an_answer(daemon: Daemon, report_frame: bytes) -> None:
    cut = [report_frame[:size] for size in range(len(report_frame))]
    assert set(exchange_in_batches(daemon, cut)) == {b""}


def test_a_body_cut_at_any_length_gets_the_prescribed_answer(daemon: Daemon, report_frame: bytes) -> None:
    cut = [frames.frame(report_frame[4:end]) for end in range(4, len(report_frame))]
    for request, answer in zip(cut, exchange_in_batches(daemon, cut), strict=True):
        assert not answer or is_prescribed(request, answer), request.hex()


def test_each_flipped_bit_gets_the_prescribed_answer(daemon: Daemon, report_frame: bytes) -> None:
    """And whoever flips a bit of the report gets no quote."""
    report = range(report_frame.index(b"\x0a\xb0\x03") + 3, report_frame.index(b"\x0a\xb0\x03") + 3 + Report.SIZE)
    as_number = int.from_bytes(report_frame, "little")
    flipped = [(as_number ^ 1 << bit).to_bytes(len(report_frame), "little") for bit in range(8 * len(report_frame))]
    for bit, (request, answer) in enumerate(zip(flipped, exchange_in_batches(daemon, flipped), strict=True)):
        assert not answer or is_prescribed(request, answer), f"bit {bit}: {request.hex()} -> {answer.hex()}"
        if bit // 8 in report:
            assert frames.reply(answer)[1][1] == 47, f"bit {bit} of the report"
