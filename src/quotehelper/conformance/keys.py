"""Checks of the requests that list and choose keys: 19, 21, 22. Shell. Source: aesm 2.4, 4.2, 4.3, 9.1, 9.3, 9.4."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.aesm import messages as m
from quotehelper.conformance.check import Check, Family, Unmet
from quotehelper.conformance.examined import (
    COUNT,
    KEY_ID_SIZE,
    KEYS_LIMIT,
    count_of,
    decode,
    demand_bytes,
    sized,
    succeeded,
)
from quotehelper.conformance.oddities import (
    INTEL_TIMEOUT,
    MARKED_KEY,
    STRANGE_KEY,
    K,
    key_list,
    message,
    number,
    octets,
)
from quotehelper.sgx.key_id import AttestationKeyId

if TYPE_CHECKING:
    from quotehelper.conformance.examined import Examined

_IDS = m.GetSupportedAttKeyIDsRequest
_SELECT = m.SelectAttKeyIDRequest
_SELECTED = m.SelectAttKeyIDResponse
_MALFORMED_LISTS = {
    "an empty list": b"",
    "a list of 263 bytes": key_list(K)[:263],
    "a byte behind the list": key_list(K) + b"\0",
    "list version 1": key_list(K, header=b"\0\0\1\0"),
    "list id 1": key_list(K, header=b"\1\0\0\0"),
    "11 ids": key_list(*[K] * (KEYS_LIMIT + 1)),
    "a count above the ids": key_list(K, count=2),
    "a count below the ids": key_list(K, count=0),
}


def _count(examined: Examined) -> None:
    frame = examined.peer.exchange(m.encode_request(COUNT))
    response = succeeded(decode(frame, m.GetSupportedAttKeyIDNumResponse))
    demand_bytes(frame, m.GetSupportedAttKeyIDNumResponse(0, count_of(response)))


def _list(examined: Examined) -> None:
    size = KEY_ID_SIZE * examined.key_count
    frame = examined.peer.exchange(m.encode_request(_IDS(buf_size=size, timeout=INTEL_TIMEOUT)))
    response = succeeded(decode(frame, m.GetSupportedAttKeyIDsResponse))
    demand_bytes(frame, m.GetSupportedAttKeyIDsResponse(0, sized("att_key_ids", response.att_key_ids, size)))


def _list_has_production_key(examined: Examined) -> None:
    size = KEY_ID_SIZE * examined.key_count
    response = examined.succeed(_IDS(buf_size=size, timeout=INTEL_TIMEOUT), m.GetSupportedAttKeyIDsResponse)
    listed = sized("att_key_ids", response.att_key_ids, size)
    ids = [listed[at : at + AttestationKeyId.BASE_SIZE] for at in range(0, size, KEY_ID_SIZE)]
    if K[: AttestationKeyId.BASE_SIZE] not in ids:
        raise Unmet("the id of the production QE3's ECDSA key", f"{len(ids)} other ids")


def _list_demands_exact_buffer(examined: Examined) -> None:
    right = KEY_ID_SIZE * examined.key_count
    for size in (0, KEY_ID_SIZE - 1, right + 1, right + KEY_ID_SIZE):
        examined.expect(_IDS(buf_size=size, timeout=INTEL_TIMEOUT), m.GetSupportedAttKeyIDsResponse(3, None))


def _list_without_size(examined: Examined) -> None:
    examined.expect(message(_IDS, number(9, INTEL_TIMEOUT)), m.GetSupportedAttKeyIDsResponse(1, None))


def _select_without_list(examined: Examined) -> None:
    examined.expect(_SELECT(timeout=INTEL_TIMEOUT), _SELECTED(0, K))


def _select_refuses_malformed_lists(examined: Examined) -> None:
    for name, offered in _MALFORMED_LISTS.items():
        try:
            examined.expect(message(_SELECT, octets(1, offered), number(2, INTEL_TIMEOUT)), _SELECTED(3, None))
        except Unmet as unmet:
            raise Unmet(f"{unmet.expected} for {name}", unmet.got) from unmet


def _select_takes_what_is_known(examined: Examined) -> None:
    for offered in ((STRANGE_KEY, K), (K, STRANGE_KEY), (K,) * KEYS_LIMIT):
        examined.expect(message(_SELECT, octets(1, key_list(*offered))), _SELECTED(0, K))


def _select_refuses_strangers(examined: Examined) -> None:
    examined.expect(message(_SELECT, octets(1, key_list(STRANGE_KEY))), _SELECTED(38, None))


def _select_gives_back(examined: Examined) -> None:
    for offered in ((MARKED_KEY,), (STRANGE_KEY, MARKED_KEY, K)):
        examined.expect(message(_SELECT, octets(1, key_list(*offered))), _SELECTED(0, MARKED_KEY))


_E = Family.EVERY_CLIENT
_BUG = "Report it to the daemon's makers; no setting helps"

CHECKS = (
    Check(
        "num.answer",
        "The number of keys is told",
        "aesm 2.5, 4.3, 9.1",
        _E,
        "Open Enclave and Fortanix find no key; Open Enclave remembers that for the life of its process",
        "See in the daemon's log whether its quoting enclave could be loaded",
        _count,
        quick=True,
    ),
    Check(
        "ids.answer",
        "All key ids are listed in a buffer of their size",
        "aesm 2.5, 4.3, 9.4",
        _E,
        "Open Enclave, Fortanix and enarx find no key",
        _BUG,
        _list,
        quick=True,
    ),
    Check(
        "ids.production-key",
        "The production quoting enclave's ECDSA key is among them",
        "aesm 5.3",
        _E,
        "Clients that have its id compiled in (libsgx_dcap_ql, Gramine, enarx) get no quote",
        "Install Intel's production-signed QE3, and see in the daemon's log whether it could be loaded",
        _list_has_production_key,
        quick=True,
    ),
    Check(
        "ids.buffer-size",
        "A buffer of another size than the ids' is refused with 3",
        "aesm 4.3, 9.4",
        _E,
        "A client with an old count takes a part of the list for the whole",
        _BUG,
        _list_demands_exact_buffer,
    ),
    Check(
        "ids.missing-size",
        "A request for ids without a buffer size is answered 1 in kind",
        "aesm 1.7, 4.3",
        _E,
        "Intel's library crashes the application if the answer is of another kind",
        _BUG,
        _list_without_size,
    ),
    Check(
        "select.no-list",
        "Without a list the production key is selected",
        "aesm 4.2, 9.3",
        _E,
        "rune and applications that let the daemon choose get no ECDSA quote",
        "Set the default quoting type to ecdsa_256 in /etc/aesmd.conf",
        _select_without_list,
        quick=True,
    ),
    Check(
        "select.malformed-list",
        "A malformed list of ids is refused with 3",
        "aesm 4.2, 9.3",
        _E,
        "A client's mistake goes unnoticed",
        _BUG,
        _select_refuses_malformed_lists,
    ),
    Check(
        "select.known",
        "Of a list the key that the daemon has is selected",
        "aesm 4.2, 9.3",
        _E,
        "Verifiers that offer several kinds of key, as Intel's RemoteAttestation sample does, are refused",
        _BUG,
        _select_takes_what_is_known,
    ),
    Check(
        "select.unknown",
        "A list of unknown keys is refused with 38",
        "aesm 4.2, 9.3",
        _E,
        "Intel's library tells the application another error than that its key is not supported",
        _BUG,
        _select_refuses_strangers,
    ),
    Check(
        "select.gives-back",
        "A selected id comes back as the client wrote it",
        "aesm 4.2, 9.3",
        _E,
        "What the client wrote beside the key's name (spid) is lost",
        _BUG,
        _select_gives_back,
    ),
)
