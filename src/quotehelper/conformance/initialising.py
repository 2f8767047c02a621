"""Checks of initialising, of sizes and of key ids: 15, 16. Shell. Source: aesm 2.4, 4.4, 4.5, 4.7, 9.1, 9.2, 9.6."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.aesm import messages as m
from quotehelper.conformance.check import Check, Family, Unmet
from quotehelper.conformance.examined import (
    INIT,
    PUBLIC_KEY_ID_SIZE,
    SIZE,
    decode,
    demand_bytes,
    prepared_of,
    size_of,
    succeeded,
    told,
)
from quotehelper.conformance.oddities import INTEL_TIMEOUT, SAME_KEYS, STRANGE_KEYS, K, message, number, octets
from quotehelper.sgx.report import TargetInfo

if TYPE_CHECKING:
    from quotehelper.conformance.examined import Examined

_INIT = m.InitQuoteExRequest
_INITIALISED = m.InitQuoteExResponse
_SIZED = m.GetQuoteSizeExResponse
_SIZE_ONLY = _INITIALISED(0, bytes(TargetInfo.SIZE), PUBLIC_KEY_ID_SIZE, None)
_ATT_KEY_NOT_INITIALIZED = 42
_GARBAGE = 0xDEADBEEF
_OTHER_SIZES = (None, 0, PUBLIC_KEY_ID_SIZE - 1, PUBLIC_KEY_ID_SIZE + 1, 64, 77, 0xFFFF_FFFF, 1 << 63)
_FILLED = {*range(48), *range(52, 56)}
"""Bytes of a quoting enclave's target info that are not zero: MRENCLAVE, ATTRIBUTES, MISCSELECT (aesm 4.4)."""


def _size_before_init(examined: Examined) -> str:
    response = examined.ask(SIZE, _SIZED)
    if response.error_code == _ATT_KEY_NOT_INITIALIZED:
        raise Unmet("a size, though nobody has initialised the key since the daemon's start", told(response))
    return ""


def _size_only(examined: Examined) -> None:
    examined.expect(_INIT(att_key_id=K, b_pub_key_id=False, timeout=INTEL_TIMEOUT), _SIZE_ONLY)


def _size_only_ignores_buffer(examined: Examined) -> None:
    for size in (0, PUBLIC_KEY_ID_SIZE - 1, _GARBAGE, 1 << 63):
        examined.expect(_INIT(att_key_id=K, b_pub_key_id=False, buf_size=size, timeout=INTEL_TIMEOUT), _SIZE_ONLY)


def _init(examined: Examined) -> None:
    frame = examined.peer.exchange(m.encode_request(INIT))
    target_info, public_key_id = prepared_of(succeeded(decode(frame, _INITIALISED)))
    demand_bytes(frame, _INITIALISED(0, target_info.raw, PUBLIC_KEY_ID_SIZE, public_key_id))
    if any(byte for at, byte in enumerate(target_info.raw) if at not in _FILLED):
        raise Unmet("target info with MRENCLAVE, ATTRIBUTES and MISCSELECT alone", "more than that")


def _init_is_stable(examined: Examined) -> None:
    before = examined.prepared
    if prepared_of(examined.succeed(INIT, _INITIALISED)) != before:
        raise Unmet("the same quoting enclave and key as before", "another one")


def _init_demands_exact_buffer(examined: Examined) -> None:
    for size in _OTHER_SIZES:
        request = _INIT(att_key_id=K, b_pub_key_id=True, buf_size=size, timeout=INTEL_TIMEOUT)
        examined.expect(request, _INITIALISED(3, None, size or 0, None))


def _init_without_choice(examined: Examined) -> None:
    frame = message(_INIT, octets(1, K), number(4, PUBLIC_KEY_ID_SIZE), number(9, INTEL_TIMEOUT))
    examined.expect_status(frame, _INIT, 1)


def _size(examined: Examined) -> None:
    _ = examined.prepared
    frame = examined.peer.exchange(m.encode_request(SIZE))
    size = size_of(succeeded(decode(frame, _SIZED)))
    demand_bytes(frame, _SIZED(0, size))
    examined.known_quote_size = size


def _key_id_needs_256_bytes(examined: Examined) -> None:
    for key in (None, b"", K[:-1]):
        named = () if key is None else (octets(1, key),)
        buffer = PUBLIC_KEY_ID_SIZE
        init = message(_INIT, *named, number(3, 1), number(4, buffer), number(9, INTEL_TIMEOUT))
        examined.expect(init, _INITIALISED(3, None, buffer, None))
        examined.expect(message(m.GetQuoteSizeExRequest, *named), _SIZED(3, 0))


