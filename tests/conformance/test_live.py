"""The whole list against our own daemon, as the command line runs it and as a daemon proves itself."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import frames
from harness import VECTORS, Daemon, run_cli
from quotehelper.conformance import clients
from quotehelper.conformance.catalogue import CHECKS
from quotehelper.conformance.check import Family
from quotehelper.conformance.connection import INTEL, Peer, Speech
from quotehelper.conformance.examined import Examined
from quotehelper.conformance.simulated import Means, means_of_state

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def means(state: Path) -> Means:
    return means_of_state(state, dt.datetime.now(dt.UTC))


def test_names_are_given_once_and_each_family_has_checks() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    assert {check.family for check in CHECKS} == set(Family)


# The command


def test_the_command_passes_our_daemon_with_exit_code_0(daemon: Daemon, state: Path) -> None:
    done = run_cli("conformance", "--socket", str(daemon.path), "--state", str(state))
    assert f"{len(CHECKS)} of {len(CHECKS)} passed" in done.stdout
    assert "TCB status: UpToDate" in done.stdout
    assert [family.value for family in Family if family.value not in done.stdout] == []


def test_the_commands_json_has_every_check(daemon: Daemon, state: Path) -> None:
    done = run_cli("conformance", "--socket", str(daemon.path), "--state", str(state), "--json")
    document = json.loads(done.stdout)
    assert [row["id"] for row in document["results"]] == [check.id for check in CHECKS]
    assert {row["result"] for row in document["results"]} == {"passed"}
    assert (document["passed"], document["failed"], document["not_judged"]) == (len(CHECKS), 0, 0)
    assert document["tcb_status"] == "UpToDate"


def test_without_a_report_rows_are_not_judged_and_the_exit_code_is_3(daemon: Daemon) -> None:
    done = run_cli("conformance", "--socket", str(daemon.path), "--json", check=False)
    rows = {row["id"]: row for row in json.loads(done.stdout)["results"]}
    assert done.returncode == 3
    assert {name for name, row in rows.items() if row["result"] == "not_judged"} == {
        check.id for check in CHECKS if check.needs_report
    }
    assert "give --state or --report" in rows["quote.verifies"]["reason"]


def test_gentle_leaves_hostile_rows_out(daemon: Daemon, state: Path) -> None:
    options = ("--socket", str(daemon.path), "--state", str(state), "--gentle", "--json")
    done = run_cli("conformance", *options, check=False)
    rows = {row["id"]: row["result"] for row in json.loads(done.stdout)["results"]}
    assert done.returncode == 3
    assert {name for name, result in rows.items() if result == "not_judged"} == {
        check.id for check in CHECKS if check.hostile
    }


def test_another_platforms_state_fails_with_exit_code_1_and_says_who_is_hurt(daemon: Daemon, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run_cli("simulate", "init", "--state", str(other))
    done = run_cli("conformance", "--socket", str(daemon.path), "--state", str(other), check=False)
    assert done.returncode == 1
    assert re.search(r"Hurt: every client, .*Gramine", done.stdout)
    assert "Reading /dev/attestation/quote fails" in done.stdout
    assert "What to do: " in done.stdout


def test_a_report_made_elsewhere_does_with_root_and_bundle(daemon: Daemon, state: Path, tmp_path: Path) -> None:
    target, report, collateral = tmp_path / "target", tmp_path / "report", tmp_path / "collateral"
    run_cli("target-info", "--socket", str(daemon.path), "--out", str(target))
    options = ("--target-info", str(target), "--report-data", "00", "--out", str(report))
    run_cli("simulate", "report", "--state", str(state), *options)
    run_cli("simulate", "export-collateral", "--state", str(state), "--out", str(collateral))
    judged = ("--report", str(report), "--insecure-simulated-root", str(collateral / "root.pem"))
    done = run_cli("conformance", "--socket", str(daemon.path), *judged, "--bundle", str(collateral / "case"))
    assert "TCB status: UpToDate" in done.stdout
    offline = run_cli("conformance", "--socket", str(daemon.path), *judged)
    assert "TCB status: not judged (there is no collateral" in offline.stdout
    intel = run_cli("conformance", "--socket", str(daemon.path), "--report", str(report), check=False)
    assert intel.returncode == 1
    assert "trusted_root" in intel.stdout


def test_nobody_there_is_exit_code_3(tmp_path: Path) -> None:
    done = run_cli("conformance", "--socket", str(tmp_path / "none"), check=False)
    assert done.returncode == 3
    assert "Start the daemon" in done.stderr


def test_state_and_report_exclude_each_other(daemon: Daemon, state: Path) -> None:
    report = ("--report", str(VECTORS / "README.md"))
    done = run_cli("conformance", "--socket", str(daemon.path), "--state", str(state), *report, check=False)
    assert done.returncode == 2


def test_a_report_of_another_size_is_a_mistake(daemon: Daemon) -> None:
    done = run_cli("conformance", "--socket", str(daemon.path), "--report", str(VECTORS / "README.md"), check=False)
    assert done.returncode == 2
    assert "Give a report of 432 bytes" in done.stderr


# How clients speak


class Recording(Peer):
    """A peer that keeps what is said to the daemon."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.said: list[bytes] = []

    def exchange(self, frame: bytes, speech: Speech = INTEL, timeout_s: float | None = None) -> bytes:
        self.said.append(frame)
        return super().exchange(frame, speech, timeout_s)


