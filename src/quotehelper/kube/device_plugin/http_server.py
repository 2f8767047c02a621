"""Metrics and health over HTTP/1.1: ``/metrics``, ``/healthz``, ``/readyz``. Shell.

``/healthz`` answers while the event loop turns, and asks nobody: a restart would not bring back a missing kubelet.
``/readyz`` is 200 once everything is registered and right, else 503 with every reason.

By hand, because an HTTP library would be a quarter of the plugin's memory for three documents without parameters: a
request is its first line, its headers are read and dropped, each connection brings one. Whoever is slow or long is
closed, and beyond ``CONNECTION_LIMIT`` nobody is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from quotehelper.kube.device_plugin.settings import HttpAddress
    from quotehelper.kube.device_plugin.telemetry import Telemetry

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format."""
JSON_TYPE = "application/json"
HEAD_LIMIT = 16 * 1024
"""Bytes of a request's first line and headers."""
CONNECTION_LIMIT = 32
"""Connections at a time."""
REQUEST_S = 5.0
"""Seconds for a request and its answer."""
_PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}

Answer = tuple[int, str, bytes]
"""Status, content type, body."""


@contextlib.asynccontextmanager
async def serving(
    address: HttpAddress, telemetry: Telemetry, problems: Callable[[], Mapping[str, str]]
) -> AsyncIterator[int]:
    """Serve while the context lasts; yields the port. ``problems``: what is not as it should be, by its name.

    Raises ConfigError if the address can't be had.
    """
    connections = 0

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            if connections <= CONNECTION_LIMIT:
                async with asyncio.timeout(REQUEST_S):
                    await _exchange(reader, writer, lambda path: answer(path, telemetry, problems))
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client is slow, long or gone
        finally:
            connections -= 1
            writer.close()

    try:
        server = await asyncio.start_server(converse, address.host, address.port, limit=HEAD_LIMIT)
    except OSError as error:
        raise ConfigError(f"{address.host}:{address.port}: {error}", "Choose another address by --listen") from error
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        yield port


def answer(path: str, telemetry: Telemetry, problems: Callable[[], Mapping[str, str]]) -> Answer:
    """The document at ``path``."""
    if path == "/metrics":
        return 200, METRICS_TYPE, telemetry.exposition()
    if path == "/healthz":
        return 200, JSON_TYPE, json.dumps({"healthy": True}).encode()
    if path == "/readyz":
        found = dict(problems())
        return 503 if found else 200, JSON_TYPE, json.dumps({"ready": not found, "problems": found}).encode()
    return 404, JSON_TYPE, json.dumps({"known": ["/metrics", "/healthz", "/readyz"]}).encode()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, find: Callable[[str], Answer]) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != len(("method", "target", "version")) or not words[2].startswith("HTTP/1."):
        status, content_type, body = 400, JSON_TYPE, b"{}"
    elif words[0] not in {"GET", "HEAD"}:
        status, content_type, body = 405, JSON_TYPE, b"{}"
    else:
        status, content_type, body = find(words[1].partition("?")[0])
    lines = (
        f"HTTP/1.1 {status} {_PHRASES[status]}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    writer.write("\r\n".join((*lines, "", "")).encode() + (b"" if words[0] == "HEAD" else body))
    await writer.drain()
