"""``quotehelper config``: are settings files right, and what is in force."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quotehelper.cli.exit_codes import EXIT_USAGE
from quotehelper.cli.output import console, json_option, print_json, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quotehelper.errors import Mistake

_KINDS = ("quotehelper", "aesmd", "qcnl")


@click.group(name="config")
def command() -> None:
    """See whether settings files are right, and which settings are in force."""


@command.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--kind", type=click.Choice(_KINDS), show_default="by the file's name", help="Whose settings they are.")
@json_option
def check(*, file: Path, kind: str | None, as_json: bool) -> None:
    """Tell everything that is wrong with FILE, each with line, column and remedy.

    Reads the daemon's own settings (TOML), Intel's aesmd.conf, and sgx_default_qcnl.conf of Intel's quote provider
    library, the last two with the traps that they hold for Intel's programs. Exit code 2 if anything is wrong.
    """
    kind = kind or _kind_of(file)
    mistakes = _MISTAKES[kind](_read(file))
    if as_json:
        print_json({"file": str(file), "kind": kind, "mistakes": [mistake._asdict() for mistake in mistakes]})
    else:
        _print(file, kind, mistakes)
    sys.exit(EXIT_USAGE if mistakes else 0)


@command.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option("--config", type=click.Path(exists=True, dir_okay=False), help="The settings file, as serve takes it.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@json_option
def show(*, config: str | None, options: tuple[str, ...], as_json: bool) -> None:
    """Tell which settings `quotehelper serve` would run with, and where each comes from.

    OPTIONS are any of those of serve; environment variables count as they would there.
    """
    context = _serve_context(options if config is None else ("--config", config, *options))
    rows = [
        (param.name or "", _plain(param.name, context.params[param.name or ""]), _SOURCES[source.name])
        for param in context.command.params
        if param.name in context.params and (source := context.get_parameter_source(param.name)) is not None
    ]
    limits = _limits(context.params["config"])
    if as_json:
        document: dict[str, Any] = {name: {"value": value, "from": source} for name, value, source in rows}
        print_json(document | {"limits": {name: {"value": value, "from": source} for name, value, source in limits}})
        return
    from rich.table import Table

    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for name, value, origin in (*rows, *((f"limits.{name}", value, source) for name, value, source in limits)):
        table.add_row(
            name, "" if value is None else printable(str(value)), origin if origin != "default" else f"[dim]{origin}[/]"
        )
    console().print(table)


_SOURCES = {
    "COMMANDLINE": "flag",
    "ENVIRONMENT": "environment",
    "DEFAULT_MAP": "file",
    "DEFAULT": "default",
    "PROMPT": "prompt",
}


def _serve_context(options: Sequence[str]) -> click.Context:
    """The context of serve with ``options``. Raises ConfigError and click's errors, as serve does."""
    from quotehelper.cli.serve import command as serve

    return serve.make_context("serve", list(options), auto_envvar_prefix="QUOTEHELPER_SERVE")


def _limits(file: Path | None) -> list[tuple[str, float, str]]:
    from quotehelper.node.config import Limits, Settings

    limits = Settings("", "", config_file=None if file is None else str(file)).reloadable().limits
    defaults = Limits()._asdict()
    return [(name, value, "default" if value == defaults[name] else "file") for name, value in limits._asdict().items()]


def _plain(name: str | None, value: object) -> object:
    """``value`` as it would be written in the file."""
    if name == "socket_mode":
        return f"{value:o}"
    return str(value) if isinstance(value, Path) else value


def _kind_of(file: Path) -> str:
    if "aesmd" in file.name and file.suffix != ".toml":
        return "aesmd"
    return "qcnl" if "qcnl" in file.name else "quotehelper"


def _read(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as stream:
        return stream.read(1024 * 1024)


def _in_own(text: str) -> Sequence[Mistake]:
    from quotehelper.cli.config_file import find_mistakes
    from quotehelper.cli.serve import command as serve

    with click.Context(serve) as context:
        return find_mistakes(text, context)[1]


def _in_aesmd(text: str) -> Sequence[Mistake]:
    from quotehelper.node.aesmd_conf import parse_aesmd_conf

    return parse_aesmd_conf(text)[1]


def _in_qcnl(text: str) -> Sequence[Mistake]:
    from quotehelper.platforms.dcap.qcnl_conf import parse_qcnl_conf

    return parse_qcnl_conf(text)[1]


_MISTAKES = {"quotehelper": _in_own, "aesmd": _in_aesmd, "qcnl": _in_qcnl}


def _print(file: Path, kind: str, mistakes: Sequence[Mistake]) -> None:
    out = console()
    if not mistakes:
        out.print(f"[green]✓[/] {printable(str(file))}: nothing is wrong with it as settings of {kind}")
    for mistake in mistakes:
        place = f"{printable(str(file))}:{mistake.line}:{mistake.column}"
        out.print(f"[red]✗[/] [bold]{place}[/] {printable(mistake.problem)}\n  {printable(mistake.remedy)}")
