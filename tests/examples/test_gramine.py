"""Gramine's example: the manifest says what it should, and the program has the right report quoted."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from harness import DEADLINE_S

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLE = Path(__file__).parents[2] / "examples/gramine"
PROGRAM = EXAMPLE / "attest.py"


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    """The manifest with each blank filled in by a text, and each loop run once."""
    text = re.sub(r"\{%.*?%\}\n", "", (EXAMPLE / "attest.manifest.template").read_text())
    return tomllib.loads(re.sub(r"\{\{.*?\}\}", "/filled/in", text))


@pytest.fixture
def attest(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, imported."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import attest as imported  # type: ignore[import-not-found]  # noqa: PLC0415  it is no module of ours

    module: ModuleType = imported
    return module


def test_it_quotes_through_aesm(manifest: dict[str, Any]) -> None:
    assert manifest["sgx"]["remote_attestation"] == "dcap"


def test_a_production_enclave_takes_nothing_unproven_from_outside(manifest: dict[str, Any]) -> None:
    assert manifest["sgx"]["debug"] is False
    assert "allowed_files" not in manifest["sgx"]
    assert not [key for key in manifest["loader"] if key.startswith("insecure__")]
    passed = {name for name, value in manifest["loader"]["env"].items() if isinstance(value, dict)}
    assert passed == {"CHALLENGE"}


def test_every_mounted_file_is_trusted(manifest: dict[str, Any]) -> None:
    trusted = {uri.rstrip("/") for uri in manifest["sgx"]["trusted_files"]}
    assert {mount["uri"] for mount in manifest["fs"]["mounts"]} <= trusted


def test_the_jobs_ask_for_as_much_epc_as_the_enclave_has(manifest: dict[str, Any]) -> None:
    job = yaml.safe_load((EXAMPLE / "job-written-out.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["sgx.intel.com/epc"] == manifest["sgx"]["enclave_size"] + "i"


def test_the_recipe_fills_in_every_blank() -> None:
    text = (EXAMPLE / "attest.manifest.template").read_text()
    blanks = {name for name in re.findall(r"\{\{ (\w+) \}\}", text) if name != "path"}
    assert blanks == set(re.findall(r"-D(\w+)=", (EXAMPLE / "Containerfile").read_text()))


def test_the_report_answers_the_challenge(attest: ModuleType, tmp_path: Path) -> None:
    """As a policy's ``report_data_sha256_of`` wants it."""
    (tmp_path / "quote").write_bytes(b"a quote")
    assert attest.attest(b"challenge", tmp_path) == b"a quote"
    assert (tmp_path / "user_report_data").read_bytes() == hashlib.sha256(b"challenge").digest() + bytes(32)


def test_no_quote_is_an_error(attest: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="quote"):
        attest.attest(b"challenge", tmp_path)


def test_without_a_challenge_nothing_is_quoted() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CHALLENGE"}
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 1
    assert "CHALLENGE is not set" in done.stderr
    assert base64.b64decode(done.stdout) == b""
