"""Whose word is taken: the options that name another root than Intel's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quotehelper.errors import ConfigError, DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from quotehelper.collateral.proof import Trust
    from quotehelper.verification.roots import Roots

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_OPTIONS = (
    click.option(
        "--insecure-simulated-root",
        type=_FILE,
        help="Trust this root of a simulated platform, which proves no hardware.",
    ),
    click.option("--insecure-root", type=_FILE, help="Trust this root in place of Intel's."),
)


def root_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name a root."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def trust_of(simulated: Path | None, other: Path | None) -> Trust:
    """The trust that the options ask for: Intel's root without them. Raises ConfigError."""
    from quotehelper.collateral.proof import Trust

    return Trust(read_roots(simulated, other))


def read_roots(simulated: Path | None, other: Path | None) -> Roots:
    """The roots that the options name, Intel's if they name none. Raises ConfigError and click's UsageError."""
    from quotehelper.collateral.bundle import read_file
    from quotehelper.verification.roots import Roots

    if simulated is not None and other is not None:
        raise click.UsageError("--insecure-simulated-root and --insecure-root exclude each other")
    try:
        if simulated is not None:
            return Roots.insecure_simulated(read_file(simulated))
        return Roots.intel() if other is None else Roots.insecure(read_file(other))
    except DecodeError as error:
        raise ConfigError(f"{simulated or other}: {error.reason}", "Give the PEM file of a root certificate") from error
