"""What a collateral service does when something is missing, and how long things may take. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Mode(enum.Enum):
    """What is done when something is missing (dcap 6.2)."""

    LAZY = "LAZY"
    """It is fetched at once."""
    REQ = "REQ"
    """It is fetched when a platform registers or an administrator refreshes, never for a client."""
    OFFLINE = "OFFLINE"
    """It is never fetched: an administrator brings it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, each with its reason."""

    expired_s: float = 2.0
    """For a newer document, while one that has expired is kept and could be given."""
    failure_s: float = 30.0
    """That a source's failure is remembered before it is asked for the same again."""
    turn_s: float = 600.0
    """For another process that is refreshing."""
