from __future__ import annotations

import multiprocessing
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quotehelper.errors import ConfigError
from quotehelper.platforms.simulated import private_files
from quotehelper.platforms.simulated.private_files import SIZE_LIMIT, create, locked, read, replace

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

FILES = {"one": b"1" * 5000, "sub/two": b"2", "sub/three": b""}
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    create(tmp_path / "state", FILES)
    return tmp_path / "state"


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_directory_holds_the_files_and_nothing_is_left_beside_it(directory: Path) -> None:
    assert contents(directory) == FILES
    assert list(directory.parent.iterdir()) == [directory]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_everything_made_is_for_the_owner_only(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        create(tmp_path / "state", FILES)
    finally:
        os.umask(before)
    made = list((tmp_path / "state").rglob("*"))
    assert {mode(path) for path in made if path.is_file()} == {0o600}
    assert {mode(path) for path in [tmp_path / "state", *made] if path.is_dir()} == {0o700}


@pytest.mark.parametrize(("umask", "modes"), [(0o022, {0o755, 0o644}), (0o077, {0o700, 0o600}), (0, {0o777, 0o666})])
def test_what_is_public_is_as_open_as_the_umask_allows(tmp_path: Path, umask: int, modes: set[int]) -> None:
    before = os.umask(umask)
    try:
        create(tmp_path / "state", FILES, public=True)
    finally:
        os.umask(before)
    assert {mode(path) for path in [tmp_path / "state", *(tmp_path / "state").rglob("*")]} == modes


def test_missing_parents_are_made(tmp_path: Path) -> None:
    create(tmp_path / "a" / "b" / "state", FILES)
    assert contents(tmp_path / "a" / "b" / "state") == FILES


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(0o755)
    create(tmp_path / "state", FILES)
    assert contents(tmp_path / "state") == FILES
    assert mode(tmp_path / "state") == 0o700


def test_a_relative_path_with_dots_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    create(Path(), FILES)
    assert contents(tmp_path / "here") == FILES


def test_what_is_there_is_never_overwritten(directory: Path) -> None:
    with pytest.raises(ConfigError, match="is there already"):
        create(directory, {"one": b"other"})
    assert contents(directory) == FILES


def test_a_file_in_the_place_of_the_directory_stays(tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="is there already"):
        create(tmp_path / "state", FILES)
    assert (tmp_path / "state").read_bytes() == b"mine"


def test_a_file_in_the_place_of_a_parent_is_told(tmp_path: Path) -> None:
    (tmp_path / "parent").write_bytes(b"mine")
    with pytest.raises(ConfigError, match="write to"):
        create(tmp_path / "parent" / "state", FILES)


def test_links_in_a_circle_are_told(tmp_path: Path) -> None:
    (tmp_path / "state").symlink_to(tmp_path / "state")
    with pytest.raises(ConfigError, match="state"):
        create(tmp_path / "state", FILES)


def _create_and_tell(directory: Path, number: int, start: Connection, end: Connection) -> None:
    start.recv()
    try:
        create(directory, {"number": str(number).encode(), **FILES})
        end.send(number)
    except ConfigError as error:
        end.send(error.problem)


def test_of_many_creators_exactly_one_wins_and_the_others_are_told(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    creators = []
    for number in range(12):
        start, end = FORK.Pipe(), FORK.Pipe()
        process = FORK.Process(target=_create_and_tell, args=(directory, number, start[0], end[1]))
        process.start()
        creators.append((process, start[1], end[0]))
    for _, start_end, _ in creators:
        start_end.send(None)
    told = [end_end.recv() for _, _, end_end in creators]
    for process, _, _ in creators:
        process.join()
    winners = [answer for answer in told if isinstance(answer, int)]
    assert len(winners) == 1
    assert [answer for answer in told if answer not in winners] == [f"{directory} is there already"] * 11
    assert contents(directory) == {"number": str(winners[0]).encode(), **FILES}
    assert list(tmp_path.iterdir()) == [directory]


EVENTS = ("open", "os.mkdir", "os.rename", "os.chmod", "os.remove", "os.rmdir", "fcntl.flock")


def _killed_at(step: int, action: str, directory: Path) -> None:
    """Run ``action``; the kernel takes the process away before its ``step``-th act on the file system."""
    left = step

    def watch(event: str, _arguments: object) -> None:
        nonlocal left
        if event in EVENTS:
            if left == 0:
                os.kill(os.getpid(), 9)
            left -= 1

    sys.addaudithook(watch)
    if action == "create":
        create(directory, FILES)
    else:
        replace(directory / "one", b"new")
    os._exit(0)


def run_until_killed(step: int, action: str, directory: Path) -> bool:
    """Whether it was killed before it was done."""
    process = FORK.Process(target=_killed_at, args=(step, action, directory))
    process.start()
    process.join()
    assert process.exitcode in {0, -9}
    return process.exitcode == -9


def test_a_creator_killed_at_any_step_leaves_all_or_nothing(tmp_path: Path) -> None:
    left: list[dict[str, bytes] | None] = []
    while run_until_killed(len(left), "create", directory := tmp_path / str(len(left)) / "state"):
        left.append(contents(directory) if directory.exists() else None)
        if left[-1] is None:
            create(directory, FILES)
        assert contents(directory) == FILES
    assert left[:10] == [None] * 10
    assert left[-1] == FILES


def test_whoever_creates_after_a_killed_creator_removes_its_draft(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    assert run_until_killed(8, "create", directory)
    drafts = list(tmp_path.iterdir())
    assert len(drafts) == 1
    assert contents(drafts[0])
    create(directory, FILES)
    assert list(tmp_path.iterdir()) == [directory]


def test_a_draft_that_somebody_is_building_stays(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    with private_files._draft_of(directory) as draft:
        create(directory, FILES)
        assert draft.exists()
    assert list(tmp_path.iterdir()) == [directory]


def test_a_failed_creation_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name too long"):
        create(tmp_path / "state", {"one": b"1", "x" * 300: b""})
    assert not list(tmp_path.iterdir())


def test_a_file_replaced_by_a_killed_process_is_old_or_new(directory: Path) -> None:
    step, seen = 0, set()
    while run_until_killed(step, "replace", directory):
        seen.add(contents(directory)["one"])
        step += 1
    assert step > 2
    assert seen <= {FILES["one"], b"new"}
    assert contents(directory) == FILES | {"one": b"new"}


def test_replacing_keeps_the_mode_and_removes_drafts_of_the_dead(directory: Path) -> None:
    (directory / ".one.0123456789abcdef.draft").write_bytes(b"left by a killed process")
    with locked(directory):
        replace(directory / "one", b"new")
    assert contents(directory) == FILES | {"one": b"new"}
    assert mode(directory / "one") == 0o600


def test_read_returns_the_files_in_order(directory: Path) -> None:
    assert read(directory, "one") == (FILES["one"],)
    (directory / "four").touch(0o600)
    assert read(directory, "four", "one") == (b"", FILES["one"])


def test_a_missing_directory_is_told_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"quotehelper simulate init --state {tmp_path}/state"):
        read(tmp_path / "state", "one")


def test_a_missing_file_is_told(directory: Path) -> None:
    with pytest.raises(ConfigError, match="state/five: No such file"):
        read(directory, "five")


@pytest.mark.parametrize("open_to", [0o701, 0o710, 0o740, 0o755, 0o777])
def test_a_directory_open_to_others_is_refused_with_the_cure(directory: Path, open_to: int) -> None:
    directory.chmod(open_to)
    with pytest.raises(ConfigError, match=f"mode is {open_to:04o}.*chmod 0700 {directory}$"):
        read(directory, "one")


@pytest.mark.parametrize("open_to", [0o601, 0o610, 0o640, 0o604, 0o666])
def test_a_file_open_to_others_is_refused_with_the_cure(directory: Path, open_to: int) -> None:
    (directory / "one").chmod(open_to)
    with pytest.raises(ConfigError, match=f"mode is {open_to:04o}.*chmod 0600 {directory}/one$"):
        read(directory, "one")


def test_a_file_in_the_place_of_the_directory_is_refused(directory: Path) -> None:
    with pytest.raises(ConfigError, match="Not a directory"):
        read(directory / "one", "one")


def test_a_link_in_the_place_of_a_file_is_refused(directory: Path) -> None:
    (directory / "link").symlink_to(directory / "one")
    with pytest.raises(ConfigError, match="symbolic link"):
        read(directory, "link")


def test_a_directory_or_fifo_in_the_place_of_a_file_is_refused(directory: Path) -> None:
    os.mkfifo(directory / "fifo", 0o600)
    for name in ("fifo", "sub"):
        with pytest.raises(ConfigError, match=f"{name}"):
            read(directory, name)


def test_a_huge_file_is_refused_unread(directory: Path) -> None:
    os.truncate(directory / "one", SIZE_LIMIT)
    assert len(read(directory, "one")[0]) == SIZE_LIMIT
    os.truncate(directory / "one", SIZE_LIMIT + 1)
    with pytest.raises(ConfigError, match="larger than 65536 bytes"):
        read(directory, "one")
