"""All that one quote's verification needs, from a source or from the store. Shell.

What is gathered is not proven: verification does that, and says what is missing. What a quote says of its platform is
believed only as far as to know what to ask for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.collateral import proof
from quotehelper.collateral.catalog import CAS, STANDARD, Key, Kind
from quotehelper.collateral.sources import Served
from quotehelper.documents.collateral import Collateral
from quotehelper.documents.pck import Role, read_chain, read_crl
from quotehelper.errors import DecodeError, SourceCause, SourceError
from quotehelper.sgx.quote import CertificationType, read_quote

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from quotehelper.collateral.catalog import Document
    from quotehelper.collateral.proof import Trust
    from quotehelper.collateral.sources import Source
    from quotehelper.collateral.store import Store

_NOTHING = Served(b"", b"")


class Family(NamedTuple):
    """What collateral depends on: FMSPC (12 digits) and the platform's CA, a name of `CAS`."""

    fmspc: str
    ca: str


def family_of(quote: bytes) -> Family:
    """The family of the platform that made ``quote``, as the quote itself says; anybody may have made it.

    Raises DecodeError if it is no quote, or carries no PCK chain.
    """
    certification = read_quote(quote).certification
    if certification.type != CertificationType.PCK_CHAIN:
        raise DecodeError("Quote", "certification", "no PCK chain in it: what to fetch can't be told")
    leaf = read_chain(certification.data).leaf
    ca = CAS[1] if Role.PLATFORM_CA.value in leaf.issuer else CAS[0]
    return Family(leaf.sgx_extension.fmspc.hex().upper(), ca)


async def gather(source: Source, family: Family, trust: Trust, update: str = STANDARD) -> Collateral:
    """The collateral for quotes of ``family`` from ``source``; what it does not have is empty.

    Raises SourceError: UNREACHABLE, MALFORMED; UNPROVEN if a chain does not end in a trusted root.
    """
    crl, info, identity = await asyncio.gather(
        _or_nothing(source.pck_crl(family.ca)),
        _or_nothing(source.tcb_info(family.fmspc, 4, update)),
        _or_nothing(source.identity(Kind.QE_IDENTITY, 4, update)),
    )
    chain = next((served.issuer_chain for served in (identity, info, crl) if served.issuer_chain), b"")
    root_crl = b""
    if chain:
        root_crl = (await _or_nothing(_served(source.root_crl(proof.root_crl_uri(chain, trust))))).body
    return Collateral(
        pck_crl_issuer_chain=crl.issuer_chain,
        root_ca_crl=root_crl,
        pck_crl=crl.body,
        tcb_info_issuer_chain=info.issuer_chain,
        tcb_info=info.body,
        qe_identity_issuer_chain=identity.issuer_chain,
        qe_identity=identity.body,
    )


def prove(collateral: Collateral, trust: Trust, update: str = STANDARD) -> tuple[Document, ...]:
    """The documents in ``collateral``, proven: root's list, CA's list, TCB info, QE identity.

    Raises SourceError: UNPROVEN, also for what is missing.
    """
    root_crl = collateral.root_ca_crl
    chain, identity_chain = collateral.tcb_info_issuer_chain, collateral.qe_identity_issuer_chain
    return (
        proof.prove_root_crl(root_crl, chain, trust),
        proof.prove_pck_crl(collateral.pck_crl, collateral.pck_crl_issuer_chain, ca_of(collateral), trust),
        proof.prove_tcb_info(collateral.tcb_info, chain, root_crl, trust, update=update),
        proof.prove_identity(
            collateral.qe_identity, identity_chain, root_crl, trust, kind=Kind.QE_IDENTITY, version=4, update=update
        ),
    )


def ca_of(collateral: Collateral) -> str:
    """The CA that ``collateral`` is for, as the name of its list's issuer says."""
    try:
        return CAS[1] if Role.PLATFORM_CA.value in read_crl(collateral.pck_crl).issuer else CAS[0]
    except DecodeError as error:
        raise SourceError(SourceCause.UNPROVEN, "PCK revocation list", str(error)) from error


def gather_from_store(store: Store, family: Family, update: str = STANDARD) -> Collateral:
    """The collateral for quotes of ``family`` that is kept; what is not is empty. Raises SourceError (STORE)."""
    crl = store.get(Key(Kind.PCK_CRL, family.ca))
    info = store.get(Key(Kind.TCB_INFO, family.fmspc, 4, update)) or store.get(
        Key(Kind.TCB_INFO, family.fmspc, 3, update)
    )
    identity = store.get(Key(Kind.QE_IDENTITY, "", 4, update)) or store.get(Key(Kind.QE_IDENTITY, "", 3, update))
    roots = store.all_documents(Kind.ROOT_CA_CRL)
    root_crl = max(roots, key=lambda found: found.issued_at).body if roots else b""
    return Collateral(_chain(crl), root_crl, _body(crl), _chain(info), _body(info), _chain(identity), _body(identity))


async def _or_nothing(asked: Awaitable[Served]) -> Served:
    try:
        return await asked
    except SourceError as error:
        if error.cause is not SourceCause.NOT_FOUND:
            raise
        return _NOTHING


async def _served(asked: Awaitable[bytes]) -> Served:
    return Served(await asked, b"")


def _body(document: Document | None) -> bytes:
    return b"" if document is None else document.body


def _chain(document: Document | None) -> bytes:
    return b"" if document is None else document.issuer_chain
