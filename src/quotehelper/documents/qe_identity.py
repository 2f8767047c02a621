"""Enclave identities, version 2: which quoting (or verifying) enclaves are genuine, and how good each version is. Pure.

Source: dcap 7.2. Served as ``{"enclaveIdentity": {…}, "signature": "…"}``. Hexadecimal values are in memory order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quotehelper.documents.signed_json import parse_object, write_object, write_time
from quotehelper.documents.tcb_info import TcbStatus, parse_status

if TYPE_CHECKING:
    import datetime as dt

    from quotehelper.documents.signed_json import Fields

NAME = "enclaveIdentity"
VERSION = 2
ENCLAVES = ("QE", "QVE", "QAE", "TD_QE")
_NUMBER_MAX = 0x7FFF_FFFF


@dataclass(frozen=True, slots=True)
class IdentityLevel:
    """A level: it is reached by an enclave whose ISVSVN is at least ``isv_svn``."""

    isv_svn: int
    tcb_date: dt.datetime
    status: TcbStatus
    advisory_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EnclaveIdentity:
    """What a genuine enclave's report says: (report value AND mask) equals the value here, which is not masked.

    ``misc_select`` and its mask: 4 bytes; ``attributes`` and its mask: 16; ``mr_signer``: 32.
    """

    id: str
    issue_date: dt.datetime
    next_update: dt.datetime
    tcb_evaluation_data_number: int
    misc_select: bytes
    misc_select_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mr_signer: bytes
    isv_prod_id: int
    levels: tuple[IdentityLevel, ...]


def parse_enclave_identity(body: bytes) -> EnclaveIdentity:
    """The identity in ``body``, the inner object's text, whose signature should have been verified.

    Raises DecodeError, naming the field's path, for anything that Intel's schema does not have.
    """
    fields = parse_object(body, NAME)
    if fields.string("id") not in ENCLAVES:
        fields.refuse("id", f"one of {', '.join(ENCLAVES)} expected")
    if fields.integer("version", _NUMBER_MAX) != VERSION:
        fields.refuse("version", "only 2 is known")
    return EnclaveIdentity(
        id=fields.string("id"),
        issue_date=fields.time("issueDate"),
        next_update=fields.time("nextUpdate"),
        tcb_evaluation_data_number=fields.integer("tcbEvaluationDataNumber", _NUMBER_MAX),
        misc_select=fields.octets("miscselect", 4),
        misc_select_mask=fields.octets("miscselectMask", 4),
        attributes=fields.octets("attributes", 16),
        attributes_mask=fields.octets("attributesMask", 16),
        mr_signer=fields.octets("mrsigner", 32),
        isv_prod_id=fields.integer("isvprodid", 0xFFFF),
        levels=_parse_levels(fields),
    )


def encode_enclave_identity(identity: EnclaveIdentity) -> bytes:
    """The inner object's text in Intel's form and order of members: what the authority signs."""
    return write_object(
        {
            "id": identity.id,
            "version": VERSION,
            "issueDate": write_time(identity.issue_date),
            "nextUpdate": write_time(identity.next_update),
            "tcbEvaluationDataNumber": identity.tcb_evaluation_data_number,
            "miscselect": identity.misc_select.hex().upper(),
            "miscselectMask": identity.misc_select_mask.hex().upper(),
            "attributes": identity.attributes.hex().upper(),
            "attributesMask": identity.attributes_mask.hex().upper(),
            "mrsigner": identity.mr_signer.hex().upper(),
            "isvprodid": identity.isv_prod_id,
            "tcbLevels": [
                {
                    "tcb": {"isvsvn": level.isv_svn},
                    "tcbDate": write_time(level.tcb_date),
                    "tcbStatus": level.status.value,
                    **({"advisoryIDs": list(level.advisory_ids)} if level.advisory_ids else {}),
                }
                for level in identity.levels
            ],
        }
    )


def _parse_levels(fields: Fields) -> tuple[IdentityLevel, ...]:
    levels = tuple(
        IdentityLevel(
            level.section("tcb").integer("isvsvn", 0xFFFF),
            level.time("tcbDate"),
            parse_status(level),
            level.strings("advisoryIDs"),
        )
        for level in fields.sections("tcbLevels")
    )
    if not levels:
        fields.refuse("tcbLevels", "at least one level expected")
    return levels
