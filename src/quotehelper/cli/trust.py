"""Whose word is taken: the options that name another root than Intel's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.collateral.proof import Trust

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_OPTIONS = (
    click.option(
        "--insecure-simulated-root",
        type=_FILE,
        show_envvar=True,
        help="Trust this root of a simulated platform, which proves no hardware.",
    ),
    click.option("--insecure-root", type=_FILE, show_envvar=True, help="Trust this root in place of Intel's."),
)


def root_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name a root."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def trust_of(simulated: Path | None, other: Path | None) -> Trust:
    """The trust that the options ask for: Intel's root without them. Raises ConfigError."""
    from quotehelper.cli.verify import read_roots
    from quotehelper.collateral.proof import Trust

    return Trust(read_roots(simulated, other))
