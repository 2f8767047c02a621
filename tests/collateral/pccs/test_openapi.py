"""Schemathesis: whatever the service's own description allows or forbids, the live service answers as it says."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from harness import DEADLINE_S
from pccs_process import ADMIN, USER, Served, Thread, settings

if TYPE_CHECKING:
    from pathlib import Path

    from collateral_world import World

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "negative_data_rejection"),
    *("unsupported_method", "ignored_auth", "missing_required_header"),
)


PATHS = "^/(sgx|tdx)/certification/v4/|^/[a-z]+$"
"""Those of API version 3 have the same handlers."""


def test_the_service_is_as_it_describes_itself(live_world: World, pcs: Served, tmp_path: Path) -> None:
    with Thread(settings(str(tmp_path / "store.db"), "LAZY", live_world.trust, pcs.url)) as service:
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.origin}/openapi.json"),
                *("--header", f"admin-token: {ADMIN}", "--header", f"user-token: {USER}"),
                *("--include-path-regex", PATHS, "--phases", "coverage,fuzzing", "--max-examples", "2"),
                *("--checks", ",".join(CHECKS), "--seed", "1", "--no-color", "--continue-on-failure"),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=4 * DEADLINE_S,
            cwd=tmp_path,
        )
        assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr
        assert "ERROR request failed" not in service.log
