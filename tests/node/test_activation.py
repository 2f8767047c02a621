"""Sockets opened by systemd: real descriptors, handed to real daemons as sd_listen_fds(3) says."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import frames
from control_client import Control
from harness import DEADLINE_S, Program, open_files, receive_frame
from quotehelper.node.inode import inode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LAUNCHER = """
import os, sys
given = [int(fd) for fd in sys.argv[1].split(",")]
spare = [os.dup(fd) for fd in given]
for number, fd in enumerate(spare):
    os.dup2(fd, 3 + number)
    os.set_inheritable(3 + number, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[2] or str(len(given)), LISTEN_FDNAMES="aesm")
os.closerange(3 + len(given), 64)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Becomes the daemon, with descriptors from 3 on and the variables for its own process id, as systemd does."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "aesm.socket"


@pytest.fixture
def opened(path: Path) -> Iterator[socket.socket]:
    """What systemd holds."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(8)
        yield listening


@pytest.fixture
def activate(state: Path, path: Path) -> Iterator[Callable[..., Program]]:
    with contextlib.ExitStack() as stack:

        def start(*sockets: socket.socket, options: tuple[str, ...] = (), count: str = "") -> Program:
            fds = [listening.fileno() for listening in sockets]
            launcher = [sys.executable, "-c", LAUNCHER, ",".join(map(str, fds)), count]
            command = ["serve", "--platform", "simulated", "--state", str(state), "--socket", str(path), *options]
            return stack.enter_context(Program(*command, launcher=launcher, pass_fds=fds))

        yield start


def exchange(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(path))
        client.sendall(frames.NUM)
        return receive_frame(client)


def test_it_serves_the_socket_that_systemd_has_opened(
    activate: Callable[..., Program], opened: socket.socket, path: Path
) -> None:
    before = inode(str(path))
    activate(opened).wait_for(" ready ")
    assert exchange(path)
    assert inode(str(path)) == before


def test_who_connects_while_no_daemon_runs_is_answered_by_the_next(
    activate: Callable[..., Program], opened: socket.socket, path: Path
) -> None:
    before = inode(str(path))
    first = activate(opened)
    first.wait_for(" ready ")
    assert exchange(path)
    assert first.stop() == 0
    assert inode(str(path)) == before
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        client.connect(str(path))
        client.sendall(frames.NUM)
        activate(opened)
        assert receive_frame(client)


def test_clients_that_come_while_it_ends_are_left_to_the_next(
    activate: Callable[..., Program], opened: socket.socket, path: Path
) -> None:
    first = activate(opened, options=("--processes", "2"))
    first.wait_for(" ready ")
    first.process.send_signal(signal.SIGTERM)
    first.wait_for("INFO ended")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(4)]
        for client in clients:
            client.settimeout(DEADLINE_S)
            client.connect(str(path))
            client.sendall(frames.NUM)
        activate(opened).wait_for(" ready ")
        assert all(receive_frame(client) for client in clients)


def test_a_path_over_a_link_is_the_same(
    activate: Callable[..., Program], opened: socket.socket, path: Path, tmp_path: Path
) -> None:
    (tmp_path / "var").symlink_to(tmp_path)
    activate(opened, options=("--socket", str(tmp_path / "var" / path.name))).wait_for(" ready ")
    assert exchange(path)


def test_no_other_process_of_the_daemon_inherits_it(
    activate: Callable[..., Program], opened: socket.socket, tmp_path: Path
) -> None:
    control = Control(tmp_path / "metrics.socket")
    daemon = activate(opened, options=("--metrics", str(control.path)))
    daemon.wait_for(" ready ")
    control.wait_for("/readyz", 200)
    number = f"socket:[{os.fstat(opened.fileno()).st_ino}]"
    children = Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()
    holds = {
        b"node.control" in Path(f"/proc/{child}/cmdline").read_bytes(): number in open_files(child)
        for child in children
    }
    assert holds == {True: False, False: True}


def failure(daemon: Program) -> str:
    assert daemon.process.wait(DEADLINE_S) == 2
    daemon.wait_for("end of log")
    return "\n".join(daemon.lines)


def test_a_socket_that_clients_would_not_find_is_refused(activate: Callable[..., Program], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as elsewhere:
        elsewhere.bind(str(tmp_path / "elsewhere"))
        elsewhere.listen()
        assert "ListenStream=" in failure(activate(elsewhere))


def test_one_more_than_clients_look_for_is_refused(
    activate: Callable[..., Program], opened: socket.socket, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as elsewhere:
        elsewhere.bind(str(tmp_path / "elsewhere"))
        elsewhere.listen()
        assert "elsewhere" in failure(activate(opened, elsewhere))


@pytest.mark.parametrize(
    ("family", "kind"), [(socket.AF_UNIX, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_DGRAM)]
)
def test_what_does_not_listen_is_refused(
    activate: Callable[..., Program], family: int, kind: int, tmp_path: Path
) -> None:
    with socket.socket(family, kind) as other:
        other.bind(str(tmp_path / "other"))
        assert "no listening Unix stream socket" in failure(activate(other))


@pytest.mark.parametrize("count", ["9", "-1", "many", "3"])
def test_a_wrong_number_is_refused(activate: Callable[..., Program], opened: socket.socket, count: str) -> None:
    assert "systemd" in (said := failure(activate(opened, count=count))) or "LISTEN_FDS" in said


def test_it_does_not_go_with_a_hand_over(
    activate: Callable[..., Program], opened: socket.socket, tmp_path: Path
) -> None:
    said = failure(activate(opened, options=("--private-dir", str(tmp_path / "private"), "--take-over")))
    assert "exclude each other" in said


def test_variables_for_another_process_are_left_alone(state: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    with Program("serve", "--platform", "simulated", "--state", str(state), "--socket", str(path)) as daemon:
        daemon.wait_for(" ready ")
        assert exchange(path)
        assert daemon.stop() == 0
    assert not path.exists()


def test_systemds_own_tool_starts_it_for_the_first_client(
    state: Path, path: Path, no_interop_tool: Callable[[str], None]
) -> None:
    tool = shutil.which("systemd-socket-activate")
    if tool is None:
        no_interop_tool("systemd-socket-activate")
        raise AssertionError
    command = ["serve", "--platform", "simulated", "--state", str(state), "--socket", str(path)]
    with Program(*command, launcher=[tool, "--listen", str(path)]) as daemon:
        daemon.wait_for("Listening on")
        assert exchange(path)
        daemon.wait_for(" ready ")
        assert daemon.stop() == 0
    assert path.exists()


DEPLOY = Path(__file__).parents[2] / "deploy/systemd"


def run(no_interop_tool: Callable[[str], None], tool: str, *arguments: str) -> str:
    """What one of systemd's tools says, which must be content."""
    found = shutil.which(tool)
    if found is None:
        no_interop_tool(tool)
        raise AssertionError
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_understands_every_line_of_the_units(tmp_path: Path, no_interop_tool: Callable[[str], None]) -> None:
    for name in ("quotehelper.service", "quotehelper.socket"):
        text = (DEPLOY / name).read_text().replace("/opt/quotehelper/bin/quotehelper", "/bin/true")
        (tmp_path / name).write_text(text)
    units = [str(tmp_path / name) for name in ("quotehelper.service", "quotehelper.socket")]
    assert not run(no_interop_tool, "systemd-analyze", "verify", "--man=no", *units)


def test_the_service_is_as_hardened_as_it_was(no_interop_tool: Callable[[str], None]) -> None:
    unit = str(DEPLOY / "quotehelper.service")
    run(no_interop_tool, "systemd-analyze", "security", "--offline=yes", "--threshold=22", unit)


def test_user_and_directories_are_made_as_the_unit_wants_them(
    tmp_path: Path, no_interop_tool: Callable[[str], None]
) -> None:
    (tmp_path / "etc").mkdir()
    run(no_interop_tool, "systemd-sysusers", f"--root={tmp_path}", str(DEPLOY / "sysusers.d/quotehelper.conf"))
    user = next(line for line in (tmp_path / "etc/passwd").read_text().splitlines() if line.startswith("quotehelper:"))
    assert user.endswith(":/var/lib/quotehelper:/usr/sbin/nologin")
    assert "sgx_prv" in (tmp_path / "etc/group").read_text()
    made = DEPLOY / "tmpfiles.d/quotehelper.conf"
    run(no_interop_tool, "systemd-tmpfiles", f"--root={tmp_path}", "--create", str(made))
    assert (tmp_path / "var/lib/quotehelper").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "run/aesmd").stat().st_mode & 0o777 == 0o755
