"""A workload that has the public directory mounted, writable, under the daemon's own uid: what it tries, what it gets.

It is a process in mount, pid, ipc and network namespaces of its own, without capabilities, as a pod's. Of the daemon's
files it has the public directory alone. The table `TRIES` is the record; docs/operations.md says the same.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import frames
from harness import DEADLINE_S, Daemon

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PEER = Path(__file__).parent / "hostile_peer.py"
OPERATIONS = (ROOT / "docs/operations.md").read_text()
AGAIN, MENDED = "published again", "access mended"
TROUBLE = "(WARNING|ERROR) (?!lines left out)"


class Try(NamedTuple):
    """``outcome``: what the peer was told. ``said``: pattern of the warning that the daemon writes, if it has cause."""

    name: str
    outcome: str
    said: str = ""
    times: int = 1


TRIES = (
    Try("unlink", "done", f"{AGAIN}.*was=gone"),
    Try("rename_over", "done", f'{AGAIN}.*was="served by '),
    Try("bind_own", "done", f'{AGAIN}.*was="served by '),
    Try("bind_dead", "done", f'{AGAIN}.*was="a dead socket'),
    Try("bind_datagram", "done", f'{AGAIN}.*was="a socket of somebody else'),
    Try("make_directory", "done", f'{AGAIN}.*was="a directory'),
    Try("make_file", "done", f'{AGAIN}.*was="a file'),
    Try("symlink_elsewhere", "done", f'{AGAIN}.*was="a symbolic link'),
    Try("symlink_loop", "done", f'{AGAIN}.*was="a symbolic link'),
    Try("close_socket_mode", "done", MENDED),
    Try("close_directory_mode", "done", MENDED),
    Try("unlink_often", "done", AGAIN, times=12),
    Try("race_for_drafts", "done", AGAIN),
    Try("hard_link", "done"),
    Try("remove_directory", "Device or resource busy"),
    Try("fill_with_files", "done"),
    Try("ask_for_handover", "FileNotFoundError"),
    Try("flood", "done"),
    Try("send_descriptors", "done"),
    Try("kill_daemon", "No such process"),
    Try("trace_daemon", "No such process"),
    Try("read_its_descriptors", "No such file or directory"),
    Try("bind_abstract_name", "done"),
)


class Scene(NamedTuple):
    """A daemon and a peer of its public directory."""

    daemon: Daemon
    peer: subprocess.Popen[str]
    public: Path
    private: Path

    def attempt(self, name: str) -> str:
        """What came of the try ``name``."""
        assert self.peer.stdin is not None
        assert self.peer.stdout is not None
        print(name, file=self.peer.stdin, flush=True)
        assert select.select([self.peer.stdout], [], [], DEADLINE_S)[0], f"{name} takes for ever"
        outcome: str = json.loads(self.peer.stdout.readline())
        return outcome

    def count(self, pattern: str) -> int:
        return sum(bool(re.search(pattern, line)) for line in self.daemon.lines)

    def serves(self) -> bool:
        """Whether a client of the host is served, at the path, by the daemon and nobody else."""
        with self.daemon.connect() as client:
            pid, _uid, _gid = struct.unpack("iII", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return pid == self.daemon.process.pid and frames.reply(self.daemon.exchange(frames.NUM))[0] == 21

    def tidy(self) -> None:
        """Remove what the peer has left."""
        for entry in self.public.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != "aesm.socket":
                entry.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def scene(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    tools = [shutil.which(tool) for tool in ("unshare", "setpriv", "mount")]
    enter = ["unshare", "--mount", "--pid", "--ipc", "--net", "--fork", "--mount-proc"]
    if None in tools or subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("left out: a peer with namespaces of its own takes unshare, setpriv and the rights of root")
    place = tmp_path_factory.mktemp("node")
    node, mounted = place / "node", place / "pod" / "aesmd"
    public, private = node / "aesmd", node / "private"
    public.mkdir(parents=True)
    mounted.mkdir(parents=True)
    hide = 'mount --bind "$0" "$1" && mount -t tmpfs none "$2" && shift 2 && exec "$@"'
    harmless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    with Daemon(state, public / "aesm.socket", "--private-dir", str(private)) as daemon:
        daemon.wait_for(" ready ")
        peer: list[str | Path] = [*harmless, sys.executable, PEER, mounted, str(daemon.process.pid), private]
        command: list[str | Path] = [*enter, "sh", "-c", hide, public, mounted, node, *peer]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            yield Scene(daemon, process, public, private)


@pytest.mark.parametrize("attempt", TRIES, ids=lambda attempt: attempt.name)
def test_it_serves_whatever_the_peer_tries_and_says_what_it_mended(scene: Scene, attempt: Try) -> None:
    before, troubles = scene.count(attempt.said), scene.count(TROUBLE)
    assert scene.attempt(attempt.name) == attempt.outcome
    if attempt.said:
        scene.daemon.wait_for(attempt.said, times=before + attempt.times)
    assert scene.serves()
    if not attempt.said:
        assert scene.count(TROUBLE) == troubles
    scene.tidy()


def test_descriptors_that_it_sends_are_not_kept(scene: Scene) -> None:
    (serving,) = scene.daemon.children()
    before = len(os.listdir(f"/proc/{serving}/fd"))  # noqa: PTH208  a count
    scene.attempt("send_descriptors")
    assert scene.serves()
    assert len(os.listdir(f"/proc/{serving}/fd")) < before + 200  # noqa: PTH208  same


def test_a_hand_over_does_not_go_through_the_public_directory(scene: Scene, state: Path) -> None:
    assert scene.attempt("offer_handover") == "done"
    options = ("--private-dir", str(scene.private), "--take-over")
    with Daemon(state, scene.daemon.path, *options) as successor:
        successor.wait_for(" ready ")
        scene.daemon.wait_for("INFO retired")
        assert scene.attempt("was_asked") == "Resource temporarily unavailable"
        assert frames.reply(successor.exchange(frames.NUM))[0] == 21


def test_every_try_is_told_to_operators() -> None:
    table = OPERATIONS.split("| what it tries |", 1)[1].split("\n\n", 1)[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert named == [*(attempt.name for attempt in TRIES), "offer_handover"]
