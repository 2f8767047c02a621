"""The service: requests in, what the keeper has out. Shell (needs aiohttp).

Source: dcap 6.1 to 6.3. Every path comes from `endpoints`; every answer carries a Request-ID, every refusal is a
plain sentence. Handlers read like the table of the specification; nothing that identifies a platform is logged.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from quotehelper.collateral.catalog import CAS, STANDARD, UPDATES, Key, Kind, PlatformId, RawTcb, Registration
from quotehelper.collateral.choosing import choose
from quotehelper.collateral.pccs import answers, openapi
from quotehelper.collateral.pccs.endpoints import ENDPOINTS, read_parameters
from quotehelper.collateral.pccs.metrics import CONTENT_TYPE
from quotehelper.collateral.platform_collateral import (
    BODY_LIMIT,
    REGISTRATION_LIMIT,
    encode_registration,
    manifest,
    octets,
    parse_registration,
)
from quotehelper.collateral.store import NOT_AVAILABLE, REGISTERED, PckAnswer
from quotehelper.errors import DecodeError, SourceCause, SourceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quotehelper.collateral.catalog import PckSet
    from quotehelper.collateral.keeper import Keeper, Log
    from quotehelper.collateral.pccs.door import Door
    from quotehelper.collateral.pccs.endpoints import Endpoint
    from quotehelper.collateral.pccs.metrics import Metrics
    from quotehelper.collateral.pccs.tokens import TokenHashes

    Handler = Callable[[web.Request, dict[str, str]], Awaitable[web.StreamResponse]]

BODY_TIME_S = 120.0
"""Seconds for a request's body; an administrator's may be large."""

_SERVER = "quotehelper"


class Service:
    """The endpoints over ``keeper``; ``tokens`` say who may do what."""

    def __init__(
        self,
        keeper: Keeper,
        tokens: TokenHashes,
        metrics: Metrics,
        log: Log,
        *,
        crl_prefixes: tuple[str, ...] = (),
        door: Door,
    ) -> None:
        self._keeper = keeper
        self._tokens = tokens
        self._figures = metrics
        self._log = log
        self._crl_prefixes = crl_prefixes
        self._door = door

    def application(self) -> web.Application:
        """The whole as an application for aiohttp to run."""
        application = web.Application(middlewares=[self._around])
        for endpoint in ENDPOINTS:
            handler: Handler = getattr(self, f"_{endpoint.handler}")
            for base in endpoint.bases:
                application.router.add_route(endpoint.method, base + endpoint.path, self._bound(endpoint, handler))
        return application

    def _bound(self, endpoint: Endpoint, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            if not self._tokens.admit(endpoint.token, request.headers):
                return answers.refusal(401)
            return await handler(request, read_parameters(endpoint, request.query))

        return answer

    @web.middleware
    async def _around(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Around every request: errors become sentences, each answer gets its id and is counted."""
        self._door.heard(request.protocol)
        start = time.perf_counter()
        request_id = secrets.token_hex(16)
        try:
            response = await handler(request)
        except DecodeError as error:
            response = answers.refusal(400, str(error))
        except SourceError as error:
            self._tell(error, request, request_id)
            response = answers.refusal_of(error)
        except web.HTTPException as error:
            response = answers.refusal(error.status)
            if allowed := error.headers.get("Allow"):
                response.headers["Allow"] = allowed
        except Exception as error:  # noqa: BLE001  the edge: one request's fault must not end the service
            self._log.error("request failed", path=request.path, request_id=request_id, reason=repr(error))
            response = answers.refusal(500)
        response.headers["Request-ID"] = request_id
        response.headers["Server"] = _SERVER
        resource = request.match_info.route.resource
        endpoint = resource.canonical if resource is not None else "unknown"
        self._figures.requests.labels(endpoint, str(response.status)).inc()
        self._figures.seconds.labels(endpoint).observe(time.perf_counter() - start)
        return response

    def _tell(self, error: SourceError, request: web.Request, request_id: str) -> None:
        if error.cause not in {SourceCause.NOT_FOUND, SourceCause.UNKNOWN_PLATFORM, SourceCause.NOT_AVAILABLE}:
            cause = error.cause.name.lower()
            self._log.warning("not answered", path=request.path, request_id=request_id, cause=cause, reason=str(error))

    # certificates

    async def _pck_certificate(self, request: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        name = PlatformId(asked["qeid"], asked["pceid"])
        registration = Registration(name, RawTcb(asked["cpusvn"], asked["pcesvn"]), asked["encrypted_ppid"])
        return answers.pck_certificate(await self._keeper.pck(registration), request)

    async def _pck_certificate_by_manifest(self, request: web.Request, _: dict[str, str]) -> web.StreamResponse:
        registration, asked = await self._read_manifest(request)
        cpu_svn = octets("PlatformManifest", "cpusvn", _text(asked, "cpusvn"), [32])
        pce_svn = octets("PlatformManifest", "pcesvn", _text(asked, "pcesvn"), [4])
        found, chain = await self._keeper.pck_set(registration)
        return await self._chosen(found, chain, RawTcb(cpu_svn, pce_svn), request)

    async def _chosen(self, found: PckSet, chain: bytes, raw: RawTcb, request: web.Request) -> web.StreamResponse:
        first = found.certificates[0]
        chosen = choose(found, await self._keeper.levels(first.fmspc), raw)
        return answers.pck_certificate(PckAnswer(chosen.pem, chosen.tcb.tcbm, first.fmspc, first.ca, chain), request)

    async def _pck_certificates(self, _: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        registration = Registration(PlatformId("", asked["pceid"]), None, asked["encrypted_ppid"])
        found, chain = await self._keeper.pck_set(registration)
        return answers.pck_certificates(_reached(found, asked.get("cpusvn", "")), chain)

    async def _pck_certificates_by_manifest(self, request: web.Request, _: dict[str, str]) -> web.StreamResponse:
        registration, asked = await self._read_manifest(request)
        cpu_svn = octets("PlatformManifest", "cpusvn", _text(asked, "cpusvn"), [0, 32])
        found, chain = await self._keeper.pck_set(registration)
        return answers.pck_certificates(_reached(found, cpu_svn), chain)

    async def _read_manifest(self, request: web.Request) -> tuple[Registration, dict[str, Any]]:
        raw = await _read(request, REGISTRATION_LIMIT)
        try:
            asked = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise DecodeError("PlatformManifest", "", "not a JSON document") from error
        if not isinstance(asked, dict):
            raise DecodeError("PlatformManifest", "", "an object expected")
        given = manifest("PlatformManifest", "platformManifest", _text(asked, "platformManifest"))
        if not given:
            raise DecodeError("PlatformManifest", "platformManifest", "absent")
        pce_id = octets("PlatformManifest", "pceid", _text(asked, "pceid"), [4])
        return Registration(PlatformId("", pce_id), None, "", given), asked

    # documents

    async def _tcb_info(self, request: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        version = _version(request)
        return await self._document(request, Key(Kind.TCB_INFO, asked["fmspc"], version, asked["update"] or STANDARD))

    async def _tdx_tcb_info(self, request: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        return await self._document(request, Key(Kind.TDX_TCB_INFO, asked["fmspc"], 4, asked["update"] or STANDARD))

    async def _qe_identity(self, request: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        return await self._identity(request, Kind.QE_IDENTITY, asked)

    async def _td_qe_identity(self, request: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        return await self._identity(request, Kind.TD_QE_IDENTITY, asked)

    async def _qve_identity(self, request: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        return await self._identity(request, Kind.QVE_IDENTITY, asked)

    async def _qae_identity(self, request: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        return await self._identity(request, Kind.QAE_IDENTITY, asked)

    async def _identity(self, request: web.Request, kind: Kind, asked: dict[str, str]) -> web.StreamResponse:
        return await self._document(request, Key(kind, "", _version(request), asked["update"] or STANDARD))

    async def _evaluation_numbers(self, request: web.Request, _: dict[str, str]) -> web.StreamResponse:
        return await self._document(request, Key(Kind.EVALUATION_NUMBERS, "", 4))

    async def _pck_crl(self, request: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        return await self._document(request, Key(Kind.PCK_CRL, asked["ca"]), der=asked["encoding"] == "der")

    async def _root_crl(self, request: web.Request, _: dict[str, str]) -> web.StreamResponse:
        return answers.document(await self._keeper.root_crl(), _version(request), request)

    async def _root_crl_as_der(self, request: web.Request, _: dict[str, str]) -> web.StreamResponse:
        return answers.document(await self._keeper.root_crl(), _version(request), request, der=True)

    async def _crl(self, request: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        """A CRL by its distribution point: only what is kept, or what an allowed prefix names, is ever looked at."""
        uri = asked["uri"]
        ca = _ca_of(uri)
        key = Key(Kind.PCK_CRL, ca) if ca else Key(Kind.ROOT_CA_CRL, uri)
        if await asyncio.to_thread(self._keeper.store.get, key) is None and not uri.startswith(self._crl_prefixes):
            raise DecodeError("Request", "uri", "not among the distribution points of this service")
        return await self._document(request, key, der=True)

    async def _document(self, request: web.Request, key: Key, *, der: bool = False) -> web.StreamResponse:
        return answers.document(await self._keeper.document(key), _version(request), request, der=der)

    async def _fmspcs(self, request: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        body = await self._keeper.fmspcs(asked["platform"] or "all")
        return answers.conditional(request, body, "application/json")

    # administration

    async def _register(self, request: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        registration = parse_registration(await _read(request, REGISTRATION_LIMIT))
        update = asked["update"] or STANDARD
        await self._keeper.register(registration, UPDATES if update == "all" else (update,))
        return web.Response(text="Registered.")

    async def _platforms(self, _: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        source, store = asked["source"] or REGISTERED, self._keeper.store
        if source in {REGISTERED, NOT_AVAILABLE}:
            take = source == REGISTERED
            found = await asyncio.to_thread(store.queued, source, take=take)
            listed = [encode_registration(registration) for registration in found]
        else:
            kept = await asyncio.to_thread(store.platforms, _families(source))
            listed = [encode_registration(platform.registration) for platform in kept]
        return answers.as_json(listed, {"platform-count": str(len(listed))})

    async def _import_collateral(self, request: web.Request, _: dict[str, str]) -> web.StreamResponse:
        raw = await _read(request, BODY_LIMIT)
        try:
            imported = await self._keeper.import_collateral(raw)
        except SourceError as error:
            self._log.warning("collateral not kept", cause=error.cause.name.lower(), reason=str(error))
            return answers.refusal_of(error, of_import=True)
        self._log.info("collateral kept", documents=imported.documents, platforms=imported.platforms)
        expired = f" Expired: {', '.join(imported.expired)}." if imported.expired else ""
        return web.Response(text=f"{imported.documents} documents, {imported.platforms} platforms kept.{expired}")

    async def _refresh(self, _: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        if asked["type"]:
            families = _families(asked["fmspc"]) if asked["fmspc"] else ()
            outcome = await self._keeper.refresh_certificates(families)
        else:
            outcome = await self._keeper.refresh()
        failed = [str(key) for key, error in outcome.items() if error is not None]
        self._figures.refreshes.labels("failed" if failed else "done").inc()
        if failed:
            text = f"{len(outcome) - len(failed)} refreshed; kept as they were, as newer ones were not to be had: "
            return web.Response(status=502, text=text + ", ".join(failed) + ".")
        return web.Response(text=f"{len(outcome)} refreshed.")

    # the service itself

    async def _health(self, _: web.Request, __: dict[str, str]) -> web.StreamResponse:
        try:
            held = await asyncio.to_thread(self._keeper.store.holdings)
        except SourceError:
            return web.Response(status=503, text="The store can't be used.")
        now = self._keeper.clock()
        expired = sum(holding.next_update < now for holding in held)
        return answers.as_json(
            {"status": "ok", "mode": self._keeper.mode.value, "documents": len(held), "expired": expired}
        )

    async def _metrics(self, _: web.Request, __: dict[str, str]) -> web.StreamResponse:
        text = self._figures.expose(await asyncio.to_thread(self._keeper.store.holdings))
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def _openapi(self, request: web.Request, _: dict[str, str]) -> web.StreamResponse:
        return answers.conditional(request, json.dumps(openapi.describe()).encode(), "application/json")


async def _read(request: web.Request, limit: int) -> bytes:
    """The body, at most ``limit`` bytes of it, in time. Raises HTTPRequestEntityTooLarge, HTTPRequestTimeout."""
    if (request.content_length or 0) > limit:
        raise web.HTTPRequestEntityTooLarge(limit, request.content_length or 0)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIME_S):
            async for chunk in request.content.iter_chunked(1 << 16):
                body += chunk
                if len(body) > limit:
                    raise web.HTTPRequestEntityTooLarge(limit, len(body))
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    return bytes(body)


def _version(request: web.Request) -> int:
    return 3 if "/v3/" in request.path else 4


def _ca_of(uri: str) -> str:
    """The CA whose CRL is at ``uri``, if it has the form that PCK certificates name; else empty (dcap 5.2)."""
    try:
        parts = urlsplit(uri)
        asked = parse_qs(parts.query).get("ca", [""])[0].upper()
    except ValueError:
        return ""
    return asked if parts.path.endswith("/pckcrl") and asked in CAS else ""


def _families(text: str) -> tuple[str, ...]:
    """The FMSPCs in ``text``, which has the form that `endpoints` asks for: "[A,B]" or "A,B"."""
    return tuple(name for name in text.strip("[]").upper().split(",") if name)


def _reached(found: PckSet, cpu_svn: str) -> PckSet:
    """Those of ``found`` that a platform with ``cpu_svn`` reaches; all of them if it is empty."""
    if not cpu_svn:
        return found
    have = bytes.fromhex(cpu_svn)
    kept = tuple(
        certificate
        for certificate in found.certificates
        if all(svn >= wanted for svn, wanted in zip(have, certificate.tcb.components, strict=True))
    )
    if not kept:
        raise SourceError(SourceCause.NOT_FOUND, "PCK certificates", "none is reached by this CPUSVN")
    return found._replace(certificates=kept)


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name, "")
    if not isinstance(value, str):
        raise DecodeError("PlatformManifest", name, "a text expected")
    return value
