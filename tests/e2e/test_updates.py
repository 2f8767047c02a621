"""Updates under load: the daemon is replaced again and again, by itself and by an earlier version, and nobody notices.

Each version is a wheel, installed apart. Clients are processes of their own: through a mount of the directory, and
through a mount of the socket file in a mount namespace. `QUOTEHELPER_TEST_UPDATES` says how many updates (50 in CI).
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from harness import DEADLINE_S, Daemon, run_cli

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
CLIENT = Path(__file__).parent / "update_client.py"
UPDATES = int(os.environ.get("QUOTEHELPER_TEST_UPDATES", "6"))
RATE = 50
"""Requests a second of each of four clients."""

EARLIER = "0885a172b053f09cf1588e5b979a8158ff9c71c6"
"""The last commit that speaks version 1 of the hand-over protocol alone."""


class Wheel(NamedTuple):
    """A version of quotehelper, installed into a directory of its own."""

    site: Path

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self.site)}


def build(source: Path, place: Path) -> Wheel:
    """Build a wheel of ``source`` and install it below ``place``."""
    wheels, site = place / "wheels", place / "site"
    run_python("-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, source)
    (wheel,) = wheels.glob("*.whl")
    run_python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    return Wheel(site)


def run_python(*arguments: str | Path, environment: dict[str, str] | None = None) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, timeout=300, env=environment)


@pytest.fixture(scope="module")
def present(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    """This very version."""
    return build(ROOT, tmp_path_factory.mktemp("present"))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    """An earlier version, out of the repository's history."""
    place = tmp_path_factory.mktemp("earlier")
    git = shutil.which("git")
    archive = place / "source.tar"
    if git is None or subprocess.run([git, "-C", ROOT, "archive", "-o", archive, EARLIER], check=False).returncode:
        pytest.skip("left out: the repository's history is not here, so there is no earlier version to update from")
    shutil.unpack_archive(archive, place / "source", filter="data")
    return build(place / "source", place)


