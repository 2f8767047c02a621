from __future__ import annotations

import datetime as dt
import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotehelper.errors import ConfigError
from quotehelper.platforms.simulated import private_files
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.enclaves import Tcb, pce_identity, qe3_identity
from quotehelper.platforms.simulated.state import (
    CHAIN_FILE,
    PLATFORM_FILE,
    EnclaveVersion,
    PlatformState,
    describe,
    encode_state,
    load,
    load_cpu,
    parse_state,
    read_chain,
    read_state,
)
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.sgx.quote import read_quote
from quotehelper.sgx.report import AttributeFlags, Attributes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SECRET = bytes(range(32))
CPU_SVN = bytes(range(16, 32))


def make_state(directory: Path) -> PlatformState:
    return PlatformState(
        directory=directory,
        secret=SECRET,
        cpu_svn=CPU_SVN,
        fmspc=bytes.fromhex("00a067110000"),
        ca="processor",
        pck_tcb=Tcb(CPU_SVN, 13),
        qe=EnclaveVersion(11, qe3_identity(11).mr_enclave),
        pce=EnclaveVersion(16, pce_identity(16).mr_enclave),
        authority=directory / "authority",
    )


def make_chain(state: PlatformState) -> bytes:
    """Two certificates: for the platform's PCK key, and of whoever issued that."""
    root = ec.generate_private_key(ec.SECP256R1())
    leaf = state.provisioning_enclave().pck_public_key(state.pck_tcb)
    return b"".join(certificate(key, root) for key in (leaf, root.public_key())) + b"\0"


def certificate(key: ec.EllipticCurvePublicKey, issuer: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key, 1, start, start + dt.timedelta(days=1))
    return builder.sign(issuer, SHA256()).public_bytes(Encoding.PEM)


@pytest.fixture
def state(tmp_path: Path) -> PlatformState:
    """A platform's state, on disk as well."""
    state = make_state(tmp_path / "state")
    private_files.create(state.directory, {PLATFORM_FILE: encode_state(state), CHAIN_FILE: make_chain(state)})
    return state


