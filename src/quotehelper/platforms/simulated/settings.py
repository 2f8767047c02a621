"""What a simulated authority holds of platforms, quoting enclaves and its own certificates at present. Pure.

A setting is a fact that a verifier learns from collateral: which TCB levels there are, what each is open to, what is
revoked, which documents nobody has renewed. Each function yields the settings after one event, so that events can
follow each other in any order. `authority` signs what is said here, `ruling` keeps it on disk.

Statuses come from conditions: a level that is out of date *and* needs another configuration is
OutOfDateConfigurationNeeded (dcap 7.1).
"""

from __future__ import annotations

import datetime as dt
import enum
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import ConfigError
from quotehelper.platforms.simulated.cpu import covers
from quotehelper.platforms.simulated.enclaves import Tcb

if TYPE_CHECKING:
    from collections.abc import Iterable

CPU_SVN = bytes.fromhex("10100202ff0100050000000000000000")
"""The CPUSVN of new processors: what a server of 2025 with current microcode shows."""

PCK_TCB = Tcb(CPU_SVN, 13)
"""The level that certificates speak of. Their PCESVN is below the running PCE's, as in real quotes (dcap 1.1)."""

EVALUATION_NUMBER = 17
LEVELS_LIMIT = 16
"""Levels that are kept, of platforms and of quoting enclaves: the lowest are given up. Intel's lists have up to 17."""
ADVISORIES_LIMIT = 64
"""Advisories on a level."""
REVOKED_LIMIT = 256
"""Certificates that can be revoked."""

ADVISORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}")
"""How advisories are called."""

_LEVEL_DATE = dt.datetime(2025, 5, 14, tzinfo=dt.UTC)
_OLD_LEVEL_DATE = dt.datetime(2023, 2, 15, tzinfo=dt.UTC)
_QE_LEVEL, _OLD_QE_LEVEL = 8, 6
_RESET = "Start anew with: quotehelper simulate reset"


class Condition(enum.Flag):
    """What a level is in; several at once."""

    OUT_OF_DATE = enum.auto()
    CONFIGURATION_NEEDED = enum.auto()
    SW_HARDENING_NEEDED = enum.auto()
    REVOKED = enum.auto()

    @property
    def status(self) -> TcbStatus:
        """The status that it makes."""
        if self & Condition.REVOKED:
            return TcbStatus.REVOKED
        return _STATUSES[self if not self & Condition.OUT_OF_DATE else self & ~Condition.SW_HARDENING_NEEDED]


NO_CONDITION = Condition(0)
_STATUSES = {
    NO_CONDITION: TcbStatus.UP_TO_DATE,
    Condition.SW_HARDENING_NEEDED: TcbStatus.SW_HARDENING_NEEDED,
    Condition.CONFIGURATION_NEEDED: TcbStatus.CONFIGURATION_NEEDED,
    Condition.CONFIGURATION_NEEDED | Condition.SW_HARDENING_NEEDED: TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    Condition.OUT_OF_DATE: TcbStatus.OUT_OF_DATE,
    Condition.OUT_OF_DATE | Condition.CONFIGURATION_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
}


class Document(enum.Enum):
    """What has to be issued anew from time to time."""

    TCB_INFO = "tcb-info"
    QE_IDENTITY = "qe-identity"
    PCK_CRL = "pck-crl"
    ROOT_CA_CRL = "root-ca-crl"


class Subject(enum.Enum):
    """Of what a level is."""

    PLATFORM = "platform"
    QE = "qe"


