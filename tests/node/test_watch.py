"""Collateral watched by the control process of a real daemon, and by a Watch alone where time must pass."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
from typing import TYPE_CHECKING

import pytest

from control_client import Control
from harness import Daemon, Program, WrittenLog, run_cli
from quotehelper.node.config import Settings
from quotehelper.node.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAY = dt.timedelta(days=1)
NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def own(state: Path, tmp_path: Path) -> Path:
    """A state directory that the test may change."""
    shutil.copytree(state, tmp_path / "own")
    return tmp_path / "own"


def export(state: Path, bundle: Path) -> None:
    """Put fresh collateral for ``state`` at ``bundle``, in one moment."""
    draft = bundle.with_suffix(".draft")
    run_cli("simulate", "export-collateral", "--state", str(state), "--out", str(draft))
    (draft / "collateral.json").rename(bundle)
    shutil.rmtree(draft)


def test_a_tcb_recovery_shows_and_an_update_of_the_platform_heals_it_without_a_signal(
    start_daemon: Callable[..., Daemon], own: Path, tmp_path: Path
) -> None:
    bundle, control = tmp_path / "bundle.json", Control(tmp_path / "metrics.socket")
    export(own, bundle)
    daemon = start_daemon(
        ["--metrics", str(control.path), "--self-check-interval", "1", "--bundle", str(bundle)], state=own
    )
    control.wait_for_metric("quotehelper_tcb_status", 1, status="UpToDate")
    assert control.metric("quotehelper_tcb_status") == 1
    for document in ("pck_certificate", "tcb_info", "qe_identity", "pck_crl", "root_ca_crl"):
        assert control.metric("quotehelper_document_expiry_timestamp_seconds", document=document) > NOW.timestamp()
    run_cli("simulate", "tcb-recovery", "--state", str(own))
    export(own, bundle)
    line = daemon.wait_for("WARNING TCB status is not good")
    assert "status=OutOfDate" in line
    assert "remedy=" in line
    control.wait_for_metric("quotehelper_tcb_status", 1, status="OutOfDate")
    assert control.health("/readyz") == (200, {"ok": True})
    run_cli("simulate", "update-platform", "--state", str(own))
    export(own, bundle)
    daemon.wait_for("INFO platform state changed")
    daemon.wait_for("INFO TCB status is good", times=2)
    control.wait_for_metric("quotehelper_tcb_status", 1, status="UpToDate")


def test_a_bundle_that_can_not_be_read_stops_neither_quotes_nor_readiness(
    start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    bundle, control = tmp_path / "bundle.json", Control(tmp_path / "metrics.socket")
    bundle.write_text("{}")
    daemon = start_daemon(["--metrics", str(control.path), "--self-check-interval", "1", "--bundle", str(bundle)])
    assert "remedy=" in daemon.wait_for("WARNING collateral not had")
    assert control.wait_for("/readyz", 200) == {"ok": True}
    assert control.metric("quotehelper_tcb_status") == 0


def test_what_a_collateral_service_has_is_fetched(
    start_daemon: Callable[..., Daemon], state: Path, tmp_path: Path
) -> None:
    control = Control(tmp_path / "metrics.socket")
    with Program("simulate", "serve-pcs", "--state", str(state), "--listen", "127.0.0.1:0") as service:
        url = service.wait_for("INFO ready").split("url=")[1].split("/sgx/")[0]
        start_daemon(["--metrics", str(control.path), "--self-check-interval", "1", "--pccs", url])
        control.wait_for_metric("quotehelper_tcb_status", 1, status="UpToDate")
    assert control.wait_for("/readyz", 200) == {"ok": True}


@pytest.fixture
def watch(state: Path, tmp_path: Path, log: WrittenLog) -> Watch:
    """Watches fresh collateral of the shared platform."""
    export(state, tmp_path / "bundle.json")
    return Watch(Settings("simulated", str(state), bundle=str(tmp_path / "bundle.json")), log)


def look(watch: Watch, at: dt.datetime) -> None:
    asyncio.run(watch.look(None, at))


def test_weeks_before_the_end_a_warning_is_written_and_once_a_day_from_then_on(watch: Watch, log: WrittenLog) -> None:
    look(watch, NOW)
    assert not log.events("verification ends soon")
    for hours in (0, 12, 25):
        look(watch, NOW + 17 * DAY + dt.timedelta(hours=hours))
    said = [event["document"] for event in log.events("verification ends soon")]
    assert said.count("tcb_info") == said.count("qe_identity") == 2


def test_what_does_not_hold_is_said_once(watch: Watch, log: WrittenLog, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_text('{"tcb_info_issuer_chain": ""}')
    for _ in range(2):
        look(watch, NOW)
    reasons = [event["reason"] for event in log.events("collateral does not hold")]
    assert reasons
    assert len(reasons) == len(set(reasons))


def test_without_a_quote_there_is_nothing_to_fetch_and_it_says_so(state: Path, log: WrittenLog) -> None:
    watch = Watch(Settings("simulated", str(state), pccs="http://127.0.0.1:1"), log)
    look(watch, NOW)
    look(watch, NOW)
    assert log.events("collateral not had")[0]["reason"].startswith("No quote")
    assert len(log.events("collateral not had")) == 1
    assert watch.samples() == {}


@pytest.mark.parametrize(
    "options", [["--bundle", "."], ["--pccs", "intel"], ["--metrics", "./m", "--bundle", ".", "--pccs", "intel"]]
)
def test_what_to_watch_needs_somebody_who_watches_and_is_one_thing(state: Path, options: list[str]) -> None:
    done = run_cli("serve", "--platform", "simulated", "--state", str(state), *options, check=False)
    assert done.returncode == 2
    assert "--bundle or --pccs" in done.stderr
