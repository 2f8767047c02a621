"""What the service manager is told: that the daemon is ready, what it is about, that it lives. Shell (the socket).

Source: sd_notify(3). Whoever started the daemon names a socket in ``NOTIFY_SOCKET``; each message is one datagram of
lines ``NAME=VALUE``. Without that variable nothing is told. Nothing of this can hold the daemon up or end it: a
message that can't be delivered at once is dropped, the next one says the same.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

SOCKET_VARIABLE, WATCHDOG_VARIABLE, WATCHDOG_PID_VARIABLE = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
STATUS_CHARACTERS = 200
"""Of a status; `systemctl status` shows one line."""


class Notifier:
    """Tells the service manager at ``address``; nobody if that is empty. ``watched``: it wants to hear of life."""

    def __init__(self, address: str = "", *, watched: bool = False) -> None:
        self._watched = watched
        self._address: str | bytes | None = None
        if address.startswith("@"):
            self._address = b"\0" + os.fsencode(address[1:])
        elif address.startswith("/"):
            self._address = address
        self._socket = None if self._address is None else socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if self._socket is not None:
            self._socket.settimeout(0)

    @classmethod
    def take(cls, environment: MutableMapping[str, str]) -> Notifier:
        """A notifier as ``environment`` says, whose variables go: no process of ours may speak for the daemon."""
        address = environment.pop(SOCKET_VARIABLE, "")
        interval = environment.pop(WATCHDOG_VARIABLE, "")
        pid = environment.pop(WATCHDOG_PID_VARIABLE, "")
        return cls(address, watched=bool(interval) and pid in {"", str(os.getpid())})

    @property
    def descriptor(self) -> int | None:
        """What a forked process must close."""
        return None if self._socket is None else self._socket.fileno()

    def ready(self, status: str) -> None:
        """The daemon has started, or has taken its settings anew; and is about ``status``."""
        self._send("READY=1", _line(status))

    def reloading(self) -> None:
        """Settings are read anew; ``ready`` says the end of it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """The daemon has begun to end."""
        self._send("STOPPING=1", _line(status))

    def beat(self) -> None:
        """The supervisor's loop turns."""
        if self._watched:
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if self._socket is not None and self._address is not None:
            with contextlib.suppress(OSError):  # it is full, or its owner has gone
                self._socket.sendto("\n".join(lines).encode(), self._address)

    def close(self) -> None:
        """Tell nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _line(status: str) -> str:
    """``status`` in one line: what follows a line break would be read as another message."""
    return (
        "STATUS=" + "".join(character if character.isprintable() else "?" for character in status)[:STATUS_CHARACTERS]
    )
