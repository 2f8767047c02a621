"""Who asks the control process of a daemon over HTTP, as a kubelet and Prometheus do."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class Control:
    """Asks a control process at a Unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(DEADLINE_S)
        client.connect(str(self.path))
        return client

    def get(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body."""
        connection = http.client.HTTPConnection("control")
        connection.sock = self.connect()
        with contextlib.closing(connection):
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def health(self, path: str) -> tuple[int, dict[str, Any]]:
        status, _headers, body = self.get(path)
        answer: dict[str, Any] = json.loads(body)
        return status, answer

    def wait_for(self, path: str, status: int) -> dict[str, Any]:
        """The answer of ``path`` when it has ``status``, waited for."""
        tick, answer = threading.Event(), None
        for _ in range(int(DEADLINE_S / 0.02)):
            with contextlib.suppress(ConnectionError, http.client.BadStatusLine):  # at its limit of connections
                got, answer = self.health(path)
                if got == status:
                    return answer
            tick.wait(0.02)
        pytest.fail(f"{path} does not become {status}: {answer}")

    def metric(self, name: str, **labels: str) -> float:
        _status, _headers, body = self.get("/metrics")
        samples = [s for family in text_string_to_metric_families(body.decode()) for s in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    def wait_for_metric(self, name: str, value: float, **labels: str) -> None:
        """Wait until the metric has ``value``."""
        self._wait(name, labels, lambda got: got == value)

    def wait_for_more(self, name: str, than: float, **labels: str) -> float:
        """The metric's value when it is greater ``than`` that."""
        return self._wait(name, labels, lambda got: got > than)

    def _wait(self, name: str, labels: Mapping[str, str], holds: Callable[[float], bool]) -> float:
        tick, got = threading.Event(), 0.0
        for _ in range(int(DEADLINE_S / 0.05)):
            if holds(got := self.metric(name, **labels)):
                return got
            tick.wait(0.05)
        pytest.fail(f"{name}{labels} does not become what it should: {got}")
