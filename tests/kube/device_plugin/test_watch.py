"""Changes of a directory are announced, and a directory that is replaced is followed."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from harness import DEADLINE_S
from quotehelper.kube.device_plugin.watch import DirectoryWatch

if TYPE_CHECKING:
    from pathlib import Path


def test_entries_that_come_and_go_are_announced(tmp_path: Path) -> None:
    async def watch() -> None:
        told = asyncio.Event()
        with DirectoryWatch([tmp_path], told.set, asyncio.get_running_loop()) as watching:
            assert watching.active == 1
            for change in (
                (tmp_path / "a").touch,
                lambda: (tmp_path / "a").rename(tmp_path / "b"),
                (tmp_path / "b").unlink,
            ):
                told.clear()
                change()
                await asyncio.wait_for(told.wait(), DEADLINE_S)

    asyncio.run(watch())


def test_a_directory_that_comes_late_or_is_replaced_is_followed(tmp_path: Path) -> None:
    directory = tmp_path / "late"

    async def watch() -> None:
        told = asyncio.Event()
        with DirectoryWatch([directory], told.set, asyncio.get_running_loop()) as watching:
            for _ in range(2):
                assert watching.active == 0
                directory.mkdir()
                watching.renew()
                told.clear()
                (directory / "entry").touch()
                await asyncio.wait_for(told.wait(), DEADLINE_S)
                shutil.rmtree(directory)
                watching.renew()

    asyncio.run(watch())
