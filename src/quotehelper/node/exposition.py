"""The counters as Prometheus text. Pure.

Source: the Prometheus text exposition format 0.0.4. prometheus-client's parser is the oracle of the tests; the library
itself would keep every value a second time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quotehelper.node import telemetry
from quotehelper.node.counters import (
    BUCKETS,
    FIRST_BUCKET_US,
    DaemonState,
    Quoting,
    ServingCount,
    Supervision,
    WorkerCount,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from quotehelper.node.counters import Counters
    from quotehelper.node.telemetry import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sample(NamedTuple):
    """One value. ``labels`` belong to the metric's; ``suffix`` is for the parts of a histogram."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


def encode(samples: Mapping[Metric, Iterable[Sample]]) -> str:
    """The text of ``samples``, in the order of ``telemetry.METRICS``."""
    return "".join(_encode_metric(metric, samples[metric]) for metric in telemetry.METRICS if metric in samples)


def _encode_metric(metric: Metric, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP {metric.name} {metric.sentence}", f"# TYPE {metric.name} {metric.kind.value}"]
    lines += [f"{metric.name}{sample.suffix}{_encode_labels(sample.labels)} {sample.value!r}" for sample in samples]
    return "\n".join(lines) + "\n"


def _encode_labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}" if labels else ""


def collect(counters: Counters, now_ns: int) -> dict[Metric, list[Sample]]:
    """What ``counters`` say at ``now_ns`` of the monotonic clock."""
    supervisor, serving, workers = counters.supervisor, counters.serving, counters.workers

    def total(cell: ServingCount) -> float:
        return sum(row.get(cell) for row in serving)

    def by_slot(cell: ServingCount) -> list[Sample]:
        return [Sample({"slot": str(slot)}, row.get(cell)) for slot, row in enumerate(serving)]

    def over_workers(cell: WorkerCount) -> float:
        return sum(row[cell] for row in workers)

    return {
        telemetry.REQUESTS: _requests(counters),
        **_by_peer(counters),
        telemetry.QUOTE_SECONDS: [sample for quoting in Quoting for sample in _histogram(counters, quoting)],
        telemetry.IN_FLIGHT: by_slot(ServingCount.IN_FLIGHT),
        telemetry.AT_WORKER: by_slot(ServingCount.AT_WORKER),
        telemetry.WAITING: by_slot(ServingCount.WAITING),
        telemetry.CONNECTIONS: [Sample({}, total(ServingCount.CONNECTIONS))],
        telemetry.CLOSED: [
            Sample({"cause": "malformed"}, total(ServingCount.REFUSED_FRAMES)),
            Sample({"cause": "slow"}, total(ServingCount.EXPIRED)),
            Sample({"cause": "made_room"}, total(ServingCount.MADE_ROOM)),
        ],
        telemetry.RESTARTS: [
            Sample({"process": "serving"}, supervisor[Supervision.SERVING_RESTARTS]),
            Sample({"process": "worker"}, supervisor[Supervision.WORKER_RESTARTS]),
            Sample({"process": "control"}, supervisor[Supervision.CONTROL_RESTARTS]),
        ],
        telemetry.WORKERS_KILLED: [Sample({}, supervisor[Supervision.WORKERS_KILLED])],
        telemetry.HAND_OVERS: [Sample({}, supervisor[Supervision.HAND_OVERS])],
        telemetry.WORKER_GENERATION: [
            Sample({"slot": str(slot)}, row[WorkerCount.GENERATION]) for slot, row in enumerate(workers)
        ],
        telemetry.WORKER_QUOTES: [
            Sample({"outcome": "quoted"}, over_workers(WorkerCount.QUOTED)),
            Sample({"outcome": "refused"}, over_workers(WorkerCount.REFUSED)),
        ],
        telemetry.WORKER_BUSY_SECONDS: [Sample({}, over_workers(WorkerCount.BUSY_NS) / 1e9)],
        telemetry.FORMER_ENCLAVE_REPORTS: [
            Sample({"outcome": "quoted"}, over_workers(WorkerCount.FORMERLY_QUOTED)),
            Sample({"outcome": "refused"}, over_workers(WorkerCount.FORMERLY_REFUSED)),
        ],
        telemetry.STATE: [
            Sample({"state": state.name.lower()}, float(state == supervisor[Supervision.STATE]))
            for state in DaemonState
        ],
        telemetry.HEARTBEAT_AGE_SECONDS: [Sample({}, max(0, now_ns - supervisor[Supervision.HEARTBEAT_NS]) / 1e9)],
    }


def _requests(counters: Counters) -> list[Sample]:
    totals: dict[tuple[str, int], int] = {}
    for row in counters.serving:
        for which, count in row.requests().items():
            totals[which] = totals.get(which, 0) + count
    return [
        Sample({"operation": operation, "status": str(status)}, count)
        for (operation, status), count in sorted(totals.items())
    ]


def _by_peer(counters: Counters) -> dict[Metric, list[Sample]]:
    totals: dict[tuple[str, str, str], tuple[int, int]] = {}
    for row in counters.serving:
        for counted in row.peers.read():
            requests, busy = totals.get(counted[:3], (0, 0))
            totals[counted[:3]] = (requests + counted.requests, busy + counted.busy)
    labels = {who: dict(zip(telemetry.PEER_REQUESTS.labels, who, strict=True)) for who in sorted(totals)}
    return {
        telemetry.PEER_REQUESTS: [Sample(labels[who], totals[who][0]) for who in labels],
        telemetry.PEER_BUSY: [Sample(labels[who], totals[who][1]) for who in labels],
    }


def _histogram(counters: Counters, quoting: Quoting) -> Iterator[Sample]:
    rows = [row.latencies(quoting) for row in counters.serving]
    outcome = {"outcome": quoting.name.lower()}
    below = 0
    for bucket in range(BUCKETS):
        below += sum(row.buckets[bucket] for row in rows)
        last = bucket == BUCKETS - 1
        bound = "+Inf" if last else f"{(FIRST_BUCKET_US << bucket) / 1e6:.12g}"
        yield Sample({**outcome, "le": bound}, below, "_bucket")
    yield Sample(outcome, sum(row.sum_us for row in rows) / 1e6, "_sum")
    yield Sample(outcome, below, "_count")
