"""One instance relieves another: the same sockets, no request lost, whatever either side does."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import stat
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import frames
from harness import DEADLINE_S, Daemon, receive_frame
from quotehelper.node.handover import VERSIONS
from quotehelper.node.private_directory import Instance, boot_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness import Daemon as Running


CONTROL = "quotehelper.node.control"


@pytest.fixture
def private(tmp_path: Path) -> Path:
    directory = tmp_path / "private"
    directory.mkdir(mode=0o700)
    return directory


@pytest.fixture
def start(start_daemon: Callable[..., Daemon], private: Path) -> Callable[..., Daemon]:
    """Start an instance on the test's private directory."""

    def start_instance(*options: str, ready: bool = True) -> Running:
        return start_daemon(["--private-dir", str(private), *options], ready=ready)

    return start_instance


@pytest.fixture
def serving(start: Callable[..., Daemon]) -> Daemon:
    """An instance that serves."""
    return start()


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(path))
        client.sendall(frames.NUM)
        return frames.reply(receive_frame(client)) == (21, {1: 0, 2: 1})


def inode(path: Path) -> int:
    return path.stat().st_ino


# The way it should go


def test_the_successor_serves_on_the_same_inode(serving: Daemon, start: Callable[..., Daemon]) -> None:
    before = inode(serving.path)
    start("--take-over")
    serving.wait_for("INFO retired")
    assert inode(serving.path) == before
    assert answers(serving.path)


def test_who_has_mounted_the_socket_file_notices_nothing(
    serving: Daemon, start: Callable[..., Daemon], tmp_path: Path
) -> None:
    mounted = tmp_path / "mounted.socket"
    mounted.hardlink_to(serving.path)  # leads to the inode, as a bind mount of the file does
    start("--take-over")
    serving.wait_for("INFO retired")
    assert serving.stop() == 0
    assert answers(mounted)


def test_clients_see_the_successor_as_their_peer(serving: Daemon, start: Callable[..., Daemon]) -> None:
    successor = start("--take-over")
    serving.wait_for("INFO retired")
    with serving.connect() as client:
        pid = int.from_bytes(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], "little")
    assert pid == successor.process.pid


def test_the_retired_one_stays_alive_until_told_and_leaves_the_path(
    serving: Daemon, start: Callable[..., Daemon]
) -> None:
    start("--take-over")
    serving.wait_for("INFO retired")
    assert serving.process.poll() is None
    assert serving.stop() == 0
    assert answers(serving.path)


def test_the_retired_one_answers_what_it_has_accepted(serving: Daemon, start: Callable[..., Daemon]) -> None:
    with serving.connect() as client:
        client.sendall(frames.NUM[:4])
        assert answers(serving.path), "it has accepted the first client by now"
        start("--take-over")
        serving.wait_for("INFO retired")
        client.sendall(frames.NUM[4:])
        assert frames.reply(receive_frame(client)) == (21, {1: 0, 2: 1})


def test_a_retired_instance_never_serves_again(serving: Daemon, start: Callable[..., Daemon]) -> None:
    first = start("--take-over", "--instance", "pod-a")
    serving.wait_for("INFO retired")
    second = start("--take-over", "--instance", "pod-b")
    first.wait_for("INFO retired")
    first.stop()
    again = start("--take-over", "--instance", "pod-a", ready=False)
    assert "this instance has handed over earlier" in again.wait_for("INFO retired")
    assert again.children() == []
    assert second.process.poll() is None
    assert answers(serving.path)
    assert again.stop() == 0


def test_going_back_is_an_update_too(serving: Daemon, start: Callable[..., Daemon]) -> None:
    newer = start("--take-over", "--qe-isv-svn", "12")
    serving.wait_for("INFO retired")
    start("--take-over", "--qe-isv-svn", "11")
    newer.wait_for("INFO retired")
    assert answers(serving.path)


def test_with_nobody_there_it_claims_the_path(start: Callable[..., Daemon]) -> None:
    assert answers(start("--take-over").path)


