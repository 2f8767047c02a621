"""A serving process: its signals, its platform, its loop. Shell."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

from quotehelper.errors import QuoteHelperError
from quotehelper.node.inode import inode
from quotehelper.node.leash import Word
from quotehelper.node.peers import Peers
from quotehelper.node.quoter import ImmediateQuoter, RemoteQuoter
from quotehelper.node.quoting import open_overlapping, present
from quotehelper.node.reins import Reins
from quotehelper.node.service import Service
from quotehelper.node.serving import ServingLoop

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from quotehelper.errors import DecodeError
    from quotehelper.node.companions import Place
    from quotehelper.node.config import Limits, Settings
    from quotehelper.node.leash import Leash
    from quotehelper.node.log import Log
    from quotehelper.node.private_directory import Quoting
    from quotehelper.node.quoter import Quoter
    from quotehelper.platforms.platform import Platform


def serve(settings: Settings, listeners: Sequence[socket.socket], log: Log, leash: Leash, place: Place) -> None:
    """Open the platform, or wait for its worker; say so on the ``leash``, and serve until told to end.

    Raises ConfigError if the platform's state can't be used.
    """
    wakeup = _heed_signals()
    _log, limits, rules = settings.reloadable()
    named: dict[str, Quoting] = {}

    def open_platform(limits: Limits) -> Platform:
        return open_overlapping(settings, limits.overlap_s, tuple(named.values()), log, place.platform_row)

    def say_ready() -> None:
        if (quoting := present(service.platform)) is not None:
            named[quoting.target_info] = quoting
        leash.send(Word.READY, json.dumps(quoting and quoting._asdict()).encode())

    def reload() -> None:
        try:
            log.settings, limits, rules = settings.reloadable()
            if place.channel is None:
                old, service.platform = service.platform, open_platform(limits)
                old.close()
        except QuoteHelperError as error:
            log.error("not reloaded", reason=error, consequence="the settings and state in force stay")
            return
        service.limits = loop.limits = limits
        service.rules = rules
        log.info("reloaded", level=log.settings.level.name)
        say_ready()

    quoter: Quoter
    if place.channel is None:
        service = Service(open_platform(limits), limits, log)
        quoter = ImmediateQuoter(service, place.counts)
    else:
        from quotehelper.platforms.worker.remote import RemotePlatform  # noqa: PLC0415  in-process ones never need it

        remote = RemotePlatform(place.channel, _complaint(log))
        if not remote.wait_until_described((wakeup, leash.fileno())):
            return  # told to end, or to begin anew
        remote.on_description = say_ready
        service = Service(remote, limits, log)
        quoter = RemoteQuoter(service, remote, place.counts)
    published = None if settings.private_dir is None else lambda: inode(settings.socket.path)
    service.rules = rules
    peers = Peers(log, place.counts.peers)
    reins = Reins(wakeup, leash, reload, published)
    loop = ServingLoop(listeners, service, log, reins, quoter, place.counts, peers)
    say_ready()
    loop.run()
    service.platform.close()


def _heed_signals() -> int:
    """A non-blocking pipe that gets the number of each signal meant for a serving process."""
    wakeup, wakeup_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.set_wakeup_fd(wakeup_in, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return wakeup


def _complaint(log: Log) -> Callable[[DecodeError], None]:
    def complain(error: DecodeError) -> None:
        log.error("unreadable answer of the platform worker", reason=error, remedy="please report this")

    return complain
