"""The drop-in for SGX hardware changes what the unit says, and opens the nodes that are looked for."""

from __future__ import annotations

from pathlib import Path

import click

from quotehelper.cli.main import cli
from quotehelper.platforms.hardware import ENCLAVE_NODES, PROVISION_NODES

DEPLOY = Path(__file__).parents[2] / "deploy/systemd"


def settings(text: str) -> list[tuple[str, str]]:
    """Each setting and its value, in order."""
    lines = [line for line in text.splitlines() if line and line[0] not in "#["]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


UNIT = settings((DEPLOY / "quotehelper.service").read_text())
DROP_IN = settings((DEPLOY / "quotehelper.service.d/dcap.conf").read_text())


def test_every_device_node_that_is_looked_for_is_opened() -> None:
    opened = {value for name, value in DROP_IN if name == "DeviceAllow"}
    assert opened == {f"{node} rw" for node in (*ENCLAVE_NODES, *PROVISION_NODES)}


def test_what_it_takes_back_the_unit_has_set() -> None:
    reset = [name for name, value in DROP_IN if value in {"", "no"}]
    assert reset
    assert set(reset) <= {name for name, _ in UNIT}


def test_the_environment_it_sets_is_that_of_options() -> None:
    command = cli.get_command(click.Context(cli), "serve")
    assert command is not None
    options = {f"QUOTEHELPER_SERVE_{(option.name or '').upper()}" for option in command.params}
    named = [value.partition("=")[0] for name, value in DROP_IN if name in {"Environment", "UnsetEnvironment"}]
    ours = {name for name in named if name.startswith("QUOTEHELPER_")}
    assert ours == {"QUOTEHELPER_SERVE_PLATFORM", "QUOTEHELPER_SERVE_STATE"}
    assert ours <= options
