"""A simulated platform on disk: read, checked, and brought to life. Shell.

::

    DIR/platform.json    the processor's secret and CPUSVN, the enclaves' versions, what the certificate says
    DIR/pck_chain.pem    the certification data of quotes as it stands in them: leaf, intermediate, root, NUL
                         (pck_chain-….pem after an update: platform.json names it)
    DIR/authority/       the provisioning authority's keys, unless platform.json names another's

A daemon reads the first two files and no certificate library; `provisioning` creates all of it.
"""

from __future__ import annotations

import binascii
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.platforms.simulated import private_files
from quotehelper.platforms.simulated.cpu import CPU_SVN_SIZE, SECRET_SIZE, Cpu, Fuses, covers, sha256
from quotehelper.platforms.simulated.enclaves import Pce, Qe3, Tcb, encode_point, pce_identity, qe3_identity, qe_id
from quotehelper.platforms.simulated.json_fields import JsonFields, damaged
from quotehelper.platforms.simulated.platform import SimulatedPlatform
from quotehelper.sgx.quote import CertificationData, CertificationType

if TYPE_CHECKING:
    from typing import Any

PLATFORM_FILE = "platform.json"
CHAIN_FILE = "pck_chain.pem"
CHAIN_FILES = ("pck_chain*.pem", ".pck_chain*.draft")
"""All chains there may be, drafts of killed updates included; platform.json names the one that counts."""
AUTHORITY_DIRECTORY = "authority"

FORMAT_VERSION = 2
_WITHOUT_CHAIN = 1
"""The version that has no ``chain``: the file was always CHAIN_FILE."""
CERTIFICATE_AUTHORITIES = ("processor", "platform")
"""Whose certificates there are: of single-package and of multi-package machines."""

CHAIN_SIZES = range(500, 12295)
"""Bytes of certification data that a QE3 takes (dcap 1.1)."""

_CHAIN_NAME = re.compile(r"pck_chain(?:-[0-9a-f]{16})?\.pem")
_PEM_BEGIN = b"-----BEGIN CERTIFICATE-----"
_PEM_END = b"-----END CERTIFICATE-----"


class EnclaveVersion(NamedTuple):
    """Which build of an architectural enclave runs."""

    isv_svn: int
    mr_enclave: bytes


def enclave_version(isv_svn: int | None) -> EnclaveVersion | None:
    """The simulated QE3 of version ``isv_svn``; None for None."""
    return None if isv_svn is None else EnclaveVersion(isv_svn, qe3_identity(isv_svn).mr_enclave)


class PlatformState(NamedTuple):
    """What platform.json says. ``secret`` (32 bytes) is the processor's: never shown."""

    directory: Path
    secret: bytes
    cpu_svn: bytes
    fmspc: bytes
    ca: str
    """One of CERTIFICATE_AUTHORITIES: who certifies this platform."""
    pck_tcb: Tcb
    """The level the PCK certificate speaks of: at most the platform's own."""
    qe: EnclaveVersion
    pce: EnclaveVersion
    authority: Path
    """Where the provisioning authority's keys are."""
    chain: str = CHAIN_FILE
    """The file with the certification data: a new one has a new name, so that it comes with the rest at once."""

    def __repr__(self) -> str:
        return f"PlatformState({self.directory})"

    def cpu(self) -> Cpu:
        """The processor."""
        return Cpu(Fuses.from_secret(self.secret), self.cpu_svn)

    def qe_id(self) -> bytes:
        """The 16 bytes by which collateral services know the platform."""
        return qe_id(self.cpu().load(qe3_identity(*self.qe)))

    def provisioning_enclave(self) -> Pce:
        """The PCE on the processor."""
        return Pce(self.cpu(), pce_identity(*self.pce))


def read_state(directory: Path) -> PlatformState:
    """The state in ``directory``. Raises ConfigError if it is missing, open to others, damaged or too new."""
    return parse_state(directory, *private_files.read(directory, PLATFORM_FILE))


def read_chain(directory: Path) -> bytes:
    """The certification data in ``directory``, NUL included. Raises ConfigError as ``read_state`` does."""
    return read_whole(directory)[1]


def read_whole(directory: Path) -> tuple[PlatformState, bytes]:
    """State and certification data of one moment, whoever changes them meanwhile. Raises as ``read_state`` does."""
    with private_files.locked(directory):
        state = read_state(directory)
        (chain,) = private_files.read(directory, state.chain)
    return state, _check_chain(directory / state.chain, chain)


def load(directory: Path, qe: EnclaveVersion | None = None) -> SimulatedPlatform:
    """The platform in ``directory``, its attestation key certified: it can quote at once.

    ``qe``: run this version of the quoting enclave instead of the state's. Raises ConfigError as ``read_state`` does,
    and if the certificate is another platform's.
    """
    state, chain = read_whole(directory)
    if qe is not None:
        state = state._replace(qe=qe)
    pce = state.provisioning_enclave()
    certificate = next(iter(_certificates(chain)), b"")
    if encode_point(pce.pck_public_key(state.pck_tcb)) not in certificate:
        raise damaged(directory / state.chain, "the first certificate is not for this platform's PCK key")
    certification = CertificationData(CertificationType.PCK_CHAIN, chain)
    return SimulatedPlatform(Qe3(state.cpu(), qe3_identity(*state.qe), pce, state.pck_tcb, certification))


