"""``quotehelper hardware-report``: one archive, nothing in it that names the machine, whatever the platform does."""

from __future__ import annotations

import json
import platform
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from harness import run_cli
from quotehelper.platforms.simulated.state import load, read_state
from quotehelper.sgx.key_id import QE3_KEY_ID

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dcap_libraries import DcapLibraries
    from harness import Daemon
    from simulated_enclaves import SimulatedEnclaves


def documents(archive: Path) -> dict[str, Any]:
    """The archive's documents by name."""
    with tarfile.open(archive) as packed:
        files = {name: packed.extractfile(name) for name in packed.getnames()}
        return {name.rsplit("/", 1)[-1]: json.load(file) for name, file in files.items() if file is not None}


def outcomes(told: Mapping[str, Any]) -> dict[str, str]:
    return {step["step"]: step["outcome"] for step in told["steps.json"]}


@pytest.fixture
def dcap_options(dcap_libraries: DcapLibraries, simulated_enclaves: SimulatedEnclaves) -> list[str]:
    del simulated_enclaves  # they must be there
    return ["--dcap-library", str(dcap_libraries.quoting), "--dcap-provider", str(dcap_libraries.intel_provider)]


@pytest.fixture
def report(state: Path, tmp_path: Path) -> Path:
    target, made = tmp_path / "target", tmp_path / "report"
    target.write_bytes(load(state).target(QE3_KEY_ID).target_info.raw)
    run_cli(
        *("simulate", "report", "--state", str(state), "--target-info", str(target)),
        *("--report-data", "c0ffee", "--out", str(made)),
    )
    return made


def test_it_quotes_a_report_verifies_the_quote_and_tells_nothing_that_names_the_machine(
    dcap_options: list[str], state: Path, report: Path, tmp_path: Path
) -> None:
    collateral, out = tmp_path / "collateral", tmp_path / "report.tar.gz"
    run_cli("simulate", "export-collateral", "--state", str(state), "--out", str(collateral))
    done = run_cli(
        *("hardware-report", *dcap_options, "--report", str(report), "--bundle", str(collateral / "case")),
        *("--insecure-simulated-root", str(collateral / "root.pem"), "--out", str(out)),
    )
    assert "verified          accepted" in done.stdout
    told = documents(out)
    assert set(outcomes(told).values()) == {"done"}
    assert told["verdict.json"]["tcb_status"] == "UpToDate"
    assert dcap_options[1] in told["machine.json"]["files"]
    assert any(line.get("event") == "quote provider found" for line in told["log.json"])
    text = json.dumps(told).lower()
    pck = read_state(state)
    for secret in (
        pck.provisioning_enclave().ppid(),
        pck.qe_id(),
        pck.secret,
        load(state).target(QE3_KEY_ID).public_key_id,
        report.read_bytes()[320:352],
    ):
        assert secret.hex() not in text
    assert "certificate-----" not in text


def test_the_host_s_name_is_left_out(tmp_path: Path) -> None:
    out = tmp_path / "report.tar.gz"
    missing = f"/nowhere/{platform.node()}/libsgx_dcap_ql.so.1"
    refused = run_cli("hardware-report", "--dcap-library", missing, "--out", str(out), check=False)
    assert refused.returncode == 3
    steps = documents(out)["steps.json"]
    assert steps[-1]["outcome"] == "UNAVAILABLE"
    assert "/nowhere/(host)/libsgx_dcap_ql.so.1" in steps[-1]["detail"]


def test_a_crash_is_a_result(dcap_options: list[str], simulated_enclaves: SimulatedEnclaves, tmp_path: Path) -> None:
    simulated_enclaves.crash("quote")
    out = tmp_path / "report.tar.gz"
    assert run_cli("hardware-report", *dcap_options, "--out", str(out), check=False).returncode == 3
    told = documents(out)
    assert outcomes(told)["quote_size"] == "done"
    assert told["steps.json"][-1] | {"facts": None} == {
        "step": "forged_report",
        "outcome": "ended",
        "detail": "the process ended by SIGSEGV",
        "facts": None,
        "milliseconds": [],
    }


def test_a_library_that_hangs_is_a_result(
    dcap_options: list[str], simulated_enclaves: SimulatedEnclaves, tmp_path: Path
) -> None:
    simulated_enclaves.hold("init")
    out = tmp_path / "report.tar.gz"
    options = (*dcap_options, "--timeout", "1", "--out", str(out))
    assert run_cli("hardware-report", *options, check=False).returncode == 3
    last = documents(out)["steps.json"][-1]
    assert (last["outcome"], last["detail"]) == ("ended", "no end within 1 s")


def test_another_service_is_looked_at_as_well(daemon: Daemon, tmp_path: Path) -> None:
    out = tmp_path / "report.tar.gz"
    path = str(daemon.path)
    run_cli("hardware-report", "--platform", "upstream", "--upstream", path, "--socket", path, "--out", str(out))
    told = documents(out)
    assert set(outcomes(told).values()) == {"done"}
    assert told["conformance.json"]["failed"] == 0
    assert told["conformance.json"]["passed"] > 20
    assert len(told["conformance.json"]["results"]) > 20


def test_a_daemon_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    out = tmp_path / "report.tar.gz"
    run_cli("hardware-report", "--socket", str(tmp_path / "none"), "--out", str(out), check=False)
    assert "No such file or directory" in documents(out)["conformance.json"]["left_out"]


def test_what_is_no_report_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(bytes(431))
    refused = run_cli("hardware-report", "--report", str(tmp_path / "short"), check=False)
    assert refused.returncode == 2
    assert "432 bytes" in refused.stderr
