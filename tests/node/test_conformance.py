"""The AESM conformance list (section 9, tests 1 to 10) against our daemon.

What can be tried on any daemon is `quotehelper.conformance`, run here check by check. Besides it stands what needs
captured bytes, our process, or what only our daemon promises.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
from typing import TYPE_CHECKING

import pytest

import frames
from frames import K
from harness import VECTORS, Daemon, receive_frame, run_cli
from quotehelper.conformance.catalogue import CHECKS
from quotehelper.conformance.check import Finding, Passed
from quotehelper.conformance.connection import Peer
from quotehelper.conformance.examine import examine
from quotehelper.conformance.examined import Examined
from quotehelper.conformance.simulated import means_of_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REPORT_DATA = bytes(range(64))

GOLDEN_REQUESTS = {
    "select, no list (Intel)": (frames.SELECT, "060000009a0103109875"),
    "num (Intel)": (frames.NUM, "06000000aa0103489875"),
    "ids, 1 key (Intel)": (frames.IDS, "09000000b20106088002489875"),
    "init b=1 buf=32 (Intel)": (frames.INIT, "bfec22f34b9b572999326afed98c3a08f6cb56042667a53bd16f46eb08d6ab3e"),
    "init b=0, no buf_size (Intel)": (
        frames.INIT_SIZE_ONLY,
        "e4584c54ef024c204d5f02bf8a070e59c80c9d4db470ef656f649e592e1356d2",
    ),
    "size (Intel)": (frames.SIZE, "7a50a015ff829f95a89b5a083a18f8b640228f08cf073c8fc4fb7edfb6a9eda2"),
    "quote (Intel)": (
        frames.quote(b"\xab" * 432, 8192),
        "e6023bdd7d37d3bf3bfe2437b7fb8a5459f66c8d643ff14668f1db312e5b2c49",
    ),
    "init b=1 buf=32, no timeout (Gramine, Fortanix)": (
        frames.message(15, frames.octets(1, K), frames.number(3, 1), frames.number(4, 32)),
        "86c26b6fc18f4cc750eccb991ed9b99af63436df29a517b360b43f9850242291",
    ),
    "init b=0, timeout in µs (Fortanix)": (
        frames.message(15, frames.octets(1, K), frames.number(3, 0), frames.number(9, 30_000_000)),
        "2c53beb4c04fe581b4e6d266e7fbc82dacbe858cc40a0ec85495cd00a3d669d4",
    ),
    "quote, no timeout (Gramine)": (
        frames.message(17, frames.octets(1, b"\xab" * 432), frames.octets(2, K), frames.number(4, 8192)),
        "65ec9589e9e24d4dace27d8884f2ecf384166ceec156004c7a124d9d43013ede",
    ),
}


@pytest.fixture(scope="module")
def findings(daemon: Daemon, state: Path) -> dict[str, Finding]:
    """What comes of every check."""
    reporter, judge = means_of_state(state, dt.datetime.now(dt.UTC))
    examined = Examined(Peer(str(daemon.path)), reporter=reporter, judge=judge)
    return {finding.check.id: finding for finding in examine(examined, CHECKS)}


@pytest.fixture(scope="module")
def target_info(daemon: Daemon) -> bytes:
    _, answer = frames.reply(daemon.exchange(frames.INIT))
    assert isinstance(answer[2], bytes)
    return answer[2]


@pytest.fixture(scope="module")
def report(state: Path, target_info: bytes, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A report of a simulated enclave for the daemon's quoting enclave, made by the command line."""
    directory = tmp_path_factory.mktemp("report")
    (directory / "target").write_bytes(target_info)
    run_cli(
        *("simulate", "report", "--state", str(state), "--target-info", str(directory / "target")),
        *("--report-data", REPORT_DATA.hex(), "--out", str(directory / "report")),
    )
    return (directory / "report").read_bytes()


# The list


@pytest.mark.parametrize("check_id", [check.id for check in CHECKS])
def test_our_daemon_passes(findings: dict[str, Finding], check_id: str) -> None:
    result = findings[check_id].result
    assert isinstance(result, Passed), result


def test_the_verified_quote_is_up_to_date(findings: dict[str, Finding]) -> None:
    assert findings["quote.verifies"].result == Passed("TCB status UpToDate")


def test_the_memory_of_our_daemon_was_looked_at(findings: dict[str, Finding]) -> None:
    assert findings["neighbours.huge-length"].result == Passed("")


# 1. Golden and recorded exchanges


@pytest.mark.parametrize("name", GOLDEN_REQUESTS)
def test_requests_here_are_those_that_were_captured(name: str) -> None:
    frame, expected = GOLDEN_REQUESTS[name]
    assert expected in {frame.hex(), hashlib.sha256(frame).hexdigest()}


