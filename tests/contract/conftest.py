"""Every platform of the table, each with an enclave that can make reports on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from quotehelper.platforms.dcap.files import DcapFiles
from quotehelper.platforms.registry import PLATFORMS, PlatformSettings, open_platform
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load_cpu
from quotehelper.sgx.report import AttributeFlags, Attributes

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
def platform_settings(request: pytest.FixtureRequest, state: Path, tmp_path: Path) -> PlatformSettings:
    """Each platform, over the same simulated processor."""
    if request.param == "dcap":
        libraries: DcapLibraries = request.getfixturevalue("dcap_libraries")
        request.getfixturevalue("simulated_enclaves")
        files = DcapFiles(str(libraries.quoting), provider=str(libraries.intel_provider))
        return PlatformSettings("dcap", dcap=files)
    if request.param == "upstream":
        other: Daemon = request.getfixturevalue("daemon")
        return PlatformSettings("upstream", upstream=str(other.path), own_socket=str(tmp_path / "own.socket"))
    return PlatformSettings("simulated", str(state))


@pytest.fixture
def subject(platform_settings: PlatformSettings, state: Path, log: WrittenLog) -> Iterator[Subject]:
    cpu = load_cpu(state)
    app = cpu.load(EnclaveIdentity(b"\xaa" * 32, b"\xbb" * 32, Attributes.build(flags=AttributeFlags.INIT, xfrm=3)))
    platform = open_platform(platform_settings, log)
    yield Subject(platform, app.target, app.report, app.verify_report)
    platform.close()
