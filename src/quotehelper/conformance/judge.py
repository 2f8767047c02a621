"""What the quotes that a daemon makes are worth: verified with collateral, or by their signatures alone. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import CollateralError, VerificationError
from quotehelper.verification.semantics import STRICT
from quotehelper.verification.signatures import verify_signatures
from quotehelper.verification.steps import Step
from quotehelper.verification.verify import Verifier

if TYPE_CHECKING:
    import datetime as dt

    from quotehelper.documents.collateral import Collateral
    from quotehelper.verification.roots import Roots

_LENIENT = replace(STRICT, insecure_expired_is_flag=True, refuse_debug=False)
"""What has expired is told, not refused: no daemon is held back by a collateral service that is down. Which enclave
the quote is about is not the daemon's doing."""


class Judgement(NamedTuple):
    """A quote whose signatures hold. ``status`` is None where there is no collateral; then ``concern`` says why."""

    status: TcbStatus | None
    concern: str


class QuoteJudge:
    """Judges quotes at the aware time ``at`` by ``roots`` and ``collateral``, which may be missing or stale."""

    def __init__(self, *, roots: Roots, collateral: Collateral | None, at: dt.datetime) -> None:
        self._roots = roots
        self._at = at
        self._verifier = None if collateral is None else Verifier(collateral, roots=roots, semantics=_LENIENT)

    def judge(self, quote: bytes) -> Judgement:
        """What ``quote``, which the daemon controls, is worth. Raises VerificationError if it is not genuine.

        A revoked TCB level is a status here, not an error.
        """
        if self._verifier is None:
            verify_signatures(quote, roots=self._roots)
            return Judgement(None, "there is no collateral, so that only the signatures were checked")
        try:
            verified = self._verifier.verify(quote, at=self._at)
        except CollateralError as lacking:
            verify_signatures(quote, roots=self._roots)
            return Judgement(None, f"the collateral does not do: {lacking.problem}")
        except VerificationError as error:
            if error.step is not Step.TCB_STATUS:
                raise
            verify_signatures(quote, roots=self._roots)
            return Judgement(TcbStatus.REVOKED, error.problem)
        return Judgement(
            verified.status, "the collateral is not valid at this time" if verified.collateral_expired else ""
        )
