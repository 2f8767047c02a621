"""Registering platforms, bringing collateral, refreshing: what takes a token."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from aiohttp import web

from collateral_world import DAY, World
from pccs_process import V4, Pccs, Served, Thread, as_admin, as_user, settings
from quotehelper.collateral.pccs.tokens import TokenHashes
from quotehelper.collateral.proof import prove_pck_certificate
from quotehelper.collateral.sources import escape_chain
from quotehelper.documents.pck import read_chain
from quotehelper.platforms.simulated import provisioning
from upstreams import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def empty(tmp_path: Path, live_world: World) -> Iterator[Thread]:
    """A service in mode OFFLINE over an empty store."""
    with Thread(settings(str(tmp_path / "store.db"), "OFFLINE", live_world.trust)) as running:
        yield running


@pytest.fixture
def on_demand(tmp_path: Path, live_world: World, pcs: Served) -> Iterator[Thread]:
    """A service in mode REQ before the simulated PCS."""
    with Thread(settings(str(tmp_path / "store.db"), "REQ", live_world.trust, pcs.url)) as running:
        yield running


@pytest.fixture(scope="module")
def body(exported: Path) -> bytes:
    return (exported / "pccs.json").read_bytes()


@pytest.fixture(scope="module")
def platform(body: bytes) -> dict[str, Any]:
    """The platform's own registration."""
    found: dict[str, Any] = json.loads(body)["platforms"][0]
    return found


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "platforms"),
        ("GET", "platforms"),
        ("PUT", "platformcollateral"),
        ("GET", "refresh"),
        ("POST", "refresh"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"user-token": "wrong", "admin-token": "wrong"}])
def test_nothing_is_administered_without_the_right_token(
    offline: Pccs, method: str, path: str, headers: dict[str, str]
) -> None:
    assert offline.ask(method, V4 + path, None, headers, b"{}").status == 401


def test_a_user_is_no_administrator_and_an_administrator_no_user(offline: Pccs) -> None:
    assert offline.get(V4 + "platforms", None, as_user()).status == 401
    assert offline.ask("POST", V4 + "platforms", None, as_admin(), b"{}").status == 401


def test_what_an_administrator_brings_is_served(empty: Thread, body: bytes, pckcert_parameters: dict[str, str]) -> None:
    assert empty.get(V4 + "pckcert", pckcert_parameters).status == 461
    answer = empty.ask("PUT", V4 + "platformcollateral", None, as_admin(), body)
    assert (answer.status, answer.body) == (200, b"7 documents, 1 platforms kept.")
    assert empty.get(V4 + "pckcert", pckcert_parameters).status == 200
    assert empty.get(V4 + "tcb", {"fmspc": "515545000000"}).status == 200


def test_kept_platforms_are_listed_by_family(empty: Thread, body: bytes, platform: dict[str, Any]) -> None:
    empty.ask("PUT", V4 + "platformcollateral", None, as_admin(), body)
    for source, count in (("[]", "1"), ("[515545000000,00906ED50000]", "1"), ("[00906ED50000]", "0")):
        answer = empty.get(V4 + "platforms", {"source": source}, as_admin())
        assert answer.headers["platform-count"] == count
        assert [entry["qe_id"] for entry in answer.json()] == [platform["qe_id"]] * int(count)


def test_offline_a_registration_waits_for_the_administrator_and_is_given_once(
    empty: Thread, platform: dict[str, Any]
) -> None:
    raw = json.dumps(platform).encode()
    assert empty.ask("POST", V4 + "platforms", None, as_user(), raw).status == 200
    first = empty.get(V4 + "platforms", None, as_admin())
    assert (first.json(), first.headers["platform-count"]) == ([platform], "1")
    assert empty.get(V4 + "platforms", {"source": "reg"}, as_admin()).json() == []


def test_a_registration_needs_no_more_than_two_names(empty: Thread) -> None:
    raw = b'{"qe_id": "0a", "pce_id": "0000", "platform_manifest": null}'
    assert empty.ask("POST", V4 + "platforms", None, as_user(), raw).status == 200
    (entry,) = empty.get(V4 + "platforms", None, as_admin()).json()
    assert (entry["qe_id"], entry["cpu_svn"], entry["platform_manifest"]) == ("0A", "", "")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nothing",
        b"[]",
        b"{}",
        b'{"qe_id": "", "pce_id": "0000"}',
        b'{"qe_id": "0a"}',
        b'{"qe_id": 7, "pce_id": "0000"}',
        b'{"qe_id": "0a", "pce_id": "00"}',
        b'{"qe_id": "0a", "pce_id": "0000", "cpu_svn": "zz"}',
        b'{"qe_id": "0a", "pce_id": "0000", "enc_ppid": "00"}',
        b"[" * 100_000,
    ],
)
def test_a_malformed_registration_is_answered_400(offline: Pccs, raw: bytes) -> None:
    assert offline.ask("POST", V4 + "platforms", None, as_user(), raw).status == 400


