"""What EGETKEY takes: which key, bound to what. Pure.

Source: Intel SDM volume 3D, KEYREQUEST and EGETKEY, as measured in dcap 2.3. All integers little endian.
"""

from __future__ import annotations

import enum

from quotehelper.sgx.report import Attributes
from quotehelper.wire import U16, U32, Octets, Structure, Substructure


class KeyName(enum.IntEnum):
    """``key_name``: the key that is asked for."""

    EINITTOKEN = 0
    PROVISION = 1
    PROVISION_SEAL = 2
    REPORT = 3
    SEAL = 4


class KeyPolicy(enum.IntFlag):
    """``key_policy``: which parts of the enclave's identity the key is bound to. The last four need KSS."""

    MRENCLAVE = 0x01
    MRSIGNER = 0x02
    NOISVPRODID = 0x04
    CONFIGID = 0x08
    ISVFAMILYID = 0x10
    ISVEXTPRODID = 0x20


KSS_POLICIES = KeyPolicy.NOISVPRODID | KeyPolicy.CONFIGID | KeyPolicy.ISVFAMILYID | KeyPolicy.ISVEXTPRODID
"""The policies that only an enclave with the KSS attribute may ask for."""


class KeyRequest(Structure):
    """KEYREQUEST: EGETKEY's input.

    ======  ====  ==============  =====================================================================
    offset  size  field           note
    ======  ====  ==============  =====================================================================
    0       2     key_name        see KeyName
    2       2     key_policy      see KeyPolicy; SEAL and PROVISION_SEAL only
    4       2     isv_svn         at most the enclave's own
    6       2     reserved        must be zero
    8       16    cpu_svn         at most the processor's, component by component
    24      16    attribute_mask  attributes the key is bound to; INIT and DEBUG always are
    40      32    key_id          diversifies REPORT, SEAL and EINITTOKEN keys
    72      4     misc_mask       bits of MISCSELECT the key is bound to
    76      2     config_svn      at most the enclave's own (KSS)
    78      434   reserved        must be zero
    ======  ====  ==============  =====================================================================
    """

    SIZE = 512

    key_name = U16(0)
    key_policy = U16(2)
    isv_svn = U16(4)
    cpu_svn = Octets(8, 16)
    attribute_mask = Substructure(24, Attributes)
    key_id = Octets(40, 32)
    misc_mask = U32(72)
    config_svn = U16(76)

    @property
    def reserved(self) -> bytes:
        """The bytes that must be zero, in order of offset."""
        return self.raw[6:8] + self.raw[78:]
