"""Checks of quote requests and of the quotes themselves: 17. Shell. Source: aesm 0, 2.4, 4.5, 4.6, 5.7, 9.5, 9.8."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from quotehelper.aesm import messages as m
from quotehelper.conformance.check import Check, Family, Unmet
from quotehelper.conformance.examined import (
    decode,
    demand_bytes,
    read_whole_quote,
    sized,
    succeeded,
    unpadded,
)
from quotehelper.conformance.oddities import INTEL_TIMEOUT, SAME_KEYS, STRANGE_KEYS, K, flipped, message, number, octets
from quotehelper.sgx.key_id import QeReportInfo
from quotehelper.sgx.quote import CertificationType
from quotehelper.sgx.report import Report, ReportBody

if TYPE_CHECKING:
    from quotehelper.conformance.examined import Examined

_QUOTE = m.GetQuoteExRequest
_QUOTED = m.GetQuoteExResponse
_NO_REPORT = bytes(Report.SIZE)
"""A report of nobody: its MAC can't hold."""

GRAMINE_BUFFER = 8192
"""Bytes that Gramine has for a quote (aesm 6.4)."""

LARGE_BUFFER = 1 << 14
"""Bytes that every quote fits into, and every daemon takes."""

_NONCE = bytes(range(0xF0, 0x100))
_INFO = QeReportInfo.build(nonce=_NONCE, app_enclave_target_info=ReportBody.build(mr_enclave=b"\xc0" * 32).as_target())
_REPORT_PARTS = (0, 383, 384, 415, 416, 431)
"""The first and the last byte of a report's body, key id and MAC."""


def quote_request(
    report: bytes, size: int, info: bytes | None = None, key: bytes | None = K, timeout: int | None = INTEL_TIMEOUT
) -> m.GetQuoteExRequest:
    """The request for a quote over ``report`` into a buffer of ``size`` bytes, as Intel's library makes it."""
    return _QUOTE(report=report, att_key_id=key, qe_report_info=info, buf_size=size, timeout=timeout)


def _report_size(examined: Examined) -> None:
    _ = examined.prepared
    for size in (0, Report.SIZE - 1, Report.SIZE + 1):
        examined.expect(quote_request(bytes(size), LARGE_BUFFER), _QUOTED(3, None, None))


def _info_size(examined: Examined) -> None:
    _ = examined.prepared
    for size in (QeReportInfo.SIZE - 1, QeReportInfo.SIZE + 1):
        info = b"\x11" * size
        examined.expect(quote_request(_NO_REPORT, LARGE_BUFFER, info), _QUOTED(3, None, info))
    examined.expect(quote_request(_NO_REPORT, LARGE_BUFFER, b""), _QUOTED(3, None, None))


def _lacking(examined: Examined) -> None:
    no_report = message(_QUOTE, octets(2, K), number(4, LARGE_BUFFER))
    no_size = message(_QUOTE, octets(1, _NO_REPORT), octets(2, K))
    for frame in (no_report, no_size, message(_QUOTE, octets(2, K))):
        examined.expect(frame, _QUOTED(1, None, None))


def _key(examined: Examined) -> None:
    _ = examined.prepared
    for key in (None, b"", K[:-1]):
        examined.expect(quote_request(_NO_REPORT, LARGE_BUFFER, key=key), _QUOTED(3, None, None))
    for key in STRANGE_KEYS:
        examined.expect(quote_request(_NO_REPORT, LARGE_BUFFER, key=key), _QUOTED(38, None, None))


def _nobodys_report(examined: Examined) -> None:
    _ = examined.prepared
    examined.expect(quote_request(_NO_REPORT, LARGE_BUFFER), _QUOTED(47, None, None))
    examined.expect(quote_request(_NO_REPORT, LARGE_BUFFER, _INFO.raw), _QUOTED(47, None, _INFO.raw))


def _forged(examined: Examined) -> None:
    report = examined.report.raw
    for at in _REPORT_PARTS:
        examined.expect(quote_request(flipped(report, at), LARGE_BUFFER), _QUOTED(47, None, None))


def _buffer_too_small(examined: Examined) -> None:
    report = examined.report.raw
    for size in (0, 1, examined.quote_size - 1):
        examined.expect(quote_request(report, size), _QUOTED(3, None, None))


