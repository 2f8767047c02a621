"""A platformcollateral body, proven piece by piece and then kept. Shell: it writes to the store.

An administrator may bring documents that have expired (an isolated site is never quite current), but none that is
not genuine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quotehelper.collateral import proof
from quotehelper.collateral.catalog import CAS, EARLY, STANDARD, Key, Kind, PckSet, Registration
from quotehelper.collateral.choosing import choose
from quotehelper.collateral.platform_collateral import parse_platform_collateral
from quotehelper.collateral.store import REGISTERED
from quotehelper.documents.pck import Role, read_chain
from quotehelper.errors import DecodeError, SourceCause, SourceError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator

    from quotehelper.collateral.catalog import Document
    from quotehelper.collateral.platform_collateral import PckList, PlatformCollateral
    from quotehelper.collateral.proof import Trust
    from quotehelper.collateral.store import Store


class Imported(NamedTuple):
    """What an administrator brought: how many documents and platforms, and what has already expired."""

    documents: int
    platforms: int
    expired: tuple[str, ...]


def import_collateral(store: Store, raw: bytes, trust: Trust, now: dt.datetime) -> Imported:
    """Keep what is in ``raw``, a platformcollateral body; ``now`` decides what has expired.

    Raises DecodeError for what is no such body; SourceError: UNPROVEN, MALFORMED, OLDER. Nothing is kept unless all
    of it is proven, and no platform unless all documents are kept.
    """
    body = parse_platform_collateral(raw)

    def kept_root_crl(uri: str) -> bytes | None:
        kept = store.get(Key(Kind.ROOT_CA_CRL, uri))
        return None if kept is None else kept.body

    proven = prove(body, trust, kept_root_crl)
    store.put_all(proven.documents, now)
    store.put_platforms(proven.platforms)
    for registration, found in proven.platforms:
        store.dequeue(registration.id, REGISTERED)
        if registration.raw is not None:
            _decide(store, registration, found)
    expired = tuple(str(document.key) for document in proven.documents if document.next_update < now)
    return Imported(len(proven.documents), len(proven.platforms), expired)


def _decide(store: Store, registration: Registration, found: PckSet) -> None:
    """Choose for the platform's raw TCB if its TCB info is kept and a certificate fits; else whoever asks will hear."""
    assert registration.raw is not None  # noqa: S101  the caller looks
    fmspc = found.certificates[0].fmspc
    for version, update in ((4, EARLY), (4, STANDARD), (3, EARLY), (3, STANDARD)):
        levels = store.get(Key(Kind.TCB_INFO, fmspc, version, update))
        if levels is not None:
            try:
                chosen = choose(found, levels, registration.raw)
            except SourceError:
                return
            store.put_decision(registration.id, registration.raw, chosen.tcb.tcbm)
            return


class Proven(NamedTuple):
    """What a body brought, all of it proven."""

    documents: tuple[Document, ...]
    platforms: tuple[tuple[Registration, PckSet], ...]


def prove(body: PlatformCollateral, trust: Trust, kept_root_crl: Callable[[str], bytes | None]) -> Proven:
    """All of ``body``, proven. ``kept_root_crl`` gives the CRL of a root by its URI, for bodies without one.

    Raises SourceError: UNPROVEN, or MALFORMED for what does not belong together.
    """
    root_crl = body.root_crl or _kept(body, trust, kept_root_crl)
    platforms = tuple(_platforms(body, trust))
    return Proven(tuple(_documents(body, root_crl, trust)), platforms)


def _documents(body: PlatformCollateral, root_crl: bytes, trust: Trust) -> Iterator[Document]:
    chains = (*body.pck_chains.values(), body.tcb_info_chain, body.identity_chain)
    any_chain = next((chain for chain in chains if chain), b"")
    if body.root_crl:
        yield proof.prove_root_crl(root_crl, any_chain, trust)
    for ca, chain in body.pck_chains.items():
        yield proof.prove_pck_chain(chain, ca, trust)
    for ca, crl in body.pck_crls.items():
        yield proof.prove_pck_crl(crl, body.pck_chains.get(ca, b""), ca, trust)
    for update, text in body.tcb_infos:
        yield proof.prove_tcb_info(text, body.tcb_info_chain, root_crl, trust, update=update)
    for kind, (update, text) in body.identities:
        yield proof.prove_identity(
            text, body.identity_chain, root_crl, trust, kind=kind, version=body.version, update=update
        )


def _platforms(body: PlatformCollateral, trust: Trust) -> Iterator[tuple[Registration, PckSet]]:
    raw_tcbs = {registration.id: registration for registration in body.registrations}
    for entry in body.pck_lists:
        registration = entry.registration
        said = raw_tcbs.get(registration.id)
        if said is not None:
            registration = Registration(
                said.id, said.raw, said.enc_ppid or registration.enc_ppid, said.manifest or registration.manifest
            )
        found = proof.make_set(entry.pairs, _chain_for(entry, body), registration.id.pce_id, trust)
        if found.certificates:
            yield registration, found


def _chain_for(entry: PckList, body: PlatformCollateral) -> bytes:
    """The chain among those in ``body`` whose CA, by its name, issued the first certificate of ``entry``."""
    pem = next((pem for _, pem in entry.pairs if pem is not None), None)
    if pem is None:
        return b""
    try:
        issuer = read_chain(pem).leaf.issuer
    except DecodeError as error:
        raise SourceError(SourceCause.UNPROVEN, "PCK certificate", str(error)) from error
    ca = CAS[1] if Role.PLATFORM_CA.value in issuer else CAS[0]
    return body.pck_chains.get(ca, b"")


def _kept(body: PlatformCollateral, trust: Trust, kept_root_crl: Callable[[str], bytes | None]) -> bytes:
    chain = body.tcb_info_chain or body.identity_chain
    return kept_root_crl(proof.root_crl_uri(chain, trust)) or b"" if chain else b""
