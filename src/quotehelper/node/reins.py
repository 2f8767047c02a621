"""What steers a serving process from outside. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.node.leash import Leash


class Reins(NamedTuple):
    """What steers a serving process.

    ``wakeup``: a non-blocking pipe that gets a byte, the signal's number, for each signal. ``leash``: our end of the
    supervisor's. ``reload`` is called for SIGHUP. ``published`` says what is at the path, for the time after the
    supervisor's end: until another instance has put its own socket there, or for ``limits.orphan_s`` seconds, clients
    are served; without it they are not.
    """

    wakeup: int
    leash: Leash
    reload: Callable[[], None]
    published: Callable[[], object] | None = None


class Orphan(NamedTuple):
    """A serving process without a supervisor.

    ``published``: what was at the path when it was told what to listen to; when it loses its supervisor, another
    instance may be there already. ``until``: when to end at the latest.
    """

    published: object
    until: float
