"""A serving process: its signals, its platform, its loop. Shell."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from quotehelper.errors import QuoteHelperError
from quotehelper.node.service import Service
from quotehelper.node.serving import ServingLoop
from quotehelper.platforms.registry import open_platform

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from quotehelper.node.config import Settings
    from quotehelper.node.log import Log


def serve(settings: Settings, listeners: Sequence[socket.socket], log: Log, *, lifeline: int, ready: int) -> None:
    """Open the platform, say so in the pipe ``ready``, and serve until told to end.

    Raises ConfigError if the platform's state can't be used.
    """
    wakeup, wakeup_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.set_wakeup_fd(wakeup_in, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    service = Service(open_platform(settings.platform_settings, log), settings.reloadable().limits, log)

    def reload() -> None:
        try:
            log.settings, limits = settings.reloadable()
            platform = open_platform(settings.platform_settings, log)
        except QuoteHelperError as error:
            log.error("not reloaded", reason=error, consequence="the settings and state in force stay")
            return
        service.limits = loop.limits = limits
        service.platform, old = platform, service.platform
        old.close()
        log.info("reloaded", level=log.settings.level.name)

    loop = ServingLoop(listeners, service, log, wakeup=wakeup, lifeline=lifeline, reload=reload)
    os.write(ready, b".")
    loop.run()
    service.platform.close()
