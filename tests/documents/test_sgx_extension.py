"""The SGX extension of PCK certificates, held against every real one at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from quotehelper.documents import der
from quotehelper.documents.der import Tag
from quotehelper.documents.sgx_extension import (
    OID,
    PlatformConfiguration,
    SgxExtension,
    SgxType,
    encode_sgx_extension,
    read_sgx_extension,
)
from quotehelper.errors import DecodeError

CASES = sorted(path.parent for path in (Path(__file__).parents[1] / "vectors" / "quotes").glob("*/pck_chain.pem"))
PROCESSOR = next(case for case in CASES if case.name.startswith("v01"))
PLATFORM = next(case for case in CASES if case.name.startswith("v15"))


def extension_of(case: Path) -> bytes:
    certificates = x509.load_pem_x509_certificates((case / "pck_chain.pem").read_bytes())
    found = [
        extension.value for one in certificates for extension in one.extensions if extension.oid.dotted_string == OID
    ]
    value: bytes = found[0].public_bytes()
    return value


def parts(raw: bytes) -> list[bytes]:
    """The elements of a SEQUENCE, whole, by a cut of the test's own."""
    at, ends = (4 if raw[1] == 0x82 else 3 if raw[1] == 0x81 else 2), len(raw)
    found = []
    while at < ends:
        size = raw[at + 1]
        header = 2
        if size & 0x80:
            header += size & 0x7F
            size = int.from_bytes(raw[at + 2 : at + header], "big")
        found.append(raw[at : at + header + size])
        at += header + size
    return found


def sequence(*elements: bytes) -> bytes:
    return der.encode(Tag.SEQUENCE, *elements)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_real_extension_is_read_and_written_back_byte_for_byte(case: Path) -> None:
    raw = extension_of(case)
    assert encode_sgx_extension(read_sgx_extension(raw)) == raw


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_real_extension_names_the_platform_that_its_tcb_info_is_about(case: Path) -> None:
    extension = read_sgx_extension(extension_of(case))
    told = json.loads((case / "tcb_info.json").read_bytes())["tcbInfo"]
    assert extension.fmspc.hex() == told["fmspc"].lower()
    assert extension.pce_id.hex() == told["pceId"]


