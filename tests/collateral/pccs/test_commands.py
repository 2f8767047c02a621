"""The commands around a service: collateral, pccs and verify --pccs, run as users run them."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from collateral_world import DAY, World
from harness import DEADLINE_S, VECTORS, run_cli
from pccs_process import USER, V4, Pccs, Served, Thread, as_admin, settings
from quotehelper.platforms.simulated import provisioning

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def told(root: Path) -> Callable[..., tuple[int, Any]]:
    """Runs a command with the simulated root: its exit code, and what it printed as JSON."""

    def run(*arguments: str) -> tuple[int, Any]:
        ended = run_cli(*arguments, "--insecure-simulated-root", str(root), "--json", check=False)
        return ended.returncode, json.loads(ended.stdout) if ended.stdout else ended.stderr

    return run


@pytest.fixture
def quote_file(quote_of_ours: bytes, tmp_path: Path) -> str:
    path = tmp_path / "quote.bin"
    path.write_bytes(quote_of_ours)
    return str(path)


@pytest.mark.parametrize("out", ["bundle", "bundle.json"])
def test_a_fetched_bundle_verifies_the_quote_it_was_fetched_for(
    told: Callable[..., tuple[int, Any]], offline: Pccs, quote_file: str, tmp_path: Path, out: str
) -> None:
    bundle = str(tmp_path / out)
    code, fetched = told("collateral", "fetch", "--from", offline.url, "--quote", quote_file, "--out", bundle)
    assert code == 0
    assert [document["current"] for document in fetched["documents"]] == [True] * 4
    code, verdict = told("verify", quote_file, "--bundle", bundle)
    assert (code, verdict["tcb_status"]) == (0, "UpToDate")
    assert told("collateral", "show", bundle)[1]["documents"] == fetched["documents"]


def test_a_bundle_comes_out_of_a_store_without_network(
    told: Callable[..., tuple[int, Any]], exported: Path, root: Path, quote_file: str, tmp_path: Path
) -> None:
    database, bundle = str(tmp_path / "store.db"), str(tmp_path / "bundle")
    run_cli("pccs", "import", str(exported / "pccs.json"), "--db", database, "--insecure-simulated-root", str(root))
    family = ("--fmspc", "515545000000", "--ca", "processor")
    assert told("collateral", "bundle", "--db", database, *family, "--out", bundle)[0] == 0
    assert told("verify", quote_file, "--bundle", bundle)[0] == 0


def test_what_is_not_genuine_is_not_written(offline: Pccs, tmp_path: Path) -> None:
    """Without the simulated root the service's word is nothing."""
    out = tmp_path / "bundle"
    ended = run_cli(
        *("collateral", "fetch", "--from", offline.url, "--fmspc", "515545000000", "--out", str(out)), check=False
    )
    assert ended.returncode == 1
    assert "not proven" in ended.stderr
    assert not out.exists()


def test_a_service_that_can_not_be_reached_ends_with_3(told: Callable[..., tuple[int, Any]], tmp_path: Path) -> None:
    out = ("--fmspc", "515545000000", "--out", str(tmp_path / "bundle"))
    code, said = told("collateral", "fetch", "--from", "http://127.0.0.1:1/", *out)
    assert code == 3
    assert "can't be reached" in said


def test_verify_fetches_what_it_needs(
    told: Callable[..., tuple[int, Any]], offline: Pccs, quote_file: str, tmp_path: Path
) -> None:
    code, verdict = told("verify", quote_file, "--pccs", offline.url)
    assert (code, verdict["tcb_status"], verdict["accepted"]) == (0, "UpToDate", True)
    broken = tmp_path / "broken.bin"
    broken.write_bytes(b"no quote")
    code, verdict = told("verify", str(broken), "--pccs", offline.url)
    assert (code, verdict["error"]["step"]) == (1, "quote_format")


def test_verify_says_that_it_can_not_tell_what_the_service_lacks(
    told: Callable[..., tuple[int, Any]], live_world: World, quote_file: str, tmp_path: Path
) -> None:
    with Thread(settings(str(tmp_path / "store.db"), "OFFLINE", live_world.trust)) as empty:
        code, verdict = told("verify", quote_file, "--pccs", empty.url)
    assert (code, verdict["error"]["reason"]) == (3, "missing")


@pytest.mark.parametrize("given", [(), ("--bundle", ".", "--pccs", "intel")])
def test_verify_takes_collateral_from_exactly_one_place(quote_file: str, given: tuple[str, ...]) -> None:
    ended = run_cli("verify", quote_file, *given, check=False)
    assert ended.returncode == 2
    assert "either --bundle or --pccs" in ended.stderr


def test_showing_what_has_expired_ends_with_3() -> None:
    case = VECTORS / "quotes" / "v01-configandsw-processor-v3"
    ended = run_cli("collateral", "show", str(case), "--json", check=False)
    assert ended.returncode == 3
    documents = json.loads(ended.stdout)["documents"]
    assert documents[2]["document"] == "tcb_info 00A067110000 v4 standard"
    assert documents[2]["current"] is False


