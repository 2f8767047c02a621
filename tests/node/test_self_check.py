"""A quote judged without collateral: whatever does not hold is named."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from typing import TYPE_CHECKING

import pytest

from quotehelper.aesm.async_client import AsyncAesmClient
from quotehelper.aesm.client import AesmClient
from quotehelper.aesm.conversation import QuoteReply, QuotingEnclave
from quotehelper.errors import CryptoError, QuoteHelperError
from quotehelper.node.self_check import check, judge, simulated_examiner
from quotehelper.sgx.key_id import QE3_KEY_ID, QeReportInfo

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Daemon
    from quotehelper.node.self_check import Examiner
    from quotehelper.sgx.report import Report

NONCE = bytes(range(16))


class Case:
    """A genuine quote with everything that it is judged by."""

    def __init__(self, daemon: Daemon, state: Path) -> None:
        self.examiner: Examiner = simulated_examiner(state)
        client = AesmClient(str(daemon.path))
        self.quoting: QuotingEnclave = client.init_quote(QE3_KEY_ID)
        self.report: Report = self.examiner.enclave.report(self.quoting.target_info, bytes(64))
        info = QeReportInfo.build(nonce=NONCE, app_enclave_target_info=self.examiner.enclave.target)
        self.reply: QuoteReply = client.quote(self.report, QE3_KEY_ID, None, info)

    def judge(
        self, reply: QuoteReply | None = None, report: Report | None = None, quoting: QuotingEnclave | None = None
    ) -> dt.datetime:
        return judge(reply or self.reply, report or self.report, quoting or self.quoting, NONCE, self.examiner)


@pytest.fixture
def case(daemon: Daemon, state: Path) -> Case:
    return Case(daemon, state)


def test_a_genuine_quote_holds_and_says_when_its_certificates_expire(case: Case) -> None:
    assert case.judge() > dt.datetime.now(dt.UTC)


def test_a_quote_with_any_byte_changed_does_not_hold(case: Case) -> None:
    info = case.reply.qe_report_info
    for at in range(0, len(case.reply.quote) - 1, 37):
        raw = bytearray(case.reply.quote)
        raw[at] ^= 0x10
        answered = info and info.replace(
            qe_report=info.qe_report.replace(
                body=info.qe_report.body.replace(report_data=hashlib.sha256(NONCE + raw).digest() + bytes(32))
            )
        )
        for told in (info, answered):
            with pytest.raises(QuoteHelperError):
                case.judge(QuoteReply(bytes(raw), told))


def test_a_quote_over_another_report_does_not_hold(case: Case) -> None:
    other = case.examiner.enclave.report(case.quoting.target_info, b"\1" * 64)
    with pytest.raises(CryptoError, match="over the report that was sent"):
        case.judge(report=other)


def test_another_quoting_enclave_or_key_than_announced_does_not_hold(case: Case) -> None:
    target_info = case.quoting.target_info.replace(mr_enclave=b"\1" * 32)
    with pytest.raises(CryptoError, match="quoting enclave is the one"):
        case.judge(quoting=case.quoting._replace(target_info=target_info))
    with pytest.raises(CryptoError, match="attestation key is the one"):
        case.judge(quoting=case.quoting._replace(public_key_id=bytes(32)))


def test_a_missing_report_over_the_quote_does_not_hold(case: Case) -> None:
    with pytest.raises(CryptoError, match="over nonce and quote"):
        case.judge(case.reply._replace(qe_report_info=None))


def test_a_quote_of_another_authority_does_not_hold(case: Case, tmp_path: Path) -> None:
    from harness import run_cli  # noqa: PLC0415  only here

    other = tmp_path / "other"
    run_cli("simulate", "init", "--state", str(other))
    stranger = case.examiner._replace(roots=simulated_examiner(other).roots)
    with pytest.raises(QuoteHelperError, match="root"):
        judge(case.reply, case.report, case.quoting, NONCE, stranger)


def test_a_check_finds_nothing_wrong_with_a_daemon_that_quotes(daemon: Daemon, state: Path) -> None:
    found = asyncio.run(check(AsyncAesmClient(str(daemon.path)), simulated_examiner(state)))
    assert (found.problem, found.decided) == ("", True)
    assert found.expires is not None
    assert found.seconds > 0


def test_without_an_enclave_to_play_it_ends_with_the_target_info(daemon: Daemon) -> None:
    found = asyncio.run(check(AsyncAesmClient(str(daemon.path)), None))
    assert (found.problem, found.decided, found.expires) == ("", True, None)


def test_a_check_says_that_nobody_is_there(tmp_path: Path, state: Path) -> None:
    found = asyncio.run(check(AsyncAesmClient(str(tmp_path / "none")), simulated_examiner(state)))
    assert found.decided
    assert "No such file" in found.problem
    assert found.remedy
