"""The DCAP platform: the Platform protocol over Intel's library. Shell.

Nothing has to be there when it is opened. Library, enclaves, devices and provider are looked for at the first request
and, as long as something is missing, again at each: a device that appears late, or a package installed meanwhile, needs
no restart. Source: dcap 3.4, 4.2 and 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from quotehelper.errors import DecodeError, PlatformCause, PlatformError
from quotehelper.platforms.dcap.library import QuotingLibrary
from quotehelper.platforms.dcap.provider import Provider, find_provider, turn_log
from quotehelper.platforms.hardware import obstacles, read_hardware
from quotehelper.platforms.platform import Quoted, QuotingTarget
from quotehelper.sgx.key_id import QE3_KEY_ID, AttestationKeyId, QeReportInfo
from quotehelper.sgx.quote import CertificationType, read_quote
from quotehelper.sgx.report import TargetInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.platforms.dcap.files import DcapFiles
    from quotehelper.platforms.platform import PlatformLog, Reopening
    from quotehelper.sgx.report import Report

_T = TypeVar("_T")

UNCERTIFIED_SIZE = 1456
"""Bytes of a quote with certification type 3; one with a certificate chain has 1,552 at least (dcap 1.1)."""

_MENDED_BY_INIT = {PlatformCause.KEY_NOT_INITIALIZED, PlatformCause.ENCLAVE_LOST}
_UNKNOWN_KEY_ID = bytes(32)


def open_dcap(files: DcapFiles, log: PlatformLog) -> DcapPlatform:
    """The platform; what stands in the way of its quotes now, if anything, goes to ``log``. Never raises."""
    for problem, remedy in obstacles(read_hardware(library=files.library, provider=files.provider)):
        log.warning("SGX not usable", problem=problem, remedy=remedy, consequence="looked for again at each request")
    return DcapPlatform(files, log)


class DcapPlatform:
    """A Platform with one key, that of the QE3 which Intel's library loads into this process.

    ``files`` say which library, enclaves and provider; ``log`` takes the provider's messages and what is found.
    """

    def __init__(self, files: DcapFiles, log: PlatformLog) -> None:
        self._files = files
        self._log = log
        self._library: QuotingLibrary | None = None
        self._provider: Provider | None = None
        self._told_no_provider = False
        self._keys: tuple[AttestationKeyId, ...] | None = None
        self._target: QuotingTarget | None = None
        self._replaced = False

    def attestation_keys(self) -> tuple[AttestationKeyId, ...]:
        """The library's ECDSA-P256 key; while it can't be loaded, the one that it and all clients have compiled in."""
        if self._keys is None:
            try:
                raw = self._loaded().key_id()
            except PlatformError:
                return (QE3_KEY_ID,)
            self._keys = (QE3_KEY_ID if raw is None else AttestationKeyId(raw),)
        return self._keys

    def target(self, key: AttestationKeyId) -> QuotingTarget:
        """The quoting enclave, its key made and certified.

        Without libsgx_qe3_logic the key's id is learnt from the first quote, and 32 zeros until then. Raises
        PlatformError: UNSUPPORTED_KEY; NO_CERTIFICATE if quotes would carry no certificate (type 3), which no verifier
        accepts; any other cause of ``faults``.
        """
        self._check_key(key)
        target = self._init()
        try:
            self._size()
        except PlatformError as error:
            if error.cause not in _MENDED_BY_INIT:
                raise
            target = self._init()
            self._size()
        return target

    def quote_size(self, key: AttestationKeyId) -> int:
        """The exact size in bytes of the next quote. Raises PlatformError as ``target`` does."""
        self._check_key(key)
        return self._mended(self._size)

    def quote(self, report: Report, key: AttestationKeyId, qe_report_info: QeReportInfo | None = None) -> Quoted:
        """A quote over ``report``, and the QE's report over it if there is a place to put it.

        A key that has to be made anew, as after a TCB update, is; the quote is then made after all if the quoting
        enclave is still the one for which reports were made. Raises PlatformError: KEY_NOT_INITIALIZED if it is not,
        and from then on for reports whose MAC does not hold: they may have been made for its predecessor, and clients
        ask anew for this cause alone. INVALID_REPORT, UNABLE_TO_MAKE_QE_REPORT, and as ``target`` does.
        """
        self._check_key(key)
        try:
            return self._mended(lambda: self._quote(report, qe_report_info))
        except PlatformError as error:
            if error.cause is not PlatformCause.INVALID_REPORT or not self._replaced:
                raise
            raise PlatformError(PlatformCause.KEY_NOT_INITIALIZED, f"{_PERHAPS_REPLACED} {error.detail}") from error

    def reopening(self) -> Reopening:
        """Nothing: one process loads one quoting enclave of Intel's, and its successor's image need not have it."""
        return {}

    def close(self) -> None:
        """Let go of the enclaves, as far as Intel's library does; it stays in the process."""
        if self._library is not None:
            self._library.clean_up()
            self._library = None

    def _check_key(self, key: AttestationKeyId) -> None:
        if key.base not in {known.base for known in self.attestation_keys()}:
            raise PlatformError(PlatformCause.UNSUPPORTED_KEY)

    def _loaded(self) -> QuotingLibrary:
        if self._library is None:
            self._library = QuotingLibrary(self._files)
        if self._provider is None:
            self._find_provider()
        return self._library

    def _find_provider(self) -> None:
        self._provider = find_provider(self._files.provider)
        if self._provider is not None:
            told = turn_log(self._provider, self._log)
            self._log.info(
                "quote provider found", provider=self._provider.kind.value, library=self._provider.name, logs_here=told
            )
        elif not self._told_no_provider:
            self._told_no_provider = True
            self._log.error("no quote provider", consequence="quotes would carry no certificate", remedy=_NO_PROVIDER)

    def _init(self) -> QuotingTarget:
        library = self._loaded()
        try:
            initialized = library.init()
        except PlatformError as error:
            if error.cause is not PlatformCause.ENCLAVE_LOST:
                raise
            initialized = library.init()  # it was lost, as when a machine has slept; now it is loaded anew
        known = self._target
        target_info = TargetInfo(initialized.target_info)
        key_id = initialized.public_key_id
        if key_id is None:
            key_id = known.public_key_id if known and known.target_info == target_info else _UNKNOWN_KEY_ID
        self._target = QuotingTarget(target_info, key_id)
        if known is not None and known.target_info != target_info:
            self._replaced = True
            self._log.warning("quoting enclave replaced", consequence="clients must make new reports, and are told 42")
        return self._target

    def _mended(self, ask: Callable[[], _T]) -> _T:
        """What ``ask`` yields, if need be after the key has been made anew, once (dcap 10.14)."""
        try:
            return ask()
        except PlatformError as error:
            if error.cause not in _MENDED_BY_INIT:
                raise
            reason = error
        known = self._target
        target = self._init()
        changed = known is not None and known.target_info != target.target_info
        if known is not None:
            self._log.warning("attestation key renewed", reason=reason.detail)
        if changed:
            raise PlatformError(PlatformCause.KEY_NOT_INITIALIZED, _REPLACED) from reason
        return ask()

    def _size(self) -> int:
        size = self._loaded().quote_size()
        if size == UNCERTIFIED_SIZE:
            raise self._uncertified()
        return size

    def _quote(self, report: Report, qe_report_info: QeReportInfo | None) -> Quoted:
        size = self._size()
        library = self._loaded()
        if qe_report_info is None:
            raw, answered = library.quote(report.raw, size), None
        else:
            raw, told = library.quote_reported(report.raw, size, qe_report_info.raw)
            answered = QeReportInfo(told)
        return Quoted(self._checked(raw), answered)

    def _checked(self, raw: bytes) -> bytes:
        """``raw`` without what follows the quote in it, if it is one with a certificate chain."""
        try:
            quote = read_quote(raw)
        except DecodeError as error:
            raise PlatformError(
                PlatformCause.FAILED, f"the library returned something that is no quote: {error}. Please report this"
            ) from error
        if quote.certification.type is not CertificationType.PCK_CHAIN:
            raise self._uncertified()
        if self._target is not None:
            self._target = self._target._replace(public_key_id=quote.qe_report.report_data[:32])
        return raw[: len(raw) - len(quote.trailing)]

    def _uncertified(self) -> PlatformError:
        if self._provider is None:
            detail = f"quotes would carry no certificate (certification type 3). {_NO_PROVIDER}"
        else:
            detail = (
                f"{self._provider.kind.value} delivered no certificate, so quotes would carry none (certification "
                "type 3). Register the platform, and see that the certificate server of its settings knows it"
            )
        return PlatformError(PlatformCause.NO_CERTIFICATE, detail)


_REPLACED = (
    "the quoting enclave is another one now. The client must get the target info again and make a new report for it"
)
_PERHAPS_REPLACED = "the report may have been made for a quoting enclave that has been replaced."
_NO_PROVIDER = (
    "There is no quote provider library. Install libsgx-dcap-default-qpl, or az-dcap-client on Azure, or name one with "
    "--dcap-provider"
)
