"""Quotes between admission and answer: made at once, or by a worker whose answers are events. Shell (the clock).

A serving loop has one Quoter. It appends what it admits, and lets it advance once a turn.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Protocol, TypeAlias

from quotehelper.aesm.messages import GetQuoteExRequest
from quotehelper.errors import PlatformCause, PlatformError
from quotehelper.node.counters import ServingCount

if TYPE_CHECKING:
    from quotehelper.aesm.envelope import Request
    from quotehelper.node.counters import ServingCounts
    from quotehelper.node.service import Service
    from quotehelper.node.waiting import Connection
    from quotehelper.platforms.worker.remote import RemotePlatform

BATCH = 32
"""Quotes made between two looks at everything else: 32 quotes take under 2 ms."""

_LATE = "waited too long"

Admitted: TypeAlias = "tuple[Connection, Request, float]"
"""Whose it is, the request, and when it was complete (monotonic seconds). Plain, as one is made for every quote."""


class Quoter(Protocol):
    """Takes quote requests and, some time, has their answers."""

    @property
    def is_doubtful(self) -> bool:
        """Whether requests other than for quotes have to be taken, too: what is known of the platform may be over."""
        ...

    def append(self, admitted: Admitted, /) -> None:
        """Take a request."""

    def __len__(self) -> int:
        """Requests taken and not answered."""
        ...

    def advance(self, answers: list[tuple[Connection, bytes]]) -> None:
        """Do what can be done without waiting; append each answer, a frame, to ``answers``.

        Whose peer has hung up gets none, if that spares a quote.
        """

    def next_turn(self) -> float | None:
        """When to advance again, in monotonic seconds, if nothing happens before."""

    @property
    def descriptor(self) -> int | None:
        """What else to wait for: it becomes readable when there is reason to advance."""


class ImmediateQuoter(deque[Admitted]):
    """For a platform in this process: makes up to a batch of quotes a turn."""

    descriptor = None
    is_doubtful = False

    def __init__(self, service: Service, counts: ServingCounts) -> None:
        super().__init__()
        self._service = service
        self._counts = counts

    def advance(self, answers: list[tuple[Connection, bytes]]) -> None:
        """Make the quotes of one batch."""
        service, counts = self._service, self._counts
        now = time.monotonic()
        for _ in range(min(BATCH, len(self))):
            connection, request, arrived = self.popleft()
            if connection.fd < 0:
                continue
            late = now - arrived >= service.limits.quote_s
            frame = service.busy(request, _LATE) if late else service.answer(request)
            now = time.monotonic()
            counts.quoted(service.status, now - arrived)
            answers.append((connection, frame))

    def next_turn(self) -> float | None:
        """At once, if anything waits."""
        return 0.0 if self else None


class RemoteQuoter:
    """For a platform in a worker process: keeps it busy, and keeps the rest where it still can be dropped."""

    def __init__(self, service: Service, platform: RemotePlatform, counts: ServingCounts) -> None:
        self._service = service
        self._platform = platform
        self._counts = counts
        self._waiting: deque[Admitted] = deque()
        self._asked: dict[int, tuple[Connection, GetQuoteExRequest, float]] = {}
        self._heard = 0
        self._silent = False

    def append(self, admitted: Admitted, /) -> None:
        """Take a request."""
        self._waiting.append(admitted)

    def __len__(self) -> int:
        """Requests taken and not answered."""
        return len(self._waiting) + len(self._asked)

    @property
    def is_doubtful(self) -> bool:
        """Whether the platform has trouble, so that what was known of it may be over."""
        return self._platform.is_doubtful

    @property
    def descriptor(self) -> int | None:
        """The worker's answers."""
        return None if self._platform.ended else self._platform.fileno()

    def advance(self, answers: list[tuple[Connection, bytes]]) -> None:
        """Hear the worker, ask it for more, and give up what takes too long."""
        now = time.monotonic()
        for token, result in self._platform.receive():
            if (asked := self._asked.pop(token, None)) is not None:
                self._answer(asked, self._service.deliver(asked[1], result), now, answers)
        self._ask(now, answers)
        self._expire(now, answers)
        self._tell(now)

    def next_turn(self) -> float | None:
        """When the first request has waited too long."""
        oldest = [self._waiting[0][2]] if self._waiting else []
        oldest += [next(iter(self._asked.values()))[2]] if self._asked else []
        return min(oldest) + self._service.limits.quote_s if oldest else None

    def _ask(self, now: float, answers: list[tuple[Connection, bytes]]) -> None:
        platform, waiting = self._platform, self._waiting
        while waiting and platform.has_room:
            connection, request, arrived = waiting[0]
            if connection.fd < 0:
                waiting.popleft()
                continue
            if platform.is_doubtful and not platform.is_described_since(arrived):
                platform.ask_description()
                return
            if not isinstance(request, GetQuoteExRequest):
                self._answer(waiting.popleft(), self._service.answer(request), now, answers)
                continue
            order = self._service.order(request)
            if isinstance(order, bytes):
                self._answer(waiting.popleft(), order, now, answers)
                continue
            try:
                token = platform.ask_quote(order)
            except PlatformError as error:
                self._answer(waiting.popleft(), self._service.deliver(request, error), now, answers)
                continue
            if token is None:
                return
            del waiting[0]
            self._asked[token] = (connection, request, arrived)

    def _expire(self, now: float, answers: list[tuple[Connection, bytes]]) -> None:
        """Answer whoever has waited ``limits.quote_s``: come back, or, if the worker has it, unavailable."""
        since = now - self._service.limits.quote_s
        while self._waiting and self._waiting[0][2] <= since:
            late = self._waiting.popleft()
            connection, request, _arrived = late
            if connection.fd >= 0:
                self._answer(late, self._service.busy(request, _LATE), now, answers)
        for token in [token for token, asked in self._asked.items() if asked[2] <= since]:
            asked = self._asked.pop(token)
            if asked[0].fd >= 0:
                error = PlatformError(PlatformCause.UNAVAILABLE, "the worker process does not answer in time")
                self._answer(asked, self._service.deliver(asked[1], error), now, answers)

    def _answer(self, done: Admitted, frame: bytes, now: float, answers: list[tuple[Connection, bytes]]) -> None:
        connection, request, arrived = done
        if isinstance(request, GetQuoteExRequest):
            self._counts.quoted(self._service.status, now - arrived)
        else:
            self._counts.answered(type(request), self._service.status)
        answers.append((connection, frame))

    def _tell(self, now: float) -> None:
        """Let the supervisor see since when the worker is silent."""
        owes = self._platform.outstanding > 0
        if self._platform.heard != self._heard or owes is not self._silent:
            self._heard, self._silent = self._platform.heard, owes
            self._counts.set(ServingCount.WORKER_SILENT_SINCE_NS, int(now * 1e9) if owes else 0)
        self._counts.set(ServingCount.AT_WORKER, len(self._asked))
