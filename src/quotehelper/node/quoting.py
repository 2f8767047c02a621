"""The platform as a serving process uses it: with the quoting enclaves that clients may still hold. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.errors import PlatformError
from quotehelper.node.counters import WorkerCount
from quotehelper.node.private_directory import Instance, PrivateDirectory, Quoting, boot_seconds
from quotehelper.platforms.overlap import Former, OverlappingPlatform
from quotehelper.platforms.registry import open_former, open_platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quotehelper.node.config import Settings
    from quotehelper.node.counters import Row
    from quotehelper.node.log import Log
    from quotehelper.platforms.platform import Platform


def open_overlapping(settings: Settings, overlap_s: float, named: Sequence[Quoting], log: Log, row: Row) -> Platform:
    """The platform of ``settings``, and beside it each quoting enclave that clients may hold the target info of.

    Those are ``named`` by this process, and by other instances in this boot. One that has no end yet is run for
    ``overlap_s`` seconds from now. ``row`` counts the reports made for former ones. Raises ConfigError
    as ``open_platform`` does.
    """
    platform = open_platform(settings.platform_settings, log)
    quoting = present(platform)
    if quoting is None:
        return platform
    now = boot_seconds()
    known = {entry.target_info: entry for entry in (*named, *_named_by_instances(settings, log))}
    formers = [
        Former(
            open_former(settings.platform_settings, former.reopen, log),
            now + overlap_s if former.until is None else former.until,
        )
        for former in known.values()
        if former.target_info != quoting.target_info
    ]

    def tell(quoted: bool) -> None:  # noqa: FBT001  the only thing that is told
        row[WorkerCount.FORMERLY_QUOTED if quoted else WorkerCount.FORMERLY_REFUSED] += 1

    return OverlappingPlatform(platform, formers, boot_seconds, tell) if formers else platform


def _named_by_instances(settings: Settings, log: Log) -> tuple[Quoting, ...]:
    if settings.private_dir is None:
        return ()
    return PrivateDirectory(settings.private_dir, log).quoting(Instance.new(None).boot)


def present(platform: Platform) -> Quoting | None:
    """What ``platform`` quotes with; None while it can't tell, as a device or another service is not there yet."""
    try:
        target = platform.target(platform.attestation_keys()[0])
    except PlatformError:
        return None
    return Quoting(target.target_info.raw.hex(), dict(platform.reopening()))
