"""A software SGX processor: what EREPORT and EGETKEY compute, and nothing else. Pure.

Source: Intel SDM volume 3D, EGETKEY and EREPORT operation, as measured in dcap 2.5 and 2.6. The key derivation
function itself is nobody's business outside the processor, so ours is free: AES-128-CMAC over one record of fixed
layout that holds exactly the architectural inputs (`KeyDependencies`). Any change to it changes every key of every
simulated platform; a test pins it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.hmac import HMAC

from quotehelper.errors import DecodeError, PlatformCause, PlatformError
from quotehelper.sgx.key_request import KSS_POLICIES, KeyName, KeyPolicy, KeyRequest
from quotehelper.sgx.report import AttributeFlags, Attributes, Report, ReportBody
from quotehelper.wire import U16, U32, Octets, Structure, Substructure

if TYPE_CHECKING:
    from typing import Any, Self

    from quotehelper.sgx.report import TargetInfo

SECRET_SIZE = 32
CPU_SVN_SIZE = 16

ALWAYS_BOUND = AttributeFlags.INIT | AttributeFlags.DEBUG
"""Attributes that every masked key is bound to, whatever the request's mask: no debug enclave gets another's key."""

_UNKNOWN_POLICIES = 0xFFFF ^ int(KeyPolicy.MRENCLAVE | KeyPolicy.MRSIGNER | KSS_POLICIES)
_REPORT_KEYS_KEPT = 8
"""Prepared report keys an enclave keeps. A processor uses one KEYID from boot to boot."""


class KeyRefusal(enum.StrEnum):
    """Why EGETKEY refuses: the ``detail`` of a PlatformError whose cause is KEY_REFUSED."""

    INVALID_ATTRIBUTE = "the enclave lacks the attribute that this key demands"
    INVALID_CPU_SVN = "the CPUSVN asked for is above the processor's"
    INVALID_ISV_SVN = "the ISVSVN or CONFIGSVN asked for is above the enclave's"
    INVALID_KEY_NAME = "there is no key of this name"
    FAULT = "reserved bits are set, or a KSS field is used without the KSS attribute"


class EnclaveIdentity(NamedTuple):
    """What the processor knows about an initialised enclave: sizes as in ReportBody; KSS fields zero without KSS."""

    mr_enclave: bytes
    mr_signer: bytes
    attributes: Attributes
    misc_select: int = 0
    isv_prod_id: int = 0
    isv_svn: int = 0
    config_id: bytes = bytes(64)
    config_svn: int = 0
    isv_family_id: bytes = bytes(16)
    isv_ext_prod_id: bytes = bytes(16)


class KeyDependencies(Structure):
    """All inputs of a derived key; what a key isn't bound to stays zero (dcap 2.5 and 2.6).

    Our own layout: no processor shows its own. The first 128 bytes lie as in TARGETINFO, so that a report key, which
    anybody can make us derive by sending a report, costs no rearranging. The fixed padding of the architecture is left
    out, as a constant tells no two keys apart.

    ======  ====  ===============  ===========================================
    offset  size  field            note
    ======  ====  ===============  ===========================================
    0       32    mr_enclave
    32      16    attributes       masked; whole for REPORT
    50      2     config_svn       as requested; the target's for REPORT
    52      4     misc_select      masked; whole for REPORT
    64      64    config_id
    128     2     key_name
    130     2     key_policy       SEAL, PROVISION_SEAL
    132     2     isv_prod_id
    134     2     isv_svn          as requested
    136     4     misc_mask        the inverse of the request's
    144     16    attribute_mask   as requested
    160     16    cpu_svn          as requested; the processor's own for REPORT
    176     16    owner_epoch      not in PROVISION and PROVISION_SEAL
    192     16    seal_fuses       not in PROVISION
    208     16    isv_family_id
    224     16    isv_ext_prod_id
    240     32    mr_signer
    272     32    key_id           not in PROVISION and PROVISION_SEAL
    ======  ====  ===============  ===========================================
    """

    SIZE = 304

    mr_enclave = Octets(0, 32)
    attributes = Substructure(32, Attributes)
    config_svn = U16(50)
    misc_select = U32(52)
    config_id = Octets(64, 64)
    key_name = U16(128)
    key_policy = U16(130)
    isv_prod_id = U16(132)
    isv_svn = U16(134)
    misc_mask = U32(136)
    attribute_mask = Substructure(144, Attributes)
    cpu_svn = Octets(160, 16)
    owner_epoch = Octets(176, 16)
    seal_fuses = Octets(192, 16)
    isv_family_id = Octets(208, 16)
    isv_ext_prod_id = Octets(224, 16)
    mr_signer = Octets(240, 32)
    key_id = Octets(272, 32)


def aes_cmac(key: bytes, message: bytes) -> bytes:
    """AES-128-CMAC of ``message``: 16 bytes."""
    mac = CMAC(AES(key))
    mac.update(message)
    return mac.finalize()


def sha256(message: bytes) -> bytes:
    """SHA-256 of ``message``. Not hashlib's: that would load a second OpenSSL, 4 MiB, into the serving process."""
    digest = Hash(SHA256())
    digest.update(message)
    return digest.finalize()