@pytest.fixture
def recorded(daemon: Daemon, means: Means) -> Callable[[Callable[[Examined], object]], list[bytes]]:
    """What is said to the daemon in a conversation."""

    def record(speak: Callable[[Examined], object]) -> list[bytes]:
        peer = Recording(str(daemon.path))
        speak(Examined(peer, reporter=means.reporter, judge=means.judge))
        return peer.said

    return record


def blinded(frame: bytes) -> tuple[int, dict[int, object]]:
    """A request without what is the enclave's: of report and qe_report_info only the size, and not the buffer's."""
    envelope, asked = frames.reply(frame)
    shown: dict[int, object] = dict(asked)
    if envelope == 17:
        shown |= {
            number: len(value) for number, value in asked.items() if number in {1, 3} and isinstance(value, bytes)
        }
        shown[4] = "the size told"
    return envelope, shown


def vectors(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((VECTORS / "frames" / name).glob("*.req"))]


@pytest.mark.parametrize(
    ("name", "quote"),
    [
        ("intel-quote-ex", clients.quote_ex_quotes),
        ("intel-quote-ex-nonce", clients.quote_ex_quotes_with_nonce),
    ],
)
def test_libsgx_quote_ex_speaks_as_recorded(
    recorded: Callable[..., list[bytes]], name: str, quote: Callable[[Examined, clients.Ready], None]
) -> None:
    said = recorded(clients.quote_ex_chooses_key)
    said += recorded(clients.prepare_and_quote(clients.quote_ex_prepares, quote))
    assert [blinded(frame) for frame in said] == [blinded(frame) for frame in vectors(name)]


def test_gramine_speaks_as_recorded(recorded: Callable[..., list[bytes]]) -> None:
    said = recorded(clients.gramine_quotes)
    init, quote = vectors("gramine")[1:]
    assert said[0] == init
    assert blinded(said[1]) == blinded(quote)
    assert frames.reply(said[1])[1][4] == frames.reply(quote)[1][4] == 8192


def test_fortanix_speaks_as_captured(recorded: Callable[..., list[bytes]]) -> None:
    said = [hashlib.sha256(frame).hexdigest() for frame in recorded(clients.fortanix_prepares)]
    assert "2c53beb4c04fe581b4e6d266e7fbc82dacbe858cc40a0ec85495cd00a3d669d4" in said, "init b=0, microseconds"
    assert "86c26b6fc18f4cc750eccb991ed9b99af63436df29a517b360b43f9850242291" in said, "init b=1, no timeout"


def test_enarx_asks_for_the_keys_before_each_step(recorded: Callable[..., list[bytes]]) -> None:
    said = recorded(clients.prepare_and_quote(clients.enarx_prepares, clients.enarx_quotes))
    assert [frames.reply(frame)[0] for frame in said] == [21, 22, 15, 21, 22, 15, 21, 22, 16, 21, 22, 17]


def test_occlum_asks_for_target_info_once_and_quotes_thrice(recorded: Callable[..., list[bytes]]) -> None:
    said = recorded(clients.prepare_and_quote(clients.occlum_prepares, clients.occlum_quotes))
    assert [frames.reply(frame)[0] for frame in said] == [16, 15, 15, 16, 17, 17, 17]


def test_rune_lets_the_daemon_select(recorded: Callable[..., list[bytes]]) -> None:
    said = recorded(clients.prepare_and_quote(clients.rune_prepares, clients.rune_quotes))
    assert [frames.reply(frame)[0] for frame in said] == [19, 15, 15, 16, 17]
    assert said[0] == frames.SELECT


def test_open_enclave_asks_for_the_size_twice(recorded: Callable[..., list[bytes]]) -> None:
    said = recorded(clients.prepare_and_quote(clients.open_enclave_prepares, clients.open_enclave_quotes))
    assert [frames.reply(frame)[0] for frame in said] == [21, 22, 15, 15, 16, 16, 17]


# Weight


def test_proving_imports_no_terminal_library_and_no_asyncio() -> None:
    program = "import sys, quotehelper.conformance.prove, quotehelper.conformance.simulated; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"asyncio", "click", "rich", "logging", "aiohttp", "subprocess"} & set(loaded)
