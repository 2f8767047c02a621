"""What the command line answers the shell: 0 done or accepted, and the codes here. Imports next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.errors import (
    ClusterError,
    ConfigError,
    DaemonError,
    PlatformError,
    SourceCause,
    SourceError,
    TransportError,
)

if TYPE_CHECKING:
    from quotehelper.errors import QuoteHelperError

EXIT_REFUSED = 1
"""Looked at and refused."""
EXIT_USAGE = 2
"""The command line, the configuration or the machine must be put right first."""
EXIT_UNAVAILABLE = 3
"""Can't tell, or not available now: trying again may help."""

_NOT_GENUINE = {SourceCause.MALFORMED, SourceCause.UNPROVEN, SourceCause.STALE, SourceCause.OLDER}
"""What was had, looked at and not taken; trying again does not help."""

_PASSING = (TransportError, DaemonError, PlatformError, ClusterError)
"""What may be over the next time."""


def exit_code(error: QuoteHelperError) -> int:
    """The exit code that tells a caller what can be done about ``error``."""
    if isinstance(error, ConfigError):
        return EXIT_USAGE
    if isinstance(error, SourceError):
        return EXIT_REFUSED if error.cause in _NOT_GENUINE else EXIT_UNAVAILABLE
    return EXIT_UNAVAILABLE if isinstance(error, _PASSING) else EXIT_REFUSED


def plain(text: str) -> str:
    """``text``, part of which may come from outside, with everything escaped that could move a terminal's cursor."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)
