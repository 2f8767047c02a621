"""The explicit table of platforms: the only place that knows them all. Shell.

Each entry imports its platform when it is opened, so that a daemon carries only what it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from quotehelper.errors import ConfigError
from quotehelper.platforms.dcap.files import DcapFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quotehelper.platforms.platform import Platform, PlatformLog, Reopening


class PlatformSettings(NamedTuple):
    """Which platform, and where it finds what it needs. Plain values, as they go from process to process.

    ``name``: a key of PLATFORMS. ``state``: the state directory of ``simulated``. ``dcap``: for ``dcap``.
    ``upstream``: the other AESM service's socket, for ``upstream``; ``own_socket``: ours, which that must not be.
    ``qe_isv_svn``: the version of the quoting enclave that ``simulated`` runs instead of its state's.
    """

    name: str
    state: str = ""
    dcap: DcapFiles = DcapFiles()
    upstream: str = ""
    own_socket: str = ""
    qe_isv_svn: int | None = None


def _open_simulated(settings: PlatformSettings, _log: PlatformLog) -> Platform:
    from pathlib import Path  # noqa: PLC0415  see the module's docstring

    from quotehelper.platforms.simulated import state  # noqa: PLC0415  see the module's docstring

    return state.load(Path(settings.state), state.enclave_version(settings.qe_isv_svn))


def _reopen_simulated(settings: PlatformSettings, reopening: Reopening, _log: PlatformLog) -> Platform | None:
    from pathlib import Path  # noqa: PLC0415  see the module's docstring

    from quotehelper.platforms.simulated import state  # noqa: PLC0415  see the module's docstring

    match reopening:
        case {"isv_svn": int(isv_svn), "mr_enclave": str(mr_enclave)}:
            return state.load(Path(settings.state), state.EnclaveVersion(isv_svn, bytes.fromhex(mr_enclave)))
    return None


def _open_dcap(settings: PlatformSettings, log: PlatformLog) -> Platform:
    from quotehelper.platforms.dcap.platform import open_dcap  # noqa: PLC0415  see the module's docstring

    return open_dcap(settings.dcap, log)


def _open_upstream(settings: PlatformSettings, log: PlatformLog) -> Platform:
    from quotehelper.platforms.upstream import open_upstream  # noqa: PLC0415  see the module's docstring

    return open_upstream(settings.upstream, settings.own_socket, log)


PLATFORMS: Mapping[str, Callable[[PlatformSettings, PlatformLog], Platform]] = {
    "dcap": _open_dcap,
    "upstream": _open_upstream,
    "simulated": _open_simulated,
}
"""How to open each platform, by name."""

_FORMER: Mapping[str, Callable[[PlatformSettings, Reopening, PlatformLog], Platform | None]] = {
    "simulated": _reopen_simulated
}


def open_platform(settings: PlatformSettings, log: PlatformLog) -> Platform:
    """The platform that ``settings`` name; what it has to tell goes to ``log``.

    Raises ConfigError for an unknown name, and for what only the operator can mend: a state that is missing, damaged
    or open to others, an upstream that is this daemon. What may come and go (devices, libraries, another service) is
    looked for at the first request, and again at each until it is there.
    """
    if settings.name not in PLATFORMS:
        raise ConfigError(f"There is no platform {settings.name!r}", f"Known platforms: {', '.join(PLATFORMS)}")
    return PLATFORMS[settings.name](settings, log)


def open_former(settings: PlatformSettings, reopening: Reopening, log: PlatformLog) -> Platform | None:
    """The platform of ``settings`` with the quoting enclave that said ``reopening``; None if it can't be had again.

    Raises ConfigError as ``open_platform`` does.
    """
    reopen = _FORMER.get(settings.name)
    try:
        return None if reopen is None else reopen(settings, reopening, log)
    except ValueError:
        return None
