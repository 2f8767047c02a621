"""What the daemon's processes count, in one mapping that all of them share. Shell (the mapping).

::

    header            64 cells   version, number of slots
    supervisor        64 cells   see Supervision
    worker   n        64 cells   see WorkerCount; one row a slot, of whichever process has the platform
    serving  n      1024 cells   see ServingCounts; one row a slot
    peers    n      4096 cells   see peer_counts; one table a slot

A cell is an unsigned 64-bit integer in the machine's order. Each row is written by one process only, so that nothing is
locked; a process that replaces another one in a slot goes on counting in its row, so that totals survive crashes.
Whoever reads sees each cell whole, but not all cells of one moment. Times are nanoseconds of the monotonic clock, which
is the same for all processes of a machine.
"""

from __future__ import annotations

import enum
import fcntl
import mmap
import os
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.aesm import messages
from quotehelper.aesm.status import AesmStatus
from quotehelper.errors import ConfigError
from quotehelper.node.peer_counts import PLACE_CELLS, PLACES, PeerCounts

if TYPE_CHECKING:
    from quotehelper.aesm.envelope import Request
    from quotehelper.node.peers import Peer

VERSION = 2
_CELL = 8
_SMALL_ROW, _SERVING_ROW, _PEERS = 64, 1024, PLACES * PLACE_CELLS
_MASK = (1 << 64) - 1


class DaemonState(enum.IntEnum):
    """What the daemon is about."""

    STARTING = 0
    SERVING = 1
    RETIRED = 2
    """Another instance serves instead; this one stays until it is told to end."""
    ENDING = 3


class Supervision(enum.IntEnum):
    """The supervisor's cells."""

    HEARTBEAT_NS = 0
    """When its loop last turned."""
    STATE = 1
    """See DaemonState."""
    SERVING_RESTARTS = 2
    WORKER_RESTARTS = 3
    CONTROL_RESTARTS = 4
    WORKERS_KILLED = 5
    """Of the workers replaced, those that did not answer."""
    HAND_OVERS = 6


class WorkerCount(enum.IntEnum):
    """A platform worker's cells."""

    GENERATION = 0
    """Workers so far in this slot."""
    QUOTED = 1
    REFUSED = 2
    """Orders for which the platform made no quote."""
    BUSY_NS = 3
    """Time the platform took for both."""
    FORMERLY_QUOTED = 4
    """Reports made for a quoting enclave that was replaced, and quoted by it."""
    FORMERLY_REFUSED = 5
    """Reports made for one that quotes no more, answered 42."""
    PID = 6
    """The worker's process id; 0 while there is none."""


class ServingCount(enum.IntEnum):
    """A serving process's cells but for the tables of requests and latencies."""

    IN_FLIGHT = 0
    """Quote requests admitted and not answered."""
    AT_WORKER = 1
    """Of those, how many the platform worker has been asked for."""
    WAITING = 2
    """Connections that owe a request, or part of one."""
    CONNECTIONS = 3
    """Connections accepted."""
    REFUSED_FRAMES = 4
    """Connections closed because what they sent can't be answered in kind."""
    EXPIRED = 5
    """Connections closed because their request was not complete in time."""
    MADE_ROOM = 6
    """Connections closed to make room for others."""
    WORKER_SILENT_SINCE_NS = 7
    """Since when the worker owes an answer and has given none; 0: it owes none."""


GAUGES = (
    ServingCount.IN_FLIGHT,
    ServingCount.AT_WORKER,
    ServingCount.WAITING,
    ServingCount.WORKER_SILENT_SINCE_NS,
)
"""What is only true of a living process."""


class Quoting(enum.IntEnum):
    """What became of a quote request, as far as its latency matters."""

    QUOTED = 0
    BUSY = 1
    UNAVAILABLE = 2
    REFUSED = 3


FIRST_BUCKET_US = 64
BUCKETS = 22
"""Buckets of latencies: the first takes those below 64 µs, each next one twice as much, the last one all others."""

_LATENCIES_AT, _LATENCY_CELLS = 16, BUCKETS + 1
_REQUESTS_AT, STATUSES = 128, 64
"""Statuses counted apart: AESM has fewer; the last place takes all greater ones, which only a foreign service gives."""

OPERATIONS: dict[type[Request], str] = {
    messages.GetQuoteExRequest: "get_quote_ex",
    messages.GetQuoteSizeExRequest: "get_quote_size_ex",
    messages.InitQuoteExRequest: "init_quote_ex",
    messages.SelectAttKeyIDRequest: "select_att_key_id",
    messages.GetSupportedAttKeyIDNumRequest: "get_supported_att_key_id_num",
    messages.GetSupportedAttKeyIDsRequest: "get_supported_att_key_ids",
    messages.SGXRegisterRequest: "sgx_register",
}
OTHER_OPERATION = "retired"
"""Whatever is answered only with "not served"."""

_AT_OF_OPERATION = {kind: _REQUESTS_AT + STATUSES * number for number, kind in enumerate(OPERATIONS)}
_OTHER_AT = _REQUESTS_AT + STATUSES * len(OPERATIONS)
_QUOTES_AT = _AT_OF_OPERATION[messages.GetQuoteExRequest]


def quoting_of(status: int) -> Quoting:
    """How a quote request that got ``status`` is counted among the latencies."""
    if status == AesmStatus.SUCCESS:
        return Quoting.QUOTED
    if status == AesmStatus.BUSY:
        return Quoting.BUSY
    own = {AesmStatus.SERVICE_UNAVAILABLE, AesmStatus.UNEXPECTED_ERROR, AesmStatus.NO_PLATFORM_CERT_DATA}
    return Quoting.UNAVAILABLE if status in own else Quoting.REFUSED


