"""Be told when something appears in a directory or leaves it. Shell.

By the kernel's directory notices (fcntl F_NOTIFY, ``dnotify``): the standard library has no inotify, and all that is
needed is that *something* changed. They are hints and nothing more: whoever gets one looks for himself, and looks from
time to time without one, since a notice is lost when the directory itself is replaced, and some kernels have none.
"""

from __future__ import annotations

import fcntl
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Self

_EVENTS = fcntl.DN_CREATE | fcntl.DN_DELETE | fcntl.DN_RENAME | fcntl.DN_MULTISHOT


class DirectoryWatch:
    """Calls ``tell`` in ``loop`` after entries of ``directories`` came or went. One at a time in a process.

    ``renew`` has to be called from time to time: it follows directories that are new, or have been replaced.
    """

    def __init__(self, directories: Iterable[Path], tell: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self._watched: dict[Path, tuple[int, tuple[int, int]] | None] = dict.fromkeys(directories)
        self._tell = tell
        self._loop = loop

    def __enter__(self) -> Self:
        self._loop.add_signal_handler(signal.SIGIO, self._tell)
        self.renew()
        return self

    def __exit__(self, *_: object) -> None:
        for directory in self._watched:
            self._forget(directory)
        self._loop.remove_signal_handler(signal.SIGIO)
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # one may still be on its way, and would end the process

    @property
    def active(self) -> int:
        """Directories whose changes the kernel announces."""
        return sum(watched is not None for watched in self._watched.values())

    def renew(self) -> None:
        """Watch every directory that is there and not watched yet."""
        for directory, watched in self._watched.items():
            current = _identity(directory)
            if watched is not None and current != watched[1]:
                self._forget(directory)
                watched = None  # noqa: PLW2901  the watch on what was there before is no use
            if watched is None and current is not None:
                self._begin(directory)

    def _begin(self, directory: Path) -> None:
        descriptor = -1
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.fcntl(descriptor, fcntl.F_NOTIFY, _EVENTS)
            found = os.fstat(descriptor)
        except OSError:
            if descriptor >= 0:
                os.close(descriptor)
            return
        self._watched[directory] = descriptor, (found.st_dev, found.st_ino)

    def _forget(self, directory: Path) -> None:
        watched = self._watched[directory]
        if watched is not None:
            os.close(watched[0])
            self._watched[directory] = None


def _identity(directory: Path) -> tuple[int, int] | None:
    try:
        found = directory.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
