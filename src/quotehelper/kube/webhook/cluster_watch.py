"""Watches nodes, namespaces and the helper's pods, so that reviews can be told what is known, and how old. Shell.

Of nodes and namespaces only metadata is asked for, so that a large cluster costs little; lightkube, which reads
configuration and credentials and makes the HTTP client, can't ask for that, and does not tell a silent watch from a
quiet one. So the list-and-watch loop stands here.

Each watch is ended by the API server after ``WATCH_S`` and taken up where it ended; each answer and each event proves
that what is known is current. The age of the whole is that of the stream whose last proof is oldest: up to ``WATCH_S``
and a little when all is well, more and more when it is not. Beyond ``view_age_limit_s`` reviews say nothing of helpers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
from lightkube import KubeConfig
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.core.exceptions import ConfigError as NoCluster

from quotehelper.errors import ConfigError
from quotehelper.kube.admission.cluster import ClusterView, Node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from structlog.typing import FilteringBoundLogger

    from quotehelper.kube.webhook.settings import HelperPods

WATCH_S = 30
"""Seconds after which the API server ends a watch, so that silence can't be taken for peace."""
_AGAIN_S = 2.0
_CHUNK = 500
"""Objects of a list that are asked for at a time."""
_GONE = 410
_METADATA = "application/json;as=PartialObjectMetadata{};v=v1;g=meta.k8s.io"


@contextlib.asynccontextmanager
async def open_watching() -> AsyncIterator[httpx2.AsyncClient]:
    """An HTTP client of the API server, by service account or kubeconfig. Raises ConfigError if there is none."""
    try:
        config = KubeConfig.from_env().get()
        timeout = httpx2.Timeout(10.0, read=WATCH_S + 15.0)
        client = AsyncClient(config, ConnectionParams(timeout=timeout))  # type: ignore[arg-type]  # the default is known
    except NoCluster as error:
        raise ConfigError(
            f"no API server is known: {error}", "Run in a pod with a service account, or set KUBECONFIG"
        ) from error
    async with client:
        yield client


@dataclass(slots=True)
class _Stream:
    """One kind of object: from where, and what is known of it. ``proven_at``: by the clock; None: never yet."""

    path: str
    metadata_only: bool
    selector: str = ""
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    proven_at: float | None = None
    version: str = ""


class ClusterWatch:
    """What is known of the cluster. ``clock`` returns seconds and never goes back."""

    def __init__(self, helpers: HelperPods, log: FilteringBoundLogger, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._nodes = _Stream("/api/v1/nodes", metadata_only=True)
        self._namespaces = _Stream("/api/v1/namespaces", metadata_only=True)
        selector = ",".join(f"{key}={value}" for key, value in helpers.labels.items())
        self._pods = _Stream(f"/api/v1/namespaces/{helpers.namespace}/pods", metadata_only=False, selector=selector)
        self._made: tuple[tuple[Node, ...], Mapping[str, Mapping[str, str]]] | None = None

    def view(self) -> ClusterView | None:
        """What is known now, with its age; None until everything has been seen once."""
        proofs = [stream.proven_at for stream in (self._nodes, self._namespaces, self._pods)]
        oldest = min((proof for proof in proofs if proof is not None), default=0.0)
        if None in proofs:
            return None
        if self._made is None:
            ready = {_node_name(pod) for pod in self._pods.known.values() if _is_ready(pod)}
            nodes = tuple(Node(name, _labels(node), name in ready) for name, node in self._nodes.known.items())
            self._made = nodes, {name: _labels(namespace) for name, namespace in self._namespaces.known.items()}
        return ClusterView(*self._made, age_s=self._clock() - oldest)

    async def follow(self, client: httpx2.AsyncClient) -> None:
        """Keep what is known current, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for stream in (self._nodes, self._namespaces, self._pods):
                tasks.create_task(self._follow(client, stream))

    async def _follow(self, client: httpx2.AsyncClient, stream: _Stream) -> None:
        while True:
            try:
                if not stream.version:
                    await self._list(client, stream)
                await self._watch(client, stream)
            except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
                self._log.warning("watch broken off", path=stream.path, reason=repr(error))
                if isinstance(error, httpx2.HTTPStatusError) and error.response.status_code == _GONE:
                    stream.version = ""
                await asyncio.sleep(_AGAIN_S)

    async def _list(self, client: httpx2.AsyncClient, stream: _Stream) -> None:
        found: dict[str, dict[str, Any]] = {}
        more = ""
        while True:
            parameters = {"limit": str(_CHUNK), "labelSelector": stream.selector, "continue": more}
            answer = await client.get(stream.path, params=parameters, headers=_accept(stream, "List"))
            answer.raise_for_status()
            document = answer.json()
            found |= {item["metadata"]["name"]: item for item in document["items"] or ()}
            more = document["metadata"].get("continue", "")
            if not more:
                break
        stream.known, stream.version = found, document["metadata"]["resourceVersion"]
        self._made = None
        self._proven(stream)

    async def _watch(self, client: httpx2.AsyncClient, stream: _Stream) -> None:
        """Take in what changes until the API server ends this watch."""
        parameters = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_S),
            "resourceVersion": stream.version,
            "labelSelector": stream.selector,
        }
        async with client.stream("GET", stream.path, params=parameters, headers=_accept(stream, "")) as answer:
            answer.raise_for_status()
            self._proven(stream)
            async for line in answer.aiter_lines():
                self._take(stream, json.loads(line))

    def _take(self, stream: _Stream, event: dict[str, Any]) -> None:
        kind, changed = event["type"], event["object"]
        if kind == "ERROR":  # the version is too old, for one: everything is listed anew
            stream.version = ""
            raise ValueError(f"the API server ended the watch: {changed.get('message', '')}")
        name = changed["metadata"].get("name", "")
        if kind == "DELETED":
            stream.known.pop(name, None)
        elif kind != "BOOKMARK":
            stream.known[name] = changed
        if kind != "BOOKMARK":
            self._made = None
        stream.version = changed["metadata"]["resourceVersion"]
        self._proven(stream)

    def _proven(self, stream: _Stream) -> None:
        stream.proven_at = self._clock()


def _accept(stream: _Stream, suffix: str) -> dict[str, str]:
    return {"Accept": _METADATA.format(suffix) if stream.metadata_only else "application/json"}


def _labels(thing: dict[str, Any]) -> dict[str, str]:
    return thing["metadata"].get("labels") or {}


def _node_name(pod: dict[str, Any]) -> str:
    name: str = pod.get("spec", {}).get("nodeName", "")
    return name


def _is_ready(pod: dict[str, Any]) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = pod.get("status", {}).get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
