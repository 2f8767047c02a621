"""Mode LAZY: what is missing is fetched, from a PCS or another collateral service, and then kept."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

import dcap_qvl
import pytest
from aiohttp import web

from pccs_process import TDX, V3, V4, Pccs, Served, Thread, settings
from quotehelper.documents.signed_json import split_signed
from quotehelper.documents.tcb_info import parse_tcb_info
from upstreams import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from collateral_world import World


@pytest.fixture
def lazy(tmp_path: Path, live_world: World, pcs: Served) -> Iterator[Thread]:
    with Thread(settings(str(tmp_path / "store.db"), "LAZY", live_world.trust, pcs.url)) as running:
        yield running


def test_an_unknown_platform_is_certified_when_it_asks(
    lazy: Thread, pckcert_parameters: dict[str, str], live_world: World
) -> None:
    answer = lazy.get(V4 + "pckcert", pckcert_parameters)
    assert answer.status == 200
    assert answer.headers["SGX-TCBm"] == live_world.state.pck_tcb.cpu_svn.hex().upper() + "0D00"


def test_a_platform_one_level_below_gets_the_certificate_of_its_level(
    lazy: Thread, pckcert_parameters: dict[str, str]
) -> None:
    answer = lazy.get(V4 + "pckcert", {**pckcert_parameters, "pcesvn": "0C00"})
    assert answer.headers["SGX-TCBm"].endswith("0C00")
    assert lazy.get(V4 + "pckcert", pckcert_parameters).headers["SGX-TCBm"].endswith("0D00")


def test_a_platform_that_can_not_be_told_is_answered_without_one(
    lazy: Thread, pckcert_parameters: dict[str, str]
) -> None:
    parameters = {**pckcert_parameters, "qeid": "77" * 16}
    assert lazy.get(V4 + "pckcert", {**parameters, "encrypted_ppid": "A7" * 384}).status == 404


@pytest.mark.parametrize(("base", "version"), [(V3, 2), (V4, 3)])
def test_each_api_version_serves_tcb_info_of_its_own(lazy: Thread, base: str, version: int) -> None:
    answer = lazy.get(base + "tcb", {"fmspc": "515545000000"})
    assert parse_tcb_info(split_signed(answer.body, "tcbInfo").body).version == version


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("qe/identity", None),
        ("qve/identity", None),
        ("qae/identity", None),
        ("qe/identity", {"update": "early"}),
        ("tcb", {"fmspc": "515545000000", "update": "early"}),
        ("tcbevaluationdatanumbers", None),
        ("pckcrl", {"ca": "platform"}),
        ("rootcacrl", None),
        ("fmspcs", {"platform": "E3"}),
    ],
    ids=str,
)
def test_whatever_is_missing_is_fetched(lazy: Thread, path: str, parameters: dict[str, str] | None) -> None:
    assert lazy.get(V4 + path, parameters).status == 200


def test_what_the_source_does_not_have_is_answered_404(lazy: Thread) -> None:
    assert lazy.get(V4 + "tcb", {"fmspc": "00906ED50000"}).status == 404
    assert lazy.get(TDX + "qe/identity").status == 404


def test_what_was_fetched_once_is_served_when_the_source_is_gone(
    database_url: str, live_world: World, pckcert_parameters: dict[str, str]
) -> None:
    """On each kind of database."""
    state = str(live_world.state.directory)
    with Served("simulate", "serve-pcs", "--state", state, "--listen", "127.0.0.1:0") as source:
        with Thread(settings(database_url, "LAZY", live_world.trust, source.url)) as service:
            first = [service.get(V4 + "pckcert", pckcert_parameters), service.get(V4 + "qe/identity")]
            source.stop()
            assert [service.get(V4 + "pckcert", pckcert_parameters).body, service.get(V4 + "qe/identity").body] == [
                answer.body for answer in first
            ]
            assert service.get(V4 + "qve/identity").status == 502
        with Thread(settings(database_url, "OFFLINE", live_world.trust)) as service:
            assert service.get(V4 + "pckcert", pckcert_parameters).body == first[0].body


def test_another_collateral_service_can_be_the_source(
    tmp_path: Path, live_world: World, offline: Pccs, pckcert_parameters: dict[str, str]
) -> None:
    with Thread(settings(str(tmp_path / "store.db"), "LAZY", live_world.trust, offline.url)) as service:
        assert (
            service.get(V4 + "pckcert", pckcert_parameters).body == offline.get(V4 + "pckcert", pckcert_parameters).body
        )
        for path, parameters in (("tcb", {"fmspc": "515545000000"}), ("qe/identity", {}), ("rootcacrl", {})):
            assert service.get(V4 + path, parameters).body == offline.get(V4 + path, parameters).body


def test_a_source_that_gives_single_certificates_is_enough(
    tmp_path: Path, live_world: World, offline: Pccs, pckcert_parameters: dict[str, str]
) -> None:
    """Without an encrypted PPID the other service is asked by QE id, as clients do."""
    asked = {**pckcert_parameters, "encrypted_ppid": "0" * 768}
    with Thread(settings(str(tmp_path / "store.db"), "LAZY", live_world.trust, offline.url)) as service:
        assert service.get(V4 + "pckcert", asked).body == offline.get(V4 + "pckcert", asked).body


def test_dcap_qvl_verifies_with_what_was_fetched_for_it(lazy: Thread, quote_of_ours: bytes, trusted: bytes) -> None:
    async def fetch() -> dcap_qvl.QuoteCollateralV3:
        return await dcap_qvl.get_collateral(lazy.url, quote_of_ours)

    now = int(dt.datetime.now(dt.UTC).timestamp()) + 1
    verified = dcap_qvl.verify_with_root_ca(quote_of_ours, asyncio.run(fetch()), trusted, now)
    assert str(verified.status) == "UpToDate"


def test_a_source_of_api_version_3_is_asked_in_that_version(
    live_world: World, tmp_path: Path, pckcert_parameters: dict[str, str]
) -> None:
    async def old(_: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    with (
        Upstream(old) as source,
        Thread(settings(str(tmp_path / "s.db"), "LAZY", live_world.trust, source.url.replace("v4", "v3"))) as service,
    ):
        service.get(V3 + "tcb", {"fmspc": "515545000000"})
        service.get(V4 + "pckcrl", {"ca": "processor"})
        service.get(V4 + "pckcert", pckcert_parameters)
        asked = [path.split("?")[0] for path in source.asked]
    assert asked == [V3 + "tcb", V3 + "pckcrl", V3 + "pckcerts", V3 + "pckcert"]