class Client:
    """A client process; `stop` yields what it saw."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], DEADLINE_S)[0]
        assert self.process.stdout.readline() == "begun\n"

    def stop(self) -> dict[str, Any]:
        output, _ = self.process.communicate(timeout=DEADLINE_S)
        result: dict[str, Any] = json.loads(output)
        return result


class Cluster:
    """One node: instances of the daemon that follow each other, and clients."""

    def __init__(self, state: Path, place: Path) -> None:
        self.state = state
        self.socket = place / "public" / "aesm.socket"
        self.socket.parent.mkdir()
        self._private = place / "private"
        self._mounted = place / "mounted.socket"
        self._instances: list[Daemon] = []
        self._clients: list[Client] = []

    def start(self, wheel: Wheel, *options: str) -> Daemon:
        """Start an instance, and see its predecessor retire and end."""
        daemon = Daemon(
            self.state,
            self.socket,
            *("--private-dir", str(self._private), "--take-over", *options),
            environment=wheel.environment,
        )
        self._instances.append(daemon)
        daemon.wait_for(" ready ")
        if len(self._instances) > 1 and (former := self._instances[-2]).process.poll() is None:
            former.wait_for("INFO retired")
            assert former.stop() == 0
        return daemon

    def add_clients(self) -> None:
        """Four clients: of two families, with the directory and with the socket file mounted."""
        for family in ("intel", "gramine"):
            asking: list[str | Path] = [sys.executable, CLIENT]
            self._clients.append(Client([*asking, self.socket, self.state, family, str(RATE)]))
            self._mounted.touch()
            mount = 'mount --bind "$0" "$1" && shift && exec "$@"'
            arguments = [self.socket, self._mounted, *asking, self._mounted, self.state, family, str(RATE)]
            self._clients.append(Client(["unshare", "--mount", "sh", "-c", mount, *arguments]))

    def stop_clients(self) -> list[dict[str, Any]]:
        clients, self._clients = self._clients, []
        return [client.stop() for client in clients]

    def end(self) -> None:
        for client in self._clients:
            client.process.kill()
            client.process.communicate()
        for daemon in self._instances:
            daemon.__exit__()


@pytest.fixture
def cluster(state: Path, tmp_path: Path) -> Iterator[Cluster]:
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "--mount", "true"], capture_output=True, check=False).returncode:
        pytest.skip("left out: mount namespaces take unshare and the rights of root")
    made = Cluster(state, tmp_path)
    yield made
    made.end()


def await_children(daemon: Daemon, count: int, module: str = "quotehelper.cli.daemon") -> list[int]:
    end = time.monotonic() + DEADLINE_S
    while len(children := daemon.children(module)) < count:
        assert time.monotonic() < end, daemon.lines
    return children


@pytest.mark.timeout(1200)
def test_no_request_fails_in_updates_between_two_versions_and_back(
    cluster: Cluster, present: Wheel, earlier: Wheel, tmp_path: Path
) -> None:
    """Another quoting enclave comes in where both sides know to pause: between two instances of this version.

    The platform is the earlier version's: what this version writes anew, the earlier one could not read.
    """
    cluster.state = tmp_path / "platform"
    run_python("-m", "quotehelper", "simulate", "init", "--state", cluster.state, environment=earlier.environment)
    cluster.start(present)
    cluster.add_clients()
    steps = [(earlier, "11"), (present, "11"), (present, "12"), (earlier, "12"), (present, "12"), (present, "11")]
    for number in range(UPDATES):
        wheel, qe_isv_svn = steps[number % len(steps)]
        cluster.start(wheel, "--qe-isv-svn", qe_isv_svn)
    seen = cluster.stop_clients()
    assert all(each["requests"] > UPDATES for each in seen), seen
    assert [each["failures"] for each in seen] == [{}] * 4, seen


@pytest.mark.timeout(1200)
def test_killing_serving_processes_costs_only_what_they_were_doing(cluster: Cluster, present: Wheel) -> None:
    daemon = cluster.start(present, "--processes", "2")
    cluster.add_clients()
    for number in range(UPDATES):
        os.kill(await_children(daemon, 2)[0], signal.SIGKILL)
        daemon.wait_for("ERROR serving process ended", times=number + 1)
    seen = cluster.stop_clients()
    failures = sum(count for each in seen for count in each["failures"].values())
    assert failures <= UPDATES * len(seen), seen
    assert all("status" not in kind for each in seen for kind in each["failures"]), "broken off, never a wrong answer"


@pytest.mark.timeout(1200)
def test_killing_supervisors_costs_no_client_of_the_directory_anything(cluster: Cluster, present: Wheel) -> None:
    daemon = cluster.start(present)
    client = Client([sys.executable, CLIENT, cluster.socket, cluster.state, "gramine", str(RATE)])
    for _ in range(UPDATES):
        daemon.process.kill()
        daemon.process.wait(DEADLINE_S)
        daemon = cluster.start(present)
    seen = client.stop()
    assert seen["requests"] > UPDATES
    assert seen["failures"] == {}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("killed", ["quotehelper.node.worker_process", "quotehelper.node.control"])
def test_killing_companions_costs_nobody_anything(
    cluster: Cluster, present: Wheel, tmp_path: Path, killed: str
) -> None:
    """Quotes that a platform worker was making are asked for once more; the control process is on no client's way."""
    socket, state, metrics = str(cluster.socket), str(cluster.state), str(tmp_path / "metrics.socket")
    daemon = cluster.start(present, "--platform-process", "worker", "--metrics", metrics)
    cluster.add_clients()
    for number in range(UPDATES):
        os.kill(await_children(daemon, 1, killed)[0], signal.SIGKILL)
        daemon.wait_for("ERROR companion ended", times=number + 1)
        run_cli("quote", "--socket", socket, "--state", state, "--report-data", "00", "--out", str(tmp_path / "quote"))
    seen = cluster.stop_clients()
    assert all(each["requests"] > UPDATES for each in seen), seen
    assert [each["failures"] for each in seen] == [{}] * 4, seen
