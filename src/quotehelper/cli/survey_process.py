"""The process that puts a platform through its paces: settings in, a line of JSON a step out.

Intel's library may hang or crash in it; whoever has started it still has the lines before.
"""

from __future__ import annotations

import json
import sys
import time
from typing import NamedTuple

from quotehelper.node.log import Level, Log, LogFormat, LogSettings
from quotehelper.platforms.dcap.files import DcapFiles
from quotehelper.platforms.registry import PlatformSettings, open_platform
from quotehelper.platforms.survey import Survey
from quotehelper.sgx.report import Report


class Order(NamedTuple):
    """What to survey. ``report``: 432 bytes in hex, or empty; ``quote_file``: where the quote over it goes."""

    settings: PlatformSettings
    report: str = ""
    quote_file: str = ""


def main(text: str) -> None:
    """Survey, and write the result of each step to standard output as it comes; the log goes to standard error."""
    settings, report, quote_file = json.loads(text)
    name, state, dcap, *others = settings
    platform = PlatformSettings(name, state, DcapFiles(*dcap), *others)
    log = Log(LogSettings(Level.DEBUG, LogFormat.JSON))
    survey = Survey(
        lambda: open_platform(platform, log), time.perf_counter, Report(bytes.fromhex(report)) if report else None
    )
    for result in survey.run():
        sys.stdout.write(json.dumps(result._asdict()) + "\n")
        sys.stdout.flush()
    if survey.quote is not None:
        with open(quote_file, "wb") as file:  # noqa: PTH123  see node/config.py
            file.write(survey.quote)


if __name__ == "__main__":
    main(sys.argv[1])
