"""What EREPORT makes and what it takes: attributes, target info, report. Pure.

Source: Intel SDM volume 3D, chapter "SGX instruction references" (TARGETINFO, REPORT, ATTRIBUTES), as
measured in the project's specification notes (dcap 2.1 to 2.4, aesm 5.4 and 5.5). All integers little endian.
"""

from __future__ import annotations

import enum

from quotehelper.wire import U16, U32, U64, Octets, Structure, Substructure


class AttributeFlags(enum.IntFlag):
    """ATTRIBUTES.FLAGS: what an enclave is allowed to be. 64 bits; undefined ones are kept."""

    INIT = 0x1
    DEBUG = 0x2
    MODE64BIT = 0x4
    PROVISION_KEY = 0x10
    EINITTOKEN_KEY = 0x20
    CET = 0x40
    KSS = 0x80
    AEX_NOTIFY = 0x400


_DEBUG = int(AttributeFlags.DEBUG)
"""A plain number: a flag's own arithmetic takes ten times as long."""


class Attributes(Structure):
    """ATTRIBUTES: flags and XFRM, the extended state components an enclave may use.

    ======  ====  =====  ==========================================
    offset  size  field  note
    ======  ====  =====  ==========================================
    0       8     flags  see AttributeFlags
    8       8     xfrm   as XCR0: 0x3 legacy, 0xE7 with AVX-512, …
    ======  ====  =====  ==========================================
    """

    SIZE = 16

    flags = U64(0)
    xfrm = U64(8)

    @property
    def debug(self) -> bool:
        """Whether the enclave's memory can be read from outside: such an enclave proves nothing."""
        return self.flags & _DEBUG != 0

    @property
    def flag_names(self) -> tuple[str, ...]:
        """The names of the set flags that have one, lowest bit first."""
        return tuple(str(flag.name) for flag in AttributeFlags if self.flags & flag)


class TargetInfo(Structure):
    """TARGETINFO: for whom a report is made (EREPORT's input).

    ======  ====  ===========  =======================================
    offset  size  field        note
    ======  ====  ===========  =======================================
    0       32    mr_enclave   of the target
    32      16    attributes   of the target
    48      2     reserved
    50      2     config_svn   of the target (KSS)
    52      4     misc_select  of the target
    56      8     reserved
    64      64    config_id    of the target (KSS)
    128     384   reserved     zero
    ======  ====  ===========  =======================================
    """

    SIZE = 512

    mr_enclave = Octets(0, 32)
    attributes = Substructure(32, Attributes)
    config_svn = U16(50)
    misc_select = U32(52)
    config_id = Octets(64, 64)


class ReportBody(Structure):
    """The 384 bytes of a report that are its statement; a quote carries them unchanged.

    ======  ====  ================  =============================================
    offset  size  field             note
    ======  ====  ================  =============================================
    0       16    cpu_svn           opaque: compare for equality only
    16      4     misc_select
    20      12    reserved
    32      16    isv_ext_prod_id   KSS
    48      16    attributes
    64      32    mr_enclave        SHA-256 over the enclave's pages as loaded
    96      32    reserved
    128     32    mr_signer         SHA-256 of the signer's RSA-3072 modulus
    160     32    reserved
    192     64    config_id         KSS
    256     2     isv_prod_id
    258     2     isv_svn
    260     2     config_svn        KSS
    262     42    reserved
    304     16    isv_family_id     KSS
    320     64    report_data       whatever the enclave wants to be bound
    ======  ====  ================  =============================================
    """

    SIZE = 384

    cpu_svn = Octets(0, 16)
    misc_select = U32(16)
    isv_ext_prod_id = Octets(32, 16)
    attributes = Substructure(48, Attributes)
    mr_enclave = Octets(64, 32)
    mr_signer = Octets(128, 32)
    config_id = Octets(192, 64)
    isv_prod_id = U16(256)
    isv_svn = U16(258)
    config_svn = U16(260)
    isv_family_id = Octets(304, 16)
    report_data = Octets(320, 64)

    def as_target(self) -> TargetInfo:
        """The target info with which others make reports for the enclave that this body describes."""
        return TargetInfo.build(
            mr_enclave=self.mr_enclave,
            attributes=self.attributes,
            config_svn=self.config_svn,
            misc_select=self.misc_select,
            config_id=self.config_id,
        )


class Report(Structure):
    """REPORT: a body, proven to one enclave on the same processor by a MAC.

    ======  ====  ======  ======================================================
    offset  size  field   note
    ======  ====  ======  ======================================================
    0       384   body
    384     32    key_id  input of the target's report key, outside the MAC
    416     16    mac     AES-128-CMAC of the body under the target's report key
    ======  ====  ======  ======================================================
    """

    SIZE = 432

    body = Substructure(0, ReportBody)
    key_id = Octets(384, 32)
    mac = Octets(416, 16)