def covers(ceiling: bytes, cpu_svn: bytes) -> bool:
    """Whether a processor at ``ceiling`` may have keys of ``cpu_svn``: each of the 16 components at most its own.

    CPUSVN is opaque in general; where a platform's TCB type is 0, as here, its bytes are the components (dcap 2.4).
    """
    return all(asked <= own for asked, own in zip(cpu_svn, ceiling, strict=True))


class Fuses(NamedTuple):
    """What differs from one processor to the next, all of it secret but the KEYID.

    A real report KEYID is new at every boot; here it stays, so that reports survive a restart of the daemon.
    """

    provisioning_root: bytes
    """16 bytes: the root of all keys; Intel knows it, and so can compute PROVISION keys."""
    seal_fuses: bytes
    """16 bytes that nobody knows."""
    owner_epoch: bytes
    """16 bytes that the platform's owner can change."""
    report_key_id: bytes
    """32 bytes, public: in every report."""

    @classmethod
    def from_secret(cls, secret: bytes) -> Self:
        """The fuses that belong to a 32-byte ``secret``. Raises DecodeError if it has another size."""
        _check_size("secret", secret, SECRET_SIZE)
        return cls(
            provisioning_root=_labelled(secret, "provisioning root")[:16],
            seal_fuses=_labelled(secret, "seal fuses")[:16],
            owner_epoch=_labelled(secret, "owner epoch")[:16],
            report_key_id=_labelled(secret, "report key id"),
        )

    def __repr__(self) -> str:
        return "Fuses(…)"


class Cpu:
    """One processor at its present CPUSVN (16 bytes)."""

    __slots__ = ("_fuses", "_report_tail", "cpu_svn")

    def __init__(self, fuses: Fuses, cpu_svn: bytes) -> None:
        """Raises DecodeError unless ``cpu_svn`` has 16 bytes."""
        _check_size("cpu_svn", cpu_svn, CPU_SVN_SIZE)
        self.cpu_svn = cpu_svn
        self._fuses = fuses
        report = KeyDependencies.build(
            key_name=KeyName.REPORT, cpu_svn=cpu_svn, owner_epoch=fuses.owner_epoch, seal_fuses=fuses.seal_fuses
        )
        self._report_tail = report.raw[128:272]

    @property
    def report_key_id(self) -> bytes:
        """The KEYID of the reports made on this processor."""
        return self._fuses.report_key_id

    def load(self, identity: EnclaveIdentity) -> Enclave:
        """An initialised enclave of ``identity`` on this processor: the processor believes every measurement.

        Raises DecodeError if a value of ``identity`` does not fit its field.
        """
        return Enclave(self, identity)

    def report_key(self, target: TargetInfo, key_id: bytes) -> bytes:
        """The key with which ``target`` checks reports made for it (dcap 2.5). MRSIGNER and ISVSVN are no inputs."""
        raw = target.raw
        bound = (raw[:48], b"\0\0", raw[50:56], bytes(8), raw[64:128])  # all but the reserved bytes
        return aes_cmac(self._fuses.provisioning_root, b"".join((*bound, self._report_tail, key_id)))

    def masked_key(self, name: KeyName, key_id: bytes, **bound: Any) -> bytes:  # noqa: ANN401  see Structure.build
        """A key other than REPORT, bound to ``bound`` and to as much of the processor as ``name`` demands (dcap 2.6).

        PROVISION knows neither fuses nor owner epoch, so whoever knows the provisioning root can compute it;
        PROVISION_SEAL adds the fuses; neither takes a KEYID. All others add both and the KEYID.
        """
        if name is not KeyName.PROVISION:
            bound["seal_fuses"] = self._fuses.seal_fuses
            if name is not KeyName.PROVISION_SEAL:
                bound["owner_epoch"] = self._fuses.owner_epoch
                bound["key_id"] = key_id
        return aes_cmac(self._fuses.provisioning_root, KeyDependencies.build(key_name=name, **bound).raw)


