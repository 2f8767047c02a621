"""The daemon among pods: real control groups, real PID namespaces, and one pod that floods."""

from __future__ import annotations

import http.client
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

import frames
from harness import DEADLINE_S, Daemon
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load, load_cpu
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.sgx.report import Attributes
from workloads import Client, cgroup, cgroupfs_names, command_in, hierarchies, systemd_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from workloads import Names

WRONG = frames.quote(bytes(10), 8192)
"""A quote request that is refused: its report is too short."""


@pytest.fixture
def root(no_interop_tool: Callable[[str], None]) -> Path:
    """Where pods are made: in the unified hierarchy if that can be."""
    found = hierarchies()
    if not found:
        no_interop_tool("a writable cgroup hierarchy")
    return found.get("v2") or found["v1"]


@pytest.fixture
def quote_frame(state: Path) -> bytes:
    """A request that gets a quote."""
    enclave = load_cpu(state).load(EnclaveIdentity(bytes(32), bytes(32), Attributes.build(flags=5, xfrm=3)))
    return frames.quote(enclave.report(load(state).target(QE3_KEY_ID).target_info, bytes(64)).raw, 8192)


@pytest.fixture
def pod(root: Path) -> Iterator[tuple[Names, Path]]:
    names = systemd_names(3)
    with cgroup(root, names) as directory:
        yield names, directory


@pytest.fixture
def other_pod(root: Path) -> Iterator[tuple[Names, Path]]:
    names = cgroupfs_names(4)
    with cgroup(root, names) as directory:
        yield names, directory


def statuses(replies: list[str]) -> list[int]:
    """The AESM status in each reply to a quote request."""
    return [status_of(bytes.fromhex(reply)) for reply in replies]


def status_of(reply: bytes) -> int:
    """A reply is its length, the envelope's field and that one's length, and the status as field 1."""
    at = 4
    for _ in range(2):
        while reply[at] & 0x80:
            at += 1
        at += 1
    assert reply[at] == 0x08
    return reply[at + 1]


def samples(path: Path, name: str) -> dict[str, float]:
    """The values of a metric by peer, as /metrics tells them: by pod UID, or by kind where there is none."""
    connection = http.client.HTTPConnection("control")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(DEADLINE_S)
    connection.sock.connect(str(path))
    connection.request("GET", "/metrics")
    families = text_string_to_metric_families(connection.getresponse().read().decode())
    connection.close()
    return {
        sample.labels["pod_uid"] or sample.labels["peer"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def test_a_refused_request_is_logged_with_pod_container_process_and_user(
    start_daemon: Callable[..., Daemon], pod: tuple[Names, Path]
) -> None:
    names, directory = pod
    daemon = start_daemon()
    with Client(directory, daemon.path, WRONG) as client:
        client.ask()
        told = daemon.wait_for(r"request refused .* pid=[1-9]\d* uid=0 ")
    assert f"pod_uid={names.pod_uid} container_id={names.container_id}" in told


def test_a_connection_that_is_closed_is_logged_with_its_pod(
    start_daemon: Callable[..., Daemon], pod: tuple[Names, Path]
) -> None:
    names, directory = pod
    daemon = start_daemon()
    with Client(directory, daemon.path, frames.frame(b"\xff\xff\xff")) as client:
        assert client.ask() == ["none"]
        assert f"pod_uid={names.pod_uid}" in daemon.wait_for("malformed request")


def test_requests_are_counted_by_pod_over_all_processes(
    start_daemon: Callable[..., Daemon],
    pod: tuple[Names, Path],
    other_pod: tuple[Names, Path],
    quote_frame: bytes,
    tmp_path: Path,
) -> None:
    metrics = tmp_path / "metrics.socket"
    daemon = start_daemon(["--processes", "2", "--metrics", str(metrics)])
    counted = {}
    for names, directory in (pod, other_pod):
        with Client(directory, daemon.path, quote_frame, connections=5) as client:
            counted[names.pod_uid] = len(client.ask()) + len(client.ask())
    got = samples(metrics, "quotehelper_peer_requests_total")
    assert {uid: got[uid] for uid in counted} == counted
    assert set(samples(metrics, "quotehelper_peer_busy_total").values()) == {0}


def test_counts_by_pod_survive_the_crash_of_the_process_that_counted(
    start_daemon: Callable[..., Daemon], pod: tuple[Names, Path], tmp_path: Path
) -> None:
    names, directory = pod
    metrics = tmp_path / "metrics.socket"
    daemon = start_daemon(["--metrics", str(metrics)])
    total = 0
    for _ in range(2):
        with Client(directory, daemon.path, frames.NUM) as client:
            total += len(client.ask())
        os.kill(daemon.children()[0], signal.SIGKILL)
        assert frames.reply(daemon.exchange(frames.NUM))[0] == 21
    assert samples(metrics, "quotehelper_peer_requests_total")[names.pod_uid] == total


def test_a_pod_that_floods_takes_no_place_from_one_that_asks_quietly(
    start_daemon: Callable[..., Daemon],
    pod: tuple[Names, Path],
    other_pod: tuple[Names, Path],
    quote_frame: bytes,
    tmp_path: Path,
) -> None:
    """The room is for eight; the flood's 64 connections get it filled, and told so, but not the other pod's one."""
    file = tmp_path / "limits.toml"
    file.write_text("[limits]\nin_flight = 8\nin_flight_per_group = 8\n")
    daemon = start_daemon(["--config", str(file)])
    with (
        Client(pod[1], daemon.path, quote_frame, connections=64) as flood,
        Client(other_pod[1], daemon.path, quote_frame) as quiet,
    ):
        flood.flood()
        answers = [status for _ in range(20) for status in statuses(quiet.ask())]
        flooded = statuses(flood.end_flood())
    assert set(answers) == {0}
    assert set(flooded) == {0, 18}
    assert f"pod_uid={pod[0].pod_uid}" in daemon.wait_for("request refused.*in flight")


def test_from_another_pid_namespace_clients_are_unknown_and_the_log_says_what_to_do_once(
    state: Path, tmp_path: Path, pod: tuple[Names, Path], quote_frame: bytes
) -> None:
    """A daemon without hostPID."""
    launcher = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    with Daemon(state, tmp_path / "aesm.socket", launcher=launcher) as daemon:
        daemon.wait_for(" ready ")
        for _ in range(2):
            with Client(pod[1], daemon.path, quote_frame, connections=3) as client:
                assert statuses(client.ask()) == [0, 0, 0]
        with Client(pod[1], daemon.path, WRONG) as client:
            client.ask()
            daemon.wait_for("request refused.* pid=0 uid=0")
        told = [line for line in daemon.lines if "peer unknown" in line]
    assert len(told) == 1
    assert "PID namespace" in told[0]
    assert "hostPID" in told[0]


def test_in_a_private_control_group_namespace_pods_are_known_and_the_host_is_not(
    state: Path, tmp_path: Path, root: Path, pod: tuple[Names, Path]
) -> None:
    own = systemd_names(5)
    with cgroup(root, own) as directory:
        launcher = command_in(directory, ["unshare", "--cgroup"], pid_namespace=False)
        with Daemon(state, tmp_path / "aesm.socket", launcher=launcher) as daemon:
            daemon.wait_for(" ready ")
            for where in (pod[1], None):
                with Client(where, daemon.path, WRONG) as client:
                    client.ask()
            daemon.wait_for(f"request refused.*pod_uid={pod[0].pod_uid}")
            daemon.wait_for("peer unknown.*control group namespace")
            daemon.stop()
