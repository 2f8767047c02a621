"""Where collateral comes from: Intel's PCS, or any collateral service that speaks its language. Shell (needs aiohttp).

Source: dcap 6.1 and 6.2. What a source gives is nobody's word: it is proven before it is kept.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import quote, unquote_to_bytes, urlsplit

from quotehelper.collateral.catalog import EARLY, Kind
from quotehelper.collateral.platform_collateral import NO_PPID, parse_pck_certs
from quotehelper.errors import ConfigError, DecodeError, SourceCause, SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quotehelper.collateral.catalog import Registration
    from quotehelper.collateral.fetching import Fetcher, HttpAnswer

INTEL_PCS = "https://api.trustedservices.intel.com/sgx/certification/v4/"
INTEL_CRL_PREFIXES = (
    "https://certificates.trustedservices.intel.com/",
    "https://api.trustedservices.intel.com/sgx/certification/",
)
"""Where Intel's certificates say that their CRLs are (dcap 5.2)."""

_BASE = re.compile(r"(.*/sgx/certification)/v([34])")
_INTEL_HOSTS = ("trustedservices.intel.com",)
_IDENTITY_PATHS = {Kind.QE_IDENTITY: "qe", Kind.QVE_IDENTITY: "qve", Kind.QAE_IDENTITY: "qae"}
_TCB_CHAINS = ("tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain")
_IDENTITY_CHAIN = "sgx-enclave-identity-issuer-chain"
_NUMBERS_CHAIN = "tcb-evaluation-data-numbers-issuer-chain"
_CRL_CHAIN = "sgx-pck-crl-issuer-chain"
_PCK_CHAIN = "sgx-pck-certificate-issuer-chain"
_TCBM = "sgx-tcbm"


_HAS_NO_LISTS = {SourceCause.NOT_FOUND, SourceCause.NOT_ALLOWED, SourceCause.UNKNOWN_PLATFORM}
"""What a collateral service answers who asks for a list of certificates: it has them one by one."""


class Served(NamedTuple):
    """A document, and the chain (PEM) that came with it; neither is proven."""

    body: bytes
    issuer_chain: bytes


class ServedPck(NamedTuple):
    """Pairs of TCBm and certificate (None: not available), and the chain that came with them; none is proven."""

    pairs: tuple[tuple[str, bytes | None], ...]
    issuer_chain: bytes


class Source(Protocol):
    """Whoever can be asked for collateral. Every method raises SourceError."""

    @property
    def name(self) -> str:
        """What people call it; never with credentials."""

    async def tcb_info(self, fmspc: str, version: int, update: str, *, tdx: bool = False) -> Served:
        """The TCB info of a platform family, as the API of ``version`` serves it."""

    async def identity(self, kind: Kind, version: int, update: str) -> Served:
        """The identity of an enclave."""

    async def evaluation_numbers(self) -> Served:
        """The list of TCB evaluation data numbers."""

    async def pck_crl(self, ca: str) -> Served:
        """The revocation list of a CA, by a name of `CAS`."""

    async def root_crl(self, uri: str) -> bytes:
        """The root's revocation list, which its certificate says is at ``uri``."""

    async def pck_certificates(self, registration: Registration) -> ServedPck:
        """The certificates of a platform, as many as the source gives."""

    async def fmspcs(self, platform: str) -> bytes:
        """The list of platform families: JSON, not signed."""

    async def close(self) -> None:
        """Close all connections."""


