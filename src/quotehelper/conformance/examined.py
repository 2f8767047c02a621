"""The daemon under examination, and what checks share: asking it, and holding its answers against what is expected.

Shell: it talks to the daemon. Facts that several checks build on are asked for once; where one can't be had, the
checks that need it are not judged, and the check of the fact itself says what is wrong.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from quotehelper.aesm import messages as m
from quotehelper.aesm.status import describe_status
from quotehelper.conformance.check import Unjudged, Unmet
from quotehelper.conformance.connection import INTEL
from quotehelper.conformance.oddities import INTEL_TIMEOUT, K
from quotehelper.errors import DecodeError, TransportError, VerificationError
from quotehelper.sgx.quote import read_quote
from quotehelper.sgx.report import ReportBody, TargetInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.conformance.connection import Peer, Speech
    from quotehelper.conformance.judge import Judgement, QuoteJudge
    from quotehelper.conformance.reporter import Reporter
    from quotehelper.sgx.quote import Quote
    from quotehelper.sgx.report import Report

_R = TypeVar("_R", bound=m.Response)
_T = TypeVar("_T")

KEY_ID_SIZE = 256
PUBLIC_KEY_ID_SIZE = 32
SIGNED_SIZE = 432
"""Bytes of a quote that its signature covers; the length of what follows stands behind them (aesm 5.7)."""
_SHOWN_BYTES = 48


class Prepared(NamedTuple):
    """What a client knows when it has initialised the key."""

    target_info: TargetInfo
    public_key_id: bytes


class Examined:
    """A daemon, reached through ``peer``; ``reporter`` makes reports, if anybody can; ``judge`` verifies quotes."""

    def __init__(self, peer: Peer, *, reporter: Reporter | None, judge: QuoteJudge | None) -> None:
        self.peer = peer
        self.reporter = reporter
        self.judge = judge
        self.judgements: list[Judgement] = []
        """What has been found of the quotes so far."""
        self.is_quoted = True
        """Whether a report gets a quote at all, as far as is known."""
        self.known_quote_size: int | None = None
        """The size of quotes, once it has been asked for and told."""

    # Asking

    def ask(self, request: m.Request, expected: type[_R], speech: Speech = INTEL, timeout_s: float | None = None) -> _R:
        """The answer in kind to ``request``, whatever its status, asked as ``speech`` says."""
        return decode(self.peer.exchange(m.encode_request(request), speech, timeout_s), expected)

    def succeed(
        self, request: m.Request, expected: type[_R], speech: Speech = INTEL, timeout_s: float | None = None
    ) -> _R:
        """The answer to ``request``, whose status must be 0."""
        return succeeded(self.ask(request, expected, speech, timeout_s))

    def expect(self, request: m.Request | bytes, expected: m.Response) -> None:
        """Ask ``request``, a value or a whole frame, and demand that the answer is ``expected``, to the byte."""
        asked = request if isinstance(request, bytes) else m.encode_request(request)
        demand_bytes(self.peer.exchange(asked), expected)

    def expect_status(self, frame: bytes, kind: type[m.Request], status: int) -> None:
        """Send ``frame`` and demand an answer in kind with ``status``."""
        response = decode(self.peer.exchange(frame), kind.RESPONSE)
        if response.error_code != status:
            raise Unmet(f"{kind.RESPONSE.__name__} with status {status}", told(response))

    def is_answered(self, timeout_s: float | None = None) -> bool:
        """Whether a client that asks for the number of keys gets any answer in time."""
        try:
            self.peer.exchange(m.encode_request(COUNT), timeout_s=timeout_s)
        except (TransportError, DecodeError):
            return False
        return True

    # Facts

    @cached_property
    def key_count(self) -> int:
        """How many keys the daemon has. Raises Unjudged."""
        return self._fact("num.answer", lambda: count_of(self.succeed(COUNT, m.GetSupportedAttKeyIDNumResponse)))

    @cached_property
    def prepared(self) -> Prepared:
        """The quoting enclave and its key. Raises Unjudged."""
        return self._fact("init.answer", lambda: prepared_of(self.succeed(INIT, m.InitQuoteExResponse)))

    @property
    def quote_size(self) -> int:
        """The size of quotes, once the key is there. Raises Unjudged."""
        if self.known_quote_size is None:
            _ = self.prepared
            answer = self._fact("size.answer", lambda: size_of(self.succeed(SIZE, m.GetQuoteSizeExResponse)))
            self.known_quote_size = answer
        return self.known_quote_size

    @cached_property
    def report(self) -> Report:
        """A report for the daemon's quoting enclave. Raises Unjudged."""
        return self.speaker.report(self.prepared.target_info)

    @property
    def quotable_report(self) -> Report:
        """A report that the daemon quotes, for what is to be seen of its quotes. Raises Unjudged."""
        if not self.is_quoted:
            raise Unjudged("it builds on quote.answer, which does not hold")
        return self.report

    @property
    def speaker(self) -> Reporter:
        """Who makes reports. Raises Unjudged if nobody can."""
        if self.reporter is None:
            raise Unjudged("nobody here can make a report for the daemon's quoting enclave: give --state or --report")
        return self.reporter

    def _fact(self, check_id: str, ask: Callable[[], _T]) -> _T:
        try:
            return ask()
        except (Unmet, TransportError, DecodeError) as error:
            raise Unjudged(f"it builds on {check_id}, which does not hold") from error

    # Quotes

    def accept_quote(self, raw: bytes, report: Report) -> Quote:
        """The quote ``raw``, without padding, which must be genuine and over ``report``."""
        quote = read_whole_quote(raw)
        if not isinstance(quote.body, ReportBody) or quote.body.raw != report.body.raw:
            raise Unmet("a quote over the report that was sent", "one over another report")
        if self.judge is not None:
            try:
                self.judgements.append(self.judge.judge(raw))
            except VerificationError as error:
                raise Unmet("a quote that verifies", f"one refused at step {error.step.value}: {error}") from error
        return quote


