"""What is kept: signed documents, platforms and their certificates, and what each is called. Pure.

Hexadecimal names are upper case, as collateral services compare them (dcap 6.2).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import datetime as dt

STANDARD, EARLY = "standard", "early"
"""When a TCB recovery shows: after its grace period, or from the day of disclosure (dcap 7.1)."""

UPDATES = (STANDARD, EARLY)

CAS = ("PROCESSOR", "PLATFORM")
"""The certification authorities, by the names that collateral services give them."""


class Kind(enum.StrEnum):
    """The kinds of documents."""

    TCB_INFO = "tcb_info"
    TDX_TCB_INFO = "tdx_tcb_info"
    QE_IDENTITY = "qe_identity"
    QVE_IDENTITY = "qve_identity"
    QAE_IDENTITY = "qae_identity"
    TD_QE_IDENTITY = "td_qe_identity"
    EVALUATION_NUMBERS = "tcb_evaluation_data_numbers"
    PCK_CRL = "pck_crl"
    ROOT_CA_CRL = "root_ca_crl"
    PCK_CHAIN = "pck_issuer_chain"


ENCLAVE_OF = {
    Kind.QE_IDENTITY: "QE",
    Kind.QVE_IDENTITY: "QVE",
    Kind.QAE_IDENTITY: "QAE",
    Kind.TD_QE_IDENTITY: "TD_QE",
}
"""The ``id`` of each kind of enclave identity (dcap 7.2)."""


class Key(NamedTuple):
    """The name of one document.

    ``subject``: FMSPC of a TCB info; a name of `CAS` for a PCK CRL or chain; the URI of the root's CRL; else empty.
    ``version``: 3 or 4, the API that serves it; 0 where both serve the same. ``update``: of `UPDATES`, or empty where
    there is only one.
    """

    kind: Kind
    subject: str = ""
    version: int = 0
    update: str = ""

    def __str__(self) -> str:
        parts = (self.kind.value, self.subject, f"v{self.version}" if self.version else "", self.update)
        return " ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Document:
    """A document that was proven. ``body``: JSON as it was signed, DER of a CRL, or PEM of a chain.

    ``issuer_chain`` is PEM, the signer first. ``number`` is the TCB evaluation data number; 0 where there is none.
    """

    key: Key
    body: bytes
    issuer_chain: bytes
    number: int
    issued_at: dt.datetime
    next_update: dt.datetime

    def is_older_than(self, other: Document) -> bool:
        """Whether storing this in place of ``other`` would be a rollback.

        The evaluation number decides, then the date of issue. A CRL's number never does: Intel's is always 1
        (dcap 5.2).
        """
        return (self.number, self.issued_at) < (other.number, other.issued_at)


class PlatformId(NamedTuple):
    """How collateral services know a platform: QE id (1 to 260 characters), PCE id (4 hexadecimal digits, LE)."""

    qe_id: str
    pce_id: str

    def __repr__(self) -> str:
        return "PlatformId(…)"  # identifying, so it must not get into a log


class RawTcb(NamedTuple):
    """A platform's TCB as it stands: CPUSVN (32 digits) and PCESVN (4 digits, little endian)."""

    cpu_svn: str
    pce_svn: str

    @property
    def components(self) -> tuple[int, ...]:
        """The 16 component SVNs: the bytes of the CPUSVN where tcbType is 0, the only one there is."""
        return tuple(bytes.fromhex(self.cpu_svn))

    @property
    def pce_svn_number(self) -> int:
        """The PCESVN as a number."""
        return int.from_bytes(bytes.fromhex(self.pce_svn), "little")

    @property
    def tcbm(self) -> str:
        """CPUSVN and PCESVN in one, as SGX-TCBm has them (36 digits)."""
        return self.cpu_svn + self.pce_svn


@dataclass(frozen=True, slots=True)
class PckCertificate:
    """A PCK certificate that was proven: its PEM, and the TCB it is for; ``ca`` is a name of `CAS`."""

    pem: bytes
    tcb: RawTcb
    fmspc: str
    pce_id: str
    ca: str
    ppid: bytes

    def __repr__(self) -> str:
        return f"PckCertificate({self.fmspc}, …)"  # a PPID must not get into a log


@dataclass(frozen=True, slots=True)
class Registration:
    """What a platform says of itself (body of POST platforms). Optional texts are empty if not given."""

    id: PlatformId
    raw: RawTcb | None = None
    enc_ppid: str = ""
    manifest: str = ""

    def __repr__(self) -> str:
        return "Registration(…)"

    @property
    def can_be_certified(self) -> bool:
        """Whether a provisioning service could tell from it which platform it is."""
        return bool(self.manifest) or bool(self.enc_ppid.strip("0"))


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform that is known: its registration, and what its certificates say."""

    registration: Registration
    fmspc: str
    ca: str


class PckSet(NamedTuple):
    """All certificates of one platform, and the TCBs (``tcbm``) for which there is none."""

    certificates: tuple[PckCertificate, ...]
    not_available: tuple[str, ...] = ()
