"""TCB info of Intel's, both versions: what it says, and that it is written again as it was."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from quotehelper.documents.signed_json import split_signed, write_object
from quotehelper.documents.tcb_info import (
    NAME,
    Component,
    TcbStatus,
    as_version_2,
    encode_tcb_info,
    parse_tcb_info,
)
from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = Path(__file__).parents[1] / "vectors"
CASES = sorted((VECTORS / "quotes").glob("*/tcb_info.json"))
V2 = next(path for path in CASES if path.parent.name.startswith("v26"))


@pytest.fixture
def body(tcb_info_text: bytes) -> bytes:
    return split_signed(tcb_info_text, NAME).body


def changed(body: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(body)
    change(document)
    return write_object(document)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.parent.name)
def test_every_real_tcb_info_is_written_again_as_it_was(path: Path) -> None:
    body = split_signed(path.read_bytes(), NAME).body
    written = encode_tcb_info(parse_tcb_info(body))
    fmspc = json.loads(body)["fmspc"]  # served in the case in which it was asked for
    assert written.replace(f'"fmspc":"{fmspc.upper()}"'.encode(), f'"fmspc":"{fmspc}"'.encode()) == body


def test_every_recorded_tcb_info_is_read_and_written_again(served_text: bytes) -> None:
    if b'"tcbInfo"' in served_text:
        body = split_signed(served_text, NAME).body
        assert encode_tcb_info(parse_tcb_info(body)) == body


def test_the_fields_of_a_real_tcb_info(body: bytes) -> None:
    info = parse_tcb_info(body)
    assert (info.version, info.id) == (3, "SGX")
    assert info.issue_date == dt.datetime(2025, 6, 19, 10, 56, 11, tzinfo=dt.UTC)
    assert info.next_update == dt.datetime(2025, 7, 19, 10, 56, 11, tzinfo=dt.UTC)
    assert (info.fmspc.hex(), info.pce_id.hex()) == ("00a067110000", "0000")
    assert (info.tcb_type, info.tcb_evaluation_data_number) == (0, 17)


def test_the_levels_of_a_real_tcb_info(body: bytes) -> None:
    highest, *_, lowest = parse_tcb_info(body).levels
    assert [part.svn for part in highest.components] == [11, 11, 2, 2, 255, 1, 12, *[0] * 9]
    assert highest.pce_svn == 13
    assert highest.tcb_date == dt.datetime(2024, 3, 13, tzinfo=dt.UTC)
    assert highest.status is TcbStatus.SW_HARDENING_NEEDED
    assert highest.advisory_ids == ("INTEL-SA-00615",)
    assert lowest.tcb_date < highest.tcb_date


def test_version_3_may_say_what_its_components_are() -> None:
    path = next(path for path in CASES if path.parent.name.startswith("v15"))
    highest = parse_tcb_info(split_signed(path.read_bytes(), NAME).body).levels[0]
    assert highest.components[0] == Component(14, "BIOS", "Early Microcode Update")
    assert highest.components[-1] == Component(0)


def test_version_2_has_neither_id_nor_categories() -> None:
    info = parse_tcb_info(split_signed(V2.read_bytes(), NAME).body)
    assert (info.version, info.id) == (2, None)
    assert {(part.category, part.type) for level in info.levels for part in level.components} == {(None, None)}


def test_what_version_3_says_is_written_as_version_2_and_read_back(body: bytes) -> None:
    info = parse_tcb_info(body)
    older = as_version_2(info)
    assert parse_tcb_info(encode_tcb_info(older)) == older
    assert [[part.svn for part in level.components] for level in older.levels] == [
        [part.svn for part in level.components] for level in info.levels
    ]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("version", lambda doc: doc.pop("version")),
        ("version", lambda doc: doc.update(version=4)),
        ("version", lambda doc: doc.update(version="3")),
        ("id", lambda doc: doc.pop("id")),
        ("id", lambda doc: doc.update(id="sgx")),
        ("issueDate", lambda doc: doc.update(issueDate=0)),
        ("fmspc", lambda doc: doc.update(fmspc="00")),
        ("pceId", lambda doc: doc.pop("pceId")),
        ("tcbType", lambda doc: doc.update(tcbType=True)),
        ("tcbEvaluationDataNumber", lambda doc: doc.update(tcbEvaluationDataNumber=-1)),
        ("tcbLevels", lambda doc: doc.update(tcbLevels=[])),
        ("tcbLevels", lambda doc: doc.update(tcbLevels={})),
        ("tcbLevels[0]", lambda doc: doc.update(tcbLevels=[1])),
        ("tcbLevels[1].tcb", lambda doc: doc["tcbLevels"][1].update(tcb=[])),
        ("tcbLevels[1].tcbDate", lambda doc: doc["tcbLevels"][1].update(tcbDate="2025-02-30T00:00:00Z")),
        ("tcbLevels[1].tcbStatus", lambda doc: doc["tcbLevels"][1].update(tcbStatus="uptodate")),
        ("tcbLevels[1].tcbStatus", lambda doc: doc["tcbLevels"][1].pop("tcbStatus")),
        ("tcbLevels[1].advisoryIDs", lambda doc: doc["tcbLevels"][1].update(advisoryIDs=[1])),
        ("tcbLevels[1].advisoryIDs", lambda doc: doc["tcbLevels"][1].update(advisoryIDs="INTEL-SA-00289")),
        ("tcbLevels[1].tcb.pcesvn", lambda doc: doc["tcbLevels"][1]["tcb"].update(pcesvn=0x10000)),
        ("tcbLevels[1].tcb.sgxtcbcomponents", lambda doc: doc["tcbLevels"][1]["tcb"].pop("sgxtcbcomponents")),
        ("tcbLevels[1].tcb.sgxtcbcomponents", lambda doc: doc["tcbLevels"][1]["tcb"]["sgxtcbcomponents"].pop()),
        (
            "tcbLevels[1].tcb.sgxtcbcomponents",
            lambda doc: doc["tcbLevels"][1]["tcb"]["sgxtcbcomponents"].append({"svn": 0}),
        ),
        (
            "tcbLevels[1].tcb.sgxtcbcomponents[15].svn",
            lambda doc: doc["tcbLevels"][1]["tcb"]["sgxtcbcomponents"][15].update(svn=256),
        ),
        (
            "tcbLevels[1].tcb.sgxtcbcomponents[0].category",
            lambda doc: doc["tcbLevels"][1]["tcb"]["sgxtcbcomponents"][0].update(category=1),
        ),
    ],
)
def test_what_is_not_in_the_schema_is_refused_by_its_path(
    body: bytes, field: str, change: Callable[[dict[str, Any]], object]
) -> None:
    with pytest.raises(DecodeError) as refused:
        parse_tcb_info(changed(body, change))
    assert (refused.value.structure, refused.value.field) == (NAME, field)


def test_version_1_is_refused_for_its_version_if_nothing_else_is_wrong() -> None:
    raw = (VECTORS / "malformed" / "tcbInfoNegativePceSvn.json").read_bytes().replace(b"65537", b"5")
    with pytest.raises(DecodeError) as refused:
        parse_tcb_info(split_signed(raw, NAME).body)
    assert refused.value.field == "version"


def test_version_2_with_the_components_of_version_3_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError) as refused:
        parse_tcb_info(changed(body, lambda doc: doc.update(version=2)))
    assert refused.value.field == "tcbLevels[0].tcb.sgxtcbcomp01svn"


def test_members_that_are_not_known_are_left(body: bytes) -> None:
    def extend(document: dict[str, Any]) -> None:
        document["tcbLevels"][0]["new"] = document["new"] = {"a": [1.5, None]}

    assert parse_tcb_info(changed(body, extend)) == parse_tcb_info(body)


def test_of_a_tdx_tcb_info_is_read_what_sgx_shares_and_nothing_written(body: bytes) -> None:
    def make_tdx(document: dict[str, Any]) -> None:
        document |= {
            "id": "TDX",
            "tdxModule": {"mrsigner": "00" * 48, "attributes": "00" * 8},
            "tdxModuleIdentities": [],
        }
        for level in document["tcbLevels"]:
            level["tcb"]["tdxtcbcomponents"] = [{"svn": 0}] * 16

    info = parse_tcb_info(changed(body, make_tdx))
    assert (info.id, info.levels) == ("TDX", parse_tcb_info(body).levels)
    with pytest.raises(DecodeError) as refused:
        encode_tcb_info(info)
    assert refused.value.field == "id"


def test_every_status_of_intels_has_a_name() -> None:
    assert {status.value for status in TcbStatus} == {
        "UpToDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
        "Revoked",
    }


def test_a_truncated_tcb_info_is_refused_at_every_length(body: bytes) -> None:
    for size in range(0, len(body), 7):
        with pytest.raises(DecodeError):
            parse_tcb_info(body[:size])
    with pytest.raises(DecodeError):
        parse_tcb_info(body[:-1])


def test_each_flipped_bit_of_a_tcb_info_is_a_value_or_a_refusal(tcb_info_text: bytes) -> None:
    for bit in range(0, 8 * len(tcb_info_text), 41):
        copy = bytearray(tcb_info_text)
        copy[bit // 8] ^= 1 << bit % 8
        try:
            parse_tcb_info(split_signed(bytes(copy), NAME).body)
        except DecodeError:
            continue
