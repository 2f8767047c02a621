"""What holds when connections are many or silent, and when judging a review fails: in this process, limits small."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from harness import DEADLINE_S
from pods import QUOTING, pod, review, sgx
from quotehelper.kube.admission.settings import AdmissionSettings
from quotehelper.kube.webhook.server import ReviewServer
from quotehelper.kube.webhook.settings import PODS_PATH, Limits
from quotehelper.kube.webhook.telemetry import Metrics, make_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from quotehelper.kube.admission.cluster import ClusterView

BODY = json.dumps(review(pod(sgx(), annotations={QUOTING: "out-of-process"}))).encode()
HEAD = f"POST {PODS_PATH} HTTP/1.1\r\nHost: w\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
QUICK = Limits(handshake_s=0.05, header_s=0.05, body_s=0.05)

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Running:
    """A review server on a free port, without TLS."""

    def __init__(self, port: int, metrics: Metrics) -> None:
        self.port = port
        self._metrics = metrics

    def refused(self) -> float:
        return self._number("quotehelper_webhook_refused_connections_total")

    def failed(self) -> float:
        return self._number('quotehelper_webhook_reviews_total{outcome="failed"}')

    def _number(self, name: str) -> float:
        lines = self._metrics.text().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@contextlib.asynccontextmanager
async def running(limits: Limits, view: Callable[[], ClusterView | None] = lambda: None) -> AsyncIterator[Running]:
    metrics = Metrics()
    server = ReviewServer(AdmissionSettings(), limits, view, metrics, make_log(as_json=True, level="error"))
    runner = web.AppRunner(server.reviews(), access_log=None)
    await runner.setup()
    assert runner.server is not None
    listening = await asyncio.get_running_loop().create_server(server.door(runner.server), "127.0.0.1", 0)
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield Running(listening.sockets[0].getsockname()[1], metrics)
    finally:
        listening.close()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask(streams: Streams) -> bytes:
    """The head and body of the answer to a review."""
    reader, writer = streams
    writer.write(HEAD + BODY)
    head = await reader.readuntil(b"\r\n\r\n")
    size = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    return head + await reader.readexactly(size)


async def ended(streams: Streams) -> bool:
    """Whether the server closes the connection, waited for."""
    with contextlib.suppress(ConnectionError):
        await streams[0].read()
    return streams[0].at_eof()


@pytest.mark.parametrize("sent", [b"", HEAD[:20]])
def test_a_connection_that_brings_no_request_is_closed(sent: bytes) -> None:
    async def scene() -> None:
        async with running(QUICK) as server, connected(server.port) as streams:
            streams[1].write(sent)
            assert await ended(streams)
            assert server.refused() == 1

    asyncio.run(scene())


def test_a_connection_that_has_brought_a_request_may_stay() -> None:
    async def scene() -> None:
        async with running(QUICK) as server, connected(server.port) as fine, connected(server.port) as silent:
            await ask(fine)
            assert await ended(silent)
            assert b"200 OK" in await ask(fine)

    asyncio.run(scene())


def test_a_review_that_does_not_come_whole_is_answered_408() -> None:
    async def scene() -> None:
        async with running(QUICK) as server, connected(server.port) as streams:
            streams[1].write(HEAD + BODY[:10])
            assert b" 408 " in await streams[0].readline()

    asyncio.run(scene())


def test_connections_beyond_the_limit_are_closed_and_the_others_served() -> None:
    async def scene() -> None:
        limits = Limits(connections=2, header_s=10 * DEADLINE_S)  # silence is not what closes it
        async with running(limits) as server, connected(server.port) as one, connected(server.port) as two:
            await ask(one)
            await ask(two)
            async with connected(server.port) as third:
                assert await ended(third)
            assert b"200 OK" in await ask(one)
            assert server.refused() == 1

    asyncio.run(scene())


def test_a_place_that_was_left_is_free_again() -> None:
    async def one_client(port: int) -> None:
        while True:  # the server may hear of the last one's end a moment later
            async with connected(port) as streams:
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    assert b"200 OK" in await ask(streams)
                    return

    async def scene() -> None:
        async with running(Limits(connections=1)) as server:
            for _ in range(5):
                await one_client(server.port)

    asyncio.run(scene())


def test_a_fault_of_ours_lets_the_pod_pass_and_is_counted(capfd: pytest.CaptureFixture[str]) -> None:
    def broken() -> ClusterView | None:
        raise RuntimeError("on purpose")

    async def scene() -> bytes:
        async with running(Limits(), broken) as server, connected(server.port) as streams:
            answer = await ask(streams)
            assert server.failed() == 1
            return answer

    answer = asyncio.run(scene())
    response = json.loads(answer.partition(b"\r\n\r\n")[2])["response"]
    assert response == {"uid": "7f0c", "allowed": True}
    assert "review failed" in capfd.readouterr().err
