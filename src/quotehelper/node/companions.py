"""The processes beside the serving ones: platform workers and the control process. Shell.

Exec'ed, not forked: each begins with an empty memory and the descriptors it is meant to have. One that dies is
replaced; the channel between a serving process and its worker outlives both, as the supervisor has its two ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import ConfigError
from quotehelper.node.config import encode_settings
from quotehelper.node.counters import ServingCount, Supervision
from quotehelper.node.leash import Leash, Word, make_leash

if TYPE_CHECKING:
    from quotehelper.node.config import Settings
    from quotehelper.node.counters import Counters, Row, ServingCounts
    from quotehelper.node.events import Events
    from quotehelper.node.log import Log

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
"""Seconds before one that died is replaced; doubled each time it dies without having become ready."""

GRACE_S = 2.0
"""Seconds that one has for ending when it is told to."""

UNWANTED_VARIABLE = "SGX_AESM_ADDR"
"""Makes Intel's library ask an AESM service instead of quoting itself (aesm 1.9)."""

SHORT = "The machine is short of processes, descriptors or memory: see its log, and the limits of the service"
"""What to do when no process can be started."""


class Channel(NamedTuple):
    """The two ends of what a serving process and its platform worker talk through."""

    serving: socket.socket
    worker: socket.socket


class Place(NamedTuple):
    """What a serving process is given: its row of the counters, and its end of the channel if it has a worker.

    ``platform_row`` is the worker's; without one it is the serving process that has the platform, and counts there.
    """

    counts: ServingCounts
    channel: socket.socket | None
    platform_row: Row


class Post:
    """A companion's place: how to start one, and the one that is there. ``pid`` is 0 while there is none."""

    def __init__(
        self, title: str, module: str, arguments: tuple[str, ...], descriptors: tuple[int, ...], restarts: Supervision
    ) -> None:
        self.title = title
        self.module = module
        self.arguments = arguments
        self.descriptors = descriptors
        self.restarts = restarts
        self.pid = 0
        self.leash: Leash | None = None
        self.ready = False
        self.wanted = True
        self.pause = FIRST_PAUSE_S
        self.started_ns = 0


