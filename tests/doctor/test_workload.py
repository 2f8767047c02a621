"""Real processes, looked at by the real command."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness import DEADLINE_S, run_cli
from quotehelper.doctor.quoting_mode import QuotingMode, SocketState, judge_quoting_mode
from quotehelper.doctor.workload import read_workload, socket_state
from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROGRAM = """
import mmap, sys
kept = []
for path in sys.argv[1:]:
    kind, _, name = path.partition(":")
    file = open(name, "rb")
    kept.append(file if kind == "open" else mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    if kind == "mapped":
        file.close()
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Start processes that map and open files of given names, with a variable set or not; returns their ids."""
    with contextlib.ExitStack() as stack:

        def begin(*files: str, variable: str | None = None) -> int:
            environment = {key: value for key, value in os.environ.items() if key != "SGX_AESM_ADDR"}
            if variable is not None:
                environment["SGX_AESM_ADDR"] = variable
            arguments = []
            for file in files:
                kind, _, name = file.partition(":")
                path = tmp_path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x" * 4096)
                arguments.append(f"{kind}:{path}")
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, *arguments],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            return process.pid

        yield begin


@pytest.mark.parametrize(
    ("files", "variable", "mode"),
    [
        ((), None, QuotingMode.NEITHER),
        (("mapped:libsgx_dcap_ql.so.1",), None, QuotingMode.IN_PROCESS),
        (("mapped:libsgx_dcap_ql.so.1",), "1", QuotingMode.OUT_OF_PROCESS),
        (("mapped:libsgx_dcap_ql.so.1",), "", QuotingMode.OUT_OF_PROCESS),
        (("mapped:libsgx_quote_ex.so.1", "mapped:libsgx_dcap_ql.so.1"), None, QuotingMode.BOTH),
        (("mapped:libsgx_dcap_ql.so.1", "open:dev/sgx_provision"), "1", QuotingMode.BOTH),
        (("mapped:dev/sgx_provision",), None, QuotingMode.IN_PROCESS),
    ],
)
def test_a_running_process_is_recognised(
    start: Callable[..., int], files: tuple[str, ...], variable: str | None, mode: QuotingMode
) -> None:
    assert judge_quoting_mode(read_workload(start(*files, variable=variable))).mode is mode


def test_a_library_that_was_replaced_on_disk_is_still_recognised(start: Callable[..., int], tmp_path: Path) -> None:
    pid = start("mapped:libsgx_dcap_ql.so.1", "open:dev/sgx_provision")
    (tmp_path / "libsgx_dcap_ql.so.1").unlink()
    (tmp_path / "dev/sgx_provision").unlink()
    seen = read_workload(pid)
    assert str(tmp_path / "libsgx_dcap_ql.so.1") in seen.files
    assert str(tmp_path / "dev/sgx_provision") in seen.devices


def at_socket(root: Path, what: str) -> None:
    """Put something at the AESM socket's path below ``root``."""
    (root / "run/aesmd").mkdir(parents=True)
    path = root / "run/aesmd/aesm.socket"
    if what == "socket":
        with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(path.parent):
            listening.bind(path.name)
    elif what == "directory":
        path.mkdir()


@pytest.mark.parametrize(
    ("what", "state"),
    [("socket", SocketState.THERE), ("directory", SocketState.NO_SOCKET), ("nothing", SocketState.MISSING)],
)
def test_the_socket_is_looked_for_where_the_process_would_find_it(
    tmp_path: Path, what: str, state: SocketState
) -> None:
    at_socket(tmp_path, what)
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    assert socket_state(tmp_path) is state


def test_a_directory_at_var_run_is_taken_as_it_is(tmp_path: Path) -> None:
    at_socket(tmp_path, "nothing")
    (tmp_path / "var/run/aesmd").mkdir(parents=True)
    (tmp_path / "var/run/aesmd/aesm.socket").write_text("")
    assert socket_state(tmp_path) is SocketState.NO_SOCKET


def test_other_variables_are_not_kept(start: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_APPLICATION", "hidden")
    assert "hidden" not in repr(read_workload(start(variable="1")))


def test_a_variable_of_a_similar_name_is_another(start: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOT_SGX_AESM_ADDR", "1")
    monkeypatch.setenv("SGX_AESM_ADDRESS", "1")
    assert read_workload(start()).aesm_variable is None


def test_the_command_tells_mode_evidence_and_remedy(start: Callable[..., int]) -> None:
    pid = start("mapped:libsgx_dcap_ql.so.1", "open:dev/sgx_provision", variable="0")
    done = run_cli("doctor", "process", str(pid), check=False)
    assert done.returncode == 1
    assert ": both" in done.stdout
    assert "SGX_AESM_ADDR at its start: set to '0'" in done.stdout
    assert "What to do: Choose one" in done.stdout


def test_the_command_tells_it_as_json(start: Callable[..., int]) -> None:
    pid = start("mapped:libsgx_quote_ex.so.1")
    told = json.loads(run_cli("doctor", "process", str(pid), "--json").stdout)
    assert told["mode"] == "out-of-process"
    assert told["pid"] == pid
    assert told["sgx_aesm_addr"] is None


def test_an_expectation_decides_the_exit_code(start: Callable[..., int]) -> None:
    pid = str(start("mapped:libsgx_quote_ex.so.1"))
    assert run_cli("doctor", "process", pid, "--expect", "out-of-process", check=False).returncode == 0
    assert run_cli("doctor", "process", pid, "--expect", "in-process", check=False).returncode == 1


def test_a_process_that_is_gone_is_exit_code_2_and_a_sentence() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(DEADLINE_S)
    failed = run_cli("doctor", "process", str(gone.pid), check=False)
    assert failed.returncode == 2
    assert "there is no process" in failed.stderr


def test_a_kernel_thread_or_a_strangers_process_is_refused_or_read() -> None:
    try:
        assert isinstance(read_workload(2).socket, SocketState)
    except ConfigError as error:
        assert error.remedy  # noqa: PT017  both outcomes are right, depending on who runs the test


def test_a_name_of_the_process_can_not_move_the_cursor(start: Callable[..., int]) -> None:
    pid = start("open:\x1b[2J/dev/sgx_provision")
    done = run_cli("doctor", "process", str(pid), check=False)
    assert "\x1b" not in done.stdout
