"""A real platform worker as a process, both ends of its channel in the test's hands as they are in the supervisor's."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from harness import DEADLINE_S
from quotehelper.node.config import encode_settings
from quotehelper.node.counters import Counters
from quotehelper.node.leash import Message, make_leash
from quotehelper.platforms.worker.remote import RemotePlatform

if TYPE_CHECKING:
    from typing import Self

    from quotehelper.node.config import Settings


class RealWorker:
    """Starts worker processes of the platform in ``settings``, one after another, on one channel."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.counters = Counters.create(1)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Message:
        """Start a worker; returns the first that it says."""
        ours, theirs = make_leash()
        fds = (self.theirs.fileno(), self.counters.descriptor, theirs.fileno())
        command = [sys.executable, "-m", "quotehelper.node.worker_process", encode_settings(self.settings), "0"]
        self.process = subprocess.Popen([*command, *map(str, fds)], pass_fds=fds)
        theirs.close()
        assert select.select([ours.fileno()], [], [], DEADLINE_S)[0], "it says nothing"
        said = ours.receive()
        ours.close()
        assert said is not None, "it ended without a word"
        return said

    def signal(self, number: signal.Signals) -> None:
        """Send the worker a signal; wait until it has the effect, where that can be seen."""
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait(DEADLINE_S)
        elif number == signal.SIGSTOP:
            os.waitpid(self.process.pid, os.WUNTRACED)

    def platform(self) -> RemotePlatform:
        """The platform behind the worker, which has described itself."""
        remote = RemotePlatform(self.ours)
        assert remote.wait_until_described(patience_s=DEADLINE_S)
        return remote

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
        self.ours.close()
        self.theirs.close()
        os.close(self.counters.descriptor)
