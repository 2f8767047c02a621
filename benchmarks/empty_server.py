"""The empty server: what a Python process can answer at most, one connection a request, if it does nothing else.

    python -m benchmarks.empty_server SOCKET REPLY_FILE

Accepts a batch, reads each once, writes the same reply to all in a row, closes: the sockets of the serving loop
without parsing, waiting room or platform. Ends on SIGTERM. Prints "ready" when it listens.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from pathlib import Path

BATCH = 32
READ_SIZE = 4096


def serve(path: str, reply: bytes) -> None:
    """Answer everybody at ``path`` with ``reply``, for ever."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(4096)
    os.set_blocking(listener.fileno(), False)
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        asked = []
        for fd, _mask in poller.poll():
            if fd == listener.fileno():
                asked += _accept_batch(listener, poller)
            else:
                os.read(fd, READ_SIZE)
                asked.append(fd)
        for fd in asked:
            os.write(fd, reply)
        for fd in asked:
            os.close(fd)


def _accept_batch(listener: socket.socket, poller: select.epoll) -> list[int]:
    """The connections of a batch that have asked; those that have not yet are watched."""
    asked = []
    for _ in range(BATCH):
        try:
            fd, _address = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001  as the serving loop does it
        except BlockingIOError:
            break
        os.set_blocking(fd, False)
        try:
            os.read(fd, READ_SIZE)
        except BlockingIOError:
            poller.register(fd, select.EPOLLIN)
        else:
            asked.append(fd)
    return asked


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]).read_bytes())
