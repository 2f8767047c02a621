"""docs/operations.md and docs/protocol.md say what node/ does: limits, options, log events, statuses."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from quotehelper.aesm.status import AesmStatus
from quotehelper.cli.main import cli
from quotehelper.errors import ConfigError, PlatformCause
from quotehelper.node.config import Limits, Settings
from quotehelper.node.rules import EnclaveRules
from quotehelper.node.service import STATUS_OF_CAUSE

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
PROTOCOL = (ROOT / "docs/protocol.md").read_text()


def rows(text: str, heading: str) -> list[list[str]]:
    """The rows of the first table whose head begins with ``heading``, cells without blanks and backquotes."""
    table = text.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in table]


LIMITS = {row[0]: row for row in rows(OPERATIONS, "limit")}


def range_of(name: str, tmp_path: Path) -> str:
    """The range as the daemon itself says it when a value is out of it."""
    file = tmp_path / "file.toml"
    file.write_text(f"[limits]\n{name} = -1\n")
    with pytest.raises(ConfigError) as refused:
        Settings("simulated", "/state", config_file=str(file)).reloadable()
    low, high = re.findall(r"it goes from (\S+) to (\S+)$", refused.value.problem)[0]
    return f"{float(low):.10g} to {int(high)}"


def test_every_limit_has_a_row() -> None:
    assert list(LIMITS) == list(Limits._fields)


@pytest.mark.parametrize("name", Limits._fields)
def test_a_limit_is_documented_as_it_is(name: str, tmp_path: Path) -> None:
    default = Limits._field_defaults[name]
    assert LIMITS[name][1:3] == [
        f"{default:d}" if isinstance(default, int) else f"{default:g}",
        range_of(name, tmp_path),
    ]


def test_every_option_of_serve_has_a_row() -> None:
    command = cli.get_command(click.Context(cli), "serve")
    assert command is not None
    options = {
        ", ".join((*option.opts, *option.secondary_opts)): f"QUOTEHELPER_SERVE_{(option.name or '').upper()}"
        for option in command.params
    }
    assert {row[0]: row[1] for row in rows(OPERATIONS, "flag of `serve`")} == options


def test_every_log_event_has_a_row_with_its_level() -> None:
    rooms = (ROOT / "src/quotehelper" / room for room in ("node", "platforms"))
    source = "\n".join(path.read_text() for room in rooms for path in room.rglob("*.py"))
    events = {
        (event, level) for level, event in re.findall(r"log\.(debug|info|warning|error)\(\s*\"([^\"]+)\"", source)
    }
    documented = {(row[0], row[1]) for row in rows(OPERATIONS, "event")}
    assert documented == events | {
        ("ready", "info, always written"),
        ("lines left out", "warning"),
        ("quote provider says", "debug, info or warning"),
        ("retired", "info, always written"),
    }


def test_every_cause_has_a_status_and_a_row() -> None:
    documented = {row[0]: row[1] for row in rows(PROTOCOL, "cause (`PlatformCause`)")}
    assert documented == {cause.name: f"{status.value} {status.name}" for cause, status in STATUS_OF_CAUSE.items()}
    assert set(STATUS_OF_CAUSE) == set(PlatformCause)


def test_statuses_are_called_as_they_are() -> None:
    named = {int(row[0]): row[1] for row in rows(OPERATIONS, "status") if row[0].isdecimal()}
    assert named == {status: AesmStatus(status).name for status in named}


def test_every_rule_for_enclaves_has_a_row() -> None:
    assert [row[0] for row in rows(OPERATIONS, "setting of `[enclaves]`")] == list(EnclaveRules._fields)
