from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from harness import VECTORS, Daemon, run_cli
from quotehelper.cli.main import cli
from quotehelper.sgx.quote import read_quote
from quotehelper.sgx.report import Report, TargetInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMANDS = cli.list_commands(click.Context(cli))
REPORT_DATA = "c0ffee"


def test_help_names_every_command_and_the_exit_codes() -> None:
    text = run_cli("--help").stdout
    assert all(f"  {command}" in text for command in COMMANDS)
    assert "0 done or accepted" in " ".join(text.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    assert "Usage: quotehelper " + command in run_cli(command, "--help").stdout


def options_below(command: click.Command, path: str) -> Iterator[tuple[click.Option, str]]:
    """Every option of the command and those under it, with the variable that its name promises."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from options_below(inner, f"{path}_{name}")
    for option in command.params:
        if isinstance(option, click.Option) and path != "quotehelper":
            name = next(each for each in option.opts if each.startswith("--"))
            yield option, (path + "_" + name[2:]).replace("-", "_").upper()


def test_the_help_of_every_option_shows_the_variable_of_its_name() -> None:
    for option, variable in options_below(cli, "quotehelper"):
        record = option.get_help_record(click.Context(click.Command("any"), auto_envvar_prefix="NOT_THIS"))
        assert record is not None
        assert f"env var: {variable}" in record[1]


def test_a_variable_is_called_like_its_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target").write_bytes(bytes(512))
    monkeypatch.setenv("QUOTEHELPER_SHOW_JSON", "1")
    assert json.loads(run_cli("show", str(tmp_path / "target")).stdout)["kind"] == "target info"


@pytest.mark.parametrize("out", ["no/such/directory/target", "."])
def test_where_a_result_can_not_be_written_its_path_is_named(daemon: Daemon, tmp_path: Path, out: str) -> None:
    place = tmp_path / out
    failed = run_cli("target-info", "--socket", str(daemon.path), "--out", str(place), check=False)
    assert failed.returncode == 2
    assert f"error: {place}: " in failed.stderr
    assert not list(tmp_path.parent.glob(".*partial"))


def test_what_is_not_written_is_nowhere(daemon: Daemon) -> None:
    told = json.loads(run_cli("target-info", "--socket", str(daemon.path), "--json").stdout)
    assert told["written_to"] is None


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    assert "_QUOTEHELPER_COMPLETE" in run_cli("completion", shell).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["quote", "--report-data", "00", "--out", "x"],
        ["quote", "--state", ".", "--out", "x"],
        ["quote", "--state", ".", "--report-data", "zz", "--out", "x"],
        ["quote", "--state", ".", "--report-data", "00" * 65, "--out", "x"],
        ["serve", "--platform", "simulated", "--state", ".", "--socket-mode", "999"],
        ["simulate", "info", "--state", "/nowhere/at/all"],
        ["no-such-command"],
    ],
)
def test_a_mistake_is_exit_code_2_and_a_sentence(arguments: list[str]) -> None:
    failed = run_cli(*arguments, check=False)
    assert failed.returncode == 2
    assert failed.stderr.strip()
    assert "Traceback" not in failed.stderr


def test_no_daemon_is_exit_code_3_and_says_what_to_do(tmp_path: Path) -> None:
    failed = run_cli("target-info", "--socket", str(tmp_path / "none"), check=False)
    assert failed.returncode == 3
    assert "Start the daemon" in failed.stderr


def test_what_is_no_document_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"\x03\0\2\0" + b"\xff" * 50)
    failed = run_cli("show", str(tmp_path / "noise"), check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: Quote.")


def test_info_is_json_without_a_secret(state: Path) -> None:
    told = json.loads(run_cli("simulate", "info", "--state", str(state), "--json").stdout)
    assert told["ca"] == "processor"
    assert len(bytes.fromhex(told["fmspc"])) == 6
    assert json.loads((state / "platform.json").read_text())["secret"] not in json.dumps(told)


def test_quote_plays_the_enclave(daemon: Daemon, state: Path, tmp_path: Path) -> None:
    out = tmp_path / "quote.bin"
    run_cli(
        *("quote", "--socket", str(daemon.path), "--state", str(state), "--report-data", REPORT_DATA),
        *("--out", str(out), "--mr-enclave", "ab" * 32, "--isv-svn", "7", "--debug"),
    )
    body = read_quote(out.read_bytes()).body
    assert body.report_data == bytes.fromhex(REPORT_DATA).ljust(64, b"\0")
    assert not hasattr(body, "mr_td")
    assert body.raw[64:96] == b"\xab" * 32
    assert body.raw[258:260] == b"\7\0"


def test_target_info_report_and_quote_can_be_asked_for_one_by_one(daemon: Daemon, state: Path, tmp_path: Path) -> None:
    target, report, out = tmp_path / "target", tmp_path / "report", tmp_path / "quote"
    run_cli("target-info", "--socket", str(daemon.path), "--out", str(target))
    assert len(TargetInfo(target.read_bytes()).raw) == 512
    run_cli(
        *("simulate", "report", "--state", str(state), "--target-info", str(target)),
        *("--report-data", REPORT_DATA, "--out", str(report)),
    )
    run_cli("quote", "--socket", str(daemon.path), "--report", str(report), "--out", str(out))
    assert read_quote(out.read_bytes()).body == Report(report.read_bytes()).body


def test_a_quote_goes_to_standard_output_if_that_is_asked_for(daemon: Daemon, state: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "quotehelper", "quote", "--socket", str(daemon.path), "--state", str(state)),
            *("--report-data", REPORT_DATA, "--out", "-"),
        ],
        capture_output=True,
        check=True,
    )
    assert read_quote(done.stdout).trailing == b""


QUOTES = sorted((VECTORS / "quotes").glob("**/*.bin"))


@pytest.mark.parametrize("path", QUOTES, ids=lambda path: path.parent.name + "/" + path.name)
def test_every_real_quote_is_shown(path: Path) -> None:
    text = run_cli("show", str(path)).stdout
    assert "not verified" in text
    assert read_quote(path.read_bytes()).body.report_data.hex() in "".join(text.split())


@pytest.mark.parametrize("path", QUOTES, ids=lambda path: path.parent.name + "/" + path.name)
def test_shown_as_json_a_quote_says_that_it_is_not_verified(path: Path) -> None:
    told = json.loads(run_cli("show", "--json", str(path)).stdout)
    quote = read_quote(path.read_bytes())
    assert told["verified"] is False
    assert told["header"]["version"] == quote.header.version
    assert told["certification"]["type"] == quote.certification.type


def test_a_type_3_quote_is_told_to_be_unverifiable() -> None:
    text = run_cli("show", str(VECTORS / "quotes" / "cert-type-3-encrypted-ppid.bin")).stdout
    assert "can't be verified" in " ".join(text.split())


CASE = VECTORS / "quotes" / "v15-swhardening-automata"


@pytest.mark.parametrize("path", sorted(p for p in CASE.iterdir() if p.name != "meta.json"), ids=lambda path: path.name)
def test_every_document_of_a_case_is_shown(path: Path) -> None:
    told = json.loads(run_cli("show", "--json", str(path)).stdout)
    assert told["verified"] is False
    assert run_cli("show", str(path)).stdout


def test_text_from_outside_can_not_move_the_cursor(tmp_path: Path) -> None:
    identity = (CASE / "qe_identity.json").read_text()
    (tmp_path / "evil.json").write_text(identity.replace('"UpToDate"', '"\\u001b[2Jx"', 1))
    shown = run_cli("show", str(tmp_path / "evil.json"), check=False)
    assert "\x1b" not in shown.stdout + shown.stderr
