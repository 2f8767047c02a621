"""Defects measured in Intel's aesm_service (aesm 8) that this daemon does not have.

docs/compatibility.md says which test shows it for each of the 22; those that stand nowhere else are here.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import frames
from harness import DEADLINE_S, Daemon, receive_frame
from quotehelper.conformance.catalogue import CHECKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
COMPATIBILITY = (ROOT / "docs" / "compatibility.md").read_text()
DEFECTS = COMPATIBILITY.partition("# Defects of Intel's service")[2].partition("\n# ")[0]
ROWS = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|$", DEFECTS, re.MULTILINE)
TO_COME = "to come"


@pytest.fixture
def many_files() -> Iterator[None]:
    """Leave for more open files than a process usually has."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(4096, before[0]), max(4096, before[1])))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def descriptors(process: int) -> int:
    return len(list(Path(f"/proc/{process}/fd").iterdir()))


def test_2_sigterm_ends_it_though_a_client_holds_a_part_of_a_request_back(
    start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("[limits]\ndrain_s = 0.2\n")
    running = start_daemon(["--config", str(settings)])
    with running.connect() as stalled:
        stalled.sendall(b"\6\0")
        frames.reply(running.exchange(frames.NUM))  # so the daemon has seen the part
        assert running.stop() == 0


def test_6_an_idle_connection_takes_one_descriptor_and_more_than_1024_do_no_harm(
    many_files: None, start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    del many_files
    settings = tmp_path / "settings.toml"
    settings.write_text("[limits]\nconnections = 2048\n")
    running = start_daemon(["--config", str(settings)])
    (serving,) = running.children()
    before = descriptors(serving)
    with contextlib.ExitStack() as idle:
        for _ in range(1100):
            idle.enter_context(running.connect())
        assert frames.reply(running.exchange(frames.NUM))[0] == 21
        assert descriptors(serving) - before <= 1102, "one a connection, and one for the process that has them all"
    assert frames.reply(running.exchange(frames.NUM))[0] == 21
    assert running.children() == [serving]


def test_9_clients_that_do_not_wait_find_room_while_the_daemon_is_busy(start_daemon: Callable[..., Daemon]) -> None:
    running = start_daemon()
    (serving,) = running.children()
    os.kill(serving, signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(500)]
        for client in clients:
            client.settimeout(0)
            client.connect(str(running.path))  # EAGAIN if there is no room
            client.sendall(frames.NUM)
        os.kill(serving, signal.SIGCONT)
        for client in clients:
            client.settimeout(DEADLINE_S)
        assert {frames.reply(receive_frame(client))[0] for client in clients} == {21}


@pytest.mark.parametrize(
    "body",
    [
        frames.octets(21, frames.INTEL_TIMEOUT) + b"\xff\xff",
        frames.octets(21, frames.INTEL_TIMEOUT) + b"\1",
        b"\xaa\1\5" + frames.INTEL_TIMEOUT,
        frames.octets(15, frames.octets(1, frames.K)[:-1] + frames.number(3, 0)),
    ],
    ids=["garbage behind", "half a field behind", "longer than its frame", "a field longer than its message"],
)
def test_14_what_can_not_be_read_whole_is_not_carried_out(daemon: Daemon, body: bytes) -> None:
    assert daemon.exchange(frames.frame(body)) == b""


# The table


def test_every_defect_has_a_row() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, 23))


@pytest.mark.parametrize(("number", "shown"), [(number, shown) for number, _, shown in ROWS])
def test_what_shows_it_is_there(number: str, shown: str) -> None:
    if shown == TO_COME:
        assert number in {"13", "17"}
        return
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)(?:\[([\w.-]+)\])?`", shown)
    assert named, shown
    for path, function, parameter in named:
        assert re.search(rf"^def {function}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{function}"
        if parameter and function == "test_our_daemon_passes":
            assert parameter in {check.id for check in CHECKS}
