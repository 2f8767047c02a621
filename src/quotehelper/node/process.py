"""A serving process: its signals, its platform, its loop. Shell."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

from quotehelper.errors import QuoteHelperError
from quotehelper.node.leash import Word
from quotehelper.node.listener import inode
from quotehelper.node.quoting import open_overlapping, present
from quotehelper.node.service import Service
from quotehelper.node.serving import Reins, ServingLoop

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from quotehelper.node.config import Settings
    from quotehelper.node.leash import Leash
    from quotehelper.node.log import Log
    from quotehelper.node.private_directory import Quoting


def serve(settings: Settings, listeners: Sequence[socket.socket], log: Log, leash: Leash) -> None:
    """Open the platform, say so on the ``leash``, and serve until told to end.

    Raises ConfigError if the platform's state can't be used.
    """
    wakeup, wakeup_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.set_wakeup_fd(wakeup_in, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    limits = settings.reloadable().limits
    named: list[Quoting] = []
    service = Service(open_overlapping(settings, limits.overlap_s, named, log), limits, log)

    def say_ready() -> None:
        if (quoting := present(service.platform)) is not None:
            named.append(quoting)
        leash.send(Word.READY, json.dumps(quoting and quoting._asdict()).encode())

    def reload() -> None:
        try:
            log.settings, limits = settings.reloadable()
            platform = open_overlapping(settings, limits.overlap_s, named, log)
        except QuoteHelperError as error:
            log.error("not reloaded", reason=error, consequence="the settings and state in force stay")
            return
        service.limits = loop.limits = limits
        service.platform, old = platform, service.platform
        old.close()
        log.info("reloaded", level=log.settings.level.name)
        say_ready()

    published = None if settings.private_dir is None else lambda: inode(settings.socket.path)
    loop = ServingLoop(listeners, service, log, Reins(wakeup, leash, reload, published))
    say_ready()
    loop.run()
    service.platform.close()
