"""The part of Kubernetes' API server that the webhook asks: objects with versions, JSON patches, lists and watches.

Stands in for the real one where a test needs conflicts and broken streams at will.
"""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

from harness import DEADLINE_S
from pods import apply_patch

if TYPE_CHECKING:
    from pathlib import Path


class ApiServer:
    """Objects by path.

    ``conflicts``: writes that are refused as if another had been quicker, with what it wrote. ``silent``: watches are
    refused. ``gone``: collections whose next watch is told that its version is too old.
    """

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, str]] = []
        self.conflicts: list[dict[str, Any]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.silent = False
        self.gone: set[str] = set()
        self._version = 1
        self._news = threading.Condition()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def kubeconfig(self, directory: Path) -> dict[str, str]:
        """The environment by which a process finds it."""
        path = directory / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "ns"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self._server.server_port}"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        path.write_text(json.dumps(config))
        return {"KUBECONFIG": str(path)}

    def put(self, path: str, thing: dict[str, Any], *, event: str | None = None) -> None:
        """Store an object, and tell those who watch its kind."""
        with self._news:
            self._version += 1
            thing.setdefault("metadata", {})["resourceVersion"] = str(self._version)
            self.objects[path] = thing
            if event:
                self.events.append((event, {**thing, "of": path.rpartition("/")[0]}))
            self._news.notify_all()

    def watched(self, collection: str) -> None:
        """Wait until somebody watches a collection."""
        with self._news:
            assert self._news.wait_for(
                lambda: any(method == "WATCH" and path == collection for method, path, _ in self.requests), DEADLINE_S
            ), self.requests

    def take(self, method: str, path: str, accept: str) -> None:
        """Note a request."""
        with self._news:
            self.requests.append((method, path, accept))
            self._news.notify_all()

    def write(self, path: str, thing: dict[str, Any]) -> bool:
        """Replace an object if its version is the present one."""
        with self._news:
            if self.conflicts:
                self.objects[path] = {**self.objects[path], **self.conflicts.pop()}
            elif thing["metadata"]["resourceVersion"] == self.objects[path]["metadata"]["resourceVersion"]:
                self.put(path, thing)
                return True
            return False

    def listed(self, collection: str) -> dict[str, Any]:
        """A list of what is directly in a collection."""
        with self._news:
            items = [thing for path, thing in self.objects.items() if path.rpartition("/")[0] == collection]
            return {"kind": "List", "metadata": {"resourceVersion": str(self._version)}, "items": items or None}

    def next_events(self, collection: str, since: int) -> list[dict[str, Any]]:
        """Events of a collection newer than ``since``, waited for a little; none if there are none."""

        def found() -> list[dict[str, Any]]:
            return [
                {"type": kind, "object": thing}
                for kind, thing in self.events
                if thing["of"] == collection and int(thing["metadata"]["resourceVersion"]) > since
            ]

        with self._news:
            self._news.wait_for(lambda: bool(found()), 0.2)
            return found()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(DEADLINE_S)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: ApiServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        path, query = self._path()
        collection = path.rpartition("/")[2] in {"nodes", "namespaces", "pods"}
        if collection and "watch" in query:
            self._watch(path, int(query["resourceVersion"][0]))
            return
        self._api.take("GET", path, self.headers.get("Accept", ""))
        if collection:
            self._answer(200, self._api.listed(path))
        elif path in self._api.objects:
            self._answer(200, self._api.objects[path])
        else:
            self._refuse(404, f"{path} not found")

    def do_PUT(self) -> None:
        path, _ = self._path()
        self._api.take("PUT", path, "")
        thing = self._body()
        if self._api.write(path, thing):
            self._answer(200, thing)
        else:
            self._refuse(409, "the object has been modified")

    def do_PATCH(self) -> None:
        path, _ = self._path()
        self._api.take("PATCH", path, self.headers["Content-Type"])
        steps = [step for step in self._body() if step["op"] != "test"]
        thing = apply_patch(self._api.objects[path], steps)
        self._api.put(path, thing)
        self._answer(200, thing)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    @property
    def _api(self) -> ApiServer:
        return self.server.api

    def _path(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return parts.path, parse_qs(parts.query)

    def _body(self) -> Any:  # noqa: ANN401  JSON
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _watch(self, path: str, since: int) -> None:
        """One round of events; a real server would wait for longer."""
        self._api.take("WATCH", path, self.headers.get("Accept", ""))
        if path in self._api.gone:
            self._api.gone.discard(path)
            self._refuse(410, "too old a version")
            return
        if self._api.silent:
            self._refuse(503, "away")
            return
        lines = b"".join(json.dumps(event).encode() + b"\n" for event in self._api.next_events(path, since))
        self._send(200, lines)

    def _refuse(self, code: int, message: str) -> None:
        self._answer(
            code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
        )

    def _answer(self, code: int, document: dict[str, Any]) -> None:
        self._send(code, json.dumps(document).encode())

    def _send(self, code: int, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a client that was told to end
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
