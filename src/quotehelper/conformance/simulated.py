"""An examination of a simulated platform's daemon, whose state is at hand: an enclave to play, a judge. Shell."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.conformance.judge import QuoteJudge
from quotehelper.conformance.reporter import PlayedEnclave
from quotehelper.documents.pck import read_chain
from quotehelper.errors import ConfigError
from quotehelper.platforms.simulated import provisioning
from quotehelper.platforms.simulated import state as states
from quotehelper.verification.roots import Roots

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from quotehelper.conformance.reporter import Reporter
    from quotehelper.documents.collateral import Collateral


class Means(NamedTuple):
    """What an examination needs besides the socket: who makes reports, and who judges quotes."""

    reporter: Reporter
    judge: QuoteJudge


def means_of_state(directory: Path, at: dt.datetime) -> Means:
    """An enclave on the processor of the platform in ``directory``, and a judge who trusts its root alone.

    Raises ConfigError if the state can't be read. If its authority can't, signatures are checked without collateral.
    """
    reporter = PlayedEnclave(states.load_cpu(directory), secrets.token_bytes(64))
    root = read_chain(states.read_chain(directory)).root
    judge = QuoteJudge(roots=Roots.insecure_simulated(root.pem()), collateral=_collateral(directory, at), at=at)
    return Means(reporter, judge)


def _collateral(directory: Path, at: dt.datetime) -> Collateral | None:
    try:
        return provisioning.collateral(directory, at)
    except ConfigError:
        return None
