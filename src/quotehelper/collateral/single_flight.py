"""One fetch for all who miss the same thing at the same time, and failures remembered for a while. Shell (asyncio)."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any, TypeVar

from quotehelper.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

_T = TypeVar("_T")
_REMEMBERED = 4096
"""Failures at most; whoever invents names of documents must not fill the memory."""


class SingleFlight:
    """``clock`` tells the time; a failure is remembered for ``failure_s`` seconds."""

    def __init__(self, clock: Callable[[], dt.datetime], failure_s: float) -> None:
        self._clock = clock
        self._memory = dt.timedelta(seconds=failure_s)
        self._running: dict[Hashable, asyncio.Task[Any]] = {}
        self._failures: dict[Hashable, tuple[dt.datetime, SourceError]] = {}

    async def once(self, key: Hashable, start: Callable[[], Coroutine[object, object, _T]]) -> _T:
        """What ``start`` yields, run once for all who ask for ``key`` meanwhile, even if those who asked give up.

        Raises what it raises; for a while also to those who ask later, if it is a SourceError.
        """
        failed = self._failures.get(key)
        if failed is not None:
            until, error = failed
            if self._clock() < until:
                raise SourceError(error.cause, error.what, error.detail)
            del self._failures[key]
        task: asyncio.Task[_T] | None = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._remembering(key, start))
            task.add_done_callback(lambda done: self._end(key, done))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Cancel what is running."""
        running = tuple(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _remembering(self, key: Hashable, start: Callable[[], Coroutine[object, object, _T]]) -> _T:
        try:
            return await start()
        except SourceError as error:
            while len(self._failures) >= _REMEMBERED:
                del self._failures[next(iter(self._failures))]
            self._failures[key] = (self._clock() + self._memory, error)
            raise

    def _end(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # looked at, as those who asked may have given up
