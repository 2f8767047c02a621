"""Pods for tests as the kubelet makes them: control groups of its names, processes in PID namespaces of their own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

CLIENT = """
import select, socket, sys
path, connections, frame = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
def ask():
    crowd = [socket.socket(socket.AF_UNIX) for _ in range(connections)]
    for one in crowd:
        one.settimeout(60)
        one.connect(path)
        one.sendall(frame)
    replies = [one.recv(65536)[:32].hex() or "none" for one in crowd]
    for one in crowd:
        one.close()
    return replies
print("begun", flush=True)
for line in sys.stdin:
    if line == "once\\n":
        print(*ask(), flush=True)
    else:
        seen = set(ask())
        print("flooding", flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            seen.update(ask())
        print(*seen, flush=True)
"""
"""Asks over CONNECTIONS connections at once, once, or again and again until it is told to end."""


class Names(NamedTuple):
    """What the kubelet and a runtime call a pod's container."""

    pod_uid: str
    container_id: str
    path: str
    """Of the control group, below the hierarchy's root."""


def systemd_names(number: int) -> Names:
    """With the kubelet's systemd driver and containerd."""
    uid, container = _ids(number)
    escaped = uid.replace("-", "_")
    pod = f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{escaped}.slice"
    return Names(uid, container, f"{pod}/cri-containerd-{container}.scope")


def cgroupfs_names(number: int) -> Names:
    """With its cgroupfs driver."""
    uid, container = _ids(number)
    return Names(uid, container, f"kubepods/besteffort/pod{uid}/{container}")


def _ids(number: int) -> tuple[str, str]:
    return f"5eed{number:04x}-0000-4000-8000-00000000beef", f"{number:04x}".rjust(64, "c")


def hierarchies() -> dict[str, Path]:
    """Where control groups can be made on this machine: "v1", "v2", or both."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _device, path, kind, options, *_ = line.split()
        if kind == "cgroup2":
            found.setdefault("v2", Path(path))
        elif kind == "cgroup" and {"name=systemd", "pids"} & set(options.split(",")):
            found.setdefault("v1", Path(path))
    return {version: path for version, path in found.items() if _can_be_made(path)}


def _can_be_made(root: Path) -> bool:
    probe = root / "quotehelper-probe"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def cgroup(root: Path, names: Names) -> Iterator[Path]:
    """The control group of a container, below ``root``; what was made for it is removed."""
    directory = root / names.path
    made = [path for path in (directory, *directory.parents) if path.is_relative_to(root) and not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield directory
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # another test's pod is there, too
                path.rmdir()


def command_in(directory: Path | None, command: list[str], *, pid_namespace: bool = True) -> list[str]:
    """``command`` in the control group ``directory``, in a PID namespace of its own."""
    apart = ["unshare", "--pid", "--fork", "--kill-child"] if pid_namespace else []
    enter = [] if directory is None else ["sh", "-c", f'echo $$ > {directory}/cgroup.procs && exec "$@"', "sh"]
    return [*enter, *apart, *command]


class Client:
    """A process of a pod that asks: see CLIENT."""

    def __init__(self, directory: Path | None, socket: Path, frame: bytes, connections: int = 1) -> None:
        command = [sys.executable, "-c", CLIENT, str(socket), str(connections), frame.hex()]
        self._process = subprocess.Popen(
            command_in(directory, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._hear() == ["begun"], "the client did not start"

    def ask(self) -> list[str]:
        """The beginnings of the replies, in hexadecimal; "none" for a connection that was closed."""
        self._say("once\n")
        return self._hear()

    def flood(self) -> None:
        """Ask without end; all connections have been answered once."""
        self._say("flood\n")
        assert self._hear() == ["flooding"]

    def end_flood(self) -> list[str]:
        """The beginnings of all replies since then, those that differ."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._hear()

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word)
        self._process.stdin.flush()

    def _hear(self) -> list[str]:
        assert self._process.stdout is not None
        return self._process.stdout.readline().split()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
