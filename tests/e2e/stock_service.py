"""A stand-in for Intel's service where it matters to a successor: it ends by removing its socket *by path*.

``python stock_service.py PATH REPLY``: answers each request with the frame in the file REPLY until SIGTERM. It says
"serving" on standard output.
"""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

BACKLOG = 32


def serve(path: Path, reply: bytes) -> None:
    """Serve as Intel's does: remove whatever is at the path, bind, let everybody in, answer one after the other."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o777)
        listening.listen(BACKLOG)
        print("serving", flush=True)  # noqa: T201  tells the test
        while True:
            client, _ = listening.accept()
            with client:
                client.settimeout(1)
                try:
                    if client.recv(4096):
                        client.sendall(reply)
                except OSError:
                    continue


def main(path: Path, reply: bytes) -> None:
    """Serve until SIGTERM."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        path.unlink(missing_ok=True)
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
    serve(path, reply)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]).read_bytes())
