"""The real webhook process, over TLS."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from harness import DEADLINE_S, run_cli
from pods import QUOTING, apply_patch, container, patch_of, pod, review, sgx
from quotehelper.kube.webhook.settings import NAMESPACE_PATH, PODS_PATH, Limits
from webhooks import CertificateVolume, Client, WebhookProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from quotehelper.kube.webhook.authority import Generation

RAW = pod(sgx(), annotations={QUOTING: "out-of-process"})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, generations: list[Generation]) -> Iterator[WebhookProcess]:
    """One webhook for the tests that only ask."""
    volume = CertificateVolume(tmp_path_factory.mktemp("shared") / "certificates")
    volume.put(generations[0].certificate_pem, generations[0].key_pem)
    with WebhookProcess(*volume.options) as process:
        yield process


@pytest.fixture
def client(shared: WebhookProcess, bundle: str) -> Iterator[Client]:
    """A client of a webhook."""
    with Client(shared.port(), bundle) as made:
        yield made


def get(process: WebhookProcess, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{process.port('health')}{path}", timeout=DEADLINE_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_review_is_answered_with_a_patch(client: Client) -> None:
    status, body = client.post(PODS_PATH, json.dumps(review(RAW, uid="u-1")).encode())
    assert status == 200
    assert json.loads(body)["response"]["uid"] == "u-1"
    assert apply_patch(RAW, patch_of(body))["spec"]["containers"][0]["env"] == [{"name": "SGX_AESM_ADDR", "value": "1"}]


def test_the_path_for_labelled_namespaces_opts_in(client: Client) -> None:
    plain = json.dumps(review(pod(sgx()))).encode()
    assert not any("/env" in step["path"] for step in patch_of(client.post(PODS_PATH, plain)[1]))
    assert any("/env" in step["path"] for step in patch_of(client.post(NAMESPACE_PATH, plain)[1]))


def test_a_connection_brings_many_reviews(client: Client) -> None:
    for number in range(20):
        status, body = client.post(PODS_PATH, json.dumps(review(RAW, uid=f"u-{number}")).encode())
        assert (status, json.loads(body)["response"]["uid"]) == (200, f"u-{number}")


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff" * 100, b"[" * 1000, json.dumps(review({}, uid="")).encode()])
def test_what_is_no_review_is_answered_400_and_the_connection_goes_on(client: Client, body: bytes) -> None:
    assert client.post(PODS_PATH, body)[0] == 400
    assert client.post(PODS_PATH, json.dumps(review(RAW)).encode())[0] == 200


def test_more_than_the_limit_is_answered_413(client: Client) -> None:
    assert client.post(PODS_PATH, b" " * (Limits().body_bytes + 1))[0] == 413


def test_other_paths_and_methods_are_not_served(client: Client) -> None:
    assert client.post("/v1/other", b"{}")[0] == 404
    client.connection.request("GET", PODS_PATH)
    assert client.connection.getresponse().status == 405


def test_the_operators_decisions_reach_the_reviews(start_webhook: Callable[..., WebhookProcess], bundle: str) -> None:
    options = ("--epc-resource", "kubernetes.azure.com/sgx_epc_mem_in_MiB", "--enclave-resource", "")
    process = start_webhook(*options, "--in-process-namespaces", "trusted")
    with Client(process.port(), bundle) as client:
        raw = pod(sgx(size="10Mi"), annotations={QUOTING: "in-process"})
        _status, body = client.post(PODS_PATH, json.dumps(review(raw)).encode())
    limits = apply_patch(raw, patch_of(body))["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"kubernetes.azure.com/sgx_epc_mem_in_MiB": "10", "sgx.intel.com/provision": "1"}


def test_health_readiness_and_metrics_are_told(start_webhook: Callable[..., WebhookProcess], bundle: str) -> None:
    process = start_webhook()
    with Client(process.port(), bundle) as client:
        client.post(PODS_PATH, json.dumps(review(RAW)).encode())
        client.post(PODS_PATH, json.dumps(review(pod(container()))).encode())
        client.post(PODS_PATH, json.dumps(review(pod(container("a", {"sgx.intel.com/epc": "0.5"})))).encode())
        client.post(PODS_PATH, b"no")
    assert get(process, "/healthz")[0] == 200
    assert get(process, "/readyz")[0] == 200
    told = get(process, "/metrics")[1]
    for outcome in ("patched", "untouched", "denied", "unreadable"):
        assert f'quotehelper_webhook_reviews_total{{outcome="{outcome}"}} 1.0' in told
    assert "quotehelper_webhook_review_seconds_count 3.0" in told


def test_told_to_end_it_says_not_ready_while_it_serves_on(
    start_webhook: Callable[..., WebhookProcess], bundle: str
) -> None:
    process = start_webhook("--drain", "300")
    with Client(process.port(), bundle) as client:
        process.process.send_signal(signal.SIGTERM)
        process.wait_for("ending")
        assert get(process, "/readyz")[0] == 503
        assert client.post(PODS_PATH, json.dumps(review(RAW)).encode())[0] == 200


def test_it_ends_with_0(start_webhook: Callable[..., WebhookProcess]) -> None:
    process = start_webhook()
    process.port()
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(DEADLINE_S) == 0
    process.wait_for("ended")


def test_a_client_without_tls_or_with_noise_hurts_nobody(shared: WebhookProcess, bundle: str) -> None:
    process = shared
    for noise in (b"POST / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 100, b""):
        with socket.create_connection(("127.0.0.1", process.port()), timeout=DEADLINE_S) as client:
            client.sendall(noise)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
    with Client(process.port(), bundle) as fine:
        assert fine.post(PODS_PATH, json.dumps(review(RAW)).encode())[0] == 200


def test_a_pair_that_does_not_belong_together_is_refused_at_start(
    volume: CertificateVolume, generations: list[Generation]
) -> None:
    volume.put(generations[0].certificate_pem, generations[1].key_pem)
    failed = run_cli("webhook", *volume.options, check=False)
    assert failed.returncode == 2
    assert "certificate and key can't be used" in failed.stderr


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--certificate", "/nowhere/a"),
        ("--certificate", "/nowhere/a", "--key", "/nowhere/b"),
        ("--self-made", "ns", "--certificate", "a", "--key", "b"),
        ("--self-made", "ns", "--listen", "8443"),
        ("--self-made", "ns", "--helper-label", "x"),
    ],
)
def test_a_mistake_is_exit_code_2_and_a_sentence(options: tuple[str, ...]) -> None:
    failed = run_cli("webhook", *options, check=False)
    assert failed.returncode == 2
    assert failed.stderr.strip()
    assert "Traceback" not in failed.stderr


def test_a_taken_address_is_told(shared: WebhookProcess, volume: CertificateVolume) -> None:
    port = shared.port()
    failed = run_cli(
        "webhook", *volume.options, "--listen", f"127.0.0.1:{port}", "--health-listen", "127.0.0.1:0", check=False
    )
    assert failed.returncode == 2
    assert "Address already in use" in failed.stderr


def test_tls_older_than_1_2_is_refused(shared: WebhookProcess, bundle: str) -> None:
    with Client(shared.port(), bundle) as client:
        client.context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            client.context.minimum_version = ssl.TLSVersion.TLSv1_1
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            client.context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            client.connection.connect()


def test_the_key_is_never_on_a_disk(start_webhook: Callable[..., WebhookProcess], tmp_path: Path) -> None:
    process = start_webhook(environment={"TMPDIR": str(tmp_path)})
    process.port()
    assert [path.name for path in tmp_path.iterdir()] == ["certificates"]
