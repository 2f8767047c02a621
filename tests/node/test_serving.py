"""Deadlines and limits of the serving loop; small ones, given by the settings, and waited for as events."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import threading
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, NamedTuple

import pytest

import frames
from harness import DEADLINE_S, Daemon, receive_frame
from quotehelper.node.config import Limits
from quotehelper.node.counters import Counters
from quotehelper.node.leash import make_leash
from quotehelper.node.log import Log, LogSettings
from quotehelper.node.peers import Peers
from quotehelper.node.quoter import ImmediateQuoter
from quotehelper.node.reins import Reins
from quotehelper.node.service import Service
from quotehelper.node.serving import ServingLoop
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load, load_cpu
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.sgx.report import Attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from quotehelper.platforms.platform import Platform, Quoted, QuotingTarget
    from quotehelper.sgx.key_id import AttestationKeyId, QeReportInfo
    from quotehelper.sgx.report import Report


QUOTE_S = 0.3


@pytest.fixture
def limited(start_daemon: Callable[..., Daemon], tmp_path: Path) -> Callable[..., Daemon]:
    """Start a daemon with the given limits."""

    def start(**limits: float) -> Daemon:
        settings = tmp_path / "settings.toml"
        settings.write_text("[limits]\n" + "".join(f"{name} = {value}\n" for name, value in limits.items()))
        return start_daemon(["--config", str(settings)])

    return start


@pytest.fixture
def quote_frame(state: Path) -> bytes:
    """A request that gets a quote of 8,192 bytes."""
    enclave = load_cpu(state).load(EnclaveIdentity(bytes(32), bytes(32), Attributes.build(flags=5, xfrm=3)))
    report = enclave.report(load(state).target(QE3_KEY_ID).target_info, bytes(64))
    return frames.quote(report.raw, 8192)


def test_who_sends_no_header_is_closed_in_time_and_logged(limited: Callable[..., Daemon]) -> None:
    daemon = limited(header_s=0.05)
    with daemon.connect() as client:
        client.sendall(b"\6\0")
        assert client.recv(1) == b""
    assert "the length of its request" in daemon.wait_for("INFO client too slow")


def test_who_sends_no_body_is_closed_in_time_and_logged(limited: Callable[..., Daemon]) -> None:
    daemon = limited(body_s=0.05)
    with daemon.connect() as client:
        client.sendall(frames.NUM[:6])
        assert client.recv(1) == b""
    assert "the rest of its request" in daemon.wait_for("INFO client too slow")


def test_without_idle_time_an_answered_connection_is_closed_at_once(limited: Callable[..., Daemon]) -> None:
    daemon = limited(idle_s=0)
    with daemon.connect() as client:
        client.sendall(frames.NUM)
        assert frames.reply(receive_frame(client))[0] == 21
        assert client.recv(1) == b""


def test_the_oldest_silent_client_makes_room_for_new_ones(limited: Callable[..., Daemon]) -> None:
    daemon = limited(connections=16)
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(daemon.connect()) for _ in range(17)]
        assert silent[0].recv(1) == b"", "the oldest was closed"
        assert frames.reply(daemon.exchange(frames.NUM))[0] == 21
        silent[-1].sendall(frames.NUM)
        assert frames.reply(receive_frame(silent[-1]))[0] == 21, "the newest was not"
    assert "remedy=" in daemon.wait_for("INFO client made room")


def test_running_out_of_descriptors_closes_silent_clients_and_serves_on(
    start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = start_daemon(path=tmp_path / "aesm.socket")
    (serving,) = daemon.children()
    limit = len(list(Path(f"/proc/{serving}/fd").iterdir())) + 8
    resource.prlimit(serving, resource.RLIMIT_NOFILE, (limit, limit))
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(daemon.connect())
        assert frames.reply(daemon.exchange(frames.NUM))[0] == 21
    daemon.wait_for("WARNING out of descriptors")


def test_more_quotes_at_once_than_are_taken_are_told_to_come_back(
    limited: Callable[..., Daemon], quote_frame: bytes
) -> None:
    daemon = limited(in_flight=1)
    (serving,) = daemon.children()
    os.kill(serving, signal.SIGSTOP)  # so that both requests are there when it looks
    with daemon.connect() as first, daemon.connect() as second, daemon.connect() as metadata:
        for client in (first, second):
            client.sendall(quote_frame)
        metadata.sendall(frames.NUM)
        os.kill(serving, signal.SIGCONT)
        statuses = [frames.reply(receive_frame(client))[1][1] for client in (first, second, metadata)]
    assert statuses == [0, 18, 0]
    assert "too many quotes in flight" in daemon.wait_for("18 BUSY")


class OddPlatform:
    """A platform that can be made faulty, and whose quotes wait until the test lets each go."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.faulty = False
        self.begun: Queue[None] = Queue()
        self.go: Queue[None] = Queue()

    def attestation_keys(self) -> tuple[AttestationKeyId, ...]:
        return self._platform.attestation_keys()

    def target(self, key: AttestationKeyId) -> QuotingTarget:
        return self._platform.target(key)

    def quote_size(self, key: AttestationKeyId) -> int:
        if self.faulty:
            raise ZeroDivisionError
        return self._platform.quote_size(key)

    def quote(self, report: Report, key: AttestationKeyId, qe_report_info: QeReportInfo | None = None) -> Quoted:
        self.begun.put(None)
        self.go.get(timeout=DEADLINE_S)
        return self._platform.quote(report, key, qe_report_info)

    def reopening(self) -> Mapping[str, str | int]:
        return self._platform.reopening()

    def close(self) -> None:
        self._platform.close()


