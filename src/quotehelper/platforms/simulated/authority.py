"""The provisioning authority of simulated platforms: who certifies them, and signs what verifiers need. Pure.

Source: dcap 5 and 7. Its root is its own, so nobody who does not ask for it can take its word for Intel's. Keys and
settings are values; `provisioning` keeps them on disk. Documents are signed when they are asked for, as of ``now``.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from quotehelper.documents.pck import Role
from quotehelper.documents.qe_identity import EnclaveIdentity, IdentityLevel, encode_enclave_identity
from quotehelper.documents.signed_json import Signed, write_object, write_time
from quotehelper.documents.tcb_info import Component, TcbInfo, TcbLevel, as_version_2, encode_tcb_info
from quotehelper.errors import DecodeError
from quotehelper.platforms.simulated.certificates import (
    Issuer,
    Validity,
    make_authority,
    make_crl,
    make_key,
    make_pck,
    make_root,
    make_signer,
)
from quotehelper.platforms.simulated.enclaves import encode_signature
from quotehelper.platforms.simulated.settings import Document, Settings, initial
from quotehelper.sgx.key_id import QE3_MR_SIGNER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quotehelper.documents.sgx_extension import SgxExtension

CRL_BASE_URL = "https://localhost:8081/sgx/certification/v4/"
"""Where certificates say that their CRLs are: a collateral service on the same machine, where Intel's clients look."""

CERTIFICATION_AUTHORITIES = {"processor": Role.PROCESSOR_CA, "platform": Role.PLATFORM_CA}
"""Who certifies single-package and multi-package machines, by the name that collateral services use."""

