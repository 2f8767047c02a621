"""What a service manager hears, at a real datagram socket as systemd gives one: alone, and from a real daemon."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import DEADLINE_S, Daemon, open_files
from quotehelper.node.notification import STATUS_CHARACTERS, Notifier, _line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Manager(NamedTuple):
    """A service manager's socket, and its name as ``NOTIFY_SOCKET`` has it."""

    socket: socket.socket
    name: str

    def hear(self) -> dict[str, str]:
        """The next message."""
        lines = self.socket.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def hear_of(self, name: str, value: str = "1") -> dict[str, str]:
        """The next message that says ``name``=``value``."""
        while True:
            if (message := self.hear()).get(name) == value:
                return message


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify")
    name = path if request.param == "path" else f"@{path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0"))
        listening.settimeout(DEADLINE_S)
        yield Manager(listening, name)


@pytest.fixture
def start(
    manager: Manager, start_daemon: Callable[..., Daemon], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Daemon]:
    def start_it(*options: str, watchdog_usec: str = "", ready: bool = True) -> Daemon:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.name)
        monkeypatch.setenv("WATCHDOG_USEC", watchdog_usec)
        return start_daemon(options, ready=ready)

    return start_it


def test_a_daemon_says_when_it_is_ready_and_what_it_serves(manager: Manager, start: Callable[..., Daemon]) -> None:
    daemon = start(ready=False)
    assert manager.hear() == {"READY": "1", "STATUS": f"serving {daemon.path}, platform simulated"}
    with daemon.connect():
        pass


def test_it_says_when_it_ends(manager: Manager, start: Callable[..., Daemon]) -> None:
    start().stop()
    assert manager.hear_of("STOPPING")["STATUS"] == "ending: SIGTERM"


@pytest.mark.parametrize("processes", ["1", "3"])
def test_a_reload_begins_and_ends(manager: Manager, start: Callable[..., Daemon], processes: str) -> None:
    daemon = start("--processes", processes)
    manager.hear_of("READY")
    daemon.process.send_signal(signal.SIGHUP)
    assert int(manager.hear_of("RELOADING")["MONOTONIC_USEC"]) > 0
    assert manager.hear_of("READY")["STATUS"] == f"serving {daemon.path}, platform simulated"
    daemon.wait_for("INFO reloaded", times=int(processes))


def test_it_shows_life_while_it_is_watched(manager: Manager, start: Callable[..., Daemon]) -> None:
    start(watchdog_usec="30000000")
    manager.hear_of("READY")
    for _ in range(2):
        assert manager.hear_of("WATCHDOG") == {"WATCHDOG": "1"}


def test_a_candidate_is_ready_only_when_it_serves_and_its_predecessor_stays_ready(
    manager: Manager, start: Callable[..., Daemon], tmp_path: Path
) -> None:
    private = ("--private-dir", str(tmp_path / "private"))
    start(*private)
    assert manager.hear_of("READY")["STATUS"].startswith("serving")
    start(*private, "--take-over")
    said = {manager.hear_of("READY")["STATUS"].split()[0] for _ in range(2)}
    assert said == {"retired:", "serving"}


def test_no_process_but_the_supervisor_can_speak(manager: Manager, start: Callable[..., Daemon]) -> None:
    daemon = start("--platform-process", "worker")
    manager.hear_of("READY")
    [worker], [serving] = daemon.children("quotehelper.node.worker_process"), daemon.children()
    assert b"NOTIFY_SOCKET" not in Path(f"/proc/{worker}/environ").read_bytes()
    assert len(datagram_sockets(daemon.process.pid)) == 1
    assert not datagram_sockets(worker) | datagram_sockets(serving)


def datagram_sockets(pid: int) -> set[str]:
    """The inodes of the Unix datagram sockets that process ``pid`` has."""
    links = open_files(pid)
    table = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {row[6] for row in table if row[4] == "0002" and f"socket:[{row[6]}]" in links}


def test_a_manager_that_has_gone_hurts_nobody(manager: Manager, start: Callable[..., Daemon]) -> None:
    manager.socket.close()
    daemon = start(watchdog_usec="30000000")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("INFO reloaded")
    assert daemon.stop() == 0


def test_a_manager_that_does_not_read_holds_nobody_up(manager: Manager) -> None:
    notifier = Notifier(manager.name)
    for number in range(10_000):
        notifier.ready(f"status {number}")
    assert manager.hear()["STATUS"] == "status 0"
    notifier.close()


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative/path"])
def test_where_nobody_can_be_told_nothing_is(address: str) -> None:
    notifier = Notifier(address, watched=True)
    assert notifier.descriptor is None
    notifier.beat()
    notifier.close()


def test_the_variables_are_taken_and_a_watchdog_of_another_process_is_not_ours() -> None:
    environment = {"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1", "HOME": "/"}
    notifier = Notifier.take(environment)
    assert environment == {"HOME": "/"}
    assert not notifier._watched


@given(st.text())
def test_a_status_is_one_line_of_bounded_length(status: str) -> None:
    line = _line(status)
    assert line.isprintable()
    assert len(line) <= len("STATUS=") + STATUS_CHARACTERS
