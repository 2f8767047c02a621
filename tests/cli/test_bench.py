from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from frames import message, number
from harness import Daemon, run_cli
from quotehelper.cli.bench import KINDS

if TYPE_CHECKING:
    from pathlib import Path

QUICK = ("--clients", "4", "--seconds", "0.2")


def measured(path: Path, *options: str) -> dict[str, object]:
    result: dict[str, object] = json.loads(run_cli("bench", "--socket", str(path), "--json", *QUICK, *options).stdout)
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_request_is_answered(daemon: Daemon, state: Path, kind: str) -> None:
    result = measured(daemon.path, "--state", str(state), "--request", kind)
    assert (result["request"], result["clients"], result["errors"]) == (kind, 4, {})
    answered = result["answered"]
    assert isinstance(answered, int)
    assert answered > 0


def test_quotes_are_asked_for_where_an_enclave_can_be_played(daemon: Daemon, state: Path) -> None:
    assert measured(daemon.path, "--state", str(state))["request"] == "quote"


def test_sizes_are_asked_for_otherwise(daemon: Daemon) -> None:
    assert measured(daemon.path)["request"] == "size"


def test_a_report_can_be_brought(daemon: Daemon, state: Path, tmp_path: Path) -> None:
    target, report = tmp_path / "target", tmp_path / "report"
    run_cli("target-info", "--socket", str(daemon.path), "--out", str(target))
    options = ("--state", str(state), "--target-info", str(target), "--report-data", "00", "--out", str(report))
    run_cli("simulate", "report", *options)
    assert measured(daemon.path, "--report", str(report))["request"] == "quote"


def test_people_get_a_table_and_are_told_what_the_client_itself_took(daemon: Daemon) -> None:
    done = run_cli("bench", "--socket", str(daemon.path), *QUICK)
    assert "size requests, 4 clients" in done.stdout
    assert "requests_per_second" in done.stdout
    assert "of a processor core" in done.stderr


def test_nothing_but_the_result_is_on_standard_output(daemon: Daemon) -> None:
    done = run_cli("bench", "--socket", str(daemon.path), "--json", *QUICK)
    assert json.loads(done.stdout)
    assert not done.stderr


def test_a_quote_without_a_report_is_a_usage_error(tmp_path: Path) -> None:
    done = run_cli("bench", "--socket", str(tmp_path / "s"), "--request", "quote", check=False)
    assert done.returncode == 2
    assert "give --state" in done.stderr


def test_state_and_report_exclude_each_other(tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.write_bytes(bytes(432))
    done = run_cli("bench", "--state", str(tmp_path), "--report", str(report), check=False)
    assert done.returncode == 2
    assert "either --state or --report" in done.stderr


def test_no_daemon_is_unavailable(tmp_path: Path) -> None:
    done = run_cli("bench", "--socket", str(tmp_path / "nobody"), check=False)
    assert done.returncode == 3
    assert str(tmp_path / "nobody") in done.stderr
    assert not done.stdout


def test_a_request_that_the_daemon_refuses_is_unavailable(daemon: Daemon, tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.write_bytes(bytes(432))
    done = run_cli("bench", "--socket", str(daemon.path), "--report", str(report), check=False)
    assert done.returncode == 3
    assert "47" in done.stderr


def test_failures_are_counted_by_kind_and_status(tmp_path: Path) -> None:
    """A daemon that answers once, then is busy, then closes in the middle, then says something else, then nothing."""
    replies = [
        message(16, number(1, 0), number(2, 4709)),
        message(16, number(1, 18), number(2, 0)),
        message(16, number(1, 0), number(2, 4709))[:-2],
        message(21, number(1, 0), number(2, 1)),
    ]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(8)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    if replies:
                        connection.sendall(replies.pop(0))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        options = ("--clients", "1", "--seconds", "0.2", "--json", "--socket", str(tmp_path / "s"))
        done = run_cli("bench", *options, check=False)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    result = json.loads(done.stdout)
    assert result["statuses"] == {"18": 1}
    errors = result["errors"]
    assert (errors["status"], errors["short"], errors["unreadable"]) == (1, 1, 1)
    assert errors["closed"] >= 1
    assert result["answered"] == 0
    assert done.returncode == 3
