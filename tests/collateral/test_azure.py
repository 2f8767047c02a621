"""Azure's services, played by a server of the test: order, time limits, forms and the environment's variables."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

import pytest
from aiohttp import web

from collateral_world import NOW, World
from quotehelper.collateral.azure import AzureSource
from quotehelper.collateral.catalog import EARLY, STANDARD, Kind, Registration
from quotehelper.collateral.fetching import Fetcher, FetchLimits
from quotehelper.collateral.sources import escape_chain
from quotehelper.documents.pck import read_chain
from quotehelper.errors import ConfigError, SourceCause, SourceError
from upstreams import Upstream, signed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")
LIMITS = FetchLimits(total_s=5, attempts=1)


class Azure:
    """What the host's service (/thim) and the global cache (/cache) answer; headers that came are kept."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.thim_is_down = False
        self.headers: list[dict[str, str]] = []
        self.now = NOW

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        if request.path.startswith("/thim") and self.thim_is_down:
            return web.Response(status=404)
        if request.path.endswith("/pckcert"):
            return web.json_response(
                {
                    "id": "1",
                    "pckCert": read_chain(self.world.chain).leaf.pem().decode(),
                    "sgx-Pck-Certificate-Issuer-Chain": escape_chain(self.world.ca_chain),
                    "sgx-Tcbm": self.world.state.pck_tcb.cpu_svn.hex() + "0d00",
                    "cacheMaxAge": "86400",
                }
            )
        if request.path.endswith("/pckcrl"):
            headers = {"SGX-PCK-CRL-Issuer-Chain": escape_chain(self.world.ca_chain)}
            return web.Response(body=self.world.pck_crl(), headers=headers)
        if request.path.endswith("/tcb"):
            return signed(self.world.tcb_info(), "TCB-Info-Issuer-Chain", self.world.signers)
        return signed(self.world.identity(), "SGX-Enclave-Identity-Issuer-Chain", self.world.signers)

    def ask(
        self, upstream: Upstream, work: Callable[[AzureSource], Awaitable[T]], environment: dict[str, str] | None = None
    ) -> T:
        given = {
            "AZDCAP_PRIMARY_BASE_CERT_URL": f"{upstream.origin}/thim/v4",
            "AZDCAP_SECONDARY_BASE_CERT_URL": f"{upstream.origin}/cache/v4",
            "AZDCAP_BASE_CERT_URL": f"{upstream.origin}/cache",
            "AZDCAP_BASE_CERT_URL_TDX": f"{upstream.origin}/tdx",
            **(environment or {}),
        }

        async def run() -> T:
            source = AzureSource(Fetcher(LIMITS), given, lambda: self.now)
            try:
                return await work(source)
            finally:
                await source.close()

        return asyncio.run(run())


@pytest.fixture
def azure(world: World) -> Azure:
    return Azure(world)


@pytest.fixture
def registration(world: World) -> Registration:
    return Registration(world.platform, world.raw_tcb, "AB" * 384)


def test_the_hosts_service_gives_the_certificate_as_json(
    azure: Azure, registration: Registration, world: World
) -> None:
    with Upstream(azure) as upstream:
        pairs, chain = azure.ask(upstream, lambda source: source.pck_certificates(registration))
    assert pairs == ((world.state.pck_tcb.cpu_svn.hex().upper() + "0D00", read_chain(world.chain).leaf.pem()),)
    assert chain == world.ca_chain
    (asked,) = upstream.asked
    assert asked.startswith("/thim/v4/pckcert?")
    assert "api-version=2021-07-22-preview" in asked
    assert "encrypted_ppid=ABAB" in asked
    assert azure.headers[0]["metadata"] == "true"


def test_the_global_cache_is_asked_when_the_host_fails_and_the_host_left_alone_for_a_while(
    azure: Azure, registration: Registration
) -> None:
    azure.thim_is_down = True

    async def several(source: AzureSource) -> None:
        await source.pck_certificates(registration)
        await source.pck_certificates(registration)
        azure.now += dt.timedelta(seconds=30)
        await source.pck_certificates(registration)

    with Upstream(azure) as upstream:
        azure.ask(upstream, several)
    assert [asked.split("/")[1] for asked in upstream.asked] == ["thim", "cache", "cache", "thim", "cache"]
    assert "clientid=production_client" in upstream.asked[1]
    assert "api-version=2020-02-12-preview" in upstream.asked[1]


