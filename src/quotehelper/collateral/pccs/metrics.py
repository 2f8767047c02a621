"""The service's figures for Prometheus; nothing in them tells platforms apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_PLAIN_1_0_0 as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quotehelper.collateral.store import Holding

__all__ = ["CONTENT_TYPE", "Metrics"]

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One registry; each name with a sentence."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "quotehelper_pccs_requests", "Requests answered.", ("endpoint", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "quotehelper_pccs_request_seconds",
            "Time from a request to its answer.",
            ("endpoint",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.refreshes = Counter(
            "quotehelper_pccs_refreshes", "Refreshes that ended.", ("outcome",), registry=self._registry
        )
        self._next_update = Gauge(
            "quotehelper_pccs_document_next_update_timestamp_seconds",
            "When a document that is kept expires.",
            ("kind", "subject", "api_version", "update"),
            registry=self._registry,
        )

    def expose(self, holdings: Sequence[Holding]) -> bytes:
        """The text that Prometheus reads; ``holdings`` are what is kept now."""
        self._next_update.clear()
        for holding in holdings:
            kind, subject, version, update = holding.key
            self._next_update.labels(kind.value, subject, str(version), update).set(holding.next_update.timestamp())
        return generate_latest(self._registry)
