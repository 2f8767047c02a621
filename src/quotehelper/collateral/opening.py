"""Which source a name or URL means. Shell."""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING

from quotehelper.collateral.azure import AzureSource
from quotehelper.collateral.sources import INTEL_CRL_PREFIXES, INTEL_PCS, HttpSource

if TYPE_CHECKING:
    from quotehelper.collateral.fetching import Fetcher
    from quotehelper.collateral.sources import Source

INTEL, AZURE = "intel", "azure"
"""Sources that have a name."""


def open_source(
    url: str, fetcher: Fetcher, api_key: str = "", crl_prefixes: tuple[str, ...] = INTEL_CRL_PREFIXES
) -> Source:
    """The source called ``url``: "intel", "azure" (with the environment's AZDCAP_… variables), or a service's URL.

    Raises ConfigError if it is none.
    """
    if url == AZURE:
        return AzureSource(fetcher, os.environ, lambda: dt.datetime.now(dt.UTC))
    return HttpSource(INTEL_PCS if url == INTEL else url, fetcher, api_key=api_key, crl_prefixes=crl_prefixes)
