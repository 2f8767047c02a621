"""Whether an answer is the right one: its kind, its status, and for a quote its signature over the report sent."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256

from benchmarks.rig import BenchError
from quotehelper.aesm.messages import GetQuoteExRequest, GetQuoteExResponse, decode_request, decode_response
from quotehelper.sgx.quote import read_quote


def check_answer(kind: str, frame: bytes, reply: bytes) -> None:
    """Check ``reply``, a frame, against the request in ``frame``.

    Raises BenchError if it is an error or a quote over something else, DecodeError if it is no answer,
    InvalidSignature if the quote's attestation key has not signed it.
    """
    request = decode_request(frame[4:])
    response = decode_response(reply[4:], request.RESPONSE)
    if response.error_code:
        raise BenchError(f"{kind}: status {response.error_code}")
    if isinstance(request, GetQuoteExRequest) and isinstance(response, GetQuoteExResponse):
        quote = read_quote(response.quote or b"")
        if quote.body.raw != request.report[:384]:
            raise BenchError("the quote is over another report")
        _check_signature(quote.attestation_key, quote.signature, quote.signed)


def _check_signature(point: bytes, signature: bytes, signed: bytes) -> None:
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
    der = utils.encode_dss_signature(int.from_bytes(signature[:32]), int.from_bytes(signature[32:]))
    key.verify(der, signed, ec.ECDSA(SHA256()))
