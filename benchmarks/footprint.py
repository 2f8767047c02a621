"""What serving costs: processor time beside the platform's, memory after many quotes, time from start to answer."""

from __future__ import annotations

import compileall
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Target, middle, spread
from benchmarks.profile_quote import platform_quote_s
from benchmarks.rig import (
    PATIENCE_S,
    ROOT,
    BenchError,
    Daemon,
    cpu_s,
    drive,
    end,
    must_answer,
    proportional_kib,
    receive_frame,
    resident_kib,
    serve_command,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.figures import Plan

_SERVE_ALONE = """
import os, socket
from quotehelper.node.companions import Place
from quotehelper.node.config import Settings
from quotehelper.node.counters import Counters
from quotehelper.node.leash import Leash
from quotehelper.node.log import Log, LogSettings
from quotehelper.node.process import serve
listener, leash, state = {arguments}
settings, sockets = Settings("simulated", state), [socket.socket(fileno=listener)]
counters = Counters.create(1)
place = Place(counters.serving[0], None, counters.workers[0])
serve(settings, sockets, Log(LogSettings()), Leash(socket.socket(fileno=leash)), place)
"""
"""A serving process without its supervisor, on descriptors that it inherits."""


def own_cost(plan: Plan) -> Iterator[Figure]:
    """Processor time a quote over the platform's own: sockets, parsing, checks, encoding, counting, the worker."""
    yield _own_cost(plan, "own processor time a quote", 25)
    yield _own_cost(plan, "own processor time a quote, through a worker", 80, "--platform-process", "worker")


def _own_cost(plan: Plan, name: str, limit_us: float, *options: str) -> Figure:
    own, whole, platform = [], [], []
    with Daemon(plan.state, *options) as daemon:
        processes = [*daemon.serving, *daemon.workers]
        for _ in range(plan.scale.slices):
            before = platform_quote_s(plan.state)
            used = cpu_s(processes)
            count = max(1000, plan.scale.quotes // 20)
            must_answer(
                drive(daemon.socket, plan.frames["quote"], "--clients", "64", "--requests", str(count)), "quotes"
            )
            whole.append((cpu_s(processes) - used) / count * 1e6)
            platform.append((before + platform_quote_s(plan.state)) / 2 * 1e6)
            own.append(whole[-1] - platform[-1])
    return Figure(
        name,
        Target("≤", limit_us, "µs over the platform's call"),
        middle(own),
        f"{middle(own):.1f} µs{spread(own)}: {middle(whole):.1f} less {middle(platform):.1f} in platform.quote()",
        {"own_us": own, "whole_us": whole, "platform_us": platform},
    )


def memory(plan: Plan) -> Iterator[Figure]:
    """Resident memory after many quotes, and how much of it came after the first tenth of them."""
    tenth = plan.scale.quotes // 10
    with (
        tempfile.TemporaryDirectory(prefix="quotehelper-bench-") as directory,
        Daemon(plan.state, "--metrics", str(Path(directory) / "metrics")) as daemon,
    ):
        (serving,) = daemon.serving
        must_answer(drive(daemon.socket, plan.frames["quote"], "--clients", "64", "--requests", str(tenth)), "quotes")
        early = resident_kib(serving)
        rest = plan.scale.quotes - tenth
        must_answer(drive(daemon.socket, plan.frames["quote"], "--clients", "64", "--requests", str(rest)), "quotes")
        late = resident_kib(serving)
        together = proportional_kib(daemon.processes)
    made = f"after {plan.scale.quotes:,} quotes"
    facts = {"quotes": plan.scale.quotes, "rss_kib": late, "rss_kib_after_a_tenth": early, "pss_kib": together}
    yield Figure(
        "RSS of a serving process", Target("≤", 25, "MiB"), late / 1024, f"{late / 1024:.1f} MiB {made}", facts
    )
    yield Figure(
        "PSS of the whole daemon, metrics on",
        Target("≤", 90, "MiB"),
        together / 1024,
        f"{together / 1024:.1f} MiB {made}",
        facts,
    )
    growth = late - early  # a page more now and then is no growth: what is kept of each quote would be
    kept = growth * 1024 / rest
    yield Figure("growth of RSS", Target("≤", 0.1, "bytes a quote"), kept, f"{growth} KiB in {rest:,} quotes", facts)


def start(plan: Plan) -> Iterator[Figure]:
    """From exec to the first answered quote: a serving process alone against a bare interpreter, the whole daemon."""
    compileall.compile_dir(ROOT / "src", quiet=1)  # as an installed package has it
    bare, alone, whole = [], [], []
    for _ in range(plan.scale.starts):
        bare.append(_seconds(_start_interpreter))
        alone.append(_start_serving(plan))
        whole.append(_start_daemon(plan))
    ratios = [a / b for a, b in zip(alone, bare, strict=True)]
    yield Figure(
        "start to first quote, serving process alone",
        Target("≤", 5, "times a bare interpreter"),
        middle(ratios),
        f"{middle(ratios):.1f}{spread(ratios)}: {middle(alone) * 1000:.0f} ms to {middle(bare) * 1000:.0f} ms",
        {"ratios": ratios, "serving_s": alone, "interpreter_s": bare},
    )
    yield Figure(
        "start to first quote, whole daemon",
        Target("≤", 0.5, "s"),
        middle(whole),
        f"{middle(whole):.3f} s{spread(whole)}",
        {"daemon_s": whole},
    )


def _seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def _start_interpreter() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def _start_serving(plan: Plan) -> float:
    """A client has already asked when the process begins: seconds until it has its quote."""
    with _listening() as (path, listener), socket.socket(socket.AF_UNIX) as client:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.connect(path)
        client.sendall(plan.frames["quote"])
        inherited = (listener.fileno(), theirs.fileno())
        program = _SERVE_ALONE.format(arguments=repr((*inherited, str(plan.state))))
        begin = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", program], pass_fds=inherited, stderr=subprocess.PIPE)
        client.settimeout(PATIENCE_S)
        try:
            receive_frame(client)
        except TimeoutError:
            process.kill()
            said = process.communicate()[1].decode(errors="replace").strip()
            raise BenchError(f"a serving process alone gave no quote: {said}") from None
        seconds = time.perf_counter() - begin
        ours.close()
        end(process)
        theirs.close()
        return seconds


@contextmanager
def _listening() -> Iterator[tuple[str, socket.socket]]:
    with (
        tempfile.TemporaryDirectory(prefix="quotehelper-bench-") as directory,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        path = str(Path(directory) / "socket")
        listener.bind(path)
        listener.listen(4096)
        os.set_blocking(listener.fileno(), False)
        yield path, listener


def _start_daemon(plan: Plan) -> float:
    """A client that tries to connect every half millisecond: seconds until it has its quote."""
    with tempfile.TemporaryDirectory(prefix="quotehelper-bench-") as directory:
        path = str(Path(directory) / "socket")
        begin = time.perf_counter()
        process = subprocess.Popen(serve_command(plan.state, path), stderr=subprocess.DEVNULL)
        try:
            with _connect(path, process) as client:
                client.sendall(plan.frames["quote"])
                receive_frame(client)
            return time.perf_counter() - begin
        finally:
            end(process)


def _connect(path: str, process: subprocess.Popen[bytes]) -> socket.socket:
    while process.poll() is None:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            client.close()
            time.sleep(0.0005)
        else:
            return client
    raise BenchError("the daemon did not start")
