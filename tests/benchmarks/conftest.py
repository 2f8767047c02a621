"""Lets these tests import the benchmarks, and run them as their users do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))


@pytest.fixture
def benchmark_module() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m benchmarks.NAME`` with arguments."""

    def run(name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=check,
            timeout=240,
        )

    return run
