"""How much enclave memory a process has mapped, as the kernel tells it. Shell (/proc).

An enclave is mapped from the device node; the driver adds pages of EPC to the mapping and may page them out. What is
mapped is therefore an upper bound of the EPC held: nothing tells the exact figure by process.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quotehelper.platforms.hardware import ENCLAVE_NODES

if TYPE_CHECKING:
    from collections.abc import Iterable

_NODES = frozenset(ENCLAVE_NODES)
_PATH = 5
"""Which field of a line names what is mapped."""


def epc_mapped_by(pid: int) -> int | None:
    """Bytes of enclave memory that process ``pid`` has mapped; 0 if there is no such process (or ``pid`` is 0).

    None if this process may not ask.
    """
    if not pid:
        return 0
    try:
        with Path(f"/proc/{pid}/maps").open(encoding="utf-8", errors="replace") as maps:
            return sum_mapped(maps)
    except PermissionError:
        return None
    except OSError:
        return 0


def sum_mapped(maps: Iterable[str]) -> int:
    """The bytes mapped from enclave nodes, by the lines of ``/proc/PID/maps``: ``FROM-TO perms offset dev inode PATH``.

    The kernel writes them; of what the process controls only PATH is looked at, as a whole.
    """
    total = 0
    for line in maps:
        fields = line.rstrip("\n").split(maxsplit=5)
        if len(fields) > _PATH and fields[_PATH] in _NODES:
            start, _, end = fields[0].partition("-")
            total += int(end, 16) - int(start, 16)
    return total
