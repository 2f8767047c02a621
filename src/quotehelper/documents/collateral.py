"""Collateral: the documents that a verifier needs besides the quote, as they were served. Pure.

Nothing here believes a byte of them: `verification` does. Two forms are read and written:

- one file a document, under the names in `FILES` (``pck_chain.pem`` may be missing);
- one JSON object as dcap-qvl's QuoteCollateralV3 has it (dcap 7.5): chains and inner documents as text, CRLs and
  signatures in hexadecimal.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.documents import qe_identity, tcb_info
from quotehelper.documents.signed_json import SIZE_LIMIT, split_signed, write_object, write_signed
from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

FILES = {
    "pck_crl_issuer_chain": "pck_crl_issuer_chain.pem",
    "root_ca_crl": "root_ca_crl.der",
    "pck_crl": "pck_crl.der",
    "tcb_info_issuer_chain": "tcb_info_issuer_chain.pem",
    "tcb_info": "tcb_info.json",
    "qe_identity_issuer_chain": "qe_identity_issuer_chain.pem",
    "qe_identity": "qe_identity.json",
    "pck_chain": "pck_chain.pem",
}
"""The file of each field of `Collateral`."""

_OPTIONAL = "pck_chain"
_NAME = "Collateral"
_SIGNED = {"tcb_info": tcb_info.NAME, "qe_identity": qe_identity.NAME}
_HEXADECIMAL = ("root_ca_crl", "pck_crl")
_TEXT = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
_PCK_CHAIN_IN_JSON = "pck_certificate_chain"


class Collateral(NamedTuple):
    """All that is needed besides the quote, for one platform family. Whoever served it controls every byte.

    Chains are PEM text, issuer of the document's signature first, root last; CRLs are DER, PEM, or hexadecimal of
    DER; ``tcb_info`` and ``qe_identity`` are the outer objects with their signatures. ``pck_chain`` is for quotes
    that carry no chain of their own (certification data of types 1 to 3).
    """

    pck_crl_issuer_chain: bytes
    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info_issuer_chain: bytes
    tcb_info: bytes
    qe_identity_issuer_chain: bytes
    qe_identity: bytes
    pck_chain: bytes | None = None


def from_files(files: Mapping[str, bytes]) -> Collateral:
    """The collateral in ``files``, contents by the names of `FILES`; others are left.

    What is missing is empty: verification says what it lacks, in the step that needs it.
    """
    required = {field: files.get(name, b"") for field, name in FILES.items() if field != _OPTIONAL}
    return Collateral(**required, pck_chain=files.get(FILES[_OPTIONAL]))


def to_files(collateral: Collateral) -> dict[str, bytes]:
    """File names and contents that ``from_files`` reads."""
    return {FILES[field]: content for field, content in collateral._asdict().items() if content is not None}


def parse_collateral(raw: bytes) -> Collateral:
    """The collateral in ``raw``, dcap-qvl's JSON, which anybody may have written.

    As with files, what is missing is empty. Raises DecodeError, naming the member, if it is no object with some of
    them, or something else is in one.
    """
    if len(raw) > 8 * SIZE_LIMIT:
        raise DecodeError(_NAME, "", f"{len(raw)} bytes, at most {8 * SIZE_LIMIT} are taken")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DecodeError(_NAME, "", "not a JSON document") from error
    if not isinstance(document, dict):
        raise DecodeError(_NAME, "", "an object expected")
    if not document.keys() & {*_TEXT, *_HEXADECIMAL, *_SIGNED}:
        raise DecodeError(_NAME, "", "an object with its members expected")
    fields = {name: _text(document, name) for name in _TEXT}
    fields |= {name: _octets(document, name) for name in _HEXADECIMAL}
    for name, inner in _SIGNED.items():
        signature = _octets(document, f"{name}_signature")
        fields[name] = write_signed(inner, _text(document, name), signature) if name in document else b""
    if document.get(_PCK_CHAIN_IN_JSON) is not None:
        fields[_OPTIONAL] = _text(document, _PCK_CHAIN_IN_JSON)
    return Collateral(**fields)


def encode_collateral(collateral: Collateral) -> bytes:
    """``collateral`` as dcap-qvl's JSON; its CRLs must be DER. Raises DecodeError if a signed document is none."""
    document = {name: getattr(collateral, name).decode() for name in _TEXT}
    document |= {name: getattr(collateral, name).hex() for name in _HEXADECIMAL}
    for name, inner in _SIGNED.items():
        signed = split_signed(getattr(collateral, name), inner)
        document |= {name: signed.body.decode(), f"{name}_signature": signed.signature.hex()}
    if collateral.pck_chain is not None:
        document[_PCK_CHAIN_IN_JSON] = collateral.pck_chain.decode()
    return write_object(document)


def _text(document: Mapping[str, object], name: str) -> bytes:
    value = document.get(name, "")
    if not isinstance(value, str):
        raise DecodeError(_NAME, name, "a text expected")
    try:
        return value.encode("ascii")
    except UnicodeEncodeError as error:
        raise DecodeError(_NAME, name, "not ASCII") from error


def _octets(document: Mapping[str, object], name: str) -> bytes:
    try:
        return bytes.fromhex(_text(document, name).decode())
    except ValueError as error:
        raise DecodeError(_NAME, name, "hexadecimal digits expected") from error
