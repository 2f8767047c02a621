"""Fetching over HTTP from somebody who may be slow, broken or hostile. Shell (needs aiohttp).

Every answer has limits before it is read: time, size, no redirects. What is temporary is tried again, after a pause
that grows and is never the same for two (dcap 6.1: 429 and 503 with Retry-After).
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from quotehelper import __version__
from quotehelper.errors import ConfigError, SourceCause, SourceError

try:
    import aiohttp
    from yarl import URL
except ImportError as error:
    raise ConfigError("Fetching collateral needs aiohttp", "pip install 'quotehelper[collateral]'") from error

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

_TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
_CAUSES = {
    404: SourceCause.NOT_FOUND,
    410: SourceCause.NOT_FOUND,
    461: SourceCause.UNKNOWN_PLATFORM,
    462: SourceCause.NOT_AVAILABLE,
}
"""What refusals mean, a collateral service's own among them; every other is NOT_ALLOWED."""
_REDIRECTIONS = range(300, 400)
_CHUNK = 1 << 16
_FIELD_LIMIT = 64 << 10


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """How much is waited for and read, each with its reason."""

    connect_s: float = 5.0
    """For a connection: a service that does not answer by then is down."""
    total_s: float = 20.0
    """For one answer, however slowly it comes."""
    body_bytes: int = 4 << 20
    """Of an answer: a CRL may have that much (documents/pck.py)."""
    attempts: int = 3
    """At most, while the failure looks temporary."""
    pause_s: float = 0.5
    """Before the second attempt; doubled each time, and up to half of it added at random."""
    longest_pause_s: float = 10.0
    """That is waited for, whatever Retry-After says."""
    at_once: int = 8
    """Requests to one source at a time."""


class HttpAnswer(NamedTuple):
    """A successful answer: header fields by lower-case name, and the body."""

    headers: Mapping[str, str]
    body: bytes


class Fetcher:
    """An HTTP client with limits; ``tls``: how servers are verified, by default against the system's authorities."""

    def __init__(self, limits: FetchLimits | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.limits = limits or FetchLimits()
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(self.limits.at_once)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def get(
        self,
        url: str,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> HttpAnswer:
        """The answer of status 200 to GET. Raises SourceError: UNREACHABLE, MALFORMED, or a refusal's cause."""
        return await self._ask("GET", url, parameters, headers, None, timeout_s)

    async def post(
        self, url: str, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        """The answer of status 200 or 201 to POST of ``body``. Raises as ``get``."""
        return await self._ask("POST", url, None, {"Content-Type": content_type, **(headers or {})}, body, None)

    async def _ask(
        self,
        method: str,
        url: str,
        parameters: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        timeout_s: float | None,
    ) -> HttpAnswer:
        target = _target(url, parameters)
        pause = self.limits.pause_s
        for attempt in range(1, self.limits.attempts + 1):
            try:
                async with self._turns:
                    return await self._ask_once(method, target, headers or {}, body, timeout_s or self.limits.total_s)
            except _TemporaryError as failure:
                wait = max(pause + random.uniform(0, pause / 2), failure.retry_after_s)  # noqa: S311  only jitter
                if attempt == self.limits.attempts or wait > self.limits.longest_pause_s:
                    raise failure.error from failure
                await asyncio.sleep(wait)
                pause *= 2
        raise AssertionError  # the last attempt returned or raised

    async def _ask_once(
        self, method: str, target: URL, headers: Mapping[str, str], body: bytes | None, timeout_s: float
    ) -> HttpAnswer:
        what = f"{method} {target.origin()}{target.path}"
        try:
            async with asyncio.timeout(timeout_s):
                asked = self._connected().request(
                    method, target, headers=headers, data=body, allow_redirects=False, ssl=self._tls or True
                )
                async with asked as answer:
                    return await self._judge(what, answer)
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError, OSError) as error:
            reason = f"no answer within {timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
            raise _TemporaryError(SourceError(SourceCause.UNREACHABLE, what, reason)) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise SourceError(
                SourceCause.MALFORMED, what, f"not HTTP as it should be: {type(error).__name__}"
            ) from error

    async def _judge(self, what: str, answer: aiohttp.ClientResponse) -> HttpAnswer:
        status = answer.status
        if status in {200, 201}:
            return HttpAnswer(
                {name.lower(): value for name, value in answer.headers.items()}, await self._read(what, answer)
            )
        said = answer.headers.get("Error-Message") or answer.reason or ""
        detail = f"status {status} {said}"[:200].strip()
        if status in _TEMPORARY:
            raise _TemporaryError(
                SourceError(SourceCause.UNREACHABLE, what, detail), _seconds(answer.headers.get("Retry-After"))
            )
        if status in _REDIRECTIONS:
            raise SourceError(SourceCause.MALFORMED, what, f"{detail}: redirections are not followed")
        raise SourceError(_CAUSES.get(status, SourceCause.NOT_ALLOWED), what, detail)

    async def _read(self, what: str, answer: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in answer.content.iter_chunked(_CHUNK):
            body += chunk
            if len(body) > self.limits.body_bytes:
                detail = f"more than {self.limits.body_bytes} bytes"
                answer.close()
                raise SourceError(SourceCause.MALFORMED, what, detail)
        return bytes(body)

    def _connected(self) -> aiohttp.ClientSession:
        """The session; made late, because it needs the running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.limits.connect_s),
                headers={"User-Agent": f"quotehelper/{__version__}"},
                max_field_size=_FIELD_LIMIT,
                max_line_size=_FIELD_LIMIT,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=True,
            )
        return self._session


class _TemporaryError(Exception):
    """A failure after which trying again may help; only inside this module."""

    def __init__(self, error: SourceError, retry_after_s: float = 0.0) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after_s = retry_after_s


def _target(url: str, parameters: Mapping[str, str] | None) -> URL:
    try:
        target = URL(url)
        if parameters:
            target = target.update_query(parameters)
    except ValueError as error:
        raise SourceError(SourceCause.MALFORMED, url[:200], "not a URL") from error
    if target.scheme not in {"http", "https"} or not target.host:
        raise SourceError(SourceCause.MALFORMED, url[:200], "not a URL of http or https")
    return target


def _seconds(retry_after: str | None) -> float:
    """Retry-After in seconds; a date, or nonsense, is left to the growing pause."""
    return float(retry_after) if retry_after and retry_after.isdecimal() and len(retry_after) < 9 else 0.0  # noqa: PLR2004  years
