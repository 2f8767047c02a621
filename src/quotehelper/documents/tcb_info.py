"""TCB info: which TCB levels of a platform family are how good. Versions 2 and 3, SGX; of TDX what SGX shares. Pure.

Source: dcap 7.1, Intel's PCS API. Served as ``{"tcbInfo": {…}, "signature": "…"}``; levels stand from highest to
lowest. Version 2 is what the v3 API serves, version 3 the v4 API.
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, replace
from typing import Any

from quotehelper.documents.signed_json import Fields, parse_object, write_object, write_time
from quotehelper.errors import DecodeError

NAME = "tcbInfo"
COMPONENTS = 16
_OLDEST, _OLD, _NEW = 1, 2, 3
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
_SVN_MAX, _PCE_SVN_MAX, _NUMBER_MAX = 0xFF, 0xFFFF, 0x7FFF_FFFF


class TcbStatus(enum.Enum):
    """How good a TCB level is (dcap 7.1). Enclave identities use the first, the fifth and the last."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"


@dataclass(frozen=True, slots=True)
class Component:
    """One of the 16 parts of a TCB: its SVN (0 to 255), and what it is, where version 3 says so."""

    svn: int
    category: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class TcbLevel:
    """A level: it is reached if all 16 components and ``pce_svn`` (0 to 65535) of a certificate are at least these."""

    components: tuple[Component, ...]
    pce_svn: int
    tcb_date: dt.datetime
    status: TcbStatus
    advisory_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """The levels of the platforms with one ``fmspc`` (6 bytes) and ``pce_id`` (2 bytes, little endian).

    ``id``: "SGX" or "TDX", None in version 2. ``tcb_type`` 0: the CPUSVN's bytes are the components.
    """

    version: int
    id: str | None
    issue_date: dt.datetime
    next_update: dt.datetime
    fmspc: bytes
    pce_id: bytes
    tcb_type: int
    tcb_evaluation_data_number: int
    levels: tuple[TcbLevel, ...]


def parse_tcb_info(body: bytes) -> TcbInfo:
    """The TCB info in ``body``, the inner object's text, whose signature should have been verified.

    Raises DecodeError, naming the field's path, for anything that Intel's schema does not have.
    """
    fields = parse_object(body, NAME)
    version = fields.integer("version", _NUMBER_MAX)
    if version > _NEW:
        fields.refuse("version", f"{version} given, 2 and 3 are known")
    issue_date, next_update = fields.time("issueDate"), fields.time("nextUpdate")
    fmspc = fields.octets("fmspc", 6)
    levels = tuple(_parse_level(level, version) for level in fields.sections("tcbLevels"))
    if version not in {_OLD, _NEW}:
        fields.refuse("version", f"{version} given, 2 and 3 are known")
    if not levels:
        fields.refuse("tcbLevels", "at least one level expected")
    return TcbInfo(
        version=version,
        id=_parse_id(fields) if version == _NEW else None,
        issue_date=issue_date,
        next_update=next_update,
        fmspc=fmspc,
        pce_id=fields.octets("pceId", 2),
        tcb_type=fields.integer("tcbType", _NUMBER_MAX),
        tcb_evaluation_data_number=fields.integer("tcbEvaluationDataNumber", _NUMBER_MAX),
        levels=levels,
    )


def encode_tcb_info(info: TcbInfo) -> bytes:
    """The inner object's text in Intel's form and order of members: what the authority signs.

    Raises DecodeError for TDX, of which more was read than is kept.
    """
    if info.id == "TDX":
        raise DecodeError(NAME, "id", "only SGX can be written")
    document: dict[str, Any] = {} if info.id is None else {"id": info.id}
    document |= {
        "version": info.version,
        "issueDate": write_time(info.issue_date),
        "nextUpdate": write_time(info.next_update),
        "fmspc": info.fmspc.hex().upper(),
        "pceId": info.pce_id.hex().upper(),
        "tcbType": info.tcb_type,
        "tcbEvaluationDataNumber": info.tcb_evaluation_data_number,
        "tcbLevels": [_write_level(level, info.version) for level in info.levels],
    }
    return write_object(document)


def as_version_2(info: TcbInfo) -> TcbInfo:
    """The same levels as the v3 API serves them: components are bare numbers there."""
    levels = tuple(
        replace(level, components=tuple(Component(part.svn) for part in level.components)) for level in info.levels
    )
    return replace(info, version=_OLD, id=None, levels=levels)


def parse_status(fields: Fields, name: str = "tcbStatus") -> TcbStatus:
    """A level's status. Raises DecodeError for one that Intel has not defined."""
    text = fields.string(name)
    try:
        return TcbStatus(text)
    except ValueError:
        fields.refuse(name, f"one of {', '.join(status.value for status in TcbStatus)} expected")


def _parse_id(fields: Fields) -> str:
    value = fields.string("id")
    if value not in {"SGX", "TDX"}:
        fields.refuse("id", "SGX or TDX expected")
    return value


def _parse_level(fields: Fields, version: int) -> TcbLevel:
    tcb = fields.section("tcb")
    components = tuple(_parse_components(tcb, version))
    pce_svn = tcb.integer("pcesvn", _PCE_SVN_MAX)
    if version <= _OLDEST:  # no longer served: read as far as to name what is wrong with it, then refused
        return TcbLevel(components, pce_svn, tcb_date=_EPOCH, status=parse_status(fields, "status"))
    status = parse_status(fields)
    return TcbLevel(components, pce_svn, fields.time("tcbDate"), status, fields.strings("advisoryIDs"))


def _parse_components(tcb: Fields, version: int) -> list[Component]:
    if version != _NEW:
        return [Component(tcb.integer(f"sgxtcbcomp{number:02}svn", _SVN_MAX)) for number in range(1, COMPONENTS + 1)]
    components = [
        Component(
            part.integer("svn", _SVN_MAX),
            part.string("category") if part.has("category") else None,
            part.string("type") if part.has("type") else None,
        )
        for part in tcb.sections("sgxtcbcomponents")
    ]
    if len(components) != COMPONENTS:
        tcb.refuse("sgxtcbcomponents", f"{len(components)} given, {COMPONENTS} expected")
    return components


def _write_level(level: TcbLevel, version: int) -> dict[str, Any]:
    if version == _NEW:
        tcb: dict[str, Any] = {"sgxtcbcomponents": [_write_component(part) for part in level.components]}
    else:
        tcb = {f"sgxtcbcomp{number:02}svn": part.svn for number, part in enumerate(level.components, 1)}
    tcb["pcesvn"] = level.pce_svn
    written = {"tcb": tcb, "tcbDate": write_time(level.tcb_date), "tcbStatus": level.status.value}
    return written | ({"advisoryIDs": list(level.advisory_ids)} if level.advisory_ids else {})


def _write_component(part: Component) -> dict[str, Any]:
    named = {"category": part.category, "type": part.type}
    return {"svn": part.svn} | {name: value for name, value in named.items() if value is not None}
