"""What every figure is measured with: programs built, servers started, load driven, processes looked at.

Rates depend on the machine and on its hour, so what counts are ratios between things measured in the same run; the
callers interleave them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "benchmarks"
BUILD = ROOT / "build"
PATIENCE_S = 30.0
"""Seconds after which a server that does not start, or end, is an error."""


class BenchError(Exception):
    """The measurement can't be made; the message says why and what to do about it."""


# Programs


def build(name: str, *libraries: str) -> Path:
    """The program made of ``benchmarks/name.c``, compiled anew if its source has changed."""
    source, program = SOURCES / f"{name}.c", BUILD / name
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise BenchError("no C compiler: install one (Debian: apt-get install gcc libc6-dev), or name it in CC")
    BUILD.mkdir(exist_ok=True)
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), str(source), *(f"-l{x}" for x in libraries)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{source.name} does not compile:\n{done.stderr}")
    return program


# Load


class Load(NamedTuple):
    """What one run of the load generator saw; its source describes each figure."""

    requests: int
    seconds: float
    reply_bytes: int
    errors: dict[str, int]
    statuses: dict[str, int]
    latency_us: dict[str, float]

    @property
    def rate(self) -> float:
        """Requests a second that were answered with status 0."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def failures(self) -> int:
        """Requests that were not."""
        return sum(self.errors.values())


def drive(server: str, frame: bytes, *options: str, within: Sequence[str] = ()) -> Load:
    """Load on the socket ``server``: each request is ``frame``; ``options`` are the load generator's.

    ``within``: the command that starts it, as ``pod`` makes it.
    """
    with generator(server, frame, *options, within=within) as process:
        return finish(process)


@contextlib.contextmanager
def generator(server: str, frame: bytes, *options: str, within: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """A load generator at work; ``finish`` tells what it saw."""
    program = build("load_generator")
    with tempfile.NamedTemporaryFile(prefix="frame-") as file:
        file.write(frame)
        file.flush()
        command = [*within, str(program), "--socket", server, "--frame", file.name, *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()


@contextlib.contextmanager
def pod(number: int) -> Iterator[tuple[str, ...]]:
    """What to start a program with so that it runs in a pod of its own: in a control group of the kubelet's names."""
    name = f"kubepods/pod5eed{number:04x}-0000-4000-8000-00000000beef"
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    named = [line for line in mounts if line[2] == "cgroup2" or "name=systemd" in line[3]]  # they share out nothing
    for mount in sorted(named, key=lambda line: line[2], reverse=True):
        directory = Path(mount[1]) / name / f"{number:064x}"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            break
        except OSError:
            continue
    else:
        raise BenchError("no control group can be made: run as root, on a machine with a writable cgroup hierarchy")
    try:
        yield "sh", "-c", f'echo $$ > {directory}/cgroup.procs && exec "$@"', "sh"
    finally:
        for path in (directory, directory.parent, directory.parent.parent):
            with contextlib.suppress(OSError):  # the other pod is still there
                path.rmdir()


def finish(process: subprocess.Popen[str], *, now: bool = False) -> Load:
    """What ``process``, a load generator, saw until its end, which is ``now`` or when its time is over."""
    if now:
        process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    if process.returncode:
        raise BenchError(f"the load generator ended with exit code {process.returncode}")
    return Load(**json.loads(output))


def must_answer(load: Load, what: str) -> Load:
    """``load``, if it holds answers and nothing else: figures of failures are no figures."""
    if load.failures or not load.requests:
        errors = {name: count for name, count in load.errors.items() if count}
        raise BenchError(f"{what}: {load.requests} answered, errors {errors}, statuses {load.statuses}")
    return load


# Servers