def test_a_registration_of_many_bytes_is_not_read(offline: Pccs) -> None:
    assert offline.ask("POST", V4 + "platforms", None, as_user(), b" " * (2 << 20)).status == 413


def test_collateral_of_another_authority_is_answered_460_and_nothing_of_it_kept(
    empty: Thread, other_world: World, tmp_path: Path
) -> None:
    provisioning.export_collateral(other_world.state.directory, tmp_path / "out", dt.datetime.now(dt.UTC))
    foreign = (tmp_path / "out" / "pccs.json").read_bytes()
    answer = empty.ask("PUT", V4 + "platformcollateral", None, as_admin(), foreign)
    assert answer.status == 460
    assert b"not proven" in answer.body
    assert empty.get("/healthz").json()["documents"] == 0


def test_older_collateral_is_answered_460_and_the_newer_stays(
    empty: Thread, body: bytes, live_world: World, tmp_path: Path
) -> None:
    empty.ask("PUT", V4 + "platformcollateral", None, as_admin(), body)
    before = empty.get(V4 + "tcb", {"fmspc": "515545000000"}).body
    provisioning.export_collateral(live_world.state.directory, tmp_path / "out", dt.datetime.now(dt.UTC) - DAY / 2)
    older = (tmp_path / "out" / "pccs.json").read_bytes()
    answer = empty.ask("PUT", V4 + "platformcollateral", None, as_admin(), older)
    assert answer.status == 460
    assert b"older" in answer.body
    assert empty.get(V4 + "tcb", {"fmspc": "515545000000"}).body == before


def test_what_has_expired_may_be_brought_and_is_said(empty: Thread, live_world: World, tmp_path: Path) -> None:
    provisioning.export_collateral(live_world.state.directory, tmp_path / "out", dt.datetime.now(dt.UTC) - 40 * DAY)
    old = (tmp_path / "out" / "pccs.json").read_bytes()
    answer = empty.ask("PUT", V4 + "platformcollateral", None, as_admin(), old)
    assert answer.status == 200
    assert b"Expired: " in answer.body
    assert empty.get("/healthz").json()["expired"] > 0


@pytest.mark.parametrize(
    "change",
    [
        {"platforms": None},
        {"collaterals": None},
        {"collaterals": {"version": 4, "pck_certs": [], "tcbinfos": []}},
        {"collaterals": {"version": 5, "pck_certs": [], "tcbinfos": [], "certificates": {}}},
        {"collaterals": {"version": 4, "pck_certs": [{}], "tcbinfos": [], "certificates": {}}},
        {"collaterals": {"version": 4, "pck_certs": [], "tcbinfos": [{"sgx_tcbinfo": 7}], "certificates": {}}},
    ],
    ids=str,
)
def test_a_body_that_is_none_is_answered_400(offline: Pccs, body: bytes, change: dict[str, Any]) -> None:
    raw = json.dumps({**json.loads(body), **change}).encode()
    assert offline.ask("PUT", V4 + "platformcollateral", None, as_admin(), raw).status == 400


def test_tcbs_without_a_certificate_are_listed_as_such(
    empty: Thread, body: bytes, pckcert_parameters: dict[str, str], live_world: World
) -> None:
    changed = json.loads(body)
    missing = live_world.state.pck_tcb.cpu_svn.hex().upper() + "0C00"
    changed["collaterals"]["pck_certs"][0]["certs"].append({"tcb": {}, "tcbm": missing, "cert": "Not available"})
    empty.ask("PUT", V4 + "platformcollateral", None, as_admin(), json.dumps(changed).encode())
    listed = empty.get(V4 + "pckcerts", {n: pckcert_parameters[n] for n in ("encrypted_ppid", "pceid")}).json()
    assert [entry["cert"] for entry in listed if entry["tcbm"] == missing] == ["Not available"]
    assert empty.get(V4 + "pckcert", pckcert_parameters).status == 200


