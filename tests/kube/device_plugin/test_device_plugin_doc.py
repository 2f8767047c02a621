"""docs/device-plugin.md says what the device plugin does: options, metrics, events, log."""

from __future__ import annotations

import re
from pathlib import Path

import click

from quotehelper.cli.main import cli
from quotehelper.kube.device_plugin.device_list import LIST_LIMIT, Health, largest_count, list_bytes
from quotehelper.kube.device_plugin.epc import EpcAbsence
from quotehelper.kube.device_plugin.inventory import Reason
from quotehelper.kube.device_plugin.telemetry import COUNTERS, GAUGES

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/device-plugin.md").read_text()
SOURCES = "\n".join(path.read_text() for path in (ROOT / "src/quotehelper/kube/device_plugin").glob("*.py"))


def rows(heading: str) -> list[list[str]]:
    """The rows of the table whose head begins with ``heading``, cells without blanks and backquotes."""
    table = PAGE.split(f"| {heading} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in table]


def test_every_option_has_a_row() -> None:
    command = cli.get_command(click.Context(cli), "device-plugin")
    assert command is not None
    assert [row[0] for row in rows("option")] == [option.opts[0] for option in command.params]


def test_every_metric_has_a_row_with_its_labels() -> None:
    documented = {
        row[0]: tuple(filter(None, row[1].split(", "))) for row in rows("metric (`quotehelper_device_plugin_…`)")
    }
    counters = {f"{name}_total": labels for name, (_, labels) in COUNTERS.items()}
    assert documented == {name: labels for name, (_, labels) in GAUGES.items()} | counters


def test_every_log_event_has_a_row_with_its_level() -> None:
    events = {
        (event, level) for level, event in re.findall(r"log\.(debug|info|warning|error)\(\s*\"([^\"]+)\"", SOURCES)
    }
    through = {(event, "warning") for event in re.findall(r"_failed\(\"([^\"]+)\"", SOURCES)}
    advertising = {("advertising", "info"), ("advertising", "warning")}
    assert {(row[0], row[1]) for row in rows("event")} == events | through | advertising


def test_every_reason_has_a_row() -> None:
    written = set(re.findall(r"\.warn\(\"(\w+)\"", SOURCES))
    reasons = {reason.value for reason in Reason}
    assert {row[0] for row in rows("event (reason)")} == reasons | written


def test_every_cause_of_no_epc_has_a_row() -> None:
    assert {row[0] for row in rows("reason for zero")} == set(EpcAbsence.__members__)


def test_the_figures_of_lists_are_right() -> None:
    for figure in (
        LIST_LIMIT,
        largest_count(Health.HEALTHY),
        largest_count(Health.UNHEALTHY),
        list_bytes(256 * 1024, Health.HEALTHY),
    ):
        assert f"{figure:,}" in PAGE