class Companions:
    """Keeps the companions that ``settings`` want alive."""

    def __init__(self, settings: Settings, events: Events, log: Log, counters: Counters) -> None:
        self._settings = settings
        self._events = events
        self._log = log
        self._counters = counters
        self._were_ready = False
        slots = range(settings.processes if settings.has_workers else 0)
        self._channels = tuple(Channel(*socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)) for _ in slots)
        self._workers = tuple(self._worker_post(slot) for slot in slots)
        self._control: Post | None = None
        self._descriptors: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Companions alive."""
        return sum(post.pid > 0 for post in self._posts())

    def worker_pids(self) -> list[int]:
        """The process ids of the platform workers alive."""
        return [post.pid for post in self._workers if post.pid]

    def place(self, slot: int) -> Place:
        """What the serving process in ``slot`` is given."""
        channel = self._channels[slot].serving if self._channels else None
        return Place(self._counters.serving[slot], channel, self._counters.workers[slot])

    def mourn(self, slot: int) -> None:
        """Count that the serving process in ``slot`` has died."""
        self._counters.clear_gauges(slot)
        self._counters.supervisor[Supervision.SERVING_RESTARTS] += 1

    def descriptors(self, slot: int) -> tuple[int, ...]:
        """What a process forked for ``slot`` must close: it is not meant to have it."""
        foreign = [end for at, channel in enumerate(self._channels) for end in channel[at == slot :]]
        leashes = [post.leash.fileno() for post in self._posts() if post.leash is not None]
        return (*(end.fileno() for end in foreign), *leashes, *self._descriptors)

    def start_workers(self) -> None:
        """Start the platform workers."""
        for post in self._workers:
            self._start(post)

    def start_control(self, listening: socket.socket) -> None:
        """Start the control process, which answers at ``listening``."""
        settings = encode_settings(self._settings)
        descriptors = (self._counters.descriptor, listening.fileno())
        self._descriptors = (listening.fileno(),)
        self._control = Post(
            "control process", "quotehelper.node.control", (settings,), descriptors, Supervision.CONTROL_RESTARTS
        )
        self._start(self._control)

    def watch(self, patience_s: float) -> None:
        """Kill each worker that has owed an answer for more than ``patience_s`` seconds and given none."""
        now = time.monotonic_ns()
        for slot, post in enumerate(self._workers):
            silent_since = self._counters.serving[slot].get(ServingCount.WORKER_SILENT_SINCE_NS)
            silent_s = (now - max(silent_since, post.started_ns)) / 1e9
            if not post.pid or not silent_since or silent_s <= patience_s:
                continue
            self._log.error(
                "platform worker does not answer",
                pid=post.pid,
                silent_s=round(silent_s, 1),
                consequence="it is killed and replaced",
                remedy="raise limits.platform_s if the platform may take that long",
            )
            self._counters.supervisor[Supervision.WORKERS_KILLED] += 1
            os.kill(post.pid, signal.SIGKILL)
            post.started_ns = now  # once is enough

    def reap(self) -> None:
        """Bury whoever has died, and see to a successor."""
        for post in self._posts():
            if post.pid:
                ended, status = os.waitpid(post.pid, os.WNOHANG)
                if ended:
                    self._bury(post, os.waitstatus_to_exitcode(status))

    def end_workers(self) -> None:
        """Tell the platform workers to end; only when no serving process needs them any more."""
        self._dismiss(*self._workers)

    def end_control(self) -> None:
        """Tell the control process to end; there is none any more."""
        if self._control is not None:
            self._dismiss(self._control)

    def _dismiss(self, *posts: Post) -> None:
        for post in posts:
            post.wanted = False
            self._events.cancel(("companion", post.title))
            if post.pid:
                os.kill(post.pid, signal.SIGTERM)
                self._events.after(("companion", post.title), GRACE_S, partial(_kill, post))

    def signal(self, number: signal.Signals) -> None:
        """Send ``number`` to all."""
        for post in self._posts():
            if post.pid:
                os.kill(post.pid, number)

    def _posts(self) -> tuple[Post, ...]:
        return self._workers if self._control is None else (*self._workers, self._control)

    def _worker_post(self, slot: int) -> Post:
        descriptors = (self._channels[slot].worker.fileno(), self._counters.descriptor)
        arguments = (encode_settings(self._settings), str(slot))
        module = "quotehelper.node.worker_process"
        return Post(f"platform worker {slot}", module, arguments, descriptors, Supervision.WORKER_RESTARTS)

    def _start(self, post: Post) -> None:
        """Start a companion, with SIGHUP blocked: it would end who can't heed it yet."""
        ours, theirs = make_leash()
        descriptors = (*post.descriptors, theirs.fileno())
        command = [sys.executable, "-P", "-m", post.module, *post.arguments, *map(str, descriptors)]
        environment = {name: value for name, value in os.environ.items() if name != UNWANTED_VARIABLE}
        for fd in descriptors:
            os.set_inheritable(fd, True)  # noqa: FBT003  that is how it is called
        try:
            post.pid = os.posix_spawn(command[0], command, environment, setsigmask=[signal.SIGHUP])
        except OSError as error:
            ours.close()
            self._log.error("companion can't start", process=post.title, reason=error.strerror, remedy=SHORT)
            self._start_later(post)
            return
        finally:
            for fd in descriptors:
                os.set_inheritable(fd, False)  # noqa: FBT003  as above
            theirs.close()
        post.started_ns = time.monotonic_ns()
        post.ready = False
        post.leash = ours
        self._events.watch(ours.fileno(), lambda: self._hear(post))

    def _start_later(self, post: Post) -> float:
        """Start a companion after a pause, which is returned (seconds)."""
        pause = FIRST_PAUSE_S if post.ready else post.pause
        post.pause = min(2 * pause, LONGEST_PAUSE_S)
        self._events.after(("companion", post.title), pause, partial(self._start, post))
        return pause

    def _hear(self, post: Post) -> None:
        """Hear what a companion has to say; at the daemon's start a ConfigError of its ends everything."""
        if (leash := post.leash) is None:
            return
        with contextlib.suppress(BlockingIOError):
            while (message := leash.receive()) is not None:
                if message.word is Word.READY:
                    post.ready = True
                    post.pause = FIRST_PAUSE_S
                    self._were_ready |= all(post.ready for post in self._workers)
                elif message.word is Word.FAILED:
                    self._hear_failure(post, message.content)
            self._events.unwatch(leash.fileno())  # it has gone: SIGCHLD tells the rest

    def _hear_failure(self, post: Post, content: bytes) -> None:
        problem, _, remedy = content.decode(errors="replace").partition("\0")
        if not self._were_ready and post is not self._control:
            raise ConfigError(problem, remedy)
        self._log.error("companion can't start", process=post.title, reason=problem, remedy=remedy)

    def _bury(self, post: Post, code: int) -> None:
        self._hear(post)
        if post.leash is not None:
            self._events.unwatch(post.leash.fileno())
            post.leash.close()
            post.leash = None
        pid, post.pid = post.pid, 0
        if post in self._workers:
            self._counters.forget_worker(self._workers.index(post))
        if not post.wanted:
            self._events.cancel(("companion", post.title))
            return
        self._counters.supervisor[post.restarts] += 1
        pause = self._start_later(post)
        self._log.error(
            "companion ended",
            process=post.title,
            pid=pid,
            cause=f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}",
            consequence=f"a new one starts in {pause:g} s",
        )


def _kill(post: Post) -> None:
    if post.pid:
        os.kill(post.pid, signal.SIGKILL)
