"""The control process of a real daemon, asked over HTTP: health, metrics, limits, and its own death."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import shutil
import signal
import socket
from typing import TYPE_CHECKING

import pytest

import frames
from control_client import Control
from harness import DEADLINE_S, Daemon, Program, run_cli
from quotehelper.node import control as control_module
from quotehelper.node.config import Settings
from quotehelper.node.control import CONNECTIONS
from quotehelper.node.counters import Counters

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import WrittenLog
    from quotehelper.node.log import Log

CONTROL = "quotehelper.node.control"


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return Control(tmp_path / "metrics.socket")


@pytest.fixture
def daemon(start_daemon: Callable[..., Daemon], control: Control) -> Daemon:
    return start_daemon(["--metrics", str(control.path), "--self-check-interval", "1"])


@pytest.mark.parametrize("place", ["in-process", "worker"])
def test_a_daemon_that_quotes_is_alive_started_and_ready(
    start_daemon: Callable[..., Daemon], control: Control, place: str
) -> None:
    start_daemon(["--metrics", str(control.path), "--platform-process", place])
    for path in ("/startupz", "/readyz", "/healthz"):
        assert control.wait_for(path, 200) == {"ok": True}


def test_a_self_check_is_a_quote_as_clients_have_it(daemon: Daemon, control: Control) -> None:
    control.wait_for("/readyz", 200)
    assert control.metric("quotehelper_requests_total", operation="get_quote_ex", status="0") >= 1
    assert control.metric("quotehelper_self_checks_total", outcome="passed") >= 1
    assert control.metric("quotehelper_self_check_seconds") > 0
    assert control.metric("quotehelper_certificate_expiry_timestamp_seconds") > 1.7e9
    assert control.metric("quotehelper_ready") == 1
    assert daemon.process.poll() is None


def test_what_intels_library_lacks_is_counted_and_seen_to_come_late(control: Control, tmp_path: Path) -> None:
    library = tmp_path / "libsgx_dcap_ql.so.1"
    options = ["--platform", "dcap", "--dcap-library", str(library), "--socket", str(tmp_path / "aesm.socket")]
    with Program("serve", *options, "--metrics", str(control.path), "--self-check-interval", "1") as daemon:
        daemon.wait_for(" ready ")
        control.wait_for("/startupz", 503)
        daemon.wait_for("WARNING SGX not usable")
        before = control.wait_for_more("quotehelper_hardware_obstacles", 0)
        library.write_bytes(b"")
        control.wait_for_metric("quotehelper_hardware_obstacles", before - 1)
        assert f"was={before:.0f} now={before - 1:.0f}" in daemon.wait_for("INFO SGX obstacles changed")


def test_it_is_not_ready_while_no_quote_can_be_had_and_says_why_and_is_again(
    start_daemon: Callable[..., Daemon], control: Control, state: Path, tmp_path: Path
) -> None:
    own = tmp_path / "state"
    shutil.copytree(state, own)
    daemon = start_daemon(["--metrics", str(control.path), "--self-check-interval", "1"], state=own)
    control.wait_for("/readyz", 200)
    run_cli("simulate", "update-qe", "--state", str(own), "--isv-svn", "12")
    (own / "pck_chain.pem").rename(own / "gone")
    answer = control.wait_for("/readyz", 503)
    assert "pck_chain.pem" in answer["cause"]
    assert answer["remedy"]
    assert control.health("/healthz")[0] == control.health("/startupz")[0] == 200
    assert "reason=" in daemon.wait_for("ERROR self-check failed")
    (own / "gone").rename(own / "pck_chain.pem")
    control.wait_for("/readyz", 200)
    daemon.wait_for("INFO self-check passed again")


def test_it_is_not_alive_while_the_supervisor_does_not_move(daemon: Daemon, control: Control) -> None:
    control.wait_for("/healthz", 200)
    daemon.process.send_signal(signal.SIGSTOP)
    answer = control.wait_for("/healthz", 503)
    daemon.process.send_signal(signal.SIGCONT)
    assert "loop has not turned" in answer["cause"]
    assert answer["remedy"]
    control.wait_for("/healthz", 200)


def test_counts_survive_the_processes_that_counted(daemon: Daemon, control: Control) -> None:
    for _ in range(3):
        daemon.exchange(frames.NUM)
    os.kill(daemon.children()[0], signal.SIGKILL)
    daemon.wait_for("ERROR serving process ended")
    daemon.exchange(frames.NUM)
    os.kill(daemon.children(CONTROL)[0], signal.SIGKILL)
    daemon.wait_for("ERROR companion ended")
    assert control.metric("quotehelper_requests_total", operation="get_supported_att_key_id_num") == 4
    assert control.metric("quotehelper_restarts_total", process="serving") == 1
    assert control.metric("quotehelper_restarts_total", process="control") == 1


def test_what_a_killed_process_had_in_flight_is_in_flight_no_more(
    start_daemon: Callable[..., Daemon], control: Control
) -> None:
    daemon = start_daemon(["--metrics", str(control.path), "--platform-process", "worker"])
    (worker,) = daemon.children("quotehelper.node.worker_process")
    control.wait_for("/readyz", 200)
    os.kill(worker, signal.SIGSTOP)
    with daemon.connect() as client:
        client.sendall(frames.quote(bytes(432), 8192))
        while control.metric("quotehelper_quotes_in_flight") < 1:
            assert daemon.process.poll() is None
        os.kill(daemon.children()[0], signal.SIGKILL)
        daemon.wait_for("ERROR serving process ended")
        assert control.metric("quotehelper_quotes_in_flight") == 0
    os.kill(worker, signal.SIGCONT)


def test_who_asks_while_the_control_process_is_replaced_waits(daemon: Daemon, control: Control) -> None:
    control.wait_for("/healthz", 200)
    os.kill(daemon.children(CONTROL)[0], signal.SIGKILL)
    assert control.health("/healthz") == (200, {"ok": True})


def test_closed_connections_are_counted_by_their_cause(daemon: Daemon, control: Control) -> None:
    assert daemon.exchange(b"\4\0\0\0junk") == b""
    assert control.metric("quotehelper_connections_closed_total", cause="malformed") == 1
    assert control.metric("quotehelper_connections_total") >= 1


@pytest.mark.usefixtures("daemon")
def test_answers_are_not_to_be_kept_and_nothing_else_is_answered(control: Control) -> None:
    for path in ("/healthz", "/metrics"):
        _status, headers, _body = control.get(path)
        assert headers["Cache-Control"] == "no-store"
        assert "aiohttp" not in headers.get("Server", "")
    assert control.get("/")[0] == 404
    assert control.get("/metrics", "POST")[0] == 405
    assert control.get("/" + "x" * 8000)[0] == 400


@pytest.mark.usefixtures("daemon")
def test_connections_are_limited_and_those_that_are_open_still_work(control: Control) -> None:
    control.wait_for("/healthz", 200)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(control.connect()) for _ in range(CONNECTIONS + 1)]
        assert silent[-1].recv(1) == b"", "it is closed at once"
        silent[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert silent[0].recv(12) == b"HTTP/1.1 200"
    control.wait_for("/healthz", 200)


class Alone:
    """The HTTP side by itself, at the Unix socket ``path``, with connections of 50 ms."""

    def __init__(self, path: Path, log: Log) -> None:
        self.path = str(path)
        self._control = control_module.Control(Settings("simulated", ""), Counters.create(1), log)

    def converse(self, say: Callable[[asyncio.StreamWriter], None]) -> bytes:
        """What is answered on one connection until it is closed; ``say`` is called again after each answer."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.path)
        listening.listen()

        async def converse() -> bytes:
            received = b""
            async with control_module.answering(self._control, listening, connection_s=0.05):
                reader, writer = await asyncio.open_unix_connection(self.path)
                with contextlib.suppress(ConnectionError):
                    say(writer)
                    while chunk := await asyncio.wait_for(reader.read(4096), DEADLINE_S):
                        received += chunk
                        say(writer)
                writer.close()
            return received

        return asyncio.run(asyncio.wait_for(converse(), DEADLINE_S))


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHo"], ids=["nothing", "half a request"])
def test_who_sends_no_request_is_closed_in_time(tmp_path: Path, log: WrittenLog, sent: bytes) -> None:
    assert Alone(tmp_path / "http", log).converse(lambda writer: writer.write(sent)) == b""


def test_who_asks_again_and_again_on_one_connection_is_closed_in_time_too(tmp_path: Path, log: WrittenLog) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    answers = Alone(tmp_path / "http", log).converse(lambda writer: writer.write(request))
    assert answers.startswith(b"HTTP/1.1 503")


def test_metrics_are_told_at_a_port_too(start_daemon: Callable[..., Daemon]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    start_daemon(["--metrics", f"127.0.0.1:{port}"])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


def test_an_address_that_is_taken_ends_the_start(start_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        daemon = start_daemon(["--metrics", f"127.0.0.1:{taken.getsockname()[1]}"], ready=False)
        assert daemon.process.wait(DEADLINE_S) == 2
        daemon.wait_for("error: Metrics can't be served")
    assert not (tmp_path / "aesm.socket").exists()


def test_an_address_that_is_none_is_refused_by_the_command_line(state: Path) -> None:
    refused = run_cli("serve", "--platform", "simulated", "--state", str(state), "--metrics", "9100", check=False)
    assert refused.returncode == 2
    assert "HOST:PORT" in refused.stderr


def test_without_the_option_there_is_no_control_process(start_daemon: Callable[..., Daemon]) -> None:
    assert start_daemon().children(CONTROL) == []
