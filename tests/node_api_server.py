"""A Kubernetes API server's manners, for tests: HTTPS, bearer tokens, RBAC, Status objects, RFC 6902 on subresources.

It knows nodes, events and pods, on their real paths. A patch of ``nodes/NAME/status`` changes the status alone,
whatever else it says; a JSON patch is applied whole or not at all; a quantity that is none is refused with 422.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

TOKEN = "token-of-the-test"  # noqa: S105  this server's own
QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?|[eE][+-]?\d+)")
RIGHTS = frozenset({("get", "nodes"), ("patch", "nodes/status"), ("create", "events"), ("list", "pods")})


class Refusal(Exception):  # noqa: N818  an answer, not a fault
    """An answer other than success."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }


class ApiServerStandIn:
    """Listens on a free port; ``credentials`` is what a pod finds mounted. ``rights``: what its account may do."""

    def __init__(self, credentials: Path) -> None:
        self.credentials = credentials
        self.rights = set(RIGHTS)
        self.nodes: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.pods: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.news = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.socket = self._tls().wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def environment(self) -> dict[str, str]:
        """What the kubelet puts into every container."""
        return {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self._server.server_address[1]),
        }

    def add_node(self, name: str, capacity: dict[str, str] | None = None) -> None:
        """A Node as its kubelet registers it; one of the same name is replaced."""
        with self.news:
            self.nodes[name] = {
                "kind": "Node",
                "apiVersion": "v1",
                "metadata": {"name": name, "uid": f"uid-{len(self.requests)}-{name}", "resourceVersion": "1"},
                "status": {"capacity": {"cpu": "8", **(capacity or {})}},
            }

    def capacity(self, node: str) -> dict[str, str]:
        capacity: dict[str, str] = self.nodes[node]["status"]["capacity"]
        return capacity

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until ``holds``, which is asked again at every request."""
        with self.news:
            assert self.news.wait_for(holds, DEADLINE_S), (self.requests, self.nodes, self.events)

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, dict[str, Any]]:  # noqa: ANN401  an email.Message
        """Status and object."""
        url = urlsplit(target)
        with self.news:
            self.requests.append((method, target))
            try:
                _authenticate(headers.get("Authorization"))
                return self._route(method, url.path, parse_qs(url.query), headers.get("Content-Type", ""), body)
            except Refusal as refusal:
                return refusal.code, refusal.status
            finally:
                self.news.notify_all()

    def _route(
        self, method: str, path: str, query: dict[str, list[str]], content_type: str, body: bytes
    ) -> tuple[int, dict[str, Any]]:
        if method == "POST" and path == "/api/v1/namespaces/default/events":
            self._allow("create", "events")
            return 201, self._create_event(json.loads(body))
        if method == "GET" and path == "/api/v1/pods":
            self._allow("list", "pods")
            (selector,) = query["fieldSelector"]
            node = selector.removeprefix("spec.nodeName=")
            return 200, {"kind": "PodList", "items": [pod for pod in self.pods if pod["spec"]["nodeName"] == node]}
        if (named := re.fullmatch(r"/api/v1/nodes/([^/]+)(/status)?", path)) is None:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        name = unquote(named[1])
        if method == "GET" and not named[2]:
            self._allow("get", "nodes")
            return 200, self._node(name)
        if method == "PATCH" and named[2]:
            self._allow("patch", "nodes/status")
            if content_type != "application/json-patch+json":
                raise Refusal(
                    415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content_type}"
                )
            return 200, self._patch_status(name, json.loads(body))
        raise Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def _allow(self, verb: str, resource: str) -> None:
        if (verb, resource) not in self.rights:
            message = f'User "system:serviceaccount:kube-system:test" cannot {verb} resource "{resource}"'
            raise Refusal(403, "Forbidden", message)

    def _node(self, name: str) -> dict[str, Any]:
        if name not in self.nodes:
            raise Refusal(404, "NotFound", f'nodes "{name}" not found')
        return self.nodes[name]

    def _patch_status(self, name: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
        node = copy.deepcopy(self._node(name))
        for operation in operations:
            apply_operation(node, operation)
        for resource, amount in node["status"]["capacity"].items():
            if not isinstance(amount, str) or not QUANTITY.fullmatch(amount):
                raise Refusal(422, "Invalid", f"status.capacity[{resource}]: not a quantity: {amount!r}")
        current = self.nodes[name]
        current["status"] = node["status"]
        current["metadata"]["resourceVersion"] = str(int(current["metadata"]["resourceVersion"]) + 1)
        return current

    def _create_event(self, event: dict[str, Any]) -> dict[str, Any]:
        problems = []
        if event["metadata"]["namespace"] != "default":
            problems.append("involvedObject.namespace: does not match event.namespace")
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", event["metadata"]["name"]):
            problems.append("metadata.name: not a DNS subdomain")
        if len(event["message"]) > 1024 or not 0 < len(event["reason"]) <= 128:
            problems.append("message can have at most 1024 characters, reason 128")
        if event["type"] not in {"Normal", "Warning"}:
            problems.append("type: has invalid value")
        if problems:
            raise Refusal(422, "Invalid", "; ".join(problems))
        self.events.append(event)
        return event

    def _tls(self) -> ssl.SSLContext:
        """A certificate of a new authority for 127.0.0.1; the authority's goes to ``ca.crt``."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes of the test")])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(_localhost())]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        self.credentials.mkdir(parents=True, exist_ok=True)
        (self.credentials / "ca.crt").write_bytes(pem)
        (self.credentials / "token").write_text(TOKEN)
        private = self.credentials.parent / "server.pem"
        private.write_bytes(
            pem
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(private)
        return context

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End, if it has not been ended yet."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(DEADLINE_S)
            self._server.server_close()


def _authenticate(authorization: str | None) -> None:
    if authorization != f"Bearer {TOKEN}":
        raise Refusal(401, "Unauthorized", "Unauthorized")


def _localhost() -> Any:  # noqa: ANN401  IPv4Address
    import ipaddress  # noqa: PLC0415  used once

    return ipaddress.IPv4Address("127.0.0.1")


def apply_operation(document: dict[str, Any], operation: dict[str, Any]) -> None:
    """One operation of RFC 6902 on nested objects. Refusals are 422, as in the original."""
    parts = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    parent: Any = document
    for part in parts[:-1]:
        if not isinstance(parent, dict) or part not in parent:
            raise Refusal(
                422, "Invalid", f"{operation['op']} operation does not apply: missing path {operation['path']}"
            )
        parent = parent[part]
    name = parts[-1]
    if operation["op"] == "test":
        if parent.get(name) != operation["value"]:
            raise Refusal(422, "Invalid", "testing value failed")
    elif operation["op"] == "add":
        parent[name] = operation["value"]
    elif operation["op"] in {"replace", "remove"}:
        if name not in parent:
            raise Refusal(422, "Invalid", f"{operation['op']} operation does not apply: missing key {name}")
        if operation["op"] == "remove":
            del parent[name]
        else:
            parent[name] = operation["value"]
    else:
        raise Refusal(400, "BadRequest", f"unknown operation {operation['op']}")


def _handler(server: ApiServerStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, document = server.answer(self.command, self.path, self.headers, body)
            raw = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_PATCH = do_POST = _answer  # noqa: N815  names that the base class asks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's signature
            """Keep quiet."""

    return Handler
