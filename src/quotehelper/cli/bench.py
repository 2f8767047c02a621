"""``quotehelper bench``: what an AESM daemon can do, measured from where its clients are, without a compiler."""

from __future__ import annotations

import contextlib
import errno
import select
import socket as sockets
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from quotehelper.aesm.transport import SOCKET_PATH
from quotehelper.cli.output import json_option, print_facts, print_json, talk
from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from quotehelper.aesm.client import AesmClient
    from quotehelper.aesm.messages import Request
    from quotehelper.sgx.report import Report, TargetInfo

KINDS = ("quote", "size", "num", "ids", "select", "init")
"""What can be asked for; all but quotes touch no key. init: without the key's id."""

CLIENT_TIMEOUT_MS = 15_000
"""What Intel's client puts into its requests, and how long it waits (aesm 1.5)."""

_RETRY_S = 0.001
_TICK_S = 0.1
_STATUS_ENDS_BY = 12
"""Bytes of a reply up to which its errorCode has ended: length 4, key 2, length of the message 3, errorCode 2 or 3."""
_AT_ITS_LIMIT = 0.9
_EXIT_NOTHING_ANSWERED = 3


@click.command()
@click.option("--socket", default=SOCKET_PATH, help="The daemon's socket.")
@click.option("--clients", type=click.IntRange(1, 4096), default=64, help="Clients at the same time.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), default=5.0, help="For how long.")
@click.option(
    "--request",
    type=click.Choice(KINDS),
    show_default="quote with --state or --report, else size",
    help="What is asked.",
)
@click.option(
    "--state",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A simulated platform's state: play an enclave on its processor.",
)
@click.option(
    "--report",
    "report_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A report of 432 bytes that an enclave made for the daemon's target info.",
)
@json_option
def command(  # noqa: PLR0913  one argument an option
    *,
    socket: str,
    clients: int,
    seconds: float,
    request: str | None,
    state: Path | None,
    report_file: Path | None,
    as_json: bool,
) -> int:
    """Measure an AESM daemon, this project's or another: requests a second, latency, errors.

    As every AESM client does, each request makes a connection of its own. A quote needs a report that the daemon's
    quoting enclave accepts: --state plays the enclave (simulated platforms), --report brings one. Ctrl-C ends early,
    with the figures until then.
    """
    from quotehelper.aesm.client import AesmClient

    kind = request or ("size" if state is None and report_file is None else "quote")
    make_report = _report_maker(state, report_file)
    if kind == "quote" and make_report is None:
        raise click.UsageError("a quote is over a report: give --state (simulated platforms) or --report")
    asked = request_of_kind(kind, AesmClient(socket), make_report)
    AesmClient(socket).exchange(asked)  # a daemon that is not there, or refuses this, is an error and no figure
    load = Load(socket, asked)
    with _progress(kind, seconds) as tick, contextlib.suppress(KeyboardInterrupt):
        load.run(clients, seconds, tick)
    result = load.result()
    if as_json:
        print_json({"socket": socket, "request": kind, "clients": clients, **result._asdict()})
    else:
        title = f"{kind} requests, {clients} client{'s' * (clients > 1)}"
        print_facts(title, _for_people(result), as_json=False)
        _talk_of_limits(result)
    return 0 if result.answered else _EXIT_NOTHING_ANSWERED


# What is asked


def request_of_kind(
    kind: str, client: AesmClient, make_report: Callable[[TargetInfo], Report] | None = None
) -> Request:
    """The request of ``kind`` as Intel's client makes it; for a quote the daemon is asked for size and target first.

    Raises TransportError and DaemonError as the client does.
    """
    from quotehelper.aesm import messages as m
    from quotehelper.sgx.key_id import QE3_KEY_ID

    key = QE3_KEY_ID.raw
    if kind != "quote":
        metadata: dict[str, Request] = {
            "size": m.GetQuoteSizeExRequest(att_key_id=key, timeout=CLIENT_TIMEOUT_MS),
            "num": m.GetSupportedAttKeyIDNumRequest(timeout=CLIENT_TIMEOUT_MS),
            "ids": m.GetSupportedAttKeyIDsRequest(buf_size=len(key), timeout=CLIENT_TIMEOUT_MS),
            "select": m.SelectAttKeyIDRequest(timeout=CLIENT_TIMEOUT_MS),
            "init": m.InitQuoteExRequest(b_pub_key_id=False, att_key_id=key, timeout=CLIENT_TIMEOUT_MS),
        }
        return metadata[kind]
    if make_report is None:
        raise ValueError("a quote needs a report")
    target_info, _public_key_id = client.init_quote(QE3_KEY_ID)
    report, size = make_report(target_info).raw, client.quote_size(QE3_KEY_ID)
    return m.GetQuoteExRequest(report=report, att_key_id=key, buf_size=size, timeout=CLIENT_TIMEOUT_MS)


def play_enclave(state: Path) -> Callable[[TargetInfo], Report]:
    """Makes reports of an enclave on the simulated platform in ``state``. Raises ConfigError if that can't be used."""
    from quotehelper.cli.quote import enclave_identity
    from quotehelper.platforms.simulated.state import load_cpu

    enclave = load_cpu(state).load(enclave_identity(b"\xe1" * 32, b"\x51" * 32, 0, 1, debug=False))
    return lambda target_info: enclave.report(target_info, bytes(64))


def _report_maker(state: Path | None, report_file: Path | None) -> Callable[[TargetInfo], Report] | None:
    from quotehelper.sgx.report import Report

    if state is not None and report_file is not None:
        raise click.UsageError("give either --state or --report")
    if report_file is not None:
        report = Report(report_file.read_bytes())
        return lambda _target_info: report
    return None if state is None else play_enclave(state)


# The load


class Result(NamedTuple):
    """What was seen. Latencies are from before connecting until the reply is complete.

    ``own_share``: the share of one processor core that this program took; near 1 it is the limit, not the daemon.
    """

    answered: int
    seconds: float
    requests_per_second: float
    latency_us: dict[str, int]
    reply_bytes: int
    errors: dict[str, int]
    statuses: dict[int, int]
    own_share: float


class _Exchange:
    """One request on its way."""

    __slots__ = ("began", "connection", "received")

    def __init__(self, connection: sockets.socket, began: float) -> None:
        self.connection = connection
        self.began = began
        self.received = b""


class Load:
    """Clients of the daemon at ``path`` that send ``request`` again and again, each time on a new connection.

    One thread and one loop over all connections: several would wait for each other's turn in the interpreter.
    """

    def __init__(self, path: str, request: Request) -> None:
        from quotehelper.aesm.messages import encode_request

        self._path = path
        self._frame = encode_request(request)
        self._response = request.RESPONSE
        self._poller = select.epoll()
        self._exchanges: dict[int, _Exchange] = {}
        self._resting: deque[float] = deque()
        self._known_heads: dict[bytes, int | None] = {}
        self._latencies: Counter[int] = Counter()
        self._errors: Counter[str] = Counter()
        self._statuses: Counter[int] = Counter()
        self._reply_bytes = 0
        self._seconds = self._own_s = 0.0

    def run(self, clients: int, seconds: float, tick: Callable[[float], None]) -> None:
        """Ask for ``seconds``; ``tick`` is told ten times a second how many of them have passed."""
        began, own = time.perf_counter(), time.process_time()
        next_tick = 0.0
        self._resting.extend([0.0] * clients)
        try:
            while (passed := time.perf_counter() - began) < seconds:
                if passed >= next_tick:
                    tick(passed)
                    self._give_up_on_late()
                    next_tick = passed + _TICK_S
                self._wake()
                patience = _RETRY_S if self._resting else min(_TICK_S, seconds - passed)
                for fd, _mask in self._poller.poll(patience):
                    self._receive(self._exchanges[fd])
        finally:
            self._seconds = time.perf_counter() - began
            self._own_s = time.process_time() - own
            for exchange in list(self._exchanges.values()):
                self._close(exchange)
            self._poller.close()

    def result(self) -> Result:
        """What was seen in ``run``."""
        answered = self._latencies.total()
        return Result(
            answered=answered,
            seconds=self._seconds,
            requests_per_second=answered / self._seconds,
            latency_us=_percentiles(self._latencies),
            reply_bytes=self._reply_bytes,
            errors=dict(self._errors),
            statuses=dict(self._statuses),
            own_share=self._own_s / self._seconds,
        )

    def _start(self) -> None:
        began = time.perf_counter()
        connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM | sockets.SOCK_NONBLOCK)
        exchange = _Exchange(connection, began)
        self._exchanges[connection.fileno()] = exchange
        try:
            connection.connect(self._path)
            connection.send(self._frame)
        except OSError as error:
            self._fail(exchange, _kind_of_error(error))
            return
        self._poller.register(connection.fileno(), select.EPOLLIN)

    def _receive(self, exchange: _Exchange) -> None:
        try:
            data = exchange.connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(exchange, _kind_of_error(error))
            return
        if not data:
            self._fail(exchange, "short" if exchange.received else "closed")
            return
        exchange.received = received = exchange.received + data
        if len(received) >= 4 and len(received) - 4 >= int.from_bytes(received[:4], "little"):  # noqa: PLR2004  a frame
            self._finish(exchange)

    def _finish(self, exchange: _Exchange) -> None:
        latency_us = int((time.perf_counter() - exchange.began) * 1e6)
        self._close(exchange)
        self._start()
        head = exchange.received[:_STATUS_ENDS_BY]
        status = self._known_heads[head] if head in self._known_heads else self._read_status(exchange.received)
        if status is None:
            self._errors["unreadable"] += 1
        elif status:
            self._errors["status"] += 1
            self._statuses[status] += 1
        else:
            self._latencies[latency_us] += 1
            self._reply_bytes = len(exchange.received)

    def _read_status(self, reply: bytes) -> int | None:
        """The status in a reply, decoded once for all that begin alike; None if it is no answer to the request."""
        from quotehelper.aesm.messages import decode_response

        try:
            status: int | None = decode_response(reply[4:], self._response).error_code
        except DecodeError:
            return None
        self._known_heads[reply[:_STATUS_ENDS_BY]] = status
        return status

    def _fail(self, exchange: _Exchange, kind: str) -> None:
        self._errors[kind] += 1
        self._close(exchange)
        self._resting.append(time.perf_counter() + _RETRY_S)

    def _close(self, exchange: _Exchange) -> None:
        del self._exchanges[exchange.connection.fileno()]
        exchange.connection.close()

    def _wake(self) -> None:
        now = time.perf_counter()
        while self._resting and self._resting[0] <= now:
            self._resting.popleft()
            self._start()

    def _give_up_on_late(self) -> None:
        limit = time.perf_counter() - CLIENT_TIMEOUT_MS / 1000
        for exchange in [exchange for exchange in self._exchanges.values() if exchange.began < limit]:
            self._fail(exchange, "timed_out")


