"""Answers in the form that clients know: header names, encodings and content types with their quirks.

Source: dcap 6.1 to 6.3 and 10 (trap 5): revocation lists go out as hexadecimal under a PEM content type unless DER is
asked for; issuer chains are percent-encoded; the name of the TCB info chain's header depends on the API version.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from quotehelper.collateral.catalog import ENCLAVE_OF, Kind
from quotehelper.collateral.platform_collateral import encode_pck_certs
from quotehelper.collateral.sources import escape_chain
from quotehelper.errors import SourceCause

if TYPE_CHECKING:
    from quotehelper.collateral.catalog import Document, PckSet
    from quotehelper.collateral.store import PckAnswer
    from quotehelper.errors import SourceError

_PEM, _DER, _JSON, _TEXT = "application/x-pem-file", "application/pkix-crl", "application/json", "text/plain"
_COMPRESSED_FROM_BYTES = 512
_INTEGRITY, _UNKNOWN, _NOT_AVAILABLE = 460, 461, 462
"""The service's own status codes (dcap 6.2)."""

REASONS = {
    _INTEGRITY: "Integrity Check Failed",
    _UNKNOWN: "Platform Unknown",
    _NOT_AVAILABLE: "Certificate Not Available",
}
"""Their reason phrases."""

_STATUS = {
    SourceCause.NOT_FOUND: 404,
    SourceCause.UNKNOWN_PLATFORM: _UNKNOWN,
    SourceCause.NOT_AVAILABLE: _NOT_AVAILABLE,
    SourceCause.NOT_IN_THIS_MODE: 503,
    SourceCause.STORE: 500,
}
"""What each cause is answered with; everything else is the source's fault: 502."""

_SENTENCES = {
    400: "The request's parameters are not valid: {}.",
    401: "The token is missing or wrong.",
    404: "There is no data for this request.",
    405: "This path has no such method.",
    413: "The body is larger than what is taken.",
    460: "The documents are not proven to be genuine, or are older than those that are kept: {}.",
    461: "The platform is not in the cache.",
    462: "There is no certificate for this platform's TCB.",
    500: "Something went wrong in this service; its log says what.",
    502: "The data could not be had from where it is published, or were not genuine; the log says what is wrong.",
    503: "This is not possible in the mode of this service.",
}


def refusal(status: int, detail: str = "") -> web.Response:
    """A plain sentence for ``status``; ``detail`` only says what the caller himself sent."""
    sentence = _SENTENCES.get(status, "The request can't be answered.")
    text = sentence.format(detail) if detail else sentence.replace(": {}", "")
    return web.Response(status=status, reason=REASONS.get(status), text=text, content_type=_TEXT)


def refusal_of(error: SourceError, *, of_import: bool = False) -> web.Response:
    """The answer to who asked for what ``error`` says is not to be had, or brought what can't be kept."""
    if of_import and error.cause is not SourceCause.STORE:
        return refusal(_INTEGRITY, _one_line(str(error)))
    return refusal(_STATUS.get(error.cause, 502))


def document(found: Document, version: int, request: web.Request, *, der: bool = False) -> web.Response:
    """``found``, under the header names of the API's ``version``; a revocation list as DER or hexadecimal."""
    headers = {}
    match found.key.kind:
        case Kind.TCB_INFO | Kind.TDX_TCB_INFO:
            name = "SGX-TCB-Info-Issuer-Chain" if version == 3 else "TCB-Info-Issuer-Chain"  # noqa: PLR2004  the API
            headers[name] = escape_chain(found.issuer_chain)
        case Kind.PCK_CRL:
            headers["SGX-PCK-CRL-Issuer-Chain"] = escape_chain(found.issuer_chain)
        case Kind.EVALUATION_NUMBERS:
            headers["TCB-Evaluation-Data-Numbers-Issuer-Chain"] = escape_chain(found.issuer_chain)
        case kind if kind in ENCLAVE_OF:
            headers["SGX-Enclave-Identity-Issuer-Chain"] = escape_chain(found.issuer_chain)
    if found.key.kind in {Kind.PCK_CRL, Kind.ROOT_CA_CRL}:
        body = found.body if der else found.body.hex().encode()
        return conditional(request, body, _DER if der else _PEM, headers)
    return conditional(request, found.body, _JSON, headers)


def pck_certificate(answer: PckAnswer, request: web.Request) -> web.Response:
    """A PCK certificate with all that is said about it in headers."""
    headers = {
        "SGX-PCK-Certificate-Issuer-Chain": escape_chain(answer.chain),
        "SGX-TCBm": answer.tcbm,
        "SGX-FMSPC": answer.fmspc,
        "SGX-PCK-Certificate-CA-Type": answer.ca.lower(),
    }
    return conditional(request, answer.pem, _PEM, headers)


def pck_certificates(found: PckSet, chain: bytes) -> web.Response:
    """All certificates of a platform."""
    first = found.certificates[0]
    headers = {
        "SGX-PCK-Certificate-Issuer-Chain": escape_chain(chain),
        "SGX-FMSPC": first.fmspc,
        "SGX-PCK-Certificate-CA-Type": first.ca.lower(),
    }
    return as_json(encode_pck_certs(found), headers)


def as_json(value: Any, headers: dict[str, str] | None = None) -> web.Response:  # noqa: ANN401  whatever JSON can be
    """``value`` as JSON."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return web.Response(body=body, content_type=_JSON, headers=headers)


def conditional(
    request: web.Request, body: bytes, content_type: str, headers: dict[str, str] | None = None
) -> web.Response:
    """``body``, or 304 if the client says that it has it already; compressed if it is large and the client can."""
    tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**(headers or {}), "ETag": tag, "Vary": "Accept-Encoding"}
    given = request.headers.get("If-None-Match", "")
    if tag in {part.strip() for part in given.split(",")}:
        return web.Response(status=304, headers=headers)
    response = web.Response(body=body, content_type=content_type, headers=headers)
    if len(body) >= _COMPRESSED_FROM_BYTES:
        response.enable_compression()
    return response


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:400]
