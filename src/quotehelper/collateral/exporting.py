"""What a store holds, as the body of PUT platformcollateral: for another service, or an isolated site. Shell.

Source: dcap 6.2. Documents of the v4 API are exported, those of the v3 API where there is no other. A body has room
for one signing chain; documents under another than the newest have been replaced by their source long ago, and are
left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from quotehelper.collateral.catalog import CAS, EARLY, STANDARD, Key, Kind, Platform, RawTcb
from quotehelper.collateral.platform_collateral import encode_pck_certs, encode_registration
from quotehelper.documents.signed_json import write_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from quotehelper.collateral.catalog import Document
    from quotehelper.collateral.store import Store

_VERSION = 4
_SUFFIXES = {STANDARD: "", EARLY: "_early"}
_IDENTITIES = {Kind.QE_IDENTITY: "qeidentity", Kind.QVE_IDENTITY: "qveidentity", Kind.TD_QE_IDENTITY: "tdqeidentity"}
_TCB_INFOS = {Kind.TCB_INFO: "sgx_tcbinfo", Kind.TDX_TCB_INFO: "tdx_tcbinfo"}


def export_collateral(store: Store, fmspcs: Sequence[str] = ()) -> bytes:
    """All that is kept for the platforms of ``fmspcs`` (empty: of all). Raises SourceError (STORE)."""
    platforms = store.platforms(fmspcs)
    infos = _newest(document for kind in _TCB_INFOS for document in store.all_documents(kind))
    infos = [info for info in infos if not fmspcs or info.key.subject in fmspcs]
    identities = _newest(document for kind in _IDENTITIES for document in store.all_documents(kind))
    crls = {ca: store.get(Key(Kind.PCK_CRL, ca)) for ca in CAS}
    chains = {ca: store.get(Key(Kind.PCK_CHAIN, ca)) for ca in CAS}
    roots = store.all_documents(Kind.ROOT_CA_CRL)
    certificates: dict[str, Any] = {
        "SGX-PCK-Certificate-Issuer-Chain": {
            ca: quote(found, safe="") for ca in CAS if (found := _ca_chain(chains[ca], crls[ca]))
        }
    }
    collaterals: dict[str, Any] = {
        "version": _VERSION,
        "pck_certs": [_pck_certs(store, platform) for platform in platforms],
        "tcbinfos": _tcb_infos(infos),
        "pckcacrl": {f"{ca.lower()}Crl": crl.body.hex() for ca, crl in crls.items() if crl is not None},
        **{_IDENTITIES[d.key.kind] + _SUFFIXES[d.key.update]: d.body.decode() for d in identities},
        "certificates": certificates,
    }
    if infos:
        certificates["TCB-Info-Issuer-Chain"] = quote(infos[0].issuer_chain, safe="")
    if identities:
        certificates["SGX-Enclave-Identity-Issuer-Chain"] = quote(identities[0].issuer_chain, safe="")
    if roots:
        collaterals |= {"rootcacrl_cdp": roots[0].key.subject, "rootcacrl": roots[0].body.hex()}
    registered = [entry for platform in platforms for entry in _platforms(store, platform)]
    return write_object({"platforms": registered, "collaterals": collaterals})


def _newest(documents: Iterable[Document]) -> list[Document]:
    """Of each kind, subject and update the document of the newest API; all under one chain, that of the latest."""
    best: dict[tuple[Kind, str, str], Document] = {}
    for document in documents:
        name = document.key.kind, document.key.subject, document.key.update
        if name not in best or best[name].key.version < document.key.version:
            best[name] = document
    found = sorted(best.values(), key=lambda document: document.issued_at, reverse=True)
    return [document for document in found if document.issuer_chain == found[0].issuer_chain]


def _tcb_infos(infos: Sequence[Document]) -> list[dict[str, Any]]:
    families: dict[str, dict[str, Any]] = {}
    for info in infos:
        entry = families.setdefault(info.key.subject, {"fmspc": info.key.subject})
        entry[_TCB_INFOS[info.key.kind] + _SUFFIXES[info.key.update]] = info.body.decode()
    return list(families.values())


def _ca_chain(chain: Document | None, crl: Document | None) -> bytes:
    if chain is not None:
        return chain.body
    return b"" if crl is None else crl.issuer_chain


def _pck_certs(store: Store, platform: Platform) -> dict[str, Any]:
    named = encode_registration(platform.registration)
    names = ("qe_id", "pce_id", "enc_ppid", "platform_manifest")
    found = store.pck_set(platform.registration.id)
    return {**{name: named[name] for name in names}, "certs": encode_pck_certs(found)}


def _platforms(store: Store, platform: Platform) -> list[dict[str, str]]:
    """An entry for each raw TCB that has asked, one without if none has."""
    named = encode_registration(platform.registration)
    raw_tcbs = store.raw_tcbs(platform.registration.id) or [RawTcb("", "")]
    return [{**named, **raw._asdict()} for raw in raw_tcbs]
