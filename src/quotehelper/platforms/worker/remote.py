"""The asking side: a Platform whose work is done by a worker process. Shell.

Whoever keeps the processes keeps both ends of the channel. So a worker that dies leaves no mark on the channel: what it
had not read is read by its successor, and what it had read but not answered shows when an answer overtakes it (see
``messages``). Quoting has no side effects, so that such a request can be asked once more; if it gets lost again, it
may be what kills the workers, and fails.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import DecodeError, PlatformCause, PlatformError
from quotehelper.platforms.platform import Quoted, QuoteOrder, QuotingTarget
from quotehelper.platforms.worker.messages import (
    MESSAGE_LIMIT_BYTES,
    Description,
    KeyDescription,
    encode_describe,
    encode_order,
    encode_quote,
    read_answer,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from quotehelper.sgx.key_id import AttestationKeyId, QeReportInfo
    from quotehelper.sgx.report import Report

WINDOW = 16
"""Quotes asked for and not answered, at most: enough that a worker never waits for the next one. More would only
take away the chance to drop those whose clients have gone."""

PATIENCE_S = 30.0
"""Seconds that ``quote`` and ``wait_until_described`` wait at most."""

REFRESH_S = 1.0
"""Seconds after which a description that is used is asked for anew: behind a platform somebody may change its key."""

_OF_THE_CLIENT = (
    PlatformCause.INVALID_REPORT,
    PlatformCause.UNABLE_TO_MAKE_QE_REPORT,
    PlatformCause.UNSUPPORTED_KEY,
)
"""Causes that say something of the request, not of the platform."""

_GONE = "the worker process that had the request ended, twice"


class Outcome(NamedTuple):
    """What became of the quote that ``ask_quote`` gave the number ``token``."""

    token: int
    result: Quoted | PlatformError


class _Sent(NamedTuple):
    """A request on its way; ``payload`` is None for a description."""

    token: int
    payload: bytes | None
    again: bool


class RemotePlatform:
    """A Platform behind ``channel``, a SOCK_SEQPACKET socket, which it makes non-blocking.

    What clients ask before they ask for a quote comes from the worker's last description and takes no exchange.
    Quotes: ``ask_quote`` and, when the channel is readable, ``receive``; or ``quote``, which waits. ``complain`` is
    told of messages that can't be read, ``clock`` gives monotonic seconds.

    ``heard``: how many messages have come. ``ended``: nobody has the channel's other end any more. ``is_doubtful``:
    something has gone wrong at the platform, so that the next request deserves a description made after it
    (``is_described_since``). ``on_description`` is called when the worker describes itself otherwise than before.
    """

    def __init__(
        self,
        channel: socket.socket,
        complain: Callable[[DecodeError], None] = lambda _error: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        channel.settimeout(0)
        self._channel = channel
        self._complain = complain
        self._clock = clock
        self._description: Description | None = None
        self._sent: dict[int, _Sent] = {}
        self._describing = 0
        self._asked_at = self._described_at = 0.0
        self._quotes_sent = 0
        self.ended = False
        self.is_doubtful = False
        self.heard = 0
        self.on_description: Callable[[], None] = lambda: None
        # A predecessor of this process may have asked, too: its numbers, from an earlier nanosecond, are all smaller.
        self._number = time.monotonic_ns()
        self._buffer = memoryview(bytearray(MESSAGE_LIMIT_BYTES + 1))
        self.ask_description()

    def fileno(self) -> int:
        """The channel's descriptor, to be waited for."""
        return self._channel.fileno()

    def close(self) -> None:
        """Close this end of the channel."""
        self._channel.close()

    # What the worker said of itself

    @property
    def generation(self) -> int | None:
        """Which worker it was that described itself last; None: none has yet."""
        return None if self._description is None else self._description.generation

    def attestation_keys(self) -> tuple[AttestationKeyId, ...]:
        """The ids of the keys. Raises PlatformError, UNAVAILABLE, before the first description."""
        return tuple(described.key for described in self._described().keys)

    def target(self, key: AttestationKeyId) -> QuotingTarget:
        """The quoting enclave behind ``key``. Raises PlatformError as the worker told it."""
        target = self._find(key).target
        if isinstance(target, PlatformError):
            raise target
        return target

    def quote_size(self, key: AttestationKeyId) -> int:
        """The size in bytes of quotes by ``key``. Raises PlatformError as the worker told it."""
        size = self._find(key).quote_size
        if isinstance(size, PlatformError):
            raise size
        return size

    def _described(self) -> Description:
        if self._description is None:
            raise PlatformError(PlatformCause.UNAVAILABLE, "the worker process is starting")
        if self._clock() - self._described_at >= REFRESH_S:
            self.ask_description()
        if not self._description.keys:
            raise PlatformError(PlatformCause.UNAVAILABLE, "the platform does not say what keys it has")
        return self._description

    def _find(self, key: AttestationKeyId) -> KeyDescription:
        for described in self._described().keys:
            if described.key.base == key.base:
                return described
        raise PlatformError(PlatformCause.UNSUPPORTED_KEY)

    def is_described_since(self, moment: float) -> bool:
        """Whether the worker was asked after ``moment`` (of the clock) for the description that it has given."""
        return self._described_at > moment

    def reopening(self) -> Mapping[str, str | int]:
        """What the platform needs to run this very quoting enclave again."""
        return {} if self._description is None else self._description.reopening

    def wait_until_described(self, others: Sequence[int] = (), patience_s: float = PATIENCE_S) -> bool:
        """Whether there is a description, waited for until one of the descriptors ``others`` becomes readable."""
        end = self._clock() + patience_s
        while self._description is None and (left := end - self._clock()) > 0:
            ready, _, _ = select.select([self.fileno(), *others], [], [], left)
            if any(fd in ready for fd in others):
                break
            self.receive()
        return self._description is not None

    # Asking

    @property
    def outstanding(self) -> int:
        """Requests that the worker owes an answer to."""
        return len(self._sent)

    def ask_description(self) -> None:
        """Have the worker describe itself anew, unless it is about to."""
        if self._describing not in self._sent:
            self._describe()

    def _describe(self) -> None:
        self._asked_at = self._clock()
        self._describing = self._send(_Sent(0, None, again=False))

    @property
    def has_room(self) -> bool:
        """Whether the worker may be asked for a further quote now."""
        return self._quotes_sent < WINDOW

    def ask_quote(self, order: QuoteOrder) -> int | None:
        """Ask for a quote: the number by which ``receive`` will call it; None if there is no room for it now.

        Raises PlatformError, UNAVAILABLE, if there will never be a worker again.
        """
        if self.ended:
            raise PlatformError(PlatformCause.UNAVAILABLE, "the worker is gone")
        if not self.has_room:
            return None
        return self._send(_Sent(self._number + 1, encode_order(order), again=False)) or None

    def _send(self, sent: _Sent) -> int:
        """Send a request and return its number; 0 if there is no room in the channel."""
        number = self._number + 1
        try:
            if sent.payload is None:
                self._channel.send(encode_describe(number))
            else:
                self._channel.send(encode_quote(number, sent.payload))
                self._quotes_sent += 1
        except OSError:
            return 0  # no room now; or nobody there any more, which the next ``receive`` finds out
        self._number = number
        self._sent[number] = sent
        return number

    # Answers

    def receive(self) -> list[Outcome]:
        """What has become of quotes by now, without waiting; each is told once."""
        outcomes: list[Outcome] = []
        while True:
            try:
                size = self._channel.recv_into(self._buffer)
            except ConnectionResetError:
                continue  # the other end went with something unread: what it had said comes now, then the end
            except OSError:
                return outcomes
            if not size:
                return outcomes + self._end()
            self.heard += 1
            try:
                number, content = read_answer(bytes(self._buffer[:size]))
            except DecodeError as error:
                self._complain(error)
                continue
            if isinstance(content, Description):
                self._heed(number, content, outcomes)
            elif (sent := self._pass(number, outcomes)) is not None and sent.payload is not None:
                outcomes.append(Outcome(sent.token, content))
                self._doubt(sent.payload, content)

    def _end(self) -> list[Outcome]:
        """Nobody has the other end any more, nor will: what was asked for fails."""
        self.ended = True
        lost = [sent.token for sent in self._sent.values() if sent.payload is not None]
        self._sent.clear()
        self._quotes_sent = 0
        return [Outcome(token, PlatformError(PlatformCause.UNAVAILABLE, "the worker is gone")) for token in lost]

    def _heed(self, number: int, description: Description, outcomes: list[Outcome]) -> None:
        """Take a description. Of a new worker, ask one more: its answer shows what the old one left undone."""
        new = self.generation != description.generation
        self.is_doubtful = not description.keys or any(key.is_faulty for key in description.keys)
        changed = self._description is not None and self._description[1:] != description[1:]
        self._description = description
        self._described_at = self._asked_at if number else self._clock()
        if number:
            self._pass(number, outcomes)
        elif new and self._sent:
            self._describe()
        if changed:
            self.on_description()

    def _pass(self, number: int, outcomes: list[Outcome]) -> _Sent | None:
        """The request ``number``, if it is one of ours; what was sent before it and not answered is lost."""
        if number not in self._sent:
            return None
        sent = self._take(number)
        for earlier in [earlier for earlier in self._sent if earlier < number]:
            lost = self._take(earlier)
            if lost.payload is None:
                continue
            if lost.again or not self._send(lost._replace(again=True)):
                outcomes.append(Outcome(lost.token, PlatformError(PlatformCause.UNAVAILABLE, _GONE)))
        return sent

    def _take(self, number: int) -> _Sent:
        sent = self._sent.pop(number)
        self._quotes_sent -= sent.payload is not None
        return sent

    def _doubt(self, payload: bytes, content: Quoted | PlatformError) -> None:
        """Draw conclusions from a quote, or its refusal, for what clients are told before they ask for one."""
        if isinstance(content, PlatformError) and content.cause not in _OF_THE_CLIENT:
            self.is_doubtful = True
            return
        described = self._description
        sizes = [key.quote_size for key in (described.keys if described else ()) if payload.startswith(key.key.base)]
        is_odd = isinstance(content, PlatformError) or len(content.quote) not in sizes
        if is_odd and self._clock() - self._described_at >= REFRESH_S:
            self.ask_description()

    # Waiting

    def quote(self, report: Report, key: AttestationKeyId, qe_report_info: QeReportInfo | None = None) -> Quoted:
        """As ``Platform.quote``, waiting for the worker; only for who has nobody else to serve meanwhile.

        Outcomes of ``ask_quote`` that arrive meanwhile are lost: use the one or the other.
        """
        self._find(key)
        token = self.ask_quote(QuoteOrder(report, key, qe_report_info))
        end = self._clock() + PATIENCE_S
        while token is not None and (left := end - self._clock()) > 0:
            select.select([self.fileno()], [], [], left)
            for outcome in self.receive():
                if outcome.token != token:
                    continue
                if isinstance(outcome.result, PlatformError):
                    raise outcome.result
                return outcome.result
        raise PlatformError(PlatformCause.UNAVAILABLE, "the worker process does not answer")
