"""Where health and metrics are told: what is an address, and what is in the way of it."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.errors import ConfigError
from quotehelper.node.metrics_address import MetricsAddress, MetricsListener, parse_metrics_address

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9100", MetricsAddress("127.0.0.1", 9100)),
        ("localhost:1", MetricsAddress("localhost", 1)),
        ("[::1]:65535", MetricsAddress("::1", 65535)),
        ("/run/metrics.socket", MetricsAddress(path="/run/metrics.socket")),
        ("./metrics.socket", MetricsAddress(path="./metrics.socket")),
    ],
)
def test_an_address_is_host_and_port_or_a_path(text: str, address: MetricsAddress) -> None:
    assert parse_metrics_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":9100",
        "9100",
        "localhost",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        "::1:80",
        "[::1]",
        "[a]:1",
        "a:²",
    ],
)
def test_anything_else_is_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        parse_metrics_address(text)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_a_config_error(text: str) -> None:
    try:
        address = parse_metrics_address(text)
    except ConfigError as error:
        assert error.remedy  # noqa: PT017  either outcome is right, this one has a form
    else:
        assert bool(address.path) is not bool(address.host)


def free_port(family: socket.AddressFamily, host: str) -> int:
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_is_bound_at_that_address_only_and_free_again_afterwards(
    family: socket.AddressFamily, host: str
) -> None:
    address = MetricsAddress(host, free_port(family, host))
    for _ in range(2):
        listener = MetricsListener(address)
        assert listener.socket.getsockname()[:2] == (address.host, address.port)
        socket.create_connection((address.host, address.port), timeout=5).close()
        listener.close()


def test_a_port_that_is_taken_is_refused_with_what_to_do() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(ConfigError, match="give --metrics another address"),
    ):
        MetricsListener(MetricsAddress("127.0.0.1", other.getsockname()[1]))


def test_an_address_that_the_machine_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="one that it has"):
        MetricsListener(MetricsAddress("192.0.2.1", 9100))


def test_a_host_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no\.such\.host\.invalid:9100"):
        MetricsListener(MetricsAddress("no.such.host.invalid", 9100))


def test_a_path_is_for_owner_and_group_only_and_goes_with_its_listener(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    listener = MetricsListener(MetricsAddress(path=str(path)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    listener.close()
    assert not path.exists()


def test_a_dead_socket_at_the_path_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "metrics")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    MetricsListener(MetricsAddress(path=path)).close()


def test_a_living_socket_or_anything_else_at_the_path_is_left_alone(tmp_path: Path) -> None:
    living, file = tmp_path / "living", tmp_path / "file"
    file.write_text("mine")
    with socket.socket(socket.AF_UNIX) as owner:
        owner.bind(str(living))
        owner.listen()
        for path in (living, file):
            with pytest.raises(ConfigError, match="another address"):
                MetricsListener(MetricsAddress(path=str(path)))
        assert living.exists()
    assert file.read_text() == "mine"


def test_a_path_that_is_somebody_elses_by_now_stays(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    listener = MetricsListener(MetricsAddress(path=str(path)))
    path.unlink()
    path.write_text("theirs")
    listener.close()
    assert path.read_text() == "theirs"


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Create the directory"):
        MetricsListener(MetricsAddress(path=os.fspath(tmp_path / "none" / "metrics")))
