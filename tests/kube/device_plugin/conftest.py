"""Fixtures of the device plugin's tests."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from device_plugin_parts import Loop, MachineTree, PluginProcess
from kubelet import Kubelet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def machine(tmp_path: Path) -> MachineTree:
    """A machine with a processor that knows SGX, and nothing else yet."""
    return MachineTree(tmp_path / "machine")


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name within the kernel's 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="dp-") as directory:
        yield Path(directory)


@pytest.fixture
def kubelet(short_path: Path) -> Iterator[Kubelet]:
    """A running kubelet."""
    directory = short_path / "device-plugins"
    directory.mkdir()
    with Kubelet(directory) as running:
        yield running


@pytest.fixture
def start_plugin(kubelet: Kubelet) -> Iterator[Callable[..., PluginProcess]]:
    """Start device plugins as processes that end with the test."""
    with contextlib.ExitStack() as stack:

        def start(*options: str, environment: dict[str, str] | None = None) -> PluginProcess:
            return stack.enter_context(PluginProcess(kubelet.directory, *options, environment=environment))

        yield start


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    """The event loop of all tests that talk gRPC from their own process."""
    running = Loop()
    yield running
    running.close()
