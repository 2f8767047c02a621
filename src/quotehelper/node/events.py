"""What a single-threaded process waits for: descriptors, signals and moments, each with what is to be done. Shell."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

_SIGNALS_AT_ONCE = 256


class Events:
    """Descriptors to read from and moments to act at. One ``wait`` is one turn of the loop.

    An action may watch, unwatch and postpone anything, itself included.
    """

    def __init__(self) -> None:
        self._poller = select.poll()
        self._actions: dict[int, Callable[[], None]] = {}
        self._moments: dict[Hashable, tuple[float, Callable[[], None]]] = {}

    def watch(self, fd: int, action: Callable[[], None]) -> None:
        """Do ``action`` whenever ``fd`` can be read from or has reached its end."""
        self._actions[fd] = action
        self._poller.register(fd, select.POLLIN)

    def unwatch(self, fd: int) -> None:
        """Look at ``fd`` no more."""
        if self._actions.pop(fd, None) is not None:
            self._poller.unregister(fd)

    def after(self, key: Hashable, seconds: float, action: Callable[[], None]) -> None:
        """Do ``action`` once, in ``seconds``; ``key`` names it: a second one of that name takes its place."""
        self._moments[key] = (time.monotonic() + seconds, action)

    def cancel(self, key: Hashable) -> None:
        """Don't do what ``key`` names."""
        self._moments.pop(key, None)

    def forget_moments(self) -> None:
        """Do nothing any more that waits for a moment."""
        self._moments.clear()

    def wait(self) -> None:
        """Wait for the next event, and do what is due."""
        for fd, _mask in self._poller.poll(self._patience_ms()):
            if (action := self._actions.get(fd)) is not None:
                action()
        now = time.monotonic()
        for key in [key for key, (at, _action) in self._moments.items() if at <= now]:
            if (moment := self._moments.get(key)) is not None and moment[0] <= now:
                del self._moments[key]
                moment[1]()

    def _patience_ms(self) -> int | None:
        if not self._moments:
            return None
        return max(0, int(1000 * (min(at for at, _action in self._moments.values()) - time.monotonic())) + 1)


class Signals:
    """Signals as events: ``heed(number)`` is called for each that arrives, outside of any handler."""

    def __init__(
        self, numbers: Sequence[signal.Signals], events: Events, heed: Callable[[signal.Signals], None]
    ) -> None:
        self.numbers = numbers
        self._heed = heed
        self._events = events
        self._wakeup, self._wakeup_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        self._fd_before = signal.set_wakeup_fd(self._wakeup_in, warn_on_full_buffer=False)
        events.watch(self._wakeup, self._read)

    def _read(self) -> None:
        for number in os.read(self._wakeup, _SIGNALS_AT_ONCE):
            self._heed(signal.Signals(number))

    def close(self) -> None:
        """Heed them as before."""
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._events.unwatch(self._wakeup)
        self.close_in_child()

    def close_in_child(self) -> None:
        """Let go of the pipe only: a forked process has handlers of its own."""
        os.close(self._wakeup)
        os.close(self._wakeup_in)
