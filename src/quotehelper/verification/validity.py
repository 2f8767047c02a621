"""When documents are valid. Pure.

Windows are closed, except that a CRL ends just before its nextUpdate (as dcap-qvl has it; dcap 7.5).
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.documents.signed_json import write_time
from quotehelper.errors import CollateralError, VerificationError, VerificationReason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quotehelper.documents.pck import Certificate, Crl
    from quotehelper.verification.semantics import Semantics
    from quotehelper.verification.steps import Step

_TICK = dt.timedelta(microseconds=1)
_REFRESH = "Fetch current collateral and verify again"
_CLOCK = "Check the clock, or that the collateral belongs to the time in question"
_CERTIFY = "The platform needs a new certificate from its provisioning service"


class Window(NamedTuple):
    """From when until when one document is valid: first and last moment, the last included unless ``ends_before``."""

    document: str
    start: dt.datetime
    end: dt.datetime
    ends_before: bool = False
    can_be_refreshed: bool = True

    @property
    def last(self) -> dt.datetime:
        """The last moment."""
        return self.end - _TICK if self.ends_before else self.end


class Validity:
    """The windows of the documents that ``step`` looks at."""

    __slots__ = ("_end", "_start", "_step", "windows")

    def __init__(self, step: Step, windows: Sequence[Window]) -> None:
        self._step = step
        self.windows = tuple(windows)
        self._start = max(window.start for window in windows)
        self._end = min(window.last for window in windows)

    def judge(self, at: dt.datetime, semantics: Semantics) -> bool:
        """Whether anything is not valid at ``at``, an aware time, which the ``semantics`` let pass.

        If they don't, raises CollateralError for the first document that is not; VerificationError for a PCK's.
        """
        if self._start <= at <= self._end:
            return False
        if semantics.insecure_expired_is_flag and not (semantics.refuse_not_yet_valid and at < self._start):
            return True
        late = not semantics.insecure_expired_is_flag
        window = next(window for window in self.windows if at < window.start or (late and at > window.last))
        if at < window.start:
            problem = f"The {window.document} is valid from {write_time(window.start)}, not yet at {write_time(at)}"
            raise CollateralError(self._step, VerificationReason.NOT_YET_VALID, problem, _CLOCK)
        problem = f"The {window.document} was valid until {write_time(window.end)}, no longer at {write_time(at)}"
        if window.can_be_refreshed:
            raise CollateralError(self._step, VerificationReason.EXPIRED, problem, _REFRESH)
        raise VerificationError(self._step, VerificationReason.EXPIRED, problem, _CERTIFY)


def of_certificate(
    name: str, certificate: Certificate, semantics: Semantics, *, can_be_refreshed: bool = True
) -> Window:
    """The window of ``certificate``. Intel's verifier does not look at its start."""
    start = certificate.not_before if semantics.refuse_not_yet_valid else _always()
    return Window(name, start, certificate.not_after, can_be_refreshed=can_be_refreshed)


def of_crl(name: str, crl: Crl, semantics: Semantics) -> Window:
    """The window of ``crl``. Raises DecodeError if it has no end."""
    return Window(name, crl.this_update, crl.next_update, ends_before=not semantics.insecure_expired_is_flag)


def of_document(name: str, issue_date: dt.datetime, next_update: dt.datetime, semantics: Semantics) -> Window:
    """The window of a TCB info or QE identity. Intel's verifier does not look at its start."""
    return Window(name, issue_date if semantics.refuse_not_yet_valid else _always(), next_update)


def _always() -> dt.datetime:
    return dt.datetime.min.replace(tzinfo=dt.UTC)
