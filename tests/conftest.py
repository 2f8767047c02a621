"""Fixtures that all tests share; the parts they are made of are in ``harness``."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from dcap_libraries import DcapLibraries, compile_libraries, find_compiler
from harness import Daemon, WrittenLog, run_cli
from simulated_enclaves import VARIABLE, SimulatedEnclaves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


settings.register_profile("quotehelper", deadline=None)  # no asserted durations: machines differ and are shared
settings.load_profile("quotehelper")


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated platform's state, made by the command line, shared by all tests that only read it."""
    directory = tmp_path_factory.mktemp("platform") / "state"
    run_cli("simulate", "init", "--state", str(directory))
    return directory


@pytest.fixture
def start_daemon(state: Path, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons that end with the test; by default on a socket of the test's own, ready."""
    with contextlib.ExitStack() as stack:

        def start(
            options: Sequence[str] = (), *, path: Path | None = None, state: Path = state, ready: bool = True
        ) -> Daemon:
            path = path or tmp_path / "aesm.socket"
            daemon = stack.enter_context(Daemon(state, path, *options))
            if ready:
                daemon.wait_for(" ready ")
            return daemon

        yield start


@pytest.fixture(scope="module")
def daemon(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One running daemon for a module's tests."""
    directory = tmp_path_factory.mktemp("run")
    with Daemon(state, directory / "aesm.socket") as running:
        running.wait_for(" ready ")
        yield running
        assert running.process.poll() is None, running.lines


@pytest.fixture
def log(tmp_path: Path) -> Iterator[WrittenLog]:
    """A log whose events can be read."""
    written = WrittenLog(tmp_path / "log")
    yield written
    written.close()


@pytest.fixture(scope="session")
def dcap_libraries(tmp_path_factory: pytest.TempPathFactory, no_interop_tool: Callable[[str], None]) -> DcapLibraries:
    """The test double of Intel's quoting libraries, compiled."""
    compiler = find_compiler()
    if compiler is None:
        no_interop_tool("a C compiler (cc)")
        raise AssertionError
    return compile_libraries(compiler, tmp_path_factory.mktemp("dcap"))


@pytest.fixture
def simulated_enclaves(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedEnclaves]:
    """The enclaves behind that double, those of the shared simulated platform; libraries in this process find them."""
    with SimulatedEnclaves(state, tmp_path / "enclaves.socket") as enclaves:
        monkeypatch.setenv(VARIABLE, str(enclaves.path))
        yield enclaves


@pytest.fixture(scope="session")
def no_interop_tool() -> Callable[[str], None]:
    """Say that a tool is missing: an error where everything must be there, a told omission elsewhere."""

    def tell(tool: str) -> None:
        message = f"left out: {tool} is not installed"
        if os.environ.get("QUOTEHELPER_TEST_INTEROP"):
            pytest.fail(message)
        pytest.skip(message)

    return tell
