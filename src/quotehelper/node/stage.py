"""What an instance of the daemon is doing. Pure."""

from __future__ import annotations

import enum


class Stage(enum.Enum):
    """See the supervisor for how one follows another."""

    CANDIDATE = "candidate"
    SERVING = "serving"
    RETIRED = "retired"
    ENDING = "ending"
