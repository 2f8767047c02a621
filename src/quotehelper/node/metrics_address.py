"""Where the control process answers: parse the address, bind it. Shell (the socket).

The supervisor binds it and keeps it: while a control process is replaced, who asks waits instead of being refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import NamedTuple

from quotehelper.errors import ConfigError

BACKLOG = 64
"""Connections that may wait to be accepted."""

_FORMS = "Write HOST:PORT, [IPV6]:PORT, or the path of a Unix socket with a slash in it"
_PORTS = range(1, 65536)


class MetricsAddress(NamedTuple):
    """``host`` and ``port`` of a TCP socket; or, with an empty ``host``, the ``path`` of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""


def parse_metrics_address(text: str) -> MetricsAddress:
    """The address that ``text``, the operator's, means. Raises ConfigError."""
    if "/" in text:
        return MetricsAddress(path=text)
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not bare or not (port.isascii() and port.isdecimal() and int(port) in _PORTS):
        raise ConfigError(f"{text!r} is no address for metrics", _FORMS)
    if (":" in bare) is not (host == f"[{bare}]"):
        raise ConfigError(f"{text!r} is no address for metrics: an IPv6 address stands in brackets", _FORMS)
    return MetricsAddress(bare, int(port))


class MetricsListener:
    """A listening socket at ``address``. Raises ConfigError if it can't be had. Close it with ``close``."""

    def __init__(self, address: MetricsAddress) -> None:
        self._address = address
        self._inode: tuple[int, int] | None = None
        try:
            self.socket = self._listen_at_path() if address.path else _listen_at_port(address)
        except OSError as error:
            raise ConfigError(
                f"Metrics can't be served at {_display(address)}: {error.strerror or error}", _remedy(error)
            ) from error

    def _listen_at_path(self) -> socket.socket:
        path = self._address.path
        _remove_dead(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        umask = os.umask(0o117)
        try:
            listening.bind(path)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        finally:
            os.umask(umask)
        self._inode = _inode(path)
        return listening

    def close(self) -> None:
        """Stop listening; a path goes, if it still is ours."""
        path = self._address.path
        if self._inode is not None and _inode(path) == self._inode:
            os.unlink(path)  # noqa: PTH108  pathlib costs 5 ms
        self._inode = None
        self.socket.close()


def _listen_at_port(address: MetricsAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _name, where = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(where)
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _remove_dead(path: str) -> None:
    """Remove a socket at ``path`` at which nobody listens. Raises OSError, EADDRINUSE, for anything else."""
    found = _inode(path)
    if found is None:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise OSError(errno.EADDRINUSE, "something else is there")
            probe.connect(path)
        except ConnectionRefusedError:
            if _inode(path) == found:
                os.unlink(path)  # noqa: PTH108  pathlib costs 5 ms
            return
        except FileNotFoundError:
            return
    raise OSError(errno.EADDRINUSE, "another process listens there")


def _inode(path: str) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        return found.st_dev, found.st_ino
    return None


def _display(address: MetricsAddress) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return address.path or f"{host}:{address.port}"


def _remedy(error: OSError) -> str:
    remedies = {
        errno.EADDRINUSE: "End whoever has it, or give --metrics another address",
        errno.EADDRNOTAVAIL: "This machine does not have that address: give --metrics one that it has",
        errno.EACCES: "The daemon's user may not: give --metrics a port above 1023, or a directory it may write to",
        errno.ENOENT: "Create the directory first",
    }
    return remedies.get(error.errno or 0, "Give --metrics an address of this machine")
