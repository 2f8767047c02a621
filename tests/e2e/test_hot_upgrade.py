"""What can happen to an update, and to a node, without any cluster: the list of kubernetes 7.5.

docs/compatibility.md says which test shows each of the ten; those that stand nowhere else are here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import frames
from harness import DEADLINE_S, receive_frame
from quotehelper.node.private_directory import Instance, boot_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness import Daemon

ROOT = Path(__file__).parents[2]
STOCK = Path(__file__).parent / "stock_service.py"
COMPATIBILITY = (ROOT / "docs" / "compatibility.md").read_text()
ROWS = re.findall(
    r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|$",
    COMPATIBILITY.partition("# Updates that go wrong")[2],
    re.MULTILINE,
)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return tmp_path / "private"


@pytest.fixture
def start(start_daemon: Callable[..., Daemon], private: Path) -> Callable[..., Daemon]:
    """Start an instance that takes over."""

    def start_instance(*options: str, ready: bool = True) -> Daemon:
        return start_daemon(["--private-dir", str(private), "--take-over", *options], ready=ready)

    return start_instance


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(path))
        client.sendall(frames.NUM)
        return frames.reply(receive_frame(client)) == (21, {1: 0, 2: 1})


class Asking:
    """A client that asks again and again; ``failures`` says what went wrong, ``asked`` how often it was answered."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._news = threading.Condition()
        self.asked = 0
        self.failures: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                assert answers(self._path)
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
            with self._news:
                self.asked += 1
                self._news.notify_all()

    def wait(self, more: int = 20) -> None:
        """Wait for that many further answers."""
        with self._news:
            wanted = self.asked + more
            assert self._news.wait_for(lambda: self.asked >= wanted, DEADLINE_S)

    def stop(self) -> list[str]:
        self._stop.set()
        self._thread.join(DEADLINE_S)
        return self.failures


@pytest.fixture
def asking() -> Iterator[Callable[[Path], Asking]]:
    with contextlib.ExitStack() as stack:

        def begin(path: Path) -> Asking:
            client = Asking(path)
            stack.callback(client.stop)
            return client

        yield begin


def kill_all(daemon: Daemon) -> None:
    """Kill an instance with all its processes, as the end of its container does."""
    children = daemon.children()
    handles = [os.pidfd_open(child) for child in children]
    daemon.process.kill()
    for child, handle in zip(children, handles, strict=True):
        os.kill(child, signal.SIGKILL)
        assert select.select([handle], [], [], DEADLINE_S)[0]
        os.close(handle)
    daemon.process.wait(DEADLINE_S)


def wait_until_asked(private: Path) -> None:
    """Wait until somebody has connected to the hand-over socket, besides who listens there."""
    end = time.monotonic() + DEADLINE_S
    while Path("/proc/net/unix").read_text().count(f"{private}/handover.socket\n") < 2:
        assert time.monotonic() < end


# 2. SIGKILL of the old one in the middle of the hand-over