@dataclass(frozen=True, slots=True)
class Level:
    """A level: ``tcb`` is what a platform's certificate must reach; of quoting enclaves, ``pce_svn`` is the ISVSVN."""

    tcb: Tcb
    date: dt.datetime
    conditions: Condition = NO_CONDITION
    advisory_ids: tuple[str, ...] = ()

    def is_reached_by(self, tcb: Tcb) -> bool:
        """Whether ``tcb`` is at least this level: each component, and the version besides."""
        return covers(tcb.cpu_svn, self.tcb.cpu_svn) and tcb.pce_svn >= self.tcb.pce_svn

    def but(self, condition: Condition, advisory_ids: Iterable[str] = ()) -> Level:
        """The same level, in ``condition`` besides, and open to ``advisory_ids`` as well."""
        advisories = tuple(dict.fromkeys((*self.advisory_ids, *_check_advisories(advisory_ids))))
        if len(advisories) > ADVISORIES_LIMIT:
            raise ConfigError(f"A level can have {ADVISORIES_LIMIT} advisories", _RESET)
        return replace(self, conditions=self.conditions | condition, advisory_ids=advisories)


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it; levels from the highest to the lowest.

    ``revoked``: who issued the certificate ("root", "processor", "platform"), and its serial number.
    """

    tcb_evaluation_data_number: int
    platform_levels: tuple[Level, ...]
    qe_levels: tuple[Level, ...]
    revoked: tuple[tuple[str, int], ...] = ()
    expired: frozenset[Document] = frozenset()

    @property
    def current(self) -> Tcb:
        """The highest level of platforms: what an update brings."""
        return self.platform_levels[0].tcb

    def levels(self, subject: Subject) -> tuple[Level, ...]:
        """The levels of ``subject``."""
        return self.platform_levels if subject is Subject.PLATFORM else self.qe_levels

    def level_of(self, subject: Subject, tcb: Tcb) -> Level | None:
        """The level that a platform or quoting enclave at ``tcb`` is on, or None if it is below all."""
        return next((level for level in self.levels(subject) if level.is_reached_by(tcb)), None)

    def with_levels(self, subject: Subject, levels: Iterable[Level]) -> Settings:
        """The settings with other ``levels`` of ``subject``; the lowest are given up if there are too many."""
        kept = tuple(levels)[:LEVELS_LIMIT]
        return replace(self, platform_levels=kept) if subject is Subject.PLATFORM else replace(self, qe_levels=kept)


def qe_tcb(isv_svn: int) -> Tcb:
    """A quoting enclave's version in the form of a level's."""
    return Tcb(bytes(16), isv_svn)


def initial(tcb: Tcb = PCK_TCB) -> Settings:
    """What a new authority says: ``tcb`` is current, the level below is out of date; and so of quoting enclaves."""
    below = Tcb(bytes([max(0, tcb.cpu_svn[0] - 1)]) + tcb.cpu_svn[1:], max(0, tcb.pce_svn - 1))
    old = Condition.OUT_OF_DATE
    return Settings(
        tcb_evaluation_data_number=EVALUATION_NUMBER,
        platform_levels=(Level(tcb, _LEVEL_DATE), Level(below, _OLD_LEVEL_DATE, old, ("INTEL-SA-00828",))),
        qe_levels=(
            Level(qe_tcb(_QE_LEVEL), _LEVEL_DATE),
            Level(qe_tcb(_OLD_QE_LEVEL), _OLD_LEVEL_DATE, old, ("INTEL-SA-00615",)),
        ),
    )


def recover(settings: Settings, advisory_ids: Iterable[str], now: dt.datetime, *, withdraw: bool = False) -> Settings:
    """After a TCB recovery: one level more, whose first component and PCESVN are higher; all others are out of date.

    ``advisory_ids``: what the older levels are open to. With ``withdraw`` they are not listed any more. Raises
    ConfigError if no version is left, or for an impossible advisory.
    """
    cpu_svn, pce_svn = settings.current
    if cpu_svn[0] == 0xFF or pce_svn == 0xFFFF or settings.tcb_evaluation_data_number >= 0xFFFF:  # noqa: PLR2004  what the fields hold
        raise ConfigError("There is no higher TCB level left", _RESET)
    newest = Level(Tcb(bytes([cpu_svn[0] + 1]) + cpu_svn[1:], pce_svn + 1), now.replace(microsecond=0))
    number = settings.tcb_evaluation_data_number + 1
    older = _superseded(settings.platform_levels, advisory_ids, number)
    settings = settings.with_levels(Subject.PLATFORM, (newest, *(() if withdraw else older)))
    return replace(settings, tcb_evaluation_data_number=number)


def supersede_qe(settings: Settings, isv_svn: int, advisory_ids: Iterable[str], now: dt.datetime) -> Settings:
    """After a release of the quoting enclave ``isv_svn``: all older ones are out of date.

    Raises ConfigError unless ``isv_svn`` is higher than every level's and fits its field.
    """
    if not settings.qe_levels[0].tcb.pce_svn < isv_svn <= 0xFFFF:  # noqa: PLR2004  what the field holds
        raise ConfigError(f"A quoting enclave of ISVSVN {isv_svn} is no newer one", _RESET)
    number = settings.tcb_evaluation_data_number + 1
    older = _superseded(settings.qe_levels, advisory_ids, number)
    newest = Level(qe_tcb(isv_svn), now.replace(microsecond=0))
    return replace(settings.with_levels(Subject.QE, (newest, *older)), tcb_evaluation_data_number=number)


def change_level(
    settings: Settings, subject: Subject, tcb: Tcb, condition: Condition, advisory_ids: Iterable[str] = ()
) -> Settings:
    """The level that ``tcb`` is on is in ``condition``, and open to ``advisory_ids``. Raises ConfigError as below."""
    level = _level_of(settings, subject, tcb)
    changed = level.but(condition, advisory_ids)
    return settings.with_levels(subject, (changed if old is level else old for old in settings.levels(subject)))


def relieve_level(settings: Settings, subject: Subject, tcb: Tcb, condition: Condition) -> Settings:
    """The level that ``tcb`` is on is no longer in ``condition``. Raises ConfigError if it is below every level."""
    level = _level_of(settings, subject, tcb)
    changed = replace(level, conditions=level.conditions & ~condition)
    return settings.with_levels(subject, (changed if old is level else old for old in settings.levels(subject)))


def revoke(settings: Settings, issuer: str, serial_number: int) -> Settings:
    """The certificate with ``serial_number``, issued by ``issuer``, is revoked. Raises ConfigError if too many are."""
    revoked = tuple(dict.fromkeys((*settings.revoked, (issuer, serial_number))))
    if len(revoked) > REVOKED_LIMIT:
        raise ConfigError(f"{REVOKED_LIMIT} certificates are revoked already", _RESET)
    return replace(settings, revoked=revoked)


def expire(settings: Settings, documents: Iterable[Document]) -> Settings:
    """``documents`` are issued as if nobody had renewed them in time."""
    return replace(settings, expired=settings.expired | frozenset(documents))


def renew(settings: Settings, documents: Iterable[Document]) -> Settings:
    """``documents`` are issued as of now again."""
    return replace(settings, expired=settings.expired - frozenset(documents))


def _superseded(levels: tuple[Level, ...], advisory_ids: Iterable[str], number: int) -> list[Level]:
    """``levels`` when a newer one has come: open to ``advisory_ids``, or to one that says that it is simulated."""
    advisories = tuple(advisory_ids) or (f"SIMULATED-SA-{number:05}",)
    return [level.but(Condition.OUT_OF_DATE, advisories) for level in levels]


def _level_of(settings: Settings, subject: Subject, tcb: Tcb) -> Level:
    level = settings.level_of(subject, tcb)
    if level is None:
        name = "quoting enclave" if subject is Subject.QE else "platform"
        remedy = "Update it first: quotehelper simulate update-platform, or update-qe"
        raise ConfigError(f"The {name} is below every level", remedy)
    return level


def _check_advisories(advisory_ids: Iterable[str]) -> tuple[str, ...]:
    """``advisory_ids``. Raises ConfigError for one that is none."""
    checked = tuple(advisory_ids)
    for advisory_id in checked:
        if not ADVISORY.fullmatch(advisory_id):
            problem = f"{advisory_id!a} is not an advisory's name"
            raise ConfigError(problem, "Give up to 40 letters, digits, dots and hyphens, as in INTEL-SA-00828")
    return checked
