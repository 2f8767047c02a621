"""What a check is, and what can come of it. Pure.

A check is one claim about a daemon, tried from outside over its socket. It passes, fails with what was expected and
what came, or is not judged for a reason. A failure says which client is hurt, and how.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.conformance.examined import Examined


class Family(enum.Enum):
    """Who speaks in a check: its value is what people call them. In the order in which results are shown."""

    EVERY_CLIENT = "every client"
    QUOTE_EX = "Intel libsgx_quote_ex"
    DCAP_QL = "Intel libsgx_dcap_ql"
    OPEN_ENCLAVE = "Open Enclave"
    UKEY_EXCHANGE = "SGX SDK ukey_exchange"
    FORTANIX = "Fortanix EDP"
    GRAMINE = "Gramine"
    OCCLUM = "Occlum"
    ENARX = "enarx"
    RUNE = "rune"
    RETIRED = "applications of the EPID age"
    NEIGHBOURS = "clients beside a bad one"


class Passed(NamedTuple):
    """The claim holds. ``note`` is what else was seen, if anything."""

    note: str = ""


class Failed(NamedTuple):
    """The claim does not hold. ``got`` may repeat what the daemon said: escape it before it is printed."""

    expected: str
    got: str


class NotJudged(NamedTuple):
    """It can't be told, and why."""

    reason: str


Result = Passed | Failed | NotJudged


class Unmet(Exception):  # noqa: N818  not an error: what a check found
    """Ends a check: it has failed."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected = expected
        self.got = got


class Unjudged(Exception):  # noqa: N818  not an error: what a check found
    """Ends a check: it can't be judged."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Check:
    """One claim.

    ``id``: its name in results, which never changes its meaning. ``title``: the claim. ``source``: where it comes
    from. ``consequence``: what becomes of whom if it does not hold. ``remedy``: what to do then. ``needs_report``: it
    is not judged where nobody can make a report. ``hostile``: it may harm a daemon that does not keep the rule.
    ``quick``: it belongs to what a daemon proves before it serves. ``run`` returns a note, or "", if the claim holds.
    It raises Unmet and Unjudged, and TransportError and DecodeError, which count as failures.
    """

    id: str
    title: str
    source: str
    family: Family
    consequence: str
    remedy: str
    run: Callable[[Examined], str | None]
    needs_report: bool = False
    hostile: bool = False
    quick: bool = False


class Finding(NamedTuple):
    """A check and what came of it."""

    check: Check
    result: Result

    @property
    def verdict(self) -> str:
        """One word: passed, failed or not_judged."""
        return _VERDICTS[type(self.result)]


_VERDICTS = {Passed: "passed", Failed: "failed", NotJudged: "not_judged"}