def test_the_encrypted_ppid_is_kept_back_if_that_is_wanted(azure: Azure, registration: Registration) -> None:
    with Upstream(azure) as upstream:
        azure.ask(upstream, lambda source: source.pck_certificates(registration), {"AZDCAP_DISABLE_ONDEMAND": "1"})
    assert upstream.count("encrypted_ppid") == 0


def test_a_revocation_list_is_asked_for_by_its_uri_escaped_twice(azure: Azure, world: World) -> None:
    with Upstream(azure) as upstream:
        crl, chain = azure.ask(upstream, lambda source: source.pck_crl("PROCESSOR"))
        azure.ask(upstream, lambda source: source.root_crl("https://example.org/root.der"))
    assert (crl[:1], chain) == (b"\x30", world.ca_chain)
    uri = "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=processor"
    assert f"/cache/v4/pckcrl?uri={quote(quote(uri, safe=''), safe='')}&" in upstream.asked[0]
    assert quote(quote("https://example.org/root.der", safe=""), safe="") in upstream.asked[1]


def test_documents_come_from_the_base_of_their_api_version(azure: Azure) -> None:
    async def several(source: AzureSource) -> None:
        await source.tcb_info("515545000000", 3, EARLY)
        await source.tcb_info("515545000000", 4, STANDARD, tdx=True)
        await source.identity(Kind.QE_IDENTITY, 4, STANDARD)
        await source.identity(Kind.TD_QE_IDENTITY, 4, STANDARD)

    with Upstream(azure) as upstream:
        azure.ask(upstream, several)
    paths = [asked.split("?")[0] for asked in upstream.asked]
    assert paths == ["/cache/v3/tcb", "/tdx/v4/tcb", "/cache/v4/qe/identity", "/tdx/v4/qe/identity"]
    assert [("update=early" in asked) for asked in upstream.asked] == [True, False, False, False]


def test_a_region_takes_the_place_of_the_base_if_that_is_wanted(azure: Azure) -> None:
    with Upstream(azure) as upstream:
        region = {"AZDCAP_REGION_URL": f"{upstream.origin}/region"}
        for environment in (region, {**region, "AZDCAP_BYPASS_BASE_URL": "1", "AZDCAP_CLIENT_ID": "mine"}):
            azure.ask(upstream, lambda source: source.identity(Kind.QE_IDENTITY, 4, STANDARD), environment)
    assert upstream.asked[0].startswith("/cache/v4/qe/identity?clientid=production_client")
    assert upstream.asked[1].startswith("/region/v4/qe/identity?clientid=mine")


def test_what_azure_does_not_serve_is_not_found_without_asking(azure: Azure) -> None:
    async def nothing(source: AzureSource) -> list[SourceCause]:
        causes = []
        for asked in (source.evaluation_numbers(), source.fmspcs("all"), source.identity(Kind.QAE_IDENTITY, 4, "")):
            with pytest.raises(SourceError) as refused:
                await asked
            causes.append(refused.value.cause)
        return causes

    with Upstream(azure) as upstream:
        assert azure.ask(upstream, nothing) == [SourceCause.NOT_FOUND] * 3
    assert upstream.asked == []


@pytest.mark.parametrize("body", [b"{", b"{}", b'{"pckCert": 7}', b"[]" * 10])
def test_an_answer_that_is_none_is_malformed(body: bytes, registration: Registration, world: World) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    with Upstream(answer) as upstream:
        if body.startswith(b"{"):
            with pytest.raises(SourceError) as refused:
                Azure(world).ask(upstream, lambda source: source.pck_certificates(registration))
            assert refused.value.cause is SourceCause.MALFORMED
        else:
            pairs, chain = Azure(world).ask(upstream, lambda source: source.pck_certificates(registration))
            assert (pairs, chain) == ((("", body),), b"")


def test_a_version_that_is_none_is_the_operators_to_mend() -> None:
    with pytest.raises(ConfigError, match="AZDCAP_COLLATERAL_VERSION"):
        AzureSource(Fetcher(), {"AZDCAP_COLLATERAL_VERSION": "v9"}, lambda: NOW)
