from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotehelper.errors import DecodeError
from quotehelper.sgx.key_id import (
    QE3_KEY_ID,
    AttestationAlgorithm,
    AttestationKeyId,
    QeReportInfo,
    encode_key_id_list,
    read_key_id_list,
)

if TYPE_CHECKING:
    from quotehelper.aesm.messages import GetQuoteExRequest

K = QE3_KEY_ID
EPID = K.replace(algorithm_id=AttestationAlgorithm.EPID_LINKABLE)


def key_list(*ids: AttestationKeyId, header: str = "00000000", count: int | None = None) -> bytes:
    listed = b"".join(key_id.raw for key_id in ids)
    return bytes.fromhex(header) + (len(ids) if count is None else count).to_bytes(4, "little") + listed


# Key ids


def test_the_production_key_id_is_the_one_clients_have_compiled_in() -> None:
    assert hashlib.sha256(K.raw).hexdigest() == "2c03a44be88ea1c09c95be1220beca55c2ff1d8872ad0c7221d5dcb5125727b5"


def test_the_production_key_id_is_what_clients_send(quote_request: GetQuoteExRequest) -> None:
    assert quote_request.att_key_id == K.raw


def test_every_field_of_a_key_id_stands_where_the_specification_has_it() -> None:
    assert AttestationKeyId.SIZE == 256
    assert {field.name: (field.offset, field.size) for field in AttestationKeyId.FIELDS} == {
        "id": (0, 2),
        "version": (2, 2),
        "mr_signer_length": (4, 2),
        "mr_signer": (6, 48),
        "prod_id": (54, 4),
        "extended_prod_id": (58, 16),
        "config_id": (74, 64),
        "family_id": (138, 16),
        "algorithm_id": (154, 4),
        "spid": (158, 16),
        "att_key_type": (174, 2),
    }


def test_algorithms_have_their_numbers() -> None:
    assert [(algorithm.name, algorithm.value) for algorithm in AttestationAlgorithm] == [
        ("EPID_UNLINKABLE", 0),
        ("EPID_LINKABLE", 1),
        ("ECDSA_P256", 2),
        ("ECDSA_P384", 3),
    ]


@pytest.mark.parametrize("at", range(256))
def test_the_first_158_bytes_decide_which_key_it_is(at: int) -> None:
    changed = AttestationKeyId(K.raw[:at] + bytes([K.raw[at] ^ 1]) + K.raw[at + 1 :])
    assert (changed.base == K.base) is (at >= 158)


# Lists (aesm 4.2)


@pytest.mark.parametrize("ids", [(K,), (EPID, K), (K,) * 10])
def test_a_list_is_read_in_the_caller_s_order_and_encoded_again(ids: tuple[AttestationKeyId, ...]) -> None:
    assert read_key_id_list(key_list(*ids)) == ids
    assert encode_key_id_list(ids) == key_list(*ids)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", "id"),
        (b"\0\0\0", "version"),
        (bytes(7), "num_att_ids"),
        (key_list(K, header="01000000"), "id"),
        (key_list(K, header="00000100"), "version"),
        (key_list(*[K] * 11), "num_att_ids"),
        (key_list(K, count=0xFFFFFFFF), "num_att_ids"),
        (key_list(), "ids"),
        (key_list(count=1), "ids"),
        (key_list(K)[:263], "ids"),
        (key_list(K, count=2), "ids"),
        (key_list(K) + b"\0", ""),
        (key_list(K, count=0), ""),
    ],
)
def test_anything_but_a_whole_list_is_refused_by_its_field(raw: bytes, field: str) -> None:
    with pytest.raises(DecodeError) as caught:
        read_key_id_list(raw)
    assert (caught.value.structure, caught.value.field) == ("AttestationKeyIdList", field)


@pytest.mark.parametrize("count", [0, 11])
def test_only_one_to_ten_ids_are_listed(count: int) -> None:
    with pytest.raises(DecodeError, match=f"{count} ids given, 1 to 10 can be listed"):
        encode_key_id_list([K] * count)


@pytest.mark.parametrize("size", range(len(key_list(K, EPID))))
def test_a_list_cut_short_is_refused(size: int) -> None:
    with pytest.raises(DecodeError):
        read_key_id_list(key_list(K, EPID)[:size])


@settings(max_examples=200)
@given(st.binary(max_size=600))
def test_any_bytes_are_a_list_or_refused(raw: bytes) -> None:
    try:
        ids = read_key_id_list(raw)
    except DecodeError:
        return
    assert encode_key_id_list(ids) == raw


# QE report info


def test_every_field_of_a_qe_report_info_stands_where_the_specification_has_it() -> None:
    assert QeReportInfo.SIZE == 960
    assert {field.name: (field.offset, field.size) for field in QeReportInfo.FIELDS} == {
        "nonce": (0, 16),
        "app_enclave_target_info": (16, 512),
        "qe_report": (528, 432),
    }


def test_a_real_request_holds_nonce_and_target_and_no_report(quote_request: GetQuoteExRequest) -> None:
    info = QeReportInfo(quote_request.qe_report_info or b"")
    assert info.nonce == bytes(range(16))
    assert info.app_enclave_target_info.mr_enclave == b"\x11" * 32
    assert not any(info.qe_report.raw)


def test_a_real_answer_binds_nonce_and_quote_and_keeps_what_was_given(
    quote_request: GetQuoteExRequest, answered_info: QeReportInfo, answered_quote: bytes
) -> None:
    assert answered_info.raw[:528] == (quote_request.qe_report_info or b"")[:528]
    bound = hashlib.sha256(answered_info.nonce + answered_quote).digest()
    assert answered_info.qe_report.body.report_data == bound + bytes(32)
