"""What happens to simulated platforms in their authority's eyes: recoveries, revocations, expiry. Shell.

Each event changes the settings of the authority of the platform in ``directory``, for all platforms that it certifies;
"the level" is the one that this platform, or its quoting enclave, is on. It shows in collateral exported afterwards.
Every function returns the platform's state and raises ConfigError if the platform or its authority can't be read or
written, or if the event is not possible; then nothing has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.documents.pck import Role
from quotehelper.platforms.simulated import settings as rules
from quotehelper.platforms.simulated.authority import CERTIFICATION_AUTHORITIES
from quotehelper.platforms.simulated.provisioning import read_authority, read_leaf
from quotehelper.platforms.simulated.ruling import change_settings
from quotehelper.platforms.simulated.settings import Condition, Document, Subject, qe_tcb
from quotehelper.platforms.simulated.state import read_state

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from quotehelper.platforms.simulated.enclaves import Tcb
    from quotehelper.platforms.simulated.settings import Settings
    from quotehelper.platforms.simulated.state import PlatformState

ISSUED_BY_ROOT = ("intermediate", "signer")
CERTIFICATES = ("pck", *ISSUED_BY_ROOT)
"""Which certificates can be revoked: the platform's own, that of its certification authority, of the TCB signer."""


def recover_tcb(
    directory: Path, now: dt.datetime, advisory_ids: Iterable[str] = (), *, withdraw: bool = False
) -> PlatformState:
    """A TCB recovery: microcode and PCE of today are out of date, open to ``advisory_ids``; newer ones are there.

    With ``withdraw`` older levels are not even listed any more.
    """
    return _change(directory, lambda settings, _: rules.recover(settings, advisory_ids, now, withdraw=withdraw))


def release_qe(directory: Path, now: dt.datetime, advisory_ids: Iterable[str] = ()) -> PlatformState:
    """A newer quoting enclave is released than the platform has: its own is out of date, open to ``advisory_ids``."""

    def release(settings: Settings, state: PlatformState) -> Settings:
        newest = max(state.qe.isv_svn, settings.qe_levels[0].tcb.pce_svn) + 1
        return rules.supersede_qe(settings, newest, advisory_ids, now)

    return _change(directory, release)


def change_level(
    directory: Path,
    subject: Subject,
    condition: Condition = rules.NO_CONDITION,
    advisory_ids: Iterable[str] = (),
) -> PlatformState:
    """The level of ``subject`` is in ``condition`` besides, and open to ``advisory_ids``."""
    return _change(
        directory,
        lambda settings, state: rules.change_level(settings, subject, _tcb(state, subject), condition, advisory_ids),
    )


def relieve_level(directory: Path, subject: Subject, condition: Condition) -> PlatformState:
    """The level of ``subject`` is no longer in ``condition``."""
    return _change(
        directory,
        lambda settings, state: rules.relieve_level(settings, subject, _tcb(state, subject), condition),
    )


def revoke_certificate(directory: Path, which: str) -> PlatformState:
    """Put one of CERTIFICATES, of the platform or above it, on its issuer's revocation list."""

    def revoke(settings: Settings, state: PlatformState) -> Settings:
        if which not in ISSUED_BY_ROOT:
            return rules.revoke(settings, state.ca, serial_number)
        role = CERTIFICATION_AUTHORITIES[state.ca] if which == "intermediate" else Role.TCB_SIGNING
        certificate = read_authority(state).issuers[role].certificate
        return rules.revoke(settings, "root", certificate.serial_number)

    serial_number = read_leaf(directory).serial_number
    return _change(directory, revoke)


def expire(directory: Path, documents: Iterable[Document]) -> PlatformState:
    """``documents`` are exported as if they had been issued long ago: their validity ended a day before."""
    return _change(directory, lambda settings, _: rules.expire(settings, documents))


def renew(directory: Path, documents: Iterable[Document]) -> PlatformState:
    """``documents`` are exported fresh again."""
    return _change(directory, lambda settings, _: rules.renew(settings, documents))


def reset(directory: Path) -> PlatformState:
    """The authority says what it said at the beginning; platforms stay as they are."""
    return _change(directory, lambda _settings, _state: rules.initial())


def _change(directory: Path, change: Callable[[Settings, PlatformState], Settings]) -> PlatformState:
    state = read_state(directory)
    change_settings(state.authority, lambda settings: change(settings, state))
    return state


def _tcb(state: PlatformState, subject: Subject) -> Tcb:
    return state.pck_tcb if subject is Subject.PLATFORM else qe_tcb(state.qe.isv_svn)
