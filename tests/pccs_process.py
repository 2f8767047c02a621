"""The collateral service as a process, and an HTTP client that shows every byte."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import http.client
import json
import re
import ssl
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlencode, urlsplit

from harness import DEADLINE_S, Program
from quotehelper.collateral.fetching import FetchLimits
from quotehelper.collateral.mode import Mode
from quotehelper.collateral.pccs import process
from quotehelper.collateral.pccs.process import Settings
from quotehelper.collateral.pccs.tokens import TokenHashes
from quotehelper.collateral.sources import INTEL_CRL_PREFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path
    from typing import Self

    from quotehelper.collateral.pccs.tls import TlsFiles
    from quotehelper.collateral.proof import Trust

T = TypeVar("T")
QUICK = FetchLimits(connect_s=2.0, total_s=2.0, pause_s=0.001, longest_pause_s=0.05)
"""Small enough that a test that meets a limit is over soon."""
ADMIN, USER = "an admin's token", "a user's token"
V3, V4 = "/sgx/certification/v3/", "/sgx/certification/v4/"
TDX = "/tdx/certification/v4/"


class Answer(NamedTuple):
    """What came back, undecoded. Header names keep their letters."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  whatever JSON can be
        return json.loads(self.body)

    def chain(self, name: str) -> bytes:
        """The percent-encoded chain in the header field ``name``."""
        return unquote(self.headers[name]).encode()


class Http:
    """One connection to the service at ``url``."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 0
        self._connection = (
            http.client.HTTPConnection(host, port, timeout=DEADLINE_S)
            if parts.scheme == "http"
            else http.client.HTTPSConnection(host, port, timeout=DEADLINE_S, context=tls)
        )

    def ask(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        self._connection.request(method, target, body, dict(headers or {}))
        answer = self._connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())

    def get(
        self, path: str, parameters: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return self.ask("GET", path, parameters, headers)

    def certificate(self) -> bytes:
        """The server's certificate, DER, on a new connection."""
        self._connection.connect()
        assert isinstance(self._connection.sock, ssl.SSLSocket)
        der = self._connection.sock.getpeercert(binary_form=True)
        assert der is not None
        return der

    def close(self) -> None:
        self._connection.close()


class Asked:
    """Something that serves at ``url``."""

    url: str

    @property
    def origin(self) -> str:
        return self.url.split("/sgx/")[0]

    def http(self, tls: ssl.SSLContext | None = None) -> Http:
        return Http(self.url, tls)

    def ask(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        client = self.http()
        try:
            return client.ask(method, path, parameters, headers, body)
        finally:
            client.close()

    def get(
        self, path: str, parameters: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return self.ask("GET", path, parameters, headers)


class Served(Program, Asked):
    """A program that says ``ready url=…`` when it serves."""

    def __init__(self, *command: str) -> None:
        super().__init__(*command)
        found = re.search(r"url=(\S+)", self.wait_for(" ready "))
        assert found is not None
        self.url = found[1]


class Pccs(Served):
    """``quotehelper pccs serve`` on a port of its own, by default over plain HTTP."""

    def __init__(self, database_url: str, mode: str, root: Path, *options: str, http: bool = True) -> None:
        super().__init__(
            *("pccs", "serve", "--db", database_url, "--mode", mode, "--listen", "127.0.0.1:0"),
            *("--insecure-simulated-root", str(root)),
            *("--admin-token-hash", token_hash(ADMIN), "--user-token-hash", token_hash(USER)),
            *(("--insecure-http",) if http else ()),
            *options,
        )


class Events:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, event: str, **fields: object) -> None:
        self.lines.append(f"INFO {event} {fields}")

    def warning(self, event: str, **fields: object) -> None:
        self.lines.append(f"WARNING {event} {fields}")

    def error(self, event: str, **fields: object) -> None:
        self.lines.append(f"ERROR {event} {fields}")


class Loop:
    """An event loop in a thread of its own, in which asynchronous contexts are entered and left."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._stack = contextlib.AsyncExitStack()

    def run(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def enter(self, context: contextlib.AbstractAsyncContextManager[T]) -> T:
        return self.run(self._stack.enter_async_context(context))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE_S)
        self._loop.close()


class Thread(Loop, Asked):
    """The service in a thread of the test, on a real socket: starts at once, and may be given a clock."""

    def __init__(self, settings: Settings, clock: Callable[[], dt.datetime] | None = None) -> None:
        super().__init__()
        self.events = Events()
        try:
            self.running = self.enter(process.running(settings, self.events, clock or now))
        except BaseException:
            self.__exit__()
            raise
        self.url = self.running.url

    @property
    def log(self) -> str:
        return "\n".join(self.events.lines)


def settings(  # noqa: PLR0913  what a test may want to choose
    database_url: str,
    mode: str,
    trust: Trust,
    upstream: str | None = None,
    *,
    limits: FetchLimits = QUICK,
    refresh_s: float = 0,
    tls: TlsFiles | None = None,
    crl_prefixes: tuple[str, ...] = INTEL_CRL_PREFIXES,
    connections: int = 1000,
    silent_s: float = DEADLINE_S,
) -> Settings:
    """Settings for a service on a port of its own."""
    return Settings(
        database_url,
        trust,
        TokenHashes(token_hash(ADMIN), token_hash(USER)),
        Mode(mode),
        port=0,
        upstream=upstream,
        tls=tls,
        crl_prefixes=crl_prefixes,
        limits=limits,
        refresh_s=refresh_s,
        connections=connections,
        silent_s=silent_s,
    )


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def token_hash(token: str) -> str:
    return hashlib.sha512(token.encode()).hexdigest()


def as_admin() -> dict[str, str]:
    return {"admin-token": ADMIN}


def as_user() -> dict[str, str]:
    return {"user-token": USER}
