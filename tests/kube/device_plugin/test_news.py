"""A pause ends with news, with its time, or with the task; never with none of them."""

from __future__ import annotations

import asyncio

import pytest

from quotehelper.kube.device_plugin.news import News


def test_news_end_the_pause() -> None:
    async def wait() -> bool:
        news = News()
        asyncio.get_running_loop().call_soon(news.tell)
        return await news.wait(60)

    assert asyncio.run(wait())


def test_what_was_told_before_is_heard_once() -> None:
    async def wait() -> list[bool]:
        news = News()
        news.tell()
        return [await news.wait(60), await news.wait(0.01)]

    assert asyncio.run(wait()) == [True, False]


@pytest.mark.parametrize("turns", range(4))
def test_a_cancellation_that_meets_the_news_is_not_lost(turns: int) -> None:
    """``turns``: of the event loop between the two."""

    async def cancel() -> None:
        news = News()

        async def listen() -> None:
            while True:
                await news.wait(60)

        listening = asyncio.create_task(listen())
        for turn in range(3 + turns):
            await asyncio.sleep(0)
            if turn == 2:
                news.tell()
        listening.cancel()
        ended, _ = await asyncio.wait({listening}, timeout=5)
        assert ended

    asyncio.run(cancel())
