"""An update that changes the quoting enclave hurts nobody who holds the former one's target info."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NamedTuple

import pytest

from control_client import Control
from harness import Daemon, run_cli
from quotehelper.aesm.client import AesmClient
from quotehelper.errors import DaemonError
from quotehelper.platforms.simulated.cpu import Enclave, EnclaveIdentity
from quotehelper.platforms.simulated.state import load_cpu
from quotehelper.sgx.key_id import QE3_KEY_ID, QeReportInfo
from quotehelper.sgx.quote import read_quote
from quotehelper.sgx.report import AttributeFlags, Attributes, Report, TargetInfo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GRAMINE_BUFFER = 8192
NOT_INITIALISED, INVALID_REPORT = 42, 47


class Application:
    """An enclave, and the way it asks the daemon at ``path``."""

    def __init__(self, enclave: Enclave, path: Path) -> None:
        self.enclave = enclave
        self.client = AesmClient(str(path))

    def initialise(self) -> TargetInfo:
        return self.client.init_quote(QE3_KEY_ID).target_info

    def quote(self, target: TargetInfo, size: int | None = None, info: QeReportInfo | None = None) -> bytes:
        return self.client.quote(self.enclave.report(target, bytes(64)), QE3_KEY_ID, size, info).quote

    def status(self, report: Report) -> int:
        try:
            self.client.quote(report, QE3_KEY_ID)
        except DaemonError as error:
            return error.status
        return 0


class Node(NamedTuple):
    """A node with one instance, and how to start the next."""

    serving: Daemon
    update: Callable[..., Daemon]


@pytest.fixture
def node(start_daemon: Callable[..., Daemon], tmp_path: Path) -> Node:
    private = ["--private-dir", str(tmp_path / "private")]
    serving = start_daemon([*private, "--qe-isv-svn", "11"])

    def update(isv_svn: int = 12, *options: str) -> Daemon:
        started = start_daemon([*private, "--take-over", "--qe-isv-svn", str(isv_svn), *options])
        serving.wait_for("INFO retired")
        return started

    return Node(serving, update)


@pytest.fixture
def application(state: Path, node: Node) -> Application:
    identity = EnclaveIdentity(b"\xaa" * 32, b"\xbb" * 32, Attributes.build(flags=AttributeFlags.INIT, xfrm=3))
    return Application(load_cpu(state).load(identity), node.serving.path)


def qe_isv_svn(quote: bytes) -> int:
    return read_quote(quote).qe_report.isv_svn


@pytest.mark.parametrize("place", ["in-process", "worker"])
def test_reports_for_a_former_enclave_are_counted(
    node: Node, application: Application, tmp_path: Path, place: str
) -> None:
    target = application.initialise()
    control = Control(tmp_path / "metrics.socket")
    node.update(12, "--metrics", str(control.path), "--platform-process", place)
    application.quote(target)
    application.quote(application.initialise())
    control.wait_for_metric("quotehelper_former_enclave_reports_total", 1, outcome="quoted")
    assert control.metric("quotehelper_former_enclave_reports_total", outcome="refused") == 0


def test_gramine_initialises_once_and_quotes_on(node: Node, application: Application) -> None:
    target = application.initialise()
    before = application.quote(target, GRAMINE_BUFFER)
    node.update(12)
    after = application.quote(target, GRAMINE_BUFFER)
    assert (qe_isv_svn(before), qe_isv_svn(after)) == (11, 11)


def test_occlum_keeps_target_and_size_for_life_over_several_updates(node: Node, application: Application) -> None:
    target, size = application.initialise(), application.client.quote_size(QE3_KEY_ID)
    latest = node.serving
    for isv_svn in (12, 13, 11, 12):
        former, latest = latest, node.update(isv_svn)
        former.wait_for("INFO retired")
        assert len(application.quote(target, size)) == size
    assert latest.process.poll() is None


def test_intels_library_that_is_between_two_of_its_calls(node: Node, application: Application) -> None:
    target = application.initialise()
    node.update(12)
    size = application.client.quote_size(QE3_KEY_ID)
    assert len(application.quote(target, size)) == size


def test_fortanix_gets_the_report_of_the_quoting_enclave_it_knows(node: Node, application: Application) -> None:
    target = application.initialise()
    node.update(12)
    info = QeReportInfo.build(nonce=bytes(16), app_enclave_target_info=application.enclave.target)
    reply = application.client.quote(application.enclave.report(target, bytes(64)), QE3_KEY_ID, None, info)
    assert reply.qe_report_info is not None
    assert application.enclave.verify_report(reply.qe_report_info.qe_report)
    assert reply.qe_report_info.qe_report.body.mr_enclave == target.mr_enclave


def test_who_comes_after_the_update_gets_the_new_quoting_enclave(node: Node, application: Application) -> None:
    node.update(12)
    assert qe_isv_svn(application.quote(application.initialise())) == 12


def test_going_back_lets_the_newer_quoting_enclave_quote_on(node: Node, application: Application) -> None:
    newer = node.update(12)
    target = application.initialise()
    node.update(11)
    newer.wait_for("INFO retired")
    assert qe_isv_svn(application.quote(target)) == 12
    assert qe_isv_svn(application.quote(application.initialise())) == 11


def test_a_serving_process_that_was_replaced_knows_the_former_quoting_enclave(
    node: Node, application: Application
) -> None:
    target = application.initialise()
    updated = node.update(12)
    (serving,) = updated.children()
    os.kill(serving, signal.SIGKILL)
    updated.wait_for("ERROR serving process ended")
    assert qe_isv_svn(application.quote(target)) == 11


@pytest.fixture
def short(tmp_path: Path) -> list[str]:
    """Options of an instance without overlap."""
    settings = tmp_path / "short.toml"
    settings.write_text("[limits]\noverlap_s = 0\n")
    return ["--config", str(settings)]


def test_after_the_overlap_a_report_for_the_former_one_is_answered_42(
    node: Node, application: Application, short: list[str]
) -> None:
    report = application.enclave.report(application.initialise(), bytes(64))
    node.update(12, *short)
    assert application.status(report) == NOT_INITIALISED
    assert qe_isv_svn(application.quote(application.initialise(), GRAMINE_BUFFER)) == 12, "a retry as Gramine's"


@pytest.mark.parametrize("overlapping", [True, False])
def test_a_forged_report_is_answered_47_during_the_overlap_and_after_it(
    node: Node, application: Application, short: list[str], *, overlapping: bool
) -> None:
    genuine = application.enclave.report(application.initialise(), bytes(64)).raw
    node.update(12, *([] if overlapping else short))
    assert application.status(Report(genuine[:-1] + bytes([genuine[-1] ^ 1]))) == INVALID_REPORT


@pytest.mark.parametrize("private", [True, False])
def test_sighup_after_an_update_of_the_state_overlaps_too(
    start_daemon: Callable[..., Daemon], tmp_path: Path, *, private: bool
) -> None:
    state = tmp_path / "state"
    run_cli("simulate", "init", "--state", str(state))
    daemon = start_daemon(["--private-dir", str(tmp_path / "private")] if private else [], state=state)
    identity = EnclaveIdentity(b"\xaa" * 32, b"\xbb" * 32, Attributes.build(flags=AttributeFlags.INIT, xfrm=3))
    application = Application(load_cpu(state).load(identity), daemon.path)
    target = application.initialise()
    run_cli("simulate", "update-qe", "--state", str(state), "--isv-svn", "12")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("INFO reloaded")
    assert qe_isv_svn(application.quote(target)) == 11
    assert qe_isv_svn(application.quote(application.initialise())) == 12
