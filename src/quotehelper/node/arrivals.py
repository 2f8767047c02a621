"""Connections that wait at a listening socket, taken a batch at a time, each with who made it. Shell."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from quotehelper.node.waiting import Connection

if TYPE_CHECKING:
    import socket

    from quotehelper.node.peers import Peers


def accept(listening: socket.socket, most: int, peers: Peers, now: float) -> tuple[list[Connection], OSError | None]:
    """At most ``most`` connections, of the moment ``now``, and why there are no more: BlockingIOError if none wait.

    Who is calling is settled after the last was accepted: who was known and lives then has made its connection itself.
    """
    connections, reason = [], None
    try:
        for _ in range(most):
            fd, _address = listening._accept()  # type: ignore[attr-defined]  # noqa: SLF001  accept() would build an object of 2 µs
            os.set_blocking(fd, False)
            connections.append(Connection(fd, now, peers.identify(fd)))
    except OSError as error:
        reason = error
    if connections and peers.forget_ended():
        for connection in connections:
            connection.peer = peers.identify(connection.fd)
    return connections, reason