def changed(state: PlatformState, change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(encode_state(state))
    change(document)
    return json.dumps(document).encode()


def test_a_state_is_read_as_it_was_written(state: PlatformState) -> None:
    assert read_state(state.directory) == state


def test_an_authority_inside_moves_with_the_state(state: PlatformState) -> None:
    moved = state.directory.rename(state.directory.with_name("moved"))
    assert read_state(moved).authority == moved / "authority"


def test_an_authority_elsewhere_is_named(state: PlatformState, tmp_path: Path) -> None:
    shared = state._replace(authority=tmp_path / "shared \udcff" / "authority")
    assert parse_state(state.directory, encode_state(shared)) == shared


def test_secrets_are_not_shown(state: PlatformState) -> None:
    shown = f"{state!r} {state} {load_cpu(state.directory)!r} {json.dumps(describe(state.directory))}"
    assert SECRET.hex() not in shown
    assert repr(SECRET)[2:-1] not in shown
    assert state.provisioning_enclave().ppid().hex() not in shown


def test_a_loaded_platform_quotes_at_once(state: PlatformState) -> None:
    platform = load(state.directory)
    attributes = Attributes.build(flags=AttributeFlags.INIT, xfrm=3)
    app = load_cpu(state.directory).load(EnclaveIdentity(bytes(32), bytes(32), attributes))
    quote = platform.quote(app.report(platform.target(QE3_KEY_ID).target_info, bytes(64)), QE3_KEY_ID).quote
    assert len(quote) == platform.quote_size(QE3_KEY_ID) == 1052 + len(read_chain(state.directory))
    assert read_quote(quote).certification.data == (state.directory / CHAIN_FILE).read_bytes()
    assert read_quote(quote).header.qe_svn == 11


def test_quotes_carry_the_states_qe_id(state: PlatformState) -> None:
    platform = load(state.directory)
    app = load_cpu(state.directory).load(EnclaveIdentity(bytes(32), bytes(32), Attributes(bytes(16))))
    quote = platform.quote(app.report(platform.target(QE3_KEY_ID).target_info, bytes(64)), QE3_KEY_ID).quote
    assert read_quote(quote).header.user_data == state.qe_id() + bytes(4)


def test_loading_twice_yields_the_same_key(state: PlatformState) -> None:
    assert load(state.directory).target(QE3_KEY_ID) == load(state.directory).target(QE3_KEY_ID)


def test_the_configured_qe_is_the_one_that_quotes(state: PlatformState) -> None:
    other = state._replace(qe=EnclaveVersion(12, b"\x0c" * 32))
    private_files.replace(state.directory / PLATFORM_FILE, encode_state(other))
    assert load(state.directory).target(QE3_KEY_ID).target_info.mr_enclave == b"\x0c" * 32


def test_the_description_tells_what_operators_need(state: PlatformState) -> None:
    root = x509.load_pem_x509_certificates(read_chain(state.directory).rstrip(b"\0"))[-1]
    assert describe(state.directory) == {
        "state": str(state.directory),
        "authority": f"{state.directory}/authority",
        "root_ca_sha256": hashlib.sha256(root.public_bytes(Encoding.DER)).hexdigest(),
        "fmspc": "00a067110000",
        "ca": "processor",
        "cpu_svn": CPU_SVN.hex(),
        "pck_tcb": {"cpu_svn": CPU_SVN.hex(), "pce_svn": 13},
        "qe": {"isv_svn": 11, "mr_enclave": qe3_identity(11).mr_enclave.hex()},
        "pce": {"isv_svn": 16, "mr_enclave": pce_identity(16).mr_enclave.hex()},
    }


FIELDS = ["version", "secret", "cpu_svn", "fmspc", "ca", "pck_tcb", "qe", "pce", "authority", "chain"]
NESTED = [("pck_tcb", "cpu_svn"), ("pck_tcb", "pce_svn"), ("qe", "isv_svn"), ("qe", "mr_enclave"), ("pce", "isv_svn")]


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_named(state: PlatformState, field: str) -> None:
    with pytest.raises(ConfigError, match=f"{state.directory}/platform.json is damaged: {field}: missing"):
        parse_state(state.directory, changed(state, lambda document: document.pop(field)))


@pytest.mark.parametrize(("section", "field"), NESTED)
def test_a_missing_nested_field_is_named(state: PlatformState, section: str, field: str) -> None:
    with pytest.raises(ConfigError, match=f"damaged: {section}.{field}: missing"):
        parse_state(state.directory, changed(state, lambda document: document[section].pop(field)))


@pytest.mark.parametrize("value", [None, True, 1.5, [], {}, -1, "", "zz", "00", 1 << 70, "\0", "\ud800"], ids=repr)
@pytest.mark.parametrize("field", FIELDS)
def test_a_value_of_the_wrong_kind_is_named(state: PlatformState, field: str, value: object) -> None:
    if (field, repr(value)) in {("authority", "'zz'"), ("authority", "'00'"), ("version", repr(1 << 70))}:
        value = 0  # those were right
    with pytest.raises(ConfigError, match=f"platform.json is damaged: {field}(:|.[a-z_]+: missing)"):
        parse_state(state.directory, changed(state, lambda document: document.update({field: value})))


@pytest.mark.parametrize("section", ["", "pck_tcb", "qe", "pce"])
def test_an_unknown_field_is_named(state: PlatformState, section: str) -> None:
    def add(document: dict[str, Any]) -> None:
        (document[section] if section else document)["colour\n"] = "green"

    with pytest.raises(ConfigError, match=rf"damaged: {section}{'.' * bool(section)}colour\\n: not known"):
        parse_state(state.directory, changed(state, add))


def test_a_state_of_version_1_is_read_as_ever(state: PlatformState) -> None:
    """It names no chain: that was always the same file."""

    def older(document: dict[str, Any]) -> None:
        document["version"] = 1
        del document["chain"]

    private_files.replace(state.directory / PLATFORM_FILE, changed(state, older))
    assert read_state(state.directory) == state
    load(state.directory)


@pytest.mark.parametrize(
    "name", ["../pck_chain.pem", "pck_chain-.pem", "platform.json", "pck_chain-0.pem", "/etc/passwd"]
)
def test_a_chain_is_a_file_beside(state: PlatformState, name: str) -> None:
    with pytest.raises(ConfigError, match="damaged: chain: the name of a file in the same directory"):
        parse_state(state.directory, changed(state, lambda document: document.update(chain=name)))


def test_a_later_format_is_told_apart_from_damage(state: PlatformState) -> None:
    with pytest.raises(ConfigError, match="is of version 3, this program knows 2") as caught:
        parse_state(state.directory, changed(state, lambda document: document.update(version=3, more={})))
    assert "newer quotehelper" in caught.value.remedy


@pytest.mark.parametrize("text", ["00" * 31, "00" * 33, "0 " * 32, "0x" + "00" * 31, "\u0660" * 64, "00" * 32 + " "])
def test_only_exactly_the_right_number_of_hexadecimal_digits_is_taken(state: PlatformState, text: str) -> None:
    with pytest.raises(ConfigError, match=r"damaged: secret: (64 )?hexadecimal digits expected"):
        parse_state(state.directory, changed(state, lambda document: document.update(secret=text)))


def test_a_certificate_above_the_platforms_tcb_is_refused(state: PlatformState) -> None:
    above = state._replace(pck_tcb=Tcb(b"\xff" * 16, 13))
    with pytest.raises(ConfigError, match=r"pck_tcb\.cpu_svn: above cpu_svn"):
        parse_state(state.directory, encode_state(above))
    with pytest.raises(ConfigError, match=r"pck_tcb\.pce_svn: above pce\.isv_svn"):
        parse_state(state.directory, encode_state(state._replace(pck_tcb=Tcb(CPU_SVN, 17))))


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"null", b'"text"', b"\xff", b"{", b"[" * 60000, b'{"version":' + b"9" * 5000]
)
def test_what_is_no_json_object_is_damage(state: PlatformState, raw: bytes) -> None:
    with pytest.raises(ConfigError, match=r"platform\.json is damaged: "):
        parse_state(state.directory, raw)


