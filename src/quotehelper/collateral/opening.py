"""Which source a URL means. Shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quotehelper.collateral.sources import INTEL_CRL_PREFIXES, HttpSource

if TYPE_CHECKING:
    from quotehelper.collateral.fetching import Fetcher
    from quotehelper.collateral.sources import Source


def open_source(
    url: str, fetcher: Fetcher, api_key: str = "", crl_prefixes: tuple[str, ...] = INTEL_CRL_PREFIXES
) -> Source:
    """The source at ``url``. Raises ConfigError if it is none."""
    return HttpSource(url, fetcher, api_key=api_key, crl_prefixes=crl_prefixes)
