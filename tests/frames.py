"""AESM frames built by hand, apart from the codec under test: keys are ``number << 3 | wire type``, lengths varints."""

from __future__ import annotations

K = bytes.fromhex(
    "000000002000" + "8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff" + "00" * 16
    + "01000000" + "00" * 96 + "02000000" + "00" * 98
)  # fmt: skip
"""The production QE3's key id, as aesm 5.3 prints it."""


def varint(value: int) -> bytes:
    """A base-128 varint."""
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def number(field: int, value: int) -> bytes:
    """A varint field."""
    return varint(field << 3) + varint(value)


def octets(field: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return varint(field << 3 | 2) + varint(len(value)) + value


def frame(body: bytes) -> bytes:
    """A frame: length, body."""
    return len(body).to_bytes(4, "little") + body


def message(field: int, *fields: bytes) -> bytes:
    """A whole frame: the envelope's ``field`` with a message of ``fields``."""
    return frame(octets(field, b"".join(fields)))


INTEL_TIMEOUT = number(9, 15000)
SELECT = message(19, number(2, 15000))
NUM = message(21, INTEL_TIMEOUT)
IDS = message(22, number(1, 256), INTEL_TIMEOUT)
INIT = message(15, octets(1, K), number(3, 1), number(4, 32), INTEL_TIMEOUT)
INIT_SIZE_ONLY = message(15, octets(1, K), number(3, 0), INTEL_TIMEOUT)
SIZE = message(16, octets(1, K), INTEL_TIMEOUT)


def quote(report: bytes, buf_size: int, qe_report_info: bytes | None = None, key: bytes = K) -> bytes:
    """Intel's quote request."""
    info = b"" if qe_report_info is None else octets(3, qe_report_info)
    return message(17, octets(1, report), octets(2, key), info, number(4, buf_size), INTEL_TIMEOUT)


def fields(body: bytes) -> list[tuple[int, int | bytes]]:
    """The fields of a message, in order."""
    found: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(body):
        key, at = _read_varint(body, at)
        value, at = _read_varint(body, at)
        if key & 7 == 2:
            found.append((key >> 3, body[at : at + value]))
            at += value
        else:
            assert key & 7 == 0
            found.append((key >> 3, value))
    return found


def numbers(body: bytes) -> set[int]:
    """The numbers of all fields of a message that may have any wire type but groups."""
    found = set()
    at = 0
    while at < len(body):
        key, at = _read_varint(body, at)
        found.add(key >> 3)
        size = {1: 8, 5: 4}.get(key & 7, 0)
        if not size:
            value, at = _read_varint(body, at)
            size = value if key & 7 == 2 else 0
        at += size
    return found


def reply(raw: bytes) -> tuple[int, dict[int, int | bytes]]:
    """A reply frame as (envelope field, its message's fields)."""
    assert int.from_bytes(raw[:4], "little") == len(raw) - 4, "the length prefix does not fit"
    ((envelope, inner),) = fields(raw[4:])
    assert isinstance(inner, bytes)
    return envelope, dict(fields(inner))


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
