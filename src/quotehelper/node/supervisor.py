"""The supervisor: holds the listening sockets, keeps serving processes alive, and outlives them. Shell.

It has no threads, loads no platform and parses no client's byte, so there is little that could bring it down. A
serving process that dies is replaced; clients wait in the sockets' backlog meanwhile instead of being refused.

An instance goes through these stages::

    candidate  serves a socket in the private directory only, and is examined there (with ``--take-over``)
    serving    has the path, by claim or by hand-over
    retired    has handed over: stays alive, so that nothing restarts it, and serves nobody
    ending     was told to end, and answers what is in flight
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from typing import TYPE_CHECKING

from quotehelper.errors import ConfigError, QuoteHelperError
from quotehelper.node import handover
from quotehelper.node.activation import adopt_or_claim, inherit, refuse
from quotehelper.node.config import encode_settings
from quotehelper.node.crew import Crew
from quotehelper.node.descriptors import raise_descriptor_limit
from quotehelper.node.events import Events, Signals
from quotehelper.node.handover import Giver, HandoverFailed, Refused
from quotehelper.node.keeping import Kept, keep
from quotehelper.node.listener import Listener, adopt, claim, owner_of, take_over
from quotehelper.node.log import Log
from quotehelper.node.private_directory import Instance, PrivateDirectory, Quoting, boot_seconds
from quotehelper.node.proving import Proving, listen_as_candidate
from quotehelper.node.stage import Stage
from quotehelper.node.upkeep import Upkeep

if TYPE_CHECKING:
    import socket

    from quotehelper.node.config import Reloadable, Settings
    from quotehelper.node.proving import Verdict

_HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
GRACE_S = 2.0
"""Seconds beyond ``limits.drain_s`` until serving processes that don't end are killed."""
LOOK_S = 0.2
"""Seconds between two looks whether the path still leads here."""
LISTEN_S = 1.0
"""Seconds that serving processes have for listening to other sockets; a batch of quotes takes some milliseconds."""
RELIEVE_TRIES = 3
"""How often an instance whose patience was at an end is asked again."""
LOCK_S = 30.0
"""Seconds that another instance may take to publish itself."""

