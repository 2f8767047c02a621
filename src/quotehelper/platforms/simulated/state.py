"""A simulated platform on disk: read, checked, and brought to life. Shell.

::

    DIR/platform.json    the processor's secret and CPUSVN, the enclaves' versions, what the certificate says
    DIR/pck_chain.pem    the certification data of quotes as it stands in them: leaf, intermediate, root, NUL
    DIR/authority/       the provisioning authority's keys, unless platform.json names another's

A daemon reads the first two files and no certificate library; `provisioning` creates all of it.
"""

from __future__ import annotations

import binascii
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import ConfigError
from quotehelper.platforms.simulated import private_files
from quotehelper.platforms.simulated.cpu import CPU_SVN_SIZE, SECRET_SIZE, Cpu, Fuses, covers, sha256
from quotehelper.platforms.simulated.enclaves import Pce, Qe3, Tcb, encode_point, pce_identity, qe3_identity, qe_id
from quotehelper.platforms.simulated.platform import SimulatedPlatform
from quotehelper.sgx.quote import CertificationData, CertificationType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

PLATFORM_FILE = "platform.json"
CHAIN_FILE = "pck_chain.pem"
AUTHORITY_DIRECTORY = "authority"

FORMAT_VERSION = 1
CERTIFICATE_AUTHORITIES = ("processor", "platform")
"""Whose certificates there are: of single-package and of multi-package machines."""

CHAIN_SIZES = range(500, 12295)
"""Bytes of certification data that a QE3 takes (dcap 1.1)."""

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
    (chain,) = private_files.read(directory, CHAIN_FILE)
    return _check_chain(directory, chain)


def load(directory: Path, qe: EnclaveVersion | None = None) -> SimulatedPlatform:
    """The platform in ``directory``, its attestation key certified: it can quote at once.

    ``qe``: run this version of the quoting enclave instead of the state's. Raises ConfigError as ``read_state`` does,
    and if the certificate is another platform's.
    """
    state = read_state(directory)
    if qe is not None:
        state = state._replace(qe=qe)
    chain = read_chain(directory)
    pce = state.provisioning_enclave()
    certificate = next(iter(_certificates(chain)), b"")
    if encode_point(pce.pck_public_key(state.pck_tcb)) not in certificate:
        raise _damaged(directory / CHAIN_FILE, "the first certificate is not for this platform's PCK key")
    certification = CertificationData(CertificationType.PCK_CHAIN, chain)
    return SimulatedPlatform(Qe3(state.cpu(), qe3_identity(*state.qe), pce, state.pck_tcb, certification))


def load_cpu(directory: Path) -> Cpu:
    """The processor of the platform in ``directory``, for enclaves to be played on. Raises as ``read_state`` does."""
    return read_state(directory).cpu()


def describe(directory: Path) -> dict[str, Any]:
    """What may be told about the platform in ``directory``, as JSON can carry it: no secret, no platform id.

    Raises ConfigError as ``read_state`` does.
    """
    state = read_state(directory)
    certificates = _certificates(read_chain(directory))
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
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def parse_state(directory: Path, raw: bytes) -> PlatformState:
    """The state that ``raw``, the content of platform.json in ``directory``, describes.

    Raises ConfigError, naming file and field, for anything that ``encode_state`` does not write.
    """
    path = directory / PLATFORM_FILE
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise _damaged(path, "not a JSON document") from None
    fields = _Fields(path, "", document)
    fields.check_version()
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
    )
    fields.end()
    if not covers(state.cpu_svn, state.pck_tcb.cpu_svn):
        raise _damaged(path, "pck_tcb.cpu_svn: above cpu_svn")
    if state.pck_tcb.pce_svn > state.pce.isv_svn:
        raise _damaged(path, "pck_tcb.pce_svn: above pce.isv_svn")
    return state


class _Fields:
    """The fields of one JSON object, taken out one by one; values never show in errors, as one is secret."""

    def __init__(self, path: Path, prefix: str, document: object) -> None:
        self._path = path
        self._prefix = prefix
        if not isinstance(document, dict):
            self.refuse("", "an object expected")
        self._left: dict[str, object] = document

    def check_version(self) -> None:
        version = self._integer("version")
        if version > FORMAT_VERSION:
            problem = f"{self._path} is of version {version}, this program knows {FORMAT_VERSION}"
            raise ConfigError(problem, "Use a newer quotehelper, or create a new platform elsewhere")
        if version != FORMAT_VERSION:
            self.refuse("version", f"{FORMAT_VERSION} expected")

    def octets(self, name: str, size: int) -> bytes:
        text = self._text(name)
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            self.refuse(name, "hexadecimal digits expected")
        if len(text) != 2 * size or len(raw) != size:
            self.refuse(name, f"{2 * size} hexadecimal digits expected")
        return raw

    def unsigned16(self, name: str) -> int:
        value = self._integer(name)
        if value not in range(1 << 16):
            self.refuse(name, "0 to 65535 expected")
        return value

    def choice(self, name: str, known: Sequence[str]) -> str:
        if (text := self._text(name)) not in known:
            self.refuse(name, f"one of {', '.join(known)} expected")
        return text

    def path(self, name: str) -> Path:
        text = self._text(name)
        try:
            raw = os.fsencode(text)
        except UnicodeError:
            raw = b""
        if not raw or b"\0" in raw:
            self.refuse(name, "a path expected")
        return Path(text)

    def section(self, name: str) -> _Fields:
        return _Fields(self._path, f"{self._prefix}{name}.", self._take(name))

    def end(self) -> None:
        for name in self._left:
            self.refuse(ascii(name)[1:-1][:40], "not known")

    def refuse(self, name: str, reason: str) -> NoReturn:
        where = f"{self._prefix}{name}".rstrip(".")
        raise _damaged(self._path, f"{where}: {reason}" if where else reason)

    def _take(self, name: str) -> object:
        if name not in self._left:
            self.refuse(name, "missing")
        return self._left.pop(name)

    def _text(self, name: str) -> str:
        value = self._take(name)
        if not isinstance(value, str):
            self.refuse(name, "a text expected")
        return value

    def _integer(self, name: str) -> int:
        value = self._take(name)
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(name, "an integer expected")
        return value


def _parse_tcb(fields: _Fields) -> Tcb:
    tcb = Tcb(fields.octets("cpu_svn", CPU_SVN_SIZE), fields.unsigned16("pce_svn"))
    fields.end()
    return tcb


def _parse_version(fields: _Fields) -> EnclaveVersion:
    version = EnclaveVersion(fields.unsigned16("isv_svn"), fields.octets("mr_enclave", 32))
    fields.end()
    return version


def _check_chain(directory: Path, chain: bytes) -> bytes:
    if len(chain) not in CHAIN_SIZES:
        sizes = f"{CHAIN_SIZES.start} to {CHAIN_SIZES.stop - 1} bytes expected"
        raise _damaged(directory / CHAIN_FILE, f"{sizes}, {len(chain)} found")
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


def _damaged(path: Path, reason: str) -> ConfigError:
    return ConfigError(f"{path} is damaged: {reason}", "Restore it from a copy, or create a new platform elsewhere")
