"""The provisioning certification enclave (PCE) and the quoting enclave (QE3): what they compute. Pure.

Source: dcap 3.1 to 3.5; the cryptographic bindings are Intel's to the letter, so every verifier follows them. Keys
are derived, never stored: the same processor and enclave versions always yield the same ones. A Qe3 has its
attestation key certified when it comes to be; from then on a quote costs one MAC, one signature and one join.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from quotehelper.errors import PlatformCause, PlatformError
from quotehelper.platforms.simulated.cpu import EnclaveIdentity, KeyRefusal, aes_cmac, sha256
from quotehelper.sgx.key_id import QE3_MR_SIGNER, QeReportInfo
from quotehelper.sgx.key_request import KeyName, KeyPolicy, KeyRequest
from quotehelper.sgx.quote import ECDSA_P256_KEY_TYPE, INTEL_QE_VENDOR_ID, QuoteHeader, encode_qe_certification
from quotehelper.sgx.report import AttributeFlags, Attributes, TargetInfo

if TYPE_CHECKING:
    from quotehelper.platforms.simulated.cpu import Cpu, Enclave
    from quotehelper.sgx.quote import CertificationData
    from quotehelper.sgx.report import Report

PCE_MR_SIGNER = bytes.fromhex("c54a62f2be9ef76efb1f3930ad81ea7f60defc1f5f25e09b7c067a815ae0c6cb")
"""MRSIGNER of Intel's production PCE (aesm 5.3)."""

PCE_ID = bytes(2)
"""The only PCE there is (dcap 3.1)."""

QE3_ISV_SVN = 11
PCE_ISV_SVN = 16
"""Versions of 2026 (dcap 3.1)."""

AUTH_DATA = bytes(range(32))
"""What the attestation key is bound together with: Intel's placeholder; dcap-qvl takes 32 bytes only (dcap 3.2)."""

ATTESTATION_KEY_LABEL = b"QE_ATT_DER"
PCK_LABEL = b"PAK_KEY_DER"
QE_ID_LABEL = b"QE_ID_DER"

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_SCALAR_BITS = 320
_ZEROS = bytes(32)
_PRIVILEGED = Attributes.build(
    flags=AttributeFlags.INIT | AttributeFlags.MODE64BIT | AttributeFlags.PROVISION_KEY,
    xfrm=0xE7,  # x87, SSE, AVX, AVX-512
)
_BOUND_ATTRIBUTES = Attributes.build(flags=0xFFFF_FFFF_FFFF_FFFF ^ int(AttributeFlags.MODE64BIT))
_BOUND_MISC = 0xFFFF_FFFF


class Tcb(NamedTuple):
    """A level that a PCK certificate speaks of: a CPUSVN and a PCESVN."""

    cpu_svn: bytes
    pce_svn: int


def qe3_identity(isv_svn: int = QE3_ISV_SVN, mr_enclave: bytes | None = None) -> EnclaveIdentity:
    """The quoting enclave at a version; without ``mr_enclave`` each version has one of its own, as builds do."""
    return _identity("qe3", QE3_MR_SIGNER, isv_svn, mr_enclave)


def pce_identity(isv_svn: int = PCE_ISV_SVN, mr_enclave: bytes | None = None) -> EnclaveIdentity:
    """The provisioning certification enclave at a version, likewise."""
    return _identity("pce", PCE_MR_SIGNER, isv_svn, mr_enclave)


