"""Directories of the node, given to the daemon's user before the daemon starts. Shell.

The kubelet makes a hostPath directory as root's, mode 0755. A daemon without rights can't bind its socket in there; and
the private one must be closed to everybody else from the beginning. An init container that is root and has CAP_CHOWN,
and nothing more, puts both right: a directory is taken to root, whose owner may then set the mode, and given away last.
In that container the directories are mount points, which nobody outside can exchange.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PUBLIC_MODE, PRIVATE_MODE = 0o755, 0o700
_OTHERS_WRITE = 0o022


@dataclass(frozen=True, slots=True)
class Owner:
    """The user and the group that the daemon runs as."""

    uid: int
    gid: int


_ROOT = Owner(0, 0)


def give_public(directory: Path, owner: Owner) -> bool:
    """Make ``directory``, which workloads mount, ``owner``'s with mode 0755; whether anything had to change.

    Raises ConfigError if it is not there, is no directory, or this process may not change it.
    """
    with _explained(directory):
        return _give(directory, owner, PUBLIC_MODE)


def give_private(directory: Path, owner: Owner) -> bool:
    """Make ``directory``, which the daemon alone mounts, ``owner``'s with mode 0700; whether anything had to change.

    Raises ConfigError as ``give_public`` does, and if somebody else could have put something there: a hand-over socket
    that is not the daemon's would be asked for the listening sockets. Then it is root's, and closed.
    """
    with _explained(directory):
        found = _look(directory)
        if found.st_uid not in {0, owner.uid} or found.st_mode & _OTHERS_WRITE:
            _give(directory, _ROOT, PRIVATE_MODE)
            if any(directory.iterdir()):
                raise ConfigError(
                    f"{directory} was open to others, or belonged to uid {found.st_uid}, and is not empty",
                    "See on the node what is in it, and empty it; let nobody but the daemon have it",
                )
        return _give(directory, owner, PRIVATE_MODE)


def _give(directory: Path, owner: Owner, mode: int) -> bool:
    found = _look(directory)
    if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (owner.uid, owner.gid, mode):
        return False
    _chown(directory, _ROOT)
    directory.chmod(mode)
    _chown(directory, owner)
    return True


def _chown(directory: Path, owner: Owner) -> None:
    os.chown(directory, owner.uid, owner.gid, follow_symlinks=False)


def _look(directory: Path) -> os.stat_result:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{directory} is not a directory", "Mount the node's directory there (hostPath)")
    return found


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turn what the system says about ``directory`` into a ConfigError."""
    try:
        yield
    except FileNotFoundError:
        raise ConfigError(f"There is no directory {directory}", "Mount the node's directory there (hostPath)") from None
    except PermissionError as error:
        raise ConfigError(
            f"{directory}: {error.strerror}", "Run this as root with CAP_CHOWN (capabilities.add: CHOWN)"
        ) from None
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}", "See that its file system is writable and whole") from None
