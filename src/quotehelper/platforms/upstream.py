"""Another AESM service as the platform, such as Intel's on the host. Shell: sockets, the clock.

Each request takes one connection of its own, one at a time; all that one call asks shares one deadline; nothing is held
between requests. What the other service answers is passed on with its own status. If it goes away, requests fail with
UNAVAILABLE and who was asked where, until it is back. Source: aesm 4.4 to 4.7, 6 and 8.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, TypeVar

from quotehelper.aesm.client import AesmClient
from quotehelper.aesm.status import AesmStatus
from quotehelper.errors import ConfigError, DaemonError, DecodeError, PlatformCause, PlatformError, TransportError
from quotehelper.platforms.platform import Quoted, QuotingTarget
from quotehelper.sgx.key_id import AttestationAlgorithm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quotehelper.platforms.platform import PlatformLog, Reopening
    from quotehelper.sgx.key_id import AttestationKeyId, QeReportInfo
    from quotehelper.sgx.report import Report

_T = TypeVar("_T")

TIMEOUT_S = 10.0
"""Seconds that all conversations for one call may take together: Intel's client library gives up on us after 15."""
RESPONSE_LIMIT_BYTES = 64 * 1024
"""Bytes of an answer taken at most; the largest quote has 13,346."""
KEYS_KEPT_S = 60.0
"""Seconds for which the list of keys is not asked for again: each request of a client needs it."""
SIZE_KEPT_S = 5.0
"""Seconds for which a quote's size is not asked for again: a client asks for it, and then for the quote. A size that
has changed within them is found out when the quote is made, and a new one asked for."""

CAUSE_OF_STATUS: Mapping[int, PlatformCause] = {
    AesmStatus.UNSUPPORTED_ATT_KEY_ID: PlatformCause.UNSUPPORTED_KEY,
    AesmStatus.ATT_KEY_NOT_INITIALIZED: PlatformCause.KEY_NOT_INITIALIZED,
    AesmStatus.INVALID_REPORT: PlatformCause.INVALID_REPORT,
    AesmStatus.UNABLE_TO_GENERATE_QE_REPORT: PlatformCause.UNABLE_TO_MAKE_QE_REPORT,
    AesmStatus.KEY_CERTIFICATION_ERROR: PlatformCause.KEY_CERTIFICATION,
    AesmStatus.NO_PLATFORM_CERT_DATA: PlatformCause.NO_CERTIFICATE,
    AesmStatus.ATT_KEY_CERT_DATA_INVALID: PlatformCause.CERTIFICATE_DATA,
    AesmStatus.NETWORK_ERROR: PlatformCause.NETWORK,
    AesmStatus.MSG_ERROR: PlatformCause.MESSAGE,
    AesmStatus.OUT_OF_EPC: PlatformCause.OUT_OF_EPC,
    AesmStatus.OUT_OF_MEMORY_ERROR: PlatformCause.OUT_OF_MEMORY,
    AesmStatus.ENCLAVE_LOAD_ERROR: PlatformCause.ENCLAVE_LOAD,
    AesmStatus.ENCLAVE_LOST: PlatformCause.ENCLAVE_LOST,
    AesmStatus.NO_DEVICE_ERROR: PlatformCause.NO_DEVICE,
    AesmStatus.FILE_ACCESS_ERROR: PlatformCause.FILE_ACCESS,
    AesmStatus.INTERFACE_UNAVAILABLE: PlatformCause.INTERFACE,
    AesmStatus.SERVICE_UNAVAILABLE: PlatformCause.UNAVAILABLE,
    AesmStatus.BUSY: PlatformCause.BUSY,
}
"""What a status of the other service means here; every other one is FAILED. The status itself is passed on always."""

_ECDSA = {AttestationAlgorithm.ECDSA_P256, AttestationAlgorithm.ECDSA_P384}


def open_upstream(path: str, own_socket: str, log: PlatformLog) -> UpstreamPlatform:
    """The platform behind the socket at ``path``, which may yet have to appear.

    Raises ConfigError if ``path`` is empty, or is our ``own_socket``.
    """
    if not path:
        raise ConfigError("The platform upstream needs the socket of another AESM service", "Name it with --upstream")
    if _same(path, own_socket):
        raise ConfigError(
            f"{path} is this daemon's own socket, it would ask itself",
            "Let the other service listen elsewhere and name its socket with --upstream, or serve on another --socket",
        )
    return UpstreamPlatform(path, own_socket, log)


