"""Where the time of a quote goes: each step of its way, in microseconds.

    python -m benchmarks.profile_quote [--state DIR]

Every step is run by itself many times in this process, on real sockets where it needs them: a profiler would cost
more than what it looks at. What the steps leave of the serving process's time under load is the loop around them,
and that under load caches are colder and cores are shared.
"""

from __future__ import annotations

import functools
import itertools
import os
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from rich.console import Console
from rich.table import Table

from benchmarks import rig
from benchmarks.document import markdown_table, replace_section
from benchmarks.limits import SIGNED_SIZE, openssl_sign_s
from benchmarks.rig import BenchError, Daemon, cpu_s, drive, must_answer
from benchmarks.workload import request_frames
from quotehelper.aesm.messages import GetQuoteExResponse, decode_request, encode_response
from quotehelper.cli.bench import play_enclave
from quotehelper.node.config import Limits
from quotehelper.node.log import Log, LogSettings
from quotehelper.node.service import Service
from quotehelper.platforms.simulated.enclaves import attestation_key, encode_signature, qe3_identity
from quotehelper.platforms.simulated.state import load, read_state
from quotehelper.sgx.key_id import QE3_KEY_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quotehelper.platforms.simulated.platform import SimulatedPlatform
    from quotehelper.sgx.report import Report

CONNECTIONS = 32
"""Connections in a batch, as the serving loop takes them."""


class Step(NamedTuple):
    """One step: what it is, seconds it takes; ``depth`` of the part within the step above it."""

    name: str
    seconds: float
    depth: int = 0


def timed(run: Callable[[], object], seconds: float = 0.2) -> float:
    """Seconds that one ``run`` takes: the best of five rounds, as whatever else the machine does only adds."""
    count, took = 1, 0.0
    while took < seconds / 20:
        count *= 2
        took = _round(run, count)
    count = max(1, int(count * seconds / 5 / took))
    return min(_round(run, count) for _ in range(5)) / count


def _round(run: Callable[[], object], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        run()
    return time.perf_counter() - begin


def platform_quote_s(state: Path, seconds: float = 0.25) -> float:
    """Seconds of processor time that one ``platform.quote()`` takes in this process, on the average."""
    platform, report = _platform_and_report(state)
    begin = time.process_time()
    count = 0
    while (elapsed := time.process_time() - begin) < seconds or not count:
        for _ in range(64):
            platform.quote(report, QE3_KEY_ID)
        count += 64
    return elapsed / count


def quote_steps(state: Path, frame: bytes) -> list[Step]:
    """The steps from a request's bytes to its answer's, without sockets."""
    platform, report = _platform_and_report(state)
    service = Service(platform, Limits(), Log(LogSettings()))
    body = frame[4:]
    request = decode_request(body)
    whole = timed(lambda: service.answer(request))
    quote = timed(lambda: platform.quote(report, QE3_KEY_ID))
    # The response itself is not visible from outside: encoding is timed on one with the same fields.
    encode = timed(functools.partial(encode_response, _response(platform, report)))
    own_report = read_state(state).cpu().load(qe3_identity(*read_state(state).qe))
    key = attestation_key(own_report)
    message, algorithm = bytes(SIGNED_SIZE), ec.ECDSA(SHA256())
    der = key.sign(message, algorithm)
    mac = timed(lambda: own_report.verify_report(report))
    sign = timed(lambda: key.sign(message, algorithm))
    raw = timed(lambda: encode_signature(der))
    return [
        Step("decode the request", timed(lambda: decode_request(body))),
        Step("checks of the service", whole - quote - encode),
        Step("platform.quote()", quote),
        Step("check the report's MAC", mac, 1),
        Step("sign", sign, 1),
        Step("of it OpenSSL alone (S)", openssl_sign_s(), 2),
        Step("signature from DER to r ‖ s", raw, 1),
        Step("put together", quote - mac - sign - raw, 1),
        Step("encode the response", encode),
    ]


def socket_steps(request: bytes, reply: bytes, seconds: float = 0.5) -> list[Step]:
    """The system calls of the serving loop for one client, by a batch, each timed from Python."""
    names = ("accept", "set_blocking", "read", "write", "read again, when the client has closed", "close")
    totals = dict.fromkeys(names, 0.0)
    rounds = 0
    with (
        tempfile.TemporaryDirectory(prefix="quotehelper-bench-") as directory,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        path = str(Path(directory) / "socket")
        listener.bind(path)
        listener.listen(4096)
        give_up = time.perf_counter() + seconds
        while time.perf_counter() < give_up:
            for name, took in zip(names, _batch(listener, path, request, reply), strict=True):
                totals[name] += took
            rounds += 1
    return [Step(name, total / rounds / CONNECTIONS) for name, total in totals.items()]


def _batch(listener: socket.socket, path: str, request: bytes, reply: bytes) -> list[float]:
    """Seconds that each step takes for a whole batch, its clients being played in between."""
    clients = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS)]
    for client in clients:
        client.connect(path)
        client.send(request)
    marks = [time.perf_counter()]
    fds = [listener._accept()[0] for _ in clients]  # type: ignore[attr-defined]  # noqa: SLF001  as the serving loop
    marks.append(time.perf_counter())
    for fd in fds:
        os.set_blocking(fd, False)
    marks.append(time.perf_counter())
    for fd in fds:
        os.read(fd, 4096)
    marks.append(time.perf_counter())
    for fd in fds:
        os.write(fd, reply)
    marks.append(time.perf_counter())
    for client in clients:
        client.recv(65536)
        client.close()
    closed = time.perf_counter()
    for fd in fds:
        os.read(fd, 4096)
    marks.append(time.perf_counter() - closed + marks[-1])
    begin = time.perf_counter()
    for fd in fds:
        os.close(fd)
    marks.append(time.perf_counter() - begin + marks[-1])
    return [b - a for a, b in itertools.pairwise(marks)]


