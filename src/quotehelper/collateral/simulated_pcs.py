"""The simulated authority served as a provisioning certification service, as Intel's PCS is. Shell (needs aiohttp).

Source: dcap 6.1. It knows the platforms whose state directories it is given, certifies each at its level and at the
one below, and signs every document when it is asked for it. It has what real collateral services and clients need, so
that they can be tried without Intel; what it serves proves nothing about hardware.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from quotehelper.collateral.catalog import PckSet, RawTcb
from quotehelper.collateral.pck_selection import select
from quotehelper.collateral.platform_collateral import encode_pck_certs
from quotehelper.collateral.proof import EVALUATION_NUMBERS_NAME, Trust, prove_pck_certificate
from quotehelper.collateral.sources import escape_chain
from quotehelper.documents import qe_identity, tcb_info
from quotehelper.documents.pck import Role, read_chain, read_crl
from quotehelper.documents.signed_json import write_signed
from quotehelper.errors import ConfigError
from quotehelper.platforms.simulated.authority import CERTIFICATION_AUTHORITIES
from quotehelper.platforms.simulated.enclaves import Tcb
from quotehelper.platforms.simulated.provisioning import certify, read_authority
from quotehelper.platforms.simulated.ruling import read_settings
from quotehelper.platforms.simulated.state import read_chain as read_certification
from quotehelper.platforms.simulated.state import read_state
from quotehelper.verification.roots import Roots

try:
    from aiohttp import web
except ImportError as error:
    raise ConfigError("Serving collateral needs aiohttp", "pip install 'quotehelper[collateral]'") from error

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from quotehelper.collateral.catalog import PckCertificate
    from quotehelper.collateral.keeper import Log
    from quotehelper.documents.signed_json import Signed
    from quotehelper.documents.tcb_info import TcbInfo
    from quotehelper.platforms.simulated.authority import Authority
    from quotehelper.platforms.simulated.state import PlatformState

_PEM, _DER, _JSON = "application/x-pem-file", "application/pkix-crl", "application/json"
_BASES = ("/sgx/certification/v3", "/sgx/certification/v4")
_OLD_API = 3


class SimulatedPcs:
    """The service for the platforms in ``directories``, which one authority must have certified.

    Raises ConfigError if a state can't be read, or another authority's is among them.
    """

    def __init__(self, directories: Sequence[Path], clock: Callable[[], dt.datetime]) -> None:
        self._clock = clock
        self._states = [read_state(directory) for directory in directories]
        self._keys: Authority = read_authority(self._states[0])
        if len({state.authority.resolve() for state in self._states}) > 1:
            problem = "The platforms were certified by different authorities"
            raise ConfigError(problem, "Serve each authority by itself, on another port")
        root = self._keys.chain(Role.ROOT)
        self._trust = Trust(Roots.insecure_simulated(root))
        self._sets = {self._ppid(state): self._certificates(state) for state in self._states}
        self._families = {state.fmspc.hex().upper(): state for state in self._states}

    @property
    def _authority(self) -> Authority:
        """The authority as it is set at this moment: `simulate revoke` and the like show in the next answer."""
        return replace(self._keys, settings=read_settings(self._states[0].authority))

    def application(self) -> web.Application:
        """The whole as an application for aiohttp to run."""
        application = web.Application(middlewares=[_around])
        router = application.router
        for base in _BASES:
            router.add_get(f"{base}/pckcert", self._pck_certificate)
            router.add_get(f"{base}/pckcerts", self._pck_certificates)
            router.add_get(f"{base}/pckcrl", self._pck_crl)
            router.add_get(f"{base}/tcb", self._tcb_info)
            router.add_get(f"{base}/rootcacrl", self._root_crl_in_hexadecimal)
            router.add_get(f"{base}/fmspcs", self._fmspcs)
            for enclave in ("qe", "qve", "qae"):
                router.add_get(f"{base}/{enclave}/identity", self._identity)
        router.add_get(f"{_BASES[1]}/tcbevaluationdatanumbers", self._evaluation_numbers)
        router.add_get(urlsplit(self._keys.crl_base_url).path + "rootcacrl.der", self._root_crl)
        return application

    def _certificates(self, state: PlatformState) -> PckSet:
        """The platform's certificates: the one that it has, and one for the level below."""
        below = Tcb(state.pck_tcb.cpu_svn, state.pck_tcb.pce_svn - 1)
        chains = [read_certification(state.directory)]
        if below.pce_svn >= 0:
            chains.append(certify(state._replace(pck_tcb=below), self._keys, self._clock()))
        issuers = self._issuers(state.ca)
        proven = [prove_pck_certificate(read_chain(chain).leaf.pem(), issuers, self._trust) for chain in chains]
        return PckSet(tuple(proven))

    async def _pck_certificates(self, request: web.Request) -> web.Response:
        found = self._find(request)
        return web.Response(
            body=json.dumps(encode_pck_certs(found), separators=(",", ":")).encode(),
            content_type=_JSON,
            headers=self._about(found.certificates[0]),
        )

    async def _pck_certificate(self, request: web.Request) -> web.Response:
        found = self._find(request)
        raw = RawTcb(_digits(request, "cpusvn", 32), _digits(request, "pcesvn", 4))
        first = found.certificates[0]
        chosen = select(found.certificates, self._levels(self._families[first.fmspc]).levels, raw)
        if chosen is None:
            raise web.HTTPNotFound
        headers = {**self._about(first), "SGX-TCBm": chosen.tcb.tcbm}
        return web.Response(body=chosen.pem, content_type=_PEM, headers=headers)

    async def _pck_crl(self, request: web.Request) -> web.Response:
        ca = request.query.get("ca", "").lower()
        if ca not in CERTIFICATION_AUTHORITIES:
            raise web.HTTPBadRequest
        der = self._authority.crl(CERTIFICATION_AUTHORITIES[ca], self._clock())
        headers = {"SGX-PCK-CRL-Issuer-Chain": escape_chain(self._issuers(ca))}
        if request.query.get("encoding") == "der":
            return web.Response(body=der, content_type=_DER, headers=headers)
        return web.Response(body=read_crl(der).pem(), content_type=_PEM, headers=headers)

    async def _tcb_info(self, request: web.Request) -> web.Response:
        state = self._families.get(_digits(request, "fmspc", 12))
        if state is None:
            raise web.HTTPNotFound
        collateral = self._authority.collateral(state.fmspc, state.ca, self._clock())
        old = f"/v{_OLD_API}/" in request.path
        signed = collateral.tcb_info_v2 if old else collateral.tcb_info
        name = "SGX-TCB-Info-Issuer-Chain" if old else "TCB-Info-Issuer-Chain"
        return self._signed(tcb_info.NAME, signed, name)

    async def _identity(self, request: web.Request) -> web.Response:
        enclave = request.path.split("/")[-2].upper()
        signed = self._authority.identity(enclave, self._clock())
        return self._signed(qe_identity.NAME, signed, "SGX-Enclave-Identity-Issuer-Chain")

    async def _evaluation_numbers(self, _: web.Request) -> web.Response:
        signed = self._authority.evaluation_numbers(self._clock())
        return self._signed(EVALUATION_NUMBERS_NAME, signed, "TCB-Evaluation-Data-Numbers-Issuer-Chain")

    async def _fmspcs(self, _: web.Request) -> web.Response:
        return web.json_response([{"fmspc": fmspc, "platform": "E3"} for fmspc in self._families])

    async def _root_crl(self, _: web.Request) -> web.Response:
        return web.Response(body=self._authority.crl(Role.ROOT, self._clock()), content_type=_DER)

    async def _root_crl_in_hexadecimal(self, _: web.Request) -> web.Response:
        """As a PCCS serves it: Intel's PCS has a host of its own for it, which a simulated authority has not."""
        text = self._authority.crl(Role.ROOT, self._clock()).hex()
        return web.Response(text=text, content_type=_PEM)

    def _find(self, request: web.Request) -> PckSet:
        found = self._sets.get(_digits(request, "encrypted_ppid", 768))
        if found is None or _digits(request, "pceid", 4) != found.certificates[0].pce_id:
            raise web.HTTPNotFound
        return found

    def _about(self, certificate: PckCertificate) -> dict[str, str]:
        return {
            "SGX-PCK-Certificate-Issuer-Chain": escape_chain(self._issuers(certificate.ca.lower())),
            "SGX-FMSPC": certificate.fmspc,
            "SGX-PCK-Certificate-CA-Type": certificate.ca.lower(),
        }

    def _signed(self, name: str, signed: Signed, header: str) -> web.Response:
        headers = {header: escape_chain(self._keys.chain(Role.TCB_SIGNING))}
        return web.Response(body=write_signed(name, *signed), content_type=_JSON, headers=headers)

    def _issuers(self, ca: str) -> bytes:
        return self._keys.chain(CERTIFICATION_AUTHORITIES[ca])

    def _levels(self, state: PlatformState) -> TcbInfo:
        signed = self._authority.collateral(state.fmspc, state.ca, self._clock()).tcb_info
        return tcb_info.parse_tcb_info(signed.body)

    def _ppid(self, state: PlatformState) -> str:
        return self._keys.encrypted_ppid(state.provisioning_enclave().ppid()).hex().upper()


async def serve(pcs: SimulatedPcs, host: str, port: int, log: Log) -> None:
    """Serve plain HTTP until SIGTERM or SIGINT. Raises OSError for the address."""
    runner = web.AppRunner(pcs.application(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        address = runner.addresses[0]
        log.info("ready", url=f"http://{address[0]}:{address[1]}{_BASES[1]}/")
        await ended.wait()
    finally:
        await runner.cleanup()


@web.middleware
async def _around(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = web.Response(status=error.status, headers={"Error-Message": error.reason})
    except ConfigError:  # the authority's settings were damaged meanwhile
        response = web.Response(status=503, headers={"Error-Message": "The authority's settings can't be read"})
    response.headers["Request-ID"] = secrets.token_hex(16)
    return response


def _digits(request: web.Request, name: str, count: int) -> str:
    value = request.query.get(name, "").upper()
    if len(value) != count or set(value) - set("0123456789ABCDEF"):
        raise web.HTTPBadRequest
    return value
