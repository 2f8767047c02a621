"""What the specification prescribes as answers, and many exchanges at once."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING

import frames
from quotehelper.sgx.quote import read_quote

if TYPE_CHECKING:
    from harness import Daemon

KNOWN = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22}
STATUSES = {
    **{field: {1, 30} for field in KNOWN},
    14: {1, 3, 30},
    15: {0, 1, 3, 38},
    16: {0, 1, 3, 38},
    17: {0, 1, 3, 38, 47, 49},
    19: {0, 1, 3, 38},
    21: {0, 1},
    22: {0, 1, 3},
}
"""What each request may be answered with (aesm 2.4, 4, 9)."""


def is_prescribed(request: bytes, answer: bytes) -> bool:
    """Whether ``answer`` is in kind: of a known field, with a status of that field, a quote over the given report."""
    envelope, answered = frames.reply(answer)
    if envelope not in KNOWN or answered[1] not in STATUSES[envelope]:
        return False
    if envelope != 17 or answered[1] != 0:
        size = int.from_bytes(request[:4], "little")
        return envelope in frames.numbers(request[4 : 4 + size])
    assert isinstance(answered[2], bytes)
    return read_quote(answered[2]).body.raw in request


def exchange_all(daemon: Daemon, requests: list[bytes]) -> list[bytes]:
    """Each request on a connection of its own, all at once; each is shut down behind its request."""
    poller = select.poll()
    clients: dict[int, tuple[int, socket.socket]] = {}
    answers = [b""] * len(requests)
    for number, request in enumerate(requests):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(daemon.path))
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        clients[client.fileno()] = number, client
        poller.register(client, select.POLLIN)
    while clients:
        events = poller.poll(60_000)
        assert events, "the daemon hangs"
        for fd, _ in events:
            number, client = clients[fd]
            try:
                data = client.recv(1 << 17)
            except ConnectionResetError:
                data = b""
            answers[number] += data
            if not data:
                poller.unregister(fd)
                client.close()
                del clients[fd]
    return answers
