"""Intel's library failing beneath a real daemon: each fault is a status, a log line and a count, and passes."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import DEADLINE_S
from quotehelper.aesm.client import AesmClient
from quotehelper.errors import DaemonError
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load_cpu
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.sgx.quote3_error import Quote3Error
from quotehelper.sgx.report import Attributes, Report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dcap_libraries import DcapLibraries
    from harness import Daemon
    from simulated_enclaves import SimulatedEnclaves

LIMITS = "[limits]\nplatform_s = 3.0\n"
"""A worker that hangs is not waited for longer; its successor has to start and answer in this time, too."""


class Subject(NamedTuple):
    """A daemon on Intel's library, who asks it, a report made for it, and the enclaves behind the library."""

    daemon: Daemon
    client: AesmClient
    report: Report
    enclaves: SimulatedEnclaves
    metrics: Path

    def quote(self) -> bytes:
        """A quote over the report."""
        return self.client.quote(self.report, QE3_KEY_ID, 8192).quote

    def refused(self) -> int:
        """The status with which a quote is refused."""
        with pytest.raises(DaemonError) as refused:
            self.quote()
        return refused.value.status

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value now."""
        connection = http.client.HTTPConnection("metrics")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(DEADLINE_S)
        connection.sock.connect(str(self.metrics))
        with closing(connection):
            connection.request("GET", "/metrics")
            body = connection.getresponse().read().decode()
        samples = [sample for family in text_string_to_metric_families(body) for sample in family.samples]
        return sum(
            sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture
def subject(
    start_daemon: Callable[..., Daemon],
    dcap_libraries: DcapLibraries,
    simulated_enclaves: SimulatedEnclaves,
    state: Path,
    tmp_path: Path,
) -> Subject:
    limits, metrics = tmp_path / "limits.toml", tmp_path / "metrics.socket"
    limits.write_text(LIMITS)
    daemon = start_daemon(
        [
            *("--platform", "dcap", "--dcap-library", str(dcap_libraries.quoting)),
            *("--dcap-provider", str(dcap_libraries.intel_provider)),
            *("--config", str(limits), "--metrics", str(metrics)),
        ]
    )
    client = AesmClient(str(daemon.path))
    app = load_cpu(state).load(EnclaveIdentity(b"\xaa" * 32, b"\xbb" * 32, Attributes.build(flags=5, xfrm=3)))
    report = app.report(client.init_quote(QE3_KEY_ID).target_info, bytes(64))
    return Subject(daemon, client, report, simulated_enclaves, metrics)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Quote3Error.OUT_OF_EPC, 29),
        (Quote3Error.ENCLAVE_LOST, 46),
        (Quote3Error.ENCLAVE_LOAD_ERROR, 48),
        (Quote3Error.ERROR_INVALID_PRIVILEGE, 48),
        (Quote3Error.NETWORK_ERROR, 12),
        (Quote3Error.ATT_KEY_NOT_INITIALIZED, 42),
        (Quote3Error.ERROR_UNEXPECTED, 1),
    ],
)
def test_a_code_is_its_status_a_line_and_a_count_and_passes(subject: Subject, code: Quote3Error, status: int) -> None:
    subject.enclaves.fail_for_good("quote", code)
    assert subject.refused() == status
    line = subject.daemon.wait_for("request refused")
    assert f"0x{code:04X} SGX_QL_{code.name}" in line
    assert subject.metric("quotehelper_requests_total", operation="get_quote_ex", status=str(status)) == 1
    subject.enclaves.mend()
    assert subject.quote()
    assert subject.metric("quotehelper_requests_total", operation="get_quote_ex", status="0") == 1


def test_a_library_that_hangs_is_replaced_and_its_request_answered(subject: Subject) -> None:
    gate = subject.enclaves.hold("quote", times=1)
    assert subject.quote(), "made by the worker's successor"
    assert not gate.is_set()
    subject.daemon.wait_for("ERROR platform worker does not answer")
    assert subject.metric("quotehelper_workers_killed_total") == 1


def test_a_request_that_crashes_the_library_twice_is_given_up_and_others_are_served(subject: Subject) -> None:
    subject.enclaves.crash("quote", times=2)
    assert subject.refused() == 30
    assert "ended, twice" in subject.daemon.wait_for("request refused")
    subject.daemon.wait_for('companion ended process="platform worker 0"', times=2)
    assert subject.metric("quotehelper_restarts_total", process="worker") == 2
    assert subject.quote()


def test_a_tcb_update_is_noticed_by_no_client(subject: Subject) -> None:
    subject.enclaves.change_tcb()
    assert subject.quote()


def test_an_update_of_the_quoting_enclave_is_42_until_the_client_has_asked_anew(subject: Subject) -> None:
    subject.enclaves.change_tcb(qe_svn=12)
    assert [subject.refused() for _ in range(2)] == [42, 42]
    subject.daemon.wait_for("WARNING quoting enclave replaced")
