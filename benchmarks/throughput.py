"""Requests a second: quotes against the signing limit, metadata against the empty server, both against peers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.figures import Figure, Target, middle, spread
from benchmarks.limits import beside_signing
from benchmarks.rig import BenchError, Daemon, Load, drive, empty_server, exchange, must_answer
from benchmarks.workload import request_frames

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.figures import Plan

CLIENTS = 64
METADATA = ("num", "select", "ids", "size", "init")


class Slice(NamedTuple):
    """One run and S, seconds for a signature, measured around it."""

    sign_s: float
    load: Load

    @property
    def frac(self) -> float:
        """The share of one core's signing limit that was reached."""
        return self.load.rate * self.sign_s


def quotes(plan: Plan) -> Iterator[Figure]:
    """Quotes a second with one and with two serving processes, and how long their clients wait."""
    with Daemon(plan.state) as daemon:
        with empty_server(plan.frames["quote"], "--quote", str(plan.state)) as bare:
            turns = [(_slice(plan, daemon.socket), _slice(plan, bare)) for _ in range(plan.scale.slices)]
        slices, bare_slices = map(list, zip(*turns, strict=True))
        yield _signing_share("quotes, one serving process, 64 clients", 0.55, slices, bare_slices)
        yield _tail_latency(slices)
        yield _lone_client(plan, daemon.socket)
    with Daemon(plan.state, "--processes", "2") as daemon:
        slices = [_slice(plan, daemon.socket) for _ in range(plan.scale.slices)]
        yield _signing_share("quotes, two serving processes, 64 clients", 0.6, slices)


def metadata(plan: Plan) -> Iterator[Figure]:
    """Metadata requests a second by kind, against an empty server that gives the same reply."""
    with Daemon(plan.state) as daemon:
        for kind in METADATA:
            yield _metadata(plan, kind, daemon.socket)


def errors(plan: Plan) -> Iterator[Figure]:
    """Transport errors, from 1 client to 512 at once; a full backlog counts, as clients with a time-out see it."""
    failed: dict[str, int] = {}
    answered = 0
    with Daemon(plan.state) as daemon:
        for clients in (1 << i for i in range(10)):
            seconds = plan.scale.slice_s / 2
            load = drive(daemon.socket, plan.frames["quote"], "--clients", str(clients), "--seconds", str(seconds))
            answered += load.requests
            failed[str(clients)] = load.failures
    total = sum(failed.values())
    measured = f"{total} in {answered:,} requests"
    yield Figure("transport errors, 1 to 512 clients", Target("≤", 0), total, measured, {"by_clients": failed})


def against_peers(plan: Plan) -> Iterator[Figure]:
    """Quotes and metadata a second against other AESM daemons on this machine, turn about."""
    with Daemon(plan.state) as daemon:
        for name, socket in plan.peers.items():
            for kind, bound in (("quote", 10), *((kind, 3) for kind in METADATA)):
                yield _against_peer(plan, kind, bound, daemon.socket, (name, socket))


def _slice(plan: Plan, socket: str) -> Slice:
    return Slice(*beside_signing(lambda: _run(plan, socket, "quote")))


def _run(plan: Plan, socket: str, kind: str, clients: int = CLIENTS) -> Load:
    options = ("--clients", str(clients), "--seconds", str(plan.scale.slice_s), "--warm-up", "0.1")
    return must_answer(drive(socket, plan.frames[kind], *options), f"{kind} at {clients} clients")


def _signing_share(name: str, bound: float, slices: Sequence[Slice], bare: Sequence[Slice] = ()) -> Figure:
    """``bare``: runs of the empty server that quotes, for what the daemon itself costs."""
    fracs, rates = [x.frac for x in slices], [x.load.rate for x in slices]
    sign_us = middle([x.sign_s for x in slices]) * 1e6
    return Figure(
        name,
        Target("≥", bound, "of one core's signing limit"),
        middle(fracs),
        f"{middle(fracs):.2f}{spread(fracs)}: {middle(rates):,.0f}/s at S = {sign_us:.1f} µs"
        + (f"; without a daemon around {middle([x.frac for x in bare]):.2f}" if bare else ""),
        {
            "fracs": fracs,
            "rates": rates,
            "sign_us": [x.sign_s * 1e6 for x in slices],
            "bare_fracs": [x.frac for x in bare],
        },
    )


def _tail_latency(slices: Sequence[Slice]) -> Figure:
    """p99 against the time in which a core could sign for all 64 at once."""
    ratios = [x.load.latency_us["p99"] / (CLIENTS * x.sign_s * 1e6) for x in slices]
    p99_ms = middle([x.load.latency_us["p99"] for x in slices]) / 1000
    return Figure(
        "p99, 64 clients",
        Target("≤", 2.6, "times 64 S"),
        middle(ratios),
        f"{middle(ratios):.2f}{spread(ratios)}: {p99_ms:.2f} ms",
        {"ratios": ratios, "latency_us": [x.load.latency_us for x in slices]},
    )


def _lone_client(plan: Plan, socket: str) -> Figure:
    loads = [_run(plan, socket, "quote", clients=1) for _ in range(plan.scale.slices)]
    p50 = [load.latency_us["p50"] for load in loads]
    return Figure(
        "p50, one client",
        Target("≤", 120, "µs"),
        middle(p50),
        f"{middle(p50):.0f} µs{spread(p50)}",
        {"latency_us": [load.latency_us for load in loads]},
    )


def _metadata(plan: Plan, kind: str, socket: str) -> Figure:
    ours, empty = [], []
    with empty_server(exchange(socket, plan.frames[kind])) as bare:
        for _ in range(plan.scale.slices):
            ours.append(_run(plan, socket, kind).rate)
            empty.append(_run(plan, bare, kind).rate)
    ratios = [a / b for a, b in zip(ours, empty, strict=True)]
    return Figure(
        f"{kind} requests, 64 clients",
        Target("≥", 0.7, "of the empty server"),
        middle(ratios),
        f"{middle(ratios):.2f}{spread(ratios)}: {middle(ours):,.0f}/s of {middle(empty):,.0f}/s",
        {"ratios": ratios, "rates": ours, "empty_rates": empty},
    )


def _against_peer(plan: Plan, kind: str, bound: float, socket: str, peer: tuple[str, str]) -> Figure:
    name, peer_socket = peer
    ours, theirs, failed = [], [], 0
    frame = request_frames(peer_socket, plan.state)[kind]  # its own size and target; makes it prepare its key
    for _ in range(plan.scale.slices):
        ours.append(_run(plan, socket, kind).rate)
        options = ("--clients", str(CLIENTS), "--seconds", str(plan.scale.slice_s), "--warm-up", "0.1")
        load = drive(peer_socket, frame, *options)
        if not load.requests:
            raise BenchError(f"{name} answers no {kind} request: errors {load.errors}, statuses {load.statuses}")
        theirs.append(load.rate)
        failed += load.failures
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Figure(
        f"{kind} requests against {name}, 64 clients",
        Target("≥", bound, f"times {name}"),
        middle(ratios),
        f"{middle(ratios):.1f}{spread(ratios)}: {middle(ours):,.0f}/s to {middle(theirs):,.0f}/s, {failed:,} failed",
        {"ratios": ratios, "rates": ours, "peer_rates": theirs, "peer_failures": failed},
    )