class Enclave:
    """An enclave on a processor: the instructions it can execute."""

    __slots__ = ("_cpu", "_report_macs", "body", "identity", "target")

    def __init__(self, cpu: Cpu, identity: EnclaveIdentity) -> None:
        self.identity = identity
        self.body = ReportBody.build(cpu_svn=cpu.cpu_svn, **identity._asdict())
        """What its reports say, with report data of zeros."""
        self.target = self.body.as_target()
        """For whom others make the reports that this enclave can check."""
        self._cpu = cpu
        self._report_macs: dict[bytes, CMAC] = {}

    def report(self, target: TargetInfo, report_data: bytes) -> Report:
        """EREPORT: a report about this enclave, with 64 bytes of ``report_data``, that ``target`` can check.

        Raises DecodeError if ``report_data`` has another size.
        """
        body = self.body.replace(report_data=report_data)
        key_id = self._cpu.report_key_id
        return Report(body.raw + key_id + aes_cmac(self._cpu.report_key(target, key_id), body.raw))

    def verify_report(self, report: Report) -> bool:
        """Whether ``report``, which anybody may have made up, was made by EREPORT on this processor for this enclave.

        KEYID is the sender's choice. So only one whose MAC held is remembered: forgeries push nothing out.
        """
        raw = report.raw
        key_id = raw[384:416]
        prepared = self._report_macs.get(key_id)
        known = prepared is not None
        if prepared is None:
            prepared = CMAC(AES(self._cpu.report_key(self.target, key_id)))
        mac = prepared.copy()
        mac.update(raw[:384])
        try:
            mac.verify(raw[416:])  # in constant time
        except InvalidSignature:
            return False
        if not known:
            self._remember(key_id, prepared)
        return True

    def key(self, request: KeyRequest) -> bytes:
        """EGETKEY: the 16-byte key that ``request`` names, for this enclave.

        Raises PlatformError with cause KEY_REFUSED; its detail is a KeyRefusal.
        """
        self._check_format(request)
        try:
            name = KeyName(request.key_name)
        except ValueError:
            raise _refused(KeyRefusal.INVALID_KEY_NAME) from None
        if name is KeyName.REPORT:
            return self._cpu.report_key(self.target, request.key_id)
        self._check_rights(name, request)
        bound = self._masked(request)
        if name is KeyName.EINITTOKEN:
            bound.update(attribute_mask=Attributes(bytes(16)), misc_mask=0)
        if name in {KeyName.SEAL, KeyName.PROVISION_SEAL}:
            bound.update(self._chosen(request, KeyPolicy(request.key_policy)))
        if name is not KeyName.SEAL:
            bound.update(mr_enclave=bytes(32), mr_signer=self.identity.mr_signer)
        return self._cpu.masked_key(name, request.key_id, **bound)

    def _remember(self, key_id: bytes, prepared: CMAC) -> None:
        if len(self._report_macs) >= _REPORT_KEYS_KEPT:
            del self._report_macs[next(iter(self._report_macs))]
        self._report_macs[key_id] = prepared

    def _check_format(self, request: KeyRequest) -> None:
        """Raise what the instruction answers with a general protection fault."""
        policy = request.key_policy
        kss = self.identity.attributes.flags & AttributeFlags.KSS
        if any(request.reserved) or policy & _UNKNOWN_POLICIES:
            raise _refused(KeyRefusal.FAULT)
        if not kss and (policy & KSS_POLICIES or request.config_svn):
            raise _refused(KeyRefusal.FAULT)

    def _check_rights(self, name: KeyName, request: KeyRequest) -> None:
        """Raise if the enclave may not have this key, or not of this age: keys of the future are refused.

        CONFIGSVN has a ceiling for SEAL alone, as in the SDM.
        """
        demanded = {
            KeyName.EINITTOKEN: AttributeFlags.EINITTOKEN_KEY,
            KeyName.PROVISION: AttributeFlags.PROVISION_KEY,
            KeyName.PROVISION_SEAL: AttributeFlags.PROVISION_KEY,
        }.get(name, AttributeFlags(0))
        if demanded & ~self.identity.attributes.flags:
            raise _refused(KeyRefusal.INVALID_ATTRIBUTE)
        if not covers(self._cpu.cpu_svn, request.cpu_svn):
            raise _refused(KeyRefusal.INVALID_CPU_SVN)
        if request.isv_svn > self.identity.isv_svn:
            raise _refused(KeyRefusal.INVALID_ISV_SVN)
        if name is KeyName.SEAL and request.config_svn > self.identity.config_svn:
            raise _refused(KeyRefusal.INVALID_ISV_SVN)

    def _masked(self, request: KeyRequest) -> dict[str, Any]:
        """What all keys but REPORT are bound to."""
        own, mask = self.identity.attributes, request.attribute_mask
        return {
            "isv_prod_id": self.identity.isv_prod_id,
            "isv_svn": request.isv_svn,
            "cpu_svn": request.cpu_svn,
            "attributes": Attributes.build(flags=own.flags & (mask.flags | ALWAYS_BOUND), xfrm=own.xfrm & mask.xfrm),
            "attribute_mask": mask,
            "misc_select": self.identity.misc_select & request.misc_mask,
            "misc_mask": ~request.misc_mask & 0xFFFF_FFFF,
        }

    def _chosen(self, request: KeyRequest, policy: KeyPolicy) -> dict[str, Any]:
        """What SEAL and PROVISION_SEAL are bound to at the request's choice, the choice included."""
        own = self.identity
        chosen: dict[str, Any] = {"key_policy": policy}
        if policy & KeyPolicy.MRENCLAVE:
            chosen["mr_enclave"] = own.mr_enclave
        if policy & KeyPolicy.MRSIGNER:
            chosen["mr_signer"] = own.mr_signer
        if policy & KeyPolicy.NOISVPRODID:
            chosen["isv_prod_id"] = 0
        if policy & KeyPolicy.CONFIGID:
            chosen.update(config_id=own.config_id, config_svn=request.config_svn)
        if policy & KeyPolicy.ISVFAMILYID:
            chosen["isv_family_id"] = own.isv_family_id
        if policy & KeyPolicy.ISVEXTPRODID:
            chosen["isv_ext_prod_id"] = own.isv_ext_prod_id
        return chosen


def _check_size(name: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise DecodeError("Cpu", name, f"{size} bytes expected, {len(value)} given")


def _labelled(secret: bytes, label: str) -> bytes:
    """32 bytes that belong to ``label``: HMAC-SHA256, a pseudo-random function of the secret."""
    mac = HMAC(secret, SHA256())
    mac.update(f"quotehelper simulated cpu: {label}".encode())
    return mac.finalize()


def _refused(refusal: KeyRefusal) -> PlatformError:
    return PlatformError(PlatformCause.KEY_REFUSED, refusal)
