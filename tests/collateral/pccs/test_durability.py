"""Killed in the middle of a refresh; two replicas on one database."""

from __future__ import annotations

import asyncio
import datetime as dt
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from aiohttp import web

from pccs_process import V4, Pccs, as_admin
from quotehelper.collateral.sources import escape_chain
from upstreams import Upstream, signed

if TYPE_CHECKING:
    from pathlib import Path

    from collateral_world import World

TCB = {"fmspc": "515545000000"}
PATHS: list[tuple[str, dict[str, str]]] = [
    ("tcb", TCB),
    ("qe/identity", {}),
    ("pckcrl", {"ca": "processor"}),
    ("rootcacrl", {}),
]


class Gate:
    """An upstream in order, which can be told to stand still at a path: then ``reached`` is set."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.still_at = ""
        self.reached = threading.Event()
        self.open = threading.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        world, now = self._world, dt.datetime.now(dt.UTC)
        if self.still_at and request.path.endswith(self.still_at):
            self.reached.set()
            await asyncio.to_thread(self.open.wait, 60)
        if request.path.endswith("/tcb"):
            return signed(world.tcb_info(now), "TCB-Info-Issuer-Chain", world.signers)
        if request.path.endswith("/qe/identity"):
            return signed(world.identity(now), "SGX-Enclave-Identity-Issuer-Chain", world.signers)
        if request.path.endswith("/pckcrl"):
            headers = {"SGX-PCK-CRL-Issuer-Chain": escape_chain(world.ca_chain)}
            return web.Response(body=world.pck_crl(now), headers=headers)
        return web.Response(text=world.root_crl(now).hex())


def served(service: Pccs) -> dict[str, bytes]:
    return {path: service.get(V4 + path, parameters).body for path, parameters in PATHS}


def test_killed_in_the_middle_of_a_refresh_nothing_is_lost(database_url: str, root: Path, live_world: World) -> None:
    gate = Gate(live_world)
    with Upstream(gate) as upstream, ThreadPoolExecutor(1) as pool:
        with Pccs(database_url, "LAZY", root, "--upstream", upstream.url) as service:
            before = served(service)
            gate.still_at = "/tcb"
            refreshing = pool.submit(service.get, V4 + "refresh", None, as_admin())
            assert gate.reached.wait(60)
            during = served(service)
            assert (during["tcb"], during["qe/identity"]) == (before["tcb"], during["qe/identity"])
            assert service.stop(signal.SIGKILL) == -signal.SIGKILL
            assert refreshing.exception(60) is not None
        gate.open.set()
        with Pccs(database_url, "OFFLINE", root) as service:
            assert served(service) == during
        gate.still_at = ""
        with Pccs(database_url, "LAZY", root, "--upstream", upstream.url) as service:
            assert service.get(V4 + "refresh", None, as_admin()).status == 200
            assert served(service)["tcb"] != before["tcb"]


def test_two_replicas_that_are_asked_at_once_refresh_once(database_url: str, root: Path, live_world: World) -> None:
    gate = Gate(live_world)
    with (
        Upstream(gate) as upstream,
        ThreadPoolExecutor(2) as pool,
        Pccs(database_url, "LAZY", root, "--upstream", upstream.url) as one,
        Pccs(database_url, "LAZY", root, "--upstream", upstream.url) as other,
    ):
        kept = served(one)
        assert served(other) == kept
        gate.still_at = "/tcb"
        upstream.asked.clear()
        first = pool.submit(one.get, V4 + "refresh", None, as_admin())
        assert gate.reached.wait(60)
        second = pool.submit(other.get, V4 + "refresh", None, as_admin())
        other.wait_for("refresh asked for")
        gate.open.set()
        assert (first.result(60).status, second.result(60).status) == (200, 200)
        assert second.result().body == b"0 refreshed."
        assert upstream.count("/tcb") == 1
        assert other.wait_for("refreshed by another")
        assert served(one) == served(other) != kept
