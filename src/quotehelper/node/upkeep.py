"""What the supervisor does besides holding sockets. Shell.

It shows that it lives, replaces workers that hang, has metrics told, and tells the service manager.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from quotehelper.errors import ConfigError
from quotehelper.node.companions import Companions
from quotehelper.node.counters import Counters, DaemonState, Supervision
from quotehelper.node.health import HEARTBEAT_S
from quotehelper.node.metrics_address import MetricsListener, parse_metrics_address
from quotehelper.node.notification import Notifier
from quotehelper.node.stage import Stage
from quotehelper.platforms.simulated.state import PLATFORM_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.node.config import Limits, Settings
    from quotehelper.node.events import Events
    from quotehelper.node.log import Log

RETRY_S = 1.0
"""Seconds to the next attempt to have the address for metrics, while the instance that hands over has it."""

FIRST_S = 0.1
"""Seconds between two beats before it serves: who waits for readiness is told soon."""

RELOAD_S = 5.0
"""Seconds after which a reload is told to have ended, should a serving process not have taken the new settings."""

_SOME_HAVE_NOT = "; not all processes have taken the new settings, see the log"

_STATES = {
    Stage.CANDIDATE: DaemonState.STARTING,
    Stage.SERVING: DaemonState.SERVING,
    Stage.RETIRED: DaemonState.RETIRED,
    Stage.ENDING: DaemonState.ENDING,
}
"""How the counters call the stages."""


class Upkeep:
    """The counters, the companions, and what has to be done for both from time to time.

    ``look`` returns the stage of the supervisor and the limits in force; ``reload`` does what SIGHUP does.
    """

    def __init__(
        self,
        settings: Settings,
        events: Events,
        log: Log,
        look: Callable[[], tuple[Stage, Limits]],
        reload: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._events = events
        self._log = log
        self._look = look
        self._reload = reload
        self._state = self._state_now()
        self._counters = Counters.create(settings.processes)
        self.companions = Companions(settings, events, log, self._counters)
        self._metrics: MetricsListener | None = None
        self.notifier = Notifier.take(os.environ)
        self._status = "starting"
        self._reloads_owed = 0

    def descriptors(self) -> tuple[int, ...]:
        """What no serving process may keep: it could speak for the daemon."""
        return () if self.notifier.descriptor is None else (self.notifier.descriptor,)

    # The service manager

    def tell_ready(self, status: str) -> None:
        """Tell that the daemon has become what it is to be: ``status``."""
        self._status = status
        self.notifier.ready(status)

    def tell_reloading(self) -> None:
        """Tell that settings are read anew; the end of it is told when all serving processes have taken them."""
        self.notifier.reloading()
        self._reloads_owed = self._settings.processes
        self._events.after("reload", RELOAD_S, lambda: self._tell_reloaded(_SOME_HAVE_NOT))

    def heed_ready(self) -> None:
        """A serving process has begun, or has reloaded."""
        if self._reloads_owed:
            self._reloads_owed -= 1
            if not self._reloads_owed:
                self._tell_reloaded()

    def _tell_reloaded(self, remark: str = "") -> None:
        self._reloads_owed = 0
        self._events.cancel("reload")
        self.notifier.ready(self._status + remark)

    # Life

    def begin(self) -> None:
        """Begin. Raises ConfigError if the address for metrics can't be had."""
        self._beat()
        if self._settings.metrics is not None:
            self._open_metrics(self._settings.metrics)

    def end(self) -> None:
        """Have no control process any more; go on showing life."""
        self.companions.end_control()
        self._beat()

    def close(self) -> None:
        """Stop answering, and telling."""
        self.notifier.close()
        if self._metrics is not None:
            self._metrics.close()

    def _beat(self) -> None:
        stage, limits = self._look()
        row, state = self._counters.supervisor, _STATES[stage]
        if state != row[Supervision.STATE]:
            took_over = state is DaemonState.SERVING and self._settings.take_over
            row[Supervision.HAND_OVERS] += took_over or state is DaemonState.RETIRED
        self._events.after("heartbeat", FIRST_S if state is DaemonState.STARTING else HEARTBEAT_S, self._beat)
        row[Supervision.HEARTBEAT_NS] = time.monotonic_ns()
        self.notifier.beat()
        row[Supervision.STATE] = state
        self.companions.watch(limits.platform_s)
        self._look_at_state()

    def _look_at_state(self) -> None:
        """Take the simulated platform's state anew if it was replaced: after an update, or a TCB recovery."""
        now = self._state_now()
        if now is None or now == self._state:
            return
        self._state = now
        self._log.info("platform state changed", consequence="it is taken anew, as at SIGHUP")
        self._reload()

    def _state_now(self) -> tuple[int, int, int] | None:
        """What tells one state from another; None if there is none."""
        if self._settings.platform != "simulated":
            return None
        try:
            found = os.stat(f"{self._settings.state}/{PLATFORM_FILE}")  # noqa: PTH116  pathlib costs 5 ms
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns

    def _open_metrics(self, address: str) -> None:
        """Answer at ``address``; when taking over, as soon as the other instance leaves it."""
        try:
            self._metrics = MetricsListener(parse_metrics_address(address))
        except ConfigError as error:
            if not self._settings.take_over:
                raise
            self._log.warning("metrics not served yet", reason=error.problem, remedy=error.remedy)
            self._events.after("metrics", RETRY_S, lambda: self._open_metrics(address))
            return
        self.companions.start_control(self._metrics.socket)
