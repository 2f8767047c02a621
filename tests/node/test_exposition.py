"""The text of /metrics, read by prometheus-client's parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from quotehelper.aesm.messages import GetQuoteExRequest, InitQuoteExRequest
from quotehelper.node import exposition, telemetry
from quotehelper.node.cgroup_path import Workload, WorkloadKind
from quotehelper.node.counters import BUCKETS, Counters, DaemonState, ServingCount, Supervision, WorkerCount
from quotehelper.node.telemetry import METRICS

OWN = {
    telemetry.EPC_MAPPED_BYTES,
    telemetry.READY,
    telemetry.SELF_CHECKS,
    telemetry.SELF_CHECK_SECONDS,
    telemetry.CERTIFICATE_EXPIRY_TIMESTAMP_SECONDS,
    telemetry.TCB_STATUS,
    telemetry.DOCUMENT_EXPIRY_TIMESTAMP_SECONDS,
    telemetry.OUTLOOK_TIMESTAMP_SECONDS,
    telemetry.HARDWARE_OBSTACLES,
}
"""What the control process knows by itself."""


def parsed(counters: Counters, now_ns: int = 0) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by its name and labels."""
    families = text_string_to_metric_families(exposition.encode(exposition.collect(counters, now_ns)))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_metric_is_told_with_its_sentence_kind_and_labels() -> None:
    counters = Counters.create(2)
    counters.serving[0].answered(InitQuoteExRequest, 0)
    counters.serving[0].peers.tally(Workload(WorkloadKind.HOST))
    families = {
        family.name: family
        for family in text_string_to_metric_families(exposition.encode(exposition.collect(counters, 0)))
    }
    for metric in set(METRICS) - OWN:
        family = families[metric.name.removesuffix("_total")]
        assert (family.documentation, family.type) == (metric.sentence, metric.kind.value)
        assert {label for sample in family.samples for label in sample.labels} - {"le"} == set(metric.labels)


def test_totals_are_over_all_slots_and_gauges_by_slot() -> None:
    counters = Counters.create(2)
    for slot, row in enumerate(counters.serving):
        row.answered(InitQuoteExRequest, 38)
        row.add(ServingCount.CONNECTIONS)
        row.set(ServingCount.IN_FLIGHT, 5 + slot)
        counters.workers[slot][WorkerCount.GENERATION] = 3
        counters.workers[slot][WorkerCount.BUSY_NS] = 500_000_000
    got = parsed(counters)
    assert got["quotehelper_requests_total", (("operation", "init_quote_ex"), ("status", "38"))] == 2
    assert got["quotehelper_connections_total", ()] == 2
    assert got["quotehelper_quotes_in_flight", (("slot", "0"),)] == 5
    assert got["quotehelper_quotes_in_flight", (("slot", "1"),)] == 6
    assert got["quotehelper_worker_generation", (("slot", "1"),)] == 3
    assert got["quotehelper_worker_busy_seconds_total", ()] == 1


def test_the_histogram_is_cumulative_and_ends_with_all() -> None:
    counters = Counters.create(2)
    for slot, seconds in ((0, 0.00005), (1, 0.0001), (0, 1000.0)):
        counters.serving[slot].quoted(0, seconds)
    got = parsed(counters)
    buckets = {
        dict(labels)["le"]: value
        for (name, labels), value in got.items()
        if name == "quotehelper_quote_seconds_bucket" and ("outcome", "quoted") in labels
    }
    assert len(buckets) == BUCKETS
    assert list(buckets.values()) == sorted(buckets.values())
    assert (buckets["6.4e-05"], buckets["0.000128"], buckets["67.108864"], buckets["+Inf"]) == (1, 2, 2, 3)
    assert got["quotehelper_quote_seconds_count", (("outcome", "quoted"),)] == 3
    assert got["quotehelper_quote_seconds_sum", (("outcome", "quoted"),)] == 1000.00015
    assert got["quotehelper_requests_total", (("operation", "get_quote_ex"), ("status", "0"))] == 3


def test_the_state_is_1_for_one_and_the_heartbeat_has_an_age() -> None:
    counters = Counters.create(1)
    counters.supervisor[Supervision.STATE] = DaemonState.RETIRED
    counters.supervisor[Supervision.HEARTBEAT_NS] = 10**9
    got = parsed(counters, 3 * 10**9)
    states = {dict(labels)["state"]: value for (name, labels), value in got.items() if name == "quotehelper_state"}
    assert states == {"starting": 0, "serving": 0, "retired": 1, "ending": 0}
    assert got["quotehelper_heartbeat_age_seconds", ()] == 2


def test_large_totals_keep_their_last_digit() -> None:
    counters = Counters.create(1)
    counters.serving[0].set(ServingCount.CONNECTIONS, 2**53 - 1)
    assert "quotehelper_connections_total 9007199254740991\n" in exposition.encode(exposition.collect(counters, 0))


def test_requests_are_counted_by_their_operation() -> None:
    counters = Counters.create(1)
    counters.serving[0].answered(GetQuoteExRequest, 18)
    assert parsed(counters)["quotehelper_requests_total", (("operation", "get_quote_ex"), ("status", "18"))] == 1