class UpstreamPlatform:
    """A Platform whose quotes another AESM service makes, at the socket ``path``.

    ``own_socket`` is where this daemon listens: never asked. ``timeout_s``: see TIMEOUT_S. ``clock`` yields seconds.
    """

    def __init__(
        self,
        path: str,
        own_socket: str,
        log: PlatformLog,
        *,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._own_socket = own_socket
        self._log = log
        self._clock = clock
        self._timeout_s = timeout_s
        self._lost = False
        self._keys: tuple[float, tuple[AttestationKeyId, ...]] | None = None
        self._targets: dict[bytes, QuotingTarget] = {}
        self._sizes: dict[bytes, tuple[float, int]] = {}

    def attestation_keys(self) -> tuple[AttestationKeyId, ...]:
        """The other service's ECDSA keys, asked for once a minute.

        Raises PlatformError with the other service's status, or UNAVAILABLE.
        """
        if self._keys is None or self._keys[0] <= self._clock():
            keys = self._ask(self._deadline(), lambda client: client.supported_key_ids())
            keys = tuple(key for key in keys if key.algorithm_id in _ECDSA)
            if not keys:
                raise PlatformError(
                    PlatformCause.UNAVAILABLE,
                    f"the service at {self._path} has no ECDSA key. Install its ECDSA plugin, libsgx-aesm-ecdsa-plugin",
                )
            self._keys = self._clock() + KEYS_KEPT_S, keys
        return self._keys[1]

    def target(self, key: AttestationKeyId) -> QuotingTarget:
        """The quoting enclave behind ``key``. Always asked for: it is how clients have a key prepared.

        Raises PlatformError with the other service's status, or UNAVAILABLE.
        """
        return self._target(key, self._deadline())

    def quote_size(self, key: AttestationKeyId) -> int:
        """The size in bytes of the next quote by ``key``, at most SIZE_KEPT_S old.

        A key that is not initialised is, if the quoting enclave stays the same. Raises PlatformError as ``target``.
        """
        deadline = self._deadline()
        return self._mended(key, deadline, lambda: self._size(key, deadline))

    def quote(self, report: Report, key: AttestationKeyId, qe_report_info: QeReportInfo | None = None) -> Quoted:
        """A quote over ``report`` by the other service.

        A key that is not initialised is, and the quote asked for once more, if the quoting enclave stays the same.
        Raises PlatformError as ``target`` does.
        """
        deadline = self._deadline()

        def make(size: int) -> Quoted:
            reply = self._ask(deadline, lambda client: client.quote(report, key, size, qe_report_info))
            self._keep_size(key, len(reply.quote))
            return Quoted(reply.quote, reply.qe_report_info)

        def ask() -> Quoted:
            size = self._size(key, deadline)
            try:
                return make(size)
            except PlatformError as error:
                fresh = error.status == AesmStatus.PARAMETER_ERROR and self._fresh_size(key, deadline)
                if not fresh or fresh == size:
                    raise
            return make(fresh)

        return self._mended(key, deadline, ask)

    def reopening(self) -> Reopening:
        """Nothing: which quoting enclave runs is the other service's affair."""
        return {}

    def close(self) -> None:
        """Nothing is held between requests."""

    def _target(self, key: AttestationKeyId, deadline: float) -> QuotingTarget:
        enclave = self._ask(deadline, lambda client: client.init_quote(key))
        target = QuotingTarget(enclave.target_info, enclave.public_key_id)
        if self._targets.get(key.base) != target:
            self._sizes.pop(key.base, None)
        self._targets[key.base] = target
        return target

    def _size(self, key: AttestationKeyId, deadline: float) -> int:
        kept = self._sizes.get(key.base)
        return kept[1] if kept is not None and kept[0] > self._clock() else self._fresh_size(key, deadline)

    def _fresh_size(self, key: AttestationKeyId, deadline: float) -> int:
        size = self._ask(deadline, lambda client: client.quote_size(key))
        self._keep_size(key, size)
        return size

    def _keep_size(self, key: AttestationKeyId, size: int) -> None:
        self._sizes[key.base] = self._clock() + SIZE_KEPT_S, size

    def _mended(self, key: AttestationKeyId, deadline: float, ask: Callable[[], _T]) -> _T:
        """What ``ask`` yields, if need be after one more initialisation of ``key`` that changes nothing (aesm 4.7)."""
        try:
            return ask()
        except PlatformError as error:
            if error.cause is not PlatformCause.KEY_NOT_INITIALIZED:
                raise
            self._sizes.pop(key.base, None)
            known = self._targets.get(key.base)
            target = self._target(key, deadline)
            changed = known is not None and known.target_info != target.target_info
            self._log.info("upstream key initialised", upstream=self._path, quoting_enclave_changed=changed)
            if changed:
                raise  # the client must make a new report, and is told so by this status
        return ask()

    def _deadline(self) -> float:
        return self._clock() + self._timeout_s

    def _ask(self, deadline: float, call: Callable[[AesmClient], _T]) -> _T:
        """What ``call`` says to the other service, its failures as PlatformError; notices its going and coming."""
        if _same(self._path, self._own_socket):
            raise self._unavailable(
                "that is this daemon's own socket. Let the other service listen elsewhere and name its socket"
            )
        left = max(deadline - self._clock(), 0.0)
        try:
            answer = call(AesmClient(self._path, timeout_s=left, response_limit_bytes=RESPONSE_LIMIT_BYTES))
        except TransportError as error:
            raise self._unavailable(str(error)) from error
        except DaemonError as error:
            self._found()
            if error.status in {AesmStatus.UNSUPPORTED_ATT_KEY_ID, AesmStatus.SERVICE_UNAVAILABLE}:
                self._forget()
            cause = CAUSE_OF_STATUS.get(error.status, PlatformCause.FAILED)
            raise PlatformError(cause, f"the service at {self._path} says so: {error}", status=error.status) from error
        except DecodeError as error:
            raise PlatformError(
                PlatformCause.FAILED, f"the service at {self._path} answers what it must not: {error}. See what it is"
            ) from error
        self._found()
        return answer

    def _found(self) -> None:
        if self._lost:
            self._lost = False
            self._log.info("upstream is back", upstream=self._path)

    def _unavailable(self, reason: str) -> PlatformError:
        """The error that says so, everything forgotten that may have changed when the service is back."""
        if not self._lost:
            self._lost = True
            self._log.error("upstream is gone", upstream=self._path, reason=reason)
        self._forget()
        return PlatformError(PlatformCause.UNAVAILABLE, f"the AESM service at {self._path}: {reason}")

    def _forget(self) -> None:
        self._keys = None
        self._sizes.clear()


def _same(path: str, other: str) -> bool:
    """Whether both paths lead to the same socket, by whatever links or mounts."""
    try:
        return os.path.samefile(path, other)  # noqa: PTH121  pathlib is not needed for anything else
    except OSError:
        return path == other
