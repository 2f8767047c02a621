"""Fortanix's own client (the aesm-client crate) against a live daemon."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import Daemon, run_cli
from quotehelper.sgx.quote import read_quote
from quotehelper.sgx.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.interop

DRIVER = Path(__file__).parent / "fortanix"


@pytest.fixture(scope="module")
def driver(no_interop_tool: Callable[[str], None]) -> Path:
    """The driver, built."""
    if shutil.which("cargo") is None or shutil.which("protoc") is None:
        no_interop_tool("cargo or protoc")
    subprocess.run(["cargo", "build", "--quiet", "--release"], cwd=DRIVER, check=True, timeout=900)  # noqa: S607  the user's own toolchain
    return DRIVER / "target" / "release" / "fortanix-driver"


@pytest.mark.timeout(1000)
def test_fortanix_gets_a_quote_over_its_report(driver: Path, daemon: Daemon, state: Path, tmp_path: Path) -> None:
    target, report, quote = tmp_path / "target", tmp_path / "report", tmp_path / "quote"
    subprocess.run([driver, daemon.path, "target-info", target], check=True)
    run_cli(
        *("simulate", "report", "--state", str(state), "--target-info", str(target)),
        *("--report-data", "f0" * 32, "--out", str(report)),
    )
    subprocess.run([driver, daemon.path, "quote", report, quote], check=True)
    assert read_quote(quote.read_bytes()).body == Report(report.read_bytes()).body


@pytest.mark.timeout(1000)
def test_fortanix_is_told_of_a_forged_report(driver: Path, daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "report").write_bytes(bytes(432))
    refused = subprocess.run(
        [driver, daemon.path, "quote", tmp_path / "report", tmp_path / "quote"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 1
    assert "InvalidReport" in refused.stderr
