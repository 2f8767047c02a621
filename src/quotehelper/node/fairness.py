"""Whose quote is next: one queue for each group of peers, served in turn. Pure.

A group is a pod, or whatever stands for it (see ``peers.Peer.group``). In all there are at most ``in_flight`` requests,
of one group at most ``in_flight_per_group``. When all places are taken, who has fewer waiting than the longest queue by
two or more gets the place of the last in that queue: a crowd can fill the room, but not keep others out of it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

_T = TypeVar("_T")

MIXED_S = 10.0
"""Seconds that two groups' requests may lie apart for the batches to be small."""


class FairQueue(Generic[_T]):
    """Waiting requests of any kind, each with its group and the moment it arrived; moments never go back."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[tuple[float, _T]]] = {}
        self._turns: deque[str] = deque()
        self._length = 0
        self._last_group: str | None = None
        self._mixed_until = 0.0

    def __len__(self) -> int:
        """How many wait."""
        return self._length

    def append(self, group: str, arrived: float, item: _T) -> None:
        """Let ``item`` wait."""
        if group != self._last_group:
            if self._last_group is not None:
                self._mixed_until = arrived + MIXED_S
            self._last_group = group
        queue = self._queues.get(group)
        if queue is None:
            queue = self._queues[group] = deque()
            self._turns.append(group)
        queue.append((arrived, item))
        self._length += 1

    def is_mixed(self, now: float) -> bool:
        """Whether several groups have lately asked, so that one may wait for another."""
        return now < self._mixed_until or len(self._turns) > 1

    def first(self) -> _T:
        """The item whose turn it is. There must be one."""
        return self._queues[self._turns[0]][0][1]

    def popleft(self) -> _T:
        """Take out the item whose turn it is; the next one is another group's, if any waits."""
        turns = self._turns
        group = turns[0]
        queue = self._queues[group]
        item = queue.popleft()[1]
        self._length -= 1
        if not queue:
            del self._queues[group]
            turns.popleft()
        elif len(turns) > 1:
            turns.rotate(-1)
        return item

    def waiting(self, group: str) -> int:
        """How many of ``group`` wait."""
        queue = self._queues.get(group)
        return 0 if queue is None else len(queue)

    def displace(self, group: str) -> _T | None:
        """Take out the item that must make room for one of ``group``, or None if ``group`` has its share."""
        longest = max((self._queues[turn] for turn in self._turns), key=len, default=None)
        if longest is None or len(longest) < self.waiting(group) + 2:
            return None
        self._length -= 1
        return longest.pop()[1]

    def oldest(self) -> float | None:
        """When the item arrived that waits longest."""
        return min((queue[0][0] for queue in self._queues.values()), default=None)

    def expired(self, since: float) -> Iterator[_T]:
        """Take out each item that arrived at ``since`` or before."""
        for group, queue in list(self._queues.items()):
            while queue and queue[0][0] <= since:
                self._length -= 1
                yield queue.popleft()[1]
            if not queue:
                del self._queues[group]
                self._turns.remove(group)
