"""Whose word is taken: the options that name another root than Intel's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quotehelper.errors import ConfigError, DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.collateral.proof import Trust

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_LIMIT = 1 << 20

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
    from quotehelper.collateral.proof import Trust
    from quotehelper.verification.roots import Roots

    if simulated is not None and other is not None:
        raise click.UsageError("--insecure-simulated-root and --insecure-root exclude each other")
    try:
        if simulated is not None:
            return Trust(Roots.insecure_simulated(_read(simulated)))
        return Trust(Roots.intel() if other is None else Roots.insecure(_read(other)))
    except DecodeError as error:
        raise ConfigError(f"{simulated or other}: {error.reason}", "Give the PEM file of a root certificate") from error


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_LIMIT)
