"""Our codec against Google's protobuf over our own schema file: tables, bytes, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from google.protobuf.message import DecodeError as OracleError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotehelper.aesm import messages as m
from quotehelper.errors import DecodeError, ProtocolError
from quotehelper.wire.protobuf import FIELDS_LIMIT, Kind, Message

Schema = Any
"""A module that protoc makes when the tests run."""

STRICTER = re.compile(
    r"field \d+ at byte \d+: (wire type [34] is not understood|does not exist with wire type \d)$"
    rf"|more than {FIELDS_LIMIT} fields$"
    r"|no known request in it$"
)
"""The deliberate refusals of what protobuf accepts: groups, known fields of another wire type, floods, nothing."""

VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.OCTETS: st.binary(max_size=200),
    Kind.U32: st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 127, 128, 16383, 16384, 2**32 - 1]),
    Kind.U64: st.integers(0, 2**64 - 1) | st.sampled_from([0, 127, 128, 2**32, 2**64 - 1]),
    Kind.BOOLEAN: st.booleans(),
}
LENIENT = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def instances(kind: type[Message]) -> st.SearchStrategy[Any]:
    """Messages of ``kind`` with every combination of fields present and absent."""
    values = {f.name: VALUES[f.kind] if f.required else st.none() | VALUES[f.kind] for f in kind.FIELDS}
    return st.fixed_dictionaries(values).map(lambda named: kind(**named))


REQUESTS = st.sampled_from(list(m.REQUESTS.values())).flatmap(instances)
RESPONSES = st.sampled_from(list(m.RESPONSES.values())).flatmap(instances)


def oracle_envelope(schema: Schema, name: str, message: Any) -> Any:  # noqa: ANN401
    """Protobuf's envelope with ``message``, filled by field number."""
    envelope = getattr(schema, name)()
    inner = getattr(envelope, envelope.DESCRIPTOR.fields_by_number[message.FIELD].name)
    inner.SetInParent()
    for field, value in zip(message.FIELDS, message, strict=True):
        if value is not None:
            setattr(inner, inner.DESCRIPTOR.fields_by_number[field.number].name, value)
    return envelope


def oracle_view(inner: Any, kind: type[Message]) -> list[Any]:  # noqa: ANN401
    """Protobuf's values of a message in our order, None for what is absent."""
    names = [inner.DESCRIPTOR.fields_by_number[field.number].name for field in kind.FIELDS]
    return [getattr(inner, name) if inner.HasField(name) else None for name in names]


# Tables


@pytest.mark.parametrize("envelope", ["Request", "Response"])
def test_the_tables_are_those_of_the_schema(schema: Schema, envelope: str) -> None:
    ours: dict[int, Any] = dict(m.REQUESTS) if envelope == "Request" else dict(m.RESPONSES)
    fields = getattr(schema, envelope).DESCRIPTOR.fields
    assert {field.number: field.message_type.name for field in fields} == {n: kind.__name__ for n, kind in ours.items()}
    for field in fields:
        assert {describe(inner) for inner in field.message_type.fields} == {
            (f.number, f.name, f.kind, f.required) for f in ours[field.number].FIELDS
        }


def describe(field: Any) -> tuple[int, str, Kind, bool]:  # noqa: ANN401
    kinds = {
        field.TYPE_BYTES: Kind.OCTETS,
        field.TYPE_UINT32: Kind.U32,
        field.TYPE_UINT64: Kind.U64,
        field.TYPE_BOOL: Kind.BOOLEAN,
    }
    name = re.sub(r"(?<=[a-z])([A-Z])", r"_\1", field.name).lower()
    return field.number, name, kinds[field.type], field.is_required


# Well-formed messages


@LENIENT
@given(request=REQUESTS)
def test_requests_are_encoded_as_protobuf_does(schema: Schema, request: m.Request) -> None:
    expected = oracle_envelope(schema, "Request", request).SerializeToString(deterministic=True)
    assert m.encode_request(request) == len(expected).to_bytes(4, "little") + expected


@LENIENT
@given(response=RESPONSES)
def test_responses_are_encoded_as_protobuf_does(schema: Schema, response: m.Response) -> None:
    expected = oracle_envelope(schema, "Response", response).SerializeToString(deterministic=True)
    assert m.encode_response(response) == len(expected).to_bytes(4, "little") + expected


@LENIENT
@given(request=REQUESTS)
def test_protobuf_s_requests_are_read(schema: Schema, request: m.Request) -> None:
    assert m.decode_request(oracle_envelope(schema, "Request", request).SerializeToString()) == request


@LENIENT
@given(response=RESPONSES)
def test_protobuf_s_responses_are_read(schema: Schema, response: m.Response) -> None:
    raw = oracle_envelope(schema, "Response", response).SerializeToString()
    assert m.decode_response(raw, type(response)) == response


# Hostile ones

