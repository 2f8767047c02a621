"""``quotehelper config``: mistakes with their places, and where each setting comes from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import run_cli
from quotehelper.cli.config_file import find_mistakes
from quotehelper.cli.serve import command as serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness import Daemon

ROOT = Path(__file__).parents[2]


def check(file: Path, *options: str) -> tuple[int, dict[str, Any]]:
    done = run_cli("config", "check", str(file), "--json", *options, check=False)
    return done.returncode, json.loads(done.stdout)


def places(document: dict[str, Any]) -> list[tuple[int, int]]:
    return [(mistake["line"], mistake["column"]) for mistake in document["mistakes"]]


def test_every_mistake_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('log_level = "loud"\n[limits]\n  in_flight = 0\nfoo = 1\n[serve]\nplatform = "sim"\nsoket = "x"\n')
    code, document = check(file)
    assert (code, document["kind"]) == (2, "quotehelper")
    assert places(document) == [(1, 1), (3, 3), (4, 1), (6, 1), (7, 1)]
    assert all(mistake["remedy"] for mistake in document["mistakes"])


def test_broken_toml_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('log_level = "info"\n[limits\n')
    code, document = check(file)
    assert (code, places(document)) == (2, [(2, 8)])


def test_a_file_without_a_mistake_is_0(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('log_level = "info"\n[limits]\nin_flight = 5\n[serve]\nprocesses = 2\nsocket-mode = "660"\n')
    assert check(file) == (0, {"file": str(file), "kind": "quotehelper", "mistakes": []})


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("aesmd.conf", "qpl log level =info\n", "aesmd"),
        ("sgx_default_qcnl.conf", '{"pccs_uri": "x"}', "qcnl"),
    ],
)
def test_intels_files_are_known_by_their_names(tmp_path: Path, name: str, text: str, kind: str) -> None:
    (tmp_path / name).write_text(text)
    code, document = check(tmp_path / name)
    assert (code, document["kind"], len(document["mistakes"])) == (2, kind, 1)


def test_people_read_place_problem_and_remedy(tmp_path: Path) -> None:
    file = tmp_path / "aesmd.conf"
    file.write_text("default quoting type = epid\n")
    done = run_cli("config", "check", str(file), check=False)
    assert f"{file}:1:24 " in done.stdout
    assert "Write default quoting type = ecdsa_256" in done.stdout


def test_the_shipped_aesmd_conf_is_right() -> None:
    assert check(ROOT / "deploy/systemd/aesmd.conf")[0] == 0


def shown(*options: str, **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "quotehelper", "config", "show", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_flag_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[limits]\nin_flight = 5\n[serve]\nsocket = "/file"\nprocesses = 2\nmetrics = "/file.socket"\n')
    document = shown("--config", str(file), "--processes", "4", QUOTEHELPER_SERVE_METRICS="/env.socket")
    assert {name: document[name] for name in ("socket", "processes", "metrics", "socket_mode")} == {
        "socket": {"value": "/file", "from": "file"},
        "processes": {"value": 4, "from": "flag"},
        "metrics": {"value": "/env.socket", "from": "environment"},
        "socket_mode": {"value": "666", "from": "default"},
    }
    assert document["limits"]["in_flight"] == {"value": 5, "from": "file"}


def test_the_daemon_starts_with_what_the_file_says(start_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[serve]\nprocesses = 2\n")
    assert "processes=2" in start_daemon(["--config", str(file)]).wait_for(" ready ")


def test_a_mistake_in_the_file_ends_the_start_with_its_place(tmp_path: Path, state: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[serve]\nprocesses = 0\n")
    done = run_cli("serve", "--platform", "simulated", "--state", str(state), "--config", str(file), check=False)
    assert done.returncode == 2
    assert f"{file}, line 2, column 1: serve.processes" in done.stderr


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.text(max_size=200)
    | st.builds(
        "[serve]\n{} = {}\n".format,
        st.sampled_from(["processes", "socket", "socket-group", "metrics", "state", "take-over", "config"]),
        st.sampled_from(["0", "-1", "true", '"x"', "[]", "{}", "1.5", "1979-05-27", '"\\u0000"', "nan"]),
    )
)
def test_any_text_is_judged(text: str) -> None:
    with click.Context(serve) as context:
        _, mistakes = find_mistakes(text, context)
    assert all(mistake.line >= 1 and mistake.column >= 1 and mistake.problem for mistake in mistakes)
