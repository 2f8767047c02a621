"""Quotes between admission and answer: made at once, or by a worker whose answers are events. Shell (the clock).

A serving loop has one Quoter. It appends what it admits, and lets it advance once a turn.
"""

from __future__ import annotations

import abc
import time
from typing import TYPE_CHECKING, Protocol, TypeAlias

from quotehelper.aesm.messages import GetQuoteExRequest
from quotehelper.errors import PlatformCause, PlatformError
from quotehelper.node.counters import ServingCount
from quotehelper.node.fairness import FairQueue

if TYPE_CHECKING:
    from quotehelper.aesm.envelope import Request
    from quotehelper.node.counters import ServingCounts
    from quotehelper.node.service import Service
    from quotehelper.node.waiting import Connection
    from quotehelper.platforms.worker.remote import RemotePlatform

BATCH = 32
"""Quotes made between two looks at everything else: 32 quotes take under 2 ms."""

MIXED_BATCH = 4
"""The same while several groups ask: whoever has just come must not wait for a crowd's whole batch."""

_LATE = "waited too long"

Admitted: TypeAlias = "tuple[Connection, Request, float]"
"""Whose it is, the request, and when it was complete (monotonic seconds). Plain, as one is made for every quote."""


TurnedAway: TypeAlias = "tuple[Admitted, str]"
"""A request that must be told to come back, and why."""


class Quoter(Protocol):
    """Takes quote requests and, some time, has their answers."""

    @property
    def is_doubtful(self) -> bool:
        """Whether requests other than for quotes have to be taken, too: what is known of the platform may be over."""
        ...

    def append(self, admitted: Admitted, /) -> TurnedAway | None:
        """Take a request; if that is too much, say which one is not taken, or no longer."""

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


class _Queueing(abc.ABC):
    """Keeps requests for which nothing has been done yet, each group's apart, within the limits."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._waiting: FairQueue[Admitted] = FairQueue()

    @abc.abstractmethod
    def __len__(self) -> int:
        """Requests taken and not answered."""

    def append(self, admitted: Admitted, /) -> TurnedAway | None:
        """Take a request; if that is too much, say which one is not taken, or no longer."""
        limits, waiting, peer = self._service.limits, self._waiting, admitted[0].peer
        group = "" if peer is None else peer.group
        count, turned_away = len(self), None
        if count >= limits.in_flight_per_group and waiting.waiting(group) >= limits.in_flight_per_group:
            return admitted, "too many quotes of one pod or user in flight: limits.in_flight_per_group"
        if count >= limits.in_flight:
            displaced = waiting.displace(group)
            turned_away = (displaced or admitted, "too many quotes in flight: limits.in_flight")
            if displaced is None:
                return turned_away
        waiting.append(group, admitted[2], admitted)
        return turned_away


class ImmediateQuoter(_Queueing):
    """For a platform in this process: makes up to a batch of quotes a turn."""

    descriptor = None
    is_doubtful = False

    def __init__(self, service: Service, counts: ServingCounts) -> None:
        super().__init__(service)
        self._counts = counts

    def __len__(self) -> int:
        """Requests taken and not answered."""
        return len(self._waiting)

    def advance(self, answers: list[tuple[Connection, bytes]]) -> None:
        """Make the quotes of one batch."""
        service, counts, waiting = self._service, self._counts, self._waiting
        now = time.monotonic()
        for _ in range(min(MIXED_BATCH if waiting.is_mixed(now) else BATCH, len(waiting))):
            connection, request, arrived = waiting.popleft()
            if connection.fd < 0:
                continue
            service.peer = connection.peer
            late = now - arrived >= service.limits.quote_s
            frame = service.busy(request, _LATE) if late else service.answer(request)
            now = time.monotonic()
            counts.quoted(service.status, now - arrived, connection.peer)
            answers.append((connection, frame))

    def next_turn(self) -> float | None:
        """At once, if anything waits."""
        return 0.0 if len(self._waiting) else None


class RemoteQuoter(_Queueing):
    """For a platform in a worker process: keeps it busy, and keeps the rest where it still can be dropped."""

    def __init__(self, service: Service, platform: RemotePlatform, counts: ServingCounts) -> None:
        super().__init__(service)
        self._platform = platform
        self._counts = counts
        self._asked: dict[int, tuple[Connection, GetQuoteExRequest, float]] = {}
        self._heard = 0
        self._silent = False

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
                self._service.peer = asked[0].peer
                self._answer(asked, self._service.deliver(asked[1], result), now, answers)
        self._ask(now, answers)
        self._expire(now, answers)
        self._tell(now)

    def next_turn(self) -> float | None:
        """When the first request has waited too long."""
        asked = min((asked[2] for asked in self._asked.values()), default=None)
        oldest = [arrived for arrived in (self._waiting.oldest(), asked) if arrived is not None]
        return min(oldest) + self._service.limits.quote_s if oldest else None

    def _ask(self, now: float, answers: list[tuple[Connection, bytes]]) -> None:
        platform, waiting = self._platform, self._waiting
        while waiting and platform.has_room:
            connection, request, arrived = waiting.first()
            self._service.peer = connection.peer
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
            waiting.popleft()
            self._asked[token] = (connection, request, arrived)

    def _expire(self, now: float, answers: list[tuple[Connection, bytes]]) -> None:
        """Answer whoever has waited ``limits.quote_s``: come back, or, if the worker has it, unavailable."""
        since = now - self._service.limits.quote_s
        for late in self._waiting.expired(since):
            connection, request, _arrived = late
            if connection.fd >= 0:
                self._service.peer = connection.peer
                self._answer(late, self._service.busy(request, _LATE), now, answers)
        for token in [token for token, asked in self._asked.items() if asked[2] <= since]:
            asked = self._asked.pop(token)
            if asked[0].fd >= 0:
                self._service.peer = asked[0].peer
                error = PlatformError(PlatformCause.UNAVAILABLE, "the worker process does not answer in time")
                self._answer(asked, self._service.deliver(asked[1], error), now, answers)

    def _answer(self, done: Admitted, frame: bytes, now: float, answers: list[tuple[Connection, bytes]]) -> None:
        connection, request, arrived = done
        if isinstance(request, GetQuoteExRequest):
            self._counts.quoted(self._service.status, now - arrived, connection.peer)
        else:
            self._counts.answered(type(request), self._service.status, connection.peer)
        answers.append((connection, frame))

    def _tell(self, now: float) -> None:
        """Let the supervisor see since when the worker is silent."""
        owes = self._platform.outstanding > 0
        if self._platform.heard != self._heard or owes is not self._silent:
            self._heard, self._silent = self._platform.heard, owes
            self._counts.set(ServingCount.WORKER_SILENT_SINCE_NS, int(now * 1e9) if owes else 0)
        self._counts.set(ServingCount.AT_WORKER, len(self._asked))
