"""Options that several commands have: where a platform finds what it needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_OPTIONS = (
    click.option(
        "--state",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="simulated: its state directory; `quotehelper simulate init` makes one.",
    ),
    click.option("--upstream", default="", metavar="PATH", help="upstream: the other AESM service's socket."),
    click.option(
        "--dcap-library",
        metavar="PATH",
        help="dcap: libsgx_dcap_ql.so.1, if not where the loader looks.",
    ),
    click.option(
        "--dcap-enclaves",
        metavar="PATH",
        help="dcap: directory of the signed QE3, PCE and ID enclave.",
    ),
    click.option("--dcap-provider", metavar="PATH", help="dcap: the quote provider library."),
)


def platform_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--state``, ``--upstream``, ``--dcap-library``, ``--dcap-enclaves`` and ``--dcap-provider``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
