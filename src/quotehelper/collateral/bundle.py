"""Collateral in files that somebody has put together. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.documents.collateral import FILES, from_files, parse_collateral
from quotehelper.errors import ConfigError, DecodeError

if TYPE_CHECKING:
    from pathlib import Path

    from quotehelper.documents.collateral import Collateral

SIZE_LIMIT = 16 * 1024 * 1024
"""Of a file; the largest document that is served has less than a hundredth of it."""


def read_bundle(bundle: Path) -> Collateral:
    """The collateral in ``bundle``: a directory with one file a document, or one JSON file as dcap-qvl has it.

    What a directory lacks is for verification to say. Raises ConfigError.
    """
    try:
        if bundle.is_dir():
            files = {name: read_file(bundle / name) for name in FILES.values() if (bundle / name).is_file()}
            if not files:
                raise ConfigError(
                    f"{bundle} has none of the files of a bundle", f"They are: {', '.join(FILES.values())}"
                )
            return from_files(files)
        return parse_collateral(read_file(bundle))
    except DecodeError as error:
        remedy = "Give a directory with one file a document, or dcap-qvl's JSON (QuoteCollateralV3)"
        raise ConfigError(f"{bundle}: {error}", remedy) from error
    except OSError as error:
        raise ConfigError(f"{bundle}: {error.strerror}", "Name a readable file or directory") from error


def read_file(path: Path) -> bytes:
    """The bytes of one file. Raises ConfigError if there are more than SIZE_LIMIT, and OSError."""
    with path.open("rb") as stream:
        raw = stream.read(SIZE_LIMIT + 1)
    if len(raw) > SIZE_LIMIT:
        raise ConfigError(f"{path} has more than {SIZE_LIMIT} bytes", "Nothing that is read here is that large")
    return raw
