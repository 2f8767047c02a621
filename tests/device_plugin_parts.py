"""Parts for tests of the device plugin: machines as directory trees, a recording log, the plugin as a process."""

from __future__ import annotations

import asyncio
import os
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from harness import DEADLINE_S, Daemon
from quotehelper.kube.device_plugin.machine import Roots

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import TypeVar

    _T = TypeVar("_T")

MIB = 1 << 20
NULL_DEVICE = os.makedev(1, 3)


class MachineTree:
    """The parts of /sys, /proc and /dev that the plugin looks at, below ``root``; made as the kernel makes them."""

    def __init__(self, root: Path) -> None:
        self.roots = Roots(root / "sys", root / "proc", root / "dev")
        self.nodes = self.roots.sysfs / "devices/system/node"
        for directory in (self.nodes, self.roots.proc, self.roots.dev):
            directory.mkdir(parents=True)
        self.set_flags("fpu sgx sgx_lc")

    @property
    def options(self) -> tuple[str, ...]:
        """What the command line is told of it."""
        roots = self.roots
        return (
            *("--sysfs-root", str(roots.sysfs), "--proc-root", str(roots.proc)),
            *("--dev-root", str(roots.dev)),
        )

    def set_flags(self, flags: str) -> None:
        (self.roots.proc / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: {flags}\n\n")

    def set_epc(self, *sizes: int | str | None) -> None:
        """What each NUMA node's sgx_total_bytes holds; None: it has none."""
        for number, size in enumerate(sizes):
            directory = self.nodes / f"node{number}/x86"
            directory.mkdir(parents=True, exist_ok=True)
            file = directory / "sgx_total_bytes"
            file.unlink(missing_ok=True)
            if size is not None:
                file.write_text(f"{size}\n" if isinstance(size, int) else size)

    def add_node(self, name: str = "sgx_enclave") -> Path:
        path = self.roots.dev / name
        path.parent.mkdir(exist_ok=True)
        os.mknod(path, stat.S_IFCHR | 0o600, NULL_DEVICE)
        return path

    def add_nodes(self) -> None:
        self.add_node("sgx_enclave")
        self.add_node("sgx_provision")

    def set_cpuid(self, leaves: dict[tuple[int, int], tuple[int, int, int, int]]) -> None:
        """A /dev/cpu/0/cpuid: the registers stand at the offset leaf | subleaf << 32, as the driver has them."""
        device = self.roots.dev / "cpu/0/cpuid"
        device.parent.mkdir(parents=True, exist_ok=True)
        with device.open("wb") as file:
            file.truncate(1 << 37)
            for (leaf, subleaf), registers in sorted(leaves.items()):
                file.seek(leaf | subleaf << 32)
                file.write(struct.pack("<4I", *registers))


class Recorder:
    """A log that remembers."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def debug(self, event: str, **fields: object) -> None:
        self._keep("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._keep("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._keep("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._keep("error", event, fields)

    def fields(self, event: str) -> list[dict[str, object]]:
        return [fields for _, name, fields in self.events if name == event]

    def _keep(self, level: str, event: str, fields: dict[str, object]) -> None:
        with self.news:
            self.events.append((level, event, fields))
            self.news.notify_all()


class PluginProcess(Daemon):
    """``quotehelper device-plugin`` as a process. ``lines`` is its log so far."""

    def __init__(self, directory: Path, *options: str, environment: dict[str, str] | None = None) -> None:
        self.path = directory
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "quotehelper", "device-plugin", "--kubelet-directory", str(directory)),
                *("--listen", "127.0.0.1:0", "--settle-s", "0", "--log-level", "debug", *options),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | (environment or {}),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def peak_kib(self) -> int:
        """The most memory that was resident, in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    @property
    def port(self) -> int:
        """Where it serves metrics and health."""
        return int(self.wait_for("http ready").rpartition("port=")[2])


class Loop:
    """An event loop in a thread; gRPC's asyncio half wants one and the same for a process."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[None, None, _T]) -> _T:
        """What ``work`` returns, done there."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE_S)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE_S)
        self.loop.close()