MEANINGFUL = """
    00 01 07 0b 0c 0d 80 ff 7f 0800 0a00 8001 8a0100 8b01 8c01 4a00 4d00000000 4900000000000000 3b3c fa7f00 f87f05
    a20100 0a8000 0a808080808000 08ffffffffffffffffff01 08ffffffffffffffffff7f 08ffffffffffffffffffff01
    808080808001 f8ffffff0f01 f8ffffff1f01 0affffffff07 0affffffff0f 48a0ffffffffff7f 18808001 200a
"""
FRAGMENTS = st.sampled_from([bytes.fromhex(text) for text in MEANINGFUL.split()])


@st.composite
def mutated(draw: st.DrawFn, messages: st.SearchStrategy[Any]) -> bytes:
    """One or two envelopes, spliced, cut and sprinkled with fragments that mean something to a decoder."""
    raw = bytearray()
    for _ in range(draw(st.integers(1, 2))):
        message = draw(messages)
        encode: Any = m.encode_request if isinstance(message, m.Request) else m.encode_response
        raw += encode(message)[4:]
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(raw)))
        match draw(st.integers(0, 4)):
            case 0:
                raw[at:at] = draw(FRAGMENTS)
            case 1:
                raw[at : at + draw(st.integers(1, 4))] = draw(FRAGMENTS)
            case 2:
                del raw[at : at + draw(st.integers(1, 8))]
            case 3 if at < len(raw):
                raw[at] ^= 1 << draw(st.integers(0, 7))
            case _:
                raw += raw[at:]
    return bytes(raw[:4000])


def oracle_parse(schema: Schema, name: str, raw: bytes) -> Any:  # noqa: ANN401
    """Protobuf's envelope, or None if it refuses the bytes."""
    envelope = getattr(schema, name)()
    try:
        envelope.ParseFromString(raw)
    except OracleError:
        return None
    return envelope


@settings(LENIENT, max_examples=1500)
@given(raw=mutated(REQUESTS))
def test_requests_are_understood_and_refused_as_protobuf_does_but_for_the_stated_strictness(
    partial_schema: Schema, raw: bytes
) -> None:
    oracle = oracle_parse(partial_schema, "Request", raw)
    outcome = outcome_of(raw)
    if oracle is None or isinstance(outcome, DecodeError):
        assert isinstance(outcome, DecodeError)
        assert oracle is None or STRICTER.search(str(outcome)), outcome
        return
    names = oracle.DESCRIPTOR.fields_by_number
    chosen = next(kind for kind in m.REQUESTS.values() if oracle.HasField(names[kind.FIELD].name))
    view = oracle_view(getattr(oracle, names[chosen.FIELD].name), chosen)
    absent = [f.name for f, value in zip(chosen.FIELDS, view, strict=True) if f.required and value is None]
    if absent:
        assert isinstance(outcome, ProtocolError)
        assert (outcome.request_field, outcome.status) == (chosen.FIELD, 1)
        assert str(outcome) == f"{chosen.__name__}.{absent[0]}: required, but absent"
    else:
        assert outcome == chosen.complete(view)


def outcome_of(raw: bytes) -> m.Request | DecodeError | ProtocolError:
    try:
        return m.decode_request(raw)
    except (DecodeError, ProtocolError) as error:
        return error


@settings(LENIENT, max_examples=700)
@given(raw=mutated(RESPONSES), data=st.data())
def test_responses_are_understood_and_refused_as_protobuf_does_but_for_the_stated_strictness(
    partial_schema: Schema, raw: bytes, data: st.DataObject
) -> None:
    oracle = oracle_parse(partial_schema, "Response", raw)
    names = getattr(partial_schema, "Response").DESCRIPTOR.fields_by_number  # noqa: B009
    there = [number for number in m.RESPONSES if oracle is not None and oracle.HasField(names[number].name)]
    expected = m.RESPONSES[data.draw(st.sampled_from(there or sorted(m.RESPONSES)))]
    try:
        response = m.decode_response(raw, expected)
    except DecodeError as error:
        refusal = str(error)
    else:
        assert list(response) == oracle_view(getattr(oracle, names[expected.FIELD].name), expected)
        return
    lacks_status = there and not getattr(oracle, names[expected.FIELD].name).HasField("errorCode")
    assert lacks_status or not there or STRICTER.search(refusal), refusal


STRICT_CASES = {
    "a group": "aa01020b0c",
    "a group around the envelope": "f301f401",
    "a known field of another wire type": "aa01024a00",
    "an envelope's field of another wire type": "a80105",
    "a flood of unknown fields": "aa0142" + "3000" * (FIELDS_LIMIT + 1),
    "no known request": "fa0100",
}


@pytest.mark.parametrize("case", STRICT_CASES)
def test_what_is_refused_on_purpose_is_what_protobuf_would_take(partial_schema: Schema, case: str) -> None:
    raw = bytes.fromhex(STRICT_CASES[case])
    assert oracle_parse(partial_schema, "Request", raw) is not None
    with pytest.raises(DecodeError, match=STRICTER):
        m.decode_request(raw)
