"""The daemon's process: ``quotehelper serve`` becomes this by exec, settings as its only argument.

So the command line's libraries (5 MiB in each of the daemon's processes) are gone before the daemon begins.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from quotehelper.cli.exit_codes import exit_code, plain
from quotehelper.errors import QuoteHelperError
from quotehelper.node.config import decode_settings
from quotehelper.node.supervisor import run

if TYPE_CHECKING:
    from typing import NoReturn


def main(settings: str) -> NoReturn:
    """Serve with ``settings``; ends the process with the command line's exit codes."""
    try:
        code = run(decode_settings(settings))
    except QuoteHelperError as error:
        sys.stderr.write(f"error: {plain(str(error))}\n")
        code = exit_code(error)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
