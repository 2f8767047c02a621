"""Every deliberate error of quotehelper: one class for each decision a caller can take. Pure.

::

    QuoteHelperError
    ├── DecodeError       the input is not what it claims to be: reject the input
    ├── ProtocolError     an AESM request that deserves an answer in kind: answer its status, close
    ├── PlatformError     the platform can't quote this: answer a status, maybe retry; its cause says why
    ├── DaemonError       a daemon answered a request of ours with a status other than success
    ├── TransportError    a daemon could not be reached, or broke off: try again later
    ├── CryptoError       a signature or MAC that must hold does not
    ├── VerificationError a quote is not proven: refuse it; its step and reason say where and why
    │   └── CollateralError   it can't be told, for lack of current collateral: refresh that, refuse until then
    ├── SourceError       a collateral document was not to be had, or not to be kept; its cause says why
    ├── PolicyError       a verified quote is not what is wanted: refuse it; lists every violation
    ├── ClusterError      the kubelet or the API server refused, or could not be reached: go on, try again later
    ├── AllocationError   the kubelet asked for devices that can't be handed out: fail this pod's admission
    └── ConfigError       the operator must act: says what is wrong, and what to do

Anything else that leaves a public function is a bug.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class QuoteHelperError(Exception):
    """The root of the tree; catch it only at an edge (a connection, a background task, ``cli``)."""


class DecodeError(QuoteHelperError):
    """Bytes or text from outside that do not form the structure they should.

    ``structure`` and ``field`` name where, in the specification's words; ``reason`` what was found and what
    was expected. ``offset`` is in bytes from the start of the structure where that is known.
    """

    def __init__(self, structure: str, field: str, reason: str, *, offset: int | None = None) -> None:
        where = f"{structure}.{field}" if field else structure
        at = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{where}{at}: {reason}")
        self.structure = structure
        self.field = field
        self.reason = reason
        self.offset = offset


class ProtocolError(QuoteHelperError):
    """A recognised AESM request that can't be carried out as it stands.

    ``request_field`` is the envelope field number that decides which response answers it; ``status`` the
    ``aesm_error_t`` value to put there.
    """

    def __init__(self, request_field: int, status: int, reason: str) -> None:
        super().__init__(reason)
        self.request_field = request_field
        self.status = status
        self.reason = reason


class PlatformCause(enum.Enum):
    """Why a platform did not make a quote. ``node.service`` turns each into the AESM status clients react to best."""

    UNSUPPORTED_KEY = "the attestation key id is not one of this platform's"
    KEY_NOT_INITIALIZED = "no attestation key has been initialised, or the platform's TCB has changed since"
    INVALID_REPORT = "the report's MAC does not hold: it was not made on this platform for this quoting enclave"
    UNABLE_TO_MAKE_QE_REPORT = "the quoting enclave could not make a report for the given target"
    KEY_CERTIFICATION = "the attestation key could not be certified"
    KEY_REFUSED = "the processor refused to derive a key"
    NO_CERTIFICATE = "no PCK certificate is known for this platform at its TCB"
    CERTIFICATE_DATA = "the certificate data for this platform can't be used"
    NETWORK = "a server that certificates come from could not be reached, or refused"
    MESSAGE = "a message from a server that certificates come from could not be read"
    OUT_OF_EPC = "no enclave page cache is left for the quoting enclave"
    OUT_OF_MEMORY = "the platform has no memory left"
    ENCLAVE_LOAD = "the quoting or provisioning enclave could not be loaded"
    ENCLAVE_LOST = "the quoting enclave was lost"
    NO_DEVICE = "there is no SGX device"
    FILE_ACCESS = "the platform could not use one of its files"
    INTERFACE = "the platform's library lacks a function"
    UNAVAILABLE = "the platform can't quote now"
    BUSY = "the platform has more work than it takes"
    FAILED = "the platform failed in a way that has no status of its own"


class PlatformError(QuoteHelperError):
    """A platform could not do what was asked. ``cause`` decides the answer, ``detail`` goes to the log.

    ``status``: the ``aesm_error_t`` value that another AESM service gave, which is then the answer, unchanged and
    whatever the cause; None where the platform is ours.
    """

    def __init__(self, cause: PlatformCause, detail: str = "", *, status: int | None = None) -> None:
        super().__init__(f"{cause.value}: {detail}" if detail else cause.value)
        self.cause = cause
        self.detail = detail
        self.status = status


class DaemonError(QuoteHelperError):
    """An AESM daemon answered with an error status.

    ``status`` is the ``aesm_error_t`` value, also where this version does not know it.
    """

    def __init__(self, request: str, status: int, meaning: str) -> None:
        super().__init__(f"{request}: the daemon answered {status}: {meaning}")
        self.request = request
        self.status = status


class TransportError(QuoteHelperError):
    """A daemon's socket could not be reached, or the exchange broke off or took too long."""


