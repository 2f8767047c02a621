"""What the kernel tells of a process: environment, mapped files, open devices. Shell (reads /proc).

Of the environment one variable is looked at; nothing else of it is kept. Files and links are the process's own doing:
names from them are data.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from quotehelper.doctor.quoting_mode import AESM_VARIABLE, SocketState, Workload
from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENVIRONMENT_LIMIT_BYTES = 4 << 20
_MAPS_LIMIT_BYTES = 64 << 20
"""The kernel allows 65,530 mappings by default, of about 100 bytes each."""
_DEVICE = re.compile(r"/(sgx_(enclave|provision|vepc)|sgx/(enclave|provision)|isgx)$")
_DELETED = " (deleted)"


def read_workload(pid: int) -> Workload:
    """What is seen of process ``pid``. Raises ConfigError if there is none, or it may not be looked at."""
    process = Path("/proc") / str(pid)
    try:
        executable = _link(process / "exe")
        variable = _variable(_read(process / "environ", _ENVIRONMENT_LIMIT_BYTES))
        files = frozenset(_mapped(process / "maps"))
        opened = frozenset(_opened(process / "fd"))
    except (FileNotFoundError, ProcessLookupError) as error:
        raise ConfigError(f"there is no process {pid}", "Name one that runs, as `ps` shows it") from error
    except PermissionError as error:
        raise ConfigError(
            f"process {pid} may not be looked at: {error.strerror}", "Run as its user or as root, on its node"
        ) from error
    devices = frozenset(path for path in files | opened if _DEVICE.search(path))
    return Workload(executable, variable, files, devices, socket_state(process / "root"))


def _variable(environment: bytes) -> str | None:
    """The AESM variable's value in the block that the process was started with; the first of a name counts."""
    name = AESM_VARIABLE.encode() + b"="
    found = next((entry for entry in environment.split(b"\0") if entry.startswith(name)), None)
    return None if found is None else found[len(name) :].decode(errors="backslashreplace")


def _mapped(maps: Path) -> Iterator[str]:
    """Paths in ``maps``: the sixth field of each line."""
    for line in _read(maps, _MAPS_LIMIT_BYTES).splitlines():
        fields = line.split(None, 5)
        if fields[5:] and fields[5].startswith(b"/"):
            yield os.fsdecode(fields[5]).removesuffix(_DELETED)


def _opened(descriptors: Path) -> Iterator[str]:
    """Paths of open files; descriptors that are closed meanwhile are passed over."""
    with os.scandir(descriptors) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                yield _link(Path(entry.path))


def _read(path: Path, limit_bytes: int) -> bytes:
    with path.open("rb") as file:
        return file.read(limit_bytes)


def _link(path: Path) -> str:
    return os.readlink(path).removesuffix(_DELETED)  # noqa: PTH115  a text such as socket:[7] is no path


def socket_state(root: Path) -> SocketState:
    """What is at the AESM socket's path below ``root``, the process's own root directory.

    /var/run is a link to /run nearly everywhere; the kernel would follow it from *our* root.
    """
    directory = root / "run" if (root / "var/run").is_symlink() else root / "var/run"
    try:
        mode = (directory / "aesmd/aesm.socket").stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return SocketState.MISSING
    except OSError:
        return SocketState.UNKNOWN
    return SocketState.THERE if stat.S_ISSOCK(mode) else SocketState.NO_SOCKET
