"""The example as it is run: two processes, one daemon, each process in namespaces of its own, as in a pod."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import DEADLINE_S, Daemon, run_cli
from pod_sandboxes import Sandbox, TwoSandboxes, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKLOAD = Path(__file__).parents[2] / "examples/remote_attestation/workload.py"
CERTIFICATE, QUOTE = 1, 2
"""Which frame of a side is which; the nonce is the first."""
KINDS = ("mnt", "pid", "net")


@pytest.fixture(scope="module")
def collateral(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What verifies the platform's quotes."""
    directory = tmp_path_factory.mktemp("collateral") / "out"
    run_cli("simulate", "export-collateral", "--state", str(state), "--out", str(directory))
    return directory


@pytest.fixture
def start(daemon: Daemon, state: Path, collateral: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start workloads that end with the test."""
    with contextlib.ExitStack() as stack:

        def begin(role: str, address: str, *options: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
            where = ("--state", str(state), "--collateral", str(collateral))
            helper = () if prefix else ("--socket", str(daemon.path))
            command = [*prefix, sys.executable, str(WORKLOAD), role, address, *where, *helper, *options]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            stack.callback(process.communicate, timeout=DEADLINE_S)
            stack.callback(process.kill)
            return process

        yield begin


def port_of(listener: subprocess.Popen[str]) -> int:
    assert listener.stdout is not None
    found = re.search(r"port (\d+)", listener.stdout.readline())
    assert found, listener.communicate(timeout=DEADLINE_S)
    return int(found[1])


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=DEADLINE_S)
    return process.returncode, out, err


def key_of(process: subprocess.Popen[str]) -> str:
    code, out, err = outcome(process)
    assert code == 0, err
    found = re.search(r"SHA-256 ([0-9a-f]{64})", out)
    assert found
    return found[1]


def test_two_workloads_attest_each_other_and_have_the_same_key(start: Callable[..., subprocess.Popen[str]]) -> None:
    listener = start("listen", "127.0.0.1:0")
    connector = start("connect", f"127.0.0.1:{port_of(listener)}")
    assert key_of(listener) == key_of(connector)


def test_each_exchange_has_a_key_of_its_own(start: Callable[..., subprocess.Popen[str]]) -> None:
    keys = set()
    for _ in range(2):
        listener = start("listen", "127.0.0.1:0")
        start("connect", f"127.0.0.1:{port_of(listener)}")
        keys.add(key_of(listener))
    assert len(keys) == 2


@pytest.fixture
def sandboxes(no_interop_tool: Callable[[str], None]) -> Iterator[tuple[Sandbox, Sandbox]]:
    """Two pods' network namespaces, linked."""
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(TwoSandboxes())
        except UnavailableError as error:
            no_interop_tool(str(error))


def namespaces_of(sandbox: Sandbox, daemon: Daemon, stack: contextlib.ExitStack) -> list[str]:
    """Which namespaces a program in a pod has; it stays there until ``stack`` ends, lest their numbers be used anew."""
    links = ("readlink", *(f"/proc/self/ns/{kind}" for kind in KINDS))
    program = [*sandbox.program(daemon.path.parent), "sh", "-c", f"{' '.join(links)} && exec cat"]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(process.communicate, timeout=DEADLINE_S)
    assert process.stdout is not None
    return [process.stdout.readline().strip() for _ in KINDS]


def test_in_two_pods_of_one_node_they_attest_each_other_through_the_helper_at_its_known_path(
    start: Callable[..., subprocess.Popen[str]], daemon: Daemon, sandboxes: tuple[Sandbox, Sandbox]
) -> None:
    """Each has its own mounts, process ids and network; the directory, read-only, is at /var/run/aesmd."""
    first, second = sandboxes
    listener = start("listen", f"{first.address}:0", prefix=first.program(daemon.path.parent))
    address = f"{first.address}:{port_of(listener)}"
    connector = start("connect", address, prefix=second.program(daemon.path.parent))
    assert key_of(listener) == key_of(connector)


def test_no_pod_shares_mounts_process_ids_or_network_with_the_other_or_the_node(
    daemon: Daemon, sandboxes: tuple[Sandbox, Sandbox]
) -> None:
    with contextlib.ExitStack() as stack:
        seen = [namespaces_of(sandbox, daemon, stack) for sandbox in sandboxes]
    seen.append([str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in KINDS])
    assert [len(set(same)) for same in zip(*seen, strict=True)] == [3, 3, 3]


def test_loopback_leads_no_pod_to_the_other(
    start: Callable[..., subprocess.Popen[str]], daemon: Daemon, sandboxes: tuple[Sandbox, Sandbox]
) -> None:
    """What would pass if they shared a network after all."""
    first, second = sandboxes
    listener = start("listen", "0.0.0.0:0", prefix=first.program(daemon.path.parent))
    address = f"127.0.0.1:{port_of(listener)}"
    code, _, err = outcome(start("connect", address, prefix=second.program(daemon.path.parent)))
    assert code == 1
    assert "Connection refused" in err


def test_no_pod_can_put_anything_beside_the_helpers_socket(daemon: Daemon, sandboxes: tuple[Sandbox, Sandbox]) -> None:
    program = [*sandboxes[0].program(daemon.path.parent), "touch", "/var/run/aesmd/other.socket"]
    done = subprocess.run(program, check=False, capture_output=True, text=True, timeout=DEADLINE_S)
    assert "Read-only file system" in done.stderr


def test_an_enclave_that_is_too_old_is_refused_by_the_other(start: Callable[..., subprocess.Popen[str]]) -> None:
    listener = start("listen", "127.0.0.1:0")
    connector = start("connect", f"127.0.0.1:{port_of(listener)}", "--version", "1")
    code, out, err = outcome(listener)
    assert code == 1
    assert "agreed" not in out
    assert "at least 2 is wanted" in err
    assert outcome(connector)[0] == 1


class Between(threading.Thread):
    """Passes frames on between a connector and a listener, changed by ``change(from_connector, number, frame)``."""

    def __init__(self, port: int, change: Callable[[bool, int, bytes], bytes]) -> None:
        super().__init__(daemon=True)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._port = port
        self._change = change

    def run(self) -> None:
        with (
            self._listening,
            self._listening.accept()[0] as connector,
            socket.create_connection(("127.0.0.1", self._port)) as listener,
        ):
            there = threading.Thread(
                target=self._pass, args=(connector, listener), kwargs={"from_connector": True}, daemon=True
            )
            there.start()
            self._pass(listener, connector, from_connector=False)
            there.join(DEADLINE_S)

    def _pass(self, source: socket.socket, target: socket.socket, *, from_connector: bool) -> None:
        with contextlib.suppress(OSError), source.makefile("rb") as frames:
            for number in range(3):
                size = int.from_bytes(frames.read(4), "big")
                frame = self._change(from_connector, number, frames.read(size))
                target.sendall(len(frame).to_bytes(4, "big") + frame)
            while chunk := frames.read1(4096):
                target.sendall(chunk)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def through(
    start: Callable[..., subprocess.Popen[str]], change: Callable[[bool, int, bytes], bytes]
) -> list[tuple[int, str, str]]:
    """How both sides end when somebody sits between them."""
    listener = start("listen", "127.0.0.1:0")
    between = Between(port_of(listener), change)
    between.start()
    connector = start("connect", between.address)
    ends = [outcome(listener), outcome(connector)]
    between.join(DEADLINE_S)
    return ends


def test_whoever_only_passes_on_is_no_harm(start: Callable[..., subprocess.Popen[str]]) -> None:
    assert [code for code, _, _ in through(start, lambda _from, _number, frame: frame)] == [0, 0]


@pytest.mark.parametrize("number", [0, CERTIFICATE, QUOTE])
def test_whoever_changes_anything_is_noticed_by_both(start: Callable[..., subprocess.Popen[str]], number: int) -> None:
    def flip(from_connector: bool, at: int, frame: bytes) -> bytes:  # noqa: FBT001  see Between
        if from_connector or at != number:
            return frame
        middle = len(frame) // 2
        return frame[:middle] + bytes([frame[middle] ^ 1]) + frame[middle + 1 :]

    for code, out, err in through(start, flip):
        assert code == 1
        assert "refused" in err
        assert "agreed" not in out


def test_a_side_that_is_shown_its_own_evidence_refuses_it(start: Callable[..., subprocess.Popen[str]]) -> None:
    shown: dict[int, bytes] = {}
    come = threading.Condition()

    def reflect(from_connector: bool, at: int, frame: bytes) -> bytes:  # noqa: FBT001  see Between
        with come:
            if from_connector:
                shown[at] = frame
                come.notify_all()
                return frame
            come.wait_for(lambda: at in shown, DEADLINE_S)
            return shown[at]

    assert [code for code, _, _ in through(start, reflect)] == [1, 1]
