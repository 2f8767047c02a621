"""Making and changing simulated platforms on disk, and exporting what verifiers need. Shell.

What a daemon reads of all this is `state`; here is the rest, which needs certificates.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from quotehelper.documents.collateral import from_files
from quotehelper.documents.pck import read_chain as read_certificates
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
from quotehelper.platforms.simulated.json_fields import damaged
from quotehelper.platforms.simulated.ruling import SETTINGS_FILE, encode_settings, parse_settings, read_settings
from quotehelper.platforms.simulated.settings import CPU_SVN, PCK_TCB, initial
from quotehelper.platforms.simulated.state import (
    AUTHORITY_DIRECTORY,
    CHAIN_FILE,
    CHAIN_FILES,
    PLATFORM_FILE,
    EnclaveVersion,
    PlatformState,
    encode_state,
    parse_state,
    read_state,
    read_whole,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from quotehelper.documents.collateral import Collateral
    from quotehelper.documents.pck import Certificate
    from quotehelper.platforms.simulated.authority import Authority

FMSPC = {"processor": bytes.fromhex("515545000000"), "platform": bytes.fromhex("515545000001")}
"""Platform families of our own, by who certifies them; no letters in them, as services disagree about case."""


def init(
    directory: Path,
    now: dt.datetime,
    *,
    authority: Path | Mapping[str, bytes] | None = None,
    ca: str = "processor",
    qe_isv_svn: int = QE3_ISV_SVN,
    qe_mr_enclave: bytes | None = None,
) -> PlatformState:
    """A new platform in ``directory``: a processor of its own, its enclaves, a certificate from ``now`` on.

    ``authority``: the directory of another platform, whose authority certifies this one as well; or an authority's
    files by name, of which this platform gets its copy; without either, a new authority. ``ca``: "processor" or
    "platform". Raises ConfigError if anything is in ``directory`` already, if it can't be written, or if the other
    authority can't be read; then nothing has changed.
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
        authority=read_state(authority).authority.absolute()
        if isinstance(authority, Path)
        else directory / AUTHORITY_DIRECTORY,
    )
    own: dict[str, bytes] = {}
    if isinstance(authority, Path):
        certifier = read_authority(state)
    else:
        certifier, own = _own_authority(state.authority, authority, now)
    files = {PLATFORM_FILE: _encode_checked(state), CHAIN_FILE: certify(state, certifier, now)}
    private_files.create(directory, files | {f"{AUTHORITY_DIRECTORY}/{name}": content for name, content in own.items()})
    return state


def _own_authority(
    directory: Path, files: Mapping[str, bytes] | None, now: dt.datetime
) -> tuple[Authority, dict[str, bytes]]:
    """A new authority, or the one in ``files``, and its files, which are to be in ``directory``."""
    if files is None:
        made = create(now)
        return made, {SETTINGS_FILE: encode_settings(initial())} | encode_authority(made)
    raw = files.get(SETTINGS_FILE, encode_settings(initial()))
    given = replace(_decoded(directory, files), settings=parse_settings(directory / SETTINGS_FILE, raw))
    return given, {SETTINGS_FILE: raw} | encode_authority(given)


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


def update_platform(directory: Path, now: dt.datetime) -> PlatformState:
    """Bring the platform in ``directory`` to the level that its authority calls current, certified from ``now`` on.

    Microcode (CPUSVN) and PCE become those of that level, unless they are newer; the PCK certificate is a new one in
    any case. Daemons see it when they load the platform again. Raises ConfigError as ``init`` does; then the platform
    is as before.
    """
    with private_files.locked(directory):
        state = read_state(directory)
        (chain,) = private_files.read(directory, state.chain)
        tcb = read_settings(state.authority).current
        pce_isv_svn = max(state.pce.isv_svn, min(0xFFFF, tcb.pce_svn + PCE_ISV_SVN - PCK_TCB.pce_svn))
        updated = state._replace(
            cpu_svn=bytes(map(max, state.cpu_svn, tcb.cpu_svn)),
            pck_tcb=Tcb(bytes(map(max, state.pck_tcb.cpu_svn, tcb.cpu_svn)), max(state.pck_tcb.pce_svn, tcb.pce_svn)),
            pce=state.pce
            if pce_isv_svn == state.pce.isv_svn
            else EnclaveVersion(pce_isv_svn, pce_identity(pce_isv_svn).mr_enclave),
        )
        certified = certify(
            updated, read_authority(state), now, before=_leaf(directory / state.chain, chain).sgx_extension
        )
        updated = updated._replace(chain=f"pck_chain-{hashlib.sha256(certified).hexdigest()[:16]}.pem")
        content = _encode_checked(updated)
        private_files.replace(directory / updated.chain, certified)
        private_files.replace(directory / PLATFORM_FILE, content)
        private_files.remove(directory, *CHAIN_FILES, kept=updated.chain)
    return updated


