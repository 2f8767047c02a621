"""The quick form: may this daemon take a socket over from another one? Shell.

A new daemon proves itself on a socket of its own before it publishes itself; whoever serves goes on serving if it
does not. A changed quoting enclave is no reason against it; stale or absent collateral is only told: it is the
collateral service's fault, and the running daemon has no better.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.conformance.catalogue import CHECKS
from quotehelper.conformance.check import Failed, NotJudged
from quotehelper.conformance.connection import Peer
from quotehelper.conformance.examine import examine
from quotehelper.conformance.examined import Examined
from quotehelper.conformance.quoting import GRAMINE_BUFFER
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.verification.tcb import rank

if TYPE_CHECKING:
    from quotehelper.conformance.check import Finding
    from quotehelper.conformance.judge import QuoteJudge
    from quotehelper.conformance.reporter import Reporter

TIMEOUT_S = 15.0
"""Seconds that one exchange may take."""

QUICK = tuple(check for check in CHECKS if check.quick)


class Obstacle(enum.Enum):
    """Why a daemon must not be published."""

    KEY_GONE = "the production key is not there"
    QUOTE_TOO_LARGE = "quotes are larger than Gramine's buffer"
    CERTIFICATION_TYPE = "quotes carry no certificate chain"
    NOT_GENUINE = "a quote does not verify"
    TCB_REVOKED = "the platform's TCB level has been revoked"
    TCB_WORSE = "the TCB status is worse than the running daemon's"
    CLIENT_FAILS = "a client's sequence fails"


class Doubt(enum.Enum):
    """What is told, but keeps nobody from being published."""

    NO_REPORT = "nobody could make a report, so that no quote was asked for"
    COLLATERAL = "collateral is missing or stale"
    NOT_JUDGED = "a check could not be judged"


class Blocking(NamedTuple):
    """One reason against publishing: what, in words, and what to do."""

    obstacle: Obstacle
    reason: str
    remedy: str


class Warned(NamedTuple):
    """One thing to be told: what, in words, and what to do."""

    doubt: Doubt
    reason: str
    remedy: str


class Proof(NamedTuple):
    """What the quick form has found. ``tcb_status`` and ``quote_size_bytes`` are None where they are not known."""

    blocking: tuple[Blocking, ...]
    warnings: tuple[Warned, ...]
    tcb_status: TcbStatus | None
    quote_size_bytes: int | None
    findings: tuple[Finding, ...]

    def against(self, running: TcbStatus | None) -> Proof:
        """The same, but blocking if the TCB status is worse than the ``running`` daemon's. None is not compared."""
        if running is None or self.tcb_status is None or rank(self.tcb_status) >= rank(running):
            return self
        reason = f"TCB status {self.tcb_status.value} is worse than {running.value}, which the running daemon has"
        worse = Blocking(Obstacle.TCB_WORSE, reason, "Find what was set back: microcode, PCE, QE, or collateral")
        return self._replace(blocking=(*self.blocking, worse))


def prove(address: str | bytes, *, reporter: Reporter | None, judge: QuoteJudge, timeout_s: float = TIMEOUT_S) -> Proof:
    """What speaks for and against publishing the daemon at ``address``. Never raises for what it does.

    ``reporter`` makes reports for it, if anybody can; ``judge`` knows roots, collateral and the time.
    """
    examined = Examined(Peer(address, timeout_s=timeout_s), reporter=reporter, judge=judge)
    return conclude(examined, tuple(examine(examined, QUICK)))


def conclude(examined: Examined, findings: tuple[Finding, ...]) -> Proof:
    """What ``findings`` of the quick checks mean for publishing."""
    status = examined.judgements[-1].status if examined.judgements else None
    size = examined.known_quote_size
    blocking = [_blocking(finding) for finding in findings if isinstance(finding.result, Failed)]
    if size is not None and size > GRAMINE_BUFFER:
        reason = f"A quote has {size} bytes, Gramine has {GRAMINE_BUFFER} for it"
        remedy = "Have the platform certified with a shorter chain"
        blocking.append(Blocking(Obstacle.QUOTE_TOO_LARGE, reason, remedy))
    if status is TcbStatus.REVOKED:
        remedy = "Update the platform and have it provisioned again"
        blocking.append(Blocking(Obstacle.TCB_REVOKED, examined.judgements[-1].concern, remedy))
    return Proof(tuple(blocking), tuple(_warnings(examined, findings)), status, size, findings)


_OBSTACLES = {
    "ids.production-key": Obstacle.KEY_GONE,
    "init.answer": Obstacle.KEY_GONE,
    "quote.certification-type": Obstacle.CERTIFICATION_TYPE,
    "quote.verifies": Obstacle.NOT_GENUINE,
    "quote.forged": Obstacle.NOT_GENUINE,
    "quote.nobodys-report": Obstacle.NOT_GENUINE,
}


def _blocking(finding: Finding) -> Blocking:
    check, result = finding
    assert isinstance(result, Failed)  # noqa: S101  the caller's choice, for the type checker
    reason = f"{check.family.value}: {check.title}: expected {result.expected}, got {result.got}"
    return Blocking(_OBSTACLES.get(check.id, Obstacle.CLIENT_FAILS), reason, check.remedy)


def _warnings(examined: Examined, findings: tuple[Finding, ...]) -> list[Warned]:
    warnings = []
    if examined.reporter is None:
        remedy = "Have an enclave make a report for the daemon's target info"
        warnings.append(Warned(Doubt.NO_REPORT, Doubt.NO_REPORT.value, remedy))
    if concern := next((judgement.concern for judgement in examined.judgements if judgement.concern), ""):
        warnings.append(Warned(Doubt.COLLATERAL, concern, "Refresh the collateral, or see whether its service answers"))
    if any(isinstance(result, Failed) for _check, result in findings):
        return warnings  # what could not be judged builds on what has failed
    for check, result in findings:
        if isinstance(result, NotJudged) and (examined.reporter is not None or not check.needs_report):
            remedy = "See what quotehelper conformance says of this daemon"
            warnings.append(Warned(Doubt.NOT_JUDGED, f"{check.title}: {result.reason}", remedy))
    return warnings
