"""A simulated authority's settings on disk: read, changed, described. Shell.

``authority/settings.json``, written with the authority's keys; authorities from before it was there have the initial
settings. All nodes of an authority share it. Daemons never read it: it shows in collateral alone.

====================  =======================================================================================
field                 what it is
====================  =======================================================================================
version               1
tcb_evaluation_…      the number in TCB info and QE identity
platform_levels       from the highest: CPUSVN, PCESVN, date, conditions, advisories; at most 16
qe_levels             the same, by ISVSVN
revoked               issuer and serial number of each certificate; at most 256
expired               documents that are issued as if they had expired
====================  =======================================================================================
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from quotehelper.documents.signed_json import TIME_FORMAT, write_time
from quotehelper.platforms.simulated import private_files
from quotehelper.platforms.simulated.cpu import CPU_SVN_SIZE
from quotehelper.platforms.simulated.enclaves import Tcb
from quotehelper.platforms.simulated.json_fields import JsonFields
from quotehelper.platforms.simulated.settings import (
    ADVISORIES_LIMIT,
    ADVISORY,
    LEVELS_LIMIT,
    NO_CONDITION,
    REVOKED_LIMIT,
    Condition,
    Document,
    Level,
    Settings,
    Subject,
    initial,
    qe_tcb,
)
from quotehelper.verification.tcb import converge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from quotehelper.platforms.simulated.state import PlatformState

SETTINGS_FILE = "settings.json"
FORMAT_VERSION = 1
ISSUERS = ("root", "processor", "platform")
_SERIAL_NUMBER_SIZE = 20


def read_settings(authority: Path) -> Settings:
    """The settings of the authority in the directory ``authority``.

    Raises ConfigError if it is missing, open to others, damaged or too new.
    """
    if not (authority / SETTINGS_FILE).exists():
        private_files.read(authority)
        return initial()
    return parse_settings(authority / SETTINGS_FILE, *private_files.read(authority, SETTINGS_FILE))


def change_settings(authority: Path, change: Callable[[Settings], Settings]) -> Settings:
    """Apply ``change`` to the settings in ``authority``; of several changes at once each is made.

    Raises ConfigError as ``read_settings``, what ``change`` raises, and if the file system refuses; then nothing has
    changed.
    """
    with private_files.locked(authority):
        settings = change(read_settings(authority))
        raw = encode_settings(settings)
        parse_settings(authority / SETTINGS_FILE, raw)
        private_files.replace(authority / SETTINGS_FILE, raw)
    return settings


def describe_settings(state: PlatformState) -> dict[str, Any]:
    """What the authority says at present, and what follows for the platform of ``state``, as JSON can carry it.

    Raises ConfigError as ``read_settings`` does.
    """
    settings = read_settings(state.authority)
    platform = settings.level_of(Subject.PLATFORM, state.pck_tcb)
    qe = settings.level_of(Subject.QE, qe_tcb(state.qe.isv_svn))
    status = converge(platform.conditions.status, qe.conditions.status).value if platform and qe else None
    return {
        "tcb_status": status,
        "platform_level": _describe_level(platform),
        "qe_level": _describe_level(qe),
        "platform_levels": [_describe_level(level) for level in settings.platform_levels],
        "qe_levels": [_describe_level(level) for level in settings.qe_levels],
        "tcb_evaluation_data_number": settings.tcb_evaluation_data_number,
        "revoked": [f"{serial:040x} by {issuer}" for issuer, serial in settings.revoked],
        "expired": sorted(document.value for document in settings.expired),
    }


def encode_settings(settings: Settings) -> bytes:
    """The content of settings.json."""
    document = {
        "version": FORMAT_VERSION,
        "tcb_evaluation_data_number": settings.tcb_evaluation_data_number,
        "platform_levels": [
            {"cpu_svn": level.tcb.cpu_svn.hex(), "pce_svn": level.tcb.pce_svn, **_write_level(level)}
            for level in settings.platform_levels
        ],
        "qe_levels": [{"isv_svn": level.tcb.pce_svn, **_write_level(level)} for level in settings.qe_levels],
        "revoked": [
            {"issuer": issuer, "serial_number": serial.to_bytes(_SERIAL_NUMBER_SIZE).hex()}
            for issuer, serial in settings.revoked
        ],
        "expired": sorted(document.value for document in settings.expired),
    }
    return json.dumps(document, indent=1).encode() + b"\n"


def parse_settings(path: Path, raw: bytes) -> Settings:
    """The settings that ``raw``, the content of ``path``, describes.

    Raises ConfigError, naming file and field, for anything that ``encode_settings`` does not write.
    """
    fields = JsonFields.parse(path, raw)
    fields.version(FORMAT_VERSION)
    settings = Settings(
        tcb_evaluation_data_number=fields.integer("tcb_evaluation_data_number", 0xFFFF),
        platform_levels=tuple(
            _parse_level(level, Tcb(level.octets("cpu_svn", CPU_SVN_SIZE), level.unsigned16("pce_svn")))
            for level in fields.sections("platform_levels", LEVELS_LIMIT)
        ),
        qe_levels=tuple(
            _parse_level(level, qe_tcb(level.unsigned16("isv_svn")))
            for level in fields.sections("qe_levels", LEVELS_LIMIT)
        ),
        revoked=tuple(map(_parse_revoked, fields.sections("revoked", REVOKED_LIMIT))),
        expired=frozenset(Document(_known(fields, "expired", name, _DOCUMENTS)) for name in _texts(fields, "expired")),
    )
    fields.end()
    for subject in Subject:
        levels = settings.levels(subject)
        if not levels or len({level.tcb for level in levels}) != len(levels):
            fields.refuse(f"{subject.value}_levels", "at least one level, and each once, expected")
    return settings


_DOCUMENTS = tuple(document.value for document in Document)
_CONDITIONS = {condition.name.lower(): condition for condition in Condition if condition.name}


def _describe_level(level: Level | None) -> dict[str, Any] | None:
    if level is None:
        return None
    version: dict[str, Any] = {"isv_svn": level.tcb.pce_svn}
    if any(level.tcb.cpu_svn):
        version = {"cpu_svn": level.tcb.cpu_svn.hex(), "pce_svn": level.tcb.pce_svn}
    return {**version, "status": level.conditions.status.value, "advisories": list(level.advisory_ids)}


def _write_level(level: Level) -> dict[str, Any]:
    return {
        "date": write_time(level.date),
        "conditions": [name for name, condition in _CONDITIONS.items() if condition & level.conditions],
        "advisory_ids": list(level.advisory_ids),
    }


def _parse_level(fields: JsonFields, tcb: Tcb) -> Level:
    conditions = NO_CONDITION
    for name in _texts(fields, "conditions"):
        conditions |= _CONDITIONS[_known(fields, "conditions", name, tuple(_CONDITIONS))]
    level = Level(tcb, _parse_time(fields, "date"), conditions, fields.texts("advisory_ids", ADVISORIES_LIMIT))
    fields.end()
    if not all(map(ADVISORY.fullmatch, level.advisory_ids)):
        fields.refuse("advisory_ids", "names such as INTEL-SA-00828 expected")
    return level


def _parse_revoked(fields: JsonFields) -> tuple[str, int]:
    issuer = fields.choice("issuer", ISSUERS)
    serial_number = int.from_bytes(fields.octets("serial_number", _SERIAL_NUMBER_SIZE))
    fields.end()
    return issuer, serial_number


def _parse_time(fields: JsonFields, name: str) -> dt.datetime:
    try:
        moment = dt.datetime.strptime(fields.text(name), TIME_FORMAT).replace(tzinfo=dt.UTC)
    except ValueError:
        fields.refuse(name, "a time as 2026-01-31T23:59:59Z expected")
    return moment


def _texts(fields: JsonFields, name: str) -> tuple[str, ...]:
    return fields.texts(name, max(len(_DOCUMENTS), len(_CONDITIONS)))


def _known(fields: JsonFields, name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        fields.refuse(name, f"{', '.join(known)} are known")
    return value