class CryptoError(QuoteHelperError):
    """A signature or MAC that must hold does not; the message names which."""


class VerificationReason(enum.Enum):
    """Why a step of verification did not hold."""

    FORMAT = "format"
    """It can't be read, or lacks something that it must have."""
    MISSING = "missing"
    """It is not there."""
    UNSUPPORTED = "unsupported"
    """It is of a kind that can't be verified."""
    ISSUER = "issuer"
    """It was not issued by whom it should be."""
    UNTRUSTED = "untrusted"
    """It does not lead to a root that is trusted."""
    SIGNATURE = "signature"
    """A signature does not hold."""
    MISMATCH = "mismatch"
    """It belongs to something else."""
    REVOKED = "revoked"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    DEBUG = "debug"
    """The enclave's memory can be read from outside."""


class VerificationError(QuoteHelperError):
    """A quote is not proven genuine.

    ``step`` is the member of ``verification.steps.Step`` that did not hold, ``reason`` why, ``problem`` the same in
    a sentence, ``remedy`` what can be done about it.
    """

    def __init__(self, step: enum.Enum, reason: VerificationReason, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}. {remedy}".strip())
        self.step = step
        self.reason = reason
        self.problem = problem
        self.remedy = remedy


class CollateralError(VerificationError):
    """Neither yes nor no: collateral is missing, or not valid at the time in question."""


class SourceCause(enum.Enum):
    """Why a document of collateral could not be had, or is not kept."""

    NOT_FOUND = "the source does not have it"
    NOT_ALLOWED = "the source refuses to give it"
    UNREACHABLE = "the source can't be reached, or does not answer in time"
    MALFORMED = "the answer is not of the form that it should have"
    UNPROVEN = "it is not proven to come from whom it should"
    STALE = "it has expired"
    OLDER = "it is older than what is kept"
    NOT_AVAILABLE = "no certificate is available for this TCB"
    UNKNOWN_PLATFORM = "the platform is not among those that are kept"
    NOT_IN_THIS_MODE = "it would have to be fetched, which this mode does not do"
    STORE = "the store can't be used"


class SourceError(QuoteHelperError):
    """A document of collateral was not to be had, or not to be kept: what is kept stays.

    ``cause`` says what can be done: look elsewhere, try again later, or be alarmed. ``detail`` says it in words.
    """

    def __init__(self, cause: SourceCause, what: str, detail: str = "") -> None:
        super().__init__(f"{what}: {cause.value}{f' ({detail})' if detail else ''}")
        self.cause = cause
        self.what = what
        self.detail = detail


class Violation(NamedTuple):
    """One rule of a policy that a quote does not meet: the rule's name, and a sentence that says how."""

    rule: str
    problem: str


class PolicyError(QuoteHelperError):
    """A verified quote does not meet a policy. ``violations`` are all of them, not only the first."""

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        super().__init__("; ".join(violation.problem for violation in violations))
        self.violations = violations


class ClusterError(QuoteHelperError):
    """The kubelet or the API server could not be reached, or refused. The message says what and why.

    ``status`` is the API server's HTTP status where it answered, else None.
    """

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class AllocationError(QuoteHelperError):
    """The kubelet asked for devices that can't be handed out.

    ``unknown``: there are no such devices; else they are there, but can't be used now.
    """

    def __init__(self, reason: str, *, unknown: bool) -> None:
        super().__init__(reason)
        self.unknown = unknown


class Mistake(NamedTuple):
    """What is wrong in a file at ``line`` and ``column``, both from 1, and what to do about it."""

    line: int
    column: int
    problem: str
    remedy: str


class ConfigError(QuoteHelperError):
    """Something only the operator can mend. The message says what is wrong, ``remedy`` what to do about it."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem = problem
        self.remedy = remedy
