from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from quotehelper.errors import ConfigError
from quotehelper.kube.node_directories import Owner, give_private, give_public

if TYPE_CHECKING:
    from pathlib import Path

OWNER = Owner(10650, 10651)


@pytest.fixture(autouse=True)
def _as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("left out: only root may give directories away")


def look(directory: Path) -> tuple[int, int, int]:
    found = directory.stat()
    return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)


def with_chown_alone(*words: str) -> subprocess.CompletedProcess[str]:
    """The command as the init container runs it: root, of all capabilities CHOWN."""
    narrowed = ("setpriv", "--bounding-set=-all,+chown", "--inh-caps=-all", "--no-new-privs")
    command = (*narrowed, sys.executable, "-m", "quotehelper", "prepare-node", "--uid=10650", "--gid=10651", *words)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_kubelets_directories_become_the_helpers(tmp_path: Path) -> None:
    public, private = tmp_path / "public", tmp_path / "private"
    public.mkdir(0o755)
    private.mkdir(0o755)
    done = with_chown_alone("--public", str(public), "--private", str(private))
    assert done.returncode == 0, done.stderr
    assert look(public) == (10650, 10651, 0o755)
    assert look(private) == (10650, 10651, 0o700)


def test_what_is_right_already_is_left_alone_though_it_is_closed_to_root(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(0o700)
    os.chown(private, 10650, 10651)
    (private / "owner.json").touch()
    before = private.stat().st_ctime_ns
    assert with_chown_alone("--private", str(private)).returncode == 0
    assert private.stat().st_ctime_ns == before


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o000, 0o1777])
def test_any_mode_of_a_strangers_empty_directory_is_put_right(tmp_path: Path, mode: int) -> None:
    for name in ("public", "private"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
        os.chown(tmp_path / name, 4711, 4711)
    done = with_chown_alone("--public", str(tmp_path / "public"), "--private", str(tmp_path / "private"))
    assert done.returncode == 0, done.stderr
    assert look(tmp_path / "public") == (10650, 10651, 0o755)
    assert look(tmp_path / "private") == (10650, 10651, 0o700)


@pytest.mark.parametrize(("owner", "mode"), [(4711, 0o700), (0, 0o777), (10650, 0o770)])
def test_a_private_directory_that_a_stranger_could_fill_is_refused_and_closed(
    tmp_path: Path, owner: int, mode: int
) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "handover.socket").touch()
    private.chmod(mode)
    os.chown(private, owner, 0)
    done = with_chown_alone("--private", str(private))
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert look(private) == (0, 0, 0o700)


def test_a_public_directory_may_hold_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "aesm.socket").touch()
    assert give_public(tmp_path, OWNER)
    assert not give_public(tmp_path, OWNER)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(ConfigError, match="not a directory"):
        give_private(tmp_path / "link", OWNER)


def test_a_missing_directory_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no directory"):
        give_public(tmp_path / "missing", OWNER)


def test_without_the_capability_the_error_names_it(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    narrowed = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    words = ("prepare-node", "--uid=10650", "--gid=10650", f"--public={tmp_path / 'public'}")
    done = subprocess.run(
        (*narrowed, sys.executable, "-m", "quotehelper", *words), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "CAP_CHOWN" in done.stderr
