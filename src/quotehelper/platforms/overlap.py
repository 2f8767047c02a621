"""Two quoting enclaves for a while: reports made for a former one are still quoted by it. Pure, given a clock.

A client holds the target info of the quoting enclave that it was told of, some for as long as they live (Occlum:
aesm 6.6); a report made for it can be checked and quoted by that enclave alone. So an update of the quoting enclave
keeps the former one running beside the new one. After that, such a report is answered "not initialised" (42), which
makes clients ask anew, and never "invalid" (47), which stays for forged reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import PlatformCause, PlatformError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quotehelper.platforms.platform import Platform, Quoted, QuotingTarget, Reopening
    from quotehelper.sgx.key_id import AttestationKeyId, QeReportInfo
    from quotehelper.sgx.report import Report


class Former(NamedTuple):
    """A quoting enclave that has been replaced.

    ``platform``: runs it; None if nothing can any more. ``until``: the moment of the clock until which it quotes.
    """

    platform: Platform | None
    until: float


class OverlappingPlatform:
    """``present`` for everything, and ``former`` quoting enclaves for reports that were made for them.

    ``clock``: seconds, as in `Former.until`. ``tell`` is called for each report that was made for a former one, with
    whether it was quoted; else it is answered "not initialised".
    """

    def __init__(
        self, present: Platform, former: Sequence[Former], clock: Callable[[], float], tell: Callable[[bool], None]
    ) -> None:
        self._present = present
        self._former = tuple(former)
        self._clock = clock
        self._tell = tell

    def attestation_keys(self) -> tuple[AttestationKeyId, ...]:
        """The present platform's."""
        return self._present.attestation_keys()

    def target(self, key: AttestationKeyId) -> QuotingTarget:
        """The present quoting enclave."""
        return self._present.target(key)

    def quote_size(self, key: AttestationKeyId) -> int:
        """The size of the present quoting enclave's quotes."""
        return self._present.quote_size(key)

    def quote(self, report: Report, key: AttestationKeyId, qe_report_info: QeReportInfo | None = None) -> Quoted:
        """A quote by the quoting enclave that ``report`` was made for.

        Raises PlatformError as the present platform does, and KEY_NOT_INITIALIZED for a report that was made for a
        quoting enclave which quotes no more, or may have been where nobody can tell.
        """
        try:
            return self._present.quote(report, key, qe_report_info)
        except PlatformError as error:
            if error.cause is not PlatformCause.INVALID_REPORT:
                raise
            return self._quote_formerly(report, key, qe_report_info, error)

    def _quote_formerly(
        self, report: Report, key: AttestationKeyId, qe_report_info: QeReportInfo | None, refusal: PlatformError
    ) -> Quoted:
        for former in self._former:
            if former.platform is None:
                continue
            try:
                quoted = former.platform.quote(report, key, qe_report_info)
            except PlatformError as error:
                if error.cause is not PlatformCause.INVALID_REPORT:
                    raise
            else:
                in_time = self._clock() < former.until
                self._tell(in_time)
                if in_time:
                    return quoted
                raise PlatformError(PlatformCause.KEY_NOT_INITIALIZED, _REPLACED)
        if any(former.platform is None for former in self._former):
            self._tell(False)  # noqa: FBT003  the only thing that is told
            raise PlatformError(PlatformCause.KEY_NOT_INITIALIZED, _PERHAPS_REPLACED)
        raise refusal

    def reopening(self) -> Reopening:
        """The present quoting enclave's."""
        return self._present.reopening()

    def close(self) -> None:
        """Close all."""
        self._present.close()
        for former in self._former:
            if former.platform is not None:
                former.platform.close()


_REPLACED = "the report was made for a quoting enclave that has been replaced; the client must ask for the target anew"
_PERHAPS_REPLACED = (
    "the report was made for another quoting enclave, perhaps one that has been replaced and can't be run any more"
)
