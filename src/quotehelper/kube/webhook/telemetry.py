"""What the webhook tells of itself: metrics, each with a sentence, and a log. Shell."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from datetime import datetime

_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
LOG_LEVELS = tuple(_LEVELS)

OUTCOMES = ("patched", "untouched", "denied", "unreadable", "failed")
"""What can become of a review: changed, left alone, refused, answered 400, let pass because of a fault of ours."""


class Metrics:
    """The webhook's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.reviews = Counter(
            "quotehelper_webhook_reviews_total", "Reviews by outcome.", ["outcome"], registry=self._registry
        )
        for outcome in OUTCOMES:
            self.reviews.labels(outcome)
        self.warnings = Counter(
            "quotehelper_webhook_warnings_total", "Warnings given to users.", registry=self._registry
        )
        self.seconds = Histogram(
            "quotehelper_webhook_review_seconds",
            "From the whole request to its answer.",
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self.refused_connections = Counter(
            "quotehelper_webhook_refused_connections_total",
            "Connections closed because of too many, or for silence.",
            registry=self._registry,
        )
        self.certificate_end = Gauge(
            "quotehelper_webhook_certificate_not_after_seconds",
            "When the certificate in use ends, in seconds since the epoch.",
            registry=self._registry,
        )
        self.certificate_changes = Counter(
            "quotehelper_webhook_certificate_changes_total", "Certificates taken into use.", registry=self._registry
        )
        self.view_age = Gauge(
            "quotehelper_webhook_cluster_view_age_seconds",
            "Age of what is known of nodes and helpers; absent knowledge is infinite.",
            registry=self._registry,
        )

    def certificate_taken(self, not_after: datetime) -> None:
        """A certificate is in use from now on."""
        self.certificate_end.set(not_after.timestamp())
        self.certificate_changes.inc()

    def text(self) -> bytes:
        """All of them in the Prometheus format."""
        return generate_latest(self._registry)


def make_log(*, as_json: bool, level: str) -> structlog.typing.FilteringBoundLogger:
    """A log of lines on standard error. ``level`` is one of LOG_LEVELS."""
    renderer = (
        structlog.processors.JSONRenderer() if as_json else structlog.processors.LogfmtRenderer(key_order=["event"])
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    return logger
