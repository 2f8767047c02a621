"""Upstreams that are wrong, slow or hostile: nothing of theirs is kept, nobody is held up, and it is always said."""

from __future__ import annotations

import asyncio
import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from collateral_world import DAY, NOW, World
from pccs_process import QUICK, TDX, V3, V4, Asked, Thread, as_admin, settings
from quotehelper.collateral.fetching import FetchLimits
from quotehelper.collateral.sources import escape_chain
from upstreams import Bytes, Upstream, signed

if TYPE_CHECKING:
    from pathlib import Path

    from upstreams import Handler

TCB = {"fmspc": "515545000000"}
HEADER = "TCB-Info-Issuer-Chain"


FORGERIES = (
    "changed after it was signed",
    "signed by another authority",
    "signed by another under a genuine chain",
    "genuine under another chain",
    "without a chain",
    "under a chain that is none",
    "truncated",
    "empty",
    "another document",
    "of another version",
    "expired",
    "not yet issued",
)


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def serving(world: World, tcb_info: Handler) -> Handler:
    """An upstream that is in order, but for its TCB info."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/tcb"):
            return await tcb_info(request)
        if request.path.endswith("/rootcacrl"):
            return web.Response(text=world.root_crl(NOW).hex())
        if request.path.endswith("/pckcrl"):
            headers = {"SGX-PCK-CRL-Issuer-Chain": escape_chain(world.ca_chain)}
            return web.Response(body=world.pck_crl(NOW), headers=headers)
        if request.path.endswith("/qe/identity"):
            return signed(world.identity(NOW), "SGX-Enclave-Identity-Issuer-Chain", world.signers)
        return web.Response(status=404)

    return answer


def giving(body: bytes, chain: bytes, header: str = HEADER) -> Handler:
    async def answer(_: web.Request) -> web.StreamResponse:
        return signed(body, header, chain)

    return answer


def service(path: Path, world: World, source: Asked, clock: Clock, limits: FetchLimits = QUICK) -> Thread:
    return Thread(settings(str(path / "store.db"), "LAZY", world.trust, source.url, limits=limits), clock)


def documents(running: Thread) -> int:
    return int(running.get("/healthz").json()["documents"])


def forgeries(world: World, other: World) -> dict[str, tuple[bytes, bytes]]:
    genuine = world.tcb_info(NOW)
    return {
        "changed after it was signed": (genuine.replace(b'"pcesvn":13', b'"pcesvn":12'), world.signers),
        "signed by another authority": (other.tcb_info(NOW), other.signers),
        "signed by another under a genuine chain": (other.tcb_info(NOW), world.signers),
        "genuine under another chain": (genuine, other.signers),
        "without a chain": (genuine, b""),
        "under a chain that is none": (genuine, b"nonsense"),
        "truncated": (genuine[:-40], world.signers),
        "empty": (b"", world.signers),
        "another document": (world.identity(NOW), world.signers),
        "of another version": (world.tcb_info(NOW, version=3), world.signers),
        "expired": (world.tcb_info(NOW - 31 * DAY), world.signers),
        "not yet issued": (world.tcb_info(NOW + DAY), world.signers),
    }


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_is_not_genuine_and_current_is_never_kept_and_always_said(
    forgery: str, world: World, other_world: World, clock: Clock, tmp_path: Path
) -> None:
    handler = serving(world, giving(*forgeries(world, other_world)[forgery]))
    with Upstream(handler) as source, service(tmp_path, world, source, clock) as running:
        assert running.get(V4 + "tcb", TCB).status == 502
        assert "tcb_info" not in running.get("/metrics").body.decode()
        assert "WARNING" in running.log
        assert running.get(V4 + "qe/identity").status == 200


def test_the_genuine_document_is_kept(world: World, clock: Clock, tmp_path: Path) -> None:
    """What the forgeries differ from."""
    handler = serving(world, giving(world.tcb_info(NOW), world.signers))
    with Upstream(handler) as source, service(tmp_path, world, source, clock) as running:
        assert running.get(V4 + "tcb", TCB).status == 200


def test_a_tdx_document_passes_through_under_its_own_path(world: World, clock: Clock, tmp_path: Path) -> None:
    inner = world.tcb_info(NOW).removeprefix(b'{"tcbInfo":').rpartition(b',"signature"')[0]
    tdx = world.sign("tcbInfo", inner.replace(b'"id":"SGX"', b'"id":"TDX"'))
    with (
        Upstream(serving(world, giving(tdx, world.signers))) as source,
        service(tmp_path, world, source, clock) as running,
    ):
        assert running.get(TDX + "tcb", TCB).body == tdx
        assert running.get(V4 + "tcb", TCB).status == 502
        assert source.count("/tdx/certification/v4/tcb") == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\ntoo short",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * (1 << 20) + b"\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["nothing", "nonsense", "too short", "bad chunk", "bad gzip", "endless header", "odd status"],
)
def test_an_upstream_that_does_not_speak_http_is_answered_502(
    raw: bytes, world: World, clock: Clock, tmp_path: Path
) -> None:
    with Bytes(raw) as source, service(tmp_path, world, source, clock) as running:
        assert running.get(V4 + "tcb", TCB).status == 502
        assert documents(running) == 0


def test_an_endless_answer_is_cut_off(world: World, clock: Clock, tmp_path: Path) -> None:
    written = []

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)
            written.append(65536)

    limits = FetchLimits(total_s=60, body_bytes=1 << 20, attempts=1)
    with Upstream(serving(world, endless)) as source, service(tmp_path, world, source, clock, limits) as running:
        assert running.get(V4 + "tcb", TCB).status == 502
        assert sum(written) < 16 << 20
        assert "more than 1048576 bytes" in running.log


def test_a_redirection_is_not_followed(world: World, clock: Clock, tmp_path: Path) -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(str(request.url.with_path("/elsewhere")))

    with (
        Upstream(serving(world, elsewhere)) as source,
        service(tmp_path, world, source, clock) as running,
    ):
        assert running.get(V4 + "tcb", TCB).status == 502
        assert source.count("elsewhere") == 0
        assert "redirections are not followed" in running.log


def test_a_silent_upstream_holds_up_nobody_who_asks_for_what_is_kept(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    limits = FetchLimits(total_s=3600)
    with (
        Upstream(serving(world, silent)) as source,
        service(tmp_path, world, source, clock, limits) as running,
        ThreadPoolExecutor(4) as pool,
    ):
        stuck = running.http()
        waiting = pool.submit(stuck.get, V4 + "tcb", TCB)
        assert {running.get(V4 + "qe/identity").status for _ in range(20)} == {200}
        assert not waiting.done()
        running.run(running.running.keeper.close())
        assert waiting.exception(60) is not None
        stuck.close()


def test_a_silent_upstream_is_given_up_in_time(world: World, clock: Clock, tmp_path: Path) -> None:
    limits = FetchLimits(total_s=0.05, attempts=2, pause_s=0.001)
    with Bytes(b"", hang=True) as source, service(tmp_path, world, source, clock, limits) as running:
        assert running.get(V4 + "tcb", TCB).status == 502
        assert "no answer within 0.05 s" in running.log


def test_a_trickling_upstream_is_given_up_in_time(world: World, clock: Clock, tmp_path: Path) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.001)

    limits = FetchLimits(total_s=0.1, attempts=1)
    with Upstream(serving(world, trickle)) as source, service(tmp_path, world, source, clock, limits) as running:
        assert running.get(V4 + "tcb", TCB).status == 502


def test_of_many_who_miss_the_same_document_one_fetches_it(world: World, clock: Clock, tmp_path: Path) -> None:
    handler = serving(world, giving(world.tcb_info(NOW), world.signers))
    with (
        Upstream(handler) as source,
        service(tmp_path, world, source, clock) as running,
        ThreadPoolExecutor(16) as pool,
    ):
        answers = list(pool.map(lambda _: running.get(V4 + "tcb", TCB).status, range(32)))
        assert answers == [200] * 32
        assert source.count("/tcb") == 1


def test_a_failure_is_remembered_for_a_while_and_not_for_ever(world: World, clock: Clock, tmp_path: Path) -> None:
    answers = [web.Response(status=404), signed(world.tcb_info(NOW), HEADER, world.signers)]

    async def later(_: web.Request) -> web.StreamResponse:
        return answers.pop(0)

    with Upstream(serving(world, later)) as source, service(tmp_path, world, source, clock) as running:
        assert [running.get(V4 + "tcb", TCB).status for _ in range(5)] == [404] * 5
        assert source.count("/tcb") == 1
        clock.now += dt.timedelta(minutes=1)
        assert running.get(V4 + "tcb", TCB).status == 200


@pytest.mark.parametrize(("status", "headers"), [(503, {}), (429, {"Retry-After": "0"}), (500, {})])
def test_what_is_temporary_is_tried_again(
    status: int, headers: dict[str, str], world: World, clock: Clock, tmp_path: Path
) -> None:
    answers = [web.Response(status=status, headers=headers), signed(world.tcb_info(NOW), HEADER, world.signers)]

    async def recovering(_: web.Request) -> web.StreamResponse:
        return answers.pop(0)

    with Upstream(serving(world, recovering)) as source, service(tmp_path, world, source, clock) as running:
        assert running.get(V4 + "tcb", TCB).status == 200
        assert source.count("/tcb") == 2


def test_who_asks_for_more_patience_than_there_is_is_not_waited_for(world: World, clock: Clock, tmp_path: Path) -> None:
    async def busy(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "3600"})

    with Upstream(serving(world, busy)) as source, service(tmp_path, world, source, clock) as running:
        assert running.get(V4 + "tcb", TCB).status == 502
        assert source.count("/tcb") == 1


def test_an_expired_document_is_given_while_no_newer_one_is_to_be_had(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    kept = world.tcb_info(NOW)
    answers: list[web.StreamResponse] = [signed(kept, HEADER, world.signers)]

    async def dying(_: web.Request) -> web.StreamResponse:
        return answers.pop(0) if answers else web.Response(status=404)

    with Upstream(serving(world, dying)) as source, service(tmp_path, world, source, clock) as running:
        assert running.get(V4 + "tcb", TCB).body == kept
        clock.now += 31 * DAY
        assert running.get(V4 + "tcb", TCB).body == kept
        assert "expired document given" in running.log
        newer = world.tcb_info(clock.now, number=18)
        answers.append(signed(newer, HEADER, world.signers))
        clock.now += dt.timedelta(minutes=1)
        assert running.get(V4 + "tcb", TCB).body == newer


def test_a_rollback_is_refused_and_reported_when_refreshing(world: World, clock: Clock, tmp_path: Path) -> None:
    newer, older = world.tcb_info(NOW, number=18), world.tcb_info(NOW, number=17)
    answers = [signed(newer, HEADER, world.signers), signed(older, HEADER, world.signers)]

    async def rolling_back(_: web.Request) -> web.StreamResponse:
        return answers.pop(0)

    with Upstream(serving(world, rolling_back)) as source, service(tmp_path, world, source, clock) as running:
        running.get(V4 + "tcb", TCB)
        answer = running.get(V4 + "refresh", None, as_admin())
        assert answer.status == 502
        assert b"tcb_info 515545000000 v4 standard" in answer.body
        assert "older than what is kept" in running.log
        assert running.get(V4 + "tcb", TCB).body == newer


def test_an_upstream_of_api_version_3_gives_tcb_info_of_version_2(world: World, clock: Clock, tmp_path: Path) -> None:
    handler = serving(world, giving(world.tcb_info(NOW, version=3), world.signers, "SGX-TCB-Info-Issuer-Chain"))
    with Upstream(handler) as source, service(tmp_path, world, source, clock) as running:
        answer = running.get(V3 + "tcb", TCB)
        assert answer.json()["tcbInfo"]["version"] == 2
        assert answer.chain("SGX-TCB-Info-Issuer-Chain") == world.signers
        assert source.count("/v3/tcb") == 1