def _quoted(examined: Examined) -> None:
    report = examined.report
    examined.is_quoted = False
    succeeded(decode(examined.peer.exchange(m.encode_request(quote_request(report.raw, LARGE_BUFFER))), _QUOTED))
    examined.is_quoted = True


def _buffer_filled(examined: Examined) -> None:
    report, size = examined.quotable_report, examined.quote_size
    for excess in (0, 1, 4096, 3 * size):
        frame = examined.peer.exchange(m.encode_request(quote_request(report.raw, size + excess)))
        padded = sized("quote", succeeded(decode(frame, _QUOTED)).quote, size + excess)
        quote = unpadded(padded)
        if any(padded[len(quote) :]):
            raise Unmet("zeros behind the quote", "something else")
        demand_bytes(frame, _QUOTED(0, padded, None))


def _size_is_exact(examined: Examined) -> None:
    size = examined.quote_size
    padded = _quote(examined, size + 1).quote or b""
    if (got := len(unpadded(padded))) != size:
        raise Unmet(f"a quote of {size} bytes, as the daemon had said", f"one of {got} bytes")


def _verifies(examined: Examined) -> str:
    raw = unpadded(_quote(examined, examined.quote_size).quote or b"")
    examined.accept_quote(raw, examined.report)
    if not examined.judgements:
        return ""
    status, concern = examined.judgements[-1]
    said = "TCB status not judged" if status is None else f"TCB status {status.value}"
    return f"{said}: {concern}" if concern else said


def _accepts_marked_key(examined: Examined) -> None:
    for key in SAME_KEYS:
        request = quote_request(examined.quotable_report.raw, examined.quote_size, key=key)
        examined.accept_quote(unpadded(examined.succeed(request, _QUOTED).quote or b""), examined.report)


def _has_chain(examined: Examined) -> None:
    quote = read_whole_quote(unpadded(_quote(examined, examined.quote_size).quote or b""))
    if quote.certification.type is not CertificationType.PCK_CHAIN:
        raise Unmet("certification data of type 5, a PCK chain", f"type {quote.certification.type:d}")


def _is_by_announced_key(examined: Examined) -> None:
    quote = read_whole_quote(unpadded(_quote(examined, examined.quote_size).quote or b""))
    target_info, public_key_id = examined.prepared
    if hashlib.sha256(quote.attestation_key + quote.auth_data).digest() != public_key_id:
        raise Unmet("a quote by the key whose id init has told", "one by another key")
    if quote.qe_report.mr_enclave != target_info.mr_enclave:
        raise Unmet("a quote by the quoting enclave of init's target info", "one by another enclave")


def _qe_reports(examined: Examined) -> None:
    size = examined.quote_size
    info = QeReportInfo.build(nonce=_NONCE, app_enclave_target_info=examined.speaker.target)
    response = examined.succeed(quote_request(examined.quotable_report.raw, size + 100, info.raw), _QUOTED)
    check_qe_report(examined, unpadded(response.quote or b""), info, response.qe_report_info)


def check_qe_report(examined: Examined, quote: bytes, asked: QeReportInfo, returned: bytes | None) -> None:
    """Check that the quoting enclave has reported over nonce and ``quote``, without padding."""
    told = QeReportInfo(sized("qe_report_info", returned, QeReportInfo.SIZE))
    if told.raw[:528] != asked.raw[:528]:
        raise Unmet("nonce and target info as they were sent", "others")
    expected = hashlib.sha256(asked.nonce + quote).digest() + bytes(32)
    if told.qe_report.body.report_data != expected:
        raise Unmet("a QE report over SHA-256(nonce ‖ quote without padding) ‖ 32 zeros", "one over something else")
    if examined.speaker.believes(told.qe_report) is False:
        raise Unmet("a QE report whose MAC holds for the enclave that asked", "one whose MAC does not hold")


def _quote(examined: Examined, size: int) -> m.GetQuoteExResponse:
    return examined.succeed(quote_request(examined.quotable_report.raw, size), _QUOTED)


_E = Family.EVERY_CLIENT
_BUG = "Report it to the daemon's makers; no setting helps"
_MISTAKE = "A client's mistake goes unnoticed"

