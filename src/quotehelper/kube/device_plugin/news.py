"""A pause that news cut short. Shell (asyncio)."""

from __future__ import annotations

import asyncio


class News:
    """One waits, others tell. What was told before is heard at the next wait."""

    def __init__(self) -> None:
        self._told = asyncio.Event()

    def tell(self) -> None:
        """There is something to look at."""
        self._told.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for news, up to ``seconds``; whether there were any.

        Not by ``asyncio.wait_for``: until Python 3.12 it swallows a cancellation that meets the news, and a part that
        was told to end would go on for ever.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._told.wait()
        except TimeoutError:
            return False
        finally:
            self._told.clear()
        return True
