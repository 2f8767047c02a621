"""Identities of Intel's enclaves: what they say, and that they are written again as they were."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from quotehelper.documents.qe_identity import (
    ENCLAVES,
    NAME,
    IdentityLevel,
    encode_enclave_identity,
    parse_enclave_identity,
)
from quotehelper.documents.signed_json import split_signed, write_object
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import DecodeError
from quotehelper.sgx.key_id import QE3_MR_SIGNER

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = Path(__file__).parents[1] / "vectors"
CASES = sorted((VECTORS / "quotes").glob("*/qe_identity.json"))


@pytest.fixture
def body(qe_identity_text: bytes) -> bytes:
    return split_signed(qe_identity_text, NAME).body


def changed(body: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(body)
    change(document)
    return write_object(document)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_every_real_identity_is_written_again_as_it_was(path: Path) -> None:
    body = split_signed(path.read_bytes(), NAME).body
    assert encode_enclave_identity(parse_enclave_identity(body)) == body


def test_every_recorded_identity_is_written_again_as_it_was(served_text: bytes) -> None:
    if b'"enclaveIdentity"' in served_text:
        body = split_signed(served_text, NAME).body
        assert encode_enclave_identity(parse_enclave_identity(body)) == body


def test_the_fields_of_a_real_qe_identity(body: bytes) -> None:
    identity = parse_enclave_identity(body)
    assert identity.id == "QE"
    assert identity.issue_date == dt.datetime(2025, 6, 19, 10, 1, 18, tzinfo=dt.UTC)
    assert identity.next_update == dt.datetime(2025, 7, 19, 10, 1, 18, tzinfo=dt.UTC)
    assert identity.tcb_evaluation_data_number == 17
    assert (identity.misc_select, identity.misc_select_mask) == (bytes(4), b"\xff" * 4)
    assert identity.attributes == b"\x11" + bytes(15)
    assert identity.attributes_mask == b"\xfb" + b"\xff" * 7 + bytes(8)
    assert identity.mr_signer == QE3_MR_SIGNER
    assert identity.isv_prod_id == 1


def test_the_levels_of_a_real_qe_identity(body: bytes) -> None:
    levels = parse_enclave_identity(body).levels
    assert levels[0] == IdentityLevel(8, dt.datetime(2024, 3, 13, tzinfo=dt.UTC), TcbStatus.UP_TO_DATE)
    assert [level.isv_svn for level in levels] == [8, 6, 5, 4, 2, 1]
    assert {level.status for level in levels[1:]} == {TcbStatus.OUT_OF_DATE}
    assert levels[1].advisory_ids == ("INTEL-SA-00615",)


@pytest.mark.parametrize("name", ENCLAVES)
def test_the_identity_of_each_enclave_is_read(body: bytes, name: str) -> None:
    assert parse_enclave_identity(changed(body, lambda doc: doc.update(id=name))).id == name


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("id", lambda doc: doc.update(id="PCE")),
        ("id", lambda doc: doc.update(id=None)),
        ("version", lambda doc: doc.update(version=1)),
        ("version", lambda doc: doc.update(version=3)),
        ("nextUpdate", lambda doc: doc.update(nextUpdate="2025-07-19")),
        ("miscselect", lambda doc: doc.update(miscselect="0000000")),
        ("miscselectMask", lambda doc: doc.update(miscselectMask="FFFFFFFFF")),
        ("attributes", lambda doc: doc.update(attributes=0x11)),
        ("attributesMask", lambda doc: doc.update(attributesMask="FBFFFFFFFFFFFFFF")),
        ("mrsigner", lambda doc: doc.update(mrsigner="zz" * 32)),
        ("isvprodid", lambda doc: doc.update(isvprodid=0x10000)),
        ("tcbEvaluationDataNumber", lambda doc: doc.update(tcbEvaluationDataNumber=1 << 31)),
        ("tcbLevels", lambda doc: doc.update(tcbLevels=[])),
        ("tcbLevels[5].tcb.isvsvn", lambda doc: doc["tcbLevels"][5]["tcb"].update(isvsvn=0x10000)),
        ("tcbLevels[0].tcb.isvsvn", lambda doc: doc["tcbLevels"][0]["tcb"].clear()),
        ("tcbLevels[0].tcb", lambda doc: doc["tcbLevels"][0].pop("tcb")),
        ("tcbLevels[0].tcbStatus", lambda doc: doc["tcbLevels"][0].update(tcbStatus="Fine")),
    ],
)
def test_what_is_not_in_the_schema_is_refused_by_its_path(
    body: bytes, field: str, change: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(DecodeError) as refused:
        parse_enclave_identity(changed(body, change))
    assert (refused.value.structure, refused.value.field) == (NAME, field)


def test_members_that_are_not_known_are_left(body: bytes) -> None:
    assert parse_enclave_identity(changed(body, lambda doc: doc.update(new=[{}]))) == parse_enclave_identity(body)


def test_each_flipped_bit_of_an_identity_is_a_value_or_a_refusal(qe_identity_text: bytes) -> None:
    for bit in range(0, 8 * len(qe_identity_text), 5):
        copy = bytearray(qe_identity_text)
        copy[bit // 8] ^= 1 << bit % 8
        try:
            parse_enclave_identity(split_signed(bytes(copy), NAME).body)
        except DecodeError:
            continue


def test_a_truncated_identity_is_refused_at_every_length(qe_identity_text: bytes) -> None:
    for size in range(len(qe_identity_text.rstrip())):
        with pytest.raises(DecodeError):
            split_signed(qe_identity_text[:size], NAME)
