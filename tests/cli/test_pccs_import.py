"""``quotehelper pccs import``: whose word is taken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness import run_cli

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess


@pytest.fixture(scope="module")
def exported(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("collateral") / "out"
    run_cli("simulate", "export-collateral", "--state", str(state), "--out", str(out))
    return out


def import_(body: Path, place: Path, *options: str) -> CompletedProcess[str]:
    return run_cli("pccs", "import", str(body), "--db", str(place / "pccs.db"), "--json", *options, check=False)


def test_the_files_own_root_is_taken_with_a_word_about_it(exported: Path, tmp_path: Path) -> None:
    done = import_(exported / "pccs.json", tmp_path)
    assert (done.returncode, json.loads(done.stdout)["platforms"]) == (0, 1)
    assert "not Intel's but 'Simulated SGX Root CA'" in done.stderr


def test_a_root_that_is_named_must_be_the_files(exported: Path, tmp_path: Path) -> None:
    assert import_(exported / "pccs.json", tmp_path, "--insecure-root", str(exported / "root.pem")).returncode == 0
    run_cli("simulate", "init", "--state", str(tmp_path / "other"))
    run_cli("simulate", "export-collateral", "--state", str(tmp_path / "other"), "--out", str(tmp_path / "out"))
    refused = import_(exported / "pccs.json", tmp_path, "--insecure-root", str(tmp_path / "out" / "root.pem"))
    assert refused.returncode == 1
    assert "not one that is trusted" in refused.stderr


def test_nothing_of_a_file_is_kept_that_is_not_proven_up_to_its_root(exported: Path, tmp_path: Path) -> None:
    body = json.loads((exported / "pccs.json").read_text())
    body["collaterals"]["tcbinfos"][0]["sgx_tcbinfo"]["tcbInfo"]["tcbEvaluationDataNumber"] += 1
    (tmp_path / "forged.json").write_text(json.dumps(body))
    assert import_(tmp_path / "forged.json", tmp_path).returncode == 1
    listed = run_cli("pccs", "platforms", "--db", str(tmp_path / "pccs.db"), "--json", check=False)
    assert "515545000000" not in listed.stdout