_LATENCIES_OF_STATUS = [_LATENCIES_AT + _LATENCY_CELLS * quoting_of(status) for status in range(STATUSES)]


class ServingCounts:
    """A serving process's row: counted on the way of every request, so that each call takes well under 1 µs."""

    __slots__ = ("_cells", "_count_peer", "peers")

    def __init__(self, cells: memoryview, peers: PeerCounts) -> None:
        self._cells = cells
        self.peers = peers
        self._count_peer = peers.answered

    def add(self, cell: ServingCount) -> None:
        """Count one more."""
        self._cells[cell] += 1

    def set(self, cell: ServingCount, value: int) -> None:
        """Say how many there are now."""
        self._cells[cell] = value

    def answered(self, kind: type[Request], status: int, peer: Peer | None = None) -> None:
        """A request of ``peer`` was answered with ``status``."""
        if peer is not None:
            self._count_peer(peer.tally, status)
        self._cells[_AT_OF_OPERATION.get(kind, _OTHER_AT) + (status if status < STATUSES else STATUSES - 1)] += 1

    def quoted(self, status: int, seconds: float, peer: Peer | None = None) -> None:
        """A quote request of ``peer`` was answered with ``status``, ``seconds`` after it was complete."""
        if peer is not None:
            self._count_peer(peer.tally, status)
        cells = self._cells
        if status >= STATUSES:
            status = STATUSES - 1
        cells[_QUOTES_AT + status] += 1
        at = _LATENCIES_OF_STATUS[status]
        microseconds = int(seconds * 1e6)
        bucket = (microseconds >> 6).bit_length()
        cells[at + (bucket if bucket < BUCKETS else BUCKETS - 1)] += 1
        cells[at + BUCKETS] += microseconds

    def get(self, cell: ServingCount) -> int:
        """The value of a cell."""
        return int(self._cells[cell])

    def requests(self) -> dict[tuple[str, int], int]:
        """How many requests got which answer, by operation and status; only those that occurred."""
        names = [*OPERATIONS.values(), OTHER_OPERATION]
        table = self._cells[_REQUESTS_AT : _REQUESTS_AT + STATUSES * len(names)].tolist()
        return {(names[at // STATUSES], at % STATUSES): count for at, count in enumerate(table) if count}

    def latencies(self, quoting: Quoting) -> Latencies:
        """How long quote requests took that ended as ``quoting``."""
        at = _LATENCIES_AT + _LATENCY_CELLS * quoting
        *buckets, sum_us = self._cells[at : at + _LATENCY_CELLS].tolist()
        return Latencies(tuple(buckets), sum_us)


class Latencies(NamedTuple):
    """How many took how long, by bucket, and the sum of all in microseconds."""

    buckets: tuple[int, ...]
    sum_us: int


class Row:
    """The cells of the supervisor, or of a worker."""

    __slots__ = ("_cells",)

    def __init__(self, cells: memoryview) -> None:
        self._cells = cells

    def __getitem__(self, cell: int) -> int:
        return int(self._cells[cell])

    def __setitem__(self, cell: int, value: int) -> None:
        self._cells[cell] = value & _MASK


class Counters:
    """The mapping behind the file ``descriptor``, which this takes over."""

    def __init__(self, descriptor: int, mapping: mmap.mmap, slots: int) -> None:
        self.descriptor = descriptor
        self.slots = slots
        cells = memoryview(mapping).cast("Q")
        self.supervisor = Row(cells[_SMALL_ROW : 2 * _SMALL_ROW])
        first = 2 * _SMALL_ROW
        self.workers = tuple(
            Row(cells[at : at + _SMALL_ROW]) for at in range(first, first + slots * _SMALL_ROW, _SMALL_ROW)
        )
        first += slots * _SMALL_ROW
        self.serving = tuple(
            ServingCounts(
                cells[first + slot * _SERVING_ROW :][:_SERVING_ROW],
                PeerCounts(cells[first + slots * _SERVING_ROW + slot * _PEERS :][:_PEERS]),
            )
            for slot in range(slots)
        )

    @classmethod
    def create(cls, slots: int) -> Counters:
        """A new mapping with rows for ``slots`` serving processes, all zero; its size can't be changed."""
        descriptor = os.memfd_create("quotehelper-counters", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, _size(slots))
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        mapping = mmap.mmap(descriptor, _size(slots))
        header = memoryview(mapping).cast("Q")
        header[0], header[1] = VERSION, slots
        return cls(descriptor, mapping, slots)

    @classmethod
    def open(cls, descriptor: int, *, writable: bool) -> Counters:
        """The mapping that another process created.

        Raises ConfigError if it is of another version: the program was exchanged while the daemon runs.
        """
        size = os.fstat(descriptor).st_size
        mapping = mmap.mmap(descriptor, size, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        version, slots = memoryview(mapping).cast("Q")[:2]
        if version != VERSION or size != _size(slots):
            raise ConfigError(
                f"The daemon counts in layout {version}, this program in layout {VERSION}",
                "The program was updated while the daemon runs: restart the daemon, or hand over to a new one",
            )
        return cls(descriptor, mapping, slots)

    def clear_gauges(self, slot: int) -> None:
        """Take back what a serving process said of its present, when it has died."""
        for cell in GAUGES:
            self.serving[slot].set(cell, 0)

    def forget_worker(self, slot: int) -> None:
        """Take back a worker's process id, when it has died."""
        self.workers[slot][WorkerCount.PID] = 0


def _size(slots: int) -> int:
    return _CELL * (2 * _SMALL_ROW + slots * (_SMALL_ROW + _SERVING_ROW + _PEERS))