_END_IT = "Nothing: end this process when it suits you"
EXIT_DONE, EXIT_REFUSED = 0, 1


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code.

    Raises ConfigError if the settings, the path or the platform's state can't be used; nothing is left behind then.
    """
    reloadable = settings.reloadable()
    log = Log(reloadable.log)
    raise_descriptor_limit()
    return Supervisor(settings, reloadable, log).run()


class Supervisor:
    """One instance of the daemon, from its start to its end."""

    def __init__(self, settings: Settings, reloadable: Reloadable, log: Log) -> None:
        self._settings = settings
        self._limits = reloadable.limits
        self._log = log
        self._stage = Stage.CANDIDATE
        self._inherited = inherit(os.environ)  # before any process starts that could inherit them, too
        self._instance = Instance.new(settings.instance)
        self._private = None if settings.private_dir is None else PrivateDirectory(settings.private_dir, log)
        self._events = Events()
        self._signals = Signals(_HEEDED, self._events, self._heed_signal)
        self._upkeep = Upkeep(settings, self._events, log, lambda: (self._stage, self._limits), self._reload)
        self._crew = Crew(
            settings,
            self._events,
            self._signals,
            log,
            self._upkeep.companions,
            on_ready=self._heed_ready,
            private=self._private_descriptors,
        )
        self._listener: Listener | None = None
        self._giver: Giver | None = None
        self._candidate: socket.socket | None = None
        self._quoting: Quoting | None = None
        self._proving: Proving | None = None
        self._announced = False
        self._exit_code = EXIT_DONE

    def run(self) -> int:
        """Go through the stages until the last serving process has ended."""
        try:
            self._begin()
            while self._stage is not Stage.ENDING or len(self._crew):
                self._events.wait()
            self._log.info("ended", socket=self._settings.socket.path)
            return self._exit_code
        finally:
            self._crew.signal(signal.SIGKILL)
            self._give_up()
            self._upkeep.close()
            self._signals.close()

    def _begin(self) -> None:
        self._upkeep.begin()
        if self._private is not None and self._private.is_retired(self._instance):
            self._stage = Stage.RETIRED
            self._log.announce("retired", reason="this instance has handed over earlier in this boot")
            self._upkeep.tell_ready("retired: has handed over earlier in this boot")
        elif self._private is not None and self._settings.take_over:
            refuse(self._inherited)
            self._candidate = listen_as_candidate(self._private, LOCK_S)
            self._crew.start((self._candidate,))
        else:
            self._claim()
            self._crew.start(self.sockets())

    def _claim(self) -> None:
        """Serve at once, at a path that nobody else serves. Raises ConfigError."""
        private = self._private
        with contextlib.nullcontext() if private is None else private.locked(LOCK_S):
            self._serve(adopt_or_claim(self._settings.socket, self._inherited, self._log))
            if private is not None:
                private.set_owner(self._instance)
                self._open_giver(private)

    # From candidate to serving

    def _heed_ready(self, quoting: bytes) -> None:
        """A serving process is ready, or has reloaded; ``quoting``: what it quotes with."""
        self._upkeep.heed_ready()
        said = json.loads(quoting)
        self._quoting = said and Quoting(**said)
        if self._stage is Stage.CANDIDATE and self._crew.complete and self._proving is None:
            self._prove()
        self._heed_serving()

    def _heed_serving(self) -> None:
        if self._stage is Stage.SERVING:
            self._note_quoting()
            if self._crew.complete and not self._announced:
                self._announced = True
                self._announce()

    def _prove(self) -> None:
        """Be examined, unless nobody serves: then nobody could be hurt, and nobody served in the meantime."""
        path = self._settings.socket.path
        if self._candidate is None or owner_of(path) is None:
            self._take_over()
            return
        candidate = self._candidate.getsockname()
        self._proving = Proving(encode_settings(self._settings), candidate, path, self._events, self._heed_verdict)

    def _heed_verdict(self, verdict: Verdict) -> None:
        """Take over if nothing speaks against it; else end, and leave the instance that serves in its place."""
        for told in verdict.warnings:
            self._log.warning("doubt before publishing", reason=told.reason, remedy=told.remedy)
        for told in verdict.blocking:
            self._log.error("not published", reason=told.reason, remedy=told.remedy)
        if not verdict.blocking:
            self._take_over()
            self._heed_serving()
            return
        self._exit_code = EXIT_REFUSED
        self._end("it must not be published")

    def _take_over(self) -> None:
        """Become the instance that serves. Raises ConfigError if the path can't be had."""
        private = self._private
        if private is None:
            return
        with private.locked(LOCK_S):
            taking = self._ask_for_sockets(private)
            if isinstance(taking, Refused):
                self._retire(f"the serving instance did not hand over: {taking.reason}", taking.remedy)
                return
            self._serve(self._obtain(private, taking))
            self._listen(self.sockets())
            self._relieve(private, taking)
            self._open_giver(private)
        self._close_candidate()

    def _relieve(self, private: PrivateDirectory, taking: handover.Taking | Refused | None) -> None:
        """Tell the instance that gave the sockets to serve no more. If it has given us up meanwhile, ask again."""
        for _ in range(RELIEVE_TRIES):
            if not isinstance(taking, handover.Taking) or taking.commit():
                return
            taking = self._ask_for_sockets(private)
            private.set_owner(self._instance)  # who goes on serving has noted that

    def _listen(self, sockets: tuple[socket.socket, ...]) -> None:
        self._crew.listen(sockets)
        if not self._crew.await_listening(LISTEN_S):
            self._log.warning("serving processes are slow to listen", consequence="clients wait for them")

    def _obtain(self, private: PrivateDirectory, taking: handover.Taking | None) -> Listener:
        """The sockets, given or made. Raises ConfigError."""
        former = private.owner()
        private.set_owner(self._instance)  # first, so that nobody who sees the path change takes it back
        if taking is not None:
            return adopt(self._settings.socket, taking.sockets, taking.inode, self._log)
        try:
            take = claim if owner_of(self._settings.socket.path) is None else take_over
            return take(self._settings.socket, self._log)
        except ConfigError:
            if former is not None:
                private.set_owner(former)
            raise

    def _ask_for_sockets(self, private: PrivateDirectory) -> handover.Taking | Refused | None:
        """What the serving instance says; None if there is none that could hand over."""
        owner = private.owner()
        if owner not in {None, self._instance} and not self._instance.is_later_than(owner):
            return Refused("a later instance serves", "Nothing: this one stays passive")
        try:
            return handover.take(private.name(handover.SOCKET_NAME), self._instance)
        except HandoverFailed as failure:
            self._log.warning(
                "no hand-over", reason=failure, consequence="the path is taken over; who has mounted its file loses it"
            )
            return None

    def _serve(self, listener: Listener) -> None:
        """Be the instance that serves, with ``listener``."""
        self._stage = Stage.SERVING
        self._listener = listener
        self._events.after("path", LOOK_S, self._look_at_path)

    def _open_giver(self, private: PrivateDirectory) -> None:
        """Can be asked to hand over from now on. If not, it serves all the same."""
        try:
            self._giver = Giver(private.name(handover.SOCKET_NAME), self._instance, self, self._events, self._log)
        except ConfigError as error:
            self._log.error("hand-over not offered", reason=error.problem, remedy=error.remedy)

    def _announce(self) -> None:
        if self._listener is not None:
            self._log.announce(
                "ready",
                socket=self._listener.path,
                abstract=self._listener.has_abstract,
                platform=self._settings.platform,
                processes=self._settings.processes,
            )
            self._upkeep.tell_ready(f"serving {self._listener.path}, platform {self._settings.platform}")

    def _note_quoting(self) -> None:
        if self._private is not None and self._quoting is not None:
            self._private.note_quoting(self._instance.boot, self._quoting, boot_seconds() + self._limits.overlap_s)

    # Serving: what the hand-over needs (handover.Offer), and the path

    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets: those of serving processes, and of a later instance."""
        return () if self._listener is None else self._listener.sockets

    def pause(self) -> tuple[int, int] | None:
        """Accept nobody while the later instance takes over; clients wait in the backlog."""
        self._listen(())
        return None if self._listener is None else self._listener.published

    def resume(self) -> None:
        """Go on serving: the later instance did not take over."""
        self._crew.listen(self.sockets())
        if self._private is not None:
            self._private.set_owner(self._instance)

    def retire(self, successor: Instance) -> None:
        """Serve no new client: ``successor`` has the sockets."""
        self._retire(f"instance {successor.name} serves now", _END_IT)

    def _retire(self, reason: str, remedy: str) -> None:
        """Answer what is in flight, then do nothing until told to end; never take the path again."""
        self._stage = Stage.RETIRED
        if self._private is not None:
            self._private.retire(self._instance)
        self._events.cancel("path")
        if self._listener is not None:
            self._listener.leave()
            self._listener = None
        self._close_giver()
        self._close_candidate()
        self._crew.end()
        self._kill_later()
        self._log.announce("retired", reason=reason, remedy=remedy)
        self._upkeep.tell_ready(f"retired: {reason}")

    def _look_at_path(self) -> None:
        """See to it that the path leads here, unless a later instance has taken it."""
        self._events.after("path", LOOK_S, self._look_at_path)
        listener = self._listener
        if listener is None:
            return
        owner = None if listener.holds_path() or self._private is None else self._private.owner()
        if owner is not None and owner != self._instance and owner.is_later_than(self._instance):
            self._retire(f"instance {owner.name} has taken the path over", _END_IT)
            return
        kept = keep(listener, self._log, may_fight=self._private is not None)
        if kept is Kept.PUBLISHED:
            self._crew.listen(self.sockets())
        elif kept is Kept.LEFT:
            self._events.cancel("path")

    # Events

    def _heed_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGCHLD:
            self._crew.reap()
        elif number is signal.SIGHUP:
            self._reload()
        elif self._stage is not Stage.ENDING:
            self._end(number.name)

    def _end(self, reason: str) -> None:
        """Answer what is in flight, and end."""
        self._log.info("ending", reason=reason, drain_s=self._limits.drain_s)
        self._upkeep.notifier.stopping(f"ending: {reason}")
        if self._proving is not None:
            self._proving.end()
        self._stage = Stage.ENDING
        self._events.forget_moments()
        self._upkeep.end()
        self._give_up()
        self._crew.end()
        self._kill_later()

    def _kill_later(self) -> None:
        self._events.after("kill", self._limits.drain_s + GRACE_S, self._kill)

    def _kill(self) -> None:
        if killed := self._crew.kill():
            self._log.warning("killing processes that did not end", processes=killed)

    def _reload(self) -> None:
        """Read the settings anew, and let the serving processes do so; what is in flight goes on."""
        try:
            reloadable = self._settings.reloadable()
        except QuoteHelperError as error:
            self._log.error("not reloaded", reason=error, consequence="the settings in force stay")
            return
        self._upkeep.tell_reloading()
        self._log.settings, self._limits = reloadable.log, reloadable.limits
        self._crew.signal(signal.SIGHUP)

    # Sockets

    def _private_descriptors(self) -> tuple[int, ...]:
        """What no serving process may keep: whoever has the hand-over socket could answer there."""
        proving = () if self._proving is None or self._proving.descriptor is None else (self._proving.descriptor,)
        giving = () if self._giver is None else self._giver.descriptors()
        return (*proving, *giving, *self._upkeep.descriptors())

    def _give_up(self) -> None:
        """Let nobody connect any more, and remove what is ours."""
        if self._listener is not None:
            self._give_path_up(self._listener)
            self._listener = None
        self._close_giver()
        self._close_candidate()

    def _give_path_up(self, listener: Listener) -> None:
        """Remove the path and refuse further clients, unless another instance, or systemd, goes on with both."""
        if listener.is_lent:
            self.pause()
        if self._private is None:
            listener.release()
            return
        try:
            with self._private.locked(0.0):
                listener.release()
        except ConfigError:
            listener.leave()

    def _close_giver(self) -> None:
        if self._giver is not None:
            self._giver.close()
            self._giver = None

    def _close_candidate(self) -> None:
        if self._candidate is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._candidate.getsockname())  # noqa: PTH108  pathlib costs 5 ms
            self._candidate.close()
            self._candidate = None