KEYS_LIMIT = 10
QUOTE_SIZES = range(1052, 13347)
"""Bytes that a quote of version 3 can have (aesm 1.3)."""

COUNT = m.GetSupportedAttKeyIDNumRequest(timeout=INTEL_TIMEOUT)
INIT = m.InitQuoteExRequest(att_key_id=K, b_pub_key_id=True, buf_size=PUBLIC_KEY_ID_SIZE, timeout=INTEL_TIMEOUT)
SIZE = m.GetQuoteSizeExRequest(att_key_id=K, timeout=INTEL_TIMEOUT)


def succeeded(response: _R) -> _R:
    """``response``, whose status must be 0."""
    if response.error_code:
        raise Unmet(f"{type(response).__name__} with status 0", told(response))
    return response


def count_of(response: m.GetSupportedAttKeyIDNumResponse) -> int:
    """How many keys a successful answer tells."""
    count = response.att_key_id_num
    if count is None or not 0 < count <= KEYS_LIMIT:
        raise Unmet(f"status 0 and a number from 1 to {KEYS_LIMIT}", told(response))
    return count


def prepared_of(response: m.InitQuoteExResponse) -> Prepared:
    """What the successful answer to an init with key id tells."""
    target_info = sized("target_info", response.target_info, TargetInfo.SIZE)
    if response.pub_key_id_size != PUBLIC_KEY_ID_SIZE:
        raise Unmet(f"pub_key_id_size {PUBLIC_KEY_ID_SIZE}", f"{response.pub_key_id_size}")
    return Prepared(TargetInfo(target_info), sized("pub_key_id", response.pub_key_id, PUBLIC_KEY_ID_SIZE))


def size_of(response: m.GetQuoteSizeExResponse) -> int:
    """The size that a successful answer tells."""
    size = response.quote_size
    if size is None or size not in QUOTE_SIZES:
        raise Unmet(f"status 0 and a size from {QUOTE_SIZES.start} to {QUOTE_SIZES.stop - 1}", told(response))
    return size


def sized(name: str, value: bytes | None, size: int) -> bytes:
    """The bytes of the field ``name``, which must be ``size``."""
    if value is None:
        raise Unmet(f"{name} of {size} bytes", "none")
    if len(value) != size:
        raise Unmet(f"{name} of {size} bytes", f"one of {len(value)} bytes")
    return value


def decode(frame: bytes, expected: type[_R]) -> _R:
    """The response in ``frame``, which must be of the ``expected`` kind."""
    try:
        return m.decode_response(frame[m.FRAME_HEADER_SIZE :], expected)
    except DecodeError as error:
        raise Unmet(f"a {expected.__name__}", str(error)) from error


def demand_bytes(frame: bytes, expected: m.Response) -> None:
    """Demand that ``frame`` is ``expected``, to the byte."""
    if frame == m.encode_response(expected):
        return
    response = decode(frame, type(expected))
    if response != expected:
        raise Unmet(told(expected), told(response))
    raise Unmet(f"{told(expected)}, as Intel's service encodes it", f"other bytes: {excerpt(frame)}")


def told(response: m.Response) -> str:
    """``response`` for people: no contents of byte fields, and what its status means."""
    status = response.error_code
    return repr(response) if not status else f"{response!r} ({status}: {describe_status(status).partition('. ')[0]})"


def excerpt(raw: bytes) -> str:
    """The beginning of ``raw`` in hexadecimal."""
    return raw[:_SHOWN_BYTES].hex() + ("…" if len(raw) > _SHOWN_BYTES else "")


def unpadded(quote: bytes) -> bytes:
    """``quote`` as Gramine and Fortanix cut it: up to the end of its signature data (aesm 5.7)."""
    if len(quote) < SIGNED_SIZE + 4:
        raise Unmet(f"a quote of more than {SIGNED_SIZE} bytes", f"{len(quote)} bytes")
    size = SIGNED_SIZE + 4 + int.from_bytes(quote[SIGNED_SIZE : SIGNED_SIZE + 4], "little")
    if size > len(quote):
        raise Unmet(f"a quote within the {len(quote)} bytes of the buffer", f"one that claims {size} bytes")
    return quote[:size]


def read_whole_quote(raw: bytes) -> Quote:
    """The quote in ``raw``, with nothing behind it."""
    try:
        quote = read_quote(raw)
    except DecodeError as error:
        raise Unmet("a quote", str(error)) from error
    if quote.trailing:
        raise Unmet("a quote that ends with its signature data", f"{len(quote.trailing)} bytes more")
    return quote
