"""docs/admission.md tells every warning, denial, metric and log event that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from quotehelper.kube.admission.remarks import CautionKind, DenialKind
from quotehelper.kube.resources import EPC_RESOURCES
from quotehelper.kube.webhook.telemetry import OUTCOMES, Metrics

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs/admission.md").read_text()


def rows(heading: str) -> list[str]:
    """The first cells of the tables under a heading, without marks."""
    section = DOCUMENT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (?:<a id=\"[\w-]+\"></a>)?`([\w./-]+)`", section, re.MULTILINE)
    return [cell for cell in cells if cell != "kind"]


def test_every_warning_has_its_row() -> None:
    assert rows("Warnings") == [kind.value for kind in CautionKind]


def test_every_denial_has_its_row() -> None:
    assert rows("Denials") == [kind.value for kind in DenialKind]


def test_every_kind_has_the_anchor_that_messages_link_to() -> None:
    anchors = set(re.findall(r'<a id="([\w-]+)"></a>`\1`', DOCUMENT))
    assert anchors == {kind.value for kind in (*CautionKind, *DenialKind)}


def test_every_metric_has_its_row() -> None:
    families = re.findall(r"^# TYPE (\w+) (?!gauge$)?", Metrics().text().decode(), re.MULTILINE)
    assert rows("Running it") == [family for family in families if not family.endswith("_created")]


def test_every_outcome_is_told() -> None:
    assert all(f"`{outcome}`" in DOCUMENT for outcome in OUTCOMES)


def test_every_name_of_epc_is_told() -> None:
    assert all(f"`{name}`" in DOCUMENT for name in EPC_RESOURCES)


def test_every_log_event_is_told() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "src/quotehelper/kube/webhook").glob("*.py"))
    events = set(re.findall(r"_log\.\w+\(\s*\"([^\"]+)\"", sources))
    told = DOCUMENT.partition("**Log.**")[2].partition("No pod's content")[0]
    assert events == set(re.findall(r"`([^`]+)`", told))
