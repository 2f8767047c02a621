"""Connections that have to be waited for: deadlines, and room for a bounded number. Pure.

Most connections never come here: they bring their request at once and are answered at once. Here are those that
stall, legitimately for microseconds (clients write header and body apart) or for as long as an attacker likes.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quotehelper.node.config import Limits
    from quotehelper.node.peers import Peer


class Phase(enum.Enum):
    """What a waiting connection owes."""

    HEADER = "the length of its request"
    BODY = "the rest of its request"
    IDLE = "a further request"


class Connection:
    """One client's connection: its descriptor, and what it has sent that is not served yet.

    ``fd`` is -1 once closed. ``watched``: registered with the poller. ``queued``: a request of it waits for its answer.
    ``answered``: it has had an answer. ``since``, ``deadline``: seconds of the monotonic clock, of its arrival and of
    the present phase's end. ``peer``: who connected.
    """

    __slots__ = ("answered", "deadline", "fd", "peer", "phase", "queued", "received", "since", "watched")

    def __init__(self, fd: int, since: float, peer: Peer | None = None) -> None:
        self.fd = fd
        self.since = since
        self.peer = peer
        self.deadline = 0.0
        self.phase: Phase | None = None
        self.received = bytearray()
        self.answered = False
        self.watched = False
        self.queued = False

    @property
    def fields(self) -> dict[str, object]:
        """What the log says of its peer."""
        return {} if self.peer is None else self.peer.fields()


class WaitingRoom:
    """Connections by phase, in the order in which they entered it; so each phase's first is its next to expire."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._phases: dict[Phase, dict[Connection, None]] = {phase: {} for phase in Phase}
        self._received = 0

    def __len__(self) -> int:
        """Connections waiting."""
        return sum(map(len, self._phases.values()))

    def __iter__(self) -> Iterator[Connection]:
        """All that wait."""
        return iter([connection for phase in self._phases.values() for connection in phase])

    def enter(self, connection: Connection, phase: Phase, now: float) -> None:
        """Let ``connection`` wait in ``phase``. Staying in a phase does not move its deadline."""
        if connection.phase is not phase:
            self.leave(connection)
            connection.phase = phase
            connection.deadline = now + self._patience(phase)
            self._phases[phase][connection] = None
            self._received += len(connection.received)

    def receive(self, connection: Connection, data: bytes) -> None:
        """Keep ``data`` of a waiting connection."""
        connection.received += data
        if connection.phase is not None:
            self._received += len(data)

    def leave(self, connection: Connection) -> None:
        """Let ``connection`` go, if it waits."""
        if connection.phase is not None:
            del self._phases[connection.phase][connection]
            connection.phase = None
            self._received -= len(connection.received)

    def surplus(self) -> Connection | None:
        """The connection that must make room, if the limits are exceeded: the one here longest.

        Who has just come and is about to complete its request is the newest, so a crowd of silent connections can't
        keep others out.
        """
        if len(self) <= self.limits.connections and self._received <= self.limits.received_bytes:
            return None
        return self.oldest()

    def oldest(self) -> Connection | None:
        """The connection that has been here longest, by the heads of the phases."""
        heads = [next(iter(phase)) for phase in self._phases.values() if phase]
        return min(heads, key=lambda connection: connection.since, default=None)

    def expired(self, now: float) -> Iterator[Connection]:
        """Each connection whose deadline has passed; it must leave before the next is asked for."""
        for phase in self._phases.values():
            while phase and (first := next(iter(phase))).deadline <= now:
                yield first

    def next_deadline(self) -> float | None:
        """When the next connection expires."""
        return min((next(iter(phase)).deadline for phase in self._phases.values() if phase), default=None)

    def _patience(self, phase: Phase) -> float:
        if phase is Phase.HEADER:
            return self.limits.header_s
        return self.limits.body_s if phase is Phase.BODY else self.limits.idle_s
