"""What the pages on verification say is so: steps, statuses, keys, options, names; and their examples run."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import run_cli
from quotehelper.cli.verify import command
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.verification.policy_file import SCHEMA_FILE, parse_policy
from quotehelper.verification.semantics import Semantics
from quotehelper.verification.steps import Step
from quotehelper.verification.tcb import ACCEPTABLE, converge

if TYPE_CHECKING:
    from harness import Daemon

ROOT = Path(__file__).parents[2]
TRUST, POLICY, VERIFICATION, COMPATIBILITY = (
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("trust", "policy", "verification", "compatibility")
)


def rows(text: str, header: str) -> list[list[str]]:
    """The cells of the table in ``text`` whose first line is ``header``."""
    table = text[text.index(header) :].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_each_step_is_told_with_number_name_and_sentence() -> None:
    told = [row[:3] for row in rows(TRUST, "| | step | what holds")]
    assert told == [[str(step.number), f"`{step.value}`", step.holds] for step in Step]


def test_the_table_of_statuses_is_how_they_converge() -> None:
    columns = (TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED)
    told = rows(TRUST, r"| platform \ quoting enclave |")
    assert [row[0] for row in told] == [status.value for status in TcbStatus]
    for platform, *cells in told:
        converged = [converge(TcbStatus(platform), qe) for qe in columns]
        assert cells == ["refused" if each is TcbStatus.REVOKED else each.value for each in converged]


def test_what_is_accepted_without_a_policy_are_the_first_four() -> None:
    assert "one of the first four statuses" in TRUST
    assert set(list(TcbStatus)[:4]) == ACCEPTABLE


def test_each_difference_between_verifiers_names_its_switch_and_none_is_left_out() -> None:
    told = {name for row in rows(COMPATIBILITY, "| point | Intel |") for name in quoted(row[-1])}
    assert told == {field.name for field in fields(Semantics)} - {"name"}


def test_each_key_of_a_policy_is_told() -> None:
    schema = json.loads((ROOT / "src/quotehelper/verification" / SCHEMA_FILE).read_text())
    assert [quoted(row[0])[0] for row in rows(POLICY, "| key | value | what must hold")] == list(schema["properties"])


def test_the_default_statuses_are_told() -> None:
    (row,) = [row for row in rows(POLICY, "| key | value | what must hold") if row[0] == "`tcb_statuses`"]
    assert {TcbStatus(value) for value in quoted(row[2])} == ACCEPTABLE


@pytest.mark.parametrize("text", blocks(POLICY, "toml"))
def test_the_policies_shown_are_policies(text: str) -> None:
    assert parse_policy(text, name="policy.md").any_of


def test_each_option_of_verify_is_told() -> None:
    told = {name for row in rows(VERIFICATION, "| option | what it is") for name in quoted(row[0])}
    assert told == {option for each in command.params for option in each.opts if option.startswith("--")}


def test_the_policy_shown_in_yaml_is_the_one_shown_in_toml() -> None:
    (in_toml,), (in_yaml,) = blocks(POLICY, "toml"), blocks(POLICY, "yaml")
    assert parse_policy(in_yaml, name="policy.yaml") == parse_policy(in_toml, name="policy.toml")


@pytest.fixture(scope="module")
def place(state: Path, daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what the commands of docs/verification.md leave."""
    directory = tmp_path_factory.mktemp("place")
    asked = ("--state", str(state), "--report-data", "c0ffee", "--out", str(directory / "quote.bin"))
    run_cli("quote", "--socket", str(daemon.path), *asked)
    run_cli("simulate", "export-collateral", "--state", str(state), "--out", str(directory / "collateral"))
    (directory / "policy.toml").write_text(blocks(POLICY, "toml")[0])
    return directory


PAGES = {"verification": VERIFICATION, "policy": POLICY}


def written(page: str, place: Path) -> Path:
    """All examples of a page as one program."""
    program = place / f"{page}.py"
    program.write_text("\n".join(blocks(PAGES[page], "python")))
    return program


@pytest.mark.parametrize(
    ("page", "printed"),
    [("verification", ["UpToDate ()", "e1" * 32, "not genuine: quote_signature signature "]), ("policy", [])],
)
def test_the_examples_run_one_after_the_other(page: str, printed: list[str], place: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(written(page, place))], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(line in done.stdout for line in printed)


def test_the_examples_have_the_right_types(place: Path) -> None:
    programs = [str(written(page, place)) for page in PAGES]
    command_line = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(place / "cache"), *programs]
    done = subprocess.run(command_line, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_json_has_the_keys_that_are_told_in_their_order(place: Path) -> None:
    collateral = place / "collateral"
    arguments = [str(place / "quote.bin"), "--bundle", str(collateral / "case"), "--json"]
    refused = json.loads(run_cli("verify", *arguments, check=False).stdout)
    genuine = json.loads(
        run_cli("verify", *arguments, "--insecure-simulated-root", str(collateral / "root.pem")).stdout
    )
    always, besides = (
        [key for row in rows(part, "| key | value |") for key in quoted(row[0])]
        for part in VERIFICATION.split("has these besides")
    )
    assert list(refused) == always
    assert list(genuine) == always + besides


@pytest.mark.parametrize(
    ("module", "name"),
    [(quoted(row[0])[0], name) for row in rows(VERIFICATION, "| module | names") for name in quoted(row[1])],
)
def test_a_name_that_stays_is_there_and_explains_itself(module: str, name: str) -> None:
    found = getattr(importlib.import_module(module), name)
    assert found.__doc__ or not callable(found)
