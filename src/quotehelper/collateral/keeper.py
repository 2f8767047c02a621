"""Keeping collateral: what is stored is given at once, what is missing is fetched once, proven, and then kept. Shell.

Source: dcap 6.2 for the three modes. Nobody waits for a source longer than he must: a document that is kept is given
while a newer one is fetched, and of many who miss the same document one fetches it. A failure is remembered for a
while, so that a source that is down is not asked by every request.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

from quotehelper.collateral import proof
from quotehelper.collateral.catalog import ENCLAVE_OF, STANDARD, Key, Kind, PckSet, RawTcb, Registration
from quotehelper.collateral.choosing import choose
from quotehelper.collateral.importing import Imported, import_collateral
from quotehelper.collateral.mode import Mode, Patience
from quotehelper.collateral.single_flight import SingleFlight
from quotehelper.collateral.store import NOT_AVAILABLE, REGISTERED
from quotehelper.errors import SourceCause, SourceError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Awaitable, Callable, Sequence

    from quotehelper.collateral.catalog import Document, Platform, PlatformId
    from quotehelper.collateral.proof import Trust
    from quotehelper.collateral.sources import Source
    from quotehelper.collateral.store import PckAnswer, Store

COLLATERAL, CERTIFICATES = "collateral", "certs"
"""What can be refreshed, by the names of the parameter ``type``."""


class Log(Protocol):
    """Where events go."""

    def info(self, event: str, **fields: object) -> None:
        """What an operator wants to have seen."""

    def warning(self, event: str, **fields: object) -> None:
        """What works, but not as it should."""

    def error(self, event: str, **fields: object) -> None:
        """What does not work."""


class Keeper:
    """Store, source and mode together. ``source`` is None where there is none: then nothing is ever fetched."""

    def __init__(  # noqa: PLR0913  everything that it works with
        self,
        store: Store,
        trust: Trust,
        mode: Mode,
        source: Source | None,
        *,
        clock: Callable[[], dt.datetime],
        log: Log,
        patience: Patience | None = None,
    ) -> None:
        self.store = store
        self.trust = trust
        self.mode = mode
        self.source = source
        self.clock = clock
        self.patience = patience or Patience()
        self._log = log
        self._flights = SingleFlight(clock, self.patience.failure_s)
        self._turn = asyncio.Lock()  # so that only one thread waits for the turn among processes

    async def close(self) -> None:
        """End what is running."""
        await self._flights.close()

    # documents

    async def document(self, key: Key) -> Document:
        """The document called ``key``. Raises SourceError: NOT_FOUND, or why it could not be fetched."""
        kept = await asyncio.to_thread(self._kept, key)
        if kept is not None and (self.mode is not Mode.LAZY or kept.next_update > self.clock()):
            return kept
        if kept is None and self.mode is not Mode.LAZY:
            raise SourceError(SourceCause.NOT_FOUND, str(key), f"nothing is fetched in mode {self.mode.value}")
        fetching = self._flights.once(key, lambda: self.fetch(key))
        if kept is None:
            return await fetching
        try:
            async with asyncio.timeout(self.patience.expired_s):  # wait_for of Python 3.11 can lose a cancellation
                return await asyncio.shield(fetching)
        except (SourceError, TimeoutError) as error:
            self._log.warning("expired document given", document=str(key), reason=str(error) or "the source is slow")
            return kept

    def _kept(self, key: Key) -> Document | None:
        """What is kept for ``key``; where nothing is fetched, an identity of one API version stands for the other's."""
        kept = self.store.get(key)
        if kept is None and key.kind in ENCLAVE_OF and self.mode is not Mode.LAZY:
            return self.store.get(key._replace(version=7 - key.version))
        return kept

    async def fetch(self, key: Key) -> Document:
        """The document called ``key``, fetched, proven and kept. Raises SourceError; then what is kept stays."""
        try:
            document = await self._fetch(key)
            proof.check_current(document, self.clock())
            await asyncio.to_thread(self.store.put, document, self.clock())
        except SourceError as error:
            if error.cause not in {SourceCause.NOT_FOUND, SourceCause.NOT_IN_THIS_MODE}:
                self._log.warning("document not kept", document=str(key), cause=error.cause.name.lower(), reason=error)
            raise
        self._log.info("document kept", document=str(key), next_update=f"{document.next_update:%Y-%m-%dT%H:%M:%SZ}")
        return document

    async def _fetch(self, key: Key) -> Document:
        source = self._source()
        match key.kind:
            case Kind.ROOT_CA_CRL:
                return await self._fetch_root_crl(key.subject)
            case Kind.PCK_CRL:
                served = await source.pck_crl(key.subject)
                return proof.prove_pck_crl(served.body, served.issuer_chain, key.subject, self.trust)
            case Kind.PCK_CHAIN:
                served = await source.pck_crl(key.subject)
                return proof.prove_pck_chain(served.issuer_chain, key.subject, self.trust)
            case Kind.EVALUATION_NUMBERS:
                served = await source.evaluation_numbers()
                root_crl = await self._root_crl_of(served.issuer_chain)
                return proof.prove_evaluation_numbers(served.body, served.issuer_chain, root_crl, self.trust)
            case Kind.TCB_INFO | Kind.TDX_TCB_INFO:
                return await self._fetch_tcb_info(key)
        served = await source.identity(key.kind, key.version, key.update)
        root_crl = await self._root_crl_of(served.issuer_chain)
        body, chain = served
        return proof.prove_identity(
            body, chain, root_crl, self.trust, kind=key.kind, version=key.version, update=key.update
        )

    async def _fetch_tcb_info(self, key: Key) -> Document:
        tdx = key.kind is Kind.TDX_TCB_INFO
        body, chain = await self._source().tcb_info(key.subject, key.version, key.update, tdx=tdx)
        root_crl = await self._root_crl_of(chain)
        found = proof.prove_tcb_info(body, chain, root_crl, self.trust, update=key.update, fmspc=key.subject)
        if found.key != key:
            raise SourceError(SourceCause.MALFORMED, str(key), f"the source gave {found.key}")
        return found

    async def _fetch_root_crl(self, uri: str) -> Document:
        """The root's CRL at ``uri``, which must be what a trusted root names: its certificate is in any chain."""
        chain = await self._any_chain()
        document = proof.prove_root_crl(await self._source().root_crl(uri), chain, self.trust)
        if document.key.subject != uri:
            raise SourceError(SourceCause.NOT_FOUND, uri[:200], "no trusted root has its revocation list there")
        return document

    async def _root_crl_of(self, chain: bytes) -> bytes:
        """The CRL of the root of ``chain``, current if it can be had."""
        key = Key(Kind.ROOT_CA_CRL, proof.root_crl_uri(chain, self.trust))
        kept = await asyncio.to_thread(self.store.get, key)
        if kept is not None and kept.next_update > self.clock():
            return kept.body
        try:
            return (await self._flights.once(key, lambda: self._fetch_root_crl_with(chain))).body
        except SourceError:
            if kept is None:
                raise
            return kept.body

    async def _fetch_root_crl_with(self, chain: bytes) -> Document:
        raw = await self._source().root_crl(proof.root_crl_uri(chain, self.trust))
        document = proof.prove_root_crl(raw, chain, self.trust)
        proof.check_current(document, self.clock())
        await asyncio.to_thread(self.store.put, document, self.clock())
        return document

    async def root_crl(self) -> Document:
        """The CRL of the root that is trusted: any that is kept, or that a fetched chain names."""
        kept = await asyncio.to_thread(self.store.all_documents, Kind.ROOT_CA_CRL)
        if kept:
            return await self.document(max(kept, key=lambda crl: crl.issued_at).key)
        if self.mode is not Mode.LAZY:
            raise SourceError(SourceCause.NOT_FOUND, "root's revocation list", "none is kept")
        uri = proof.root_crl_uri(await self._any_chain(), self.trust)
        return await self.document(Key(Kind.ROOT_CA_CRL, uri))

    async def _any_chain(self) -> bytes:
        for kind in (Kind.PCK_CHAIN, Kind.QE_IDENTITY, Kind.TCB_INFO, Kind.ROOT_CA_CRL):
            for document in await asyncio.to_thread(self.store.all_documents, kind):
                return document.body if kind is Kind.PCK_CHAIN else document.issuer_chain
        return (await self._source().identity(Kind.QE_IDENTITY, 4, STANDARD)).issuer_chain

    async def fmspcs(self, platform: str) -> bytes:
        """The list of platform families, which is not signed and so not kept. Raises SourceError."""
        if self.mode is not Mode.LAZY:
            raise SourceError(SourceCause.NOT_FOUND, "platform families", f"in mode {self.mode.value}")
        source = self._source()
        return await self._flights.once(("fmspcs", platform), lambda: source.fmspcs(platform))

    # platforms

    async def pck(self, registration: Registration) -> PckAnswer:
        """The certificate for the platform at its raw TCB, chosen once and remembered.

        Raises SourceError: UNKNOWN_PLATFORM, NOT_AVAILABLE, NOT_FOUND if none fits, or why nothing could be fetched.
        """
        name, raw = registration.id, registration.raw
        assert raw is not None  # noqa: S101  a request without it has been refused
        answer = await asyncio.to_thread(self.store.pck_answer, name, raw)
        if answer is not None:
            return answer
        if await asyncio.to_thread(self.store.platform, name) is None:
            if self.mode is not Mode.LAZY:
                raise SourceError(SourceCause.UNKNOWN_PLATFORM, "PCK certificate", f"in mode {self.mode.value}")
            await self._flights.once((name, "certificates"), lambda: self.certify(registration))
        await self._decide(name, raw)
        answer = await asyncio.to_thread(self.store.pck_answer, name, raw)
        if answer is None:
            raise SourceError(SourceCause.NOT_FOUND, "PCK certificate", "it was taken away meanwhile")
        return answer

    async def pck_set(self, registration: Registration) -> tuple[PckSet, bytes]:
        """All certificates of a platform known by its encrypted PPID or manifest alone, and their chain."""
        name = await asyncio.to_thread(
            self.store.find_platform, registration.enc_ppid, registration.manifest, registration.id.pce_id
        )
        if name is not None:
            found = await asyncio.to_thread(self.store.pck_set, name)
        elif self.mode is Mode.LAZY:
            found = await self._fetch_set(registration)
        else:
            raise SourceError(SourceCause.UNKNOWN_PLATFORM, "PCK certificates", f"in mode {self.mode.value}")
        chain = await self.document(Key(Kind.PCK_CHAIN, found.certificates[0].ca))
        return found, chain.body

    async def certify(self, registration: Registration) -> PckSet:
        """Fetch, prove and keep the certificates of a platform. Raises SourceError."""
        found = await self._fetch_set(registration)
        await asyncio.to_thread(self.store.put_platform, registration, found)
        self._log.info("platform kept", fmspc=found.certificates[0].fmspc, certificates=len(found.certificates))
        if found.not_available and self.mode is Mode.REQ:
            await asyncio.to_thread(self.store.enqueue, registration, NOT_AVAILABLE, self.clock())
        return found

    async def _fetch_set(self, registration: Registration) -> PckSet:
        pairs, chain = await self._source().pck_certificates(registration)
        found = proof.make_set(pairs, chain, registration.id.pce_id, self.trust)
        if not found.certificates:
            raise SourceError(SourceCause.NOT_AVAILABLE, "PCK certificates")
        document = proof.prove_pck_chain(chain, found.certificates[0].ca, self.trust)
        await asyncio.to_thread(self.store.put, document, self.clock())
        return found

    async def _decide(self, name: PlatformId, raw: RawTcb) -> None:
        found = await asyncio.to_thread(self.store.pck_set, name)
        if not found.certificates:
            raise SourceError(SourceCause.NOT_AVAILABLE, "PCK certificate")
        chosen = choose(found, await self.levels(found.certificates[0].fmspc), raw)
        await asyncio.to_thread(self.store.put_decision, name, raw, chosen.tcb.tcbm)

    async def levels(self, fmspc: str) -> Document:
        """The TCB info by which certificates are chosen: early if it is kept, of the newest version."""
        keys = [Key(Kind.TCB_INFO, fmspc, version, update) for version in (4, 3) for update in ("early", STANDARD)]
        for key in keys:
            kept = await asyncio.to_thread(self.store.get, key)
            if kept is not None:
                return kept
        return await self.document(Key(Kind.TCB_INFO, fmspc, 4, STANDARD))

    async def register(self, registration: Registration, updates: Sequence[str]) -> None:
        """What POST platforms asks for (dcap 6.2). Raises SourceError as `certify` and `fetch`; it stays queued."""
        if self.mode is Mode.OFFLINE:
            await asyncio.to_thread(self.store.enqueue, registration, REGISTERED, self.clock())
            self._log.info("platform queued", queue=REGISTERED)
            return
        if self.mode is Mode.REQ:
            await asyncio.to_thread(self.store.enqueue, registration, REGISTERED, self.clock())
        found = await self._certified(registration)
        await self._complete(found, updates)
        if registration.raw is not None:
            await self._decide(registration.id, registration.raw)
        if self.mode is Mode.REQ:
            await asyncio.to_thread(self.store.dequeue, registration.id, REGISTERED)

    async def _certified(self, registration: Registration) -> PckSet:
        """The certificates of a platform, fetched if it is unknown or has another manifest than before."""
        known = await asyncio.to_thread(self.store.platform, registration.id)
        if known is not None and registration.manifest in {"", known.registration.manifest}:
            return await asyncio.to_thread(self.store.pck_set, registration.id)
        try:
            return await self._flights.once((registration.id, "certificates"), lambda: self.certify(registration))
        except SourceError as error:
            if error.cause is SourceCause.NOT_AVAILABLE and self.mode is Mode.REQ:
                await asyncio.to_thread(self.store.enqueue, registration, NOT_AVAILABLE, self.clock())
                await asyncio.to_thread(self.store.dequeue, registration.id, REGISTERED)
            raise

    async def _complete(self, found: PckSet, updates: Sequence[str]) -> None:
        """Fetch what the verifiers of a platform's quotes need and is not kept yet."""
        first = found.certificates[0]
        keys = [Key(Kind.PCK_CRL, first.ca)]
        for update in updates:
            keys += [Key(Kind.TCB_INFO, first.fmspc, 4, update)]
            keys += [Key(Kind.QE_IDENTITY, "", 4, update), Key(Kind.QVE_IDENTITY, "", 4, update)]
        for key in keys:
            if await asyncio.to_thread(self.store.get, key) is None:
                try:
                    await self._flights.once(key, lambda key=key: self.fetch(key))  # type: ignore[misc]
                except SourceError as error:
                    if error.cause is not SourceCause.NOT_FOUND or key.kind is Kind.TCB_INFO:
                        raise

    async def import_collateral(self, raw: bytes) -> Imported:
        """Keep what is in ``raw``, a platformcollateral body (see `importing`)."""
        return await asyncio.to_thread(import_collateral, self.store, raw, self.trust, self.clock())

    # refreshing

    async def refresh(self) -> dict[Key, SourceError | None]:
        """Fetch every document that is kept anew. Returns what became of each; what could not be had stays.

        Of all processes that share the store one refreshes at a time, and who waited for another's refresh takes it
        for his own. Raises SourceError (NOT_IN_THIS_MODE) in mode OFFLINE.
        """
        return await self._in_turn(COLLATERAL, self._refresh_documents)

    async def refresh_certificates(self, fmspcs: Sequence[str] = ()) -> dict[Key, SourceError | None]:
        """Fetch the certificates of all platforms of ``fmspcs`` anew (all: empty), and choose again."""
        what = " ".join((CERTIFICATES, *sorted(fmspcs)))
        return await self._in_turn(what, lambda: self._refresh_platforms(fmspcs))

    async def _in_turn(
        self, what: str, refresh: Callable[[], Awaitable[dict[Key, SourceError | None]]]
    ) -> dict[Key, SourceError | None]:
        if self.mode is Mode.OFFLINE:
            raise SourceError(SourceCause.NOT_IN_THIS_MODE, "refresh")
        self._source()
        asked_at = self.clock().timestamp()
        self._log.info("refresh asked for", what=what)
        async with self._turn, AsyncExitStack() as turn:
            await asyncio.to_thread(turn.enter_context, self.store.turn(self.patience.turn_s))
            if await asyncio.to_thread(self.store.refreshed_at, what) >= asked_at:
                self._log.info("refreshed by another", what=what)
                return {}
            outcome = await refresh()
            failed = [key for key, error in outcome.items() if error is not None]
            summary = f"{len(failed)} of {len(outcome)} failed" if failed else "all done"
            await asyncio.to_thread(self.store.note_refresh, what, self.clock().timestamp(), summary)
            self._log.info("refreshed", what=what, documents=len(outcome), failed=len(failed))
        return outcome

    async def _refresh_documents(self) -> dict[Key, SourceError | None]:
        held = [holding.key for holding in await asyncio.to_thread(self.store.holdings)]
        order = (Kind.ROOT_CA_CRL, Kind.PCK_CHAIN, Kind.PCK_CRL)
        held.sort(key=lambda key: order.index(key.kind) if key.kind in order else len(order))
        return {key: await _error_of(self.fetch(key)) for key in held}

    async def _refresh_platforms(self, fmspcs: Sequence[str]) -> dict[Key, SourceError | None]:
        outcome: dict[Key, SourceError | None] = {}
        for platform in await asyncio.to_thread(self.store.platforms, fmspcs):
            key = Key(Kind.PCK_CHAIN, f"{platform.fmspc} #{len(outcome) + 1}")
            outcome[key] = await _error_of(self._refresh_platform(platform))
        return outcome

    async def _refresh_platform(self, platform: Platform) -> None:
        name = platform.registration.id
        raw_tcbs = await asyncio.to_thread(self.store.raw_tcbs, name)
        if platform.registration.can_be_certified:
            await self.certify(platform.registration)
        for raw in raw_tcbs:
            await self._decide(name, raw)

    # the machinery

    def _source(self) -> Source:
        if self.source is None or self.mode is Mode.OFFLINE:
            raise SourceError(SourceCause.NOT_IN_THIS_MODE, "fetching")
        return self.source


async def _error_of(work: Awaitable[object]) -> SourceError | None:
    try:
        await work
    except SourceError as error:
        return error
    return None