class Daemon:
    """``quotehelper serve`` on the simulated platform in ``state``, ready; its log is in the file ``log``."""

    def __init__(self, state: Path, *options: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="quotehelper-bench-"))
        self.socket = str(self.directory / "aesm.socket")
        self.log = self.directory / "log"
        command = serve_command(state, self.socket, *options)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, start_new_session=True)
        wait_until(lambda: b" ready " in self.log.read_bytes(), self.process, self.log)

    @property
    def serving(self) -> list[int]:
        """The process ids of the serving processes."""
        return self._running("quotehelper.cli.daemon")

    @property
    def workers(self) -> list[int]:
        """The process ids of the platform workers."""
        return self._running("quotehelper.node.worker_process")

    @property
    def processes(self) -> list[int]:
        """The process ids of all its processes."""
        return [self.process.pid, *self._children()]

    def _children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def _running(self, module: str) -> list[int]:
        return [child for child in self._children() if module in Path(f"/proc/{child}/cmdline").read_text().split("\0")]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self.process)
        shutil.rmtree(self.directory)


@contextlib.contextmanager
def empty_server(content: bytes, *quote: str) -> Iterator[str]:
    """The socket of an empty server that answers everything with ``content``.

    With ``quote``, "--quote" and a platform's state: that quotes whatever is asked as the frame ``content`` asks.
    """
    with tempfile.TemporaryDirectory(prefix="quotehelper-bench-") as directory:
        path, file, log = (Path(directory) / name for name in ("socket", "content", "log"))
        file.write_bytes(content)
        with log.open("wb") as out:
            command = [sys.executable, str(SOURCES / "empty_server.py"), str(path), *quote, str(file)]
            process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            wait_until(lambda: b"ready" in log.read_bytes(), process, log)
            yield str(path)
        finally:
            process.kill()
            process.wait()


def serve_command(state: Path, path: str, *options: str) -> list[str]:
    """The command line that starts a daemon, as its users write it."""
    quotehelper = Path(sys.executable).with_name("quotehelper")
    return [str(quotehelper), *("serve", "--platform", "simulated", "--state", str(state), "--socket", path), *options]


@contextlib.contextmanager
def platform(given: Path | None) -> Iterator[Path]:
    """The state of the simulated platform ``given``, or else of a new one for as long as it is needed."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="quotehelper-bench-") as directory:
        state = Path(directory) / "platform"
        command = [sys.executable, "-m", "quotehelper", "simulate", "init", "--state", str(state)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"no simulated platform: {done.stderr.strip()}")
        yield state


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until ``ready`` says so; an error if ``process`` ends before, or takes too long."""
    give_up = time.monotonic() + PATIENCE_S
    while not ready():
        if process.poll() is not None or time.monotonic() > give_up:
            process.kill()
            raise BenchError(f"a server did not start:\n{log.read_text()}")
        time.sleep(0.002)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a daemon as an operator does."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise BenchError(f"the daemon did not end within {PATIENCE_S:g} s of SIGTERM") from None
    if code:
        raise BenchError(f"the daemon ended with exit code {code}")


def exchange(server: str, frame: bytes) -> bytes:
    """The whole reply frame of ``server`` to ``frame``."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        client.connect(server)
        client.sendall(frame)
        return receive_frame(client)


def receive_frame(client: socket.socket) -> bytes:
    """One frame, its length prefix included. Raises BenchError if the peer breaks it off."""
    received = b""
    while len(received) < 4 or len(received) < 4 + int.from_bytes(received[:4], "little"):
        chunk = client.recv(65536)
        if not chunk:
            raise BenchError(f"the server closed after {len(received)} bytes of its reply")
        received += chunk
    return received


# Processes


def cpu_s(pids: Sequence[int]) -> float:
    """Seconds of processor time that ``pids`` have had, the kernel's work for them included."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9


def resident_kib(pid: int) -> int:
    """RSS of a process, in KiB."""
    return _smaps(pid, "Rss")


def proportional_kib(pids: Sequence[int]) -> int:
    """PSS of all ``pids`` together, in KiB: what they take of the machine, shared pages counted once."""
    return sum(_smaps(pid, "Pss") for pid in pids)


def descriptors(pid: int) -> int:
    """Open descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _smaps(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    if found is None:
        raise BenchError(f"the kernel does not tell {name} of process {pid}")
    return int(found[1])