def test_nothing_is_left_in_the_directories(serving: Daemon, start: Callable[..., Daemon], private: Path) -> None:
    successor = start("--take-over")
    serving.wait_for("INFO retired")
    serving.stop()
    successor.stop()
    assert not serving.path.exists()
    assert {file.name for file in private.iterdir()} == {
        *("lock", "handover.socket"),
        *("owner.json", "quoting.json", "retired.json"),
    }


def test_no_request_fails_across_hand_overs(serving: Daemon, start: Callable[..., Daemon]) -> None:
    failed: list[BaseException] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                assert answers(serving.path)
            except BaseException as error:  # noqa: BLE001  what went wrong is told by the test's thread
                failed.append(error)

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    instances = [serving]
    for _ in range(4):
        instances.append(start("--take-over"))
        instances[-2].wait_for("INFO retired")
        assert instances[-2].stop() == 0
    stop.set()
    for thread in asking:
        thread.join(DEADLINE_S)
    assert failed == []


# A peer that does not do its part


def greeting(**changed: object) -> dict[str, Any]:
    boot = Instance.new(None).boot
    return {
        "message": "hello",
        "versions": list(VERSIONS),
        "name": "a test",
        "boot": boot,
        "started": boot_seconds(),
    } | changed


@pytest.fixture
def later(serving: Daemon, private: Path) -> Iterator[socket.socket]:
    """A connection to the serving instance's hand-over socket."""
    assert serving.process.poll() is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(DEADLINE_S)
        peer.connect(str(private / "handover.socket"))
        yield peer


def say(peer: socket.socket, message: object) -> None:
    peer.send(json.dumps(message).encode())


def hear(peer: socket.socket) -> dict[str, Any]:
    raw, fds, _, _ = socket.recv_fds(peer, 1 << 16, 16)
    for fd in fds:
        os.close(fd)
    return json.loads(raw) | {"sockets": len(fds)} if raw else {}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_of_the_protocol_gets_the_sockets(later: socket.socket, version: int) -> None:
    say(later, greeting(versions=[version]))
    assert hear(later) == {"message": "welcome", "version": version, "sockets": 0}
    say(later, {"message": "take"})
    answer = hear(later)
    assert (answer["message"], answer["sockets"]) == ("listeners", 1)


def test_clients_wait_from_the_moment_that_the_sockets_are_given_until_it_is_decided(
    serving: Daemon, later: socket.socket
) -> None:
    for message in (greeting(), {"message": "take"}):
        say(later, message)
        hear(later)
    with serving.connect() as client:
        client.sendall(frames.NUM)
        client.settimeout(0)
        with pytest.raises(BlockingIOError):
            client.recv(1)
        later.close()
        client.settimeout(DEADLINE_S)
        assert frames.reply(receive_frame(client)) == (21, {1: 0, 2: 1}), "served once it is decided"


def test_a_socket_replaced_before_the_hand_over_is_published_again_after_it(
    serving: Daemon, start: Callable[..., Daemon]
) -> None:
    os.kill(serving.process.pid, signal.SIGSTOP)  # so that it does not mend it itself
    with socket.socket(socket.AF_UNIX) as thief:
        serving.path.unlink()
        thief.bind(str(serving.path))
        thief.listen()
        successor = start("--take-over", ready=False)
        os.kill(serving.process.pid, signal.SIGCONT)
        successor.wait_for(" ready ")
        serving.wait_for("WARNING published again|INFO retired")
        assert answers(serving.path)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_successor_that_dies_at_a_step_costs_nothing(serving: Daemon, later: socket.socket, steps: int) -> None:
    for message in (greeting(), {"message": "take"})[:steps]:
        say(later, message)
        hear(later)
    later.close()
    serving.wait_for("WARNING hand-over came to nothing")
    assert answers(serving.path)


def test_a_successor_that_dies_does_not_keep_the_next_from_taking_over(
    serving: Daemon, later: socket.socket, start: Callable[..., Daemon]
) -> None:
    for message in (greeting(), {"message": "take"}):
        say(later, message)
        hear(later)
    later.close()
    start("--take-over")
    serving.wait_for("INFO retired")
    assert answers(serving.path)