def test_2_the_old_supervisor_killed_while_it_is_asked_costs_no_client_of_the_directory_anything(
    start: Callable[..., Daemon], private: Path, tmp_path: Path, asking: Callable[[Path], Asking]
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[limits]\norphan_s = 600\n")
    old = start("--config", str(settings))
    (orphan,) = old.children()
    handle = os.pidfd_open(orphan)
    client = asking(old.path)
    os.kill(old.process.pid, signal.SIGSTOP)  # so that the new one waits for its answer
    new = start(ready=False)
    wait_until_asked(private)
    old.process.kill()
    new.wait_for(" ready ")
    client.wait()
    assert client.stop() == []
    assert select.select([handle], [], [], DEADLINE_S)[0], "the orphan ends though the path had changed at once"
    os.close(handle)


@pytest.mark.parametrize("steps", [1, 2])
def test_2_the_old_one_killed_at_a_step_leaves_the_path_to_the_next(
    start: Callable[..., Daemon], private: Path, steps: int
) -> None:
    old = start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as later:
        later.settimeout(DEADLINE_S)
        later.connect(str(private / "handover.socket"))
        mine = Instance.new(None)._replace(started=boot_seconds())
        for message in ({"message": "hello", "versions": [1, 2], **mine._asdict()}, {"message": "take"})[:steps]:
            later.send(json.dumps(message).encode())
            _, fds, _, _ = socket.recv_fds(later, 1 << 16, 16)
            for fd in fds:
                os.close(fd)
        kill_all(old)
    new = start()
    assert answers(new.path)


# 3. The new one crashes after it has published itself


def test_3_the_new_one_killed_after_publishing_is_served_for_by_its_orphans_and_then_by_the_next(
    start: Callable[..., Daemon], asking: Callable[[Path], Asking]
) -> None:
    old = start("--instance", "pod-a")
    client = asking(old.path)
    new = start("--instance", "pod-b")
    old.wait_for("INFO retired")
    new.process.kill()
    new.process.wait(DEADLINE_S)
    client.wait()
    start("--instance", "pod-b")
    client.wait()
    assert client.stop() == []
    assert old.process.poll() is None, "passive, whatever becomes of its successor"
    assert old.children() == []


def test_3_the_new_one_killed_with_all_its_processes_is_back_when_it_is_restarted(
    start: Callable[..., Daemon],
) -> None:
    old = start("--instance", "pod-a")
    new = start("--instance", "pod-b")
    old.wait_for("INFO retired")
    kill_all(new)
    with pytest.raises(ConnectionRefusedError):
        answers(new.path)
    again = start("--instance", "pod-b")
    assert answers(again.path)


# 4. The old one hangs while it drains


def test_4_a_serving_process_that_hangs_holds_up_neither_the_hand_over_nor_the_end(
    start: Callable[..., Daemon], tmp_path: Path, asking: Callable[[Path], Asking]
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[limits]\ndrain_s = 0.1\n")
    old = start("--config", str(settings), "--processes", "2")
    client = asking(old.path)
    client.wait()
    hanging = old.children()[0]
    os.kill(hanging, signal.SIGSTOP)
    handle = os.pidfd_open(hanging)
    new = start()
    old.wait_for("WARNING serving processes are slow to listen")
    old.wait_for("INFO retired")
    client.wait()
    assert select.select([handle], [], [], DEADLINE_S)[0], "it is killed"
    os.close(handle)
    old.wait_for("WARNING killing processes")
    assert old.stop() == 0
    assert answers(new.path)
    broken_off = [failure for failure in client.stop() if "Timeout" in failure]
    assert broken_off == []


# 9. The node boots, and a workload is there first


def test_9_after_a_reboot_what_an_earlier_boot_has_left_is_no_obstacle(
    start: Callable[..., Daemon], private: Path, tmp_path: Path
) -> None:
    path = tmp_path / "aesm.socket"
    with pytest.raises(FileNotFoundError):
        answers(path)  # the workload that is there first
    private.mkdir(mode=0o700)
    earlier = {"name": "pod-a", "boot": "an earlier boot", "started": 1e9}
    (private / "owner.json").write_text(json.dumps(earlier))
    (private / "retired.json").write_text(json.dumps({"boot": "an earlier boot", "names": ["pod-a"]}))
    for left in (path, private / "handover.socket", private / "candidate.00000000.socket"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(left))
    daemon = start("--instance", "pod-a")
    assert daemon.path == path
    assert answers(path)
    assert not (private / "candidate.00000000.socket").exists()


# 10. Intel's service is the old one


def test_10_a_service_that_removes_its_socket_by_path_when_it_ends_is_relieved_and_mended(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    path, reply = tmp_path / "aesm.socket", tmp_path / "reply"
    reply.write_bytes(frames.message(21, frames.number(1, 0), frames.number(2, 1)))
    with subprocess.Popen([sys.executable, STOCK, path, reply], stdout=subprocess.PIPE) as stock:
        assert stock.stdout is not None
        assert stock.stdout.readline() == b"serving\n"
        assert answers(path)
        new = start()
        assert answers(path)
        assert stock.poll() is None
        stock.terminate()
        assert stock.wait(DEADLINE_S) == 0
    assert "was=gone" in new.wait_for("WARNING published again")
    assert answers(path)


# The table


def test_every_case_has_a_row() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, 11))


@pytest.mark.parametrize(("number", "shown"), [(number, shown) for number, _, shown in ROWS])
def test_what_shows_it_is_there(number: str, shown: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", shown)
    assert named, number
    for path, function in named:
        assert re.search(rf"^def {function}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{function}"
