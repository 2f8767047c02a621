"""The node of the soak: instances of the daemon that follow each other, and what is done to them.

Each is started with ``--take-over`` on one private directory, as in a cluster. What is killed is killed with
SIGKILL; who has been relieved is told to end, and must end with exit code 0.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.rig import PATIENCE_S, BenchError, serve_command, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

PROCESSES = 2
SVNS = (11, 12)
"""ISV SVNs of the quoting enclaves that relieve each other."""
LEAVE_S = 60.0
"""Seconds after which an instance that was relieved, or an orphan, must be gone."""

_UNWANTED = re.compile(
    r"ERROR (request failed|serving process failed|accept failed|private file)|Traceback|please report"
)


class Look(NamedTuple):
    """One look at an instance, or at all of a node's.

    ``anonymous_kib``: the part of PSS that is no file's: what programs of others that come and go do not change.
    ``descriptors``: open ones; clients' connections are left aside, as their number is the clients' affair.
    """

    processes: int
    rss_kib: int
    pss_kib: int
    anonymous_kib: int
    descriptors: int


class Instance:
    """One instance of the daemon, that serves."""

    def __init__(self, command: list[str], log: Path, number: int) -> None:
        self.number = number
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(command, stderr=out, start_new_session=True)
        self.ready_at = 0.0

    @property
    def pid(self) -> int:
        """Its supervisor's."""
        return self.process.pid

    def wait_ready(self) -> None:
        """Wait until it serves. Raises BenchError."""
        wait_until(lambda: b" ready " in self.log.read_bytes(), self.process, self.log)
        self.ready_at = time.monotonic()

    def children(self) -> dict[str, list[int]]:
        """Its processes by kind: forked ones are "serving", others are called as their module."""
        found = defaultdict(list)
        mine = _read(self.pid, "cmdline")
        for pid in map(int, _read(self.pid, f"task/{self.pid}/children").split()):
            module = re.search(rb"\0-m\0([\w.]+)\0", command := _read(pid, "cmdline"))
            if command == mine:
                found["serving"].append(pid)
            elif module:
                found[module[1].decode().rpartition(".")[2]].append(pid)
        return found