@pytest.mark.parametrize(
    ("request_frame", "expected"),
    [
        (frames.NUM, "07000000aa010408001001"),
        (frames.IDS, "871641a27f6571451a578bfd15ccff3725b5196a04188694d42acd316312a5e1"),
        (frames.SELECT, "0af943241609f4e34420323824db0e86e3958f0b777180521d5e75f630c31084"),
        (frames.INIT_SIZE_ONLY, "137c77405d4703ddf937f12756e37e5056d3b4f6fc8d7ee2901ebdd597283ad2"),
        (frames.message(19, frames.octets(1, bytes(4) + b"\1\0\0\0" + bytes(256))), "050000009a01020826"),
        (frames.message(22, frames.number(1, 257)), "05000000b201020803"),
        (frames.message(15, frames.octets(1, K), frames.number(3, 1), frames.number(4, 77)), "060000007a040803184d"),
        (frames.message(16), "0700000082010408031000"),
        (frames.message(17, frames.octets(2, K)), "050000008a01020801"),
        (frames.message(3, *(frames.octets(n, b"x") for n in (1, 2, 3))), "040000001a02081e"),
        (frames.message(1, frames.INTEL_TIMEOUT), "040000000a02081e"),
        (frames.message(10, frames.INTEL_TIMEOUT), "060000005204081e1000"),
        (frames.message(12, frames.INTEL_TIMEOUT), "060000006204081e1000"),
        (frames.message(18, frames.number(2, 12), frames.number(3, 1)), "07000000920104081e1800"),
    ],
    ids=[
        *("num", "ids", "select", "init b=0", "select 38", "ids 3", "init 3", "size 3", "quote 1"),
        *("launch token", "init_quote", "white list size", "extended group", "update"),
    ],
)
def test_deterministic_replies_are_intels_to_the_byte(daemon: Daemon, request_frame: bytes, expected: str) -> None:
    answer = daemon.exchange(request_frame)
    assert expected in {answer.hex(), hashlib.sha256(answer).hexdigest()}


