"""What a platform is: whoever really makes the quote. Pure.

A platform takes values and returns values; it is synchronous and used by one thread. The contract test suite
(``tests/contract``) runs against every implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from quotehelper.sgx.key_id import AttestationKeyId, QeReportInfo
    from quotehelper.sgx.report import Report, TargetInfo


Reopening: TypeAlias = Mapping[str, str | int]
"""What it takes to run one particular quoting enclave again, as JSON can carry it; each platform has its own keys."""


class QuotingTarget(NamedTuple):
    """What a client needs before it can ask for a quote.

    ``target_info`` names the quoting enclave: the client's report must be made for it. ``public_key_id`` is the
    32-byte ECDSA_ID, SHA-256 over attestation key and auth data (aesm 4.4); 32 zeros while a platform can't tell it.
    """

    target_info: TargetInfo
    public_key_id: bytes


class QuoteOrder(NamedTuple):
    """A quote to be made: the arguments of ``Platform.quote``."""

    report: Report
    key: AttestationKeyId
    qe_report_info: QeReportInfo | None


class Quoted(NamedTuple):
    """A quote's exact bytes, and the QE's report over it if ``qe_report_info`` was given."""

    quote: bytes
    qe_report_info: QeReportInfo | None


class PlatformLog(Protocol):
    """Where a platform tells what no answer can: ``node.log.Log`` is one. Fields carry no key, PPID or whole quote."""

    def debug(self, event: str, **fields: object) -> None:
        """What helps while something is being looked into."""
        ...

    def info(self, event: str, **fields: object) -> None:
        """What an operator wants to have seen."""
        ...

    def warning(self, event: str, **fields: object) -> None:
        """What works, but not as it should."""
        ...

    def error(self, event: str, **fields: object) -> None:
        """What does not work."""
        ...


class Platform(Protocol):
    """Makes quotes. Each method but ``close`` may raise PlatformError, whose cause decides what clients are told."""

    def attestation_keys(self) -> tuple[AttestationKeyId, ...]:
        """The ids of the keys that can sign, in order of preference; never empty."""
        ...

    def target(self, key: AttestationKeyId) -> QuotingTarget:
        """The quoting enclave behind ``key``, its key initialised. Raises PlatformError (UNSUPPORTED_KEY, …)."""
        ...

    def quote_size(self, key: AttestationKeyId) -> int:
        """The exact size in bytes of the next quote by ``key``. Raises PlatformError (KEY_NOT_INITIALIZED, …)."""
        ...

    def quote(self, report: Report, key: AttestationKeyId, qe_report_info: QeReportInfo | None = None) -> Quoted:
        """A quote over ``report``, which the caller's client controls.

        With ``qe_report_info`` its ``qe_report`` becomes the QE's report for the target and nonce in it. Raises
        PlatformError: INVALID_REPORT if the report was not made on this platform for this quoting enclave,
        UNABLE_TO_MAKE_QE_REPORT, KEY_NOT_INITIALIZED, UNSUPPORTED_KEY.
        """
        ...

    def reopening(self) -> Reopening:
        """What ``registry.open_former`` needs to run this very quoting enclave again, when another has replaced it."""
        ...

    def close(self) -> None:
        """Give up everything held. Never raises."""
        ...
