"""The lists of devices that the kubelet is sent: ids, exact sizes, encoding. Pure.

The kubelet's client takes messages of 4 MiB at most (grpc-go's default; kubernetes 3.6); a longer list is dropped
and the resource shows 0. A device takes 13 bytes and its id, 15 and its id while unhealthy. So ids are numbers in
base 64 without leading zeros, one character for the first 64, and no device has a topology: a NUMA hint would cost
6 bytes, EPC of one node is usable from all others, and TopologyManager broke on hints (kubernetes 2.1).

==================== ======================= ========================
EPC in units of MiB  list in bytes, healthy  fits
==================== ======================= ========================
28 (DCsv2)           392                     yes
131072 (DC24s_v3)    2,092,992               yes
262144 (DC48s_v3)    4,190,144               yes, 4,160 bytes to spare
262388               4,194,292               yes, the largest
==================== ======================= ========================
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from quotehelper.kube.kubelet_api.deviceplugin_v1beta1_pb2 import Device, ListAndWatchResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

LIST_LIMIT = 4 * 1024 * 1024
"""Bytes of a message that the kubelet receives: grpc-go's defaultClientMaxReceiveMessageSize, itself included."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
"""Of base 64: none is escaped in JSON (the kubelet's checkpoint), shells or file names."""
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_BITS = 6
"""Of one digit."""
_BASE = 1 << _BITS
_CHUNK = 4096
"""Devices that are encoded at a time, so that no more ids than these are in memory."""
_ID_LIMIT = 4
"""Characters of an id that are looked at; as many as 17 million devices have."""


class Health(enum.Enum):
    """Whether a device may be handed out, in the kubelet's words."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"


def device_id(index: int) -> str:
    """The id of the device with this number, counted from 0."""
    digits = ""
    while True:
        digits = _DIGITS[index % _BASE] + digits
        index //= _BASE
        if not index:
            return digits


def device_index(identifier: str) -> int | None:
    """The number of the device with this id, or None if no device has such an id. The kubelet's to choose."""
    if not 1 <= len(identifier) <= _ID_LIMIT or any(digit not in _VALUES for digit in identifier):
        return None
    index = 0
    for digit in identifier:
        index = index * _BASE + _VALUES[digit]
    return index if device_id(index) == identifier else None


def list_bytes(count: int, health: Health) -> int:
    """The exact size of the list of ``count`` devices, without making it."""
    return sum(_entry_bytes(length, health) * (min(count, last) - first) for length, first, last in _ranges(count))


def largest_count(health: Health) -> int:
    """How many devices fit into one list."""
    count, room, length, first = 0, LIST_LIMIT, 1, 0
    while True:
        last = 1 << _BITS * length
        fitting = min(last - first, room // _entry_bytes(length, health))
        count, room = count + fitting, room - fitting * _entry_bytes(length, health)
        if fitting < last - first:
            return count
        length, first = length + 1, last


def encode_list(count: int, health: Health) -> bytes:
    """A ListAndWatchResponse of ``count`` devices, all in one state of health.

    Entries that differ in their ids alone have the same bytes around them, so each length of id is encoded once: a
    tenth of a second and little more memory than the list itself for 256 GiB; messages of their own take 40 MiB.
    """
    chunks = []
    for length, first, last in _ranges(count):
        placeholder = "~" * length
        entry = ListAndWatchResponse(devices=[Device(ID=placeholder, health=health.value)]).SerializeToString()
        before, after = entry.split(placeholder.encode())
        for start in range(first, min(count, last), _CHUNK):
            ids = (device_id(index).encode() for index in range(start, min(start + _CHUNK, count, last)))
            chunks.append(before + (after + before).join(ids) + after)
    return b"".join(chunks)


def _ranges(count: int) -> Iterator[tuple[int, int, int]]:
    """For each length of id that ``count`` devices need: the length, its first index, the first index beyond."""
    length, first = 1, 0
    while first < count:
        last = 1 << _BITS * length
        yield length, first, last
        length, first = length + 1, last


def _entry_bytes(id_length: int, health: Health) -> int:
    """Tag and length of the entry, tag and length of the id, the id, tag and length of the health, the health."""
    return 2 + 2 + id_length + 2 + len(health.value)
