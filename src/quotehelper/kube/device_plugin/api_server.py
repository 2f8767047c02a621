"""The few requests that the device plugin has for the API server, by the pod's own service account. Shell.

By the standard library's HTTP client in a thread: there are four requests, seldom sent, and aiohttp would take 14 MiB
of the plugin's 45, a Kubernetes client with its models more. The token is read for each request, since it is renewed in
place. Answers are read up to a limit; redirects and proxies are not followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from quotehelper.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its token and the API server's certificate authority."""
ANSWER_LIMIT = 32 * 1024 * 1024
"""Bytes of an answer: the pods of a full node have a few MiB."""
TOKEN_LIMIT = 64 * 1024
"""Bytes of a token."""
TIMEOUT_S = 5.0
"""Seconds without a byte; also how much longer the plugin may take to end."""
_SHOWN = 300
"""Characters of a refusal that are repeated."""

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
_OK = range(200, 300)


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is, and who we are there. ``credentials``: the directory of ``token`` and ``ca.crt``."""

    host: str
    port: str
    credentials: Path = SERVICE_ACCOUNT


def access_from(environment: Mapping[str, str], credentials: Path = SERVICE_ACCOUNT) -> Access | None:
    """What a pod is given, or None where there is no service account token."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST"), environment.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not port.isdecimal() or not (credentials / "token").is_file():
        return None
    return Access(host, port, credentials)


class ApiServer:
    """Sends requests as ``access`` says, one connection each. Every method raises ClusterError and nothing else."""

    def __init__(self, access: Access) -> None:
        try:
            self._context = ssl.create_default_context(cafile=str(access.credentials / "ca.crt"))
        except (OSError, ssl.SSLError) as error:
            remedy = "Mount the service account token, or run without one: events and node status are then left out"
            raise ConfigError(f"{access.credentials / 'ca.crt'}: {error}", remedy) from error
        self._access = access

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The object at ``path``."""
        return await self._ask("GET", f"{path}?{urlencode(query)}" if query else path)

    async def patch(self, path: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
        """The object at ``path`` after a JSON patch (RFC 6902)."""
        return await self._ask("PATCH", path, operations, JSON_PATCH)

    async def create(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        """The object made of ``document`` in the collection at ``path``."""
        return await self._ask("POST", path, document, JSON)

    async def _ask(self, method: str, target: str, body: object = None, content_type: str = JSON) -> dict[str, Any]:
        what = f"{method} {target.partition('?')[0]}"
        headers = {"Authorization": f"Bearer {self._token()}", "Accept": JSON, "Content-Type": content_type}
        content = None if body is None else json.dumps(body).encode()
        try:
            status, raw = await asyncio.to_thread(self._exchange, method, target, content, headers)
        except (http.client.HTTPException, OSError, ValueError) as error:  # ValueError: a token with a line feed
            raise ClusterError(f"{what}: {type(error).__name__}: {error}") from error
        if len(raw) > ANSWER_LIMIT:
            raise ClusterError(f"{what}: the answer is longer than {ANSWER_LIMIT} bytes")
        if status not in _OK:
            raise ClusterError(f"{what}: {status}: {_message(raw)}", status=status)
        return _object(raw, what)

    def _exchange(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and body, the latter up to a byte more than its limit. Blocks; runs in a thread."""
        access = self._access
        connection = http.client.HTTPSConnection(
            access.host, int(access.port), timeout=TIMEOUT_S, context=self._context
        )
        with contextlib.closing(connection):
            connection.request(method, target, body, headers)
            with connection.getresponse() as response:
                return response.status, response.read(ANSWER_LIMIT + 1)

    def _token(self) -> str:
        file = self._access.credentials / "token"
        try:
            with file.open(encoding="ascii") as token:
                return token.read(TOKEN_LIMIT).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ClusterError(f"{file}: {error}") from error


def _object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ClusterError(f"{what}: the answer is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ClusterError(f"{what}: the answer is no object")
    return document


def _message(raw: bytes) -> str:
    """What a refusal says: the ``message`` of a Status object, or its beginning."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        document = None
    message = document.get("message") if isinstance(document, dict) else None
    return str(message if message is not None else raw[:_SHOWN].decode("utf-8", "replace"))[:_SHOWN]
