"""Rules for which enclaves are quoted, at the settings file and at a running daemon."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import frames
from harness import receive_frame
from quotehelper.errors import ConfigError
from quotehelper.node.config import Settings
from quotehelper.node.rules import MOST_MEASUREMENTS, EnclaveRules, faults_in_rules, read_rules
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load, load_cpu
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.sgx.report import Attributes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Daemon
    from quotehelper.sgx.report import Report

SIGNER, ENCLAVE, OTHER = b"\x11" * 32, b"\x22" * 32, b"\x33" * 32
PRODUCTION, DEBUG = 5, 7


@pytest.fixture
def report(state: Path) -> Callable[..., Report]:
    """A report of an enclave on the simulated platform."""

    def made(flags: int = PRODUCTION) -> Report:
        enclave = load_cpu(state).load(EnclaveIdentity(ENCLAVE, SIGNER, Attributes.build(flags=flags, xfrm=3)))
        return enclave.report(load(state).target(QE3_KEY_ID).target_info, bytes(64))

    return made


@pytest.mark.parametrize(
    ("rules", "flags", "objection"),
    [
        ({}, DEBUG, ""),
        ({"debug": False}, PRODUCTION, ""),
        ({"debug": False}, DEBUG, "DEBUG"),
        ({"mr_signer": [OTHER.hex(), SIGNER.hex().upper()]}, PRODUCTION, ""),
        ({"mr_signer": [OTHER.hex()]}, PRODUCTION, "mr_signer 1111"),
        ({"mr_signer": [ENCLAVE.hex()]}, PRODUCTION, "mr_signer 1111"),
        ({"mr_enclave": [ENCLAVE.hex()]}, PRODUCTION, ""),
        ({"mr_enclave": [OTHER.hex()]}, PRODUCTION, "mr_enclave 2222"),
        ({"mr_signer": [OTHER.hex()], "mr_enclave": [ENCLAVE.hex()]}, PRODUCTION, ""),
        ({"mr_signer": [SIGNER.hex()], "debug": False}, DEBUG, "DEBUG"),
    ],
)
def test_an_enclave_is_judged_by_signer_measurement_and_debug(
    report: Callable[..., Report], rules: dict[str, Any], flags: int, objection: str
) -> None:
    assert not list(faults_in_rules(rules))
    said = read_rules(rules).objection(report(flags).body)
    assert objection in said
    assert bool(said) is bool(objection)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("enclaves = 3", "enclaves is not a table"),
        ("[enclaves]\nmr_signer = []", "mr_signer is not a list of 1 to 1024 measurements"),
        ('[enclaves]\nmr_signer = "11"', "mr_signer is not a list"),
        ('[enclaves]\nmr_enclave = ["11"]', "mr_enclave holds '11', not 64 hexadecimal digits"),
        ("[enclaves]\ndebug = 0", "debug is 0, not true or false"),
        ("[enclaves]\nmrsigner = []", "unknown setting enclaves.mrsigner"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, problem: str) -> None:
    """An empty list would let everybody in, or nobody: whoever writes one has to say which."""
    file = tmp_path / "file.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        Settings("simulated", "/state", config_file=str(file)).reloadable()


def test_lists_are_bounded() -> None:
    assert list(faults_in_rules({"mr_signer": ["11" * 32] * (MOST_MEASUREMENTS + 1)}))


values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))


@given(st.dictionaries(st.sampled_from(["mr_signer", "mr_enclave", "debug", "other"]), values))
def test_any_table_is_refused_or_read(table: dict[str, object]) -> None:
    if not list(faults_in_rules(table)):
        assert isinstance(read_rules(table), EnclaveRules)


def test_a_daemon_refuses_in_kind_by_rules_that_it_reads_at_sighup(
    start_daemon: Callable[..., Daemon], report: Callable[..., Report], tmp_path: Path
) -> None:
    file = tmp_path / "file.toml"
    file.write_text("[enclaves]\ndebug = false\n")
    daemon = start_daemon(["--config", str(file)])

    def ask(flags: int) -> object:
        with daemon.connect() as client:
            client.sendall(frames.quote(report(flags).raw, 8192))
            field, content = frames.reply(receive_frame(client))
        assert field == 17
        return content[1]

    assert (ask(PRODUCTION), ask(DEBUG)) == (0, 3)
    daemon.wait_for("request refused.*enclaves.debug")
    file.write_text(f'[enclaves]\nmr_signer = ["{OTHER.hex()}"]\n')
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("reloaded")
    assert (ask(PRODUCTION), ask(DEBUG)) == (3, 3)
