"""Frames that no client library would write: fields missing, doubled, of odd sizes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.aesm.messages import FRAME_HEADER_SIZE
from quotehelper.sgx.key_id import QE3_KEY_ID, AttestationKeyId
from quotehelper.wire.protobuf import encode_varint

if TYPE_CHECKING:
    from quotehelper.aesm.messages import Request

INTEL_TIMEOUT = 15000
"""Milliseconds: what Intel's library writes into its requests."""


def number(field: int, value: int) -> bytes:
    """A varint field."""
    return encode_varint(field << 3) + encode_varint(value)


def octets(field: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return encode_varint(field << 3 | 2) + encode_varint(len(value)) + value


def frame(body: bytes) -> bytes:
    """A frame: length, body."""
    return len(body).to_bytes(FRAME_HEADER_SIZE, "little") + body


def message(kind: type[Request], *fields: bytes) -> bytes:
    """A whole frame: a request of ``kind`` with ``fields`` as they are."""
    return frame(octets(kind.FIELD, b"".join(fields)))


def flipped(raw: bytes, at: int) -> bytes:
    """``raw`` with one bit changed in the byte ``at``."""
    return raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]


def key_list(*ids: bytes, header: bytes = bytes(4), count: int | None = None) -> bytes:
    """An ``sgx_ql_att_key_id_list_t`` that may be wrong."""
    return header + (len(ids) if count is None else count).to_bytes(4, "little") + b"".join(ids)


K = QE3_KEY_ID.raw
"""The key id that clients have compiled in."""

STRANGE_KEY = b"".join((K[:6], b"\x5e" * 32, K[38:]))
"""The id of a key that no daemon has: of a quoting enclave by nobody."""

MARKED_KEY = K[: AttestationKeyId.BASE_SIZE] + b"\x5a" * (AttestationKeyId.SIZE - AttestationKeyId.BASE_SIZE)
"""K, with everything filled that does not decide which key it is."""

STRANGE_KEYS = (STRANGE_KEY, *(flipped(K, at) for at in (0, 6, 54, 154, AttestationKeyId.BASE_SIZE - 1)))
"""Ids that differ from K where it matters: signer, product, algorithm, the first and the last byte."""

SAME_KEYS = (
    MARKED_KEY,
    *(flipped(K, at) for at in (AttestationKeyId.BASE_SIZE, 174, AttestationKeyId.SIZE - 1)),
    K + b"\1" * 44,
)
"""Ids that name the same key as K."""