def load_cpu(directory: Path) -> Cpu:
    """The processor of the platform in ``directory``, for enclaves to be played on. Raises as ``read_state`` does."""
    return read_state(directory).cpu()


def describe(directory: Path) -> dict[str, Any]:
    """What may be told about the platform in ``directory``, as JSON can carry it: no secret, no platform id.

    Raises ConfigError as ``read_state`` does.
    """
    state, chain = read_whole(directory)
    certificates = _certificates(chain)
    root = sha256(certificates[-1]).hex() if certificates else None
    return {
        "state": str(directory),
        "authority": str(state.authority),
        "root_ca_sha256": root,
        "fmspc": state.fmspc.hex(),
        "ca": state.ca,
        "cpu_svn": state.cpu_svn.hex(),
        "pck_tcb": {"cpu_svn": state.pck_tcb.cpu_svn.hex(), "pce_svn": state.pck_tcb.pce_svn},
        "qe": {"isv_svn": state.qe.isv_svn, "mr_enclave": state.qe.mr_enclave.hex()},
        "pce": {"isv_svn": state.pce.isv_svn, "mr_enclave": state.pce.mr_enclave.hex()},
    }


def encode_state(state: PlatformState) -> bytes:
    """The content of platform.json."""
    authority = state.authority
    if authority == state.directory / AUTHORITY_DIRECTORY:
        authority = Path(AUTHORITY_DIRECTORY)  # so that the directory can be moved
    document = {
        "version": FORMAT_VERSION,
        "secret": state.secret.hex(),
        "cpu_svn": state.cpu_svn.hex(),
        "fmspc": state.fmspc.hex(),
        "ca": state.ca,
        "pck_tcb": {"cpu_svn": state.pck_tcb.cpu_svn.hex(), "pce_svn": state.pck_tcb.pce_svn},
        "qe": {"isv_svn": state.qe.isv_svn, "mr_enclave": state.qe.mr_enclave.hex()},
        "pce": {"isv_svn": state.pce.isv_svn, "mr_enclave": state.pce.mr_enclave.hex()},
        "authority": str(authority),
        "chain": state.chain,
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def parse_state(directory: Path, raw: bytes) -> PlatformState:
    """The state that ``raw``, the content of platform.json in ``directory``, describes.

    Raises ConfigError, naming file and field, for anything that ``encode_state`` does not write.
    """
    path = directory / PLATFORM_FILE
    fields = JsonFields.parse(path, raw)
    version = fields.version(FORMAT_VERSION)
    state = PlatformState(
        directory=directory,
        secret=fields.octets("secret", SECRET_SIZE),
        cpu_svn=fields.octets("cpu_svn", CPU_SVN_SIZE),
        fmspc=fields.octets("fmspc", 6),
        ca=fields.choice("ca", CERTIFICATE_AUTHORITIES),
        pck_tcb=_parse_tcb(fields.section("pck_tcb")),
        qe=_parse_version(fields.section("qe")),
        pce=_parse_version(fields.section("pce")),
        authority=directory / fields.path("authority"),
        chain=fields.text("chain") if version > _WITHOUT_CHAIN else CHAIN_FILE,
    )
    fields.end()
    if not _CHAIN_NAME.fullmatch(state.chain):
        raise damaged(path, "chain: the name of a file in the same directory expected")
    if not covers(state.cpu_svn, state.pck_tcb.cpu_svn):
        raise damaged(path, "pck_tcb.cpu_svn: above cpu_svn")
    if state.pck_tcb.pce_svn > state.pce.isv_svn:
        raise damaged(path, "pck_tcb.pce_svn: above pce.isv_svn")
    return state


def _parse_tcb(fields: JsonFields) -> Tcb:
    tcb = Tcb(fields.octets("cpu_svn", CPU_SVN_SIZE), fields.unsigned16("pce_svn"))
    fields.end()
    return tcb


def _parse_version(fields: JsonFields) -> EnclaveVersion:
    version = EnclaveVersion(fields.unsigned16("isv_svn"), fields.octets("mr_enclave", 32))
    fields.end()
    return version


def _check_chain(path: Path, chain: bytes) -> bytes:
    if len(chain) not in CHAIN_SIZES:
        sizes = f"{CHAIN_SIZES.start} to {CHAIN_SIZES.stop - 1} bytes expected"
        raise damaged(path, f"{sizes}, {len(chain)} found")
    return chain


def _certificates(chain: bytes) -> list[bytes]:
    """The DER of each certificate in ``chain``, none where it is not PEM. By hand: this must be quick."""
    found = []
    for part in chain.split(_PEM_BEGIN)[1:]:
        try:
            found.append(binascii.a2b_base64(part.partition(_PEM_END)[0]))
        except binascii.Error:
            return []
    return found
