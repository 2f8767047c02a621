"""What commands print: the result on standard output, for people or as JSON; talk on standard error."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import TYPE_CHECKING, TypeVar

import click

from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from rich.console import Console

_T = TypeVar("_T")
_PIPE_WIDTH = 1000
"""Columns where there is no terminal: a line is never broken in a pipe."""

_PORT_MAX = 0xFFFF

DEBUG_WARNING = "[bold red]yes: its memory can be read from outside, it proves nothing[/]"
"""What people are told of a debug enclave, wherever."""

_PERMISSIONS = 0o777

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def console(*, to_stderr: bool = False) -> Console:
    """Where people's output goes: colours in a terminal, plain text in a pipe. Talk goes to standard error.

    What the output's encoding lacks becomes a question mark: a name from outside must not end a command.
    """
    from rich.console import Console

    stream = sys.stderr if to_stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    terminal = stream.isatty()
    return Console(file=stream, highlight=False, no_color=not terminal, width=None if terminal else _PIPE_WIDTH)


def printable(text: str) -> str:
    """``text`` from outside with everything escaped that could move a cursor or look like markup."""
    from rich.markup import escape

    return escape("".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text))


def print_json(value: Any) -> None:  # noqa: ANN401  whatever can be JSON
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=2))


def print_json_line(value: Any) -> None:  # noqa: ANN401  whatever can be JSON
    """One of several JSON documents on standard output, a line each."""
    click.echo(json.dumps(value))


def print_facts(title: str, facts: Mapping[str, object], *, as_json: bool) -> None:
    """A result of a few named facts: as JSON, or as a table for people."""
    if as_json:
        print_json(facts)
        return
    out = console()
    out.print(f"[bold]{printable(title)}[/]")
    width = max(map(len, facts))
    for name, value in facts.items():
        out.print(f"{name:<{width}}  {_plain(value)}")


def _plain(value: object) -> str:
    """A fact in one line: facts within facts by their names."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if value is None or isinstance(value, bool):
        return "none" if value is None else "yes" if value else "no"
    return printable(str(value))


def watched(things: Iterable[_T], total: int, label: str, *, as_json: bool) -> Iterator[_T]:
    """The same, with a bar on standard error for many, where somebody watches and nothing else is printed there."""
    if total == 1 or not sys.stderr.isatty() or (as_json and sys.stdout.isatty()):
        yield from things
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
    with bar:
        yield from bar.track(things, total=total, description=label)


def talk(text: str) -> None:
    """Say on standard error what is being done."""
    click.echo(text, err=True)


def write_result(path: Path, data: bytes) -> None:
    """Write a result whole or not at all; "-" is standard output. Raises ConfigError if it can't be written."""
    if str(path) == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        remedy = "Name a file in a directory that exists and in which you can write"
        raise ConfigError(f"{path}: {error.strerror}", remedy) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


class Mode(click.ParamType[int]):
    """Permission bits, in octal."""

    name = "octal"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bits; a click error that says what was expected otherwise."""
        if isinstance(value, int):
            return value
        try:
            mode = int(value, 8)
        except ValueError:
            mode = -1
        if mode & ~_PERMISSIONS:
            self.fail(f"{value!r} is not a mode between 0 and 777 (octal)", param, ctx)
        return mode


class Hex(click.ParamType[bytes]):
    """Bytes in hexadecimal: exactly ``size``, or up to it and then padded with zeros behind."""

    name = "hex"

    def __init__(self, size: int, *, padded: bool = False) -> None:
        self.size = size
        self.padded = padded

    def convert(self, value: str | bytes, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """The bytes; a click error that says what was expected otherwise."""
        if isinstance(value, bytes):
            return value
        try:
            raw = bytes.fromhex(value)
        except ValueError:
            self.fail(f"{value!r} is not hexadecimal", param, ctx)
        if len(raw) > self.size or (len(raw) < self.size and not self.padded):
            self.fail(f"{len(raw)} bytes given, {'at most ' * self.padded}{self.size} expected", param, ctx)
        return raw.ljust(self.size, b"\0")


class Address(click.ParamType[tuple[str, int]]):
    """HOST:PORT."""

    name = "host:port"

    def convert(
        self, value: str | tuple[str, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Host and port; a click error that says what was expected otherwise."""
        if isinstance(value, tuple):
            return value
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > _PORT_MAX:
            self.fail(f"{value!r} is not HOST:PORT", param, ctx)
        return host.strip("[]"), int(port)


_ENCLAVE_OPTIONS = (
    click.option("--mr-enclave", type=Hex(32), default=b"\xe1" * 32, show_default="e1e1…", help="Its MRENCLAVE."),
    click.option("--mr-signer", type=Hex(32), default=b"\x51" * 32, show_default="5151…", help="Its MRSIGNER."),
    click.option("--isv-prod-id", type=click.IntRange(0, 0xFFFF), default=0, help="Its product id."),
    click.option("--isv-svn", type=click.IntRange(0, 0xFFFF), default=1, help="Its security version."),
    click.option("--debug", is_flag=True, help="Play a debug enclave, which proves nothing."),
)


def enclave_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which enclave is played on a simulated platform."""
    for option in reversed(_ENCLAVE_OPTIONS):
        command = option(command)
    return command
