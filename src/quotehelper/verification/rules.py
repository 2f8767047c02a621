"""What a policy is made of: one rule each for who the enclave is, what it says, and how good its platform is. Pure.

A rule holds for a verified quote, or says in a sentence why not. Rules of one's own derive from `Rule`. Names are
those of the policy file (docs/policy.md). Values come from whoever writes the policy, so what is wrong with them is a
ConfigError; everything compared is public, so nothing is compared in constant time.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

from quotehelper.documents.signed_json import write_time
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import ConfigError
from quotehelper.verification.tcb import ACCEPTABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from quotehelper.verification.result import VerifiedQuote

_T = TypeVar("_T")

MEASUREMENT_SIZE = 32
"""Bytes of MRENCLAVE and MRSIGNER."""
REPORT_DATA_SIZE = 64
U16_MAX = 0xFFFF
"""The highest ISVPRODID and ISVSVN."""
EVALUATION_NUMBER_MAX = 0x7FFF_FFFF
GRACE_DAYS_MAX = 365
"""The longest grace: the revocation list of Intel's root is issued about once a year."""

_SEE = "See docs/policy.md"


class Subject(enum.Enum):
    """What every policy decides, one way or the other, in each of its alternatives."""

    ENCLAVE = "which enclave it is"
    TCB_STATUS = "which TCB statuses are good enough"
    COLLATERAL_AGE = "whether expired collateral will do"
    DEBUG = "whether it may be a debug enclave"


class Rule(ABC):
    """One thing that must be so. ``NAME`` stands in violations; ``SUBJECT``: the default that the rule replaces."""

    NAME: ClassVar[str]
    SUBJECT: ClassVar[Subject | None] = None

    __slots__ = ()

    @abstractmethod
    def problem(self, verified: VerifiedQuote) -> str | None:
        """None if the rule holds for ``verified``; otherwise a sentence, without a full stop, that says why not."""


@dataclass(frozen=True, slots=True)
class MrEnclave(Rule):
    """The enclave's code and initial data are one of these builds: MRENCLAVE, 32 bytes each."""

    NAME: ClassVar = "mr_enclave"
    SUBJECT: ClassVar = Subject.ENCLAVE
    values: Collection[bytes]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _measurements(self.NAME, self.values))

    def problem(self, verified: VerifiedQuote) -> str | None:
        """See `Rule`."""
        found = verified.report.mr_enclave
        return None if found in self.values else f"MRENCLAVE {found.hex()} is not among the {len(self.values)} wanted"


@dataclass(frozen=True, slots=True)
class Signer(Rule):
    """The enclave is one of the products of these signers (MRSIGNER, 32 bytes each), of this security version or later.

    All three belong together: whoever signs one enclave may sign others, test builds among them, and older versions
    with known holes keep their signature. An ISVSVN of 0 asks for none, and says so.
    """

    NAME: ClassVar = "mr_signer"
    SUBJECT: ClassVar = Subject.ENCLAVE
    values: Collection[bytes]
    isv_prod_ids: Collection[int]
    minimum_isv_svn: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _measurements(self.NAME, self.values))
        for product in (products := _some("isv_prod_id", self.isv_prod_ids)):
            _check_range("isv_prod_id", product, U16_MAX)
        object.__setattr__(self, "isv_prod_ids", products)
        _check_range("minimum_isv_svn", self.minimum_isv_svn, U16_MAX)

    def problem(self, verified: VerifiedQuote) -> str | None:
        """See `Rule`; all of the three that don't fit."""
        report, problems = verified.report, []
        if report.mr_signer not in self.values:
            problems.append(f"MRSIGNER {report.mr_signer.hex()} is not among the {len(self.values)} wanted")
        if report.isv_prod_id not in self.isv_prod_ids:
            problems.append(f"ISVPRODID is {report.isv_prod_id}, wanted: {_listed(map(str, self.isv_prod_ids))}")
        if report.isv_svn < self.minimum_isv_svn:
            problems.append(f"ISVSVN is {report.isv_svn}, at least {self.minimum_isv_svn} is wanted")
        return ", and ".join(problems) or None


