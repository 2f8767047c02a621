"""The bodies that platforms and administrators send to a collateral service. Pure.

Source: dcap 6.2 (POST platforms, PUT platformcollateral). Anybody may have written them: nothing here is believed, and
what is kept is proven first (`importing`). Signed documents come inside JSON as objects or as text; objects are
written again in Intel's form, compact and in the given order, which is the form that was signed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from quotehelper.collateral.catalog import CAS, EARLY, STANDARD, Kind, PlatformId, RawTcb, Registration
from quotehelper.documents.pck import read_chain
from quotehelper.documents.signed_json import write_object
from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import NoReturn

    from quotehelper.collateral.catalog import PckSet

BODY_LIMIT = 200 << 20
"""Bytes of a platformcollateral body (dcap 6.2)."""

REGISTRATION_LIMIT = 1 << 20
"""Bytes of a registration; the largest manifest has 112,884 digits (dcap 6.1)."""

NOT_AVAILABLE = "Not available"
"""What stands in place of a certificate that the provisioning service does not have."""

QE_ID_LIMIT = 260
ENC_PPID_DIGITS = 768
NO_PPID = "0" * ENC_PPID_DIGITS
"""What clients send where they have no encrypted PPID (dcap 6.3)."""

_PLATFORMS, _COLLATERAL = "Platform", "PlatformCollateral"
_HEX = re.compile(r"[0-9A-F]*", re.ASCII)
_PRINTABLE = re.compile(r"[!-~]+", re.ASCII)
_MANIFEST_DIGITS = 1 << 18
_PCK_CHAIN = "SGX-PCK-Certificate-Issuer-Chain"
_TCB_CHAINS = ("TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain")
_IDENTITY_CHAIN = "SGX-Enclave-Identity-Issuer-Chain"
_TCB_INFOS = {"tcbinfo": STANDARD, "sgx_tcbinfo": STANDARD, "tdx_tcbinfo": STANDARD}
_IDENTITIES = {
    "qeidentity": Kind.QE_IDENTITY,
    "qveidentity": Kind.QVE_IDENTITY,
    "tdqeidentity": Kind.TD_QE_IDENTITY,
}
_CRLS = {"processorCrl": CAS[0], "platformCrl": CAS[1]}


class SignedText(NamedTuple):
    """A signed document as text, and when it shows recoveries."""

    update: str
    text: bytes


class PckList(NamedTuple):
    """A platform with pairs of TCBm and certificate (PEM; None: not available)."""

    registration: Registration
    pairs: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class PlatformCollateral:
    """All that a platformcollateral body brings; absent is empty. ``version`` is the API whose documents it has."""

    version: int
    registrations: tuple[Registration, ...]
    pck_lists: tuple[PckList, ...]
    tcb_infos: tuple[SignedText, ...]
    identities: tuple[tuple[Kind, SignedText], ...]
    pck_crls: Mapping[str, bytes]
    pck_chains: Mapping[str, bytes]
    tcb_info_chain: bytes
    identity_chain: bytes
    root_crl: bytes


def find_roots(body: PlatformCollateral) -> bytes:
    """The root certificates that the chains in ``body`` end in, as PEM, each once; nothing is proven of them."""
    chains = (*body.pck_chains.values(), body.tcb_info_chain, body.identity_chain)
    found: dict[bytes, None] = {}
    for chain in filter(None, chains):
        try:
            root = read_chain(chain).root
            found[root.pem()] = None
        except DecodeError:
            continue  # whatever needs this chain will be refused for it
    return b"".join(found)


def parse_registration(raw: bytes) -> Registration:
    """What a platform says of itself in ``raw``. Raises DecodeError, naming the member."""
    return _registration(_Object(_PLATFORMS, "", _load(_PLATFORMS, raw, REGISTRATION_LIMIT)))


def encode_registration(registration: Registration) -> dict[str, str]:
    """``registration`` as services list and send it."""
    raw = registration.raw or RawTcb("", "")
    return {
        **registration.id._asdict(),
        **raw._asdict(),
        "enc_ppid": registration.enc_ppid,
        "platform_manifest": registration.manifest,
    }


def parse_platform_collateral(raw: bytes) -> PlatformCollateral:
    """The body in ``raw``. Raises DecodeError, naming the member, for anything that a PCCS would not take."""
    body = _Object(_COLLATERAL, "", _load(_COLLATERAL, raw, BODY_LIMIT))
    registrations = tuple(_registration(platform) for platform in body.objects("platforms"))
    inner = body.object("collaterals")
    chains = inner.object("certificates")
    pck_chains = chains.object(_PCK_CHAIN) if chains.has(_PCK_CHAIN) else None
    crls = inner.object("pckcacrl") if inner.has("pckcacrl") else None
    return PlatformCollateral(
        version=_version(inner),
        registrations=registrations,
        pck_lists=tuple(_pck_list(entry) for entry in inner.objects("pck_certs")),
        tcb_infos=tuple(_tcb_infos(inner.objects("tcbinfos"))),
        identities=tuple(_identities(inner)),
        pck_crls={ca: crls.text(name).encode() for name, ca in _CRLS.items() if crls is not None and crls.has(name)},
        pck_chains={ca: _pem(pck_chains, ca) for ca in CAS if pck_chains is not None and pck_chains.has(ca)},
        tcb_info_chain=next((_pem(chains, name) for name in _TCB_CHAINS if chains.has(name)), b""),
        identity_chain=_pem(chains, _IDENTITY_CHAIN) if chains.has(_IDENTITY_CHAIN) else b"",
        root_crl=inner.text("rootcacrl").encode() if inner.has("rootcacrl") else b"",
    )


def parse_pck_certs(raw: bytes) -> tuple[tuple[str, bytes | None], ...]:
    """Pairs of TCBm and certificate in ``raw``, the answer to pckcerts (dcap 6.1). Raises DecodeError."""
    entries = _load("PckCerts", raw, BODY_LIMIT)
    if not isinstance(entries, list):
        raise DecodeError("PckCerts", "", "a list expected")
    return tuple(_pair(_Object("PckCerts", f"[{number}]", entry)) for number, entry in enumerate(entries))


def encode_pck_certs(pck_set: PckSet) -> list[dict[str, Any]]:
    """``pck_set`` as the answer to pckcerts has it."""
    found = [(c.tcb, quote(c.pem, safe="")) for c in pck_set.certificates]
    found += [(RawTcb(tcbm[:32], tcbm[32:]), NOT_AVAILABLE) for tcbm in pck_set.not_available]
    return [
        {
            "tcb": {
                **{f"sgxtcbcomp{number:02}svn": svn for number, svn in enumerate(tcb.components, 1)},
                "pcesvn": tcb.pce_svn_number,
            },
            "tcbm": tcb.tcbm,
            "cert": certificate,
        }
        for tcb, certificate in found
    ]


def octets(structure: str, field: str, text: str, digits: Sequence[int]) -> str:
    """``text`` in upper case, which must be hexadecimal with one of ``digits``. Raises DecodeError."""
    upper = text.upper()
    if len(upper) not in digits or not _HEX.fullmatch(upper):
        expected = " or ".join(map(str, digits))
        raise DecodeError(structure, field, f"{expected} hexadecimal digits expected")
    return upper


def qe_id(structure: str, field: str, text: str) -> str:
    """``text`` in upper case, if it can be a QE id. Raises DecodeError."""
    if not 1 <= len(text) <= QE_ID_LIMIT or not _PRINTABLE.fullmatch(text):
        raise DecodeError(structure, field, f"1 to {QE_ID_LIMIT} printable characters expected")
    return text.upper()


def manifest(structure: str, field: str, text: str) -> str:
    """``text`` in upper case, if it can be a platform manifest. Raises DecodeError."""
    upper = text.upper()
    if len(upper) > _MANIFEST_DIGITS or len(upper) % 2 or not _HEX.fullmatch(upper):
        raise DecodeError(structure, field, "a platform manifest in hexadecimal expected")
    return upper


class _Object:
    """A JSON object from outside; each member is asked for by name, and refused by its path."""

    def __init__(self, structure: str, path: str, value: object) -> None:
        self.structure = structure
        self._path = path
        if not isinstance(value, dict):
            self.refuse("", "an object expected")
        self._members: dict[str, Any] = value

    def has(self, name: str) -> bool:
        return self._members.get(name) not in {None, ""} if self._is_plain(name) else name in self._members

    def text(self, name: str, default: str | None = None) -> str:
        value = self._members.get(name, default)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            self.refuse(name, "a text expected" if name in self._members else "absent")
        return value

    def value(self, name: str) -> Any:  # noqa: ANN401  whatever JSON can be
        return self._members.get(name)

    def object(self, name: str) -> _Object:
        if name not in self._members:
            self.refuse(name, "absent")
        return _Object(self.structure, self.path(name), self._members[name])

    def objects(self, name: str) -> Iterator[_Object]:
        value = self._members.get(name)
        if not isinstance(value, list):
            self.refuse(name, "a list expected" if name in self._members else "absent")
        for number, item in enumerate(value):
            yield _Object(self.structure, f"{self.path(name)}[{number}]", item)

    def path(self, name: str) -> str:
        return f"{self._path}.{name}".strip(".")

    def refuse(self, name: str, reason: str) -> NoReturn:
        raise DecodeError(self.structure, self.path(name), reason)

    def _is_plain(self, name: str) -> bool:
        return isinstance(self._members.get(name), (str, type(None)))


def _load(structure: str, raw: bytes, limit: int) -> object:
    if len(raw) > limit:
        raise DecodeError(structure, "", f"{len(raw)} bytes, at most {limit} are taken")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DecodeError(structure, "", "not a JSON document") from error


def _registration(fields: _Object) -> Registration:
    structure = fields.structure
    name = PlatformId(
        qe_id(structure, fields.path("qe_id"), fields.text("qe_id")),
        octets(structure, fields.path("pce_id"), fields.text("pce_id"), [4]),
    )
    cpu_svn = octets(structure, fields.path("cpu_svn"), fields.text("cpu_svn", ""), [0, 32])
    pce_svn = octets(structure, fields.path("pce_svn"), fields.text("pce_svn", ""), [0, 4])
    enc_ppid = octets(structure, fields.path("enc_ppid"), fields.text("enc_ppid", ""), [0, ENC_PPID_DIGITS])
    given = manifest(structure, fields.path("platform_manifest"), fields.text("platform_manifest", ""))
    return Registration(name, RawTcb(cpu_svn, pce_svn) if cpu_svn and pce_svn else None, enc_ppid, given)


def _pck_list(entry: _Object) -> PckList:
    pairs = tuple(_pair(certificate) for certificate in entry.objects("certs"))
    return PckList(_registration(entry), pairs)


def _pair(entry: _Object) -> tuple[str, bytes | None]:
    tcbm = octets(entry.structure, entry.path("tcbm"), entry.text("tcbm"), [36])
    text = entry.text("cert")
    return tcbm, None if text.strip().lower() == NOT_AVAILABLE.lower() else unquote_to_bytes(text)


def _tcb_infos(entries: Iterable[_Object]) -> Iterator[SignedText]:
    for entry in entries:
        for name, update in _TCB_INFOS.items():
            for member, when in ((name, update), (f"{name}_early", EARLY)):
                if entry.has(member):
                    yield SignedText(when, _signed_text(entry, member))


def _identities(fields: _Object) -> Iterator[tuple[Kind, SignedText]]:
    for name, kind in _IDENTITIES.items():
        for member, update in ((name, STANDARD), (f"{name}_early", EARLY)):
            if fields.has(member):
                yield kind, SignedText(update, _signed_text(fields, member))


def _signed_text(fields: _Object, name: str) -> bytes:
    value = fields.value(name)
    if isinstance(value, str):
        return value.encode(errors="replace")
    if not isinstance(value, dict):
        fields.refuse(name, "an object, or its text, expected")
    return write_object(value)


def _version(fields: _Object) -> int:
    """3 or 4; services write 3, 4, "3.0" or "4.0"."""
    try:
        version = int(float(str(fields.value("version"))))
    except (ValueError, OverflowError):
        version = 0
    if version not in {3, 4}:
        fields.refuse("version", "3 or 4 expected")
    return version


def _pem(fields: _Object, name: str) -> bytes:
    return unquote_to_bytes(fields.text(name))
