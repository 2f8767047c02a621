"""What a Python process can answer at most, one connection a request: nothing, or quotes without a daemon around.

    python -m benchmarks.empty_server SOCKET REPLY_FILE
    python -m benchmarks.empty_server SOCKET --quote STATE REQUEST_FILE

Accepts a batch, reads each once, writes all answers in a row, closes: the sockets of the serving loop without parsing,
checks, waiting room, deadlines or log. The empty server gives everybody the same reply. With --quote it gives what
the simulated platform makes of the report, which it takes from where REQUEST_FILE has it. Prints "ready" when it
listens.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 32
READ_SIZE = 4096
_REPORT_AT = 11
"""Where a quote request of Intel's client has its report: behind length 4, key 2, length 2, key 1, length 2."""


def serve(path: str, answer: Callable[[bytes], bytes]) -> None:
    """Answer everybody at ``path`` with what ``answer`` makes of the request, for ever."""
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
                asked.append((fd, os.read(fd, READ_SIZE)))
        answers = [(fd, answer(request)) for fd, request in asked]
        for fd, reply in answers:
            os.write(fd, reply)
        for fd, _reply in answers:
            os.close(fd)


def _accept_batch(listener: socket.socket, poller: select.epoll) -> list[tuple[int, bytes]]:
    """The connections of a batch that have asked, and what; those that have not yet are watched."""
    asked = []
    for _ in range(BATCH):
        try:
            fd, _address = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001  as the serving loop does it
        except BlockingIOError:
            break
        os.set_blocking(fd, False)
        try:
            asked.append((fd, os.read(fd, READ_SIZE)))
        except BlockingIOError:
            poller.register(fd, select.EPOLLIN)
    return asked


def quoting(state: Path, request: bytes) -> Callable[[bytes], bytes]:
    """Makes the reply to requests that are like ``request`` but for their report."""
    from quotehelper.aesm.messages import GetQuoteExResponse, encode_response  # noqa: PLC0415  the empty one has none
    from quotehelper.platforms.simulated.state import load  # noqa: PLC0415  likewise
    from quotehelper.sgx.key_id import QE3_KEY_ID  # noqa: PLC0415  likewise
    from quotehelper.sgx.report import Report  # noqa: PLC0415  likewise

    platform = load(state)
    end = _REPORT_AT + Report.SIZE
    quote = platform.quote(Report(request[_REPORT_AT:end]), QE3_KEY_ID).quote
    before = encode_response(GetQuoteExResponse(error_code=0, quote=quote)).removesuffix(quote)
    return lambda asked: before + platform.quote(Report(asked[_REPORT_AT:end]), QE3_KEY_ID).quote


def main(path: str, *rest: str) -> None:
    """Serve as the command line says."""
    if rest[0] == "--quote":
        serve(path, quoting(Path(rest[1]), Path(rest[2]).read_bytes()))
    reply = Path(rest[0]).read_bytes()
    serve(path, lambda _request: reply)


if __name__ == "__main__":
    main(*sys.argv[1:])