async def without_certificates(_: web.Request) -> web.StreamResponse:
    """A provisioning service that has no certificate for any TCB of the platform."""
    return web.json_response([{"tcb": {}, "tcbm": "0F" * 16 + "0D00", "cert": "Not available"}])


def test_a_platform_without_any_certificate_is_answered_462(
    live_world: World, pckcert_parameters: dict[str, str], tmp_path: Path
) -> None:
    with (
        Upstream(without_certificates) as source,
        Thread(settings(str(tmp_path / "store.db"), "LAZY", live_world.trust, source.url)) as service,
    ):
        assert service.get(V4 + "pckcert", pckcert_parameters).status == 462


def test_on_demand_a_platform_without_any_certificate_is_put_into_a_queue_of_its_own(
    live_world: World, platform: dict[str, Any], tmp_path: Path
) -> None:
    with (
        Upstream(without_certificates) as source,
        Thread(settings(str(tmp_path / "store.db"), "REQ", live_world.trust, source.url)) as service,
    ):
        answer = service.ask("POST", V4 + "platforms", None, as_user(), json.dumps(platform).encode())
        assert answer.status == 462
        assert service.get(V4 + "platforms", {"source": "reg"}, as_admin()).json() == []
        assert service.get(V4 + "platforms", {"source": "reg_na"}, as_admin()).json() == [platform]
        assert service.get(V4 + "platforms", {"source": "reg_na"}, as_admin()).json() == [platform]


