"""What the service offers: each endpoint with its parameters, tokens and answers. Pure.

Source: dcap 6.1 and 6.2. The routes of `service`, the checks of parameters and the OpenAPI document all come from
these tables, so they can't disagree.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quotehelper.collateral.catalog import CAS, EARLY, STANDARD
from quotehelper.collateral.platform_collateral import ENC_PPID_DIGITS, QE_ID_LIMIT, octets, qe_id
from quotehelper.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

URI_LIMIT = 2048
_REQUEST = "Request"


class Token(enum.Enum):
    """The header field that must carry a token."""

    ADMIN = "admin-token"
    USER = "user-token"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter. ``check`` gives its value as it is used, in upper case, or raises DecodeError.

    ``pattern`` says the same for machines. Of several of one name the first counts.
    """

    name: str
    meaning: str
    check: Callable[[str, str], str]
    pattern: str
    required: bool = True

    def optional(self) -> Parameter:
        """The same, but it may be missing."""
        return Parameter(self.name, self.meaning, self.check, self.pattern, required=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method on one path under each of ``bases``; ``answers`` are its status codes with their meanings."""

    method: str
    path: str
    handler: str
    summary: str
    parameters: tuple[Parameter, ...] = ()
    token: Token | None = None
    body: str = ""
    """The name of what is sent, empty if nothing is."""
    answers: tuple[int, ...] = (200, 400, 404)
    bases: tuple[str, ...] = ("/sgx/certification/v3", "/sgx/certification/v4")


def read_parameters(endpoint: Endpoint, query: Mapping[str, str]) -> dict[str, str]:
    """The values of the ``endpoint``'s parameters in ``query``, which anybody may have written; absent ones are empty.

    Raises DecodeError, naming the parameter. Parameters that are not known are left.
    """
    values = {}
    for parameter in endpoint.parameters:
        given = query.get(parameter.name, "")
        if not given and parameter.required:
            raise DecodeError(_REQUEST, parameter.name, "the parameter is missing")
        values[parameter.name] = parameter.check(parameter.name, given) if given else ""
    return values


def _hex(name: str, meaning: str, digits: int) -> Parameter:
    def check(field: str, text: str) -> str:
        return octets(_REQUEST, field, text, [digits])

    return Parameter(name, meaning, check, f"^[0-9A-Fa-f]{{{digits}}}$")


def _choice(name: str, meaning: str, *choices: str, required: bool = False) -> Parameter:
    def check(field: str, text: str) -> str:
        for choice in choices:
            if text.lower() == choice.lower():
                return choice
        raise DecodeError(_REQUEST, field, f"one of {', '.join(choices)} expected")

    return Parameter(name, meaning, check, f"^({'|'.join(choices)})$", required=required)


def _text(name: str, meaning: str, pattern: str, expected: str, *, required: bool = False) -> Parameter:
    whole = re.compile(pattern, re.ASCII)

    def check(field: str, text: str) -> str:
        if not whole.fullmatch(text):
            raise DecodeError(_REQUEST, field, f"{expected} expected")
        return text

    return Parameter(name, meaning, check, f"^({pattern})$", required=required)


_QE_ID = Parameter(
    "qeid",
    "The platform's QE id.",
    lambda field, text: qe_id(_REQUEST, field, text),
    f"^[!-~]{{1,{QE_ID_LIMIT}}}$",
)
_CPU_SVN = _hex("cpusvn", "The platform's raw CPUSVN.", 32)
_PCE_SVN = _hex("pcesvn", "Its PCESVN, little endian.", 4)
_PCE_ID = _hex("pceid", "Its PCE id, little endian.", 4)
_ENC_PPID = _hex("encrypted_ppid", "Its PPID, encrypted to the provisioning service.", ENC_PPID_DIGITS)
_FMSPC = _hex("fmspc", "The platform family.", 12)
_UPDATE = _choice("update", "Whether recoveries show from the day of disclosure.", STANDARD, EARLY)
_UPDATES = _choice("update", "Which documents are completed.", STANDARD, EARLY, "all")
_CA = _choice("ca", "The certification authority.", *CAS, required=True)
_ENCODING = _choice("encoding", "DER as it is, or hexadecimal of it (the default).", "der", "pem")
_URI = _text("uri", "A CRL distribution point.", rf"[!-~]{{1,{URI_LIMIT}}}", "a URI", required=True)
_TYPE = _choice("type", "What to refresh: documents, or certificates.", "certs")
_PLATFORMS_OF = _choice("platform", "Which kind of machines.", "all", "client", "E3", "E5")
_LIST = r"[0-9A-Fa-f]{12}(,[0-9A-Fa-f]{12}){0,255}"
_SOURCE = _text(
    "source",
    'A queue ("reg", "reg_na"), or "[FMSPC,…]" of kept platforms ("[]": all).',
    rf"reg|reg_na|\[({_LIST})?\]",
    "reg, reg_na or [FMSPC,…]",
)
_FMSPCS = _text("fmspc", "Platform families, divided by commas; all of them without it.", _LIST, "FMSPCs")

_V4 = ("/sgx/certification/v4",)
_TDX = ("/tdx/certification/v4",)

ENDPOINTS = (
    Endpoint(
        "GET",
        "/pckcert",
        "pck_certificate",
        "The PCK certificate for a platform at its raw TCB.",
        (_QE_ID, _CPU_SVN, _PCE_SVN, _PCE_ID, _ENC_PPID.optional()),
        answers=(200, 400, 404, 461, 462, 502),
    ),
    Endpoint(
        "POST",
        "/pckcert",
        "pck_certificate_by_manifest",
        "The PCK certificate for a platform that is known by its manifest.",
        body="PlatformManifestAtTcb",
        answers=(200, 400, 404, 413, 461, 462, 502),
    ),
    Endpoint(
        "GET",
        "/pckcerts",
        "pck_certificates",
        "All PCK certificates of a platform.",
        (_ENC_PPID, _PCE_ID),
        answers=(200, 400, 404, 461, 462, 502),
    ),
    Endpoint(
        "POST",
        "/pckcerts",
        "pck_certificates_by_manifest",
        "The same for a platform that is known by its manifest.",
        body="PlatformManifest",
        answers=(200, 400, 404, 413, 461, 462, 502),
    ),
    Endpoint(
        "GET",
        "/pckcerts/config",
        "pck_certificates",
        "The PCK certificates of a platform that its CPUSVN reaches.",
        (_ENC_PPID, _PCE_ID, _CPU_SVN),
        answers=(200, 400, 404, 461, 462, 502),
    ),
    Endpoint(
        "POST",
        "/pckcerts/config",
        "pck_certificates_by_manifest",
        "The same for a platform that is known by its manifest.",
        body="PlatformManifest",
        answers=(200, 400, 404, 413, 461, 462, 502),
    ),
    Endpoint(
        "GET",
        "/pckcrl",
        "pck_crl",
        "The revocation list of a certification authority.",
        (_CA, _ENCODING),
        answers=(200, 304, 400, 404, 502),
    ),
    Endpoint(
        "GET",
        "/tcb",
        "tcb_info",
        "The TCB info of a platform family.",
        (_FMSPC, _UPDATE),
        answers=(200, 304, 400, 404, 502),
    ),
    Endpoint(
        "GET",
        "/tcb",
        "tdx_tcb_info",
        "The same for TDX.",
        (_FMSPC, _UPDATE),
        answers=(200, 304, 400, 404, 502),
        bases=_TDX,
    ),
    Endpoint(
        "GET",
        "/qe/identity",
        "qe_identity",
        "The identity of the quoting enclave.",
        (_UPDATE,),
        answers=(200, 304, 400, 404, 502),
    ),
    Endpoint(
        "GET",
        "/qe/identity",
        "td_qe_identity",
        "The identity of TDX's quoting enclave.",
        (_UPDATE,),
        answers=(200, 304, 400, 404, 502),
        bases=_TDX,
    ),
    Endpoint(
        "GET",
        "/qve/identity",
        "qve_identity",
        "The identity of the quote verifying enclave.",
        (_UPDATE,),
        answers=(200, 304, 400, 404, 502),
    ),
    Endpoint(
        "GET",
        "/qae/identity",
        "qae_identity",
        "The identity of the quote appraisal enclave.",
        (_UPDATE,),
        answers=(200, 304, 400, 404, 502),
        bases=_V4,
    ),
    Endpoint(
        "GET",
        "/tcbevaluationdatanumbers",
        "evaluation_numbers",
        "The TCB evaluation data numbers that are current.",
        answers=(200, 304, 404, 502),
        bases=_V4,
    ),
    Endpoint(
        "GET",
        "/rootcacrl",
        "root_crl",
        "The root's revocation list: hexadecimal of DER.",
        answers=(200, 304, 404, 502),
    ),
    Endpoint(
        "GET",
        "/rootcacrl.der",
        "root_crl_as_der",
        "The same as DER: where certificates of a simulated authority say that it is.",
        answers=(200, 304, 404, 502),
    ),
    Endpoint(
        "GET",
        "/crl",
        "crl",
        "The revocation list that a certificate names by URI: DER.",
        (_URI,),
        answers=(200, 304, 400, 404, 502),
    ),
    Endpoint("GET", "/fmspcs", "fmspcs", "The platform families.", (_PLATFORMS_OF,), answers=(200, 304, 400, 404, 502)),
    Endpoint(
        "POST",
        "/platforms",
        "register",
        "Register a platform.",
        (_UPDATES,),
        Token.USER,
        "Platform",
        (200, 400, 401, 404, 413, 461, 462, 502),
    ),
    Endpoint(
        "GET",
        "/platforms",
        "platforms",
        "Registered or kept platforms.",
        (_SOURCE,),
        Token.ADMIN,
        answers=(200, 400, 401),
    ),
    Endpoint(
        "PUT",
        "/platformcollateral",
        "import_collateral",
        "Bring certificates and documents.",
        (),
        Token.ADMIN,
        "PlatformCollateral",
        (200, 400, 401, 413, 460),
    ),
    *(
        Endpoint(
            method,
            "/refresh",
            "refresh",
            "Fetch what is kept anew.",
            (_TYPE, _FMSPCS),
            Token.ADMIN,
            answers=(200, 400, 401, 502, 503),
        )
        for method in ("GET", "POST")
    ),
    Endpoint("GET", "/healthz", "health", "Whether the service works.", answers=(200, 503), bases=("",)),
    Endpoint("GET", "/metrics", "metrics", "Figures for Prometheus.", answers=(200,), bases=("",)),
    Endpoint("GET", "/openapi.json", "openapi", "This description.", answers=(200,), bases=("",)),
)
"""Everything that is answered."""