class HttpSource:
    """The service at ``url``: with or without ``/sgx/certification/v3/`` or ``…/v4/`` at its end.

    What both versions of the API serve alike is asked for in the version that the URL ends with.
    ``api_key``: Intel's subscription key, sent as a header, never shown. ``crl_prefixes``: where root CRLs may be
    fetched from directly. Raises ConfigError if ``url`` is none.
    """

    def __init__(
        self, url: str, fetcher: Fetcher, *, api_key: str = "", crl_prefixes: tuple[str, ...] = INTEL_CRL_PREFIXES
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
            remedy = f"Give a URL such as {INTEL_PCS}, without user name and parameters"
            raise ConfigError("The source of collateral is no URL of http or https", remedy)
        self._base, self._version = _base(url)
        self.name = self._base
        self.is_intel = parts.hostname.endswith(_INTEL_HOSTS)
        self._crl_prefixes = (*crl_prefixes, f"{parts.scheme}://{parts.netloc}/")
        self._fetcher = fetcher
        self._headers = {"Ocp-Apim-Subscription-Key": api_key} if api_key else {}

    async def close(self) -> None:
        """Close all connections."""
        await self._fetcher.close()

    async def tcb_info(self, fmspc: str, version: int, update: str, *, tdx: bool = False) -> Served:
        """The TCB info of a platform family (see `Source`)."""
        url = f"{self._tdx if tdx else self._at(version)}tcb"
        answer = await self._fetcher.get(url, {"fmspc": fmspc, **_early(update)})
        return Served(answer.body, _chain(answer, *_TCB_CHAINS))

    async def identity(self, kind: Kind, version: int, update: str) -> Served:
        """The identity of an enclave (see `Source`)."""
        if kind is Kind.TD_QE_IDENTITY:
            url = f"{self._tdx}qe/identity"
        else:
            url = f"{self._at(version)}{_IDENTITY_PATHS[kind]}/identity"
        answer = await self._fetcher.get(url, _early(update))
        return Served(answer.body, _chain(answer, _IDENTITY_CHAIN))

    async def evaluation_numbers(self) -> Served:
        """The list of TCB evaluation data numbers (see `Source`)."""
        answer = await self._fetcher.get(f"{self._at(4)}tcbevaluationdatanumbers")
        return Served(answer.body, _chain(answer, _NUMBERS_CHAIN))

    async def pck_crl(self, ca: str) -> Served:
        """The revocation list of a CA (see `Source`)."""
        answer = await self._fetcher.get(f"{self._at(self._version)}pckcrl", {"ca": ca.lower(), "encoding": "der"})
        return Served(answer.body, _chain(answer, _CRL_CHAIN))

    async def root_crl(self, uri: str) -> bytes:
        """The root's revocation list: from a collateral service, or where the root says, if that is allowed."""
        if not self.is_intel:
            try:
                return (await self._fetcher.get(f"{self._at(self._version)}rootcacrl")).body
            except SourceError as error:
                if error.cause is SourceCause.UNREACHABLE:
                    raise
        if not uri.startswith(self._crl_prefixes):
            raise SourceError(SourceCause.NOT_ALLOWED, uri[:200], "not among the allowed distribution points")
        return (await self._fetcher.get(uri)).body

    async def pck_certificates(self, registration: Registration) -> ServedPck:
        """A platform's certificates: all of them from a PCS, the one for its raw TCB from a PCCS."""
        if registration.can_be_certified:
            try:
                return await self._pck_list(registration)
            except SourceError as error:
                if self.is_intel or error.cause not in _HAS_NO_LISTS:
                    raise
        if self.is_intel or registration.raw is None:
            detail = "it needs the encrypted PPID or the platform manifest"
            raise SourceError(SourceCause.UNKNOWN_PLATFORM, "PCK certificates", detail)
        return await self._pck_certificate(registration)

    async def fmspcs(self, platform: str) -> bytes:
        """The list of platform families (see `Source`)."""
        url = f"{self._at(self._version)}fmspcs"
        body = (await self._fetcher.get(url, {"platform": platform})).body
        try:
            is_list = isinstance(json.loads(body), list)
        except (ValueError, RecursionError):
            is_list = False
        if not is_list:
            raise SourceError(SourceCause.MALFORMED, f"GET {url}", "a JSON list expected")
        return body

    async def _pck_list(self, registration: Registration) -> ServedPck:
        url = f"{self._at(self._version)}pckcerts"
        if registration.manifest:
            asked = {"platformManifest": registration.manifest, "pceid": registration.id.pce_id}
            answer = await self._fetcher.post(url, json.dumps(asked).encode(), "application/json", self._headers)
        else:
            asked = {"encrypted_ppid": registration.enc_ppid, "pceid": registration.id.pce_id}
            answer = await self._fetcher.get(url, asked, self._headers)
        try:
            return ServedPck(parse_pck_certs(answer.body), _chain(answer, _PCK_CHAIN))
        except DecodeError as error:
            raise SourceError(SourceCause.MALFORMED, f"GET {url}", str(error)) from error

    async def _pck_certificate(self, registration: Registration) -> ServedPck:
        asked = _pck_parameters(registration)
        answer = await self._fetcher.get(f"{self._at(self._version)}pckcert", asked, self._headers)
        return ServedPck(((answer.headers.get(_TCBM, "").upper(), answer.body),), _chain(answer, _PCK_CHAIN))

    def _at(self, version: int) -> str:
        return f"{self._base}/v{version}/"

    @property
    def _tdx(self) -> str:
        return f"{self._base.removesuffix('/sgx/certification')}/tdx/certification/v4/"


def _pck_parameters(registration: Registration) -> Mapping[str, str]:
    """What Intel's client asks a PCCS with (dcap 6.3)."""
    assert registration.raw is not None  # noqa: S101  the callers look
    return {
        "qeid": registration.id.qe_id,
        "encrypted_ppid": registration.enc_ppid or NO_PPID,
        "cpusvn": registration.raw.cpu_svn,
        "pcesvn": registration.raw.pce_svn,
        "pceid": registration.id.pce_id,
    }


def escape_chain(pem: bytes) -> str:
    """``pem`` as header fields carry it: percent-encoded, to the letter as Intel does."""
    return quote(pem, safe="")


def _chain(answer: HttpAnswer, *names: str) -> bytes:
    """The PEM chain in the first of the header fields ``names`` that is there; empty if none is."""
    return unquote_to_bytes(next((answer.headers[name] for name in names if name in answer.headers), ""))


def _early(update: str) -> Mapping[str, str]:
    """The parameter that asks for early documents; older services don't know the other value."""
    return {"update": update} if update == EARLY else {}


def _base(url: str) -> tuple[str, int]:
    """``url`` up to the API's version, and that version: 4 if it does not say, as an old service has only 3."""
    stripped = url.rstrip("/")
    found = _BASE.fullmatch(stripped)
    return (found[1], int(found[2])) if found else (f"{stripped}/sgx/certification", 4)
