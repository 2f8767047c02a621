from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from quotehelper.node.config import SocketSettings
from quotehelper.node.keeping import Kept, keep
from quotehelper.node.listener import claim

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness import WrittenLog


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A directory on a file system with room for a few files."""
    directory = tmp_path / "small"
    directory.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    options = ("-t", "tmpfs", "-o", "nr_inodes=8", "tmpfs")
    if not mount or not umount or subprocess.run([mount, *options, directory], check=False).returncode:
        pytest.skip("left out: a file system of its own takes mount and the rights of root")
    yield directory
    subprocess.run([umount, "--lazy", directory], check=True)


def fill(directory: Path) -> None:
    for number in range(100):
        (directory / f"{number}").touch()


def test_without_room_for_a_socket_it_says_so_and_publishes_it_as_soon_as_there_is(
    small: Path, log: WrittenLog
) -> None:
    path = small / "aesm.socket"
    listener = claim(SocketSettings(str(path)), log)
    path.unlink()
    with pytest.raises(OSError, match="No space"):
        fill(small)
    assert keep(listener, log, may_fight=True) is Kept.FAILED
    (lost,) = log.events("path lost")
    assert "Make room" in lost["remedy"]
    (small / "0").unlink()
    assert keep(listener, log, may_fight=True) is Kept.PUBLISHED
    assert keep(listener, log, may_fight=True) is Kept.HELD
    listener.release()
