"""What the device plugin needs of a log; whoever starts it brings one. Pure."""

from __future__ import annotations

from typing import Protocol


class EventLog(Protocol):
    """Writes one line an event. Values may come from outside: it escapes them."""

    def debug(self, event: str, **fields: object) -> None:
        """What helps while something is being looked into."""

    def info(self, event: str, **fields: object) -> None:
        """What an operator wants to have seen."""

    def warning(self, event: str, **fields: object) -> None:
        """What works, but not as it should."""

    def error(self, event: str, **fields: object) -> None:
        """What does not work."""
