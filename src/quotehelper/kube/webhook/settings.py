"""What the operator decides about the webhook. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quotehelper.kube.admission.review import REVIEW_LIMIT_BYTES
from quotehelper.kube.admission.settings import AdmissionSettings

if TYPE_CHECKING:
    from pathlib import Path

PODS_PATH = "/v1/admit"
"""Reviews of pods that speak for themselves."""
NAMESPACE_PATH = "/v1/admit/out-of-process"
"""Reviews of pods in namespaces that have our label: the API server selects them, so no lookup is needed here."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where something listens. ``port`` 0 takes a free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What is accepted at most. Each has its reason.

    ``body_bytes``: of a review. ``connections``: at the same time; an API server uses a few, and keeps them.
    ``handshake_s``, ``header_s``, ``body_s``: until TLS stands, a connection's first request has begun to be answered,
    a review is there whole; the API server gives up after the webhook's timeoutSeconds. ``drain_s``: between being
    told to end and refusing connections, until the API servers have heard of it.
    """

    body_bytes: int = REVIEW_LIMIT_BYTES
    connections: int = 512
    handshake_s: float = 5.0
    header_s: float = 5.0
    body_s: float = 5.0
    drain_s: float = 5.0


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate chain and its key, in PEM, kept by somebody else, such as cert-manager."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class SelfMade:
    """Certificates of the webhook's own. Names of Kubernetes objects.

    ``namespace``, ``service``: through which the API server calls. ``secret``: shared by the replicas; it must exist.
    ``configuration``: the MutatingWebhookConfiguration that is told whom to trust.
    """

    namespace: str
    service: str = "quotehelper-webhook"
    secret: str = "quotehelper-webhook-certificates"  # noqa: S105  an object's name
    configuration: str = "quotehelper"

    @property
    def dns_names(self) -> tuple[str, ...]:
        """Under which the service is called, the one the API server uses first."""
        name = f"{self.service}.{self.namespace}.svc"
        return (name, f"{name}.cluster.local")


@dataclass(frozen=True, slots=True)
class HelperPods:
    """Which pods are the node helpers: their namespace, and the labels that select them."""

    namespace: str
    labels: dict[str, str]


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Everything that decides how the webhook runs.

    ``certificates``: from where. ``certificate_check_s``: how often that is looked at. ``helpers``: whose readiness is
    watched; None watches nothing. ``health``: plain HTTP for probes and metrics.
    """

    certificates: CertificateFiles | SelfMade
    listen: Endpoint = Endpoint("0.0.0.0", 8443)  # noqa: S104  a pod's own network
    health: Endpoint = Endpoint("0.0.0.0", 8080)  # noqa: S104  same
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    limits: Limits = field(default_factory=Limits)
    helpers: HelperPods | None = None
    certificate_check_s: float = 5.0
    log_json: bool = True
    log_level: str = "info"
