"""What the documents say must be there: links, commands and their options, the direction of imports."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from quotehelper.cli.main import cli

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
LINKS = [
    (document, target)
    for document in DOCUMENTS
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    if not re.match(r"[a-z]+:", target)
]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(document: Path) -> set[str]:
    """How headings are linked to: lower case, punctuation gone, hyphens for blanks."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_lines() -> list[tuple[str, list[str]]]:
    """Each command of ours in a code block or a code span, as words: where it stands, and what follows the name."""
    found = []
    for document in DOCUMENTS:
        text = document.read_text()
        blocks = [line for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        commands = [line[2:] for line in blocks if line[:2] in {"$ ", "# "}]
        spans = re.findall(r"`(quotehelper [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        for command in (*commands, *spans):
            words = shlex.split(command, comments=True)
            ours = [
                at
                for at, word in enumerate(words)
                if (at == 0 and word == "quotehelper") or word.endswith("/bin/quotehelper")
            ]
            if ours and len(words) > ours[0] + 1:
                end = next((at for at, word in enumerate(words) if word in {"&", "&&", "|", ";", ">"}), len(words))
                found.append((named(document), words[ours[0] + 1 : end]))
    return found


@pytest.mark.parametrize(("document", "target"), LINKS, ids=[f"{named(d)}: {t}" for d, t in LINKS])
def test_a_link_leads_somewhere(document: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    linked = document.parent / path if path else document
    assert linked.exists()
    if anchor:
        assert anchor in anchors(linked)


@pytest.mark.parametrize(
    ("where", "words"), command_lines(), ids=lambda value: " ".join(value) if isinstance(value, list) else value
)
def test_a_command_and_its_options_exist(where: str, words: list[str]) -> None:
    del where  # for the test's id
    command: click.Command | None = cli
    names = list(words)
    while isinstance(command, click.Group) and names and not names[0].startswith("-"):
        command = command.get_command(click.Context(command), names.pop(0))
    assert command is not None
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "-h"}
    assert {word for word in names if word.startswith("--")} <= known


def test_the_imports_drawn_are_those_that_the_linter_enforces() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    drawn = re.search(r"^errors <- .*$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    assert drawn is not None
    assert drawn[0].split(" <- ") == layers[::-1]


def test_files_that_documents_name_are_there() -> None:
    """Paths in code spans that begin with a room or a directory of the repository."""
    rooms = {path.name for path in (ROOT / "src/quotehelper").iterdir() if path.is_dir()}
    missing = []
    for document in DOCUMENTS:
        for path in re.findall(r"`(\w+/[\w./]+\.\w+)`", document.read_text()):
            base = ROOT / "src/quotehelper" if path.split("/")[0] in rooms else ROOT
            if path.split("/")[0] not in {"qvl", "case", "collateral"} and not (base / path).exists():
                missing.append(f"{named(document)}: {path}")
    assert missing == []