@dataclass(frozen=True, slots=True)
class InsecureAnyEnclave(Rule):
    """Any enclave will do, an attacker's too: to judge platforms, or where something else looks who it is."""

    NAME: ClassVar = "insecure_any_enclave"
    SUBJECT: ClassVar = Subject.ENCLAVE

    def problem(self, verified: VerifiedQuote) -> str | None:  # noqa: ARG002  that is the point
        """None."""
        return None


@dataclass(frozen=True, slots=True)
class ReportData(Rule):
    """The report data is exactly ``value``: up to 64 bytes, and zeros behind them."""

    NAME: ClassVar = "report_data"
    value: bytes

    def __post_init__(self) -> None:
        _check_report_data(self.NAME, self.value)

    def problem(self, verified: VerifiedQuote) -> str | None:
        """See `Rule`."""
        return _differs(verified, self.value.ljust(REPORT_DATA_SIZE, b"\0"), "")


@dataclass(frozen=True, slots=True)
class ReportDataPrefix(Rule):
    """The report data begins with ``value``, 1 to 64 bytes; the rest is not looked at."""

    NAME: ClassVar = "report_data_prefix"
    value: bytes

    def __post_init__(self) -> None:
        _check_report_data(self.NAME, self.value)

    def problem(self, verified: VerifiedQuote) -> str | None:
        """See `Rule`."""
        return _differs(verified, self.value, "does not begin as wanted: ")


@dataclass(frozen=True, slots=True)
class ReportDataSha256(Rule):
    """The report data is the SHA-256 of ``data``, and 32 zeros behind it."""

    NAME: ClassVar = "report_data_sha256_of"
    data: bytes

    def problem(self, verified: VerifiedQuote) -> str | None:
        """See `Rule`."""
        wanted = hashlib.sha256(self.data).digest().ljust(REPORT_DATA_SIZE, b"\0")
        return _differs(verified, wanted, f"is not the SHA-256 of the {len(self.data)} bytes given, zeros behind it: ")


@dataclass(frozen=True, slots=True)
class TcbStatuses(Rule):
    """The TCB status is one of these. Where no rule says so: those of platforms that are current (`tcb.ACCEPTABLE`)."""

    NAME: ClassVar = "tcb_statuses"
    SUBJECT: ClassVar = Subject.TCB_STATUS
    values: Collection[TcbStatus] = ACCEPTABLE

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", statuses := _some(self.NAME, self.values))
        if TcbStatus.REVOKED in statuses:
            raise ConfigError(f"{self.NAME}: Revoked is never verified, so it can't be accepted", "Leave it out")

    def problem(self, verified: VerifiedQuote) -> str | None:
        """See `Rule`."""
        if verified.status in self.values:
            return None
        return f"the TCB status is {verified.status.value}, accepted: {_listed(each.value for each in self.values)}"


@dataclass(frozen=True, slots=True)
class AcceptedAdvisories(Rule):
    """The platform is open to no other advisories than these: those that the enclave is hardened against, or none."""

    NAME: ClassVar = "accepted_advisories"
    values: Collection[str]

    def __post_init__(self) -> None:
        if isinstance(self.values, str):
            raise ConfigError(f"{self.NAME}: one text given, a list of them expected", _SEE)
        object.__setattr__(self, "values", frozenset(self.values))

    def problem(self, verified: VerifiedQuote) -> str | None:
        """See `Rule`; all that are not accepted."""
        others = [advisory for advisory in verified.advisory_ids if advisory not in self.values]
        return f"advisories that are not accepted: {', '.join(others)}" if others else None


