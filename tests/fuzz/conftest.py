"""A request that the daemon answers with a quote, to be mutated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import frames
from harness import Daemon, run_cli

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def report_frame(daemon: Daemon, state: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("report")
    _, answer = frames.reply(daemon.exchange(frames.INIT))
    assert isinstance(answer[2], bytes)
    (directory / "target").write_bytes(answer[2])
    run_cli(
        *("simulate", "report", "--state", str(state), "--target-info", str(directory / "target")),
        *("--report-data", "00" * 64, "--out", str(directory / "report")),
    )
    return frames.quote((directory / "report").read_bytes(), 8192)