def _kind_of_error(error: OSError) -> str:
    if error.errno == errno.EAGAIN:
        return "again"  # the listener's backlog is full
    if error.errno in {errno.ECONNREFUSED, errno.ENOENT}:
        return "refused"
    return "closed" if error.errno in {errno.EPIPE, errno.ECONNRESET} else "other"


def _percentiles(latencies: Counter[int]) -> dict[str, int]:
    """Of latencies counted by µs; empty if there are none."""
    wanted = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    total, seen, found = latencies.total(), 0, {}
    for us in sorted(latencies):
        seen += latencies[us]
        for name in [name for name, share in wanted.items() if name not in found and seen >= share * total]:
            found[name] = us
    return found


# What people see


@contextlib.contextmanager
def _progress(kind: str, seconds: float) -> Iterator[Callable[[float], None]]:
    """A bar on standard error, where somebody watches."""
    if not sys.stderr.isatty():
        yield lambda _passed: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"{kind} requests", total=seconds)
        yield lambda passed: progress.update(task, completed=passed)


def _for_people(result: Result) -> dict[str, object]:
    facts: dict[str, Any] = {
        "answered": f"{result.answered:,} in {result.seconds:.1f} s",
        "requests_per_second": f"{result.requests_per_second:,.0f}",
        "latency": ", ".join(f"{name} {us:,} µs" for name, us in result.latency_us.items()) or "none",
        "reply_bytes": f"{result.reply_bytes:,}",
        "errors": ", ".join(f"{name} {count:,}" for name, count in result.errors.items()) or "none",
    }
    if result.statuses:
        from quotehelper.aesm.status import AesmStatus

        known = {status.value: status.name for status in AesmStatus}
        told = (f"{status} {known.get(status, '')} {count:,}" for status, count in sorted(result.statuses.items()))
        facts["statuses"] = ", ".join(told)
    return facts


def _talk_of_limits(result: Result) -> None:
    share = f"This program took {result.own_share:.0%} of a processor core"
    if result.own_share > _AT_ITS_LIMIT:
        talk(f"{share}: it is at its own limit, the daemon may be faster than this.")
    else:
        talk(f"{share}, which the daemon did not have.")
