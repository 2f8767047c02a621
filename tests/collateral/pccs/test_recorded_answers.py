"""What Intel's service answered on a day in May 2025, fetched by ours and served again: equal in body and header."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from aiohttp import web

from collateral_world import RECORDED, intel_root_crl, recorded
from pccs_process import V3, V4, Thread, settings
from quotehelper.collateral.proof import Trust
from quotehelper.collateral.sources import escape_chain
from quotehelper.documents.pck import read_crl
from quotehelper.verification.roots import Roots
from upstreams import Upstream, signed

if TYPE_CHECKING:
    from collections.abc import Iterator

TCB_V4, TCB_V3 = "TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"
IDENTITY, NUMBERS = "SGX-Enclave-Identity-Issuer-Chain", "TCB-Evaluation-Data-Numbers-Issuer-Chain"
FMSPC = {"fmspc": "00906ED50000"}
DOCUMENTS = [
    (V4 + "tcb", FMSPC, "sgx_tcb_info_00906ED50000", TCB_V4),
    (V4 + "tcb", {**FMSPC, "update": "standard"}, "sgx_tcb_info_00906ED50000", TCB_V4),
    (V4 + "tcb", {**FMSPC, "update": "early"}, "sgx_tcb_info_early", TCB_V4),
    (V3 + "tcb", FMSPC, "sgx_tcb_info_v3", TCB_V3),
    (V4 + "qe/identity", None, "sgx_qe_identity", IDENTITY),
    (V3 + "qe/identity", None, "sgx_qe_identity_v3", IDENTITY),
    (V4 + "qve/identity", None, "sgx_qve_identity", IDENTITY),
    (V4 + "qae/identity", None, "sgx_qae_identity", IDENTITY),
    (V4 + "tcbevaluationdatanumbers", None, "sgx_tcb_eval_nums", NUMBERS),
]


def body_of(answer: dict[str, Any]) -> bytes:
    (text,) = (value for name, value in answer.items() if name.endswith("_json"))
    return str(text).encode()


async def play(request: web.Request) -> web.StreamResponse:
    """The recording, as Intel's service served it."""
    asked = dict(request.query)
    for path, parameters, name, header in reversed(DOCUMENTS):
        if request.path == path and asked == (parameters or {}):
            answer = recorded(name)
            return signed(body_of(answer), header, answer["issuer_chain"].encode())
    if request.path.endswith("/fmspcs"):
        return web.Response(body=body_of(recorded("fmspcs")), content_type="application/json")
    if request.path.endswith("/pckcrl"):
        answer = recorded(f"pck_crl_{asked['ca']}")
        headers = {"SGX-PCK-CRL-Issuer-Chain": escape_chain(answer["issuer_chain"].encode())}
        return web.Response(body=read_crl(answer["crl_data"].encode()).der, headers=headers)
    if request.path.endswith("/rootcacrl"):
        return web.Response(text=intel_root_crl().hex())
    return web.Response(status=404)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thread]:
    database = str(tmp_path_factory.mktemp("recorded") / "store.db")
    trust = Trust(Roots.intel())
    with Upstream(play) as intel, Thread(settings(database, "LAZY", trust, intel.url), lambda: RECORDED) as running:
        yield running


@pytest.mark.parametrize(("path", "parameters", "name", "header"), DOCUMENTS)
def test_a_document_is_served_again_to_the_byte_with_its_chain(
    service: Thread, path: str, parameters: dict[str, str] | None, name: str, header: str
) -> None:
    answer = service.get(path, parameters)
    assert answer.status == 200
    assert answer.body == body_of(recorded(name))
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers[header] == quote(recorded(name)["issuer_chain"], safe="")


@pytest.mark.parametrize("ca", ["processor", "platform"])
def test_a_revocation_list_is_served_again_with_its_chain(service: Thread, ca: str) -> None:
    answer = service.get(V4 + "pckcrl", {"ca": ca, "encoding": "der"})
    assert answer.body == read_crl(recorded(f"pck_crl_{ca}")["crl_data"].encode()).der
    assert answer.headers["SGX-PCK-CRL-Issuer-Chain"] == quote(recorded(f"pck_crl_{ca}")["issuer_chain"], safe="")


def test_the_list_recorded_as_der_is_as_intel_sends_it() -> None:
    der = base64.b64decode(recorded("pck_crl_processor_der")["crl_data_base64"])
    assert read_crl(der).der == der


@pytest.mark.parametrize(("name", "platform"), [("fmspcs", ""), ("fmspcs_all_platforms", "all")])
def test_the_platform_families_are_passed_on(service: Thread, name: str, platform: str) -> None:
    answer = service.get(V4 + "fmspcs", {"platform": platform} if platform else None)
    assert answer.body == body_of(recorded(name))


def test_intels_root_list_is_served_by_its_distribution_point(service: Thread) -> None:
    uri = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
    service.get(V4 + "qe/identity")
    assert service.get(V4 + "crl", {"uri": uri}).body == intel_root_crl()
    assert service.get(V4 + "rootcacrl").body == intel_root_crl().hex().encode()
