"""Watches what verifiers will say: fetches collateral, judges it again and again, warns in time. Shell.

Part of the control process. Nothing that goes wrong here stops serving, or readiness: a collateral service that is
away makes nobody take a daemon out of service that quotes.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

from quotehelper.collateral.bundle import read_bundle
from quotehelper.collateral.gathering import family_of, gather
from quotehelper.collateral.opening import open_source
from quotehelper.collateral.proof import Trust
from quotehelper.documents.pck import read_chain
from quotehelper.errors import ConfigError, QuoteHelperError
from quotehelper.node import outlook as outlooks
from quotehelper.node import telemetry
from quotehelper.node.exposition import Sample
from quotehelper.node.outlook import Outlook, foresee
from quotehelper.platforms.simulated.state import read_chain as read_certification
from quotehelper.verification.roots import Roots

if TYPE_CHECKING:
    from quotehelper.documents.collateral import Collateral
    from quotehelper.node.config import Settings
    from quotehelper.node.log import Log
    from quotehelper.node.telemetry import Metric

FETCHED_FOR = dt.timedelta(hours=1)
"""How long fetched collateral is taken for current: it is dated weeks ahead."""
PAUSE = dt.timedelta(minutes=1)
"""Between two attempts to fetch what could not be had."""
REMINDED_AFTER = dt.timedelta(days=1)
"""After which what still ends soon is warned of again."""


class Watch:
    """Remembers the last outlook, and what has been said of it."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self._settings = settings
        self._log = log
        self._fetched: Collateral | None = None
        self._fetch_at = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._warned: dict[str, dt.datetime] = {}
        self._failure = ""
        self.outlook: Outlook | None = None
        self.judged_at: dt.datetime | None = None

    def samples(self) -> dict[Metric, list[Sample]]:
        """The outlook as metrics; none before the first."""
        found = self.outlook
        if found is None or self.judged_at is None:
            return {}
        return {
            telemetry.TCB_STATUS: [
                Sample({"status": status}, float(status == found.status)) for status in outlooks.TCB_STATUSES
            ],
            telemetry.DOCUMENT_EXPIRY_TIMESTAMP_SECONDS: [
                Sample({"document": document}, end.timestamp()) for document, end in found.expires.items()
            ],
            telemetry.OUTLOOK_TIMESTAMP_SECONDS: [Sample({}, self.judged_at.timestamp())],
        }

    def _roots(self) -> Roots:
        """Whose word is taken: Intel's, or the simulated platform's own. Raises QuoteHelperError."""
        if self._settings.platform != "simulated":
            return Roots.intel()
        root = read_chain(read_certification(Path(self._settings.state))).root
        return Roots.insecure_simulated(root.pem())

    async def look(self, quote: bytes | None, at: dt.datetime) -> None:
        """Judge ``quote``, the daemon's own or None, by collateral as it is at ``at``; say what has changed."""
        try:
            roots = self._roots()
        except QuoteHelperError as error:
            self._tell_failure(error)
            return
        collateral = await self._current(quote, roots, at)
        if collateral is None:
            return
        found = foresee(quote, collateral, Trust(roots), at)
        was, self.outlook, self.judged_at = self.outlook, found, at
        self._tell_status(was, found)
        for trouble in set(found.troubles) - set(() if was is None else was.troubles):
            self._log.warning("collateral does not hold", reason=trouble, remedy="renew it, see docs/collateral.md")
        for document in found.ending(at):
            self._warn_of(document, found.expires[document], at)

    async def _current(self, quote: bytes | None, roots: Roots, at: dt.datetime) -> Collateral | None:
        """The collateral, what was fetched before if it can't be had now; None if there never was any."""
        try:
            if self._settings.bundle is not None:
                collateral = read_bundle(Path(self._settings.bundle))
            elif self._fetched is not None and at < self._fetch_at:
                return self._fetched
            elif at < self._fetch_at:
                return None
            else:
                self._fetch_at = at + PAUSE
                self._fetched = collateral = await self._fetch(quote, roots)
                self._fetch_at = at + FETCHED_FOR
        except QuoteHelperError as error:
            self._tell_failure(error)
            return self._fetched
        self._failure = ""
        return collateral

    async def _fetch(self, quote: bytes | None, roots: Roots) -> Collateral:
        from quotehelper.collateral.fetching import Fetcher  # noqa: PLC0415  a bundle needs no HTTP client

        if quote is None or self._settings.pccs is None:
            raise ConfigError("No quote of the platform's own says what to fetch", "Give its collateral by --bundle")
        source = open_source(self._settings.pccs, Fetcher())
        try:
            return await gather(source, family_of(quote), Trust(roots))
        finally:
            await source.close()

    def _tell_failure(self, error: QuoteHelperError) -> None:
        """Once for each reason."""
        if f"{error}" != self._failure:
            self._failure = f"{error}"
            self._log.warning("collateral not had", reason=error, remedy="see that its source can be reached")

    def _tell_status(self, was: Outlook | None, found: Outlook) -> None:
        before = outlooks.UNKNOWN if was is None else was.status
        if found.status == before:
            return
        advisories = ",".join(found.advisory_ids)
        if remedy := outlooks.REMEDIES[found.status]:
            self._log.warning(
                "TCB status is not good", status=found.status, was=before, advisories=advisories, remedy=remedy
            )
        else:
            self._log.info("TCB status is good", status=found.status, was=before)

    def _warn_of(self, document: str, end: dt.datetime, at: dt.datetime) -> None:
        if at - self._warned.get(document, dt.datetime.min.replace(tzinfo=dt.UTC)) < REMINDED_AFTER:
            return
        self._warned[document] = at
        certificate = document == outlooks.PCK_CERTIFICATE
        self._log.warning(
            "verification ends soon",
            document=document,
            expires=f"{end:%Y-%m-%dT%H:%M:%SZ}",
            days=(end - at).days,
            remedy="provision the platform again" if certificate else "have the collateral renewed at its source",
        )
