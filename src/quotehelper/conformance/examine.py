"""Runs checks against a daemon and says what came of each. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.conformance.check import Failed, Finding, NotJudged, Passed, Unjudged, Unmet
from quotehelper.errors import DecodeError, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from quotehelper.conformance.check import Check, Result
    from quotehelper.conformance.examined import Examined

SILENCES_LIMIT = 3
"""Checks in a row that end by their deadline; then the daemon is taken for silent, and the rest is not judged."""


def examine(examined: Examined, checks: Iterable[Check], *, gentle: bool = False) -> Iterator[Finding]:
    """What comes of each of ``checks``, one after the other; ``gentle`` leaves out what may harm the daemon.

    Never raises for what the daemon does.
    """
    silent = 0
    for check in checks:
        before = examined.peer.silences
        if silent >= SILENCES_LIMIT:
            yield Finding(check, NotJudged(f"the daemon was silent in {SILENCES_LIMIT} checks in a row"))
            continue
        yield Finding(check, _try(check, examined, gentle=gentle))
        silent = silent + 1 if examined.peer.silences > before else 0


def _try(check: Check, examined: Examined, *, gentle: bool) -> Result:
    if check.hostile and gentle:
        return NotJudged("it may harm a daemon that does not keep the rule, and --gentle was given")
    if check.needs_report and examined.reporter is None:
        return NotJudged("nobody here can make a report for the daemon's quoting enclave: give --state or --report")
    try:
        return Passed(check.run(examined) or "")
    except Unmet as unmet:
        return Failed(unmet.expected, unmet.got)
    except Unjudged as unjudged:
        return NotJudged(unjudged.reason)
    except (TransportError, DecodeError) as error:
        return Failed("an answer in kind", str(error))