def test_a_silent_successor_is_given_up(serving: Daemon, later: socket.socket) -> None:
    assert later.recv(1) == b"", "closed at the deadline"
    assert "silent" in serving.wait_for("WARNING hand-over came to nothing")


def test_who_started_earlier_is_refused(serving: Daemon, later: socket.socket) -> None:
    say(later, greeting(started=0.5))
    assert hear(later)["message"] == "refused"
    assert "started later" in serving.wait_for("WARNING hand-over refused")


def test_who_speaks_another_version_is_refused(later: socket.socket) -> None:
    say(later, greeting(versions=[max(VERSIONS) + 1]))
    answer = hear(later)
    assert (answer["message"], answer["sockets"]) == ("refused", 0)
    assert "versions" in answer["reason"]


def test_a_message_out_of_turn_gives_no_sockets(serving: Daemon, later: socket.socket) -> None:
    say(later, {"message": "take"})
    assert hear(later) == {}
    serving.wait_for("'take' out of turn")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(
    st.binary(min_size=1, max_size=300)
    | st.dictionaries(
        st.sampled_from(["message", "versions", "name", "boot", "started"]),
        st.sampled_from(["hello", "take", "taken", "x"]) | st.none() | st.lists(st.integers()) | st.floats(),
    ).map(lambda message: json.dumps(message).encode())
)
def test_no_message_gets_the_sockets_or_ends_the_service(serving: Daemon, private: Path, raw: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        peer.settimeout(DEADLINE_S)
        peer.connect(str(private / "handover.socket"))
        peer.send(raw)
        answer = hear(peer)
    assert answer.get("sockets", 0) == 0
    assert answers(serving.path)


@contextlib.contextmanager
def giver(private: Path, *replies: dict[str, Any]) -> Iterator[None]:
    """Somebody at the hand-over socket who gives these replies, and no sockets, whatever is said."""

    def converse() -> None:
        with contextlib.suppress(OSError):
            peer, _ = listening.accept()
            with peer:
                for reply in replies:
                    peer.recv(1 << 16)
                    say(peer, reply)
                while peer.recv(1 << 16):
                    pass

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(private / "handover.socket"))
        listening.listen()
        thread = threading.Thread(target=converse)
        thread.start()
        yield
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(DEADLINE_S)


@pytest.mark.parametrize(
    "replies",
    [
        (),
        ({"message": "welcome", "version": 99},),
        ({"message": "nonsense"},),
        ({"message": "welcome", "version": 1}, {"message": "listeners"}),
    ],
)
def test_a_predecessor_that_gives_no_sockets_is_replaced_at_the_path(
    replies: tuple[dict[str, Any], ...], private: Path, start: Callable[..., Daemon]
) -> None:
    with giver(private, *replies):
        successor = start("--take-over")
        assert answers(successor.path)
        assert "the path is taken over" in successor.wait_for("WARNING no hand-over")


def test_a_predecessor_that_gave_the_successor_up_is_asked_again_until_it_knows(
    private: Path, start: Callable[..., Daemon], tmp_path: Path
) -> None:
    """It gives its sockets, and hears "taken" no more, as when the successor is held up for seconds."""
    heard: list[str] = []

    def converse(impatient: bool) -> None:  # noqa: FBT001  one of two
        peer, _ = asked.accept()
        with peer:
            hear(peer)
            say(peer, {"message": "welcome", "version": 2})
            hear(peer)
            answer = {"message": "listeners", "inode": None}
            socket.send_fds(peer, [json.dumps(answer).encode()], [clients.fileno()])
            if not impatient:
                heard.append(hear(peer)["message"])

    def give() -> None:
        converse(impatient=True)
        converse(impatient=False)

    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asked,
        socket.socket(socket.AF_UNIX) as clients,
    ):
        for listening, at in ((asked, private / "handover.socket"), (clients, tmp_path / "clients.socket")):
            listening.bind(str(at))
            listening.listen()
        asked.settimeout(DEADLINE_S)
        thread = threading.Thread(target=give)
        thread.start()
        successor = start("--take-over")
        thread.join(DEADLINE_S)
        assert heard == ["taken"]
        assert answers(tmp_path / "clients.socket")
        successor.wait_for("WARNING published again")


