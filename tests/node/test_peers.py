"""Who is calling, asked of the real kernel about real processes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import DEADLINE_S
from quotehelper.node import peers as peers_module
from quotehelper.node.arrivals import accept
from quotehelper.node.cgroup_path import WorkloadKind
from quotehelper.node.counters import Counters
from quotehelper.node.peers import Peers
from workloads import cgroup, command_in, hierarchies, systemd_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness import WrittenLog
    from quotehelper.node.peers import Peer

CONNECT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    sys.stdin.read()
"""


class Meeting:
    """A listening socket, and who is met there."""

    def __init__(self, path: Path, log: WrittenLog, remembered: int | None) -> None:
        self.path = path
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(path))
        self.listening.listen(16)
        self.listening.settimeout(0)
        self.peers = Peers(log, Counters.create(1).serving[0].peers, remembered)
        self.processes: list[subprocess.Popen[bytes]] = []

    def accept(self) -> Peer:
        """Who makes the next connection."""
        assert select.select([self.listening], [], [], DEADLINE_S)[0]
        (connection,), _reason = accept(self.listening, 1, self.peers, 0.0)
        os.close(connection.fd)
        assert connection.peer is not None
        return connection.peer

    def start(self, command: Callable[[list[str]], list[str]] = list) -> subprocess.Popen[bytes]:
        """A process that connects and stays."""
        process = subprocess.Popen(command([sys.executable, "-c", CONNECT, str(self.path)]), stdin=subprocess.PIPE)
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End all."""
        for process in self.processes:
            process.kill()
            process.communicate()
        self.listening.close()
        self.peers.close()


@pytest.fixture
def open_meeting(tmp_path: Path, log: WrittenLog) -> Iterator[Callable[..., Meeting]]:
    with contextlib.ExitStack() as stack:

        def opened(remembered: int | None = None) -> Meeting:
            meeting = Meeting(tmp_path / "meeting.socket", log, remembered)
            stack.callback(meeting.close)
            return meeting

        yield opened


def connect(meeting: Meeting) -> None:
    """Connect from this process."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(meeting.path))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_process_and_its_user_are_named(open_meeting: Callable[..., Meeting]) -> None:
    meeting = open_meeting()
    process = meeting.start()
    peer = meeting.accept()
    assert (peer.pid, peer.uid) == (process.pid, os.getuid())
    assert peer.fields() == {"pid": process.pid, "uid": os.getuid()}
    assert peer.group == f"uid {os.getuid()}"


def test_further_connections_of_a_process_cost_no_descriptor(open_meeting: Callable[..., Meeting]) -> None:
    meeting = open_meeting()
    connect(meeting)
    first, before = meeting.accept(), descriptors()
    for _ in range(20):
        connect(meeting)
        assert meeting.accept() is first
    assert descriptors() == before


def test_a_process_that_has_ended_is_forgotten_and_its_descriptor_closed(open_meeting: Callable[..., Meeting]) -> None:
    meeting = open_meeting()
    before = descriptors()
    process = meeting.start()
    meeting.accept()
    assert len(meeting.peers) == 1
    assert not meeting.peers.forget_ended()
    process.communicate()
    assert select.select([meeting.peers.descriptor], [], [], DEADLINE_S)[0]
    assert meeting.peers.forget_ended()
    assert (len(meeting.peers), descriptors()) == (0, before)


def test_no_more_processes_are_remembered_than_allowed(open_meeting: Callable[..., Meeting]) -> None:
    meeting = open_meeting(remembered=2)
    for _ in range(4):
        meeting.start()
        meeting.accept()
    assert len(meeting.peers) == 2


def test_who_has_ended_before_it_is_looked_at_is_unknown_without_a_word(
    open_meeting: Callable[..., Meeting], log: WrittenLog
) -> None:
    """That is no fault of the daemon's surroundings. Linux 6.16 tells of such processes, too, but /proc does not."""
    meeting = open_meeting()
    process = meeting.start()
    assert select.select([meeting.listening], [], [], DEADLINE_S)[0]
    process.communicate()
    assert meeting.accept().workload.kind is WorkloadKind.UNKNOWN
    assert len(meeting.peers) == 0
    assert not [event for event in log.events("peer unknown") if "ended" in event["reason"]]


def test_a_kernel_without_descriptors_of_peers_is_asked_by_process_number(
    open_meeting: Callable[..., Meeting], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers_module, "SO_PEERPIDFD", 9999)  # which this kernel does not have either
    meeting = open_meeting()
    process = meeting.start()
    assert meeting.accept().pid == process.pid
    assert len(meeting.peers) == 1


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_pods_process_in_its_own_pid_namespace_is_named_by_its_control_group(
    version: str, open_meeting: Callable[..., Meeting], no_interop_tool: Callable[[str], None]
) -> None:
    root = hierarchies().get(version)
    if root is None:
        no_interop_tool(f"a writable cgroup {version} hierarchy")
        return
    meeting, names = open_meeting(), systemd_names(1)
    with cgroup(root, names) as directory:
        process = meeting.start(lambda command: command_in(directory, command))
        peer = meeting.accept()
        process.communicate()
    assert (peer.workload.pod_uid, peer.workload.container_id) == (names.pod_uid, names.container_id)
    assert peer.group == names.pod_uid


def test_a_process_number_that_was_used_again_is_another_process(
    open_meeting: Callable[..., Meeting], no_interop_tool: Callable[[str], None]
) -> None:
    """The second process has the first one's number, user and group, but another pod."""
    root = next(iter(hierarchies().values()), None)
    if root is None or not os.access("/proc/sys/kernel/ns_last_pid", os.W_OK):
        no_interop_tool("a writable cgroup hierarchy, or a settable process number")
        return
    meeting, names = open_meeting(), systemd_names(2)
    with cgroup(root, names) as directory:
        first = fork_client(meeting.path, None, 0)
        met = meeting.accept()
        assert met.pid == first
        end_client(first)
        second = fork_client(meeting.path, directory, first)
        peer = meeting.accept()
        end_client(second)
    assert (peer.pid, peer.workload.pod_uid, met.workload.pod_uid) == (first, names.pod_uid, "")


def fork_client(path: Path, directory: Path | None, pid: int) -> int:
    """A fork of this process, with the number ``pid`` if that is not 0, that connects and stays."""
    give_up = time.monotonic() + DEADLINE_S
    while True:
        go, going = os.pipe()
        if pid:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
        child = os.fork()
        if not child:
            os.close(going)
            if os.read(go, 1):
                if directory is not None:
                    (directory / "cgroup.procs").write_text(str(os.getpid()))
                socket.socket(socket.AF_UNIX).connect(str(path))
                signal.pause()
            os._exit(0)
        os.close(go)
        right = not pid or child == pid
        if right:
            os.write(going, b"!")
        os.close(going)
        if right:
            return child
        os.waitpid(child, 0)
        assert time.monotonic() < give_up


def end_client(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
