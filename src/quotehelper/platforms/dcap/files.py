"""Which of Intel's files are used, and how they are called. Shell: looks whether they are there.

Source: dcap 3.1, 4.2 and 4.4; the names are those that Intel's packages install.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from quotehelper.errors import PlatformCause, PlatformError

QUOTING_LIBRARY = "libsgx_dcap_ql.so.1"
"""What the dynamic loader is asked for if no path is given."""

PROVIDER_LIBRARIES = ("libdcap_quoteprov.so.1", "libdcap_quoteprov.so")
"""The names under which libsgx_dcap_ql looks for a quote provider, in its order."""

_QUOTING_ENCLAVE = ("libsgx_qe3.signed.so.1", "libsgx_qe3.signed.so")
_PROVISIONING_ENCLAVE = ("libsgx_pce.signed.so.1", "libsgx_pce.signed.so")
_IDENTITY_ENCLAVE = ("libsgx_id_enclave.signed.so.1", "libsgx_id_enclave.signed.so")


class DcapFiles(NamedTuple):
    """Which of Intel's files ``dcap`` uses; None leaves a file to the place where its package puts it.

    ``library``: libsgx_dcap_ql.so.1. ``enclaves``: a directory with the signed quoting, provisioning and identity
    enclaves, so that several versions can stand side by side. ``provider``: the quote provider library.
    """

    library: str | None = None
    enclaves: str | None = None
    provider: str | None = None


class Paths(NamedTuple):
    """What the library must be told; None leaves it to the library. Early releases have no identity enclave."""

    provider: str | None
    quoting_enclave: str | None
    provisioning_enclave: str | None
    identity_enclave: str | None


def find_paths(files: DcapFiles) -> Paths:
    """The paths that ``files`` say.

    Raises PlatformError: ENCLAVE_LOAD if the directory lacks the quoting or provisioning enclave, FILE_ACCESS if the
    provider is not there.
    """
    if files.provider is not None and not os.path.isfile(files.provider):  # noqa: PTH113  pathlib is not needed otherwise
        raise PlatformError(
            PlatformCause.FILE_ACCESS, f"the quote provider {files.provider} is not there. Correct --dcap-provider"
        )
    if files.enclaves is None:
        return Paths(files.provider, None, None, None)
    return Paths(
        files.provider,
        _present(files.enclaves, _QUOTING_ENCLAVE),
        _present(files.enclaves, _PROVISIONING_ENCLAVE),
        _first(files.enclaves, _IDENTITY_ENCLAVE),
    )


def _present(directory: str, names: tuple[str, ...]) -> str:
    found = _first(directory, names)
    if found is None:
        raise PlatformError(
            PlatformCause.ENCLAVE_LOAD,
            f"there is no {names[0]} in {directory}. Install Intel's signed enclaves there (packages libsgx-ae-qe3, "
            "libsgx-ae-pce and libsgx-ae-id-enclave), or name their directory with --dcap-enclaves",
        )
    return found


def _first(directory: str, names: tuple[str, ...]) -> str | None:
    paths = (os.path.join(directory, name) for name in names)  # noqa: PTH118  pathlib is not needed for anything else
    return next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113  likewise
