"""Keep the path: see whether it still leads to this instance, and lead it back. Shell.

Whoever can write to the directory can put anything at the path, and take the permissions away: a workload that has the
directory mounted, an operator by mistake, Intel's service that removes the path when it ends. Nothing of that lasts.
"""

from __future__ import annotations

import enum
import os
import stat
from typing import TYPE_CHECKING

from quotehelper.errors import ConfigError
from quotehelper.node.listener import cannot_listen, owner_of

if TYPE_CHECKING:
    from quotehelper.node.listener import Listener
    from quotehelper.node.log import Log


class Kept(enum.Enum):
    """What came of a look at the path."""

    HELD = "it leads here"
    PUBLISHED = "it leads to a further socket of ours"
    FAILED = "it leads elsewhere; another look may mend it"
    LEFT = "it is left to somebody else"


def keep(listener: Listener, log: Log, *, may_fight: bool) -> Kept:
    """See to it that the path leads to ``listener``.

    ``may_fight``: whether somebody alive who serves it is driven away. Without a private directory that could be
    another instance, which would do the same.
    """
    if listener.mend_access():
        log.warning("access mended", path=listener.path, remedy="let nobody else change modes in the directory")
    if listener.holds_path():
        return Kept.HELD
    try:
        if not may_fight and (owner := owner_of(listener.path)) is not None:
            remedy = "end that process and restart this one, or restart this one with --private-dir and --take-over"
            log.error("path lost", path=listener.path, owner=owner, remedy=remedy)
            return Kept.LEFT
        was = occupant(listener.path)
        _move_aside(listener.path)
        listener.publish_again()
    except ConfigError as error:
        log.error("path lost", path=listener.path, reason=error.problem, remedy=error.remedy)
        return Kept.FAILED
    log.warning("published again", path=listener.path, was=was, remedy="let nobody else write to the directory")
    return Kept.PUBLISHED


def occupant(path: str) -> str:
    """What is at ``path``, for people."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return "gone"
    if not stat.S_ISSOCK(mode):
        return {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a symbolic link"}.get(stat.S_IFMT(mode), "a file")
    try:
        owner = owner_of(path)
    except ConfigError:  # another kind of socket, or one that we may not connect to
        return "a socket of somebody else"
    return "a dead socket" if owner is None else f"served by {owner}"


def _move_aside(path: str) -> None:
    """Let nothing be at ``path`` that a socket can't replace: an empty directory goes, anything else is renamed.

    Raises ConfigError.
    """
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            return
        try:
            os.rmdir(path)  # noqa: PTH106  pathlib costs 5 ms
        except OSError:
            os.rename(path, f"{path}.{os.urandom(3).hex()}.aside")  # noqa: PTH104  as above
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_listen(path, error) from error
