"""Which attestation key, and what a caller gets besides the quote. Pure.

Source: aesm 5.1 to 5.3 and 5.6, dcap 4.1 (``sgx_ql_att_key_id_t``, ``sgx_att_key_id_ext_t``,
``sgx_ql_att_key_id_list_t``, ``sgx_ql_qe_report_info_t``). All integers little endian.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from quotehelper.errors import DecodeError
from quotehelper.sgx.report import Report, TargetInfo
from quotehelper.wire import U16, U32, Octets, Reader, Structure, Substructure

if TYPE_CHECKING:
    from collections.abc import Sequence


class AttestationAlgorithm(enum.IntEnum):
    """``algorithm_id`` of an attestation key."""

    EPID_UNLINKABLE = 0
    EPID_LINKABLE = 1
    ECDSA_P256 = 2
    ECDSA_P384 = 3


class AttestationKeyId(Structure):
    """``sgx_att_key_id_ext_t``: names an attestation key. Only the first 158 bytes (``base``) decide which.

    ======  ====  ================  ============================================
    offset  size  field             note
    ======  ====  ================  ============================================
    0       2     id                0
    2       2     version           0
    4       2     mr_signer_length  32
    6       48    mr_signer         of the quoting enclave: 32 bytes, then zeros
    54      4     prod_id           of the quoting enclave
    58      16    extended_prod_id
    74      64    config_id
    138     16    family_id
    154     4     algorithm_id      see AttestationAlgorithm
    158     16    spid              EPID only
    174     2     att_key_type      EPID only: 0 unlinkable, 1 linkable
    176     80    reserved
    ======  ====  ================  ============================================
    """

    SIZE = 256
    BASE_SIZE = 158

    id = U16(0)
    version = U16(2)
    mr_signer_length = U16(4)
    mr_signer = Octets(6, 48)
    prod_id = U32(54)
    extended_prod_id = Octets(58, 16)
    config_id = Octets(74, 64)
    family_id = Octets(138, 16)
    algorithm_id = U32(154)
    spid = Octets(158, 16)
    att_key_type = U16(174)

    @property
    def base(self) -> bytes:
        """The first 158 bytes, ``sgx_ql_att_key_id_t``: two ids with equal bases name the same key."""
        return self.raw[: self.BASE_SIZE]


QE3_MR_SIGNER = bytes.fromhex("8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff")
"""MRSIGNER of Intel's production QE3 (aesm 5.3)."""

QE3_KEY_ID = AttestationKeyId.build(
    mr_signer_length=32,
    mr_signer=QE3_MR_SIGNER + bytes(16),
    prod_id=1,
    algorithm_id=AttestationAlgorithm.ECDSA_P256,
)
"""The ECDSA-P256 key id of the production QE3, which clients have compiled in (aesm 5.3)."""

KEY_ID_LIST_HEADER_SIZE = 8
KEY_ID_LIST_LIMIT = 10
"""Ids in a list at most; Intel's service refuses more (aesm 4.2)."""


def read_key_id_list(raw: bytes) -> tuple[AttestationKeyId, ...]:
    """The ids of an ``sgx_ql_att_key_id_list_t``, 0 to 10 of them, in the caller's order.

    ======  =======  ===========  ===========================
    offset  size     field        note
    ======  =======  ===========  ===========================
    0       2        id           0
    2       2        version      0
    4       4        num_att_ids  0 to 10
    8       256 * n  ids          sgx_att_key_id_ext_t each
    ======  =======  ===========  ===========================

    ``raw`` is the caller's. Raises DecodeError for anything but a whole list: a list with no id included, as
    Intel's service demands room for one (aesm 4.2).
    """
    reader = Reader(raw, "AttestationKeyIdList")
    for field in ("id", "version"):
        if value := reader.unsigned(2, field):
            reader.refuse(field, f"{value} given, only 0 is known")
    count = reader.unsigned(4, "num_att_ids")
    if count > KEY_ID_LIST_LIMIT:
        reader.refuse("num_att_ids", f"{count} ids given, at most {KEY_ID_LIST_LIMIT} are taken")
    if reader.remaining < AttestationKeyId.SIZE:
        reader.refuse("ids", f"room for at least one id expected, {reader.remaining} bytes left")
    ids = tuple(AttestationKeyId(reader.octets(AttestationKeyId.SIZE, "ids")) for _ in range(count))
    reader.end()
    return ids


def encode_key_id_list(ids: Sequence[AttestationKeyId]) -> bytes:
    """An ``sgx_ql_att_key_id_list_t`` of 1 to 10 ids. Raises DecodeError for more or none."""
    if not 1 <= len(ids) <= KEY_ID_LIST_LIMIT:
        raise DecodeError("AttestationKeyIdList", "num_att_ids", f"{len(ids)} ids given, 1 to 10 can be listed")
    return bytes(4) + len(ids).to_bytes(4, "little") + b"".join(key_id.raw for key_id in ids)


class QeReportInfo(Structure):
    """``sgx_ql_qe_report_info_t``: a nonce goes in, a report of the quoting enclave comes out.

    ======  ====  ========================  ==============================================================
    offset  size  field                     note
    ======  ====  ========================  ==============================================================
    0       16    nonce                     the caller's
    16      512   app_enclave_target_info   the caller's: for whom the QE's report is made
    528     432   qe_report                 report_data = SHA-256(nonce ‖ quote without padding) ‖ 32 zeros
    ======  ====  ========================  ==============================================================
    """

    SIZE = 960

    nonce = Octets(0, 16)
    app_enclave_target_info = Substructure(16, TargetInfo)
    qe_report = Substructure(528, Report)
