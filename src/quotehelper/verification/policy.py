"""Do we want what has been proven: rules combined, and a verified quote judged by all of them at once. Pure.

::

    policy = Policy(ReportDataSha256(key), any_of=[[MrEnclave([build])], [Signer([signer], [1], minimum_isv_svn=4)]])
    accepted = appraise(verify(quote, collateral, roots=roots, at=now), policy)

A policy is a list of rules that must all hold and, if it has alternatives, one of those, each a list of rules of its
own. Every combination of policies can be written that way; `all_of` and `any_of` do it. What neither the common
rules nor those of an alternative speak of has its default there: current platforms, valid collateral, no debug
enclave. Which enclave is wanted has no default.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain, islice, product
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import ConfigError, PolicyError, Violation
from quotehelper.verification.rules import (
    CollateralGrace,
    InsecureAllowDebug,
    RefuseDebug,
    Rule,
    Subject,
    TcbStatuses,
)
from quotehelper.verification.semantics import STRICT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from quotehelper.verification.result import VerifiedQuote
    from quotehelper.verification.semantics import Semantics

ALTERNATIVES_MAX = 1000
"""More can't be meant; `all_of` multiplies them."""

DEFAULTS: tuple[Rule, ...] = (TcbStatuses(), CollateralGrace(), RefuseDebug())
"""What holds where no rule speaks of their subject."""


class Whole(NamedTuple):
    """A policy with the defaults written down that hold in it."""

    rules: tuple[Rule, ...]
    any_of: tuple[tuple[Rule, ...], ...]


@dataclass(frozen=True, slots=True, init=False)
class Policy:
    """All of ``rules``, and all rules of one of the alternatives ``any_of``, if there are any.

    Raises ConfigError if it is empty, or if an alternative does not say which enclave is wanted: anybody can have a
    genuine quote of an enclave of their own.
    """

    rules: tuple[Rule, ...]
    any_of: tuple[tuple[Rule, ...], ...]
    whole: Whole = field(compare=False, repr=False)
    """The same with its defaults; made once, as many quotes are judged by it."""

    def __init__(self, *rules: Rule, any_of: Iterable[Iterable[Rule]] = ()) -> None:
        alternatives = tuple(map(tuple, islice(any_of, ALTERNATIVES_MAX + 1)))
        object.__setattr__(self, "rules", rules)
        object.__setattr__(self, "any_of", alternatives)
        if not rules and not alternatives:
            raise ConfigError("The policy is empty, so it would accept anybody's enclave", NAME_AN_ENCLAVE)
        if len(alternatives) > ALTERNATIVES_MAX:
            raise ConfigError(f"More than {ALTERNATIVES_MAX} alternatives", "Make several policies of it")
        for number, alternative in enumerate(alternatives or (rules,)):
            where = f"any_of[{number}]" if alternatives else "The policy"
            if not alternative:
                raise ConfigError(f"{where} is empty, so the other alternatives would not matter", "Leave it out")
            if Subject.ENCLAVE not in _spoken((*rules, *alternative)):
                raise ConfigError(f"{where} does not say which enclave is wanted", NAME_AN_ENCLAVE)
        object.__setattr__(self, "whole", _write_defaults(rules, alternatives))

    def with_rules(self, *rules: Rule) -> Policy:
        """This policy and ``rules`` besides, in every alternative; such as this connection's report data."""
        return Policy(*self.rules, *rules, any_of=self.any_of)


NAME_AN_ENCLAVE = (
    "Name it by mr_enclave, or by mr_signer with isv_prod_id and minimum_isv_svn; or say insecure_any_enclave"
)
"""What to do about a policy that would accept anybody's enclave."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A quote that is genuine and wanted. Only `appraise` makes one."""

    verified: VerifiedQuote
    policy: Policy
    alternatives: tuple[int, ...]
    """Which of ``policy.any_of`` hold, counted from 0: which of several enclaves it is. Empty if there are none."""


def appraise(verified: VerifiedQuote, policy: Policy) -> Accepted:
    """``verified``, if ``policy`` wants it. Raises PolicyError with every violation, in the order of the policy.

    If no alternative holds, the violations of each of them, their rules' names after ``any_of[0].`` and so on.
    """
    violations = list(check(verified, policy.whole.rules))
    alternatives = [
        list(check(verified, rules, prefix=f"any_of[{number}].")) for number, rules in enumerate(policy.whole.any_of)
    ]
    if all(alternatives):
        violations += chain(*alternatives)
    if violations:
        raise PolicyError(tuple(violations))
    return Accepted(verified, policy, tuple(number for number, found in enumerate(alternatives) if not found))


def check(verified: VerifiedQuote, rules: Iterable[Rule], *, prefix: str = "") -> Iterator[Violation]:
    """What ``rules`` alone, without any default, have against ``verified``; ``prefix`` goes before their names."""
    for rule in rules:
        if (problem := rule.problem(verified)) is not None:
            yield Violation(prefix + rule.NAME, problem)


def all_of(*policies: Policy) -> Policy:
    """The policy that wants what each of ``policies`` wants, the defaults of each included."""
    rules = chain(*(policy.whole.rules for policy in policies))
    choices = product(*(policy.whole.any_of for policy in policies if policy.any_of))
    return Policy(*rules, any_of=(tuple(chain(*choice)) for choice in choices if choice))


def any_of(*policies: Policy) -> Policy:
    """The policy that wants what any of ``policies`` wants, the defaults of each included."""
    return Policy(any_of=((*policy.rules, *choice) for policy in policies for choice in policy.any_of or ((),)))


def semantics_for(policy: Policy, semantics: Semantics = STRICT) -> Semantics:
    """``semantics``, so changed that what ``policy`` may allow is left for it to judge: expired collateral, debug."""
    rules = tuple(chain(policy.rules, *policy.any_of))
    if any(isinstance(rule, CollateralGrace) and rule.grace for rule in rules):
        semantics = replace(semantics, insecure_expired_is_flag=True)
    if any(isinstance(rule, InsecureAllowDebug) for rule in rules):
        semantics = replace(semantics, refuse_debug=False)
    return semantics


def _spoken(rules: Iterable[Rule]) -> frozenset[Subject]:
    """What ``rules`` speak of."""
    return frozenset(rule.SUBJECT for rule in rules if rule.SUBJECT is not None)


def _write_defaults(rules: tuple[Rule, ...], any_of: tuple[tuple[Rule, ...], ...]) -> Whole:
    """The rules and alternatives, each followed by the defaults that hold in it."""
    spoken = _spoken(rules)
    in_some = frozenset[Subject]().union(*map(_spoken, any_of)) - spoken
    return Whole(
        (*rules, *(rule for rule in DEFAULTS if rule.SUBJECT not in spoken | in_some)),
        tuple(
            (*alternative, *(rule for rule in DEFAULTS if rule.SUBJECT in in_some - _spoken(alternative)))
            for alternative in any_of
        ),
    )