def export_collateral(directory: Path, out: Path, now: dt.datetime) -> None:
    """Make the directory ``out`` with all that verifiers need besides quotes (see `collateral_files`), as of ``now``.

    Nothing in it is secret: what tells platforms apart is in every quote as well. Raises ConfigError if anything is
    in ``out`` already, or if the platform or its authority can't be read.
    """
    private_files.refuse_occupied(out)
    private_files.create(out, _encode_collateral(directory, now), public=True)


def collateral(directory: Path, now: dt.datetime) -> Collateral:
    """What a verifier needs besides quotes of the platform in ``directory``, as of ``now``; nothing is written.

    Raises ConfigError if the platform or its authority can't be read.
    """
    files = _encode_collateral(directory, now)
    case = "case/"
    return from_files({name.removeprefix(case): files[name] for name in files if name.startswith(case)})


def _encode_collateral(directory: Path, now: dt.datetime) -> dict[str, bytes]:
    state, chain = read_whole(directory)
    return encode_collateral(read_authority(state), state, chain, now)


def read_leaf(directory: Path) -> Certificate:
    """The PCK certificate of the platform in ``directory``. Raises ConfigError if it can't be read."""
    state, chain = read_whole(directory)
    return _leaf(directory / state.chain, chain)


def _leaf(path: Path, chain: bytes) -> Certificate:
    try:
        leaf = read_certificates(chain).leaf
        _ = leaf.sgx_extension
    except DecodeError as error:
        raise damaged(path, str(error)) from None
    return leaf


def certify(
    state: PlatformState, authority: Authority, now: dt.datetime, *, before: SgxExtension | None = None
) -> bytes:
    """Certification data, of type 5, for the PCK key of the platform at the level that its ``state`` says.

    ``before``: what an earlier certificate said.
    """
    pce = state.provisioning_enclave()
    several_packages = state.ca == "platform"
    set_up = (before and before.configuration) or PlatformConfiguration(
        os.urandom(16), dynamic_platform=False, cached_keys=False, smt_enabled=True
    )
    extension = SgxExtension(
        ppid=pce.ppid(),
        components=tuple(state.pck_tcb.cpu_svn),
        pce_svn=state.pck_tcb.pce_svn,
        cpu_svn=state.pck_tcb.cpu_svn,
        pce_id=PCE_ID,
        fmspc=state.fmspc,
        sgx_type=SgxType.SCALABLE if several_packages else SgxType.STANDARD,
        configuration=set_up if several_packages else None,
    )
    return authority.issue_pck(pce.pck_public_key(state.pck_tcb), extension, state.ca, now)


def _encode_checked(state: PlatformState) -> bytes:
    """The content of platform.json, which is never written unless it can be read. Raises ConfigError."""
    raw = encode_state(state)
    parse_state(state.directory, raw)
    return raw


def read_authority(state: PlatformState) -> Authority:
    """The authority that certifies the platform of ``state``, as it is set. Raises ConfigError if it can't be read."""
    contents = private_files.read(state.authority, *FILES)
    authority = _decoded(state.authority, dict(zip(FILES, contents, strict=True)))
    return replace(authority, settings=read_settings(state.authority))


def read_authority_files(directory: Path) -> dict[str, bytes] | None:
    """An authority's files in ``directory``, for ``init`` to copy; None if it holds none of them.

    Unlike those of a state they may be links and open to a group, as a mounted Secret's are. Raises ConfigError if
    one can't be read or has more than 64 KiB.
    """
    files = {}
    try:
        for path in map(directory.joinpath, (*FILES, SETTINGS_FILE)):
            if path.exists():
                with path.open("rb") as file:
                    files[path.name] = file.read(private_files.SIZE_LIMIT + 1)
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: {error.strerror}", "Let this process read the authority's files"
        ) from None
    for name, content in files.items():
        if len(content) > private_files.SIZE_LIMIT:
            raise damaged(directory / name, f"more than {private_files.SIZE_LIMIT} bytes")
    return files or None


def _decoded(directory: Path, files: Mapping[str, bytes]) -> Authority:
    """The authority in ``files``, which are, or are to be, in ``directory``. Raises ConfigError."""
    try:
        return decode_authority(files)
    except DecodeError as error:
        raise damaged(directory / error.field, error.reason) from None
