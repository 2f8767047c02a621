"""The daemon on each platform that stands on somebody else: their failures reach clients as the best status."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from harness import Daemon, run_cli
from quotehelper.aesm.client import AesmClient
from quotehelper.errors import DaemonError
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load_cpu
from quotehelper.sgx.key_id import QE3_KEY_ID, QeReportInfo
from quotehelper.sgx.quote import read_quote
from quotehelper.sgx.quote3_error import Quote3Error
from quotehelper.sgx.report import Attributes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dcap_libraries import DcapLibraries
    from quotehelper.platforms.simulated.cpu import Enclave
    from simulated_enclaves import SimulatedEnclaves


@pytest.fixture
def app(state: Path) -> Enclave:
    return load_cpu(state).load(EnclaveIdentity(b"\xaa" * 32, b"\xbb" * 32, Attributes.build(flags=5, xfrm=3)))


@pytest.fixture
def dcap_options(dcap_libraries: DcapLibraries, simulated_enclaves: SimulatedEnclaves) -> list[str]:
    del simulated_enclaves  # they must be there
    library, provider = str(dcap_libraries.quoting), str(dcap_libraries.intel_provider)
    return ["--platform", "dcap", "--dcap-library", library, "--dcap-provider", provider]


def ask_for_quote(client: AesmClient, app: Enclave) -> bytes:
    """A quote as Fortanix asks for it, its QE report checked."""
    target = client.init_quote(QE3_KEY_ID).target_info
    info = QeReportInfo.build(app_enclave_target_info=app.target)
    quote, told = client.quote(app.report(target, bytes(64)), QE3_KEY_ID, qe_report_info=info)
    assert told is not None
    assert app.verify_report(told.qe_report)
    return quote


def test_intel_s_library_quotes_for_clients(
    start_daemon: Callable[..., Daemon], dcap_options: list[str], app: Enclave, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGX_AESM_ADDR", "1")  # with it the library would ask a daemon
    running = start_daemon(dcap_options)
    quote = read_quote(ask_for_quote(AesmClient(str(running.path)), app))
    assert quote.body.raw[64:96] == b"\xaa" * 32
    running.wait_for(r"quote provider found.*Intel's default provider")
    running.wait_for(r"quote provider says message=\"certificates fetched\"")


def test_a_fault_of_the_library_s_is_a_status_a_log_line_and_over_when_it_is_mended(
    start_daemon: Callable[..., Daemon], dcap_options: list[str], app: Enclave, simulated_enclaves: SimulatedEnclaves
) -> None:
    simulated_enclaves.fail_for_good("config", Quote3Error.NETWORK_ERROR)
    running = start_daemon(dcap_options)
    client = AesmClient(str(running.path))
    with pytest.raises(DaemonError) as refused:
        client.init_quote(QE3_KEY_ID)
    assert refused.value.status == 12
    line = running.wait_for("request refused")
    assert "12 NETWORK_ERROR" in line
    assert "0xE019 SGX_QL_NETWORK_ERROR" in line
    assert "/etc/sgx_default_qcnl.conf" in line
    simulated_enclaves.mend()
    assert ask_for_quote(client, app)


def test_a_crash_in_the_library_costs_no_request(
    start_daemon: Callable[..., Daemon], dcap_options: list[str], app: Enclave, simulated_enclaves: SimulatedEnclaves
) -> None:
    running = start_daemon(dcap_options)
    client = AesmClient(str(running.path))
    assert ask_for_quote(client, app)
    simulated_enclaves.crash("quote")
    assert ask_for_quote(client, app), "made by the worker's successor"
    running.wait_for(r"ERROR companion ended process=\"platform worker 0\"")


def test_sighup_keeps_intel_s_library_at_work(
    start_daemon: Callable[..., Daemon], dcap_options: list[str], app: Enclave
) -> None:
    running = start_daemon(dcap_options)
    client = AesmClient(str(running.path))
    assert ask_for_quote(client, app)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for(" reloaded ")
    assert ask_for_quote(client, app)


def test_another_service_quotes_for_clients_and_may_go_and_come_back(
    start_daemon: Callable[..., Daemon], app: Enclave, tmp_path: Path
) -> None:
    other_path = tmp_path / "other.socket"
    other = start_daemon(path=other_path)
    ours = start_daemon(["--platform", "upstream", "--upstream", str(other_path)])
    client = AesmClient(str(ours.path))
    assert ask_for_quote(client, app)
    assert other.stop() == 0
    with pytest.raises(DaemonError) as refused:
        ask_for_quote(client, app)
    assert refused.value.status == 30
    assert str(other_path) in ours.wait_for("upstream is gone")
    start_daemon(path=other_path)
    assert ask_for_quote(client, app)
    ours.wait_for("upstream is back")


def test_a_daemon_that_would_ask_itself_does_not_start(tmp_path: Path) -> None:
    own = str(tmp_path / "own.socket")
    refused = run_cli("serve", "--platform", "upstream", "--upstream", own, "--socket", own, check=False)
    assert refused.returncode == 2
    assert "is this daemon's own socket, it would ask itself" in refused.stderr


def test_auto_says_what_is_missing_and_never_simulates(state: Path, tmp_path: Path) -> None:
    missing = str(tmp_path / "libsgx_dcap_ql.so.1")
    refused = run_cli(
        *("serve", "--platform", "auto", "--dcap-library", missing, "--state", str(state)),
        *("--socket", str(tmp_path / "own.socket")),
        check=False,
    )
    assert refused.returncode == 2
    assert "SGX can't be used here" in refused.stderr
    assert "libsgx_dcap_ql.so.1 is not there" in refused.stderr
    assert "--platform simulated --state DIRECTORY, whose quotes prove nothing" in refused.stderr


def test_dcap_starts_without_sgx_says_what_is_missing_and_answers_in_kind(
    start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    running = start_daemon(["--platform", "dcap", "--dcap-library", str(tmp_path / "libsgx_dcap_ql.so.1")])
    assert "Install libsgx-dcap-ql" in running.wait_for("SGX not usable.*libsgx_dcap_ql.so.1 is not there")
    client = AesmClient(str(running.path))
    assert client.supported_key_ids() == (QE3_KEY_ID,)
    with pytest.raises(DaemonError) as refused:
        client.init_quote(QE3_KEY_ID)
    assert refused.value.status == 30


def test_a_simulated_platform_needs_its_state(tmp_path: Path) -> None:
    refused = run_cli("serve", "--platform", "simulated", "--socket", str(tmp_path / "socket"), check=False)
    assert refused.returncode == 2
    assert "needs --state" in refused.stderr
