"""Certificates, and webhooks that end with their test."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest

from quotehelper.kube.webhook.authority import Generation, make_generation
from webhooks import CertificateVolume, WebhookProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def generations() -> list[Generation]:
    """Certificates for "localhost", each by an authority of its own."""
    return [make_generation(time.time(), ("localhost",)) for _ in range(3)]


@pytest.fixture
def volume(tmp_path: Path, generations: list[Generation]) -> CertificateVolume:
    """The first certificate, in a volume."""
    made = CertificateVolume(tmp_path / "certificates")
    made.put(generations[0].certificate_pem, generations[0].key_pem)
    return made


@pytest.fixture
def start_webhook(volume: CertificateVolume) -> Iterator[Callable[..., WebhookProcess]]:
    """Start webhooks that end with the test; by default with the volume's certificate."""
    with contextlib.ExitStack() as stack:

        def start(*options: str, environment: dict[str, str] | None = None, files: bool = True) -> WebhookProcess:
            given = (*(volume.options if files else ()), *options)
            return stack.enter_context(WebhookProcess(*given, environment=environment))

        yield start


@pytest.fixture
def bundle(generations: list[Generation]) -> str:
    """Every authority of the certificates."""
    return "".join(each.authority_pem for each in generations)
