"""Signed JSON: the signed bytes are cut out as they came, and only strict JSON is read."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from quotehelper.documents.pck import read_chain
from quotehelper.documents.signed_json import (
    LEVELS_LIMIT,
    NESTING_LIMIT,
    SIZE_LIMIT,
    Signed,
    compact,
    parse_object,
    split_signed,
    write_object,
    write_signed,
    write_time,
)
from quotehelper.errors import DecodeError

VECTORS = Path(__file__).parents[1] / "vectors"
CASES = sorted(path.parent for path in (VECTORS / "quotes").glob("*/tcb_info.json"))
NAMES = {"tcb_info": "tcbInfo", "qe_identity": "enclaveIdentity"}
real_documents = pytest.mark.parametrize(("case", "stem"), [(c, s) for c in CASES for s in NAMES])
SIGNATURE = "0123456789abcdefABCDEF" + "0" * 106


def document(body: str, *, signature: str = SIGNATURE) -> bytes:
    return f'{{"doc":{body},"signature":"{signature}"}}'.encode()


@real_documents
def test_the_cut_out_bytes_of_real_documents_are_what_was_signed(case: Path, stem: str) -> None:
    body, signature = split_signed((case / f"{stem}.json").read_bytes(), NAMES[stem])
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    signer = read_chain((case / f"{stem}_issuer_chain.pem").read_bytes()).leaf.public_key
    signer.verify(encode_dss_signature(r, s), body, ec.ECDSA(SHA256()))


@real_documents
def test_real_documents_are_written_again_as_they_were_served(case: Path, stem: str) -> None:
    raw, name = (case / f"{stem}.json").read_bytes(), NAMES[stem]
    assert write_signed(name, *split_signed(raw, name)) == raw.strip()


@pytest.mark.parametrize(
    "body",
    ["{}", '{"a":1}', '{ "a" : 1.50e3 }', '{"a":"\\u0041\\n\\"}"}', '{\n\t"b": [1, {"c": null}],\r\n "a": true }'],
)
@pytest.mark.parametrize("space", ["", " ", "\r\n\t "])
def test_the_inner_object_is_cut_out_exactly_as_it_came(body: str, space: str) -> None:
    text = space.join(("", "{", '"doc"', ":", body, ",", '"signature"', ":", f'"{SIGNATURE}"', "}", ""))
    swapped = space.join(("", "{", '"signature"', ":", f'"{SIGNATURE}"', ",", '"doc"', ":", body, "}", ""))
    signed = Signed(body.encode(), bytes.fromhex(SIGNATURE))
    assert split_signed(text.encode(), "doc") == split_signed(swapped.encode(), "doc") == signed


def test_an_outer_member_that_is_not_known_is_left() -> None:
    text = f'{{"x":[1,2],"doc":{{}},"signature":"{SIGNATURE}","y":"}}"}}'
    assert split_signed(text.encode(), "doc").body == b"{}"


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", ""),
        (b"null", ""),
        (b"[]", ""),
        (b"{}", "signature"),
        (b"{", ""),
        (b'{"doc":{}}', "signature"),
        (document("{}", signature=""), "signature"),
        (document("{}", signature="0" * 127), "signature"),
        (document("{}", signature="0" * 129), "signature"),
        (document("{}", signature="0" * 126 + "0g"), "signature"),
        (document("{}", signature="0" * 126 + " 0"), "signature"),
        (b'{"doc":{},"signature":1}', "signature"),
        (b'{"doc":{},"signature":null}', "signature"),
        (document("{}").replace(b"doc", b"Doc"), "doc"),
        (document("[]"), "doc"),
        (document("1"), "doc"),
        (document("{}") + b"x", ""),
        (document("{}") + b"\0", ""),
        (document("{}") + document("{}"), ""),
        (document("{}")[:-1], "signature"),
        (document("{}").replace(b",", b",,"), ""),
        (document("{}").replace(b'"}', b'",}'), ""),
        (document('{},"doc":{}'), ""),
        (document("{}").replace(b'"doc"', b"1"), ""),
        (document("{}").replace(b'"doc"', b"{}"), ""),
        (document('{"a":"\u00e9"}'), ""),
        (b"\xef\xbb\xbf" + document("{}"), ""),
        (b"\xff" * 10, ""),
    ],
    ids=range(28),
)
def test_what_is_no_signed_document_is_refused(raw: bytes, field: str) -> None:
    with pytest.raises(DecodeError) as refused:
        split_signed(raw, "doc")
    assert (refused.value.structure, refused.value.field) == ("doc", field)


@pytest.mark.parametrize("body", ['{"a":1,"a":1}', '{"a":[{"b":{},"b":{}}]}', '{"a":1,"\\u0061":2}'])
def test_a_member_that_occurs_twice_is_refused(body: str) -> None:
    with pytest.raises(DecodeError, match="twice"):
        parse_object(body.encode(), "doc")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("{", ""),
        ('{"a"', ""),
        ('{"a":', "a"),
        ('{"a":[1,{"b":tru}]}', "a[1].b"),
        ('{"a":[[],[],[0,}]]}', "a[2][1]"),
        ('{"a":{"b":{}},"c":{"d":+1}}', "c.d"),
        ('{"\\"[":{"b":x}}', "?.b"),
        ('{"' + "n" * 41 + '":x}', "?"),
    ],
)
def test_json_that_breaks_off_is_refused_where_it_does(body: str, path: str) -> None:
    with pytest.raises(DecodeError) as refused:
        parse_object(body.encode(), "doc")
    assert refused.value.field == path
    assert refused.value.offset is not None


@pytest.mark.parametrize("body", ["{", '{"a"', '{"a":', '{"a":"}', '{"a":"\\"}', "{[}", "{{}"])
def test_an_object_without_an_end_is_not_cut_out(body: str) -> None:
    with pytest.raises(DecodeError):
        split_signed(document(body), "doc")


@pytest.mark.parametrize("body", ['{"a":tru}', '{"a":1,"a":2}', '{"a":"\n"}', "{1}", '{"a":-1.5}'])
def test_what_stands_in_the_object_is_not_looked_at_before_its_signature(body: str) -> None:
    assert split_signed(document(body), "doc").body == body.encode()
    with pytest.raises(DecodeError):
        parse_object(body.encode(), "doc").integer("a", 9)


@pytest.mark.parametrize("indent", [None, 0, 1, "\t"])
def test_compact_text_is_the_same_however_it_was_spaced(indent: int | str | None) -> None:
    value = {"a b": [1, {"c": 'd \\" e'}], "f": None}
    spaced = json.dumps(value, indent=indent).replace("\n", "\r\n").encode()
    assert compact(spaced) == json.dumps(value, separators=(",", ":")).encode()


@pytest.mark.parametrize("mark", ["[", '{"a":'])
def test_nesting_has_a_limit(mark: str) -> None:
    closing = {"[": "]", '{"a":': "}"}[mark]

    def nested(depth: int) -> bytes:
        return b'{"a":' + (mark * depth + "1" + closing * depth).encode() + b"}"

    assert parse_object(nested(NESTING_LIMIT - 1), "doc").has("a")
    for depth in (NESTING_LIMIT, 100_000):
        with pytest.raises(DecodeError, match=f"at most {NESTING_LIMIT}"):
            parse_object(nested(depth), "doc")


def test_brackets_in_strings_are_no_nesting() -> None:
    body = json.dumps({"a": '["{' * 100, "b": "\\" * 99 + '"'}).encode()
    assert parse_object(body, "doc").string("b") == "\\" * 99 + '"'


@pytest.mark.parametrize("unit", [b'\\"', b'"', b"\\", b"a", b"[", b"{", b"]", b" ", b"9", b'"a":', b"-"])
def test_a_document_of_the_largest_size_is_refused_in_one_pass(unit: bytes) -> None:
    head = b'{"doc":{"a":"'
    raw = head + unit * ((SIZE_LIMIT - len(head)) // len(unit))
    for text in (raw, raw.replace(head, b'{"doc":')):
        with pytest.raises(DecodeError):
            split_signed(text, "doc")


def test_a_larger_document_is_refused_unread() -> None:
    for read in (split_signed, parse_object):
        with pytest.raises(DecodeError, match=f"at most {SIZE_LIMIT}"):
            read(b" " * (SIZE_LIMIT + 1), "doc")


@pytest.mark.parametrize(
    "number", ["-1", "-0", "1.0", "1e2", "1E-2", "0.5", "NaN", "Infinity", "-Infinity", "256", "9" * 19, "9" * 9999]
)
def test_a_number_field_takes_plain_numbers_in_range_only(number: str) -> None:
    fields = parse_object(b'{"outer":{"a":%s}}' % number.encode(), "doc").section("outer")
    with pytest.raises(DecodeError) as refused:
        fields.integer("a", 255)
    assert refused.value.field == "outer.a"


@pytest.mark.parametrize("number", ["+1", "01", "1.", ".5", "0x10", "1_000", "--1", "1e"])
def test_what_is_no_json_number_is_no_json(number: str) -> None:
    with pytest.raises(DecodeError) as refused:
        parse_object(b'{"a":%s}' % number.encode(), "doc")
    assert refused.value.field == "a"


@pytest.mark.parametrize("value", ["true", "null", '"1"', "[1]", "{}"])
def test_a_number_field_takes_no_other_type(value: str) -> None:
    with pytest.raises(DecodeError):
        parse_object(b'{"a":%s}' % value.encode(), "doc").integer("a", 255)


@pytest.mark.parametrize(
    "text",
    [
        "2025-06-19T10:56:11",
        "2025-06-19T10:56:11+00:00",
        "2025-06-19 10:56:11Z",
        "2025-06-19T10:56:11.5Z",
        "2025-06-19T10:56:11z",
        "2025-13-19T10:56:11Z",
        "2025-02-29T10:56:11Z",
        "2025-06-19T24:00:00Z",
        "2025-06-19T10:56:60Z",
        "0000-06-19T10:56:11Z",
        "25-06-19T10:56:11Z",
        " 2025-06-19T10:56:11Z",
        "2025-06-19T10:56:11Z\\n",
        "٢٠٢٥-06-19T10:56:11Z".encode("unicode_escape").decode(),
        "",
    ],
)
def test_a_time_field_takes_one_form_only(text: str) -> None:
    with pytest.raises(DecodeError) as refused:
        parse_object(f'{{"a":"{text}"}}'.encode(), "doc").time("a")
    assert refused.value.field == "a"


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_a_time_is_read_as_it_was_written_to_the_second(moment: dt.datetime) -> None:
    fields = parse_object(write_object({"a": write_time(moment)}), "doc")
    assert fields.time("a") == moment.replace(microsecond=0)


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    assert write_time(dt.datetime(2026, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2)))) == "2025-12-31T23:00:00Z"


@pytest.mark.parametrize("text", ["", "0", "000g", "00 00", "00000", "0x00", "\\uff10" * 4])
def test_an_octet_field_takes_exactly_its_digits(text: str) -> None:
    with pytest.raises(DecodeError) as refused:
        parse_object(f'{{"a":"{text}"}}'.encode(), "doc").octets("a", 2)
    assert refused.value.field == "a"


def test_an_octet_field_takes_digits_of_either_case() -> None:
    assert parse_object(b'{"a":"aBfF"}', "doc").octets("a", 2) == b"\xab\xff"


def test_a_list_has_a_largest_length() -> None:
    fields = parse_object(write_object({"a": ["x"] * LEVELS_LIMIT, "b": ["x"] * (LEVELS_LIMIT + 1)}), "doc")
    assert len(fields.strings("a")) == LEVELS_LIMIT
    with pytest.raises(DecodeError) as refused:
        fields.strings("b")
    assert refused.value.field == "b"


def test_an_absent_list_of_texts_is_empty_and_another_list_is_refused() -> None:
    fields = parse_object(b'{"a":[1],"b":{}}', "doc")
    assert fields.strings("c") == ()
    for name in ("a", "b"):
        with pytest.raises(DecodeError) as refused:
            fields.strings(name)
        assert refused.value.field == name


def test_a_refusal_names_the_path_through_lists() -> None:
    fields = parse_object(b'{"a":[{},{"b":{"c":"x"}}]}', "doc")
    with pytest.raises(DecodeError) as refused:
        list(fields.sections("a"))[1].section("b").integer("c", 1)
    assert refused.value.field == "a[1].b.c"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 10**17) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100)
@given(st.dictionaries(st.text(max_size=3), json_values, max_size=3), st.sampled_from([None, 1]))
def test_any_object_is_cut_out_of_its_document_whole(value: dict[str, object], indent: int | None) -> None:
    body = json.dumps(value, indent=indent)
    assert split_signed(document(body), "doc").body == body.encode()


@settings(max_examples=200)
@given(st.binary(max_size=40) | st.text('{}[]":,\\ntrue01"doc', max_size=40).map(str.encode))
def test_arbitrary_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        split_signed(raw, "doc")
