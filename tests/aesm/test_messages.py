from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from quotehelper.aesm import messages as m
from quotehelper.errors import DecodeError, ProtocolError
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.wire.protobuf import FIELDS_LIMIT, Kind, encode_varint

FRAMES = sorted((Path(__file__).parents[1] / "vectors" / "frames").glob("*/*.re[qs]"))
K = QE3_KEY_ID.raw
REPORT = b"\xab" * 432
INTEL_MS = 15000
FORTANIX_US = 30_000_000


def of(frame: bytes, expected: type[m.Response]) -> m.Response:
    return m.decode_response(frame[m.FRAME_HEADER_SIZE :], expected)


def digest_or_hex(frame: bytes) -> set[str]:
    return {frame.hex(), hashlib.sha256(frame).hexdigest()}


def sample(kind: Kind) -> Any:  # noqa: ANN401  whatever the field takes
    return b"x" if kind is Kind.OCTETS else 1


def in_envelope(number: int, raw: bytes) -> bytes:
    """An envelope with one message, made by hand."""
    return encode_varint(number << 3 | 2) + encode_varint(len(raw)) + raw


def full(number: int) -> bytes:
    """An envelope with a request that has all of its fields."""
    kind = m.REQUESTS[number]
    return in_envelope(number, kind(**{field.name: sample(field.kind) for field in kind.FIELDS}).encode())


# The specification's vectors (aesm 2.5)

GOLDEN_REQUESTS: dict[str, tuple[m.Request, str]] = {
    "select, no list": (m.SelectAttKeyIDRequest(timeout=INTEL_MS), "060000009a0103109875"),
    "num": (m.GetSupportedAttKeyIDNumRequest(timeout=INTEL_MS), "06000000aa0103489875"),
    "ids": (m.GetSupportedAttKeyIDsRequest(buf_size=256, timeout=INTEL_MS), "09000000b20106088002489875"),
    "init with key id": (
        m.InitQuoteExRequest(att_key_id=K, b_pub_key_id=True, buf_size=32, timeout=INTEL_MS),
        "bfec22f34b9b572999326afed98c3a08f6cb56042667a53bd16f46eb08d6ab3e",
    ),
    "init without key id": (
        m.InitQuoteExRequest(att_key_id=K, b_pub_key_id=False, timeout=INTEL_MS),
        "e4584c54ef024c204d5f02bf8a070e59c80c9d4db470ef656f649e592e1356d2",
    ),
    "size": (
        m.GetQuoteSizeExRequest(att_key_id=K, timeout=INTEL_MS),
        "7a50a015ff829f95a89b5a083a18f8b640228f08cf073c8fc4fb7edfb6a9eda2",
    ),
    "quote": (
        m.GetQuoteExRequest(report=REPORT, att_key_id=K, buf_size=8192, timeout=INTEL_MS),
        "e6023bdd7d37d3bf3bfe2437b7fb8a5459f66c8d643ff14668f1db312e5b2c49",
    ),
    "init, Gramine": (
        m.InitQuoteExRequest(att_key_id=K, b_pub_key_id=True, buf_size=32),
        "86c26b6fc18f4cc750eccb991ed9b99af63436df29a517b360b43f9850242291",
    ),
    "init, Fortanix": (
        m.InitQuoteExRequest(att_key_id=K, b_pub_key_id=False, timeout=FORTANIX_US),
        "2c53beb4c04fe581b4e6d266e7fbc82dacbe858cc40a0ec85495cd00a3d669d4",
    ),
    "quote, Gramine": (
        m.GetQuoteExRequest(report=REPORT, att_key_id=K, buf_size=8192),
        "65ec9589e9e24d4dace27d8884f2ecf384166ceec156004c7a124d9d43013ede",
    ),
}

GOLDEN_RESPONSES: dict[str, tuple[m.Response, str]] = {
    "num": (m.GetSupportedAttKeyIDNumResponse(0, 1), "07000000aa010408001001"),
    "select 38": (m.error_response(19, 38), "050000009a01020826"),
    "ids 3": (m.error_response(22, 3), "05000000b201020803"),
    "init 3": (
        m.error_response(15, 3, m.InitQuoteExRequest(b_pub_key_id=True, buf_size=77)),
        "060000007a040803184d",
    ),
    "size 4800": (m.GetQuoteSizeExResponse(0, 4800), "08000000820105080010c025"),
    "size 3": (m.error_response(16, 3), "0700000082010408031000"),
    "quote 1": (m.error_response(17, 1), "050000008a01020801"),
    "select": (m.SelectAttKeyIDResponse(0, K), "0af943241609f4e34420323824db0e86e3958f0b777180521d5e75f630c31084"),
    "ids": (m.GetSupportedAttKeyIDsResponse(0, K), "871641a27f6571451a578bfd15ccff3725b5196a04188694d42acd316312a5e1"),
    "init": (
        m.InitQuoteExResponse(0, bytes(512), 32),
        "137c77405d4703ddf937f12756e37e5056d3b4f6fc8d7ee2901ebdd597283ad2",
    ),
    "launch token 30": (m.error_response(3, 30), "040000001a02081e"),
    "init_quote 30": (m.error_response(1, 30), "040000000a02081e"),
    "white list size 30": (m.error_response(10, 30), "060000005204081e1000"),
    "extended group 30": (m.error_response(12, 30), "060000006204081e1000"),
    "update 30": (m.error_response(18, 30), "07000000920104081e1800"),
}


