"""docs/metrics.md lists the metrics of node/telemetry.py."""

from __future__ import annotations

from pathlib import Path

from quotehelper.node.telemetry import METRICS

PAGE = (Path(__file__).parents[2] / "docs/metrics.md").read_text()


def test_every_metric_has_a_row_that_says_the_same() -> None:
    table = PAGE.split("| metric |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    rows = [[cell.strip().replace("`", "") for cell in row.strip("|").split("|")] for row in table]
    assert rows == [[m.name, m.kind.value, ", ".join(m.labels), m.sentence] for m in METRICS]


def test_names_end_in_their_unit() -> None:
    for metric in METRICS:
        counts = metric.kind.value == "counter"
        assert metric.name.endswith("_total") is counts, metric.name
