"""What instances of the daemon on one node tell each other: who serves, who never will again, what was quoted with.

Shell. In a directory of mode 0700 that workloads never see::

    lock                    held (flock) by the instance that is publishing itself
    handover.socket         where the serving instance can be asked for its listening sockets
    candidate.<id>.socket   where an instance that does not serve yet is tried out
    owner.json              the instance that serves
    retired.json            instances that never take the path again
    quoting.json            the quoting enclaves whose target info clients may hold
    <file>.<id>.draft       a file about to be replaced

Files are replaced whole. What can't be read counts as absent, and a warning says so: each instance writes anew what
it is responsible for. Nothing in here outlives a boot, as no client does.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from quotehelper.node.log import Log

_FILE_BYTES = 256 * 1024
_RETIRED, _QUOTING = 256, 16
"""Entries kept: more instances, or quoting enclaves, than a boot sees."""
_LOCK_LOOK_S = 0.05
_DRAFT_S = 60.0


class Instance(NamedTuple):
    """One life of a daemon.

    ``name``: what stays when its container restarts: the pod's UID, or boot and start time. ``boot``: the boot it
    belongs to. ``started``: seconds from that boot to its start; who started later takes precedence.
    """

    name: str
    boot: str
    started: float

    @classmethod
    def new(cls, name: str | None) -> Instance:
        """This process, under ``name`` if it has a lasting one."""
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123  pathlib costs 5 ms
            boot = file.read().strip()
        started = boot_seconds()
        return cls(name or f"{boot}/{started:.6f}", boot, started)

    def is_later_than(self, other: Instance) -> bool:
        """Whether this one started after ``other``, which may be of an earlier boot."""
        return self.boot != other.boot or self.started > other.started


class Quoting(NamedTuple):
    """A quoting enclave that clients on this node may have made reports for.

    ``target_info``: 1024 hexadecimal digits. ``reopen``: what its platform needs to run it again. ``until``: seconds
    from the boot until when it must be run beside its successor, or None while it has none.
    """

    target_info: str
    reopen: dict[str, Any]
    until: float | None = None


class PrivateDirectory:
    """The directory at ``path``, made if need be. Raises ConfigError if it is not ours alone."""

    def __init__(self, path: str, log: Log) -> None:
        self.path = path
        self._log = log
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)  # noqa: PTH102  pathlib costs 5 ms
            found = os.stat(path)  # noqa: PTH116  as above
        except OSError as error:
            problem = f"The private directory {path} can't be used: {error.strerror}"
            raise ConfigError(problem, "Create its parent, writable for the daemon's user, or name another") from error
        if not stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"{path} is not a directory", "Name a directory with --private-dir")
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            problem = f"The private directory {path} is open to others, or not owned by uid {os.geteuid()}"
            remedy = f"chown {os.geteuid()} {path} && chmod 700 {path}: whoever can enter it can take the clients over"
            raise ConfigError(problem, remedy)

    def name(self, file: str) -> str:
        """The path of ``file`` in here."""
        return f"{self.path}/{file}"

    @contextlib.contextmanager
    def locked(self, patience_s: float) -> Iterator[None]:
        """Nobody else publishes itself meanwhile. Raises ConfigError after ``patience_s`` seconds, and without room."""
        try:
            fd = os.open(self.name("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            problem = f"The private directory {self.path} can't be locked: {error.strerror}"
            raise ConfigError(problem, "Make it again, with room for files, mode 0700, then restart") from error
        try:
            end = time.monotonic() + patience_s
            while not _try_lock(fd):
                if time.monotonic() > end:
                    problem = f"Another instance has been publishing itself for {patience_s:g} s"
                    raise ConfigError(problem, f"See its log; its lock is {self.name('lock')}")
                time.sleep(_LOCK_LOOK_S)
            yield
        finally:
            os.close(fd)

    def clear(self, is_dead: Callable[[str], bool]) -> None:
        """Remove what instances left that were killed: dead candidates' sockets, and drafts. To be called locked.

        ``is_dead`` says whether nobody listens at the socket at a path. A draft is written in a moment, and counts as
        left behind after a minute.
        """
        for file in os.listdir(self.path):  # noqa: PTH208  pathlib costs 5 ms
            path = self.name(file)
            with contextlib.suppress(FileNotFoundError):
                if (file.startswith("candidate.") and is_dead(path)) or (
                    file.endswith(".draft") and time.time() - os.lstat(path).st_mtime > _DRAFT_S
                ):
                    os.unlink(path)  # noqa: PTH108  as above

    # Who serves, and who never will again

    def owner(self) -> Instance | None:
        """The instance that serves, as far as is known."""
        return _instance(self._read("owner.json"))

    def set_owner(self, instance: Instance) -> None:
        """Note that ``instance`` serves."""
        self._write("owner.json", instance._asdict())

    def is_retired(self, instance: Instance) -> bool:
        """Whether ``instance``, or an earlier life of the same name, has handed over and must stay passive."""
        return instance.name in self._retired(instance.boot)

    def retire(self, instance: Instance) -> None:
        """Note that ``instance`` has handed over, for all its lives in this boot."""
        names = [name for name in self._retired(instance.boot) if name != instance.name]
        self._write("retired.json", {"boot": instance.boot, "names": [*names, instance.name][-_RETIRED:]})

    def _retired(self, boot: str) -> list[str]:
        found = self._read("retired.json")
        names = found.get("names") if found.get("boot") == boot else None
        return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []

    # What was quoted with

    def quoting(self, boot: str) -> tuple[Quoting, ...]:
        """The quoting enclaves that were named to clients in this ``boot``, the latest last."""
        found = self._read("quoting.json")
        entries = found.get("enclaves") if found.get("boot") == boot else None
        known = map(_quoting, entries) if isinstance(entries, list) else ()
        return tuple(entry for entry in known if entry is not None)

    def note_quoting(self, boot: str, present: Quoting, until: float) -> None:
        """Note that clients are named ``present`` from now on, and that others must be run until ``until``."""
        known = [entry for entry in self.quoting(boot) if entry.target_info != present.target_info]
        former = [entry if entry.until is not None else entry._replace(until=until) for entry in known]
        entries = [*former, present._replace(until=None)][-_QUOTING:]
        self._write("quoting.json", {"boot": boot, "enclaves": [entry._asdict() for entry in entries]})

    def _read(self, file: str) -> dict[str, Any]:
        try:
            with open(self.name(file), encoding="utf-8") as stream:  # noqa: PTH123  pathlib costs 5 ms
                document = json.loads(stream.read(_FILE_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            self._log.warning("private file not readable", file=self.name(file), reason=error, consequence="left aside")
            return {}
        return document if isinstance(document, dict) else {}

    def _write(self, file: str, document: dict[str, Any]) -> None:
        draft = self.name(f"{file}.{os.urandom(4).hex()}.draft")  # in containers two instances can have one pid
        try:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w", encoding="utf-8") as stream:
                json.dump(document, stream)
            os.rename(draft, self.name(file))  # noqa: PTH104  as above
        except OSError as error:
            self._log.error(
                "private file not written",
                file=self.name(file),
                reason=error.strerror,
                remedy="make room on the file system of the private directory",
            )


def boot_seconds() -> float:
    """Seconds since the boot: one clock for all containers of a node."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _instance(document: dict[str, Any]) -> Instance | None:
    name, boot, started = document.get("name"), document.get("boot"), document.get("started")
    if isinstance(name, str) and isinstance(boot, str) and isinstance(started, float):
        return Instance(name, boot, started)
    return None


def _quoting(entry: object) -> Quoting | None:
    match entry:
        case {"target_info": str(target_info), "reopen": dict(reopen), "until": None | int() | float() as until}:
            return Quoting(target_info, reopen, until)
    return None
