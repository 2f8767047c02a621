"""Making and changing simulated platforms on disk, and exporting what verifiers need. Shell.

What a daemon reads of all this is `state`; here is the rest, which needs certificates.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from quotehelper.documents.collateral import from_files
from quotehelper.documents.sgx_extension import PlatformConfiguration, SgxExtension, SgxType
from quotehelper.errors import ConfigError, DecodeError
from quotehelper.platforms.simulated import private_files
from quotehelper.platforms.simulated.authority import (
    FILES,
    create,
    decode_authority,
    encode_authority,
)
from quotehelper.platforms.simulated.collateral_files import encode_collateral
from quotehelper.platforms.simulated.cpu import SECRET_SIZE
from quotehelper.platforms.simulated.enclaves import (
    PCE_ID,
    PCE_ISV_SVN,
    QE3_ISV_SVN,
    Tcb,
    pce_identity,
    qe3_identity,
)
from quotehelper.platforms.simulated.state import (
    AUTHORITY_DIRECTORY,
    CHAIN_FILE,
    PLATFORM_FILE,
    EnclaveVersion,
    PlatformState,
    encode_state,
    parse_state,
    read_chain,
    read_state,
)

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from quotehelper.documents.collateral import Collateral
    from quotehelper.platforms.simulated.authority import Authority

CPU_SVN = bytes.fromhex("10100202ff0100050000000000000000")
"""The CPUSVN of new processors: what a server of 2025 with current microcode shows."""

PCK_TCB = Tcb(CPU_SVN, 13)
"""The level that certificates speak of. Their PCESVN is below the running PCE's, as in real quotes (dcap 1.1)."""

FMSPC = {"processor": bytes.fromhex("515545000000"), "platform": bytes.fromhex("515545000001")}
"""Platform families of our own, by who certifies them; no letters in them, as services disagree about case."""


def init(
    directory: Path,
    now: dt.datetime,
    *,
    authority: Path | None = None,
    ca: str = "processor",
    qe_isv_svn: int = QE3_ISV_SVN,
    qe_mr_enclave: bytes | None = None,
) -> PlatformState:
    """A new platform in ``directory``: a processor of its own, its enclaves, a certificate from ``now`` on.

    ``authority``: the directory of another platform, whose authority certifies this one as well; without it, a new
    authority. ``ca``: "processor" or "platform". Raises ConfigError if anything is in ``directory`` already, if it
    can't be written, or if the other platform's state or authority can't be read; then nothing has changed.
    """
    private_files.refuse_occupied(directory)
    if ca not in FMSPC:
        raise ConfigError(f"There is no certification authority {ca!r}", f"Known are: {', '.join(FMSPC)}")
    state = PlatformState(
        directory=directory,
        secret=os.urandom(SECRET_SIZE),
        cpu_svn=CPU_SVN,
        fmspc=FMSPC[ca],
        ca=ca,
        pck_tcb=PCK_TCB,
        qe=EnclaveVersion(qe_isv_svn, qe3_identity(qe_isv_svn, qe_mr_enclave).mr_enclave),
        pce=EnclaveVersion(PCE_ISV_SVN, pce_identity().mr_enclave),
        authority=directory / AUTHORITY_DIRECTORY if authority is None else read_state(authority).authority.absolute(),
    )
    certifier = create(now) if authority is None else read_authority(state)
    files = {PLATFORM_FILE: _encode_checked(state), CHAIN_FILE: certify(state, certifier, now)}
    if authority is None:
        files |= {f"{AUTHORITY_DIRECTORY}/{name}": content for name, content in encode_authority(certifier).items()}
    private_files.create(directory, files)
    return state


def update_qe(directory: Path, isv_svn: int, mr_enclave: bytes | None = None) -> PlatformState:
    """Give the platform in ``directory`` another quoting enclave: the attestation key changes with ``isv_svn``.

    Daemons see it when they load the platform again. Raises ConfigError as ``read_state`` does, and if the state
    can't be written; then it is as before.
    """
    with private_files.locked(directory):
        state = read_state(directory)
        state = state._replace(qe=EnclaveVersion(isv_svn, qe3_identity(isv_svn, mr_enclave).mr_enclave))
        private_files.replace(directory / PLATFORM_FILE, _encode_checked(state))
    return state


def export_collateral(directory: Path, out: Path, now: dt.datetime) -> None:
    """Make the directory ``out`` with all that verifiers need besides quotes (see `collateral_files`), as of ``now``.

    Nothing in it is secret: what tells platforms apart is in every quote as well. Raises ConfigError if anything is
    in ``out`` already, or if the platform or its authority can't be read.
    """
    private_files.refuse_occupied(out)
    state = read_state(directory)
    files = encode_collateral(read_authority(state), state, read_chain(directory), now)
    private_files.create(out, files, public=True)


def collateral(directory: Path, now: dt.datetime) -> Collateral:
    """What a verifier needs besides quotes of the platform in ``directory``, as of ``now``; nothing is written.

    Raises ConfigError if the platform or its authority can't be read.
    """
    state = read_state(directory)
    files = encode_collateral(read_authority(state), state, read_chain(directory), now)
    case = "case/"
    return from_files({name.removeprefix(case): files[name] for name in files if name.startswith(case)})


def certify(state: PlatformState, authority: Authority, now: dt.datetime) -> bytes:
    """Certification data, of type 5, for the PCK key of the platform at the level that its ``state`` says."""
    pce = state.provisioning_enclave()
    several_packages = state.ca == "platform"
    extension = SgxExtension(
        ppid=pce.ppid(),
        components=tuple(state.pck_tcb.cpu_svn),
        pce_svn=state.pck_tcb.pce_svn,
        cpu_svn=state.pck_tcb.cpu_svn,
        pce_id=PCE_ID,
        fmspc=state.fmspc,
        sgx_type=SgxType.SCALABLE if several_packages else SgxType.STANDARD,
        configuration=PlatformConfiguration(os.urandom(16), dynamic_platform=False, cached_keys=False, smt_enabled=True)
        if several_packages
        else None,
    )
    return authority.issue_pck(pce.pck_public_key(state.pck_tcb), extension, state.ca, now)


def _encode_checked(state: PlatformState) -> bytes:
    """The content of platform.json, which is never written unless it can be read. Raises ConfigError."""
    raw = encode_state(state)
    parse_state(state.directory, raw)
    return raw


def read_authority(state: PlatformState) -> Authority:
    """The authority that certified the platform. Raises ConfigError if it can't be read."""
    contents = private_files.read(state.authority, *FILES)
    try:
        return decode_authority(dict(zip(FILES, contents, strict=True)))
    except DecodeError as error:
        problem = f"{state.authority / error.field} is damaged: {error.reason}"
        raise ConfigError(problem, "Restore it from a copy, or create a new platform elsewhere") from None
