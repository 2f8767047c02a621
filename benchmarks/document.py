"""Puts measured tables into docs/performance.md, so that no figure in it is written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.rig import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The Markdown of a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def replace_section(document: Path, name: str, text: str) -> None:
    """Put ``text`` between the comments ``<!-- name: begin -->`` and ``<!-- name: end -->`` of ``document``."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = document.read_text().partition(begin)
    _old, closed, after = rest.partition(end)
    if not found or not closed:
        raise BenchError(f"{document} has no section {begin} … {end}")
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}")
