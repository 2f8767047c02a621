"""Certificates change while reviews are answered."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pods import QUOTING, pod, review, sgx
from quotehelper.errors import ConfigError
from quotehelper.kube.webhook.certificates import CertificateSwitch, TlsPair, facts
from quotehelper.kube.webhook.settings import PODS_PATH
from webhooks import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.kube.webhook.authority import Generation
    from webhooks import CertificateVolume, WebhookProcess

BODY = json.dumps(review(pod(sgx(), annotations={QUOTING: "out-of-process"}))).encode()
ROTATIONS = 12


def serial(generation: Generation) -> str:
    return f"{x509.load_pem_x509_certificate(generation.certificate_pem.encode()).serial_number:x}"


class Load(threading.Thread):
    """Asks until told to end. ``kept``: over one connection; else with a handshake for each review."""

    def __init__(self, port: int, bundle: str, *, kept: bool) -> None:
        super().__init__(daemon=True)
        self.answered = 0
        self.failures: list[str] = []
        self.over = threading.Event()
        self._where = (port, bundle)
        self._kept = kept

    def run(self) -> None:
        while not self.over.is_set():
            with Client(*self._where) as client:
                try:
                    self._ask(client)
                except Exception as error:  # noqa: BLE001  whatever fails is what the test is about
                    self.failures.append(repr(error))

    def _ask(self, client: Client) -> None:
        while not self.over.is_set():
            status, _body = client.post(PODS_PATH, BODY)
            if status != 200:
                self.failures.append(str(status))
            self.answered += 1
            if not self._kept:
                return


def test_no_review_fails_while_certificates_are_replaced(
    start_webhook: Callable[..., WebhookProcess], volume: CertificateVolume, generations: list[Generation], bundle: str
) -> None:
    process = start_webhook()
    loads = [Load(process.port(), bundle, kept=kept) for kept in (True, False, False)]
    for load in loads:
        load.start()
    for number in range(1, ROTATIONS + 1):
        taken = sum(event["event"] == "certificate taken" for event in process.events)
        generation = generations[number % len(generations)]
        volume.put(generation.certificate_pem, generation.key_pem)
        process.wait_for_count("certificate taken", taken + 1)
        with Client(process.port(), bundle) as fresh:
            assert fresh.serial_number() == serial(generation)
    for load in loads:
        load.over.set()
    for load in loads:
        load.join()
        assert load.failures == []
        assert load.answered > 0


def test_a_client_that_names_no_server_gets_the_newest_certificate_too(
    start_webhook: Callable[..., WebhookProcess], volume: CertificateVolume, generations: list[Generation], bundle: str
) -> None:
    process = start_webhook()
    process.port()
    volume.put(generations[1].certificate_pem, generations[1].key_pem)
    process.wait_for_count("certificate taken", 2)
    with Client(process.port(), bundle) as client:
        client.context.check_hostname = False
        client.connection.host = "127.0.0.1"  # an address is not sent as a name
        assert client.serial_number() == serial(generations[1])


@pytest.mark.parametrize("case", ["no pair", "no PEM", "gone"])
def test_an_unusable_pair_changes_nothing_and_is_told(
    start_webhook: Callable[..., WebhookProcess],
    volume: CertificateVolume,
    generations: list[Generation],
    bundle: str,
    case: str,
) -> None:
    process = start_webhook()
    process.port()
    if case == "gone":
        volume.remove()
    else:
        volume.put(generations[1].certificate_pem if case == "no pair" else "noise", generations[2].key_pem)
    process.wait_for_count("certificate not taken", 2)  # it is tried again
    with Client(process.port(), bundle) as client:
        assert client.serial_number() == serial(generations[0])
    volume.put(generations[2].certificate_pem, generations[2].key_pem)
    process.wait_for("certificate taken", serial_number=serial(generations[2]))


def test_an_encrypted_key_is_refused_without_asking_for_a_password(generations: list[Generation]) -> None:
    key = serialization.load_pem_private_key(generations[0].key_pem.encode(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    with pytest.raises(ConfigError, match="encrypted"):
        CertificateSwitch(TlsPair(generations[0].certificate_pem.encode(), encrypted))


def test_a_switch_that_fails_leaves_the_old_pair(generations: list[Generation]) -> None:
    pair = TlsPair(generations[0].certificate_pem.encode(), generations[0].key_pem.encode())
    switch = CertificateSwitch(pair)
    with pytest.raises(ConfigError):
        switch.switch(TlsPair(pair.certificate_pem, generations[1].key_pem.encode()))
    assert handshake(switch, generations[0]) == serial(generations[0])


def handshake(switch: CertificateSwitch, generation: Generation) -> str:
    """The serial number that a client in memory sees."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context(cadata=generation.authority_pem).wrap_bio(
        to_client, to_server, server_hostname="localhost"
    )
    server = switch.context.wrap_bio(to_server, to_client, server_side=True)
    for _turn in range(4):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    certificate = client.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"]).lower().lstrip("0")


def test_facts_are_those_of_the_first_certificate(generations: list[Generation]) -> None:
    chain = generations[0].certificate_pem + generations[0].authority_pem
    assert facts(TlsPair(chain.encode(), b"")).serial_number == serial(generations[0])