CHECKS = (
    Check(
        "quote.report-size",
        "A report of another size than 432 bytes is refused with 3",
        "aesm 4.6, 9.5",
        _E,
        _MISTAKE,
        _BUG,
        _report_size,
    ),
    Check(
        "quote.info-size",
        "A qe_report_info of another size than 960 bytes is refused with 3, and comes back unless it is empty",
        "aesm 2.4, 4.6, 9.5",
        _E,
        _MISTAKE,
        _BUG,
        _info_size,
    ),
    Check(
        "quote.missing-field",
        "A quote request without report or buffer size is answered 1 in kind",
        "aesm 1.7, 2.5, 4.6",
        _E,
        "Intel's library crashes the application if the answer is of another kind",
        _BUG,
        _lacking,
    ),
    Check(
        "quote.key-id",
        "A quote by an unknown key is refused with 38, by a key id too short with 3",
        "aesm 4.4, 4.6, 9.2",
        _E,
        "A client gets a quote by another key than it asked for",
        _BUG,
        _key,
    ),
    Check(
        "quote.nobodys-report",
        "A report that no enclave made is refused with 47, in kind",
        "aesm 3.2, 4.6",
        _E,
        "Gramine takes 42 for a lost key and tries again in vain; if it is quoted, quotes prove nothing",
        "Stop this daemon if it quotes; else report it to its makers",
        _nobodys_report,
        quick=True,
    ),
    Check(
        "quote.answer",
        "A report is quoted",
        "aesm 4.6",
        _E,
        "Nobody gets a quote",
        "If it is 47, give the state of the platform behind this daemon, or a report for its present target info; "
        "else see the daemon's log",
        _quoted,
        needs_report=True,
        quick=True,
    ),
    Check(
        "quote.forged",
        "A report changed in any of its parts is refused with 47",
        "aesm 4.6, 5.5",
        _E,
        "Quotes prove nothing: anybody can have one over anything",
        "Stop this daemon",
        _forged,
        needs_report=True,
        quick=True,
    ),
    Check(
        "quote.buffer-too-small",
        "A buffer that is too small is refused with 3",
        "aesm 4.6",
        _E,
        "A client gets a quote cut short",
        _BUG,
        _buffer_too_small,
        needs_report=True,
    ),
    Check(
        "quote.buffer-filled",
        "The quote is padded with zeros to exactly the buffer's size, and nothing comes that was not asked for",
        "aesm 0.5, 4.6, 9.5",
        _E,
        "enarx and rune refuse another length; Intel's library refuses a longer one",
        _BUG,
        _buffer_filled,
        needs_report=True,
        quick=True,
    ),
    Check(
        "quote.exact-size",
        "The size told is the quote's exact size",
        "aesm 0.6, 4.5",
        _E,
        "Open Enclave's verifier refuses the quote; the SDK's sgx_ra_get_msg3 finds the QE report wrong",
        _BUG,
        _size_is_exact,
        needs_report=True,
        quick=True,
    ),
    Check(
        "quote.verifies",
        "The quote is genuine",
        "aesm 4.6, 5.7; dcap 7.4",
        _E,
        "Every verifier refuses it",
        "See which step it is: certificates are the PCCS's, signatures the platform's; give the right root",
        _verifies,
        needs_report=True,
        quick=True,
    ),
    Check(
        "quote.certification-type",
        "The quote carries its certificate chain (type 5)",
        "aesm 4.4, 4.5",
        _E,
        "Verifiers must be given the platform's certificate by other means; most refuse",
        "Install a quote provider library (libsgx-dcap-default-qpl) and give it a PCCS",
        _has_chain,
        needs_report=True,
        quick=True,
    ),
    Check(
        "quote.announced-key",
        "The quote is by the key and the quoting enclave that init has told",
        "aesm 4.4",
        _E,
        "Verifiers that were told the key's id beforehand refuse the quote",
        "Let one daemon alone serve this socket",
        _is_by_announced_key,
        needs_report=True,
        quick=True,
    ),
    Check(
        "quote.marked-key",
        "A quote by a key id with other bytes behind the first 158 is made",
        "aesm 4.4, 9.2",
        _E,
        "Clients that pass on the id that select gave them are refused",
        _BUG,
        _accepts_marked_key,
        needs_report=True,
    ),
    Check(
        "quote.qe-report",
        "The quoting enclave reports over nonce and quote, without the padding",
        "aesm 4.6, 5.6, 9.5",
        _E,
        "Enclaves that check who made their quote (SDK, Fortanix) refuse it",
        _BUG,
        _qe_reports,
        needs_report=True,
        quick=True,
    ),
)
