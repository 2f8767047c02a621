"""The OpenAPI document, made from the table of endpoints. Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from quotehelper import __version__
from quotehelper.collateral.pccs.answers import REASONS
from quotehelper.collateral.pccs.endpoints import ENDPOINTS
from quotehelper.collateral.platform_collateral import ENC_PPID_DIGITS, QE_ID_LIMIT

if TYPE_CHECKING:
    from quotehelper.collateral.pccs.endpoints import Endpoint, Parameter


def describe() -> dict[str, Any]:
    """The document, OpenAPI 3.0."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        for base in endpoint.bases:
            paths.setdefault(base + endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.0.3",
        "info": {
            "title": "quotehelper collateral service",
            "version": __version__,
            "description": "Provisioning certificates and verification collateral, as clients of a PCCS expect them.",
        },
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                "user": {"type": "apiKey", "in": "header", "name": "user-token"},
                "admin": {"type": "apiKey", "in": "header", "name": "admin-token"},
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "parameters": [_parameter(parameter) for parameter in endpoint.parameters],
        "responses": {str(status): {"description": _meaning(status)} for status in (*endpoint.answers, 500)},
    }
    if endpoint.token is not None:
        operation["security"] = [{endpoint.token.name.lower(): []}]
    if endpoint.body:
        schema = {"$ref": f"#/components/schemas/{endpoint.body}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.meaning,
        "schema": {"type": "string", "pattern": _pattern(parameter)},
    }


def _pattern(parameter: Parameter) -> str:
    """Of an optional parameter an empty value counts as none."""
    return parameter.pattern if parameter.required else f"^({parameter.pattern.removeprefix('^').removesuffix('$')})?$"


def _meaning(status: int) -> str:
    return REASONS[status] if status in REASONS else HTTPStatus(status).phrase


def _hex(*digits: int) -> dict[str, Any]:
    return {"type": "string", "pattern": "^(" + "|".join(f"[0-9A-Fa-f]{{{count}}}" for count in digits) + ")$"}


_NULLABLE = {"nullable": True}
_MANIFEST = {"type": "string", "nullable": True, "pattern": "^([0-9A-Fa-f]{2}){0,131072}$"}
_GIVEN_MANIFEST = {"type": "string", "pattern": "^([0-9A-Fa-f]{2}){1,131072}$"}
_SCHEMAS: dict[str, Any] = {
    "Platform": {
        "type": "object",
        "required": ["qe_id", "pce_id"],
        "properties": {
            "qe_id": {"type": "string", "pattern": f"^[!-~]{{1,{QE_ID_LIMIT}}}$"},
            "pce_id": _hex(4),
            "cpu_svn": _hex(0, 32) | _NULLABLE,
            "pce_svn": _hex(0, 4) | _NULLABLE,
            "enc_ppid": _hex(0, ENC_PPID_DIGITS) | _NULLABLE,
            "platform_manifest": _MANIFEST,
        },
    },
    "PlatformManifest": {
        "type": "object",
        "required": ["platformManifest", "pceid"],
        "properties": {"platformManifest": _GIVEN_MANIFEST, "pceid": _hex(4), "cpusvn": _hex(0, 32)},
    },
    "PlatformManifestAtTcb": {
        "type": "object",
        "required": ["platformManifest", "pceid", "cpusvn", "pcesvn"],
        "properties": {
            "platformManifest": _GIVEN_MANIFEST,
            "pceid": _hex(4),
            "cpusvn": _hex(32),
            "pcesvn": _hex(4),
        },
    },
    "PlatformCollateral": {
        "type": "object",
        "required": ["platforms", "collaterals"],
        "properties": {
            "platforms": {"type": "array", "items": {"$ref": "#/components/schemas/Platform"}},
            "collaterals": {
                "type": "object",
                "required": ["version", "pck_certs", "tcbinfos", "certificates"],
                "properties": {
                    "version": {"enum": [3, 4]},
                    "pck_certs": {"type": "array", "items": {"type": "object"}},
                    "tcbinfos": {"type": "array", "items": {"type": "object"}},
                    "certificates": {"type": "object"},
                },
            },
        },
    },
}
