"""Create simulated platforms, change them, and have their collateral signed. Shell; the daemon imports none of it.

A platform is made as real ones are: a processor with secrets of its own, whose PCE tells the authority the public
PCK key of its TCB; the authority certifies that. Several platforms can share one authority: they are then of one
family (FMSPC) at one TCB level, and one set of collateral serves them all.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from quotehelper.documents.sgx_extension import PlatformConfiguration, SgxExtension, SgxType
from quotehelper.errors import ConfigError, DecodeError
from quotehelper.platforms.simulated import authority as authorities
from quotehelper.platforms.simulated import private_files
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
    read_chain,
    read_state,
)

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from quotehelper.platforms.simulated.authority import Authority

FMSPC = bytes.fromhex("f0510000aa00")
"""The family of simulated platforms: no real one has it."""

CPU_SVN = bytes.fromhex("0f0f0203ff010c000000000000000000")
PCK_TCB = Tcb(CPU_SVN, 13)
"""What the PCK certificate speaks of. As on real platforms its PCESVN is not that of the running PCE (dcap 1.1)."""


def init(
    directory: Path,
    now: dt.datetime,
    *,
    authority: Path | None = None,
    ca: str = "processor",
    qe_isv_svn: int = QE3_ISV_SVN,
    qe_mr_enclave: bytes | None = None,
) -> None:
    """Create a platform in ``directory``, certified as of ``now``, by its own authority or another state's.

    ``authority``: a directory that holds another platform's state. ``ca``: "processor" or "platform". Raises
    ConfigError if ``directory`` is there already, or the other state can't be used; nothing is left behind then.
    """
    private_files.refuse_occupied(directory)
    if authority is None:
        place, certifier = directory / AUTHORITY_DIRECTORY, authorities.create(now)
        files = {
            f"{AUTHORITY_DIRECTORY}/{n}": content for n, content in authorities.encode_authority(certifier).items()
        }
    else:
        place = read_state(authority).authority.resolve()
        certifier, files = _read_authority(place), {}
    qe = qe3_identity(qe_isv_svn, qe_mr_enclave)
    pce = pce_identity()
    state = PlatformState(
        directory=directory,
        secret=secrets.token_bytes(SECRET_SIZE),
        cpu_svn=CPU_SVN,
        fmspc=FMSPC,
        ca=ca,
        pck_tcb=PCK_TCB,
        qe=EnclaveVersion(qe.isv_svn, qe.mr_enclave),
        pce=EnclaveVersion(PCE_ISV_SVN, pce.mr_enclave),
        authority=place,
    )
    chain = certifier.issue_pck(state.provisioning_enclave().pck_public_key(state.pck_tcb), _extension(state), ca, now)
    private_files.create(directory, {PLATFORM_FILE: encode_state(state), CHAIN_FILE: chain, **files})


def update_qe(directory: Path, isv_svn: int, mr_enclave: bytes | None = None) -> None:
    """Replace the quoting enclave by another version. Raises ConfigError as ``read_state`` does."""
    with private_files.locked(directory):
        state = read_state(directory)
        qe = qe3_identity(isv_svn, mr_enclave)
        changed = state._replace(qe=EnclaveVersion(qe.isv_svn, qe.mr_enclave))
        private_files.replace(directory / PLATFORM_FILE, encode_state(changed))


def export_collateral(directory: Path, out: Path, now: dt.datetime) -> None:
    """Write what verifiers of the platform in ``directory`` need, signed as of ``now``, to the new directory ``out``.

    `collateral_files` tells which files. Raises ConfigError if the state can't be used, or ``out`` is there already.
    """
    state = read_state(directory)
    chain = read_chain(directory)
    collateral = _read_authority(state.authority).collateral(state.fmspc, state.pck_tcb, state.ca, now)
    private_files.create(out, encode_collateral(state, chain, collateral, now), public=True)


def _extension(state: PlatformState) -> SgxExtension:
    """What the authority certifies of the platform; a platform CA's certificate says how the machine is set up."""
    several_packages = state.ca == "platform"
    configuration = PlatformConfiguration(
        secrets.token_bytes(16), dynamic_platform=True, cached_keys=True, smt_enabled=True
    )
    return SgxExtension(
        ppid=state.provisioning_enclave().ppid(),
        components=tuple(state.pck_tcb.cpu_svn),
        pce_svn=state.pck_tcb.pce_svn,
        cpu_svn=state.pck_tcb.cpu_svn,
        pce_id=PCE_ID,
        fmspc=state.fmspc,
        sgx_type=SgxType.SCALABLE if several_packages else SgxType.STANDARD,
        configuration=configuration if several_packages else None,
    )


def _read_authority(place: Path) -> Authority:
    names = authorities.FILES
    try:
        return authorities.decode_authority(dict(zip(names, private_files.read(place, *names), strict=True)))
    except DecodeError as error:
        remedy = "Restore it from a copy; without it no further platform can be certified, and no collateral signed"
        raise ConfigError(f"{place}: {error}", remedy) from error
