from __future__ import annotations

import os
import re
import socket
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quotehelper.aesm.transport import ABSTRACT_NAME
from quotehelper.errors import ConfigError
from quotehelper.node.config import SocketSettings
from quotehelper.node.listener import MOST_SOCKETS, Listener, adopt, claim
from quotehelper.node.log import Log, LogSettings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def log() -> Iterator[Log]:
    descriptor = os.open(os.devnull, os.O_WRONLY)
    yield Log(LogSettings(), descriptor)
    os.close(descriptor)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "aesm.socket")


def refused(path: str, log: Log) -> str:
    with pytest.raises(ConfigError) as caught:
        claim(SocketSettings(path), log)
    return str(caught.value)


def die_listening(path: str) -> None:
    """Leave a dead socket at ``path``, as a daemon that was killed does."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()


def test_clients_can_connect_with_the_mode_that_was_asked_for(path: str, log: Log) -> None:
    listener = claim(SocketSettings(path, mode=0o640), log)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o640
    listener.release()


def test_the_group_that_was_asked_for_owns_the_socket(path: str, log: Log) -> None:
    listener = claim(SocketSettings(path, group=os.getegid()), log)
    assert Path(path).stat().st_gid == os.getegid()
    listener.release()


def test_a_missing_directory_is_made(tmp_path: Path, log: Log) -> None:
    path = tmp_path / "aesmd" / "aesm.socket"
    listener = claim(SocketSettings(str(path)), log)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    listener.release()


def test_a_live_owner_is_never_robbed_and_is_named(path: str, log: Log) -> None:
    code = "import socket, sys; s = socket.socket(1); s.bind(sys.argv[1]); s.listen(); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        owner.stdout.readline()
        message = refused(path, log)
        assert f"served by process {owner.pid} ('python" in message
        assert "Stop it first" in message
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        owner.communicate(b"\n")


def test_an_owner_whose_backlog_is_full_is_alive_too(path: str, log: Log) -> None:
    with socket.socket(socket.AF_UNIX) as owner, socket.socket(socket.AF_UNIX) as client:
        owner.bind(path)
        owner.listen(0)
        client.connect(path)
        assert "alive" in refused(path, log)


def test_a_dead_socket_is_replaced(path: str, log: Log) -> None:
    die_listening(path)
    listener = claim(SocketSettings(path), log)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    listener.release()


def test_a_directory_in_its_place_is_named(tmp_path: Path, log: Log) -> None:
    message = refused(str(tmp_path), log)
    assert f"{tmp_path} is a directory, not a socket" in message
    assert "mount the directory above it" in message


def test_a_file_in_its_place_is_named_and_kept(tmp_path: Path, log: Log) -> None:
    file = tmp_path / "aesm.socket"
    file.write_text("precious")
    assert "is a file, not a socket" in refused(str(file), log)
    assert file.read_text() == "precious"


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/nowhere/at/all/aesm.socket", "Create /nowhere/at/all first"),
        ("/dev/null/aesm.socket", "/dev/null is not a directory"),
        ("/tmp/" + "x" * 120, "at most 107 bytes"),  # noqa: S108  nothing is made there
    ],
)
def test_an_impossible_path_is_explained(path: str, named: str, log: Log) -> None:
    assert named in refused(path, log)


def test_releasing_gives_the_path_up(path: str, log: Log) -> None:
    claim(SocketSettings(path), log).release()
    assert not os.path.lexists(path)


def test_releasing_leaves_a_path_that_is_no_longer_ours(path: str, log: Log) -> None:
    listener = claim(SocketSettings(path), log)
    Path(path).unlink()
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(path)
        listener.release()
        assert os.path.lexists(path)


def test_the_abstract_name_has_the_whole_address(path: str, log: Log) -> None:
    listener = claim(SocketSettings(path, abstract=True), log)
    names = [listening.getsockname() for listening in listener.sockets]
    listener.release()
    assert names == [path, ABSTRACT_NAME]
    assert len(struct.pack("H", socket.AF_UNIX) + ABSTRACT_NAME) == 110


def test_a_taken_abstract_name_is_a_warning_that_names_the_owner(path: str) -> None:
    reading, writing = os.pipe()
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(ABSTRACT_NAME)
        squatter.listen()
        listener = claim(SocketSettings(path, abstract=True), Log(LogSettings(), writing))
    assert len(listener.sockets) == 1
    listener.release()
    line = os.read(reading, 4096).decode()
    os.close(reading)
    os.close(writing)
    assert "WARNING abstract socket not bound" in line
    assert re.search(rf"owner=\"process {os.getpid()} ", line)
    assert "--no-abstract-socket" in line


# Publishing again and again


def bound(address: str | bytes) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    return listening


def test_however_often_it_is_published_again_the_first_socket_and_the_abstract_one_stay(path: str) -> None:
    first, abstract = bound(path), bound(b"\0" + os.urandom(8))
    listener = Listener(SocketSettings(path), (first, abstract))
    for _ in range(MOST_SOCKETS + 2):
        Path(path).unlink()
        listener.publish_again()
    assert len(listener.sockets) == MOST_SOCKETS
    assert first in listener.sockets
    assert listener.has_abstract
    assert listener.holds_path()
    assert all(listening.fileno() >= 0 for listening in listener.sockets)
    listener.release()


def test_a_socket_of_another_process_does_not_count_as_published(path: str) -> None:
    code = "import socket, sys; s = socket.socket(1); s.bind(sys.argv[1]); s.listen(); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as quicker:
        assert quicker.stdout is not None
        quicker.stdout.readline()
        listener = Listener(SocketSettings(path), ())
        assert not listener.holds_path()
        assert listener.published is None


def test_a_mode_that_was_taken_away_is_given_back_on_the_same_inode(path: str, log: Log) -> None:
    listener = claim(SocketSettings(path), log)
    before = Path(path).stat().st_ino
    Path(path).chmod(0)
    assert listener.mend_access()
    assert not listener.mend_access()
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o666
    assert Path(path).stat().st_ino == before
    listener.release()


def test_permissions_taken_from_the_directory_are_given_back_and_more_are_left(tmp_path: Path, log: Log) -> None:
    path = tmp_path / "aesmd" / "aesm.socket"
    listener = claim(SocketSettings(str(path)), log)
    path.parent.chmod(0o700)
    assert listener.mend_access()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    path.parent.chmod(0o775)
    assert not listener.mend_access()
    listener.release()


def test_the_mode_of_a_socket_that_was_given_is_left_as_its_giver_chose_it(path: str, log: Log) -> None:
    given = bound(path)
    Path(path).chmod(0o660)
    listener = adopt(SocketSettings(path, mode=0o666), (given,), None, log)
    assert not listener.mend_access()
    Path(path).chmod(0o600)
    assert listener.mend_access()
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o660
    listener.release()
