"""Every metric of the daemon: its name, its labels and a sentence. Pure.

docs/metrics.md lists the same; a test compares the two.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class MetricKind(enum.Enum):
    """How a metric behaves."""

    COUNTER = "counter"
    """Only grows, over crashes of the process that counts, too; begins at 0 with the daemon."""
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One metric. Units are in the name."""

    name: str
    kind: MetricKind
    labels: tuple[str, ...]
    sentence: str


_COUNTER, _GAUGE, _HISTOGRAM = MetricKind

REQUESTS = Metric(
    "quotehelper_requests_total",
    _COUNTER,
    ("operation", "status"),
    "Requests answered, by AESM operation and by the status they got; 0 is success.",
)
PEER_REQUESTS = Metric(
    "quotehelper_peer_requests_total",
    _COUNTER,
    ("peer", "pod_uid", "container_id"),
    "Requests answered, by who asked: a pod's container, a container outside of pods, a process of the host; unknown: "
    "the log says why; other: beyond the peers that are counted apart.",
)
PEER_BUSY = Metric(
    "quotehelper_peer_busy_total",
    _COUNTER,
    ("peer", "pod_uid", "container_id"),
    "Of those, how many were told to come back later (18).",
)
QUOTE_SECONDS = Metric(
    "quotehelper_quote_seconds",
    _HISTOGRAM,
    ("outcome",),
    "Seconds from a complete quote request to its answer, waiting included, by outcome: quoted, busy (18), unavailable "
    "(the platform could not quote), refused (the request was not right).",
)
IN_FLIGHT = Metric(
    "quotehelper_quotes_in_flight", _GAUGE, ("slot",), "Quote requests admitted and not answered, by serving process."
)
AT_WORKER = Metric(
    "quotehelper_quotes_at_worker", _GAUGE, ("slot",), "Of those in flight, how many its platform worker has."
)
WAITING = Metric(
    "quotehelper_connections_waiting",
    _GAUGE,
    ("slot",),
    "Connections that owe a request, or the rest of one, by serving process.",
)
CONNECTIONS = Metric("quotehelper_connections_total", _COUNTER, (), "Connections accepted.")
CLOSED = Metric(
    "quotehelper_connections_closed_total",
    _COUNTER,
    ("cause",),
    "Connections closed without an answer: malformed (not to be answered in kind), slow (not complete in time), "
    "made_room (too many waited).",
)
RESTARTS = Metric(
    "quotehelper_restarts_total",
    _COUNTER,
    ("process",),
    "Processes replaced because they ended: serving, worker, control.",
)
WORKERS_KILLED = Metric(
    "quotehelper_workers_killed_total", _COUNTER, (), "Platform workers killed because they did not answer."
)
HAND_OVERS = Metric(
    "quotehelper_hand_overs_total", _COUNTER, (), "Times that this instance took the path over, or was relieved of it."
)
WORKER_GENERATION = Metric(
    "quotehelper_worker_generation", _GAUGE, ("slot",), "Platform workers started in a slot so far."
)
WORKER_QUOTES = Metric(
    "quotehelper_worker_quotes_total",
    _COUNTER,
    ("outcome",),
    "Orders that platform workers carried out: quoted, or refused by the platform.",
)
WORKER_BUSY_SECONDS = Metric(
    "quotehelper_worker_busy_seconds_total", _COUNTER, (), "Seconds that platforms in workers took for those orders."
)
FORMER_ENCLAVE_REPORTS = Metric(
    "quotehelper_former_enclave_reports_total",
    _COUNTER,
    ("outcome",),
    "Reports made for a quoting enclave that has been replaced: quoted by it within overlap_s, or refused (42) after.",
)
EPC_MAPPED_BYTES = Metric(
    "quotehelper_epc_mapped_bytes",
    _GAUGE,
    ("slot",),
    "Enclave memory mapped by the platform worker, by serving process: an upper bound of the EPC it holds, as what is "
    "mapped may be paged out or not yet added. 0 where no enclave of ours runs: simulated, upstream.",
)
STATE = Metric(
    "quotehelper_state", _GAUGE, ("state",), "1 for what the daemon is about: starting, serving, retired or ending."
)
HEARTBEAT_AGE_SECONDS = Metric(
    "quotehelper_heartbeat_age_seconds", _GAUGE, (), "Seconds since the supervisor's loop last turned."
)
READY = Metric("quotehelper_ready", _GAUGE, (), "1 if /readyz says that the daemon is ready.")
SELF_CHECKS = Metric(
    "quotehelper_self_checks_total",
    _COUNTER,
    ("outcome",),
    "Self-checks since the control process started: passed, failed, or undecided as the daemon was busy.",
)
SELF_CHECK_SECONDS = Metric("quotehelper_self_check_seconds", _GAUGE, (), "Seconds that the last self-check took.")
CERTIFICATE_EXPIRY_TIMESTAMP_SECONDS = Metric(
    "quotehelper_certificate_expiry_timestamp_seconds",
    _GAUGE,
    (),
    "When the first certificate of the PCK chain in quotes expires, in seconds since 1970.",
)
TCB_STATUS = Metric(
    "quotehelper_tcb_status",
    _GAUGE,
    ("status",),
    "1 for what a verifier says of the daemon's own quote by the collateral that is watched; unknown if there is no "
    "such quote, or it can't be judged.",
)
DOCUMENT_EXPIRY_TIMESTAMP_SECONDS = Metric(
    "quotehelper_document_expiry_timestamp_seconds",
    _GAUGE,
    ("document",),
    "When a document that verifiers need ends, in seconds since 1970: pck_certificate, tcb_info, qe_identity, pck_crl, "
    "root_ca_crl; those only that were proven.",
)
OUTLOOK_TIMESTAMP_SECONDS = Metric(
    "quotehelper_outlook_timestamp_seconds",
    _GAUGE,
    (),
    "When the watched collateral was last judged, in seconds since 1970.",
)
HARDWARE_OBSTACLES = Metric(
    "quotehelper_hardware_obstacles",
    _GAUGE,
    (),
    "What keeps Intel's library from quoting here, by number: processor, devices, libraries; platform dcap only.",
)

METRICS = (
    REQUESTS,
    PEER_REQUESTS,
    PEER_BUSY,
    QUOTE_SECONDS,
    IN_FLIGHT,
    AT_WORKER,
    WAITING,
    CONNECTIONS,
    CLOSED,
    RESTARTS,
    WORKERS_KILLED,
    HAND_OVERS,
    WORKER_GENERATION,
    WORKER_QUOTES,
    WORKER_BUSY_SECONDS,
    FORMER_ENCLAVE_REPORTS,
    EPC_MAPPED_BYTES,
    STATE,
    HEARTBEAT_AGE_SECONDS,
    READY,
    SELF_CHECKS,
    SELF_CHECK_SECONDS,
    CERTIFICATE_EXPIRY_TIMESTAMP_SECONDS,
    TCB_STATUS,
    DOCUMENT_EXPIRY_TIMESTAMP_SECONDS,
    OUTLOOK_TIMESTAMP_SECONDS,
    HARDWARE_OBSTACLES,
)
"""All, in the order in which they are told."""
