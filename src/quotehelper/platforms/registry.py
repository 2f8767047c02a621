"""The explicit table of platforms: the only place that knows them all. Shell.

Each entry imports its platform when it is opened, so that a daemon carries only what it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from quotehelper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quotehelper.platforms.platform import Platform


def _open_simulated(state: Path) -> Platform:
    from quotehelper.platforms.simulated.state import load  # noqa: PLC0415  see the module's docstring

    return load(state)


PLATFORMS: Mapping[str, Callable[[Path], Platform]] = {"simulated": _open_simulated}
"""How to open each platform, by name, from its state directory."""


def open_platform(name: str, state: str) -> Platform:
    """The platform called ``name``, its attestation key initialised, its state in the directory ``state``.

    Raises ConfigError for an unknown name, or a state that is missing, damaged or open to others.
    """
    if name not in PLATFORMS:
        raise ConfigError(f"There is no platform {name!r}", f"Known platforms: {', '.join(PLATFORMS)}")
    return PLATFORMS[name](Path(state))
