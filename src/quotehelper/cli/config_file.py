"""The daemon's settings file as the command line reads it: everything that is wrong with it, and its ``[serve]``."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import click

from quotehelper.errors import ConfigError, Mistake
from quotehelper.node.config import find_faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SIZE_LIMIT_BYTES = 1024 * 1024
_TEXT: tuple[str, tuple[type, ...]] = "a text", (str,)
_TOML_KINDS: dict[type, tuple[str, tuple[type, ...]]] = {
    click.types.IntParamType: ("a whole number", (int,)),
    click.types.FloatParamType: ("a number", (int, float)),
    click.types.BoolParamType: ("true or false", (bool,)),
}
"""What options of a type are in TOML; all others are texts."""
_HINT = "See docs/operations.md for the settings and their ranges"


def find_mistakes(text: str, ctx: click.Context) -> tuple[dict[str, Any], tuple[Mistake, ...]]:
    """What ``text`` sets, and everything that is wrong with it. ``ctx``: of the command ``serve``."""
    from quotehelper.verification.toml_positions import Positions

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return {}, (_toml_mistake(error),)
    except RecursionError:
        return {}, (Mistake(1, 1, "Nested too deeply", _HINT),)
    positions = Positions(text)
    faults = [(fault.path, fault.problem) for fault in find_faults(table)]
    if isinstance(table.get("serve"), dict):
        faults += _find_serve_faults(table["serve"], ctx)
    mistakes = [Mistake(*positions.of_key(path), problem, _HINT) for path, problem in faults]
    return table, tuple(sorted(mistakes))


def read_serve_table(file: Path, ctx: click.Context) -> dict[str, Any]:
    """The ``[serve]`` table of ``file``, by parameter names. Raises ConfigError, which names file, line and setting."""
    with file.open("rb") as stream:
        raw = stream.read(_SIZE_LIMIT_BYTES + 1)
    if len(raw) > _SIZE_LIMIT_BYTES:
        raise ConfigError(f"{file} has more than {_SIZE_LIMIT_BYTES} bytes", "No settings are that long")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text", "Write it in TOML") from error
    table, mistakes = find_mistakes(text, ctx)
    if mistakes:
        first = mistakes[0]
        raise ConfigError(f"{file}, line {first.line}, column {first.column}: {first.problem}", first.remedy)
    return {name.replace("-", "_"): value for name, value in table.get("serve", {}).items()}


def _find_serve_faults(serve: dict[str, Any], ctx: click.Context) -> Iterator[tuple[tuple[str, ...], str]]:
    known = {param.name: param for param in ctx.command.params if param.name not in {"config", "help"}}
    for name, value in serve.items():
        param = known.get(name.replace("-", "_"))
        if param is None:
            yield ("serve", name), f"serve has no option {name!r}"
            continue
        wanted, fits = next((kind for of, kind in _TOML_KINDS.items() if isinstance(param.type, of)), _TEXT)
        if type(value) not in fits:
            yield ("serve", name), f"serve.{name} is {value!r}, not {wanted}"
            continue
        try:
            param.type_cast_value(ctx, value)
        except click.BadParameter as error:
            yield ("serve", name), f"serve.{name}: {error.message}"
        except ValueError:  # a path with a NUL
            yield ("serve", name), f"serve.{name} is {value!r}, which it can't be"


def _toml_mistake(error: tomllib.TOMLDecodeError) -> Mistake:
    """Where ``error`` is: the library says it in its text alone."""
    import re

    found = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
    line, column = (int(found[1]), int(found[2])) if found else (1, 1)
    return Mistake(line, column, f"Not TOML: {str(error).partition(' (at')[0]}", "Write it in TOML")
