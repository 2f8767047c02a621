"""The examination of a new instance before it takes the path over: `quotehelper.node.proving` starts this process."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from quotehelper.conformance.judge import QuoteJudge
from quotehelper.conformance.prove import prove
from quotehelper.node.config import decode_settings
from quotehelper.node.proving import Told, Verdict, encode_verdict
from quotehelper.verification.roots import Roots

if TYPE_CHECKING:
    from quotehelper.conformance.reporter import Reporter
    from quotehelper.node.config import Settings

_RUNNING_S = 3.0
"""Seconds that the running daemon may take for an answer; it is no reason against its successor if it takes longer."""


def examine_instance(settings: Settings, candidate: str, running: str, at: dt.datetime) -> Verdict:
    """What speaks against publishing the instance at ``candidate``, which may relieve the daemon at ``running``."""
    reporter, judge = _means(settings, at)
    proof = prove(candidate, reporter=reporter, judge=judge)
    proof = proof.against(prove(running, reporter=reporter, judge=judge, timeout_s=_RUNNING_S).tcb_status)
    return Verdict(
        tuple(Told(found.reason, found.remedy) for found in proof.blocking),
        tuple(Told(found.reason, found.remedy) for found in proof.warnings),
    )


def _means(settings: Settings, at: dt.datetime) -> tuple[Reporter | None, QuoteJudge]:
    if settings.platform == "simulated":
        from quotehelper.conformance.simulated import means_of_state

        return means_of_state(Path(settings.state), at)
    return None, QuoteJudge(roots=Roots.intel(), collateral=None, at=at)


def main(settings: str, candidate: str, running: str) -> None:
    """Examine, and write the verdict to standard output."""
    verdict = examine_instance(decode_settings(settings), candidate, running, dt.datetime.now(dt.UTC))
    sys.stdout.write(encode_verdict(verdict))


if __name__ == "__main__":
    main(*sys.argv[1:])
