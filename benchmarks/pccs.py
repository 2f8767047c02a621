"""The collateral service: requests a second, memory, and what many platforms cost.

The real process over plain HTTP, connections kept as clients keep them; an SQLite store with 1, 100 and 10,000
platforms, all of one family and under one certificate, each with a QE id of its own; every request is for another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.figures import Figure, Target, middle, spread
from benchmarks.rig import BenchError, end, resident_kib
from quotehelper.collateral.catalog import PlatformId, RawTcb, Registration
from quotehelper.collateral.importing import import_collateral
from quotehelper.collateral.proof import Trust
from quotehelper.collateral.store import Store
from quotehelper.platforms.simulated import provisioning
from quotehelper.platforms.simulated.state import read_state
from quotehelper.verification.roots import Roots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from benchmarks.figures import Plan

CONNECTIONS = 16
FEW, SOME, MANY = 1, 100, 10_000
"""Platforms in the store; fewer at a scale that means nothing."""
_BASE = "/sgx/certification/v4/"


class Served(NamedTuple):
    """A running service: its process, its port, and the target of a request for each of its platforms."""

    pid: int
    port: int
    certificates: Sequence[str]


def collateral_service(plan: Plan) -> Iterator[Figure]:
    """The figures of one process."""
    rates: dict[int, list[float]] = {}
    memory: dict[int, int] = {}
    documents: list[float] = []
    most = min(MANY, plan.scale.quotes // 4)
    with tempfile.TemporaryDirectory() as directory:
        for count in (FEW, SOME, most):
            with _service(plan.state, Path(directory) / str(count), count) as served:
                targets = served.certificates
                rates[count] = [
                    asyncio.run(_saturate(served.port, targets, plan.scale.slice_s)) for _ in range(plan.scale.slices)
                ]
                if count == FEW:
                    info = [f"{_BASE}tcb?fmspc={read_state(plan.state).fmspc.hex()}"]
                    documents = [
                        asyncio.run(_saturate(served.port, info, plan.scale.slice_s)) for _ in range(plan.scale.slices)
                    ]
                memory[count] = resident_kib(served.pid)
    measured = f"{middle(documents):,.0f}/s{spread(documents)} over {CONNECTIONS} kept connections"
    yield Figure("TCB info, one process", Target("≥", 500, "/s"), middle(documents), measured, {"rates": documents})
    many = middle(rates[most])
    measured = f"{many:,.0f}/s{spread(rates[most])} of {most:,} platforms"
    yield Figure("PCK certificates, one process", Target("≥", 500, "/s"), many, measured, {"rates": rates})
    share = many / middle(rates[FEW])
    measured = f"{share:.2f}: {many:,.0f}/s with {most:,} platforms, {middle(rates[FEW]):,.0f}/s with one"
    yield Figure("many platforms", Target("≥", 0.8, "of the rate with one"), share, measured, {"rates": rates})
    measured = ", ".join(f"{kib / 1024:.1f} MiB with {count:,}" for count, kib in memory.items())
    yield Figure("RSS of the service", Target("≤", 150, "MiB"), memory[most] / 1024, measured, {"rss_kib": memory})


@contextlib.contextmanager
def _service(state: Path, directory: Path, count: int) -> Iterator[Served]:
    """A service over a store with ``count`` platforms."""
    directory.mkdir()
    provisioning.export_collateral(state, directory / "out", dt.datetime.now(dt.UTC))
    database, root = str(directory / "store.db"), directory / "out" / "root.pem"
    certificates = _fill(database, directory / "out", read_state(state).cpu_svn.hex().upper(), count)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "quotehelper", "pccs", "serve", "--db", database, "--mode", "OFFLINE"),
            *("--listen", "127.0.0.1:0", "--insecure-http", "--insecure-simulated-root", str(root)),
        ],
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield Served(process.pid, _port(process), certificates)
        finally:
            end(process)


def _fill(database: str, out: Path, cpu_svn: str, count: int) -> list[str]:
    """Put the exported platform into the store under ``count`` QE ids; returns the target of a request for each."""
    trust = Trust(Roots.insecure_simulated((out / "root.pem").read_bytes()))
    store, raw = Store(database), RawTcb(cpu_svn, "1000")
    import_collateral(store, (out / "pccs.json").read_bytes(), trust, dt.datetime.now(dt.UTC))
    (known,) = store.platforms()
    found = store.pck_set(known.registration.id)
    names = [PlatformId(f"{number:032X}", known.registration.id.pce_id) for number in range(count)]
    store.put_platforms([(Registration(name), found) for name in names])
    store.put_decisions([(name, raw, found.certificates[0].tcb.tcbm) for name in names])
    store.close()
    return [f"{_BASE}pckcert?qeid={name.qe_id}&cpusvn={cpu_svn}&pcesvn=1000&pceid={name.pce_id}" for name in names]


def _port(process: subprocess.Popen[bytes]) -> int:
    for line in process.stderr or ():
        if found := re.search(rb" ready url=http://127\.0\.0\.1:(\d+)/", line):
            return int(found[1])
    raise BenchError("the collateral service did not start")


async def _saturate(port: int, targets: Sequence[str], seconds: float) -> float:
    """Requests a second while every connection asks for one of ``targets`` after the other as fast as it can."""
    until = time.perf_counter() + seconds

    async def ask(number: int) -> int:
        count = 0
        async with _connected(port) as (reader, writer):
            while time.perf_counter() < until:
                target = targets[(number + count * CONNECTIONS) % len(targets)]
                writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                size = re.search(rb"\r\nContent-Length: (\d+)", head)
                if not head.startswith(b"HTTP/1.1 200") or size is None:
                    raise BenchError(f"{target} was answered {head[:60]!r}")
                await reader.readexactly(int(size[1]))
                count += 1
        return count

    return sum(await asyncio.gather(*(ask(number) for number in range(CONNECTIONS)))) / seconds


@contextlib.asynccontextmanager
async def _connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
