"""Azure: certificates from the host's own service (THIM), collateral from the global cache. Shell (needs aiohttp).

Source: dcap 6.4, the behaviour of Azure's DCAP client. Its environment variables are honoured. The host's service
answers within a second or is passed over for half a minute; then the global cache is asked.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from quotehelper.collateral.catalog import EARLY, Kind
from quotehelper.collateral.platform_collateral import NO_PPID
from quotehelper.collateral.sources import Served, ServedPck
from quotehelper.errors import ConfigError, SourceCause, SourceError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from quotehelper.collateral.catalog import Registration
    from quotehelper.collateral.fetching import Fetcher, HttpAnswer

THIM = "http://169.254.169.254/metadata/THIM/sgx/certification"
GLOBAL_CACHE = "https://global.acccache.azure.net/sgx/certification"
_THIM_API, _CACHE_API = "2021-07-22-preview", "2020-02-12-preview"
_CLIENT_ID = "production_client"
_PRIMARY_LIMIT_S, _PRIMARY_PAUSE_S = 1.0, 30.0
_VERSION = re.compile(r"v([234])")
_INTEL_PCK_CRL = "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca={}"
_IDENTITY_PATHS = {Kind.QE_IDENTITY: "qe", Kind.QVE_IDENTITY: "qve"}


class AzureSource:
    """Azure's services, as the variables of ``environment`` (AZDCAP_…) change them. Raises ConfigError."""

    def __init__(self, fetcher: Fetcher, environment: Mapping[str, str], clock: Callable[[], dt.datetime]) -> None:
        def given(name: str, default: str) -> str:
            return environment.get(f"AZDCAP_{name}", "").rstrip("/") or default

        self.name = "azure"
        self._fetcher = fetcher
        self._clock = clock
        version = _VERSION.fullmatch(given("COLLATERAL_VERSION", "v4"))
        if version is None:
            problem = f"AZDCAP_COLLATERAL_VERSION is {given('COLLATERAL_VERSION', '')!r}"
            raise ConfigError(problem, "Set it to v2, v3 or v4, or leave it away")
        self._version = version[0]
        self._primary = given("PRIMARY_BASE_CERT_URL", f"{THIM}/{self._version}")
        self._secondary = given("SECONDARY_BASE_CERT_URL", f"{GLOBAL_CACHE}/{self._version}")
        base = given("BASE_CERT_URL", GLOBAL_CACHE)
        region = given("REGION_URL", "")
        self._base = region if region and environment.get("AZDCAP_BYPASS_BASE_URL") else base
        self._tdx = given("BASE_CERT_URL_TDX", "https://global.acccache.azure.net/tdx/certification")
        self._client = {"clientid": given("CLIENT_ID", _CLIENT_ID), "api-version": _CACHE_API}
        self._sends_ppid = environment.get("AZDCAP_DISABLE_ONDEMAND") != "1"
        self._primary_failed_at: dt.datetime | None = None

    async def close(self) -> None:
        """Close all connections."""
        await self._fetcher.close()

    async def tcb_info(self, fmspc: str, version: int, update: str, *, tdx: bool = False) -> Served:
        """The TCB info of a platform family."""
        base = self._tdx if tdx else self._base
        asked = {"fmspc": fmspc, **_early(update), **self._client}
        answer = await self._fetcher.get(f"{base}/v{version}/tcb", asked)
        return Served(answer.body, _chain(answer, "tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain"))

    async def identity(self, kind: Kind, version: int, update: str) -> Served:
        """The identity of an enclave. Raises SourceError (NOT_FOUND) for those that Azure does not serve."""
        if kind is Kind.TD_QE_IDENTITY:
            url = f"{self._tdx}/v4/qe/identity"
        elif kind in _IDENTITY_PATHS:
            url = f"{self._base}/v{version}/{_IDENTITY_PATHS[kind]}/identity"
        else:
            raise SourceError(SourceCause.NOT_FOUND, kind.value)
        answer = await self._fetcher.get(url, {**_early(update), **self._client})
        return Served(answer.body, _chain(answer, "sgx-enclave-identity-issuer-chain"))

    async def evaluation_numbers(self) -> Served:
        """Azure does not serve them."""
        raise SourceError(SourceCause.NOT_FOUND, Kind.EVALUATION_NUMBERS.value)

    async def pck_crl(self, ca: str) -> Served:
        """The revocation list of a CA, by the URI that Intel's certificates name."""
        answer = await self._crl(_INTEL_PCK_CRL.format(ca.lower()))
        return Served(answer.body, _chain(answer, "sgx-pck-crl-issuer-chain"))

    async def root_crl(self, uri: str) -> bytes:
        """The root's revocation list, which its certificate says is at ``uri``."""
        return (await self._crl(uri)).body

    async def pck_certificates(self, registration: Registration) -> ServedPck:
        """The certificate of this platform at its raw TCB: from the host, or else from the global cache."""
        if registration.raw is None:
            raise SourceError(SourceCause.UNKNOWN_PLATFORM, "PCK certificate", "Azure needs the raw TCB")
        asked = {
            "qeid": registration.id.qe_id,
            "cpusvn": registration.raw.cpu_svn,
            "pcesvn": registration.raw.pce_svn,
            "pceid": registration.id.pce_id,
        }
        if self._sends_ppid:
            asked["encrypted_ppid"] = registration.enc_ppid or NO_PPID
        if self._may_ask_primary():
            try:
                answer = await self._fetcher.get(
                    f"{self._primary}/pckcert",
                    {**asked, "api-version": _THIM_API},
                    {"metadata": "true"},
                    timeout_s=_PRIMARY_LIMIT_S,
                )
                return _certificate(answer)
            except SourceError:
                self._primary_failed_at = self._clock()
        return _certificate(await self._fetcher.get(f"{self._secondary}/pckcert", {**asked, **self._client}))

    async def fmspcs(self, platform: str) -> bytes:
        """Azure does not serve them."""
        raise SourceError(SourceCause.NOT_FOUND, "platform families", platform)

    async def _crl(self, uri: str) -> HttpAnswer:
        """The CRL at ``uri``, which goes into the query escaped once more than usual."""
        asked = {"uri": quote(uri, safe=""), **self._client}
        return await self._fetcher.get(f"{self._base}/{self._version}/pckcrl", asked)

    def _may_ask_primary(self) -> bool:
        failed_at = self._primary_failed_at
        return failed_at is None or (self._clock() - failed_at).total_seconds() >= _PRIMARY_PAUSE_S


def _certificate(answer: HttpAnswer) -> ServedPck:
    """A certificate as Azure gives it, a JSON object; a plain answer with headers is understood as well."""
    if not answer.body.lstrip().startswith(b"{"):
        pairs = ((answer.headers.get("sgx-tcbm", "").upper(), answer.body),)
        return ServedPck(pairs, _chain(answer, "sgx-pck-certificate-issuer-chain"))
    try:
        said = {str(name).lower(): value for name, value in json.loads(answer.body).items()}
        tcbm, pem = str(said["sgx-tcbm"]).upper(), str(said["pckcert"]).encode()
        chain = unquote_to_bytes(str(said["sgx-pck-certificate-issuer-chain"]))
    except (ValueError, KeyError, RecursionError) as error:
        raise SourceError(SourceCause.MALFORMED, "PCK certificate", "not the JSON object that Azure gives") from error
    return ServedPck(((tcbm, pem),), chain)


def _chain(answer: HttpAnswer, *names: str) -> bytes:
    return unquote_to_bytes(next((answer.headers[name] for name in names if name in answer.headers), ""))


def _early(update: str) -> Mapping[str, str]:
    return {"update": update} if update == EARLY else {}
