"""A value that counts once it has stayed the same for a while: what flaps is not passed on. Pure.

Each change of a list makes the kubelet write its checkpoint and the node's status (kubernetes 3.4).
"""

from __future__ import annotations

from typing import Generic, TypeVar

_T = TypeVar("_T")


class Settling(Generic[_T]):
    """Begins with ``value``; another takes its place after ``settle_s`` seconds in which nothing else was offered."""

    def __init__(self, value: _T, settle_s: float) -> None:
        self.value = value
        self._settle_s = settle_s
        self._candidate: _T | None = None
        self._since = 0.0

    def offer(self, value: _T, now_s: float) -> bool:
        """This is the value at ``now_s``; whether that made it the one that counts."""
        if value == self.value:
            self._candidate = None
            return False
        if value != self._candidate:
            self._candidate, self._since = value, now_s
        if now_s - self._since < self._settle_s:
            return False
        self.value, self._candidate = value, None
        return True

    def due_s(self, now_s: float) -> float | None:
        """Seconds until the last offer counts if it stays, or None if there is nothing to wait for."""
        return None if self._candidate is None else max(0.0, self._since + self._settle_s - now_s)
