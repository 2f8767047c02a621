"""docs/conformance.md shows the list as it is."""

from __future__ import annotations

import re
from pathlib import Path

from quotehelper.conformance.catalogue import CHECKS
from quotehelper.conformance.check import Check, Family
from quotehelper.conformance.prove import Doubt, Obstacle

DOCUMENT = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()


def row(check: Check) -> str:
    marks = {"report": check.needs_report, "hostile": check.hostile, "quick": check.quick}
    needs = ", ".join(name for name, given in marks.items() if given)
    return f"| `{check.id}` | {check.title} | {check.source} | {needs} | {check.consequence} |"


def test_every_check_is_listed_under_its_family_and_no_other() -> None:
    sections = re.split(r"^### ", DOCUMENT, flags=re.MULTILINE)[1:]
    shown = {section.partition("\n")[0].lower(): re.findall(r"^\| `.*$", section, re.MULTILINE) for section in sections}
    assert shown == {
        family.value.lower(): [row(check) for check in CHECKS if check.family is family] for family in Family
    }


def test_what_blocks_and_what_warns_is_listed() -> None:
    named = re.findall(r"^\| `(\w+)` \| [^|]*\|$", DOCUMENT, re.MULTILINE)
    assert named == [member.name.lower() for member in (*Obstacle, *Doubt)]
