"""Self-made certificates: replicas agree by a Secret, and the API server is told whom to trust."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from api_server import ApiServer
from pods import pod, review, sgx
from quotehelper.errors import ConfigError, TransportError
from quotehelper.kube.webhook.authority import PUBLISHED_S, RENEWED_S, read_generations
from quotehelper.kube.webhook.keeper import SECRET_KEY, CertificateKeeper, open_api_server
from quotehelper.kube.webhook.settings import PODS_PATH, SelfMade
from quotehelper.kube.webhook.telemetry import make_log
from webhooks import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from quotehelper.kube.webhook.certificates import TlsPair
    from webhooks import WebhookProcess

NAMES = SelfMade("ns")
SECRET = f"/api/v1/namespaces/ns/secrets/{NAMES.secret}"
CONFIGURATION = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{NAMES.configuration}"
NOW = 1_800_000_000.0


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ApiServer]:
    """An API server with an empty Secret and a configuration of two webhooks."""
    with ApiServer() as running:
        metadata = {"name": NAMES.secret, "namespace": "ns"}
        running.put(SECRET, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata})
        webhooks: list[dict[str, Any]] = [{"name": name, "clientConfig": {"service": {}}} for name in ("a", "b")]
        running.put(CONFIGURATION, {"metadata": {"name": NAMES.configuration}, "webhooks": webhooks})
        for name, value in running.kubeconfig(tmp_path).items():
            monkeypatch.setenv(name, value)
        yield running


def keep(*times: float) -> list[TlsPair]:
    """What one replica serves at each of those times."""

    async def run() -> list[TlsPair]:
        async with open_api_server() as client:
            keeper = CertificateKeeper(client, NAMES, make_log(as_json=True, level="error"))
            return [await keeper.keep(now) for now in times]

    return asyncio.run(run())


def bundles(api: ApiServer) -> list[str]:
    webhooks = api.objects[CONFIGURATION]["webhooks"]
    return [base64.b64decode(webhook["clientConfig"].get("caBundle", "")).decode() for webhook in webhooks]


def test_certificates_are_made_and_every_webhook_of_the_configuration_trusts_them(api: ApiServer) -> None:
    keep(NOW)
    made = read_generations(base64.b64decode(api.objects[SECRET]["data"][SECRET_KEY]))
    assert bundles(api) == [made.bundle_pem] * 2
    assert api.objects[CONFIGURATION]["webhooks"][0]["clientConfig"]["service"] == {}


def test_two_replicas_serve_the_same(api: ApiServer) -> None:
    assert keep(NOW) == keep(NOW + 1)
    assert [method for method, _, _ in api.requests].count("PUT") == 1


def test_who_writes_second_takes_what_the_first_wrote(api: ApiServer) -> None:
    first = keep(NOW)
    written = api.objects[SECRET]["data"]
    del api.objects[SECRET]["data"]
    api.conflicts.append({"data": written})
    assert keep(NOW) == first


def test_a_secret_that_never_holds_still_is_given_up_for_this_time(api: ApiServer) -> None:
    api.conflicts.extend([{}] * 100)
    with pytest.raises(TransportError, match="faster"):
        keep(NOW)


def test_a_rotation_is_published_before_it_is_served(api: ApiServer) -> None:
    first, published, served = keep(NOW, NOW + RENEWED_S, NOW + RENEWED_S + PUBLISHED_S)
    assert first == published
    assert served != first
    assert bundles(api)[0].count("BEGIN CERTIFICATE") == 2


def test_nothing_is_written_while_nothing_is_due(api: ApiServer) -> None:
    keep(NOW)
    api.requests.clear()
    keep(NOW + 60)
    assert {method for method, _, _ in api.requests} == {"GET"}


def test_other_members_of_the_secret_stay(api: ApiServer) -> None:
    api.objects[SECRET]["data"] = {"other": "eA=="}
    keep(NOW)
    assert api.objects[SECRET]["data"]["other"] == "eA=="


@pytest.mark.parametrize("path", [SECRET, CONFIGURATION])
def test_a_missing_object_is_an_error_with_a_remedy(api: ApiServer, path: str) -> None:
    del api.objects[path]
    with pytest.raises(ConfigError, match="Apply deploy/kustomize"):
        keep(NOW)


@pytest.mark.parametrize("value", ["!!", base64.b64encode(b"{}").decode()])
def test_a_secret_of_another_shape_is_an_error_with_a_remedy(api: ApiServer, value: str) -> None:
    api.objects[SECRET]["data"] = {SECRET_KEY: value}
    with pytest.raises(ConfigError, match=r"Remove generations\.json"):
        keep(NOW)


def test_an_api_server_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with ApiServer() as gone:
        environment = gone.kubeconfig(tmp_path)
    monkeypatch.setenv("KUBECONFIG", environment["KUBECONFIG"])
    with pytest.raises(TransportError, match="can't be reached"):
        keep(NOW)


def test_the_webhook_serves_what_its_configuration_trusts(
    api: ApiServer, start_webhook: Callable[..., WebhookProcess]
) -> None:
    process = start_webhook("--self-made", "ns", files=False)
    port = process.port()
    with Client(port, bundles(api)[0]) as client:
        client.context.check_hostname = False  # the service's name leads nowhere here
        assert client.post(PODS_PATH, json.dumps(review(pod(sgx()))).encode())[0] == 200
        assert NAMES.dns_names[0] in str(client.connection.sock.getpeercert())


def test_the_key_is_not_logged(api: ApiServer, start_webhook: Callable[..., WebhookProcess]) -> None:
    del api
    process = start_webhook("--self-made", "ns", "--log-level", "debug", files=False)
    process.port()
    assert "PRIVATE" not in str(process.events)