def p256_scalar(key: bytes, label: bytes) -> int:
    """A P-256 private key out of a 16-byte ``key``: 320 bits, reduced as FIPS 186-4 B.4.1 asks (dcap 3.2).

    Three CMAC blocks in counter mode: counter (1), ``label`` (at most 13 bytes), zeros, length in bits (2, big
    endian); their first 40 bytes are a big-endian number c; the result is c mod (n - 1) + 1.
    """
    blocks = (aes_cmac(key, _derivation_block(counter, label, _SCALAR_BITS)) for counter in (1, 2, 3))
    c = int.from_bytes(b"".join(blocks)[: _SCALAR_BITS // 8], "big")
    return c % (P256_ORDER - 1) + 1


def qe_id(enclave: Enclave) -> bytes:
    """The 16 bytes by which collateral services know a platform: outlives TCB updates and reboots (dcap 3.2)."""
    return aes_cmac(_seal_key(enclave, bytes(16), 0), _derivation_block(0, QE_ID_LABEL, 128))


def attestation_key(enclave: Enclave) -> ec.EllipticCurvePrivateKey:
    """The key that signs the quotes of ``enclave``, a QE3, at its present version and TCB (dcap 3.2)."""
    key = _seal_key(enclave, enclave.body.cpu_svn, enclave.identity.isv_svn)
    return ec.derive_private_key(p256_scalar(key, ATTESTATION_KEY_LABEL), ec.SECP256R1())


def encode_point(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as quotes carry it: x ‖ y, 32 bytes each, big endian."""
    numbers = key.public_numbers()
    return numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


def encode_signature(der: bytes) -> bytes:
    """A P-256 signature as quotes carry it: r ‖ s, 32 bytes each, big endian; ``der`` as `cryptography` makes it."""
    s = 4 + der[3]
    return der[4:s][-32:].rjust(32, b"\0") + der[s + 2 :][-32:].rjust(32, b"\0")


class Pce:
    """The PCE on one processor: owner of the PCK key of every TCB level up to the present one (dcap 3.5)."""

    __slots__ = ("_enclave", "isv_svn", "target")

    def __init__(self, cpu: Cpu, identity: EnclaveIdentity) -> None:
        self._enclave = cpu.load(identity)
        self.isv_svn = identity.isv_svn
        self.target = self._enclave.target

    def ppid(self) -> bytes:
        """The platform's provisioning id: 16 bytes, the same at every TCB; a unique identifier, so keep it private."""
        return aes_cmac(self._provision_key(Tcb(bytes(16), 0)), bytes(16))

    def pck_public_key(self, tcb: Tcb) -> ec.EllipticCurvePublicKey:
        """The key that the PCK certificate for ``tcb`` must carry. Raises PlatformError as ``certify`` does."""
        return self._pck(tcb).public_key()

    def certify(self, report: Report, tcb: Tcb) -> bytes:
        """The PCK key of ``tcb``'s signature over the body of ``report``, made for this PCE: r ‖ s, 64 bytes.

        Raises PlatformError: INVALID_REPORT if the MAC does not hold (Intel's 0xF005); KEY_CERTIFICATION if the
        reporting enclave lacks PROVISION_KEY (0xF007) or ``tcb`` is above the platform's (0xF008).
        """
        if not self._enclave.verify_report(report):
            raise PlatformError(PlatformCause.INVALID_REPORT, "the report for the PCE")
        body = report.body
        if not body.attributes.flags & AttributeFlags.PROVISION_KEY:
            raise PlatformError(PlatformCause.KEY_CERTIFICATION, "the reporting enclave lacks PROVISION_KEY")
        return encode_signature(self._pck(tcb).sign(body.raw, ec.ECDSA(SHA256())))

    def _pck(self, tcb: Tcb) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(p256_scalar(self._provision_key(tcb), PCK_LABEL), ec.SECP256R1())

    def _provision_key(self, tcb: Tcb) -> bytes:
        request = KeyRequest.build(
            key_name=KeyName.PROVISION,
            cpu_svn=tcb.cpu_svn,
            isv_svn=tcb.pce_svn,
            attribute_mask=_BOUND_ATTRIBUTES,
            misc_mask=_BOUND_MISC,
        )
        try:
            return self._enclave.key(request)
        except PlatformError as error:
            if error.detail in {KeyRefusal.INVALID_CPU_SVN, KeyRefusal.INVALID_ISV_SVN}:
                raise PlatformError(PlatformCause.KEY_CERTIFICATION, "TCB above the platform's") from error
            raise


class Qe3:
    """The quoting enclave on one processor, its attestation key certified by ``pce`` at ``tcb``.

    ``certification`` is what a verifier needs to check that: the certificate chain for ``pce``'s key at ``tcb``.
    Raises PlatformError as ``Pce.certify`` does.
    """

    __slots__ = ("_algorithm", "_enclave", "_header", "_length", "_sign", "_tail", "public_key_id", "quote_size")

    def __init__(
        self, cpu: Cpu, identity: EnclaveIdentity, pce: Pce, tcb: Tcb, certification: CertificationData
    ) -> None:
        self._enclave = enclave = cpu.load(identity)
        key = attestation_key(enclave)
        point = encode_point(key.public_key())
        self.public_key_id = sha256(point + AUTH_DATA)
        """ECDSA_ID, 32 bytes: names the attestation key."""
        report = enclave.report(pce.target, self.public_key_id + _ZEROS)
        certified = encode_qe_certification(report.body, pce.certify(report, tcb), AUTH_DATA, certification)
        self._header = _header(identity.isv_svn, pce.isv_svn, qe_id(enclave)).raw
        self._tail = point + certified
        self._length = (64 + len(self._tail)).to_bytes(4, "little")
        self._sign = key.sign
        self._algorithm = ec.ECDSA(SHA256())
        self.quote_size = 436 + 64 + len(self._tail)
        """The size in bytes of every quote."""

    @property
    def isv_svn(self) -> int:
        """Its version."""
        return self._enclave.identity.isv_svn

    @property
    def target_info(self) -> TargetInfo:
        """For whom a report must be made to be quoted: MRENCLAVE, attributes, MISCSELECT, nothing else (aesm 4.4)."""
        identity = self._enclave.identity
        return TargetInfo.build(
            mr_enclave=identity.mr_enclave, attributes=identity.attributes, misc_select=identity.misc_select
        )

    def quote(self, report: Report) -> bytes:
        """A quote over ``report``, which a client controls: only its MAC is judged (dcap 3.4).

        Raises PlatformError, INVALID_REPORT, if it was not made on this processor for this enclave.
        """
        if not self._enclave.verify_report(report):
            raise PlatformError(PlatformCause.INVALID_REPORT)
        signed = self._header + report.raw[:384]
        der = self._sign(signed, self._algorithm)
        s = 4 + der[3]  # encode_signature, unfolded: this is the path of every quote
        return b"".join(
            (
                signed,
                self._length,
                der[4:s][-32:].rjust(32, b"\0"),
                der[s + 2 :][-32:].rjust(32, b"\0"),
                self._tail,
            )
        )

    def report_quote(self, quote: bytes, info: QeReportInfo) -> QeReportInfo:
        """``info``, which a client controls, with this enclave's report over its nonce and ``quote`` in it.

        Raises PlatformError, UNABLE_TO_MAKE_QE_REPORT, if a reserved field in front of the target's CONFIGSVN or
        CONFIGID is not zero: Intel's enclaves refuse to report to such a target.
        """
        target = info.app_enclave_target_info
        if any(target.raw[48:50]) or any(target.raw[56:64]):
            raise PlatformError(PlatformCause.UNABLE_TO_MAKE_QE_REPORT, "reserved bytes of the target info are set")
        digest = sha256(info.nonce + quote)
        return info.replace(qe_report=self._enclave.report(target, digest + _ZEROS))


def _identity(name: str, mr_signer: bytes, isv_svn: int, mr_enclave: bytes | None) -> EnclaveIdentity:
    if mr_enclave is None:
        mr_enclave = sha256(f"quotehelper simulated {name} {isv_svn}".encode())
    return EnclaveIdentity(mr_enclave, mr_signer, _PRIVILEGED, isv_prod_id=1, isv_svn=isv_svn)


def _seal_key(enclave: Enclave, cpu_svn: bytes, isv_svn: int) -> bytes:
    return enclave.key(
        KeyRequest.build(
            key_name=KeyName.SEAL,
            key_policy=KeyPolicy.MRSIGNER,
            cpu_svn=cpu_svn,
            isv_svn=isv_svn,
            attribute_mask=_BOUND_ATTRIBUTES,
            misc_mask=_BOUND_MISC,
        )
    )


def _derivation_block(counter: int, label: bytes, bits: int) -> bytes:
    return (bytes([counter]) + label).ljust(14, b"\0") + bits.to_bytes(2, "big")


def _header(qe_svn: int, pce_svn: int, qe_id_: bytes) -> QuoteHeader:
    return QuoteHeader.build(
        version=3,
        att_key_type=ECDSA_P256_KEY_TYPE,
        qe_svn=qe_svn,
        pce_svn=pce_svn,
        qe_vendor_id=INTEL_QE_VENDOR_ID,
        user_data=qe_id_ + bytes(4),
    )