@pytest.mark.parametrize("name", GOLDEN_REQUESTS)
def test_requests_are_encoded_as_clients_do(name: str) -> None:
    request, expected = GOLDEN_REQUESTS[name]
    frame = m.encode_request(request)
    assert expected in digest_or_hex(frame)
    assert m.decode_request(frame[4:]) == request


@pytest.mark.parametrize("name", GOLDEN_RESPONSES)
def test_responses_are_encoded_as_intels_service_does(name: str) -> None:
    response, expected = GOLDEN_RESPONSES[name]
    frame = m.encode_response(response)
    assert expected in digest_or_hex(frame)
    assert of(frame, type(response)) == response


@pytest.mark.parametrize("path", FRAMES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_recorded_frames_are_read_and_encoded_again_to_the_byte(path: Path) -> None:
    frame = path.read_bytes()
    assert m.frame_size(frame[:4], 1 << 16) == len(frame) - 4
    if path.suffix == ".req":
        assert m.encode_request(m.decode_request(frame[4:])) == frame
    else:
        request = m.decode_request(path.with_suffix(".req").read_bytes()[4:])
        assert m.encode_response(of(frame, request.RESPONSE)) == frame


def test_a_recorded_quote_request_has_its_fields() -> None:
    frame = next(path for path in FRAMES if path.parts[-2:] == ("intel-quote-ex-nonce", "06.req")).read_bytes()
    request = m.decode_request(frame[4:])
    assert isinstance(request, m.GetQuoteExRequest)
    assert (len(request.report), request.att_key_id, request.timeout) == (432, K, 15000)
    assert len(request.qe_report_info or b"") == 960


# Frames


@pytest.mark.parametrize(("header", "size"), [("01000000", 1), ("00010000", 256), ("00000100", 65536)])
def test_a_frame_s_size_is_little_endian_and_goes_up_to_the_limit(header: str, size: int) -> None:
    assert m.frame_size(bytes.fromhex(header), 65536) == size


@pytest.mark.parametrize("header", ["00000000", "01000100", "ffffffff", "00000080"])
def test_an_impossible_size_is_refused(header: str) -> None:
    with pytest.raises(DecodeError, match=r"^Frame\.length at byte 0: \d+ given, 1 to 65536 are taken$"):
        m.frame_size(bytes.fromhex(header), 65536)


# Requests that clients get wrong (aesm 1.7)

REQUIRED = {
    1: [],
    2: ["report", "quote_type", "spid", "buf_size"],
    3: ["mr_enclave", "mr_signer", "se_attributes"],
    4: ["platform_info", "attestation_error_code", "update_info_size"],
    5: ["dh_msg1_size"],
    6: ["pse_message", "pse_resp_size"],
    7: ["session_id", "se_dh_msg2", "se_dh_msg3_size"],
    8: ["session_id"],
    9: [],
    10: [],
    11: [],
    12: [],
    13: [],
    14: ["buf", "data_type"],
    15: ["b_pub_key_id"],
    16: [],
    17: ["report", "buf_size"],
    18: ["update_info_size", "config"],
    19: [],
    21: [],
    22: ["buf_size"],
}


def test_every_request_field_is_known() -> None:
    assert sorted(m.REQUESTS) == list(REQUIRED)
    assert sorted(m.RESPONSES) == [*range(1, 23)]


@pytest.mark.parametrize("number", [number for number, names in REQUIRED.items() if names])
def test_a_request_that_lacks_something_required_is_to_be_answered_in_kind_with_1(number: int) -> None:
    for name in REQUIRED[number]:
        kind = m.REQUESTS[number]
        values = [None if field.name == name else sample(field.kind) for field in kind.FIELDS]
        lacking = kind(**{field.name: value for field, value in zip(kind.FIELDS, values, strict=True)})
        with pytest.raises(ProtocolError, match=rf"\.{name}: required, but absent$") as caught:
            m.decode_request(in_envelope(number, lacking.encode()))
        assert (caught.value.request_field, caught.value.status) == (number, 1)


@pytest.mark.parametrize("number", [number for number, names in REQUIRED.items() if not names])
def test_a_request_that_requires_nothing_may_be_empty(number: int) -> None:
    request = m.decode_request(in_envelope(number, b""))
    assert request == m.REQUESTS[number]()
    assert number == request.FIELD


@pytest.mark.parametrize(
    "body",
    ["", "00", "ff" * 12, "a20100", "9a0600", "a805 01", "a805 01 9a0600", "a801 05", "0d00000000", "8a01"],
    ids=["empty", "key 0", "no key", "20", "99", "85", "unknown ones", "wire type", "fixed32", "cut"],
)
def test_what_has_no_answer_in_kind_is_a_decode_error(body: str) -> None:
    with pytest.raises(DecodeError):
        m.decode_request(bytes.fromhex(body))


@pytest.mark.parametrize("garbage", ["00", "ff", "8a01ff", "07", "aa0103489875"[:-2]])
def test_garbage_behind_a_request_is_a_decode_error(garbage: str) -> None:
    with pytest.raises(DecodeError):
        m.decode_request(bytes.fromhex("aa0103489875" + garbage))


def test_of_several_requests_intel_s_priority_decides() -> None:
    priority = [3, 1, 2, 4, 18, 10, 11, 12, 13, 14, 15, 16, 17, 19, 21, 22]
    legacy = [5, 6, 7, 8, 9]
    order = [*priority, *legacy]
    for at, number in enumerate(order):
        rest = b"".join(full(other) for other in order[at:][::-1])
        assert number == m.decode_request(rest).FIELD


def test_a_request_in_two_parts_is_one() -> None:
    parts = bytes.fromhex("8a0103 0a0161" + "8a0102 2005" + "8a0103 0a0162")
    assert m.decode_request(parts) == m.GetQuoteExRequest(report=b"b", buf_size=5)


def test_a_malformed_request_is_refused_even_if_another_has_priority() -> None:
    with pytest.raises(DecodeError, match=r"^GetQuoteExRequest\.report"):
        m.decode_request(full(3) + bytes.fromhex("8a0102 0a05"))


def test_requests_take_their_values_by_name_only() -> None:
    with pytest.raises(TypeError):
        m.GetQuoteSizeExRequest(K)  # type: ignore[call-arg, arg-type]  # the point


def test_the_limit_of_fields_leaves_room_for_four_times_the_largest_message() -> None:
    kinds = [*m.REQUESTS.values(), *m.RESPONSES.values()]
    assert max(len(kind.FIELDS) for kind in kinds) * 4 == FIELDS_LIMIT


# Responses


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        *((number, {}) for number in (1, 2, 3, 4, 6, 7, 8, 11, 13, 14, 17, 19, 20, 22)),
        (5, {"session_id": 0}),
        (9, {"ps_cap": 0}),
        (10, {"white_list_size": 0}),
        (12, {"x_group_id": 0}),
        (15, {"pub_key_id_size": 0}),
        (16, {"quote_size": 0}),
        (18, {"status": 0}),
        (21, {"att_key_id_num": 0}),
    ],
)
def test_an_error_reply_sets_integers_and_no_bytes(number: int, fields: dict[str, int]) -> None:
    reply = m.error_response(number, 38)
    assert number == reply.FIELD
    there = {field.name: value for field, value in zip(reply.FIELDS, reply, strict=True) if value is not None}
    assert there == {"error_code": 38, **fields}


