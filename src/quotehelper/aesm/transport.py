"""Where AESM daemons listen, how long they are waited for, and why they can't be reached. Pure: moves no byte.

Source: aesm 1.1, 1.3 and 1.5.
"""

from __future__ import annotations

import errno

from quotehelper.errors import TransportError

SOCKET_PATH = "/var/run/aesmd/aesm.socket"
"""Compiled into every client library."""

ABSTRACT_NAME = b"\0sgx_aesm_socket_base".ljust(108, b"\0")
"""The name that Gramine tries first: the whole of ``sun_path``, NULs included."""

TIMEOUT_S = 15.0
"""Seconds that Intel's library waits."""

RESPONSE_LIMIT_BYTES = 1 << 20
"""Bytes of a response taken at most; the largest quote has 13,346, white lists had tens of thousands."""

_REMEDIES = {
    errno.ENOENT: "Start the daemon, or mount its directory here",
    errno.ENOTDIR: "Start the daemon, or mount its directory here",
    errno.ECONNREFUSED: "The daemon has gone: restart it; where its socket is mounted, mount its directory instead",
    errno.EACCES: "Join the socket's group, or let the daemon give its socket a wider mode",
    errno.EPERM: "Join the socket's group, or let the daemon give its socket a wider mode",
    errno.EPROTOTYPE: "Another kind of socket is there: see who listens",
    errno.EMFILE: "Raise this process's limit of open files",
}


def display_address(address: str | bytes) -> str:
    """``address`` for people: a path, or ``@name`` for an abstract one."""
    text = address if isinstance(address, str) else address.decode(errors="backslashreplace")
    return "@" + text.strip("\0") if text.startswith("\0") else text


def unreachable(address: str | bytes, error: OSError) -> TransportError:
    """The error that says why nobody could be reached at ``address``, and what to do."""
    remedy = _REMEDIES.get(error.errno or 0, "See whether the daemon runs, and its log")
    return TransportError(f"{display_address(address)}: {error.strerror or error}. {remedy}")


def too_slow(address: str | bytes, timeout_s: float) -> TransportError:
    """The error that says that the daemon at ``address`` did not answer in time."""
    return TransportError(
        f"{display_address(address)}: no answer within {timeout_s:g} s. The daemon is overloaded or hangs: see its log"
    )


def broke_off(address: str | bytes, received: int) -> TransportError:
    """The error that says that the daemon at ``address`` closed after ``received`` bytes of an answer."""
    if received:
        return TransportError(f"{display_address(address)}: closed amid the answer, after {received} bytes. Try again")
    return TransportError(
        f"{display_address(address)}: closed without an answer. The daemon does not know this request, or has ended"
    )
