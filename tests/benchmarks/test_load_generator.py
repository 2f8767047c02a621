from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from benchmarks.rig import BenchError, build, drive, finish, generator, must_answer
from frames import NUM, message, number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NUM_REPLY = message(21, number(1, 0), number(2, 1))
BUSY_REPLY = message(21, number(1, 18))


@contextlib.contextmanager
def served(path: Path, serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that hands each connection to ``serve`` and closes it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield str(path)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def answering(reply: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        received = b""
        while len(received) < len(NUM):
            received += connection.recv(4096)
        assert received == NUM
        connection.sendall(reply)

    return serve


@pytest.mark.parametrize("options", [(), ("--two-writes",), ("--clients", "8"), ("--pause-ms", "0.1")])
def test_every_answer_with_status_0_is_counted(tmp_path: Path, options: tuple[str, ...]) -> None:
    with served(tmp_path / "s", answering(NUM_REPLY)) as path:
        load = drive(path, NUM, "--requests", "50", *options)
    assert load.requests == 50
    assert load.failures == 0
    assert load.reply_bytes == len(NUM_REPLY)
    assert 0 < load.latency_us["p50"] <= load.latency_us["p99"] <= load.latency_us["max"] * 1.01


def test_statuses_are_failures_and_told_by_number(tmp_path: Path) -> None:
    with served(tmp_path / "s", answering(BUSY_REPLY)) as path:
        load = drive(path, NUM, "--requests", "5")
    assert (load.requests, load.errors["status"], load.statuses) == (0, 5, {"18": 5})


@pytest.mark.parametrize(
    ("kind", "reply"),
    [("closed", b""), ("short", NUM_REPLY[:-1]), ("short", NUM_REPLY[:3]), ("unreadable", message(21, number(2, 1)))],
)
def test_each_kind_of_failure_has_its_name(tmp_path: Path, kind: str, reply: bytes) -> None:
    with served(tmp_path / "s", answering(reply)) as path:
        load = drive(path, NUM, "--requests", "3")
    assert load.requests == 0
    assert {name: count for name, count in load.errors.items() if count} == {kind: 3}


def test_a_socket_without_a_listener_is_refused(tmp_path: Path) -> None:
    assert drive(str(tmp_path / "nobody"), NUM, "--requests", "2").errors["refused"] == 2


def test_a_full_backlog_is_told_apart_from_a_refusal(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)
        load = drive(str(tmp_path / "s"), NUM, "--clients", "8", "--requests", "8", "--timeout", "0.2")
    assert load.errors["again"] + load.errors["timed_out"] == 8
    assert load.errors["again"] >= 1


def test_a_flood_tells_what_it_saw_when_it_is_ended(tmp_path: Path) -> None:
    with (
        served(tmp_path / "s", answering(NUM_REPLY)) as path,
        generator(path, NUM, "--clients", "4", "--seconds", "3600") as flood,
    ):
        drive(path, NUM, "--requests", "20")
        load = finish(flood, now=True)
    assert must_answer(load, "flood").requests > 0


def test_figures_of_failures_are_refused(tmp_path: Path) -> None:
    with (
        served(tmp_path / "s", answering(BUSY_REPLY)) as path,
        pytest.raises(BenchError, match=r"statuses \{'18': 1\}"),
    ):
        must_answer(drive(path, NUM, "--requests", "1"), "num")


def test_without_a_compiler_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.rig.BUILD", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="no C compiler: install one"):
        build("load_generator")


@pytest.mark.parametrize("options", [["--clients", "0"], ["--clients", "many"], [], ["--frame", "missing"]])
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: list[str]) -> None:
    frame = tmp_path / "frame"
    frame.write_bytes(NUM)
    whole = ["--socket", "s", "--frame", str(frame), *options] if options else []
    program = str(build("load_generator"))
    done = subprocess.run([program, *whole], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr
    assert not done.stdout


def test_the_result_is_one_json_object(tmp_path: Path) -> None:
    frame = tmp_path / "frame"
    frame.write_bytes(NUM)
    command = [
        str(build("load_generator")),
        "--socket",
        str(tmp_path / "nobody"),
        "--frame",
        str(frame),
        "--requests",
        "1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) == {"requests", "seconds", "reply_bytes", "errors", "statuses", "latency_us"}