def test_what_can_not_be_replaced_at_the_hand_over_socket_is_told_and_it_serves(
    private: Path, start: Callable[..., Daemon]
) -> None:
    (private / "handover.socket").mkdir()
    successor = start("--take-over")
    successor.wait_for("ERROR hand-over not offered")
    assert answers(successor.path)


def test_who_is_refused_stays_passive(private: Path, start: Callable[..., Daemon]) -> None:
    with giver(private, {"message": "refused", "reason": "because", "remedy": "wait"}):
        refused = start("--take-over", ready=False)
        assert "because" in refused.wait_for("INFO retired")
        assert not refused.path.exists()
        assert refused.stop() == 0


def test_the_control_process_of_a_retired_instance_is_left_alone(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """Its kubelet asks it for health until its pod is ended."""
    file = tmp_path / "settings.toml"
    file.write_text("[limits]\ndrain_s = 0.1\n")
    first = start("--config", str(file), "--metrics", str(tmp_path / "metrics.socket"))
    stalled = first.connect()
    stalled.sendall(frames.NUM[:4])
    assert answers(first.path), "it has accepted the first client by now"
    (serving,), (control,) = first.children(), first.children(CONTROL)
    os.kill(serving, signal.SIGSTOP)  # so that it has to be killed
    start("--take-over")
    assert "processes=1" in first.wait_for("WARNING killing processes")
    stalled.close()
    assert first.children(CONTROL) == [control]
    assert not any("companion ended" in line for line in first.lines)
    assert first.stop() == 0


# Predecessors that are no instance of ours, or none any more


def test_a_foreign_service_is_relieved_and_its_deleting_the_path_is_mended(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    path = tmp_path / "aesm.socket"
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(path))
        foreign.listen()
        successor = start("--take-over")
        assert answers(path)
        path.unlink()  # as Intel's service does when it ends
        successor.wait_for("WARNING published again")
        assert answers(path)


def test_without_being_told_to_it_relieves_nobody(serving: Daemon, start: Callable[..., Daemon]) -> None:
    second = start(ready=False)
    assert second.process.wait(DEADLINE_S) == 2
    second.wait_for("served by process")
    assert answers(serving.path)


def test_when_the_supervisor_is_killed_its_clients_are_served_until_another_instance_is_there(
    serving: Daemon, start: Callable[..., Daemon]
) -> None:
    (orphan,) = serving.children()
    pidfd = os.pidfd_open(orphan)
    serving.process.kill()
    serving.wait_for("ERROR supervisor gone")
    assert answers(serving.path)
    start("--take-over")
    wait_readable(pidfd)
    os.close(pidfd)
    assert answers(serving.path)


def wait_readable(fd: int) -> None:
    assert select.select([fd], [], [], DEADLINE_S)[0]


def test_without_a_private_directory_serving_ends_with_the_supervisor(start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon()
    (serving,) = daemon.children()
    pidfd = os.pidfd_open(serving)
    daemon.process.kill()
    wait_readable(pidfd)
    os.close(pidfd)


def test_an_instance_that_hung_finds_itself_replaced_and_retires(serving: Daemon, start: Callable[..., Daemon]) -> None:
    os.kill(serving.process.pid, signal.SIGSTOP)
    successor = start("--take-over")
    successor.wait_for("WARNING no hand-over")
    published = inode(serving.path)
    os.kill(serving.process.pid, signal.SIGCONT)
    assert "has taken the path over" in serving.wait_for("INFO retired")
    assert inode(serving.path) == published
    assert answers(serving.path)


# Whoever can write to the public directory


def test_a_removed_socket_is_published_again_with_a_warning(serving: Daemon) -> None:
    serving.path.unlink()
    assert "was=gone" in serving.wait_for("WARNING published again")
    assert answers(serving.path)


def test_a_socket_put_in_its_place_is_replaced_with_a_warning_that_names_its_owner(serving: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as thief:
        serving.path.unlink()
        thief.bind(str(serving.path))
        thief.listen()
        assert f"served by process {os.getpid()}" in serving.wait_for("WARNING published again")
        assert answers(serving.path)


def test_a_removed_directory_is_made_again(start_daemon: Callable[..., Daemon], private: Path, tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir()
    daemon = start_daemon(["--private-dir", str(private)], path=public / "aesm.socket")
    daemon.path.unlink()
    public.rmdir()
    daemon.wait_for("WARNING published again")
    assert answers(daemon.path)


def test_something_that_is_no_socket_in_its_place_is_moved_aside_with_a_warning(serving: Daemon) -> None:
    serving.path.unlink()
    serving.path.mkdir()
    (serving.path / "kept").touch()
    assert 'was="a directory"' in serving.wait_for("WARNING published again")
    assert answers(serving.path)
    (aside,) = serving.path.parent.glob("*.aside")
    assert (aside / "kept").exists()


def test_without_a_private_directory_another_live_owner_is_told_not_fought(start_daemon: Callable[..., Daemon]) -> None:
    daemon = start_daemon()
    with socket.socket(socket.AF_UNIX) as thief:
        daemon.path.unlink()
        thief.bind(str(daemon.path))
        thief.listen()
        before = inode(daemon.path)
        assert f"process {os.getpid()}" in daemon.wait_for("ERROR path lost")
        assert inode(daemon.path) == before


# The private directory


def test_a_private_directory_that_others_can_enter_is_refused(start: Callable[..., Daemon], private: Path) -> None:
    private.chmod(0o750)
    daemon = start(ready=False)
    assert daemon.process.wait(DEADLINE_S) == 2
    assert "chmod 700" in daemon.wait_for("open to others")


def test_it_is_made_private(start_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    directory = tmp_path / "made"
    start_daemon(["--private-dir", str(directory)])
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("content", [b"\xff", b"[]", b"[" * 100_000])
def test_damaged_files_are_written_anew(start: Callable[..., Daemon], private: Path, content: bytes) -> None:
    for name in ("owner.json", "retired.json", "quoting.json"):
        (private / name).write_bytes(content)
    first = start("--take-over")
    second = start("--take-over")
    first.wait_for("INFO retired")
    assert answers(second.path)


def test_without_its_private_directory_it_still_ends_as_it_should(serving: Daemon, private: Path) -> None:
    with serving.connect() as client:
        client.sendall(frames.NUM[:4])
        assert answers(serving.path), "it has accepted the first client by now"
        shutil.rmtree(private)
        serving.process.send_signal(signal.SIGTERM)
        serving.wait_for("INFO ending")
        client.sendall(frames.NUM[4:])
        assert frames.reply(receive_frame(client)) == (21, {1: 0, 2: 1})
    assert serving.process.wait(DEADLINE_S) == 0


def test_what_killed_candidates_have_left_is_removed_and_nothing_else(
    private: Path, start: Callable[..., Daemon]
) -> None:
    dead, alive = private / "candidate.0.socket", private / "candidate.1.socket"
    old, young = private / "owner.json.0.draft", private / "owner.json.1.draft"
    young.touch()
    old.touch()
    os.utime(old, (0, 0))
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(dead))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(alive))
        listening.listen()
        start("--take-over")
        assert [file.exists() for file in (dead, old, alive, young)] == [False, False, True, True]


def test_only_one_instance_publishes_itself_at_a_time(start: Callable[..., Daemon]) -> None:
    instances = [start("--take-over", "--instance", f"pod-{number}", ready=False) for number in range(4)]
    end = time.monotonic() + DEADLINE_S
    while sum(any(" retired " in line for line in instance.lines) for instance in instances) < 3:
        assert time.monotonic() < end, [instance.lines for instance in instances]
    assert answers(instances[0].path)
