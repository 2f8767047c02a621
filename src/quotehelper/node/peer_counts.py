"""What each peer's requests are counted in: a bounded table of each serving process, in the shared mapping. Shell.

::

    at      cells   a place of 16 cells of 64 bits, PLACES of them a process
    0       1       edition: odd while the next cells are written, 0 as long as the place is free
    1       1       kind, see _KINDS
    2       2       pod UID, 16 bytes, big-endian
    4       4       container id, 32 bytes, big-endian
    8       1       requests answered
    9       1       of those, with status 18

The first places are for all that have no place of their own: other, host, unknown. One process writes a table, and
goes on in it if it replaces another one. A peer whose place is given to another one goes on among the others, with
what was counted for it, so that the sum over all never shrinks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.aesm.status import AesmStatus
from quotehelper.node.cgroup_path import Workload, WorkloadKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLACES = 256
"""Places of a process. A node has 110 pods by default, most with one container that asks for quotes."""

PLACE_CELLS = 16
IDLE_S = 300.0
"""A place is given to another peer if nothing was counted in it for so long; scrapes have seen it by then."""

OTHER = "other"
"""Label of the peers that have no place."""

_KINDS = (OTHER, *(kind.value for kind in WorkloadKind))
_SHARED = (OTHER, WorkloadKind.HOST.value, WorkloadKind.UNKNOWN.value)
"""What the first places are for."""

_REQUESTS, _BUSY = 8, 9
_BUSY_STATUS = int(AesmStatus.BUSY)
_ATTEMPTS = 8


class Tally:
    """Where a peer's requests are counted. ``at``: the place's first cell."""

    __slots__ = ("at",)

    def __init__(self, at: int) -> None:
        self.at = at


class Counted(NamedTuple):
    """What was counted in a place, and for whom."""

    kind: str
    pod_uid: str
    container_id: str
    requests: int
    busy: int


class PeerCounts:
    """A serving process's table: counted on the way of every request, so that each call takes well under 1 µs."""

    def __init__(self, cells: memoryview, clock: Callable[[], float] = time.monotonic) -> None:
        self._cells = cells
        self._clock = clock
        self._tallies: dict[tuple[str, str], Tally] = {}
        self._free = list(range(PLACES - 1, len(_SHARED) - 1, -1))
        self._shared = {kind: Tally(PLACE_CELLS * place) for place, kind in enumerate(_SHARED)}
        self._seen: dict[int, int] = {}
        self._next_look = 0.0
        self._ready = False

    def answered(self, tally: Tally, status: int) -> None:
        """A request of the peer of ``tally`` was answered with ``status``."""
        cells, at = self._cells, tally.at
        cells[at + _REQUESTS] += 1
        if status == _BUSY_STATUS:
            cells[at + _BUSY] += 1

    def tally(self, workload: Workload) -> Tally:
        """Where to count the requests of ``workload``'s processes."""
        if not self._ready:
            self._take_over()
        if workload.kind.value in self._shared:
            return self._shared[workload.kind.value]
        key = (workload.pod_uid, workload.container_id)
        tally = self._tallies.get(key)
        if tally is None:
            place = self._free.pop() if self._free else self._clear_idle()
            if place is None:
                return self._shared[OTHER]
            tally = self._tallies[key] = Tally(PLACE_CELLS * place)
            self._name(tally.at, workload.kind.value, *key)
        return tally

    def read(self) -> Iterator[Counted]:
        """What was counted in each place; for any process. A place that is being given away is left out."""
        for at in range(0, PLACES * PLACE_CELLS, PLACE_CELLS):
            if (counted := self._read(at)) is not None:
                yield counted

    def _read(self, at: int) -> Counted | None:
        for _ in range(_ATTEMPTS):
            edition, kind, *cells = self._cells[at : at + PLACE_CELLS].tolist()
            if not edition:
                return None
            if edition % 2 == 0 and self._cells[at] == edition and kind < len(_KINDS):
                uid, container = _text(cells[:2]), _text(cells[2:6])
                pod_uid = "-".join((uid[:8], uid[8:12], uid[12:16], uid[16:20], uid[20:])) if uid else ""
                return Counted(_KINDS[kind], pod_uid, container, cells[_REQUESTS - 2], cells[_BUSY - 2])
        return None

    def _take_over(self) -> None:
        """Go on with what a former process of this slot has counted."""
        self._ready = True
        for kind, tally in self._shared.items():
            if not self._cells[tally.at] or self._cells[tally.at] % 2:
                self._name(tally.at, kind, "", "")
        for place in tuple(self._free):
            at = PLACE_CELLS * place
            if self._cells[at] % 2:  # its writer died over it
                self._give_up(at)
            elif (counted := self._read(at)) is not None:
                self._tallies[counted.pod_uid, counted.container_id] = Tally(at)
                self._free.remove(place)

    def _clear_idle(self) -> int | None:
        """A place in which nothing was counted between two looks, IDLE_S apart; or None."""
        now = self._clock()
        if now < self._next_look:
            return None
        counts = {tally.at: self._cells[tally.at + _REQUESTS] for tally in self._tallies.values()}
        idle = [key for key, tally in self._tallies.items() if self._seen.get(tally.at) == counts[tally.at]]
        self._seen, self._next_look = counts, now + IDLE_S
        for key in idle:
            tally = self._tallies.pop(key)
            self._give_up(tally.at)
            self._free.append(tally.at // PLACE_CELLS)
            tally.at = self._shared[OTHER].at  # whoever still holds it counts among the others
        return self._free.pop() if self._free else None

    def _give_up(self, at: int) -> None:
        """Free a place; what was counted in it is added to the others."""
        cells, other = self._cells, self._shared[OTHER].at
        cells[at] |= 1
        for count in (_REQUESTS, _BUSY):
            cells[other + count] += cells[at + count]
            cells[at + count] = 0
        cells[at] = 0

    def _name(self, at: int, kind: str, pod_uid: str, container_id: str) -> None:
        cells = self._cells
        cells[at] = edition = cells[at] | 1
        cells[at + 1] = _KINDS.index(kind)
        for first, text, digits in ((2, pod_uid.replace("-", ""), 32), (4, container_id, 64)):
            padded = text.rjust(digits, "0")
            for part in range(digits // 16):
                cells[at + first + part] = int(padded[16 * part : 16 * part + 16], 16)
        cells[at] = edition + 1


def _text(cells: list[int]) -> str:
    """The hexadecimal digits in ``cells``, or "" for none at all."""
    return "".join(f"{cell:016x}" for cell in cells) if any(cells) else ""
