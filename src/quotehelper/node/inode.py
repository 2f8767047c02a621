"""What stands at a path, and with which permissions. Shell."""

from __future__ import annotations

import os
import stat


def inode(path: str) -> tuple[int, int] | None:
    """Device and inode of what is at ``path``; None if nothing is."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def directory_of(path: str) -> str:
    """The directory that ``path`` is in."""
    return os.path.dirname(path) or "."  # noqa: PTH120  pathlib costs a serving process 5 ms


def mode_of(path: str) -> int | None:
    """The permission bits of what is at ``path``; None if nothing is."""
    try:
        return stat.S_IMODE(os.lstat(path).st_mode)
    except OSError:
        return None


def change_mode(path: str, mode: int, expected: tuple[int, int] | None) -> bool:
    """Give what is at ``path`` a mode, unless it is something else than ``expected``; whether it could be."""
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) != expected:
            return False
        os.chmod(f"/proc/self/fd/{fd}", mode)  # noqa: PTH101  by descriptor: the path may lead elsewhere by now
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
