"""TCB levels: which one is reached, and what platform and quoting enclave are worth together. Pure.

Source: dcap 7.4 steps 9 and 10. Levels are put in order here, from highest to lowest, as both verifiers do (dcap 5.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quotehelper.documents.tcb_info import TcbStatus

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from quotehelper.documents.qe_identity import IdentityLevel
    from quotehelper.documents.sgx_extension import SgxExtension
    from quotehelper.documents.tcb_info import TcbLevel


ACCEPTABLE = frozenset(
    (
        TcbStatus.UP_TO_DATE,
        TcbStatus.SW_HARDENING_NEEDED,
        TcbStatus.CONFIGURATION_NEEDED,
        TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    )
)
"""Statuses of platforms that are current: what is accepted where no policy says otherwise."""


FROM_WORST_TO_BEST = (
    TcbStatus.REVOKED,
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    TcbStatus.OUT_OF_DATE,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    TcbStatus.CONFIGURATION_NEEDED,
    TcbStatus.SW_HARDENING_NEEDED,
    TcbStatus.UP_TO_DATE,
)
"""What is not patched is worse than what must be set up, and that worse than what enclaves must be hardened against."""


def rank(status: TcbStatus) -> int:
    """How good ``status`` is, 0 for the worst: two platforms, or two states of one, compare by it."""
    return FROM_WORST_TO_BEST.index(status)


@dataclass(frozen=True, slots=True)
class Standing:
    """The level that a platform or a quoting enclave has reached: status, advisories that it is open to, date."""

    status: TcbStatus
    advisory_ids: tuple[str, ...]
    tcb_date: dt.datetime


def sort_levels(levels: Sequence[TcbLevel]) -> list[TcbLevel]:
    """``levels`` from the highest to the lowest: by their components in order, then by PCE SVN."""
    return sorted(levels, key=_height, reverse=True)


def has_duplicates(levels: Sequence[TcbLevel]) -> bool:
    """Whether two of ``levels`` ask for the same: then it would be open which one counts."""
    return len(set(map(_height, levels))) != len(levels)


def match_platform(
    levels: Sequence[TcbLevel], platform: SgxExtension, *, cpu_svn_counts: bool = False
) -> Standing | None:
    """The first of the sorted ``levels`` that the certificate's values reach, or None.

    Every component and the PCE SVN count by themselves; the report's CPUSVN does not. With ``cpu_svn_counts`` neither
    the certificate's components nor its CPUSVN may be below the level: they differ in no honest certificate
    (dcap 5.1), Intel's verifier reads the ones, dcap-qvl the other.
    """
    components = tuple(map(min, platform.components, platform.cpu_svn)) if cpu_svn_counts else platform.components
    for level in levels:
        pairs = zip(components, level.components, strict=True)
        if platform.pce_svn >= level.pce_svn and all(svn >= wanted.svn for svn, wanted in pairs):
            return Standing(level.status, level.advisory_ids, level.tcb_date)
    return None


def match_quoting_enclave(levels: Sequence[IdentityLevel], isv_svn: int) -> Standing | None:
    """The first of ``levels``, in the document's order, that a quoting enclave of ``isv_svn`` reaches, or None."""
    for level in levels:
        if isv_svn >= level.isv_svn:
            return Standing(level.status, level.advisory_ids, level.tcb_date)
    return None


def converge(platform: TcbStatus, qe: TcbStatus) -> TcbStatus:
    """What a quote is worth by its platform's and its quoting enclave's status: the table of dcap 7.4 step 10.

    Of a quoting enclave Intel defines UpToDate, OutOfDate and Revoked; its verifier takes the rest for OutOfDate.
    """
    if TcbStatus.REVOKED in {platform, qe}:
        return TcbStatus.REVOKED
    if qe is TcbStatus.UP_TO_DATE:
        return platform
    return _BESIDE_AN_OLD_QE.get(platform, platform)


_BESIDE_AN_OLD_QE = {
    TcbStatus.UP_TO_DATE: TcbStatus.OUT_OF_DATE,
    TcbStatus.SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE,
    TcbStatus.CONFIGURATION_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
}


def _height(level: TcbLevel) -> tuple[tuple[int, ...], int]:
    return tuple(component.svn for component in level.components), level.pce_svn