@dataclass(frozen=True, slots=True)
class MinimumTcbEvaluationDataNumber(Rule):
    """TCB info and QE identity are from this evaluation of Intel's on: who serves collateral can't choose an older."""

    NAME: ClassVar = "minimum_tcb_evaluation_data_number"
    value: int

    def __post_init__(self) -> None:
        _check_range(self.NAME, self.value, EVALUATION_NUMBER_MAX)

    def problem(self, verified: VerifiedQuote) -> str | None:
        """See `Rule`."""
        found = verified.supplemental.tcb_evaluation_data_number
        if found >= self.value:
            return None
        return f"the TCB evaluation data number is {found}, at least {self.value} is wanted"


@dataclass(frozen=True, slots=True)
class CollateralGrace(Rule):
    """Collateral may have expired, but not before the time of verification less ``grace``: 0 to 365 days.

    Counted from the earliest end of all: documents, revocation lists, certificates. Where no rule says so: none.
    """

    NAME: ClassVar = "collateral_grace_days"
    SUBJECT: ClassVar = Subject.COLLATERAL_AGE
    grace: dt.timedelta = dt.timedelta(0)

    def __post_init__(self) -> None:
        if not dt.timedelta(0) <= self.grace <= dt.timedelta(days=GRACE_DAYS_MAX):
            raise ConfigError(f"{self.NAME}: from 0 to {GRACE_DAYS_MAX} days, not {self.grace}", _SEE)

    def problem(self, verified: VerifiedQuote) -> str | None:
        """See `Rule`."""
        if not verified.collateral_expired:
            return None
        end = verified.supplemental.earliest_expiration_date
        late = verified.at - end
        if late < dt.timedelta(0):
            return f"something among the collateral is not valid yet at {write_time(verified.at)}"
        if self.grace and late <= self.grace:
            return None
        allowed = f"the grace is {self.grace.days} days" if self.grace else "and no grace is given"
        return f"collateral expired at {write_time(end)}, {late.days} days before {write_time(verified.at)}, {allowed}"


@dataclass(frozen=True, slots=True)
class InsecureAllowDebug(Rule):
    """It may be a debug enclave, whose memory anybody on its machine can read and change."""

    NAME: ClassVar = "insecure_allow_debug"
    SUBJECT: ClassVar = Subject.DEBUG

    def problem(self, verified: VerifiedQuote) -> str | None:  # noqa: ARG002  that is the point
        """None."""
        return None


@dataclass(frozen=True, slots=True)
class RefuseDebug(Rule):
    """It is not a debug enclave: what holds where no rule says otherwise."""

    NAME: ClassVar = "debug"
    SUBJECT: ClassVar = Subject.DEBUG

    def problem(self, verified: VerifiedQuote) -> str | None:
        """See `Rule`."""
        debug = verified.report.attributes.debug
        return "it is a debug enclave, whose memory can be read and changed from outside" if debug else None


def _differs(verified: VerifiedQuote, wanted: bytes, how: str) -> str | None:
    """None if the report data begins with ``wanted``; otherwise what it is, after ``how``."""
    found = verified.report.report_data
    if found.startswith(wanted):
        return None
    return f"the report data {how}is {found.hex()}, wanted: {wanted.hex()}"


def _check_report_data(name: str, value: bytes) -> None:
    if not 1 <= len(value) <= REPORT_DATA_SIZE:
        raise ConfigError(f"{name}: {len(value)} bytes given, 1 to {REPORT_DATA_SIZE} expected", _SEE)


def _check_range(name: str, value: int, high: int) -> None:
    if not 0 <= value <= high:
        raise ConfigError(f"{name}: {value} is not from 0 to {high}", _SEE)


def _measurements(name: str, values: Collection[bytes]) -> frozenset[bytes]:
    for value in (found := _some(name, values)):
        if len(value) != MEASUREMENT_SIZE:
            raise ConfigError(f"{name}: {len(value)} bytes given, {MEASUREMENT_SIZE} expected", _SEE)
    return found


def _some(name: str, values: Collection[_T]) -> frozenset[_T]:
    """The ``values``. Raises ConfigError if there are none: nothing could ever be accepted."""
    if not values:
        raise ConfigError(f"{name} is empty, so no quote could ever be accepted", "Leave it out, or list some")
    return frozenset(values)


def _listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(values))
