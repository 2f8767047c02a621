"""The quote provider library: is there one, whose is it, and its log turned into ours. Shell: foreign functions.

libsgx_dcap_ql loads the provider itself, by the same names, and asks it for the platform's certificates. Which one it
finds decides whether quotes can be verified and where their certificates come from, so it is named in the log.
Source: dcap 4.2 and 4.4, and which functions each of the two exports.
"""

from __future__ import annotations

import ctypes
import enum
import re
from typing import TYPE_CHECKING, NamedTuple

from quotehelper.platforms.dcap import abi
from quotehelper.platforms.dcap.files import PROVIDER_LIBRARIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quotehelper.platforms.platform import PlatformLog

MESSAGE_LIMIT = 500
"""Characters of a provider's message that are logged."""

_LONG_HEX = re.compile(r"[0-9A-Fa-f]{17,}")
"""Identifiers in its messages: PPID, QE_ID and CPUSVN have 32 digits and more; FMSPC, 12 digits, names no machine."""

_ERROR, _INFO, _DEBUG = 0, 1, 2
_AZURE_WARNING, _AZURE_INFO = 1, 2

_KEPT: list[object] = []
"""Callbacks that a provider in this process has been given: it may call them as long as the process lives."""


class ProviderKind(enum.Enum):
    """Whose quote provider it is."""

    INTEL = "Intel's default provider"
    AZURE = "Azure's provider"
    OTHER = "another provider"


class Provider(NamedTuple):
    """A quote provider that can be loaded: ``name`` as the loader was asked, and the library itself."""

    kind: ProviderKind
    name: str
    library: ctypes.CDLL


def find_provider(path: str | None) -> Provider | None:
    """The provider at ``path``, or else under the names that libsgx_dcap_ql tries; None if none can be loaded."""
    for name in PROVIDER_LIBRARIES if path is None else (path,):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        return Provider(_kind(library), name, library)
    return None


def turn_log(provider: Provider, log: PlatformLog) -> bool:
    """Let ``provider`` write into ``log``; whether it can. It may do so from threads of its own."""
    for name, levels, arguments in (
        ("sgx_ql_set_logging_callback", {_ERROR: log.warning, _INFO: log.info}, (_DEBUG,)),
        (
            "sgx_ql_set_logging_function",
            {_ERROR: log.warning, _AZURE_WARNING: log.warning, _AZURE_INFO: log.info},
            (),
        ),
    ):
        function = abi.bind(provider.library, name, abi.PROVIDER_LOGGING[name])
        if function is not None:
            callback = abi.LOG_CALLBACK(_writer(levels, log.debug))
            _KEPT.append(callback)
            function(callback, *arguments)
            return True
    return False


def redact(message: str) -> str:
    """``message`` as it may be logged: no identifier of the platform, not without end."""
    text = _LONG_HEX.sub("(left out)", message.strip())
    return text if len(text) <= MESSAGE_LIMIT else text[:MESSAGE_LIMIT] + "…"


def _writer(
    levels: Mapping[int, Callable[..., None]], otherwise: Callable[..., None]
) -> Callable[[int, bytes | None], None]:
    def write(level: int, message: bytes | None) -> None:
        told = levels.get(level, otherwise)
        told("quote provider says", message=redact((message or b"").decode(errors="backslashreplace")))

    return write


def _kind(library: ctypes.CDLL) -> ProviderKind:
    def exports(name: str) -> bool:
        return abi.bind(library, name, ()) is not None

    if exports("sgx_ql_get_revocation_info"):
        return ProviderKind.AZURE
    if exports("sgx_qpl_clear_cache") or exports("sgx_ql_set_logging_callback"):
        return ProviderKind.INTEL
    return ProviderKind.OTHER