RECORDED = sorted((VECTORS / "frames").glob("*/*.req"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recorded_exchanges_get_replies_of_the_recorded_shape(daemon: Daemon, path: Path, report: bytes) -> None:
    """A recorded quote request carries another platform's report: one of ours takes its place."""
    request, recorded = path.read_bytes(), path.with_suffix(".res").read_bytes()
    envelope, expected = frames.reply(recorded)
    if envelope == 17:
        asked = frames.reply(request)[1]
        foreign = asked[1]
        echo = {3: asked[3]} if 3 in asked else {}
        assert frames.reply(daemon.exchange(request)) == (17, {1: 47, **echo})
        if expected[1] == 47:
            return
        assert isinstance(foreign, bytes)
        request = request.replace(foreign, report)
    answer = daemon.exchange(request)
    if envelope in {19, 21, 22} or (envelope == 15 and path.stem == "03"):
        assert answer == recorded
        return
    got_envelope, got = frames.reply(answer)
    assert got_envelope == envelope
    assert list(got) == list(expected)
    assert got[1] == expected[1]
    for field, value in expected.items():
        if isinstance(value, bytes):
            assert isinstance(got[field], bytes)
            if not (envelope == 17 and field == 2 and path.parent.name.startswith("intel")):
                assert len(got[field]) == len(value)  # type: ignore[arg-type]


# 6. No warm-up needed


def test_a_fresh_daemon_quotes_without_any_init(start_daemon: Callable[..., Daemon], report: bytes) -> None:
    """Intel's says 42 until some client has initialised the key; ours does it at start (aesm 0.10)."""
    fresh = start_daemon()
    _, answer = frames.reply(fresh.exchange(frames.quote(report, 8192)))
    assert answer[1] == 0


# 7. Transport


@pytest.mark.parametrize("size", [64 * 1024 + 1, 98305, 0xFFFFFFFF])
def test_a_buffer_above_this_daemons_limit_is_refused(daemon: Daemon, report: bytes, size: int) -> None:
    assert frames.reply(daemon.exchange(frames.quote(report, size))) == (17, {1: 3})


def test_retired_requests_of_huge_buffers_are_answered_without_memory(daemon: Daemon) -> None:
    before = daemon.resident_kib()
    fields = [frames.octets(1, b""), frames.number(2, 0), frames.octets(3, b""), frames.number(6, 0xFFFFFFFF)]
    assert frames.reply(daemon.exchange(frames.message(2, *fields))) == (2, {1: 30})
    assert daemon.resident_kib() - before < 1024


@pytest.mark.parametrize("header", ["ffffffff", "01000100", "00000000"])
def test_an_impossible_length_is_closed_without_memory(daemon: Daemon, header: str) -> None:
    before = daemon.resident_kib()
    assert daemon.exchange(bytes.fromhex(header)) == b""
    assert daemon.resident_kib() - before < 1024


def test_two_requests_sent_ahead_are_answered_in_order(daemon: Daemon, report: bytes) -> None:
    with daemon.connect() as client:
        client.sendall(frames.quote(report, 8192) + frames.NUM)
        assert frames.reply(receive_frame(client))[0] == 17
        assert frames.reply(receive_frame(client))[0] == 21


def test_a_connection_may_be_used_again(daemon: Daemon) -> None:
    with daemon.connect() as client:
        for _ in range(3):
            client.sendall(frames.NUM)
            assert frames.reply(receive_frame(client))[0] == 21


# 10. Signals


def test_sigterm_answers_what_is_in_flight_and_exits_0(start_daemon: Callable[..., Daemon], report: bytes) -> None:
    running = start_daemon(["--log-level", "debug"])
    frame = frames.quote(report, 8192)
    with running.connect() as client:
        client.sendall(frame[:-1])
        frames.reply(running.exchange(frames.NUM))  # so the daemon has seen the first part
        running.process.terminate()
        running.wait_for("DEBUG draining")
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            running.connect()
        client.sendall(frame[-1:])
        assert frames.reply(receive_frame(client))[1][1] == 0
    assert running.process.wait(60) == 0
    assert not running.path.exists()


def test_sigterm_answers_those_who_wait_in_the_backlog(start_daemon: Callable[..., Daemon]) -> None:
    running = start_daemon()
    clients = [running.connect() for _ in range(200)]
    running.process.terminate()
    for client in clients:
        client.sendall(frames.NUM)
    answers = [receive_frame(client) for client in clients]
    for client in clients:
        client.close()
    assert {frames.reply(answer)[0] for answer in answers} == {21}
    assert running.process.wait(60) == 0


def test_sigterm_does_not_wait_for_silent_clients(start_daemon: Callable[..., Daemon]) -> None:
    running = start_daemon()
    with running.connect():
        assert running.stop() == 0


def test_sighup_keeps_inode_and_key_and_takes_new_settings(
    start_daemon: Callable[..., Daemon], tmp_path: Path, report: bytes
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("")
    running = start_daemon(["--config", str(settings)])
    inode = running.path.stat().st_ino
    key = frames.reply(running.exchange(frames.INIT))
    settings.write_text('log_level = "debug"\n[limits]\nbuffer_bytes = 16384\n')
    with running.connect() as client:
        client.sendall(frames.NUM[:5])
        os.kill(running.process.pid, 1)
        running.wait_for("INFO reloaded level=DEBUG")
        client.sendall(frames.NUM[5:])
        assert frames.reply(receive_frame(client))[0] == 21, "what was in flight goes on"
    assert running.path.stat().st_ino == inode
    assert frames.reply(running.exchange(frames.INIT)) == key
    assert frames.reply(running.exchange(frames.quote(report, 16384)))[1][1] == 0
    assert frames.reply(running.exchange(frames.quote(report, 16385)))[1][1] == 3


def test_sighup_with_a_mistake_in_the_file_keeps_what_is_in_force(
    start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("")
    running = start_daemon(["--config", str(settings)])
    settings.write_text("[limits]\nconections = 3\n")
    os.kill(running.process.pid, 1)
    assert "unknown setting limits.conections" in running.wait_for("ERROR not reloaded")
    assert frames.reply(running.exchange(frames.NUM))[0] == 21


# And what an operator sees


def test_a_serving_process_that_dies_is_replaced_while_clients_wait(start_daemon: Callable[..., Daemon]) -> None:
    running = start_daemon()
    (serving,) = running.children()
    os.kill(serving, 9)
    assert frames.reply(running.exchange(frames.NUM))[0] == 21
    assert re.search(r"cause=\"signal SIGKILL\"", running.wait_for("ERROR serving process ended"))


def test_a_serving_process_that_is_told_to_end_leaves_the_socket_to_its_successor(
    start_daemon: Callable[..., Daemon],
) -> None:
    running = start_daemon()
    (serving,) = running.children()
    os.kill(serving, 15)
    running.wait_for("ERROR serving process ended")
    assert frames.reply(running.exchange(frames.NUM))[0] == 21


def test_several_processes_share_the_socket(start_daemon: Callable[..., Daemon], report: bytes) -> None:
    running = start_daemon(["--processes", "2"])
    assert len(running.children()) == 2
    assert {frames.reply(running.exchange(frames.quote(report, 8192)))[1][1] for _ in range(50)} == {0}


def test_a_second_daemon_on_the_path_is_told_who_has_it(daemon: Daemon, state: Path) -> None:
    second = run_cli(
        *("serve", "--platform", "simulated", "--state", str(state), "--socket", str(daemon.path)), check=False
    )
    assert second.returncode == 2
    assert f"{daemon.path} is served by process {daemon.process.pid}" in second.stderr
    assert frames.reply(daemon.exchange(frames.NUM))[0] == 21


def test_a_damaged_state_is_named_and_leaves_no_socket(tmp_path: Path) -> None:
    damaged = tmp_path / "state"
    damaged.mkdir(mode=0o700)
    (damaged / "platform.json").write_text("{")
    (damaged / "platform.json").chmod(0o600)
    socket_path = tmp_path / "aesm.socket"
    failed = run_cli(
        *("serve", "--platform", "simulated", "--state", str(damaged), "--socket", str(socket_path)), check=False
    )
    assert failed.returncode == 2
    assert "platform.json" in failed.stderr
    assert not socket_path.exists()
