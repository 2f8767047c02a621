"""The whole list against our daemon on every other platform: what makes the quotes must not show."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from quotehelper.conformance.catalogue import CHECKS
from quotehelper.conformance.connection import Peer
from quotehelper.conformance.examine import examine
from quotehelper.conformance.examined import Examined
from quotehelper.conformance.simulated import means_of_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dcap_libraries import DcapLibraries
    from harness import Daemon
    from quotehelper.conformance.check import Finding
    from simulated_enclaves import SimulatedEnclaves


def not_passed(daemon: Daemon, state: Path) -> list[Finding]:
    reporter, judge = means_of_state(state, dt.datetime.now(dt.UTC))
    examined = Examined(Peer(str(daemon.path)), reporter=reporter, judge=judge)
    return [finding for finding in examine(examined, CHECKS) if finding.verdict != "passed"]


def test_in_front_of_another_service_our_daemon_passes(
    daemon: Daemon, start_daemon: Callable[..., Daemon], state: Path
) -> None:
    assert not_passed(start_daemon(["--platform", "upstream", "--upstream", str(daemon.path)]), state) == []


def test_on_intel_s_library_our_daemon_passes(
    start_daemon: Callable[..., Daemon],
    dcap_libraries: DcapLibraries,
    simulated_enclaves: SimulatedEnclaves,
    state: Path,
) -> None:
    """The library is a double of Intel's; behind it a simulated quoting enclave makes real quotes."""
    del simulated_enclaves  # they must be there
    library, provider = str(dcap_libraries.quoting), str(dcap_libraries.intel_provider)
    options = ["--platform", "dcap", "--dcap-library", library, "--dcap-provider", provider]
    assert not_passed(start_daemon(options), state) == []