class Loop(NamedTuple):
    """A serving loop in a thread of the test's."""

    path: str
    platform: OddPlatform
    log: Path

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(DEADLINE_S)
        client.connect(self.path)
        return client


@pytest.fixture
def loop(state: Path, tmp_path: Path) -> Iterator[Loop]:
    """A serving loop over an odd platform, with a small quote deadline."""
    path = str(tmp_path / "odd.socket")
    wakeup, wakeup_in = os.pipe2(os.O_NONBLOCK)
    supervisors, leash = make_leash()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen(64)
    listening.settimeout(0)
    written = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    platform = OddPlatform(load(state))
    log = Log(LogSettings(), written)
    service = Service(platform, Limits(quote_s=QUOTE_S), log)
    counts = Counters.create(1).serving[0]
    quoter = ImmediateQuoter(service, counts)
    peers = Peers(log, counts.peers)
    serving = ServingLoop([listening], service, log, Reins(wakeup, leash, lambda: None), quoter, counts, peers)
    thread = threading.Thread(target=serving.run)
    thread.start()
    yield Loop(path, platform, tmp_path / "log")
    os.write(wakeup_in, bytes([signal.SIGTERM]))
    thread.join(DEADLINE_S)
    peers.close()
    assert not thread.is_alive()
    for end in (supervisors, leash):
        end.close()
    for fd in (wakeup, wakeup_in, written):
        os.close(fd)


def test_a_fault_of_the_daemons_is_1_in_kind_and_ends_nobody_else(loop: Loop) -> None:
    loop.platform.faulty = True
    for frame, expected in ((frames.SIZE, (16, {1: 1, 2: 0})), (frames.NUM, (21, {1: 0, 2: 1}))):
        with loop.connect() as client:
            client.sendall(frame)
            assert frames.reply(receive_frame(client)) == expected
    assert "ERROR request failed reason=ZeroDivisionError()" in loop.log.read_text()


def test_who_hangs_up_with_an_answer_on_the_way_ends_nobody_else(loop: Loop, quote_frame: bytes) -> None:
    """It sent requests ahead; the loop is busy with others' quotes when it hangs up before its second answer."""
    platform = loop.platform
    with loop.connect() as impatient, loop.connect() as second, loop.connect() as third:
        impatient.sendall(frames.NUM[:3])
        with loop.connect() as first:  # from here on the loop waits for us
            first.sendall(quote_frame)
            platform.begun.get(timeout=DEADLINE_S)
            impatient.sendall(frames.NUM[3:] + frames.NUM)
            second.sendall(quote_frame)
            platform.go.put(None)
            receive_frame(first)
        platform.begun.get(timeout=DEADLINE_S)
        receive_frame(impatient)
        third.sendall(quote_frame)
        platform.go.put(None)
        platform.begun.get(timeout=DEADLINE_S)
        impatient.close()
        platform.go.put(None)
        assert frames.reply(receive_frame(third))[1][1] == 0
    with loop.connect() as client:
        client.sendall(frames.NUM)
        assert frames.reply(receive_frame(client))[0] == 21


def test_a_quote_that_has_waited_too_long_is_not_made(loop: Loop, quote_frame: bytes) -> None:
    """Its client has given up, or will before the quote could be ready: 18 lets it come back."""
    with loop.connect() as first, loop.connect() as second, loop.connect() as third:
        first.sendall(quote_frame)
        loop.platform.begun.get(timeout=DEADLINE_S)
        for client in (second, third):
            client.sendall(quote_frame)
        loop.platform.go.put(None)
        loop.platform.begun.get(timeout=DEADLINE_S)
        threading.Event().wait(2 * QUOTE_S)  # the deadline of the third passes while the second is made
        loop.platform.go.put(None)
        assert [frames.reply(receive_frame(client))[1][1] for client in (first, second, third)] == [0, 0, 18]


def test_metadata_is_answered_before_quotes_that_wait(loop: Loop, quote_frame: bytes) -> None:
    """In Intel's service `num` waits for all quotes, which Open Enclave never forgives (aesm 6.5, 8.7, 8.8)."""
    metadata = {21: frames.NUM, 22: frames.IDS, 19: frames.SELECT, 16: frames.SIZE, 15: frames.INIT_SIZE_ONLY}
    with contextlib.ExitStack() as stack:
        first, second, *others = [stack.enter_context(loop.connect()) for _ in range(2 + len(metadata))]
        first.sendall(quote_frame)
        loop.platform.begun.get(timeout=DEADLINE_S)
        second.sendall(quote_frame)
        for client, frame in zip(others, metadata.values(), strict=True):
            client.sendall(frame)
        loop.platform.go.put(None)
        loop.platform.begun.get(timeout=DEADLINE_S)  # the second quote is being made, and the loop waits for it
        assert [frames.reply(receive_frame(client))[0] for client in others] == list(metadata)
        loop.platform.go.put(None)
        assert [frames.reply(receive_frame(client))[1][1] for client in (first, second)] == [0, 0]


def test_a_supervisor_that_can_not_start_a_serving_process_tries_again(
    start_daemon: Callable[..., Daemon],
) -> None:
    daemon = start_daemon()
    (serving,) = daemon.children()
    soft, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (3, hard))
    os.kill(serving, signal.SIGKILL)
    daemon.wait_for("ERROR serving process can't start.*short of", times=2)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert frames.reply(daemon.exchange(frames.NUM))[0] == 21
