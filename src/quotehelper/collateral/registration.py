"""Telling a collateral service which platform this is, so that it can have it certified. Shell (needs aiohttp).

Source: dcap 6.2 (POST platforms). In modes REQ and OFFLINE a platform gets no certificate before it is registered, and
a machine of several packages gets none without its manifest, the bytes that its firmware has for the registration
service. A simulated platform's state tells its identity.
"""

from __future__ import annotations

import enum
import json
from typing import TYPE_CHECKING

from quotehelper.collateral.catalog import PlatformId, RawTcb, Registration
from quotehelper.collateral.platform_collateral import NO_PPID, encode_registration
from quotehelper.errors import SourceCause, SourceError
from quotehelper.platforms.simulated.enclaves import PCE_ID
from quotehelper.platforms.simulated.provisioning import read_authority
from quotehelper.platforms.simulated.state import read_state

if TYPE_CHECKING:
    from pathlib import Path

    from quotehelper.collateral.fetching import Fetcher


class Standing(enum.Enum):
    """What a service knows of a platform."""

    CERTIFIED = "certified"
    """It gives the certificate for the platform's raw TCB."""
    UNKNOWN = "unknown"
    """It does not know the platform, or the registration waits for an administrator."""
    NOT_AVAILABLE = "not available"
    """It knows the platform, but there is no certificate for its TCB."""


_STANDING = {
    SourceCause.UNKNOWN_PLATFORM: Standing.UNKNOWN,
    SourceCause.NOT_AVAILABLE: Standing.NOT_AVAILABLE,
    SourceCause.NOT_FOUND: Standing.UNKNOWN,
}


def simulated_registration(directory: Path, manifest: bytes = b"") -> Registration:
    """The registration of the simulated platform in ``directory``. Raises ConfigError as ``read_state``."""
    state = read_state(directory)
    ppid = state.provisioning_enclave().ppid()
    return Registration(
        PlatformId(state.qe_id().hex().upper(), PCE_ID.hex().upper()),
        RawTcb(state.cpu_svn.hex().upper(), state.pce.isv_svn.to_bytes(2, "little").hex().upper()),
        read_authority(state).encrypted_ppid(ppid).hex().upper(),
        manifest.hex().upper(),
    )


class RegistrationService:
    """The collateral service at ``base``, which ends in ``/v3/`` or ``/v4/``; ``token``: a user's."""

    def __init__(self, base: str, fetcher: Fetcher, token: str) -> None:
        self._base = base if base.endswith("/") else f"{base}/"
        self._fetcher = fetcher
        self._headers = {"user-token": token}

    async def register(self, registration: Registration) -> None:
        """Send ``registration``. Raises SourceError: NOT_ALLOWED for a wrong token, or why it can't be certified."""
        body = json.dumps(encode_registration(registration)).encode()
        await self._fetcher.post(f"{self._base}platforms", body, "application/json", self._headers)

    async def standing(self, registration: Registration) -> Standing:
        """What the service knows of the platform. Raises SourceError: UNREACHABLE, NOT_ALLOWED, MALFORMED."""
        assert registration.raw is not None  # noqa: S101  a platform's own registration has it
        asked = {
            "qeid": registration.id.qe_id,
            "encrypted_ppid": registration.enc_ppid or NO_PPID,
            "cpusvn": registration.raw.cpu_svn,
            "pcesvn": registration.raw.pce_svn,
            "pceid": registration.id.pce_id,
        }
        try:
            await self._fetcher.get(f"{self._base}pckcert", asked)
        except SourceError as error:
            if error.cause in _STANDING:
                return _STANDING[error.cause]
            raise
        return Standing.CERTIFIED
