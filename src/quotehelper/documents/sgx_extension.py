"""The SGX extension of PCK certificates: which platform, at which TCB. Pure.

Source: Intel's PCK certificate and CRL profile specification, as measured in dcap 5.1. OID 1.2.840.113741.1.13.1,
a SEQUENCE of SEQUENCE { OID, value } in this order:

==========  ========================  ==================  =============================================
suffix      field                     value               note
==========  ========================  ==================  =============================================
.1          ppid                      OCTET STRING (16)   identifies the platform: keep it private
.2          tcb                       SEQUENCE of 18
.2.1-16     tcb component SVNs        INTEGER 0..255
.2.17       pce_svn                   INTEGER 0..65535
.2.18       cpu_svn                   OCTET STRING (16)   equals the components where tcbType is 0
.3          pce_id                    OCTET STRING (2)    little endian
.4          fmspc                     OCTET STRING (6)
.5          sgx_type                  ENUMERATED
.6          platform_instance_id      OCTET STRING (16)   platform CA only
.7          configuration             SEQUENCE of 3       platform CA only
.7.1        dynamic_platform          BOOLEAN
.7.2        cached_keys               BOOLEAN
.7.3        smt_enabled               BOOLEAN
==========  ========================  ==================  =============================================
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from quotehelper.documents import der
from quotehelper.documents.der import DerReader, Tag

OID = "1.2.840.113741.1.13.1"
COMPONENTS = 16
_OID_BYTES = bytes.fromhex("2a864886f84d010d01")
_STRUCTURE = "SgxExtension"


class SgxType(enum.IntEnum):
    """How the platform protects enclave memory."""

    STANDARD = 0
    SCALABLE = 1
    SCALABLE_WITH_INTEGRITY = 2


@dataclass(frozen=True, slots=True)
class PlatformConfiguration:
    """What a platform CA's certificate adds: how a machine of several packages is set up."""

    platform_instance_id: bytes
    dynamic_platform: bool
    cached_keys: bool
    smt_enabled: bool


@dataclass(frozen=True, slots=True)
class SgxExtension:
    """The extension's fields; ``configuration`` is None in the processor CA's certificates."""

    ppid: bytes
    components: tuple[int, ...]
    pce_svn: int
    cpu_svn: bytes
    pce_id: bytes
    fmspc: bytes
    sgx_type: SgxType
    configuration: PlatformConfiguration | None = None

    def __repr__(self) -> str:
        return f"SgxExtension(fmspc={self.fmspc.hex()}, …)"  # a PPID must not get into a log


def read_sgx_extension(raw: bytes) -> SgxExtension:
    """The extension in ``raw``, its DER; a certificate's issuer controls it.

    Raises DecodeError, naming the field, for anything but exactly the 5 or 7 elements above.
    """
    outer = DerReader(raw, _STRUCTURE)
    items = DerReader(outer.element(Tag.SEQUENCE, ""), _STRUCTURE)
    outer.end()
    ppid = _item(items, "ppid", 1).octets("ppid", 16)
    tcb_item = _item(items, "tcb", 2)
    tcb = DerReader(tcb_item.element(Tag.SEQUENCE, "tcb"), _STRUCTURE)
    numbers = range(1, COMPONENTS + 1)
    components = tuple(_item(tcb, f"tcb.{n}", 2, n).integer(f"tcb.{n}", 0xFF) for n in numbers)
    pce_svn = _item(tcb, "pce_svn", 2, 17).integer("pce_svn", 0xFFFF)
    cpu_svn = _item(tcb, "cpu_svn", 2, 18).octets("cpu_svn", 16)
    tcb.end()
    pce_id = _item(items, "pce_id", 3).octets("pce_id", 2)
    fmspc = _item(items, "fmspc", 4).octets("fmspc", 6)
    sgx_type = SgxType(_item(items, "sgx_type", 5).integer("sgx_type", max(SgxType), Tag.ENUMERATED))
    configuration = _read_configuration(items) if items.more else None
    items.end()
    return SgxExtension(ppid, components, pce_svn, cpu_svn, pce_id, fmspc, sgx_type, configuration)


def encode_sgx_extension(extension: SgxExtension) -> bytes:
    """The extension's DER, as Intel writes it."""
    tcb = [_pair(der.encode_integer(svn), 2, number) for number, svn in enumerate(extension.components, 1)]
    tcb += [_pair(der.encode_integer(extension.pce_svn), 2, 17), _pair(_octets(extension.cpu_svn), 2, 18)]
    items = [
        _pair(_octets(extension.ppid), 1),
        _pair(der.encode(Tag.SEQUENCE, *tcb), 2),
        _pair(_octets(extension.pce_id), 3),
        _pair(_octets(extension.fmspc), 4),
        _pair(der.encode_integer(extension.sgx_type, Tag.ENUMERATED), 5),
    ]
    if (configuration := extension.configuration) is not None:
        flags = (configuration.dynamic_platform, configuration.cached_keys, configuration.smt_enabled)
        truths = [_pair(der.encode_boolean(value=flag), 7, number) for number, flag in enumerate(flags, 1)]
        items += [_pair(_octets(configuration.platform_instance_id), 6), _pair(der.encode(Tag.SEQUENCE, *truths), 7)]
    return der.encode(Tag.SEQUENCE, *items)


def _read_configuration(items: DerReader) -> PlatformConfiguration:
    instance_id = _item(items, "platform_instance_id", 6).octets("platform_instance_id", 16)
    item = _item(items, "configuration", 7)
    flags = DerReader(item.element(Tag.SEQUENCE, "configuration"), _STRUCTURE)
    names = ("dynamic_platform", "cached_keys", "smt_enabled")
    truths = [_item(flags, name, 7, number).boolean(name) for number, name in enumerate(names, 1)]
    flags.end()
    return PlatformConfiguration(instance_id, *truths)


def _item(items: DerReader, field: str, *suffix: int) -> DerReader:
    """What stands behind the OID in the next SEQUENCE { OID, value } of ``items``; the value must be all there is."""
    pair = DerReader(items.element(Tag.SEQUENCE, field), _STRUCTURE)
    if pair.element(Tag.OBJECT_IDENTIFIER, field) != _OID_BYTES + bytes(suffix):
        pair.refuse(field, f"OID {OID}.{'.'.join(map(str, suffix))} expected")
    return pair.only()


def _pair(value: bytes, *suffix: int) -> bytes:
    return der.encode(Tag.SEQUENCE, der.encode(Tag.OBJECT_IDENTIFIER, _OID_BYTES + bytes(suffix)), value)


def _octets(value: bytes) -> bytes:
    return der.encode(Tag.OCTET_STRING, value)