def test_a_difference_names_levels_and_quotes_whose_verdict_changes() -> None:
    """The same family, standard and early: what was good enough is out of date."""
    standard, early = (
        VECTORS / "quotes" / case for case in ("v24-outofdate-mobilecoin", "v38-tcb-early-outofdate-mobilecoin")
    )
    quote = ("--quote", str(standard / "quote.bin"))
    ended = run_cli("collateral", "diff", str(standard), str(early), *quote, "--json", check=False)
    found = json.loads(ended.stdout)
    assert found["tcb_evaluation_data_number"] == [17, 19]
    assert any("->" in line or "new level" in line for line in found["levels"])
    assert ended.returncode == (1 if found["quotes"][0]["changed"] else 0)
    same = run_cli("collateral", "diff", str(standard), str(standard), *quote, check=False)
    assert same.returncode == 0
    assert "17 -> 17" in same.stdout


def test_a_store_is_exported_and_imported_again_whole(
    offline: Pccs, exported: Path, root: Path, tmp_path: Path, pckcert_parameters: dict[str, str]
) -> None:
    first, second, body = str(tmp_path / "first.db"), str(tmp_path / "second.db"), str(tmp_path / "body.json")
    trusted = ("--insecure-simulated-root", str(root))
    run_cli("pccs", "import", str(exported / "pccs.json"), "--db", first, *trusted)
    run_cli("pccs", "export", "--db", first, "--out", body)
    run_cli("pccs", "import", body, "--db", second, *trusted)
    with Pccs(second, "OFFLINE", root) as copy:
        for path, parameters in (
            ("pckcert", pckcert_parameters),
            ("tcb", {"fmspc": "515545000000"}),
            ("qe/identity", {}),
            ("pckcrl", {"ca": "platform"}),
            ("rootcacrl", {}),
        ):
            assert copy.get(V4 + path, parameters).body == offline.get(V4 + path, parameters).body


def test_platforms_in_a_store_are_listed(exported: Path, root: Path, tmp_path: Path, live_world: World) -> None:
    database = str(tmp_path / "store.db")
    run_cli("pccs", "import", str(exported / "pccs.json"), "--db", database, "--insecure-simulated-root", str(root))
    listed = json.loads(run_cli("pccs", "platforms", "--db", database, "--json").stdout)
    assert listed == [
        {"qe_id": live_world.platform.qe_id, "pce_id": "0000", "fmspc": "515545000000", "ca": "PROCESSOR"}
    ]
    assert json.loads(run_cli("pccs", "platforms", "--db", database, "--queue", "reg", "--json").stdout) == []


def test_a_store_is_refreshed_from_the_command_line(
    told: Callable[..., tuple[int, Any]], live_world: World, pcs: Served, tmp_path: Path
) -> None:
    database, out = str(tmp_path / "store.db"), tmp_path / "out"
    provisioning.export_collateral(live_world.state.directory, out, dt.datetime.now(dt.UTC) - DAY / 2)
    told("pccs", "import", str(out / "pccs.json"), "--db", database)
    arguments = ("pccs", "refresh", "--db", database, "--upstream")
    assert told(*arguments, pcs.url) == (0, {"refreshed": 7, "kept_as_they_were": {}})
    code, said = told(*arguments, "http://127.0.0.1:1/")
    assert (code, said["refreshed"], len(said["kept_as_they_were"])) == (3, 0, 7)


def test_a_platform_is_registered_and_its_standing_told(live_world: World, pcs: Served, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(USER + "\n")
    platform = ("--state", str(live_world.state.directory), "--pccs")
    token = ("--user-token-file", str(tmp_path / "token"))
    with Thread(settings(str(tmp_path / "store.db"), "REQ", live_world.trust, pcs.url)) as service:
        before = run_cli("pccs", "register", *platform, service.url, "--json", check=False)
        assert (before.returncode, json.loads(before.stdout)["standing"]) == (3, "unknown")
        after = run_cli("pccs", "register", *platform, service.url, *token, "--json", check=False)
        assert (after.returncode, json.loads(after.stdout)["standing"]) == (0, "certified")


def test_a_registration_offline_waits_and_a_wrong_token_is_refused(live_world: World, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(USER)
    (tmp_path / "wrong").write_text("something else")
    (tmp_path / "manifest").write_bytes(b"\x0a" * 64)
    platform = ("--state", str(live_world.state.directory), "--manifest", str(tmp_path / "manifest"), "--pccs")
    with Thread(settings(str(tmp_path / "store.db"), "OFFLINE", live_world.trust)) as service:
        wrong = ("--user-token-file", str(tmp_path / "wrong"))
        refused = run_cli("pccs", "register", *platform, service.url, *wrong, check=False)
        assert refused.returncode == 3
        assert "401" in refused.stderr
        token = ("--user-token-file", str(tmp_path / "token"))
        waiting = run_cli("pccs", "register", *platform, service.url, *token, check=False)
        assert waiting.returncode == 3
        (entry,) = service.get(V4 + "platforms", None, as_admin()).json()
        assert (entry["qe_id"], entry["platform_manifest"]) == (live_world.platform.qe_id, "0A" * 64)


@pytest.mark.parametrize("library", ["sqlalchemy", "aiohttp"])
def test_without_the_extra_the_remedy_is_told(library: str, tmp_path: Path) -> None:
    script = f"import sys; sys.modules[{library!r}] = None; from quotehelper.cli.main import main; main()"
    command = ("pccs", "serve", "--db", str(tmp_path / "store.db"), "--insecure-http")
    ended = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )
    assert ended.returncode == 2
    assert "pip install 'quotehelper[collateral]'" in ended.stderr
