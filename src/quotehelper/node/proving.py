"""A new instance proves itself before it takes the path over: examined by a process of its own. Shell.

The examination (``quotehelper.conformance.prove``) takes libraries that no process of the daemon carries, so a process
is started for it (`quotehelper.cli.proof`), which writes its `Verdict` to a pipe.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.node.listener import listen_privately, owner_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from quotehelper.node.events import Events
    from quotehelper.node.private_directory import PrivateDirectory

PROOF_S = 60.0
"""Seconds that an examination may take; on the simulated platform it takes one."""

_VERDICT_BYTES = 256 * 1024
_READ_SIZE = 65536


def listen_as_candidate(private: PrivateDirectory, patience_s: float) -> socket.socket:
    """A listening socket in ``private``, for who does not serve yet; what killed instances left there is removed.

    Locked, so that whoever sees a candidate's socket there sees it listen, or dead. Raises ConfigError.
    """
    with private.locked(patience_s):
        private.clear(lambda path: owner_of(path) is None)
        return listen_privately(private.name(f"candidate.{os.urandom(4).hex()}.socket"))


class Told(NamedTuple):
    """One thing that the examination found: in words, and what to do."""

    reason: str
    remedy: str


class Verdict(NamedTuple):
    """What speaks against publishing, and what is only told."""

    blocking: tuple[Told, ...]
    warnings: tuple[Told, ...]


def encode_verdict(verdict: Verdict) -> str:
    """``verdict`` as text that ``parse_verdict`` understands."""
    return json.dumps(verdict)


def parse_verdict(raw: bytes) -> Verdict:
    """The verdict that an examination wrote; one that blocks if it wrote something else, as when it failed."""
    try:
        blocking, warnings = json.loads(raw)
        return Verdict(tuple(Told(*each) for each in blocking), tuple(Told(*each) for each in warnings))
    except (ValueError, TypeError, RecursionError):
        reason = "The examination ended without a verdict"
        return Verdict((Told(reason, "See what it wrote to standard error, just above"),), ())


class Proving:
    """Examines the instance that serves ``candidate``, and calls ``on_verdict`` with what came of it.

    ``settings``: the daemon's, encoded; ``running``: the path of the instance that serves.
    """

    def __init__(
        self, settings: str, candidate: str, running: str, events: Events, on_verdict: Callable[[Verdict], None]
    ) -> None:
        self._events = events
        self._on_verdict = on_verdict
        self._said = b""
        output, output_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._output: int | None = output
        os.set_blocking(output_in, True)
        command = [sys.executable, "-m", "quotehelper.cli.proof", settings, candidate, running]
        self._pid = os.posix_spawn(
            sys.executable,
            command,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, output_in, 1)],
            setsigmask=[],
            setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD],
        )
        os.close(output_in)
        events.watch(output, lambda: self._read(output))
        events.after(self, PROOF_S, self._too_late)

    @property
    def descriptor(self) -> int | None:
        """The pipe's end, which no serving process may keep; None once the examination is over."""
        return self._output

    def end(self) -> None:
        """Leave it at that, if it is not over yet."""
        if self._output is not None:
            self._bury()

    def _read(self, output: int) -> None:
        said = os.read(output, _READ_SIZE)
        self._said += said
        if not said or len(self._said) > _VERDICT_BYTES:
            self._bury()
            self._on_verdict(parse_verdict(self._said))

    def _too_late(self) -> None:
        self.end()
        reason = f"The examination took more than {PROOF_S:g} s"
        self._on_verdict(Verdict((Told(reason, "See whether the platform answers, and the machine's load"),), ()))

    def _bury(self) -> None:
        self._events.cancel(self)
        if self._output is not None:
            self._events.unwatch(self._output)
            os.close(self._output)
            self._output = None
            os.kill(self._pid, signal.SIGKILL)  # it has said all: whatever keeps it is not waited for
            os.waitpid(self._pid, 0)
