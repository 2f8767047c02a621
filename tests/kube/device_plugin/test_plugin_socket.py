"""A socket's path is claimed without robbing anybody, and given up only by its owner."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from quotehelper.errors import ConfigError
from quotehelper.kube.device_plugin.plugin_socket import PeerAliveError, PluginSocket, live_sockets, owner_of
from quotehelper.kube.resources import ALIBABA_EPC, AZURE_EPC, ENCLAVE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        yield server


def test_the_name_is_that_of_intels_plugins(tmp_path: Path) -> None:
    assert PluginSocket(tmp_path, ENCLAVE).path.name == "sgx.intel.com-enclave.sock"


def test_what_listens_at_staging_is_reached_at_the_path(tmp_path: Path) -> None:
    claim = PluginSocket(tmp_path, ENCLAVE)
    with listening(claim.staging):
        claim.publish()
        assert claim.ours
        assert owner_of(claim.path) is not None
        assert list(tmp_path.iterdir()) == [claim.path]


def test_a_live_peer_is_named_and_left_alone(tmp_path: Path) -> None:
    claim = PluginSocket(tmp_path, ENCLAVE)
    with listening(claim.path), listening(claim.staging):
        inode = claim.path.stat().st_ino
        with pytest.raises(PeerAliveError, match=f"served by process {os.getpid()} "):
            claim.publish()
        claim.release()
        assert claim.path.stat().st_ino == inode


def test_alibabas_plugin_is_found_under_its_own_name(tmp_path: Path) -> None:
    claim = PluginSocket(tmp_path, ALIBABA_EPC.name)
    with listening(tmp_path / "sgx.sock"), listening(claim.staging), pytest.raises(PeerAliveError, match=r"sgx\.sock"):
        claim.publish()


def test_a_dead_socket_is_replaced(tmp_path: Path) -> None:
    claim = PluginSocket(tmp_path, ENCLAVE)
    with listening(claim.path):
        pass
    with listening(claim.staging):
        claim.publish()
        assert owner_of(claim.path) is not None


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_anything_else_is_named_and_left_alone(tmp_path: Path, kind: str) -> None:
    claim = PluginSocket(tmp_path, ENCLAVE)
    claim.path.touch() if kind == "file" else claim.path.mkdir()
    with listening(claim.staging), pytest.raises(ConfigError, match="is no socket"):
        claim.publish()
    assert claim.path.exists()
    assert not claim.staging.exists()


def test_a_successors_socket_is_not_removed(tmp_path: Path) -> None:
    first, second = PluginSocket(tmp_path, ENCLAVE), PluginSocket(tmp_path, ENCLAVE)
    with listening(first.staging) as server:
        first.publish()
        server.shutdown(socket.SHUT_RD)
    with listening(second.staging):
        second.publish()
        first.release()
        assert owner_of(second.path) is not None


def test_a_wiped_socket_is_noticed(tmp_path: Path) -> None:
    claim = PluginSocket(tmp_path, ENCLAVE)
    with listening(claim.staging):
        claim.publish()
        claim.path.unlink()
        assert not claim.ours


def test_of_many_that_claim_at_once_one_wins(tmp_path: Path) -> None:
    claims = [PluginSocket(tmp_path, ENCLAVE) for _ in range(8)]
    barrier, refused = threading.Barrier(len(claims)), []

    def contend(claim: PluginSocket) -> None:
        barrier.wait()
        try:
            claim.publish()
        except ConfigError:
            refused.append(claim)

    with contextlib.ExitStack() as stack:
        for claim in claims:
            stack.enter_context(listening(claim.staging))
        threads = [threading.Thread(target=contend, args=(claim,)) for claim in claims]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [claim.ours for claim in claims].count(True) == 1
        assert len(refused) == len(claims) - 1


def test_a_claim_waits_for_nobody(tmp_path: Path) -> None:
    claim = PluginSocket(tmp_path, ENCLAVE)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with listening(claim.staging), pytest.raises(ConfigError, match="at this moment"):
        claim.publish()
    os.close(descriptor)


def test_a_path_too_long_for_the_kernel_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="longer than 107 bytes"):
        PluginSocket(tmp_path / ("x" * 100), AZURE_EPC.name)


def test_live_sockets_are_told_with_their_owners(tmp_path: Path) -> None:
    with listening(tmp_path / "kubelet.sock"), listening(tmp_path / "gpu.sock"):
        (tmp_path / "dead.sock").touch()
        assert list(live_sockets(tmp_path)) == ["gpu.sock"]


def test_a_directory_without_rights_is_told(tmp_path: Path) -> None:
    claim = PluginSocket(tmp_path / "missing", ENCLAVE)
    with pytest.raises(ConfigError, match="No such file or directory"):
        claim.publish()
