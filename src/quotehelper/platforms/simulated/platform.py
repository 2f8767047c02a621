"""The simulated platform: the Platform protocol over a software processor, PCE and QE3. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.errors import PlatformCause, PlatformError
from quotehelper.platforms.platform import Quoted, QuotingTarget
from quotehelper.sgx.key_id import QE3_KEY_ID, AttestationKeyId

if TYPE_CHECKING:
    from quotehelper.platforms.platform import Reopening
    from quotehelper.platforms.simulated.enclaves import Qe3
    from quotehelper.sgx.key_id import QeReportInfo
    from quotehelper.sgx.report import Report

_BASE = QE3_KEY_ID.base
_BASE_SIZE = AttestationKeyId.BASE_SIZE


class SimulatedPlatform:
    """A Platform with one key, that of a QE3 which was certified before the platform came to be.

    So there is no moment at which a client could be told that the key is not initialised (aesm 0, rule 10).
    """

    __slots__ = ("_qe", "_target")

    def __init__(self, qe: Qe3) -> None:
        self._qe = qe
        self._target = QuotingTarget(qe.target_info, qe.public_key_id)

    def attestation_keys(self) -> tuple[AttestationKeyId, ...]:
        """The production QE3's ECDSA-P256 key id: clients have it compiled in."""
        return (QE3_KEY_ID,)

    def target(self, key: AttestationKeyId) -> QuotingTarget:
        """The QE and its key's id. Raises PlatformError, UNSUPPORTED_KEY, for another key than its own."""
        _check_key(key)
        return self._target

    def quote_size(self, key: AttestationKeyId) -> int:
        """The exact size in bytes of every quote. Raises PlatformError, UNSUPPORTED_KEY."""
        _check_key(key)
        return self._qe.quote_size

    def quote(self, report: Report, key: AttestationKeyId, qe_report_info: QeReportInfo | None = None) -> Quoted:
        """A quote over ``report``, and the QE's report over it if there is a place to put it.

        Raises PlatformError: UNSUPPORTED_KEY, INVALID_REPORT, UNABLE_TO_MAKE_QE_REPORT.
        """
        _check_key(key)
        quote = self._qe.quote(report)
        return Quoted(quote, None if qe_report_info is None else self._qe.report_quote(quote, qe_report_info))

    def reopening(self) -> Reopening:
        """Version and MRENCLAVE of the quoting enclave."""
        return {"isv_svn": self._qe.isv_svn, "mr_enclave": self._target.target_info.mr_enclave.hex()}

    def close(self) -> None:
        """Nothing is held that would have to be given up."""


def _check_key(key: AttestationKeyId) -> None:
    if key.raw[:_BASE_SIZE] != _BASE:
        raise PlatformError(PlatformCause.UNSUPPORTED_KEY)