def test_a_truncated_file_is_damage_at_every_length(state: PlatformState) -> None:
    whole = encode_state(state)
    for length in range(len(whole) - 2):
        with pytest.raises(ConfigError, match=r"platform\.json is damaged: "):
            parse_state(state.directory, whole[:length])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_in_the_file_nothing_but_a_state_or_config_error_comes_out(
    state: PlatformState, data: st.DataObject
) -> None:
    document = json.loads(encode_state(state))
    for name in data.draw(st.lists(st.sampled_from(FIELDS), max_size=3)):
        document[name] = data.draw(JSON | st.fixed_dictionaries({"isv_svn": JSON, "mr_enclave": JSON}))
    try:
        parse_state(state.directory, json.dumps(document).encode())
    except ConfigError as error:
        assert str(state.directory) in error.problem  # noqa: PT017  a state is right as well


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_random_bytes_are_damage(state: PlatformState, raw: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_state(state.directory, raw)


@given(raw=st.binary(min_size=400, max_size=3000) | st.just(b"-----BEGIN CERTIFICATE-----\n" * 30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_a_damaged_chain_is_told(state: PlatformState, raw: bytes) -> None:
    private_files.replace(state.directory / CHAIN_FILE, raw)
    with pytest.raises(ConfigError, match=r"pck_chain\.pem is damaged: "):
        load(state.directory)
    try:
        describe(state.directory)
    except ConfigError as error:
        assert "500 to 12294 bytes expected" in error.problem  # noqa: PT017  either outcome is right


def test_the_chain_of_another_platform_is_refused(state: PlatformState) -> None:
    other = make_chain(state._replace(secret=bytes(32)))
    private_files.replace(state.directory / CHAIN_FILE, other)
    with pytest.raises(ConfigError, match="the first certificate is not for this platform's PCK key"):
        load(state.directory)


@pytest.mark.parametrize("name", [PLATFORM_FILE, CHAIN_FILE])
def test_a_file_open_to_others_is_refused(state: PlatformState, name: str) -> None:
    (state.directory / name).chmod(0o644)
    with pytest.raises(ConfigError, match=f"chmod 0600 {state.directory}/{name}"):
        load(state.directory)


def test_loading_imports_no_certificate_library_and_nothing_heavy() -> None:
    heavy = {
        "hashlib",
        "cryptography.x509",
        "quotehelper.documents",
        "asyncio",
        "logging",
        "dataclasses",
        "tempfile",
        "shutil",
    }
    program = "import sys, quotehelper.platforms.simulated.state; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy.intersection(loaded)