def test_a_manifest_is_sent_on_and_a_new_one_certified_anew(
    live_world: World, platform: dict[str, Any], tmp_path: Path
) -> None:
    asked: list[dict[str, str]] = []

    async def by_manifest(request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return web.Response(status=404)
        asked.append(await request.json())
        return web.json_response(
            [{"tcb": {}, "tcbm": certificate.tcb.tcbm, "cert": quote(certificate.pem, safe="")}],
            headers={"SGX-PCK-Certificate-Issuer-Chain": escape_chain(live_world.ca_chain)},
        )

    leaf = read_chain(live_world.chain).leaf.pem()
    certificate = prove_pck_certificate(leaf, live_world.ca_chain, live_world.trust)
    with (
        Upstream(by_manifest) as source,
        Thread(settings(str(tmp_path / "store.db"), "LAZY", live_world.trust, source.url)) as service,
    ):
        for given in ("0A" * 40, "0A" * 40, "0B" * 40):
            raw = json.dumps({**platform, "platform_manifest": given}).encode()
            service.ask("POST", V4 + "platforms", None, as_user(), raw)
        body = json.dumps({"platformManifest": "0b" * 40, "pceid": "0000"}).encode()
        (entry,) = service.ask("POST", V4 + "pckcerts", None, None, body).json()
        assert entry["tcbm"] == certificate.tcb.tcbm
    assert [each["platformManifest"] for each in asked] == ["0A" * 40, "0B" * 40]
    assert {each["pceid"] for each in asked} == {"0000"}


def test_who_has_no_token_configured_admits_nobody(live_world: World, tmp_path: Path) -> None:
    own = replace(settings(str(tmp_path / "store.db"), "OFFLINE", live_world.trust), tokens=TokenHashes())
    with Thread(own) as service:
        for headers in ({}, {"admin-token": ""}, as_admin()):
            assert service.get(V4 + "platforms", None, headers).status == 401


def test_refreshing_is_not_possible_offline(offline: Pccs) -> None:
    assert offline.get(V4 + "refresh", None, as_admin()).status == 503


def test_on_demand_nothing_is_fetched_for_a_client_but_for_who_registers(
    on_demand: Thread, platform: dict[str, Any], pckcert_parameters: dict[str, str]
) -> None:
    assert on_demand.get(V4 + "pckcert", pckcert_parameters).status == 461
    assert on_demand.get(V4 + "tcb", {"fmspc": "515545000000"}).status == 404
    raw = json.dumps(platform).encode()
    assert on_demand.ask("POST", V4 + "platforms", None, as_user(), raw).status == 200
    assert on_demand.get(V4 + "pckcert", pckcert_parameters).status == 200
    assert on_demand.get(V4 + "tcb", {"fmspc": "515545000000"}).status == 200
    assert on_demand.get(V4 + "pckcrl", {"ca": "processor"}).status == 200
    assert on_demand.get(V4 + "rootcacrl").status == 200
    assert on_demand.get(V4 + "platforms", None, as_admin()).json() == []


def test_on_demand_who_can_not_be_certified_stays_in_the_queue(on_demand: Thread, platform: dict[str, Any]) -> None:
    unknown = {**platform, "qe_id": "77" * 16, "enc_ppid": "A7" * 384}
    answer = on_demand.ask("POST", V4 + "platforms", None, as_user(), json.dumps(unknown).encode())
    assert answer.status == 404
    assert on_demand.get(V4 + "platforms", None, as_admin()).json() == [unknown]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refresh_brings_newer_documents_and_certificates(
    on_demand: Thread, platform: dict[str, Any], method: str, pckcert_parameters: dict[str, str]
) -> None:
    on_demand.ask("POST", V4 + "platforms", {"update": "all"}, as_user(), json.dumps(platform).encode())
    before = on_demand.get(V4 + "tcb", {"fmspc": "515545000000"}).body
    answer = on_demand.ask(method, V4 + "refresh", None, as_admin())
    assert (answer.status, answer.body) == (200, b"9 refreshed.")
    assert on_demand.get(V4 + "tcb", {"fmspc": "515545000000"}).body != before
    for parameters in ({"type": "certs"}, {"type": "certs", "fmspc": "515545000000"}):
        assert on_demand.ask(method, V4 + "refresh", parameters, as_admin()).body == b"1 refreshed."
    assert on_demand.get(V4 + "pckcert", pckcert_parameters).status == 200


def test_a_failed_refresh_is_said_and_keeps_what_there_is(database_url: str, live_world: World, body: bytes) -> None:
    """On each kind of database."""
    with Thread(settings(database_url, "REQ", live_world.trust, "http://127.0.0.1:1/")) as service:
        service.ask("PUT", V4 + "platformcollateral", None, as_admin(), body)
        before = service.get(V4 + "tcb", {"fmspc": "515545000000"}).body
        answer = service.get(V4 + "refresh", None, as_admin())
        assert answer.status == 502
        assert b"tcb_info 515545000000 v4 standard" in answer.body
        assert service.get(V4 + "tcb", {"fmspc": "515545000000"}).body == before


def test_the_service_describes_itself_and_its_health(offline: Pccs) -> None:
    described = offline.get("/openapi.json").json()
    assert described["openapi"].startswith("3.")
    assert set(described["paths"][V4 + "platforms"]) == {"get", "post"}
    assert offline.get("/healthz").json() == {"status": "ok", "mode": "OFFLINE", "documents": 7, "expired": 0}


def test_metrics_count_requests_and_say_when_documents_expire_but_name_no_platform(
    offline: Pccs, pckcert_parameters: dict[str, str]
) -> None:
    offline.get(V4 + "pckcert", pckcert_parameters)
    text = offline.get("/metrics").body.decode()
    assert f'quotehelper_pccs_requests_total{{endpoint="{V4}pckcert",status="200"}}' in text
    assert "quotehelper_pccs_document_next_update_timestamp_seconds{" in text
    assert pckcert_parameters["qeid"] not in text


def test_the_log_names_no_platform(empty: Thread, body: bytes, pckcert_parameters: dict[str, str]) -> None:
    empty.ask("PUT", V4 + "platformcollateral", None, as_admin(), body)
    empty.get(V4 + "pckcert", pckcert_parameters)
    empty.get(V4 + "pckcert", {**pckcert_parameters, "qeid": "AB"})
    log = empty.log
    assert pckcert_parameters["qeid"] not in log.upper()
    assert pckcert_parameters["encrypted_ppid"][:32] not in log.upper()


def test_one_changed_byte_in_a_certificate_that_is_brought_is_noticed(empty: Thread, body: bytes) -> None:
    changed = json.loads(body)
    certificate = changed["collaterals"]["pck_certs"][0]["certs"][0]
    at = len(certificate["cert"]) // 2
    other = "A" if certificate["cert"][at] != "A" else "B"
    certificate["cert"] = certificate["cert"][:at] + other + certificate["cert"][at + 1 :]
    assert empty.ask("PUT", V4 + "platformcollateral", None, as_admin(), json.dumps(changed).encode()).status == 460
    certificate["cert"] = quote("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert empty.ask("PUT", V4 + "platformcollateral", None, as_admin(), json.dumps(changed).encode()).status == 460
