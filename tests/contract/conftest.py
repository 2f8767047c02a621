"""Every platform of the table, each with an enclave that can make reports on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from quotehelper.node.config import Settings, SocketSettings
from quotehelper.platforms.dcap.files import DcapFiles
from quotehelper.platforms.registry import PLATFORMS, open_platform
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load_cpu
from quotehelper.sgx.report import AttributeFlags, Attributes
from real_worker import RealWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dcap_libraries import DcapLibraries
    from harness import Daemon, WrittenLog
    from quotehelper.platforms.platform import Platform
    from quotehelper.sgx.report import Report, TargetInfo


class Subject(NamedTuple):
    """A platform, and what an application on it can do: ``report`` is EREPORT, ``verify_report`` checks one for it."""

    platform: Platform
    app_target: TargetInfo
    report: Callable[[TargetInfo, bytes], Report]
    verify_report: Callable[[Report], bool]


@pytest.fixture(params=PLATFORMS)
def settings(request: pytest.FixtureRequest, state: Path, tmp_path: Path) -> Settings:
    """Each platform, over the same simulated processor."""
    own_socket = SocketSettings(str(tmp_path / "own.socket"))
    if request.param == "dcap":
        libraries: DcapLibraries = request.getfixturevalue("dcap_libraries")
        request.getfixturevalue("simulated_enclaves")
        files = DcapFiles(str(libraries.quoting), provider=str(libraries.intel_provider))
        return Settings("dcap", "", dcap=files)
    if request.param == "upstream":
        other: Daemon = request.getfixturevalue("daemon")
        return Settings("upstream", "", own_socket, upstream=str(other.path))
    return Settings("simulated", str(state))


@pytest.fixture(params=["here", "in a worker"])
def platform(request: pytest.FixtureRequest, settings: Settings, log: WrittenLog) -> Iterator[Platform]:
    """Each platform open, in this process and behind a worker process."""
    if request.param == "here":
        opened = open_platform(settings.platform_settings, log)
        yield opened
        opened.close()
        return
    with RealWorker(settings) as worker:
        worker.start()
        yield worker.platform()


@pytest.fixture
def subject(platform: Platform, state: Path) -> Subject:
    cpu = load_cpu(state)
    app = cpu.load(EnclaveIdentity(b"\xaa" * 32, b"\xbb" * 32, Attributes.build(flags=AttributeFlags.INIT, xfrm=3)))
    return Subject(platform, app.target, app.report, app.verify_report)