@pytest.mark.parametrize(("buf_size", "echo"), [(None, 0), (0, 0), (77, 77), (2**64 - 1, 2**64 - 1)])
def test_an_error_reply_to_init_echoes_the_buffer_size(buf_size: int | None, echo: int) -> None:
    request = m.InitQuoteExRequest(b_pub_key_id=True, buf_size=buf_size)
    assert m.error_response(15, 3, request) == m.InitQuoteExResponse(3, pub_key_id_size=echo)


@pytest.mark.parametrize(("info", "echo"), [(None, None), (b"", None), (b"x", b"x"), (bytes(960), bytes(960))])
def test_an_error_reply_to_quote_echoes_qe_report_info(info: bytes | None, echo: bytes | None) -> None:
    request = m.GetQuoteExRequest(report=b"", buf_size=0, qe_report_info=info)
    assert m.error_response(17, 47, request) == m.GetQuoteExResponse(47, qe_report_info=echo)


@pytest.mark.parametrize("number", sorted(m.RESPONSES))
def test_success_is_encoded_though_it_is_0(number: int) -> None:
    response = m.RESPONSES[number](0)
    assert m.encode_response(response).endswith(b"\x02\x08\x00")


def test_a_response_without_its_error_code_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"^GetQuoteSizeExResponse\.error_code: required, but absent$"):
        m.decode_response(bytes.fromhex("820102 1005"), m.GetQuoteSizeExResponse)


@pytest.mark.parametrize(
    ("body", "came"),
    [
        ("aa01020800", "GetSupportedAttKeyIDNumResponse"),
        ("a201020800", "UnsupportedRequestResponse"),
        ("aa01020800 a201020800", "GetSupportedAttKeyIDNumResponse and UnsupportedRequestResponse"),
        ("fa0100", "nothing known"),
        ("", "nothing known"),
    ],
)
def test_an_answer_of_another_kind_is_refused_by_its_name(body: str, came: str) -> None:
    with pytest.raises(DecodeError, match=f"^Response.GetQuoteExResponse: expected, but {came} came$"):
        m.decode_response(bytes.fromhex(body), m.GetQuoteExResponse)


def test_every_request_is_answered_in_its_own_field() -> None:
    for number, kind in m.REQUESTS.items():
        assert kind.FIELD == kind.RESPONSE.FIELD == number
        assert kind.__name__.removesuffix("Request") == kind.RESPONSE.__name__.removesuffix("Response")