_ROOT = "root"
_ROOT_END = dt.datetime(2049, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
_CA_YEARS, _LEAF_YEARS = 15, 7
_LIVES = dict.fromkeys(Document, dt.timedelta(days=30)) | {Document.ROOT_CA_CRL: dt.timedelta(days=365)}
_VERIFYING_PRODUCTS = {"QVE": 2, "QAE": 3}
_ENCRYPTED_PPID_SIZE = 384
_BASE_URL = re.compile(rb"https?://[!-~]+/")
_KEYS = (Role.ROOT, Role.PROCESSOR_CA, Role.PLATFORM_CA, Role.TCB_SIGNING)


@dataclass(frozen=True, slots=True)
class Collateral:
    """All that a verifier needs besides the quote, for one platform family: chains as PEM text, CRLs as DER."""

    root: x509.Certificate
    pck_crl_issuer_chain: bytes
    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info_issuer_chain: bytes
    tcb_info: Signed
    tcb_info_v2: Signed
    qe_identity_issuer_chain: bytes
    qe_identity: Signed


@dataclass(frozen=True, slots=True)
class Authority:
    """The keys of the root, both certification authorities and the collateral signer, with their certificates."""

    issuers: Mapping[Role, Issuer]
    crl_base_url: str = CRL_BASE_URL
    settings: Settings = field(default_factory=initial)
    """What it says at present."""

    def __repr__(self) -> str:
        return "Authority(…)"

    def issue_pck(
        self, public_key: ec.EllipticCurvePublicKey, extension: SgxExtension, ca: str, now: dt.datetime
    ) -> bytes:
        """Certification data of type 5 for ``public_key``: leaf, intermediate and root as PEM, and Intel's NUL.

        ``ca``: a name of CERTIFICATION_AUTHORITIES.
        """
        role = CERTIFICATION_AUTHORITIES[ca]
        uri = f"{self.crl_base_url}pckcrl?ca={ca}&encoding=der"
        validity = Validity.of_years(now, _LEAF_YEARS)
        leaf = make_pck(public_key, Role.PCK, self.issuers[role], uri, validity, extension)
        return leaf.public_bytes(Encoding.PEM) + self.chain(role) + b"\0"

    def chain(self, role: Role) -> bytes:
        """The certificate of ``role`` and the root, as PEM text."""
        return b"".join(self.issuers[each].certificate.public_bytes(Encoding.PEM) for each in (role, Role.ROOT))

    def collateral(self, fmspc: bytes, ca: str, now: dt.datetime) -> Collateral:
        """Collateral for platforms of ``fmspc``, certified by ``ca``: what the settings say, signed as of ``now``."""
        info = _tcb_info(fmspc, self.settings, now)
        role = CERTIFICATION_AUTHORITIES[ca]
        signers = self.chain(Role.TCB_SIGNING)
        return Collateral(
            root=self.issuers[Role.ROOT].certificate,
            pck_crl_issuer_chain=self.chain(role),
            root_ca_crl=self.crl(Role.ROOT, now),
            pck_crl=self.crl(role, now),
            tcb_info_issuer_chain=signers,
            tcb_info=self._signed(encode_tcb_info(info)),
            tcb_info_v2=self._signed(encode_tcb_info(as_version_2(info))),
            qe_identity_issuer_chain=signers,
            qe_identity=self.identity("QE", now),
        )

    def identity(self, enclave: str, now: dt.datetime) -> Signed:
        """The identity of ``enclave`` (QE, QVE or QAE), signed as of ``now``."""
        identity = replace(_qe_identity(self.settings, now), id=enclave)
        if enclave in _VERIFYING_PRODUCTS:
            attributes = b"\x01".ljust(16, b"\0")  # without the right to provision
            identity = replace(identity, isv_prod_id=_VERIFYING_PRODUCTS[enclave], attributes=attributes)
        return self._signed(encode_enclave_identity(identity))

    def evaluation_numbers(self, now: dt.datetime) -> Signed:
        """The list of TCB evaluation data numbers: the one there is."""
        issue_date, next_update = _life(Document.TCB_INFO, self.settings, now)
        number = {
            "tcbEvaluationDataNumber": self.settings.tcb_evaluation_data_number,
            "tcbRecoveryEventDate": write_time(self.settings.platform_levels[0].date),
            "tcbDate": write_time(self.settings.platform_levels[0].date),
        }
        document = {
            "id": "SGX",
            "version": 1,
            "issueDate": write_time(issue_date),
            "nextUpdate": write_time(next_update),
            "tcbEvalNumbers": [number],
        }
        return self._signed(write_object(document))

    def encrypted_ppid(self, ppid: bytes) -> bytes:
        """What stands for ``ppid`` (16 bytes) where services expect it encrypted: 384 bytes, always the same.

        Nobody but this authority can tell whose they are; it knows its platforms, and so makes them again.
        """
        secret = self.issuers[Role.ROOT].key.private_numbers().private_value.to_bytes(32, "big")
        return HKDF(SHA256(), _ENCRYPTED_PPID_SIZE, salt=None, info=b"encrypted PPID" + ppid).derive(secret)

    def crl(self, role: Role, now: dt.datetime) -> bytes:
        """The DER of the CRL of ``role``: of the root, or of a certification authority."""
        name = next((ca for ca, its_role in CERTIFICATION_AUTHORITIES.items() if its_role is role), _ROOT)
        document = Document.ROOT_CA_CRL if role is Role.ROOT else Document.PCK_CRL
        revoked = tuple(serial for issuer, serial in self.settings.revoked if issuer == name)
        return make_crl(self.issuers[role], _life(document, self.settings, now), revoked)

    def _signed(self, body: bytes) -> Signed:
        key = self.issuers[Role.TCB_SIGNING].key
        return Signed(body, encode_signature(key.sign(body, ec.ECDSA(SHA256()))))


def create(now: dt.datetime, crl_base_url: str = CRL_BASE_URL) -> Authority:
    """A new authority: four fresh keys, certificates from ``now`` on."""
    keys = {role: make_key() for role in _KEYS}
    uri = f"{crl_base_url}rootcacrl.der"
    start = now.replace(microsecond=0)
    root = Issuer(keys[Role.ROOT], make_root(keys[Role.ROOT], Role.ROOT, uri, Validity(start, _ROOT_END)))
    issuers = {Role.ROOT: root}
    for role in CERTIFICATION_AUTHORITIES.values():
        validity = Validity.of_years(start, _CA_YEARS)
        issuers[role] = Issuer(keys[role], make_authority(keys[role].public_key(), role, root, uri, validity))
    signer, validity = keys[Role.TCB_SIGNING], Validity.of_years(start, _LEAF_YEARS)
    certificate = make_signer(signer.public_key(), Role.TCB_SIGNING, root, uri, validity)
    issuers[Role.TCB_SIGNING] = Issuer(signer, certificate)
    return Authority(issuers, crl_base_url)


def encode_authority(authority: Authority) -> dict[str, bytes]:
    """File names and contents that ``decode_authority`` understands: keys are in them, in clear."""
    files = {"crl_base_url": authority.crl_base_url.encode()}
    for role, issuer in authority.issuers.items():
        stem = role.name.lower()
        files[f"{stem}.key"] = issuer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files[f"{stem}.pem"] = issuer.certificate.public_bytes(Encoding.PEM)
    return files


FILES = ("crl_base_url", *(f"{role.name.lower()}.{kind}" for role in _KEYS for kind in ("key", "pem")))
"""The names that ``encode_authority`` gives."""


def decode_authority(files: Mapping[str, bytes]) -> Authority:
    """The authority that ``encode_authority`` wrote. Raises DecodeError, naming the file, for anything else."""
    issuers = {role: _decode_issuer(files, role.name.lower()) for role in _KEYS}
    base = files.get("crl_base_url", b"")
    if not _BASE_URL.fullmatch(base):
        raise DecodeError("Authority", "crl_base_url", "a URL that ends in / expected")
    return Authority(issuers, base.decode())


def _decode_issuer(files: Mapping[str, bytes], stem: str) -> Issuer:
    try:
        key = load_pem_private_key(files[f"{stem}.key"], password=None)
        certificate = x509.load_pem_x509_certificate(files[f"{stem}.pem"])
        fits = isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == certificate.public_key()
    except (ValueError, TypeError, KeyError) as error:
        raise DecodeError("Authority", stem, "key or certificate is not readable") from error
    if not fits or not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DecodeError("Authority", stem, "key and certificate do not belong together")
    return Issuer(key, certificate)


def _tcb_info(fmspc: bytes, settings: Settings, now: dt.datetime) -> TcbInfo:
    """The levels of a platform family."""
    issue_date, next_update = _life(Document.TCB_INFO, settings, now)
    return TcbInfo(
        version=3,
        id="SGX",
        issue_date=issue_date,
        next_update=next_update,
        fmspc=fmspc,
        pce_id=bytes(2),
        tcb_type=0,
        tcb_evaluation_data_number=settings.tcb_evaluation_data_number,
        levels=tuple(
            TcbLevel(
                tuple(map(Component, level.tcb.cpu_svn)),
                level.tcb.pce_svn,
                level.date,
                level.conditions.status,
                level.advisory_ids,
            )
            for level in settings.platform_levels
        ),
    )


def _qe_identity(settings: Settings, now: dt.datetime) -> EnclaveIdentity:
    """What QE3 is: masks leave MODE64BIT and XFRM open, and so forbid DEBUG (dcap 7.2)."""
    issue_date, next_update = _life(Document.QE_IDENTITY, settings, now)
    return EnclaveIdentity(
        id="QE",
        issue_date=issue_date,
        next_update=next_update,
        tcb_evaluation_data_number=settings.tcb_evaluation_data_number,
        misc_select=bytes(4),
        misc_select_mask=b"\xff" * 4,
        attributes=b"\x11".ljust(16, b"\0"),
        attributes_mask=bytes.fromhex("fbffffffffffffff").ljust(16, b"\0"),
        mr_signer=QE3_MR_SIGNER,
        isv_prod_id=1,
        levels=tuple(
            IdentityLevel(level.tcb.pce_svn, level.date, level.conditions.status, level.advisory_ids)
            for level in settings.qe_levels
        ),
    )


def _life(document: Document, settings: Settings, now: dt.datetime) -> Validity:
    """From when until when ``document`` is good that is issued ``now``: until yesterday, if it is to have expired."""
    start, life = now.replace(microsecond=0), _LIVES[document]
    if document in settings.expired:
        start -= life + dt.timedelta(days=1)
    return Validity(start, start + life)
