"""examples/quote-job: valid, explained, and its commands do what they say."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from manifests import MINORS, ROOT, Manifest, beyond_restricted, explained, load, mistakes, run, workloads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import Daemon

EXAMPLE = ROOT / "examples/quote-job"


@pytest.fixture(scope="module")
def job(kustomize: str) -> list[Manifest]:
    return load(run(kustomize, "build", str(EXAMPLE)))


@pytest.mark.parametrize("minor", [MINORS[0], MINORS[-1]])
def test_it_conforms(job: list[Manifest], conforming: Callable[[list[Manifest], int], str], minor: int) -> None:
    assert "Valid: 1, Invalid: 0, Errors: 0" in conforming(job, minor)


def test_it_meets_restricted_but_for_what_it_explains(job: list[Manifest]) -> None:
    (workload,) = workloads(job)
    assert set(beyond_restricted(workload)) == explained(EXAMPLE)
    assert list(mistakes(workload)) == []


def test_its_commands_get_and_verify_a_quote(
    job: list[Manifest], start_daemon: Callable[..., Daemon], state: Path, tmp_path: Path
) -> None:
    daemon = start_daemon()
    (tmp_path / "work").mkdir()
    (workload,) = workloads(job)
    said = ""
    for container in workload.containers():
        words = [
            word.replace("/state/platform", str(state)).replace("/work/", f"{tmp_path / 'work'}/")
            for word in container["args"]
        ]
        environment = {"QUOTEHELPER_QUOTE_SOCKET": str(daemon.path)}
        command = [sys.executable, "-m", "quotehelper", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said = done.stdout
    assert "UpToDate" in said