def _key_id_decides(examined: Examined) -> None:
    for key in STRANGE_KEYS:
        buffer = PUBLIC_KEY_ID_SIZE
        examined.expect(_init_of(key), _INITIALISED(38, None, buffer, None))
        examined.expect(m.GetQuoteSizeExRequest(att_key_id=key), _SIZED(38, 0))


def _key_id_tail_is_free(examined: Examined) -> None:
    size = examined.quote_size
    for key in SAME_KEYS:
        prepared = prepared_of(examined.succeed(_init_of(key), _INITIALISED))
        if prepared != examined.prepared:
            raise Unmet("the key that the first 158 bytes name", "another one")
        examined.expect(m.GetQuoteSizeExRequest(att_key_id=key), _SIZED(0, size))


def _init_of(key: bytes) -> m.InitQuoteExRequest:
    return _INIT(att_key_id=key, b_pub_key_id=True, buf_size=PUBLIC_KEY_ID_SIZE, timeout=INTEL_TIMEOUT)


_E = Family.EVERY_CLIENT
_BUG = "Report it to the daemon's makers; no setting helps"

CHECKS = (
    Check(
        "size.before-init",
        "The key is there before the first client initialises it",
        "aesm 0.10, 4.7, 9.6",
        _E,
        "After a restart of the daemon every client that has initialised gets 42; Occlum and Intel's libraries give up",
        "Let a client that initialises run whenever the daemon has started",
        _size_before_init,
        quick=True,
    ),
    Check(
        "init.size-only",
        "An init that asks for the size of the key's id alone is answered 32, with empty target info",
        "aesm 0.7, 4.4, 9.1",
        _E,
        "libsgx_dcap_ql and Open Enclave, which ask this first, end with 0xE001",
        _BUG,
        _size_only,
        quick=True,
    ),
    Check(
        "init.size-only.any-buffer",
        "Its buffer size is not looked at",
        "aesm 0.7, 6.2",
        _E,
        "libsgx_dcap_ql, which sends stack garbage there, fails now and then",
        _BUG,
        _size_only_ignores_buffer,
        quick=True,
    ),
    Check(
        "init.answer",
        "An init gives target info of 512 bytes and the key's id of 32",
        "aesm 4.4, 9.2",
        _E,
        "No client can make a report: nobody gets a quote",
        "See in the daemon's log whether quoting enclave, provisioning enclave and PCCS can be reached",
        _init,
        quick=True,
    ),
    Check(
        "init.stable",
        "A second init gives the same quoting enclave and key",
        "aesm 4.4",
        _E,
        "Reports that were made between the two are refused",
        "Let one daemon alone serve this socket",
        _init_is_stable,
    ),
    Check(
        "init.buffer-size",
        "An init with a buffer of another size than 32 is refused with 3, and the size comes back",
        "aesm 0.8, 2.4, 9.2",
        _E,
        "A client's mistake goes unnoticed",
        _BUG,
        _init_demands_exact_buffer,
    ),
    Check(
        "init.missing-choice",
        "An init that does not say whether it wants the key's id is answered 1 in kind",
        "aesm 1.7, 4.4",
        _E,
        "Intel's library crashes the application if the answer is of another kind",
        _BUG,
        _init_without_choice,
    ),
    Check(
        "size.answer",
        "The size of a quote is told",
        "aesm 4.5, 9.1",
        _E,
        "All clients but Gramine ask it before each quote, and get none",
        "See in the daemon's log whether the platform's certificates could be had",
        _size,
        quick=True,
    ),
    Check(
        "key-id.length",
        "A key id of less than 256 bytes is refused with 3",
        "aesm 0.9, 4.4, 9.2",
        _E,
        "A client's mistake goes unnoticed",
        _BUG,
        _key_id_needs_256_bytes,
    ),
    Check(
        "key-id.decides",
        "A key id that differs in its first 158 bytes is refused with 38",
        "aesm 4.4, 9.2",
        _E,
        "A client gets quotes by another key than it asked for",
        _BUG,
        _key_id_decides,
    ),
    Check(
        "key-id.tail",
        "What follows the first 158 bytes of a key id is not looked at",
        "aesm 4.4, 9.2",
        _E,
        "Clients that pass on the id that select gave them are refused",
        _BUG,
        _key_id_tail_is_free,
    ),
)
