"""Reviews a second of one webhook replica, and how long they take at the rate that it must stand.

The real process over TLS, connections kept as an API server keeps them; each review brings a pod of ordinary size with
two containers, one of which is opted in, and gets a patch.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figure, Target, middle, spread
from benchmarks.rig import BenchError
from quotehelper.kube.webhook.authority import make_generation
from quotehelper.kube.webhook.settings import PODS_PATH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from benchmarks.figures import Plan

CONNECTIONS = 8
RATE = 500
"""Reviews a second that a replica must answer in time."""
_ANSWER_LIMIT_BYTES = 1 << 20


def reviews(plan: Plan) -> Iterator[Figure]:
    """The figures of one replica."""
    with _webhook() as (process, port, context):
        rates, late, spent = [], [], []
        for _slice in range(plan.scale.slices):
            before = _processor_s(process)
            rates.append(asyncio.run(_saturate(port, context, plan.scale.slice_s)))
            spent.append((_processor_s(process) - before) / (rates[-1] * plan.scale.slice_s) * 1000)
            late.append(asyncio.run(_pace(port, context, plan.scale.slice_s)))
    measured = f"{middle(rates):,.0f}/s{spread(rates)} over {CONNECTIONS} connections"
    yield Figure("admission reviews, one replica", Target("≥", RATE, "/s"), middle(rates), measured, {"rates": rates})
    measured = f"{middle(spent):.2f} ms{spread(spent)}, TLS and HTTP included"
    yield Figure("processor time of a review", Target("≤", 1, "ms"), middle(spent), measured, {"ms": spent})
    p99 = middle(late)
    measured = f"{p99:.1f} ms{spread(late)}"
    yield Figure(f"p99 of a review at {RATE}/s", Target("≤", 10, "ms"), p99, measured, {"p99_ms": late})


@contextlib.contextmanager
def _webhook() -> Iterator[tuple[int, int, ssl.SSLContext]]:
    """A running replica: its process id, its port, and what verifies it."""
    made = make_generation(time.time(), ("localhost",))
    with tempfile.TemporaryDirectory() as directory:
        certificate, key = Path(directory) / "tls.crt", Path(directory) / "tls.key"
        certificate.write_text(made.certificate_pem)
        key.write_text(made.key_pem)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "quotehelper", "webhook", "--listen", "127.0.0.1:0", "--drain", "0"),
                *("--health-listen", "127.0.0.1:0", "--certificate", str(certificate), "--key", str(key)),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process.pid, _port(process), ssl.create_default_context(cadata=made.authority_pem)
            finally:
                process.terminate()


def _processor_s(process: int) -> float:
    """Processor time of a process so far, user and system."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _port(process: subprocess.Popen[str]) -> int:
    for line in process.stderr or ():
        if '"ready"' in line:
            return int(json.loads(line)["reviews"].rpartition(":")[2])
    raise BenchError("the webhook did not start")


async def _saturate(port: int, context: ssl.SSLContext, seconds: float) -> float:
    """Reviews a second while every connection asks as fast as it can."""
    until = time.perf_counter() + seconds

    async def ask(client: _Client) -> int:
        count = 0
        while time.perf_counter() < until:
            await client.ask()
            count += 1
        return count

    async with _clients(port, context) as clients:
        return sum(await asyncio.gather(*(ask(client) for client in clients))) / seconds


async def _pace(port: int, context: ssl.SSLContext, seconds: float) -> float:
    """The 99th percentile, in ms, from the moment that a review was due until its answer, at RATE a second."""
    latencies: list[float] = []

    async def ask(client: _Client, number: int) -> None:
        begin = time.perf_counter() + number / RATE
        for turn in range(int(seconds * RATE / CONNECTIONS)):
            due = begin + turn * CONNECTIONS / RATE
            await asyncio.sleep(due - time.perf_counter())
            await client.ask()
            latencies.append(time.perf_counter() - due)

    async with _clients(port, context) as clients:
        await asyncio.gather(*(ask(client, number) for number, client in enumerate(clients)))
    return sorted(latencies)[int(len(latencies) * 0.99)] * 1000


class _Client:
    """One connection that asks the same review again and again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        body = json.dumps(_review()).encode()
        head = f"POST {PODS_PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def ask(self) -> None:
        self.writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        size = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        answer = await self._reader.readexactly(min(size, _ANSWER_LIMIT_BYTES))
        if not head.startswith(b"HTTP/1.1 200") or b'"patch"' not in answer:
            raise BenchError(f"a review was not answered with a patch: {head!r}")


@contextlib.asynccontextmanager
async def _clients(port: int, context: ssl.SSLContext) -> AsyncIterator[list[_Client]]:
    made = [_Client(*await asyncio.open_connection("localhost", port, ssl=context)) for _ in range(CONNECTIONS)]
    try:
        yield made
    finally:
        for client in made:
            client.writer.close()


def _review() -> dict[str, Any]:
    labels = {f"example.com/label-{n}": "value" for n in range(20)}
    environment = [{"name": f"VARIABLE_{n}", "value": "something" * 4} for n in range(40)]
    limits = {"cpu": "500m", "memory": "512Mi"}
    with_epc = {**limits, "kubernetes.azure.com/sgx_epc_mem_in_MiB": "64"}
    containers = [
        {
            "name": name,
            "image": "registry.example/app:1",
            "env": environment,
            "resources": {"limits": has, "requests": has},
        }
        for name, has in (("app", with_epc), ("proxy", limits))
    ]
    annotations = {"quotehelper.dev/quoting": "app=out-of-process"}
    pod = {
        "metadata": {"name": "pod", "labels": labels, "annotations": annotations},
        "spec": {"containers": containers},
    }
    resource = {"group": "", "version": "v1", "resource": "pods"}
    request = {"uid": "u", "namespace": "ns", "operation": "CREATE", "resource": resource, "object": pod}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
