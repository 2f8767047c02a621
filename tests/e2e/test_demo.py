from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness import run_cli

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]


def test_the_demo_ends_with_a_verified_quote_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    text = " ".join(run_cli("demo").stdout.split())
    assert "accepted: it is genuine, and what the policy wants" in text
    assert "With one bit of the report data flipped it is refused: The quote's signature does not hold" in text
    assert "verified, UpToDate" in text
    assert "ended on SIGTERM" in text
    assert list(tmp_path.iterdir()) == []


def test_the_wheel_holds_all_that_a_platform_and_a_daemon_need(tmp_path: Path) -> None:
    """Users install the wheel, not the checkout: build it, put it alone in front of the dependencies, use it."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    target = tmp_path / "installed"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)],
        check=True,
        capture_output=True,
    )
    code = "import quotehelper, sys; print(quotehelper.__file__); from quotehelper.cli.main import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(target)}
    done = subprocess.run(
        [sys.executable, "-c", code, "demo"], env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith(str(target)), "it was the wheel that ran"
    assert "verified" in done.stdout
