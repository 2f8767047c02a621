"""Listening sockets that systemd has opened, and goes on holding. Shell.

Source: sd_listen_fds(3), systemd.socket(5). ``LISTEN_FDS`` descriptors from 3 on are for the process ``LISTEN_PID``.
They outlive this daemon: while it is restarted clients wait in their backlog, and it neither shuts them down nor
removes their path.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from quotehelper.aesm.transport import ABSTRACT_NAME, display_address
from quotehelper.errors import ConfigError
from quotehelper.node.inode import inode
from quotehelper.node.listener import MOST_SOCKETS, adopt, claim, is_abstract

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from quotehelper.node.config import SocketSettings
    from quotehelper.node.listener import Listener
    from quotehelper.node.log import Log

FIRST_DESCRIPTOR = 3
PID_VARIABLE, COUNT_VARIABLE, NAMES_VARIABLE = "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"

_UNIT = "See deploy/systemd/quotehelper.socket for one that fits"


def inherit(environment: MutableMapping[str, str]) -> tuple[socket.socket, ...]:
    """The sockets that are for this process; none if it was started by hand. The variables go, for nobody else.

    Raises ConfigError unless all are listening Unix stream sockets.
    """
    pid, count = environment.pop(PID_VARIABLE, ""), environment.pop(COUNT_VARIABLE, "")
    environment.pop(NAMES_VARIABLE, None)
    if pid != str(os.getpid()):
        return ()
    if not (count.isascii() and count.isdecimal() and 0 <= int(count) <= MOST_SOCKETS):
        raise ConfigError(f"{COUNT_VARIABLE} is {count[:20]!r}, not a number from 0 to {MOST_SOCKETS}", _UNIT)
    return tuple(_listening(fd) for fd in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count)))


def adopt_or_claim(settings: SocketSettings, inherited: tuple[socket.socket, ...], log: Log) -> Listener:
    """Go on with what was ``inherited``; if that is nothing, get the path as ``listener.claim`` does.

    Raises ConfigError as that does, and if clients would not find what was inherited.
    """
    if not inherited:
        return claim(settings, log)
    at_path = [listening for listening in inherited if _is_at(listening, settings.path)]
    abstract = [listening for listening in inherited if listening.getsockname() == ABSTRACT_NAME]
    foreign = [listening for listening in inherited if listening not in at_path and listening not in abstract]
    if foreign or not at_path:
        names = ", ".join(display_address(listening.getsockname()) for listening in foreign or inherited)
        raise ConfigError(
            f"systemd has opened {names}, but clients look at {settings.path}",
            f"Let ListenStream= and --socket name the same path, and nothing else. {_UNIT}",
        )
    return adopt(settings, (*at_path, *abstract), inode(settings.path), log, is_lent=True)


def refuse(inherited: tuple[socket.socket, ...]) -> None:
    """Raise ConfigError if anything was inherited by an instance that is to get its sockets from another one."""
    if inherited:
        raise ConfigError(
            "Sockets by systemd and --take-over exclude each other: both say where the listening sockets come from",
            "Stop the .socket unit, or do without --take-over: with the unit no client is refused during a restart",
        )


def _listening(fd: int) -> socket.socket:
    try:
        os.set_inheritable(fd, False)  # noqa: FBT003  that is how it is called
        found = socket.socket(fileno=fd)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ConfigError(f"Descriptor {fd} of systemd is no socket: {error.strerror}", _UNIT) from error
    if (found.family, found.type) != (socket.AF_UNIX, socket.SOCK_STREAM) or not listens:
        raise ConfigError(
            f"Descriptor {fd} of systemd is no listening Unix stream socket",
            f"Use ListenStream= with a path, and Accept=no. {_UNIT}",
        )
    found.settimeout(0)
    return found


def _is_at(listening: socket.socket, path: str) -> bool:
    """Whether ``path``, which may lead over a link such as /var/run, is where ``listening`` was bound."""
    if is_abstract(listening):
        return False
    found = inode(listening.getsockname())
    return found is not None and found == inode(path)
