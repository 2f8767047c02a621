"""The simulated authority as a PCS: what its settings say shows in the next answer."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from collateral_world import NOW
from quotehelper.collateral.simulated_pcs import SimulatedPcs
from quotehelper.documents.pck import read_crl
from quotehelper.documents.signed_json import split_signed
from quotehelper.documents.tcb_info import TcbStatus, parse_tcb_info
from quotehelper.platforms.simulated import events, provisioning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CRL = "/sgx/certification/v4/pckcrl?ca=processor&encoding=der"
TCB = "/sgx/certification/v4/tcb?fmspc=515545000000"


async def _ask(directory: Path, *paths: str) -> list[bytes]:
    """The answers to ``paths``; after the first a leaf is revoked, after the second its TCB is out of date."""
    happenings: list[Callable[[], object]] = [
        partial(events.revoke_certificate, directory, "pck"),
        partial(events.recover_tcb, directory, NOW),
        list,
    ]
    answers: list[bytes] = []
    async with TestClient(TestServer(SimulatedPcs([directory], lambda: NOW).application())) as client:
        for path, happen in zip(paths, happenings, strict=False):
            response = await client.get(path)
            assert response.status == 200
            answers.append(await response.read())
            happen()
    return answers


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return provisioning.init(tmp_path / "state", NOW).directory


def test_a_revocation_shows_in_the_next_answer(directory: Path) -> None:
    before, after = asyncio.run(_ask(directory, CRL, CRL))
    assert read_crl(before).revoked == ()
    (entry,) = read_crl(after).revoked
    assert entry.serial_number == provisioning.read_leaf(directory).serial_number


def test_a_recovery_shows_in_the_next_answer(directory: Path) -> None:
    _, before, after = asyncio.run(_ask(directory, CRL, TCB, TCB))
    levels = [parse_tcb_info(split_signed(raw, "tcbInfo").body).levels for raw in (before, after)]
    assert [len(each) for each in levels] == [2, 3]
    assert levels[1][1].status is TcbStatus.OUT_OF_DATE


def test_damaged_settings_are_an_answer_too(directory: Path) -> None:
    pcs = SimulatedPcs([directory], lambda: NOW)
    (directory / "authority" / "settings.json").write_bytes(b"{}")

    async def ask() -> int:
        async with TestClient(TestServer(pcs.application())) as client:
            return (await client.get(CRL)).status

    assert asyncio.run(ask()) == 503
