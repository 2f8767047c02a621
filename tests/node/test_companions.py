"""The processes beside the serving ones, each killed, stopped or prevented from starting while clients ask."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import frames
from harness import DEADLINE_S, Daemon, receive_frame, run_cli
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load, load_cpu
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.sgx.report import Attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKER, CONTROL = "quotehelper.node.worker_process", "quotehelper.node.control"
THROUGH_WORKERS = ("--platform-process", "worker")


@pytest.fixture
def quote_frame(state: Path) -> bytes:
    """A request that gets a quote."""
    enclave = load_cpu(state).load(EnclaveIdentity(bytes(32), bytes(32), Attributes.build(flags=5, xfrm=3)))
    report = enclave.report(load(state).target(QE3_KEY_ID).target_info, bytes(64))
    return frames.quote(report.raw, 8192)


@pytest.fixture
def with_limits(tmp_path: Path) -> Callable[..., list[str]]:
    """The option that sets limits."""

    def option(**limits: float) -> list[str]:
        settings = tmp_path / "limits.toml"
        settings.write_text("[limits]\n" + "".join(f"{name} = {value}\n" for name, value in limits.items()))
        return ["--config", str(settings)]

    return option


def status_of(reply: bytes) -> int | bytes:
    return dict(frames.reply(reply)[1].items())[1] if reply else -1


@contextlib.contextmanager
def clients(daemon: Daemon, frame: bytes, count: int = 4) -> Iterator[list[int | bytes]]:
    """Clients that ask for one quote after another until the block ends; the statuses they get."""
    statuses: list[int | bytes] = []
    enough = threading.Event()

    def ask() -> None:
        while not enough.is_set():
            statuses.append(status_of(daemon.exchange(frame)))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        enough.set()
        for thread in threads:
            thread.join(DEADLINE_S)


def wait_for_more(statuses: list[int | bytes], count: int = 20) -> None:
    """Wait until ``count`` more have been answered."""
    enough, tick = len(statuses) + count, threading.Event()
    for _ in range(int(DEADLINE_S / 0.01)):
        if len(statuses) >= enough:
            return
        tick.wait(0.01)
    pytest.fail("clients get no answers")


def test_a_worker_killed_again_and_again_costs_no_request(
    start_daemon: Callable[..., Daemon], quote_frame: bytes
) -> None:
    daemon = start_daemon(THROUGH_WORKERS)
    with clients(daemon, quote_frame) as statuses:
        for time in range(1, 6):
            wait_for_more(statuses)
            (worker,) = daemon.children(WORKER)
            os.kill(worker, signal.SIGKILL)
            daemon.wait_for("ERROR companion ended .*SIGKILL", times=time)
        wait_for_more(statuses)
    assert set(statuses) == {0}


def test_a_serving_process_killed_leaves_its_worker_to_its_successor(
    start_daemon: Callable[..., Daemon], quote_frame: bytes
) -> None:
    daemon = start_daemon(THROUGH_WORKERS)
    workers = daemon.children(WORKER)
    with clients(daemon, quote_frame) as statuses:
        wait_for_more(statuses)
        os.kill(daemon.children()[0], signal.SIGKILL)
        daemon.wait_for("ERROR serving process ended .*SIGKILL")
        wait_for_more(statuses)
    assert set(statuses) <= {0, -1}
    assert statuses.count(-1) <= 4, "only who was in flight in it, one request a client"
    assert daemon.children(WORKER) == workers


def test_a_control_process_killed_is_noticed_by_no_client(
    start_daemon: Callable[..., Daemon], quote_frame: bytes, tmp_path: Path
) -> None:
    daemon = start_daemon(["--metrics", str(tmp_path / "metrics.socket")])
    with clients(daemon, quote_frame) as statuses:
        wait_for_more(statuses)
        os.kill(daemon.children(CONTROL)[0], signal.SIGKILL)
        daemon.wait_for('ERROR companion ended process="control process".*SIGKILL')
        wait_for_more(statuses)
    assert set(statuses) == {0}


def test_a_worker_that_hangs_is_killed_and_its_request_answered_by_its_successor(
    start_daemon: Callable[..., Daemon], quote_frame: bytes, with_limits: Callable[..., list[str]]
) -> None:
    daemon = start_daemon([*THROUGH_WORKERS, *with_limits(platform_s=0.2)])
    os.kill(daemon.children(WORKER)[0], signal.SIGSTOP)
    assert status_of(daemon.exchange(quote_frame)) == 0
    assert "consequence=" in daemon.wait_for("ERROR platform worker does not answer")


def test_a_worker_that_is_idle_is_not_taken_for_one_that_hangs(
    start_daemon: Callable[..., Daemon], quote_frame: bytes, with_limits: Callable[..., list[str]]
) -> None:
    daemon = start_daemon([*THROUGH_WORKERS, *with_limits(platform_s=0.05)])
    workers = daemon.children(WORKER)
    assert status_of(daemon.exchange(quote_frame)) == 0
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for("INFO platform worker reloaded")
    assert status_of(daemon.exchange(quote_frame)) == 0
    assert daemon.children(WORKER) == workers


def test_while_a_worker_hangs_metadata_is_answered_and_quotes_in_time(
    start_daemon: Callable[..., Daemon], quote_frame: bytes, with_limits: Callable[..., list[str]]
) -> None:
    """Whom the worker has not begun with is told to come back (18), the others that it is unavailable (30)."""
    daemon = start_daemon([*THROUGH_WORKERS, *with_limits(quote_s=0.3)])
    (worker,) = daemon.children(WORKER)
    os.kill(worker, signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(daemon.connect()) for _ in range(20)]
        for client in waiting:
            client.sendall(quote_frame)
        for frame in (frames.NUM, frames.SIZE, frames.INIT):
            assert status_of(daemon.exchange(frame)) == 0
        statuses = [status_of(receive_frame(client)) for client in waiting]
    os.kill(worker, signal.SIGCONT)
    assert sorted(statuses, key=int) == [18] * 4 + [30] * 16
    assert status_of(daemon.exchange(quote_frame)) == 0


def test_more_quotes_than_are_taken_are_told_to_come_back_through_a_worker_too(
    start_daemon: Callable[..., Daemon], quote_frame: bytes, with_limits: Callable[..., list[str]]
) -> None:
    daemon = start_daemon([*THROUGH_WORKERS, *with_limits(in_flight=2)])
    (worker,) = daemon.children(WORKER)
    os.kill(worker, signal.SIGSTOP)
    with daemon.connect() as first, daemon.connect() as second:
        for client in (first, second):
            client.sendall(quote_frame)
            assert status_of(daemon.exchange(frames.NUM)) == 0
        assert status_of(daemon.exchange(quote_frame)) == 18
        os.kill(worker, signal.SIGCONT)
        assert [status_of(receive_frame(client)) for client in (first, second)] == [0, 0]


def test_draining_waits_for_the_worker(start_daemon: Callable[..., Daemon], quote_frame: bytes) -> None:
    daemon = start_daemon(THROUGH_WORKERS)
    (worker,) = daemon.children(WORKER)
    os.kill(worker, signal.SIGSTOP)
    with daemon.connect() as client:
        client.sendall(quote_frame)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for("INFO ending")
        os.kill(worker, signal.SIGCONT)
        assert status_of(receive_frame(client)) == 0
    assert daemon.process.wait(DEADLINE_S) == 0


def test_an_idle_daemon_with_companions_ends_at_once_and_leaves_nobody(
    start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    daemon = start_daemon([*THROUGH_WORKERS, "--metrics", str(tmp_path / "metrics.socket"), "--processes", "2"])
    everybody = [*daemon.children(), *daemon.children(WORKER), *daemon.children(CONTROL)]
    assert len(everybody) == 5
    assert daemon.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in everybody)
    assert not (tmp_path / "metrics.socket").exists()


def test_workers_and_control_end_when_the_supervisor_is_killed(
    start_daemon: Callable[..., Daemon], tmp_path: Path, with_limits: Callable[..., list[str]]
) -> None:
    options = [*THROUGH_WORKERS, "--metrics", str(tmp_path / "metrics.socket"), *with_limits(orphan_s=0.05)]
    daemon = start_daemon(options)
    companions = [*daemon.children(WORKER), *daemon.children(CONTROL)]
    handles = [os.pidfd_open(pid) for pid in companions]
    daemon.process.kill()
    for handle in handles:
        assert select.select([handle], [], [], DEADLINE_S)[0], "it lives on"
        os.close(handle)


def test_a_state_that_cannot_be_used_ends_the_start_with_its_remedy(
    start_daemon: Callable[..., Daemon], state: Path, tmp_path: Path
) -> None:
    own = tmp_path / "state"
    shutil.copytree(state, own)
    (own / "platform.json").write_text("{}")
    daemon = start_daemon(THROUGH_WORKERS, state=own, ready=False)
    assert daemon.process.wait(DEADLINE_S) == 2
    assert str(own) in daemon.wait_for("error: ")


def test_a_state_that_became_unusable_is_told_and_mended_without_a_restart(
    start_daemon: Callable[..., Daemon], state: Path, tmp_path: Path, quote_frame: bytes
) -> None:
    own = tmp_path / "state"
    shutil.copytree(state, own)
    daemon = start_daemon(THROUGH_WORKERS, state=own)
    good = (own / "platform.json").read_bytes()
    (own / "platform.json").write_text("{}")
    os.kill(daemon.children(WORKER)[0], signal.SIGKILL)
    assert str(own) in daemon.wait_for("ERROR companion can't start")
    (own / "platform.json").write_bytes(good)
    assert status_of(daemon.exchange(quote_frame)) == 0


def test_sighup_at_any_moment_ends_nobody(start_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    daemon = start_daemon([*THROUGH_WORKERS, "--metrics", str(tmp_path / "metrics.socket")], ready=False)
    for module in (WORKER, CONTROL):
        while not daemon.children(module):
            assert daemon.process.poll() is None
        os.kill(daemon.children(module)[0], signal.SIGHUP)
    daemon.wait_for(" ready ")
    daemon.wait_for("INFO platform worker reloaded")
    assert "companion ended" not in "".join(daemon.lines)


def test_only_the_simulated_platform_may_be_in_the_serving_process(tmp_path: Path) -> None:
    options = ("--platform", "upstream", "--upstream", str(tmp_path / "other"), "--platform-process", "in-process")
    refused = run_cli("serve", *options, check=False)
    assert refused.returncode == 2
    assert "runs in a worker process only" in refused.stderr


def test_a_worker_gets_nothing_of_the_daemons(
    start_daemon: Callable[..., Daemon], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SGX_AESM_ADDR", "1")
    daemon = start_daemon([*THROUGH_WORKERS, "--metrics", str(tmp_path / "metrics.socket"), "--processes", "2"])
    for worker in daemon.children(WORKER):
        assert b"SGX_AESM_ADDR" not in Path(f"/proc/{worker}/environ").read_bytes()
        held = [str(fd.readlink()) for fd in Path(f"/proc/{worker}/fd").iterdir()]
        assert sum(name.startswith("socket:") for name in held) == 2, "its channel and its leash"
    for serving in daemon.children():
        held = [str(fd.readlink()) for fd in Path(f"/proc/{serving}/fd").iterdir()]
        channels = sum(name.startswith("socket:") for name in held)
        assert channels == 3, "the listening socket, its leash, its end of its channel"
