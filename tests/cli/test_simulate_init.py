"""``quotehelper simulate init`` as the init container of a node runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness import run_cli

if TYPE_CHECKING:
    from pathlib import Path


def root_of(state: Path) -> str:
    told = json.loads(run_cli("simulate", "info", "--state", str(state), "--json").stdout)
    root = told["root_ca_sha256"]
    assert isinstance(root, str)
    return root


@pytest.fixture
def secret(state: Path, tmp_path: Path) -> Path:
    """The authority's files as a Secret is mounted: links into a directory of a generation, open to a group."""
    generation = tmp_path / "secret/..2026"
    generation.mkdir(parents=True)
    for path in (state / "authority").iterdir():
        (generation / path.name).write_bytes(path.read_bytes())
        (generation / path.name).chmod(0o444)
        (tmp_path / "secret" / path.name).symlink_to(f"..2026/{path.name}")
    return tmp_path / "secret"


def test_nodes_of_one_secret_share_a_root(state: Path, secret: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_cli("simulate", "init", "--state", str(tmp_path / name), "--authority-files", str(secret))
    assert root_of(tmp_path / "a") == root_of(tmp_path / "b") == root_of(state)
    processors = [json.loads((tmp_path / name / "platform.json").read_text())["secret"] for name in ("a", "b")]
    assert processors[0] != processors[1]


def test_a_node_can_export_collateral_by_itself(secret: Path, tmp_path: Path) -> None:
    run_cli("simulate", "init", "--state", str(tmp_path / "a"), "--authority-files", str(secret))
    (secret / "root.key").unlink()
    run_cli("simulate", "export-collateral", "--state", str(tmp_path / "a"), "--out", str(tmp_path / "out"))
    assert (tmp_path / "out/root.pem").exists()


def test_without_the_secret_a_node_is_its_own_authority(state: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    run_cli("simulate", "init", "--state", str(tmp_path / "a"), "--authority-files", str(tmp_path / "empty"))
    assert root_of(tmp_path / "a") != root_of(state)


def test_a_platform_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    run_cli("simulate", "init", "--state", str(tmp_path / "a"), "--if-absent")
    before = (tmp_path / "a/platform.json").read_bytes()
    run_cli("simulate", "init", "--state", str(tmp_path / "a"), "--if-absent")
    assert (tmp_path / "a/platform.json").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"\xff" * 70_000, b"-----BEGIN PRIVATE KEY-----"])
def test_a_damaged_secret_is_refused_and_nothing_is_written(secret: Path, tmp_path: Path, content: bytes) -> None:
    (secret / "..2026/root.key").chmod(0o644)
    (secret / "..2026/root.key").write_bytes(content)
    refused = run_cli("simulate", "init", "--state", str(tmp_path / "a"), "--authority-files", str(secret), check=False)
    assert refused.returncode == 2
    assert "root" in refused.stderr
    assert not (tmp_path / "a").exists()
