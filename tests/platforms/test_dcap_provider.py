"""The quote provider: whose it is, and its log in ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.platforms.dcap.files import DcapFiles
from quotehelper.platforms.dcap.platform import DcapPlatform
from quotehelper.platforms.dcap.provider import MESSAGE_LIMIT, ProviderKind, find_provider, redact
from quotehelper.sgx.key_id import QE3_KEY_ID

if TYPE_CHECKING:
    from pathlib import Path

    from dcap_libraries import DcapLibraries
    from harness import WrittenLog
    from simulated_enclaves import SimulatedEnclaves


@pytest.mark.parametrize(
    ("library", "kind"),
    [
        ("intel_provider", ProviderKind.INTEL),
        ("azure_provider", ProviderKind.AZURE),
        ("silent_provider", ProviderKind.OTHER),
    ],
)
def test_a_provider_is_known_by_what_it_exports(
    dcap_libraries: DcapLibraries, library: str, kind: ProviderKind
) -> None:
    found = find_provider(str(getattr(dcap_libraries, library)))
    assert found is not None
    assert found.kind is kind


def test_no_provider_is_none(tmp_path: Path) -> None:
    assert find_provider(str(tmp_path / "none.so")) is None


@pytest.mark.parametrize(
    ("library", "number", "level"),
    [
        ("intel_provider", 0, "warning"),
        ("intel_provider", 1, "info"),
        ("intel_provider", 2, "debug"),
        ("azure_provider", 0, "warning"),
        ("azure_provider", 1, "warning"),
        ("azure_provider", 2, "info"),
        ("azure_provider", 3, "debug"),
    ],
)
def test_what_a_provider_logs_is_logged_here_by_its_own_levels(
    dcap_libraries: DcapLibraries,
    simulated_enclaves: SimulatedEnclaves,
    log: WrittenLog,
    library: str,
    number: int,
    level: str,
) -> None:
    simulated_enclaves.provider_line = number, "asked https://pccs.example/?encrypted_ppid=" + "ab" * 384
    provider = str(getattr(dcap_libraries, library))
    DcapPlatform(DcapFiles(str(dcap_libraries.quoting), provider=provider), log).target(QE3_KEY_ID)
    (said,) = log.events("quote provider says")
    assert (said["level"], said["message"]) == (level, "asked https://pccs.example/?encrypted_ppid=(left out)")
    assert log.events("quote provider found")[0]["library"] == provider


def test_a_provider_without_a_log_is_used_all_the_same(
    dcap_libraries: DcapLibraries, simulated_enclaves: SimulatedEnclaves, log: WrittenLog
) -> None:
    del simulated_enclaves
    files = DcapFiles(str(dcap_libraries.quoting), provider=str(dcap_libraries.silent_provider))
    assert DcapPlatform(files, log).target(QE3_KEY_ID)
    assert log.events("quote provider found")[0]["logs_here"] is False


@given(st.text())
def test_a_message_of_any_kind_is_bounded_and_names_no_platform(message: str) -> None:
    shown = redact(message)
    assert len(shown) <= MESSAGE_LIMIT + 1
    assert "ab" * 16 not in redact(message + "ab" * 16 + message)


def test_what_names_no_single_machine_is_kept() -> None:
    assert redact("fmspc=00606A000000 ca=platform status 404") == "fmspc=00606A000000 ca=platform status 404"