def loaded_quote_s(state: Path, frame: bytes, count: int) -> tuple[float, float]:
    """Seconds of a serving process's time that a quote takes at 64 clients, user and system together; and S then."""
    with Daemon(state) as daemon:
        before, used = openssl_sign_s(), cpu_s(daemon.serving)
        must_answer(drive(daemon.socket, frame, "--clients", "64", "--requests", str(count)), "quotes")
        used = cpu_s(daemon.serving) - used
        return used / count, (before + openssl_sign_s()) / 2


def _platform_and_report(state: Path) -> tuple[SimulatedPlatform, Report]:
    platform = load(state)
    return platform, play_enclave(state)(platform.target(QE3_KEY_ID).target_info)


def _response(platform: SimulatedPlatform, report: Report) -> GetQuoteExResponse:
    return GetQuoteExResponse(error_code=0, quote=platform.quote(report, QE3_KEY_ID).quote)


@click.command()
@click.option(
    "--state", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A simulated platform's state."
)
@click.option("--quotes", type=click.IntRange(100), default=100_000, show_default=True, help="Made under load.")
@click.option("--docs", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Put the table there, too.")
def main(state: Path | None, quotes: int, docs: Path | None) -> None:
    """Print where the time of a quote goes."""
    try:
        with rig.platform(state) as ready:
            _report(ready, quotes, docs)
    except BenchError as error:
        raise click.ClickException(str(error)) from error


def _report(state: Path, quotes: int, docs: Path | None) -> None:
    with Daemon(state) as daemon:
        frame = request_frames(daemon.socket, state)["quote"]
    reply = encode_response(_response(*_platform_and_report(state)))
    steps = [*quote_steps(state, frame), *socket_steps(frame, reply)]
    whole, sign_s = loaded_quote_s(state, frame, quotes)
    steps += _remainder(steps, whole)
    share = f"S = {sign_s * 1e6:.1f} µs; {whole / sign_s:.2f} S a quote: at most {sign_s / whole:.2f} of the limit"
    print_steps(steps)
    print(share)
    if docs is not None:
        rows = [[f"{'&emsp;' * step.depth}{step.name}", f"{step.seconds * 1e6:.2f}"] for step in steps]
        replace_section(docs, "profile", f"{markdown_table(('step', 'µs'), rows)}\n\n{share}.")


def _remainder(steps: Sequence[Step], whole: float) -> list[Step]:
    rest = whole - sum(step.seconds for step in steps if not step.depth)
    return [Step("the loop, waking up, colder caches", rest), Step("one quote under load, 64 clients", whole)]


def print_steps(steps: Sequence[Step]) -> None:
    """A table of the steps."""
    table = Table("step", "µs", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for step in steps:
        table.add_row("  " * step.depth + step.name, f"{step.seconds * 1e6:.2f}")
    Console(highlight=False).print(table)


if __name__ == "__main__":
    main()
