"""The steps of tests/e2e/kubernetes: run on the cluster of KUBECONFIG; said plainly where there is none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

STEPS = Path(__file__).parent / "kubernetes"
KUBECTL = """#!/bin/sh
echo "$@" >> "$KUBECTL_LOG"
case "$*" in
  "get namespace quotehelper") exit 1 ;;
  *"apply -k"*job*) exit "$JOB" ;;
  *provision*) echo 2 ;;
  *sgx_epc*) echo 64 ;;
  *nodeName*) echo node ;;
  *" -o name") printf 'pod/a\\n' ;;
  *" exec "*) echo 4711 ;;
  *" logs job/quote-job") echo UpToDate ;;
esac
"""


def run(environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    kept = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run([str(STEPS / "run")], env=kept, capture_output=True, text=True, check=False)


@pytest.fixture
def stand_in(tmp_path: Path) -> dict[str, str]:
    """An environment with a kubectl that writes down what it is asked, and says yes."""
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    return {
        "PATH": path,
        "KUBECTL_LOG": str(tmp_path / "log"),
        "KUBECONFIG": "/none",
        "IMAGE": "registry.example/q:1",
        "JOB": "0",
    }


def test_without_a_cluster_it_says_so_and_runs_nothing() -> None:
    done = run({})
    assert done.returncode == 2
    assert "KUBECONFIG names no cluster" in done.stderr


def test_every_step_is_run_in_order_and_what_was_made_is_taken_down(stand_in: dict[str, str]) -> None:
    done = run(stand_in)
    assert done.returncode == 0, done.stderr
    told = [line.removeprefix("=== ") for line in done.stdout.splitlines() if line.startswith("=== ")]
    steps = sorted(path.name for path in STEPS.iterdir() if path.name[0].isdigit() and path.name < "99")
    assert told == [*steps, "teardown"]
    assert "delete --ignore-not-found --wait" in Path(stand_in["KUBECTL_LOG"]).read_text().splitlines()[-1]


def test_a_failed_step_ends_the_run_and_what_was_made_is_taken_down_all_the_same(stand_in: dict[str, str]) -> None:
    done = run(stand_in | {"JOB": "1"})
    assert done.returncode == 1
    told = [line.removeprefix("=== ") for line in done.stdout.splitlines() if line.startswith("=== ")]
    assert told[-2:] == ["30-a-job-gets-its-quote", "teardown"]
    log = Path(stand_in["KUBECTL_LOG"]).read_text()
    assert "get events" in log
    assert "delete --ignore-not-found --wait" in log.splitlines()[-1]


@pytest.mark.parametrize("path", sorted(STEPS.iterdir()), ids=lambda path: path.name)
def test_a_step_is_readable_by_the_shell(path: Path) -> None:
    assert subprocess.run(["/bin/bash", "-n", str(path)], check=False).returncode == 0


def test_on_the_cluster_of_kubeconfig() -> None:
    if not (os.environ.get("KUBECONFIG") and os.environ.get("IMAGE")):
        pytest.skip("left out: KUBECONFIG and IMAGE name no cluster and no image")
    done = run(os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