class Node:
    """Instances at one socket, in a directory that ``end`` removes."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._directory = Path(tempfile.mkdtemp(prefix="quotehelper-soak-"))
        self._private = self._directory / "private"
        self._settings = self._directory / "settings.toml"
        self.socket = str(self._directory / "aesm.socket")
        self._leaving: dict[int, float] = {}
        """Processes that have to end, and until when."""
        self._relieved: list[Instance] = []
        self._svn = 0
        self.complaints: list[str] = []
        self.instances = 0
        self._reloads = 0
        self._write_settings()
        self.present = self._start()

    @property
    def metrics(self) -> Path:
        """Where the youngest instance tells its metrics."""
        return self._directory / f"metrics-{self.instances}.socket"

    # What is done to it

    def hand_over(self, *, other_enclave: bool = False) -> None:
        """Another instance relieves the present one."""
        self._svn ^= other_enclave
        former, self.present = self.present, self._start()
        wait_until(lambda: b"INFO retired" in former.log.read_bytes(), former.process, former.log)
        former.process.terminate()
        self._leaving |= dict.fromkeys((former.pid, *_all(former.children())), time.monotonic() + LEAVE_S)
        self._relieved.append(former)

    def kill_supervisor(self) -> None:
        """Kill the supervisor, and start another instance."""
        former, orphans = self.present, _all(self.present.children())
        former.process.kill()
        former.process.wait()
        self._leaving |= dict.fromkeys(orphans, time.monotonic() + LEAVE_S)
        self.present = self._start()
        self._read_log(former)

    def kill_child(self, kind: str) -> None:
        """Kill a process of ``kind``, and see it replaced."""
        before = self.present.children()[kind]
        os.kill(before[0], signal.SIGKILL)
        give_up = time.monotonic() + PATIENCE_S
        while len(now := self.present.children()[kind]) < len(before) or before[0] in now:
            if time.monotonic() > give_up:
                raise BenchError(f"a killed {kind} process was not replaced:\n{self.present.log.read_text()}")
            time.sleep(0.05)

    def kill_candidate(self) -> None:
        """Kill an instance before it serves."""
        log = self._directory / "candidate.log"
        candidate = Instance(self._command(), log, -1)
        time.sleep(0.3)
        orphans = _all(candidate.children())
        candidate.process.kill()
        candidate.process.wait()
        if b" ready " in log.read_bytes():
            raise BenchError("a candidate was quicker than its killer")
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)

    def reload(self) -> None:
        """Change the settings, and have them read."""
        before = self.present.log.read_bytes().count(b"INFO reloaded")
        self._write_settings()
        os.kill(self.present.pid, signal.SIGHUP)
        wait_until(
            lambda: self.present.log.read_bytes().count(b"INFO reloaded") >= before + PROCESSES,
            self.present.process,
            self.present.log,
        )

    def look_after(self) -> None:
        """Bury who has ended, and complain of who has not."""
        for instance in list(self._relieved):
            if (code := instance.process.poll()) is not None:
                self._relieved.remove(instance)
                self._read_log(instance)
                if code:
                    self.complaints.append(f"instance {instance.number} ended with exit code {code}")
        now = time.monotonic()
        for pid, until in list(self._leaving.items()):
            if not _is_alive(pid):
                del self._leaving[pid]
            elif now > until:
                del self._leaving[pid]
                self.complaints.append(f"process {pid} was still there {LEAVE_S:g} s after it had been relieved")

    def end(self) -> None:
        """End it as an operator does; nothing may be left behind."""
        self.present.process.terminate()
        self._relieved.append(self.present)
        self._leaving |= dict.fromkeys(_all(self.present.children()), time.monotonic() + LEAVE_S)
        while self._relieved or self._leaving:
            self.look_after()
            time.sleep(0.05)
        kept = {file.name for file in self._directory.iterdir() if file.name == "aesm.socket" or file.name[0] == "."}
        private = {file.name for file in self._private.iterdir()}
        kept |= {name for name in private if not name.startswith("candidate.")}  # a killed one's: the next removes it
        kept -= {"lock", "handover.socket", "owner.json", "retired.json", "quoting.json"}
        if kept:
            self.complaints.append(f"left behind: {', '.join(sorted(kept))}")
        shutil.rmtree(self._directory)

    # What it takes

    def look(self) -> Look:
        """At the present instance."""
        present = self.present
        return _look([present.pid, *_all(present.children())], self._connections)

    def look_at_all(self) -> Look:
        """At all processes, those that are leaving included."""
        present = self.present
        pids = {present.pid, *_all(present.children()), *list(self._leaving)}
        return _look(sorted(pids), self._connections)

    def _connections(self) -> set[bytes]:
        """What /proc/PID/fd calls clients' connections: sockets with our path (or its draft's) that don't listen."""
        lines = (line.split() for line in Path("/proc/net/unix").read_bytes().splitlines()[1:])
        ours = os.fsencode(self._directory)
        listening = b"00010000"
        return {
            b"socket:[" + line[6] + b"]"
            for line in lines
            if len(line) > 7 and line[7].startswith(ours) and line[3] != listening
        }

    # How

    def _start(self) -> Instance:
        self.instances += 1
        instance = Instance(self._command(), self._directory / f"log-{self.instances}", self.instances)
        instance.wait_ready()
        return instance

    def _command(self) -> list[str]:
        options = ("--private-dir", str(self._private), "--take-over", "--processes", str(PROCESSES))
        more = ("--config", str(self._settings), "--qe-isv-svn", str(SVNS[self._svn]))
        beside = ("--platform-process", "worker", "--metrics", str(self.metrics))
        return serve_command(self._state, self.socket, *options, *more, *beside)

    def _write_settings(self) -> None:
        self._reloads += 1
        self._settings.write_text(f"[limits]\nconnections = {1000 + self._reloads % 100}\n")

    def _read_log(self, instance: Instance) -> None:
        """Look for what must not be in the log of an instance that has ended, and remove it."""
        found = [line for line in instance.log.read_text().splitlines() if _UNWANTED.search(line)]
        self.complaints += [f"instance {instance.number} wrote: {line}" for line in found[:5]]
        instance.log.unlink()


def _all(children: dict[str, list[int]]) -> list[int]:
    return [pid for pids in children.values() for pid in pids]


def _is_alive(pid: int) -> bool:
    state = _read(pid, "stat").rpartition(b") ")[2][:1]
    return state not in {b"", b"Z", b"X"}


def _look(pids: list[int], connections: Callable[[], set[bytes]]) -> Look:
    """At ``pids``; one that ends meanwhile counts nothing."""
    before = connections()
    opened = [target for pid in pids for target in _descriptors(pid)]
    theirs = before | connections()
    memory: Counter[bytes] = Counter()
    for pid in pids:
        found = re.findall(rb"^(Rss|Pss|Pss_Anon):\s+(\d+) kB", _read(pid, "smaps_rollup"), re.MULTILINE)
        memory.update({name: int(kib) for name, kib in found})
        memory[b"processes"] += bool(found)
    rss, pss, anonymous = (memory[name] for name in (b"Rss", b"Pss", b"Pss_Anon"))
    return Look(memory[b"processes"], rss, pss, anonymous, sum(target not in theirs for target in opened))


def _descriptors(pid: int) -> list[bytes]:
    """What the descriptors of a process lead to; of one that ends meanwhile as far as it was seen."""
    found: list[bytes] = []
    with contextlib.suppress(OSError):
        found.extend(os.fsencode(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return found


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
