"""What became of a quote: proven or not, wanted or not, and what the shell is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quotehelper.cli.exit_codes import EXIT_REFUSED, EXIT_UNAVAILABLE
from quotehelper.errors import CollateralError, PolicyError, VerificationError, VerificationReason
from quotehelper.verification.policy import Policy, appraise, check
from quotehelper.verification.rules import CollateralGrace
from quotehelper.verification.steps import Step
from quotehelper.verification.tcb import ACCEPTABLE

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from quotehelper.verification.result import VerifiedQuote
    from quotehelper.verification.rules import Rule
    from quotehelper.verification.verify import Verifier

QUOTE_SIZE_MAX = 1 << 20
"""Bytes; the largest quote that any platform makes has 13,346."""


class Outcome(NamedTuple):
    """What became of one quote. ``verified`` is None if it is not proven genuine, then ``error`` says why.

    ``violations``: what a policy, or what else was asked for, has against it. ``with_policy``: there was one.
    ``alternatives``: which of the policy's hold, if it is accepted.
    """

    quote: str
    verified: VerifiedQuote | None
    error: VerificationError | None
    violations: PolicyError | None
    with_policy: bool
    alternatives: tuple[int, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether it is genuine, and by the policy wanted; without one, whether its TCB status is good enough."""
        if self.verified is None or self.violations is not None:
            return False
        return self.with_policy or self.verified.status in ACCEPTABLE

    @property
    def lacks_collateral(self) -> bool:
        """Whether it can't be told, for nothing but lack of valid collateral."""
        if self.violations is not None:
            return all(violation.rule.endswith(CollateralGrace.NAME) for violation in self.violations.violations)
        return isinstance(self.error, CollateralError)

    @property
    def exit_code(self) -> int:
        """What the shell is told."""
        if self.accepted:
            return 0
        return EXIT_UNAVAILABLE if self.lacks_collateral else EXIT_REFUSED


def judge(
    name: str, quote: bytes, verifier: Verifier, at: dt.datetime, wanted: Policy | Sequence[Rule] = ()
) -> Outcome:
    """What becomes of ``quote``, which anybody may have made; ``name`` is what people call it.

    ``wanted``: a policy, or rules alone, which have no defaults.
    """
    with_policy = isinstance(wanted, Policy)
    if len(quote) > QUOTE_SIZE_MAX:
        problem = f"It has more than {QUOTE_SIZE_MAX} bytes, and no quote is that large"
        too_large = VerificationError(Step.QUOTE_FORMAT, VerificationReason.FORMAT, problem)
        return Outcome(name, None, too_large, None, with_policy)
    try:
        verified = verifier.verify(quote, at=at)
    except VerificationError as error:
        return Outcome(name, None, error, None, with_policy)
    if not isinstance(wanted, Policy):
        found = tuple(check(verified, wanted))
        return Outcome(name, verified, None, PolicyError(found) if found else None, with_policy)
    try:
        return Outcome(name, verified, None, None, with_policy, appraise(verified, wanted).alternatives)
    except PolicyError as violations:
        return Outcome(name, verified, None, violations, with_policy)