def test_the_fields_of_a_processor_ca_certificate() -> None:
    extension = read_sgx_extension(extension_of(PROCESSOR))
    assert extension.components == (11, 11, 2, 2, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert extension.cpu_svn == bytes(extension.components)
    assert extension.pce_svn == 13
    assert extension.pce_id == bytes(2)
    assert extension.fmspc.hex() == "00a067110000"
    assert extension.sgx_type is SgxType.STANDARD
    assert extension.configuration is None


def test_the_fields_of_a_platform_ca_certificate() -> None:
    extension = read_sgx_extension(extension_of(PLATFORM))
    assert extension.fmspc.hex() == "00606a000000"
    assert extension.sgx_type is SgxType.SCALABLE
    assert extension.configuration == PlatformConfiguration(
        bytes.fromhex("7f96822f9d6421e505d4f256f65c5338"), dynamic_platform=True, cached_keys=False, smt_enabled=False
    )


@pytest.mark.parametrize("case", [PROCESSOR, PLATFORM], ids=["processor", "platform"])
def test_a_truncated_extension_is_refused_at_every_length(case: Path) -> None:
    raw = extension_of(case)
    for size in range(len(raw)):
        with pytest.raises(DecodeError):
            read_sgx_extension(raw[:size])
    with pytest.raises(DecodeError):
        read_sgx_extension(raw + b"\0")


@pytest.mark.parametrize("case", [PROCESSOR, PLATFORM], ids=["processor", "platform"])
def test_each_flipped_bit_is_refused_or_changes_the_value_and_nothing_else(case: Path) -> None:
    raw = extension_of(case)
    genuine = read_sgx_extension(raw)
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            extension = read_sgx_extension(bytes(changed))
        except DecodeError:
            continue
        assert extension != genuine
        assert encode_sgx_extension(extension) == changed


@pytest.mark.parametrize(
    ("count", "field"), [(0, "ppid"), (4, "sgx_type"), (6, "configuration")], ids=["none", "4 of 5", "6 of 7"]
)
def test_nothing_but_5_or_7_elements_is_read(count: int, field: str) -> None:
    elements = parts(extension_of(PLATFORM))
    assert read_sgx_extension(sequence(*elements[:5])).configuration is None
    with pytest.raises(DecodeError) as refused:
        read_sgx_extension(sequence(*elements[:count]))
    assert refused.value.field == field
    with pytest.raises(DecodeError, match="left over"):
        read_sgx_extension(sequence(*elements, elements[-1]))


@pytest.mark.parametrize("missing", range(18))
def test_each_of_the_18_tcb_elements_must_be_there(missing: int) -> None:
    elements = parts(extension_of(PROCESSOR))
    oid, tcb = parts(elements[1])
    left = [element for number, element in enumerate(parts(tcb)) if number != missing]
    elements[1] = sequence(oid, sequence(*left))
    with pytest.raises(DecodeError) as refused:
        read_sgx_extension(sequence(*elements))
    assert refused.value.field == [*(f"tcb.{n}" for n in range(1, 17)), "pce_svn", "cpu_svn"][missing]


@pytest.mark.parametrize("number", [1, 6], ids=["tcb", "configuration"])
def test_no_list_has_an_element_more(number: int) -> None:
    elements = parts(extension_of(PLATFORM))
    oid, inner = parts(elements[number])
    elements[number] = sequence(oid, sequence(*parts(inner), parts(inner)[-1]))
    with pytest.raises(DecodeError, match="left over"):
        read_sgx_extension(sequence(*elements))


def test_elements_in_another_order_are_refused() -> None:
    elements = parts(extension_of(PROCESSOR))
    elements[0], elements[3] = elements[3], elements[0]
    with pytest.raises(DecodeError, match=r"ppid.*OID 1\.2\.840\.113741\.1\.13\.1\.1 expected"):
        read_sgx_extension(sequence(*elements))


@pytest.mark.parametrize(
    ("number", "field", "value"),
    [
        (0, "ppid", der.encode(Tag.OCTET_STRING, bytes(15))),
        (0, "ppid", der.encode(Tag.OCTET_STRING, bytes(17))),
        (2, "pce_id", der.encode(Tag.OCTET_STRING, bytes(1))),
        (3, "fmspc", der.encode(Tag.OCTET_STRING, bytes(7))),
        (4, "sgx_type", der.encode_integer(3, Tag.ENUMERATED)),
        (4, "sgx_type", der.encode_integer(0)),
        (5, "platform_instance_id", der.encode(Tag.OCTET_STRING, bytes(8))),
        (6, "configuration", der.encode_boolean(value=True)),
        (6, "dynamic_platform", sequence()),
    ],
)
def test_a_value_of_another_size_or_type_is_refused_by_its_field(number: int, field: str, value: bytes) -> None:
    elements = parts(extension_of(PLATFORM))
    elements[number] = sequence(parts(elements[number])[0], value)
    with pytest.raises(DecodeError) as refused:
        read_sgx_extension(sequence(*elements))
    assert refused.value.field == field


def test_a_value_has_nothing_beside_it() -> None:
    elements = parts(extension_of(PROCESSOR))
    elements[3] = sequence(*parts(elements[3]), der.encode_integer(1))
    with pytest.raises(DecodeError, match="left over"):
        read_sgx_extension(sequence(*elements))


def test_the_platform_id_shows_in_no_text() -> None:
    extension = read_sgx_extension(extension_of(PROCESSOR))
    assert extension.ppid.hex() not in f"{extension!r} {extension}"
    assert repr(extension.ppid) not in f"{extension!r} {extension}"


configurations = st.builds(
    PlatformConfiguration, st.binary(min_size=16, max_size=16), st.booleans(), st.booleans(), st.booleans()
)
extensions = st.builds(
    SgxExtension,
    ppid=st.binary(min_size=16, max_size=16),
    components=st.tuples(*[st.integers(0, 0xFF)] * 16),
    pce_svn=st.integers(0, 0xFFFF),
    cpu_svn=st.binary(min_size=16, max_size=16),
    pce_id=st.binary(min_size=2, max_size=2),
    fmspc=st.binary(min_size=6, max_size=6),
    sgx_type=st.sampled_from(SgxType),
    configuration=st.none() | configurations,
)


@settings(max_examples=50)
@given(extensions)
def test_what_is_written_is_read_back(extension: SgxExtension) -> None:
    assert read_sgx_extension(encode_sgx_extension(extension)) == extension


@settings(max_examples=50)
@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        read_sgx_extension(raw)
