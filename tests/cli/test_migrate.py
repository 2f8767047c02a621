from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness import DEADLINE_S, run_cli

MANIFESTS = Path(__file__).parents[1] / "kube/migration/manifests"
OLD, NEW = (MANIFESTS / "aks-job.yaml").read_text(), (MANIFESTS / "aks-job.migrated.yaml").read_text()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A manifest that may be rewritten."""
    path = tmp_path / "job.yaml"
    path.write_text(OLD)
    return path


def test_the_new_text_goes_to_standard_output_and_the_explanation_beside_it(manifest: Path) -> None:
    done = run_cli("migrate", str(manifest))
    assert done.stdout == NEW
    assert "SGX_AESM_ADDR: 1" in done.stderr
    assert "values of environment variables are text" in done.stderr
    assert manifest.read_text() == OLD


def test_several_files_become_one_stream(manifest: Path) -> None:
    done = run_cli("migrate", str(manifest), str(MANIFESTS / "alibaba.yaml"))
    assert done.stdout == NEW + "---\n" + (MANIFESTS / "alibaba.migrated.yaml").read_text()


def test_in_place_keeps_what_was_beside_and_the_mode(manifest: Path) -> None:
    manifest.chmod(0o640)
    done = run_cli("migrate", "--in-place", str(manifest))
    assert manifest.read_text() == NEW
    assert manifest.with_name("job.yaml.orig").read_text() == OLD
    assert manifest.stat().st_mode & 0o777 == 0o640
    assert "SGX_AESM_ADDR: 1" in done.stdout
    assert sorted(path.name for path in manifest.parent.iterdir()) == ["job.yaml", "job.yaml.orig"]


def test_what_needs_no_change_is_not_written(manifest: Path) -> None:
    manifest.write_text(NEW)
    before = manifest.stat().st_mtime_ns
    run_cli("migrate", "--in-place", str(manifest))
    assert manifest.stat().st_mtime_ns == before
    assert [path.name for path in manifest.parent.iterdir()] == ["job.yaml"]


def test_a_backup_is_never_overwritten(manifest: Path) -> None:
    manifest.with_name("job.yaml.orig").write_text("older")
    failed = run_cli("migrate", "--in-place", str(manifest), check=False)
    assert failed.returncode == 2
    assert "is there already" in failed.stderr
    assert manifest.read_text() == OLD


def test_nothing_is_written_if_one_file_can_not_be_read(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("a: [")
    failed = run_cli("migrate", "--in-place", str(manifest), str(tmp_path / "broken.yaml"), check=False)
    assert failed.returncode == 1
    assert "broken.yaml" in failed.stderr
    assert manifest.read_text() == OLD


def test_a_link_stays_a_link(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "link.yaml").symlink_to(manifest)
    run_cli("migrate", "--in-place", str(tmp_path / "link.yaml"))
    assert (tmp_path / "link.yaml").is_symlink()
    assert manifest.read_text() == NEW


def test_check_writes_nothing_and_tells_by_exit_code(manifest: Path) -> None:
    found = run_cli("migrate", "--check", str(manifest), check=False)
    assert (found.returncode, manifest.read_text()) == (1, OLD)
    manifest.write_text(NEW)
    assert run_cli("migrate", "--check", str(manifest)).returncode == 0


def test_json_holds_text_and_changes(manifest: Path) -> None:
    (told,) = json.loads(run_cli("migrate", "--json", str(manifest)).stdout)["files"]
    assert told["text"] == NEW
    assert told["changed"] is True
    assert {change["rule"] for change in told["changes"]} >= {"env-text", "epc-name", "enclave-device", "read-only"}


def test_standard_input_is_a_file_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quotehelper", "migrate", "-"],
        input=OLD,
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE_S,
    )
    assert done.stdout == NEW


@pytest.mark.parametrize("options", [("--in-place", "--check", "x"), ("--in-place", "-"), (), ("/nowhere/x.yaml",)])
def test_a_mistake_is_exit_code_2(options: tuple[str, ...]) -> None:
    assert run_cli("migrate", *options, check=False).returncode == 2


def test_what_is_no_text_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"\xff\xfe\x00")
    failed = run_cli("migrate", str(tmp_path / "noise"), check=False)
    assert failed.returncode == 1
    assert "not UTF-8" in failed.stderr


def test_the_cluster_is_the_operators_to_name(manifest: Path) -> None:
    options = ("--epc-resource", "kubernetes.azure.com/sgx_epc_mem_in_MiB", "--enclave-resource", "")
    text = run_cli("migrate", *options, str(manifest)).stdout
    assert "kubernetes.azure.com/sgx_epc_mem_in_MiB: 10 # ten MiB" in text
    assert "enclave" not in text
