"""The serving processes: forked, told what to listen to, replaced when they die. Shell.

Only the supervisor has a crew, and it has no threads when it forks. A serving process begins with the sockets that
the crew listens to at that moment; later changes reach it by its leash.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from quotehelper.errors import ConfigError
from quotehelper.node.companions import SHORT
from quotehelper.node.leash import Leash, Word, make_leash

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from quotehelper.node.companions import Companions
    from quotehelper.node.config import Settings
    from quotehelper.node.events import Events, Signals
    from quotehelper.node.log import Log

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
"""Seconds before a serving process that died is replaced; doubled each time it dies without having become ready."""

EXIT_CONFIG, EXIT_UNAVAILABLE = 2, 3


class Child:
    """A serving process: its place in the crew, its process id, our end of its leash, and whether it is ready."""

    __slots__ = ("leash", "listening", "number", "pid", "ready")

    def __init__(self, number: int, pid: int, leash: Leash) -> None:
        self.number = number
        self.pid = pid
        self.leash = leash
        self.ready = False
        self.listening = True
        """It listens to what the crew listens to: there is no order that it has not done."""


class Crew:
    """Keeps ``settings.processes`` serving processes alive, all listening to ``sockets``.

    ``on_ready`` is called with what a process says it quotes with, whenever one becomes ready or has reloaded.
    ``private``: descriptors of the supervisor that no serving process may keep. ``companions`` have each its place.
    """

    def __init__(  # noqa: PLR0913  what a fork needs, each by itself
        self,
        settings: Settings,
        events: Events,
        signals: Signals,
        log: Log,
        companions: Companions,
        *,
        on_ready: Callable[[bytes], None],
        private: Callable[[], tuple[int, ...]],
    ) -> None:
        self._settings = settings
        self._events = events
        self._signals = signals
        self._log = log
        self._on_ready = on_ready
        self._private = private
        self._companions = companions
        self._children: dict[int, Child] = {}
        self._pauses = dict.fromkeys(range(settings.processes), FIRST_PAUSE_S)
        self._was_complete = False
        self._ending = False
        self.sockets: tuple[socket.socket, ...] = ()

    def __len__(self) -> int:
        """Processes alive: serving ones and their companions."""
        return len(self._children) + len(self._companions)

    @property
    def complete(self) -> bool:
        """Every serving process is ready."""
        return sum(child.ready for child in self._children.values()) == self._settings.processes

    def start(self, sockets: tuple[socket.socket, ...]) -> None:
        """Start all, listening to ``sockets``."""
        self.sockets = sockets
        self._companions.start_workers()
        for number in range(self._settings.processes):
            self._start(number)

    def listen(self, sockets: tuple[socket.socket, ...]) -> None:
        """Let all listen to ``sockets`` and no others; ``await_listening`` says when they do."""
        self.sockets = sockets
        for child in self._children.values():
            child.listening = False
            child.leash.send(Word.LISTEN, sockets=sockets)

    def await_listening(self, patience_s: float) -> bool:
        """Whether all listen as they were told, waited for at most ``patience_s`` seconds."""
        end = time.monotonic() + patience_s
        while slow := [child for child in self._children.values() if not child.listening]:
            left = end - time.monotonic()
            readable, _, _ = select.select([child.leash for child in slow], [], [], max(0.0, left))
            if not readable:
                return False
            for child in slow:
                self._hear(child)
        return True

    def end(self) -> None:
        """Tell all to answer what is in flight and then to end; none is replaced any more."""
        self._ending = True
        for number in self._pauses:
            self._events.cancel(("start", number))
        for pid in self._children:
            os.kill(pid, signal.SIGTERM)
        self._end_workers()

    def signal(self, number: signal.Signals) -> None:
        """Send ``number`` to all, companions included."""
        for pid in self._children:
            os.kill(pid, number)
        self._companions.signal(number)

    def kill(self) -> int:
        """Kill the serving processes and platform workers that are still there; how many those were."""
        late = [*self._children, *self._companions.worker_pids()]
        for pid in late:
            os.kill(pid, signal.SIGKILL)
        return len(late)

    def reap(self) -> None:
        """Bury whoever has died, and see to a successor."""
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._bury(self._children[pid], os.waitstatus_to_exitcode(status))
        self._companions.reap()
        self._end_workers()

    def _end_workers(self) -> None:
        """End the platform workers as soon as no serving process needs them any more."""
        if self._ending and not self._children:
            self._companions.end_workers()

    def _start(self, number: int) -> None:
        try:
            ours, theirs = make_leash()
        except OSError as error:
            self._start_later(number, error)
            return
        heeded = self._signals.numbers
        signal.pthread_sigmask(signal.SIG_BLOCK, heeded)  # until the child can heed them, none must be lost
        failure = None
        try:
            pid = os.fork()
        except OSError as error:
            pid, failure = -1, error
        if not pid:
            ours.close()
            os._exit(self._become_serving(number, theirs))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, heeded)
        theirs.close()
        if failure is not None:
            ours.close()
            self._start_later(number, failure)
            return
        child = self._children[pid] = Child(number, pid, ours)
        self._events.watch(ours.fileno(), lambda: self._hear(child))

    def _start_later(self, number: int, error: OSError) -> None:
        """The machine is short of something: try again after a pause."""
        self._log.error("serving process can't start", reason=error.strerror, remedy=SHORT)
        self._events.after(("start", number), self._lengthen_pause(number), lambda: self._start(number))

    def _lengthen_pause(self, number: int) -> float:
        """Seconds until a serving process that did not become ready is started again; twice as many the next time."""
        pause = self._pauses[number]
        self._pauses[number] = min(2 * pause, LONGEST_PAUSE_S)
        return pause

    def _become_serving(self, number: int, leash: Leash) -> int:
        """The life of a serving process, from the fork on."""
        signal.set_wakeup_fd(-1)
        self._signals.close_in_child()
        for child in self._children.values():
            child.leash.close()
        for fd in (*self._private(), *self._companions.descriptors(number)):
            os.close(fd)
        from quotehelper.node.process import serve  # noqa: PLC0415  the supervisor itself never needs it

        try:
            serve(self._settings, self.sockets, self._log, leash, self._companions.place(number))
        except ConfigError as error:
            leash.send(Word.FAILED, f"{error.problem}\0{error.remedy}".encode())
            return EXIT_CONFIG
        except BaseException as error:  # noqa: BLE001  the edge of the process: say it, then end
            self._log.error(
                "serving process failed", reason=f"{type(error).__name__}: {error}", remedy="please report this"
            )
            return EXIT_UNAVAILABLE
        return 0

    def _bury(self, child: Child, code: int) -> None:
        self._hear(child)
        self._events.unwatch(child.leash.fileno())
        child.leash.close()
        del self._children[child.pid]
        if self._ending:
            return
        self._companions.mourn(child.number)
        if child.ready:
            self._pauses[child.number] = FIRST_PAUSE_S
        pause = self._lengthen_pause(child.number)
        self._events.after(("start", child.number), pause, lambda: self._start(child.number))
        self._log.error(
            "serving process ended",
            pid=child.pid,
            cause=f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}",
            consequence=f"a new one starts in {pause:g} s, clients wait",
        )

    def _hear(self, child: Child) -> None:
        """Hear all that a serving process has to say; at the daemon's start a ConfigError of its ends everything."""
        with contextlib.suppress(BlockingIOError):
            while (message := child.leash.receive()) is not None:
                if message.word is Word.READY:
                    self._welcome(child, message.content)
                elif message.word is Word.LISTENING:
                    child.listening = True
                elif message.word is Word.FAILED:
                    self._hear_failure(message.content)
            self._events.unwatch(child.leash.fileno())  # it has gone: SIGCHLD tells the rest
            child.listening = True

    def _welcome(self, child: Child, quoting: bytes) -> None:
        child.ready = True
        self._pauses[child.number] = FIRST_PAUSE_S
        self._was_complete |= self.complete
        self._on_ready(quoting)

    def _hear_failure(self, content: bytes) -> None:
        problem, _, remedy = content.decode(errors="replace").partition("\0")
        if not self._was_complete:
            raise ConfigError(problem, remedy)
        self._log.error("serving process can't start", reason=problem, remedy=remedy)
