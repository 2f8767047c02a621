"""An AESM request becomes an answer: checks in the order of Intel's service, the platform, the status table. Pure.

Every request is answered by the response of its own kind, whatever goes wrong: any other answer makes Intel's
client crash the application (aesm 0.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.aesm import messages
from quotehelper.aesm.status import AesmStatus, name_status
from quotehelper.errors import DecodeError, PlatformCause, PlatformError
from quotehelper.node.rules import EnclaveRules
from quotehelper.platforms.platform import QuoteOrder
from quotehelper.sgx.key_id import AttestationAlgorithm, AttestationKeyId, QeReportInfo, read_key_id_list
from quotehelper.sgx.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.errors import ProtocolError
    from quotehelper.node.config import Limits
    from quotehelper.node.log import Log
    from quotehelper.node.peers import Peer
    from quotehelper.platforms.platform import Platform, Quoted

STATUS_OF_CAUSE = {
    PlatformCause.UNSUPPORTED_KEY: AesmStatus.UNSUPPORTED_ATT_KEY_ID,
    PlatformCause.KEY_NOT_INITIALIZED: AesmStatus.ATT_KEY_NOT_INITIALIZED,
    PlatformCause.INVALID_REPORT: AesmStatus.INVALID_REPORT,
    PlatformCause.UNABLE_TO_MAKE_QE_REPORT: AesmStatus.UNABLE_TO_GENERATE_QE_REPORT,
    PlatformCause.KEY_CERTIFICATION: AesmStatus.KEY_CERTIFICATION_ERROR,
    PlatformCause.KEY_REFUSED: AesmStatus.UNEXPECTED_ERROR,
    PlatformCause.NO_CERTIFICATE: AesmStatus.NO_PLATFORM_CERT_DATA,
    PlatformCause.CERTIFICATE_DATA: AesmStatus.ATT_KEY_CERT_DATA_INVALID,
    PlatformCause.NETWORK: AesmStatus.NETWORK_ERROR,
    PlatformCause.MESSAGE: AesmStatus.MSG_ERROR,
    PlatformCause.OUT_OF_EPC: AesmStatus.OUT_OF_EPC,
    PlatformCause.OUT_OF_MEMORY: AesmStatus.OUT_OF_MEMORY_ERROR,
    PlatformCause.ENCLAVE_LOAD: AesmStatus.ENCLAVE_LOAD_ERROR,
    PlatformCause.ENCLAVE_LOST: AesmStatus.ENCLAVE_LOST,
    PlatformCause.NO_DEVICE: AesmStatus.NO_DEVICE_ERROR,
    PlatformCause.FILE_ACCESS: AesmStatus.FILE_ACCESS_ERROR,
    PlatformCause.INTERFACE: AesmStatus.INTERFACE_UNAVAILABLE,
    PlatformCause.UNAVAILABLE: AesmStatus.SERVICE_UNAVAILABLE,
    PlatformCause.BUSY: AesmStatus.BUSY,
    PlatformCause.FAILED: AesmStatus.UNEXPECTED_ERROR,
}
"""The status that makes clients react best to each cause (aesm 3.2, 8.12). Complete: a test compares the two."""


_SUCCESS = AesmStatus.SUCCESS
_NO_RULES = EnclaveRules()


class Refusal(Exception):  # noqa: N818  not an error of this daemon: a status that the client is told
    """A check failed: answer ``status``; ``reason`` goes to the log."""

    def __init__(self, status: AesmStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Service:
    """Answers requests with ``platform``. ``limits``, ``rules`` may be exchanged at any time, it between requests.

    ``status`` is that of the answer given last. ``peer`` is who gets the next one, for the log.
    """

    def __init__(self, platform: Platform, limits: Limits, log: Log) -> None:
        self.platform = platform
        self.limits = limits
        self.rules = _NO_RULES
        self.status: int = _SUCCESS
        self.peer: Peer | None = None
        self._unlogged = 0
        self._log = log
        self._handlers: dict[type[messages.Request], Callable[..., messages.Response]] = {
            messages.GetQuoteExRequest: self._quote,
            messages.GetQuoteSizeExRequest: self._quote_size,
            messages.InitQuoteExRequest: self._init_quote,
            messages.SelectAttKeyIDRequest: self._select_key,
            messages.GetSupportedAttKeyIDNumRequest: self._count_keys,
            messages.GetSupportedAttKeyIDsRequest: self._list_keys,
            messages.SGXRegisterRequest: self._register,
        }

    def answer(self, request: messages.Request) -> bytes:
        """The whole frame that answers ``request``, which the client controls. Never raises for its content."""
        handler = self._handlers.get(type(request), self._decline)
        try:
            frame = messages.encode_response(handler(request))
        except Exception as error:  # noqa: BLE001  the edge of a request: a bug met by one must not end the others
            return self._explain(request, error)
        self._succeed(request)
        return frame

    def order(self, request: messages.GetQuoteExRequest) -> QuoteOrder | bytes:
        """What the platform must be asked for to answer ``request``; or the frame that refuses it. Never raises."""
        try:
            key = self._check_quote(request)
            return QuoteOrder(Report(request.report), key, _info(request))
        except Exception as error:  # noqa: BLE001  as above
            return self._explain(request, error)

    def deliver(self, request: messages.GetQuoteExRequest, result: Quoted | PlatformError) -> bytes:
        """The frame that answers ``request`` with what the platform made of its order. Never raises."""
        if isinstance(result, PlatformError):
            return self._explain(request, result)
        try:
            frame = messages.encode_response(_response(request, result))
        except Exception as error:  # noqa: BLE001  as above
            return self._explain(request, error)
        self._succeed(request)
        return frame

    def busy(self, request: messages.Request, reason: str) -> bytes:
        """The frame that tells the client to come back later."""
        return self._refusal(request, AesmStatus.BUSY, reason)

    def refuse(self, error: ProtocolError) -> bytes:
        """The frame that answers a request which lacks something required."""
        kind = messages.REQUESTS[error.request_field]
        return self._tell(kind, messages.error_response(error.request_field, error.status), error.reason)

    def _succeed(self, request: messages.Request) -> None:
        self.status = _SUCCESS
        self._unlogged += 1
        if self._unlogged >= self._log.settings.successes > 0:
            self._unlogged = 0
            self._log.info("request answered", request=type(request).__name__, **self._asked_by())

    def _asked_by(self) -> dict[str, object]:
        return {} if self.peer is None else self.peer.fields()

    def _explain(self, request: messages.Request, error: Exception) -> bytes:
        if isinstance(error, Refusal):
            return self._refusal(request, error.status, error.reason)
        if isinstance(error, PlatformError):
            status = STATUS_OF_CAUSE[error.cause] if error.status is None else error.status
            return self._refusal(request, status, str(error))
        self._log.error("request failed", reason=repr(error), remedy="please report this", **self._asked_by())
        return self._refusal(request, AesmStatus.UNEXPECTED_ERROR, "a fault in the daemon")

    def _refusal(self, request: messages.Request, status: int, reason: str) -> bytes:
        return self._tell(type(request), messages.error_response(request.FIELD, status, request), reason)

    def _tell(self, kind: type[messages.Request], response: messages.Response, reason: str) -> bytes:
        self.status = response.error_code
        status = name_status(response.error_code)
        self._log.info("request refused", request=kind.__name__, status=status, reason=reason, **self._asked_by())
        return messages.encode_response(response)

    # Quotes

    def _quote(self, request: messages.GetQuoteExRequest) -> messages.Response:
        key = self._check_quote(request)
        return _response(request, self.platform.quote(Report(request.report), key, _info(request)))

    def _check_quote(self, request: messages.GetQuoteExRequest) -> AttestationKeyId:
        """The key to quote with, after the checks in Intel's order (aesm 4.6), but for the report's MAC.

        That order is: key id, lengths, initialised, buffer size, then the MAC, which is the platform's to check.
        """
        key = self._key(request.att_key_id)
        if len(request.report) != Report.SIZE:
            raise Refusal(AesmStatus.PARAMETER_ERROR, f"the report has {len(request.report)} bytes, not {Report.SIZE}")
        wanted = request.qe_report_info
        if wanted is not None and len(wanted) != QeReportInfo.SIZE:
            raise Refusal(
                AesmStatus.PARAMETER_ERROR, f"qe_report_info has {len(wanted)} bytes, not {QeReportInfo.SIZE}"
            )
        size = self.platform.quote_size(key)
        if not size <= request.buf_size <= self.limits.buffer_bytes:
            raise Refusal(
                AesmStatus.PARAMETER_ERROR,
                f"buf_size is {request.buf_size}, it goes from {size} to {self.limits.buffer_bytes}",
            )
        if self.rules != _NO_RULES and (objection := self.rules.objection(Report(request.report).body)):
            raise Refusal(AesmStatus.PARAMETER_ERROR, objection)
        return key

    def _quote_size(self, request: messages.GetQuoteSizeExRequest) -> messages.Response:
        return messages.GetQuoteSizeExResponse(
            AesmStatus.SUCCESS, self.platform.quote_size(self._key(request.att_key_id))
        )

    def _init_quote(self, request: messages.InitQuoteExRequest) -> messages.Response:
        """Without ``b_pub_key_id`` nothing is touched, and buf_size is stack garbage of the client's (aesm 0.7)."""
        key = self._key(request.att_key_id)
        if not request.b_pub_key_id:
            return messages.InitQuoteExResponse(AesmStatus.SUCCESS, bytes(512), 32, None)
        if request.buf_size != 32:  # noqa: PLR2004  the size of an ECDSA_ID
            raise Refusal(AesmStatus.PARAMETER_ERROR, f"buf_size is {request.buf_size}, the key's id takes 32 bytes")
        target = self.platform.target(key)
        public_key_id = target.public_key_id
        return messages.InitQuoteExResponse(
            AesmStatus.SUCCESS, target.target_info.raw, len(public_key_id), public_key_id
        )

    # Keys

    def _key(self, raw: bytes | None) -> AttestationKeyId:
        """The platform's key that a client's id names; longer ids are cut, only the base is compared (aesm 4.4)."""
        if raw is None or len(raw) < AttestationKeyId.SIZE:
            raise Refusal(AesmStatus.PARAMETER_ERROR, f"att_key_id must have {AttestationKeyId.SIZE} bytes")
        base = raw[: AttestationKeyId.BASE_SIZE]
        for key in self.platform.attestation_keys():
            if key.base == base:
                return key
        raise Refusal(AesmStatus.UNSUPPORTED_ATT_KEY_ID, "att_key_id names a key that this platform does not have")

    def _select_key(self, request: messages.SelectAttKeyIDRequest) -> messages.Response:
        """The first of the client's ids that the platform has, ECDSA-P256 preferred; the client's bytes come back."""
        available = self.platform.attestation_keys()
        if request.att_key_id_list is None:
            candidates = available
        else:
            try:
                offered = read_key_id_list(request.att_key_id_list)
            except DecodeError as error:
                raise Refusal(AesmStatus.PARAMETER_ERROR, str(error)) from error
            bases = {key.base for key in available}
            candidates = tuple(key for key in offered if key.base in bases)
        if not candidates:
            raise Refusal(AesmStatus.UNSUPPORTED_ATT_KEY_ID, "none of the ids offered names a key of this platform")
        preferred = [key for key in candidates if key.algorithm_id == AttestationAlgorithm.ECDSA_P256]
        return messages.SelectAttKeyIDResponse(AesmStatus.SUCCESS, (preferred or candidates)[0].raw)

    def _count_keys(self, _request: messages.GetSupportedAttKeyIDNumRequest) -> messages.Response:
        return messages.GetSupportedAttKeyIDNumResponse(AesmStatus.SUCCESS, len(self.platform.attestation_keys()))

    def _list_keys(self, request: messages.GetSupportedAttKeyIDsRequest) -> messages.Response:
        ids = b"".join(key.raw for key in self.platform.attestation_keys())
        if request.buf_size != len(ids):
            raise Refusal(
                AesmStatus.PARAMETER_ERROR, f"buf_size is {request.buf_size}, the ids take exactly {len(ids)}"
            )
        return messages.GetSupportedAttKeyIDsResponse(AesmStatus.SUCCESS, ids)

    def _register(self, request: messages.SGXRegisterRequest) -> messages.Response:
        """Only white-list certificates (data type 0) were ever registered, and no daemon needs them (aesm 4.9)."""
        if request.data_type:
            raise Refusal(AesmStatus.PARAMETER_ERROR, f"data_type is {request.data_type}, only 0 is known")
        return self._decline(request)

    def _decline(self, _request: messages.Request) -> messages.Response:
        raise Refusal(AesmStatus.SERVICE_UNAVAILABLE, "EPID, launch tokens and white lists are not served")


def _info(request: messages.GetQuoteExRequest) -> QeReportInfo | None:
    return None if request.qe_report_info is None else QeReportInfo(request.qe_report_info)


def _response(request: messages.GetQuoteExRequest, quoted: Quoted) -> messages.Response:
    """The quote, padded to the size that the client asked for, as Intel's service does."""
    quote, info = quoted
    if len(quote) > request.buf_size:  # its certificates were replaced in between by longer ones
        raise Refusal(AesmStatus.PARAMETER_ERROR, f"buf_size is {request.buf_size}, the quote has {len(quote)} bytes")
    padded = quote.ljust(request.buf_size, b"\0")
    return messages.GetQuoteExResponse(AesmStatus.SUCCESS, padded, None if info is None else info.raw)
