"""Checks that one bad client takes the service from nobody else. Shell. Source: aesm 8, 9.7.

A daemon that does not keep these rules may be harmed by the trial: Intel's service stops serving while a partial
frame is held, allocates 4 GiB for a length of that size, and can end when 274 clients are idle.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from quotehelper.aesm import messages as m
from quotehelper.conformance.check import Check, Family, Unjudged, Unmet
from quotehelper.conformance.connection import resident_kib, room_for_files
from quotehelper.conformance.examined import COUNT, excerpt
from quotehelper.conformance.oddities import K
from quotehelper.conformance.quoting import quote_request
from quotehelper.errors import TransportError
from quotehelper.sgx.report import Report

if TYPE_CHECKING:
    from quotehelper.conformance.examined import Examined

_IDLE = 500
_GROWTH_KIB = 8 * 1024
"""Resident memory that a daemon may take meanwhile for other reasons."""
_HUGE = 0xFFFF_FFFF


def _partial(examined: Examined) -> None:
    for part in (b"\6\0", m.encode_request(COUNT)[:-1]):
        with examined.peer.connect() as stalled:
            stalled.send((part,))
            if not examined.is_answered(examined.peer.prompt_s):
                raise Unmet("an answer to others while a client holds a part of its request back", "none")


def _idle(examined: Examined) -> None:
    if not room_for_files(_IDLE):
        raise Unjudged(f"this process may not open {_IDLE} connections: raise its limit of open files (ulimit -n)")
    with contextlib.ExitStack() as idle:
        for number in range(_IDLE):
            try:
                idle.enter_context(examined.peer.connect())
            except TransportError as error:
                raise Unmet(f"room for {_IDLE} idle clients", f"at client {number}: {error}") from error
        if not examined.is_answered(examined.peer.prompt_s):
            raise Unmet(f"an answer beside {_IDLE} idle clients", "none")


def _huge_length(examined: Examined) -> str:
    process = examined.peer.process_id()
    before = resident_kib(process)
    with examined.peer.connect() as connection:
        connection.send((_HUGE.to_bytes(m.FRAME_HEADER_SIZE, "little"),))
        rest = connection.receive_end(examined.peer.prompt_s)
        after = resident_kib(process)
    if rest is None:
        raise Unmet("an end of the connection when a request of 4 GiB is announced", "none")
    if rest:
        raise Unmet("an end of the connection without a byte", f"{len(rest)} bytes: {excerpt(rest)}")
    if before is None or after is None:
        return "the daemon's memory is not to be seen from here"
    if after - before > _GROWTH_KIB:
        raise Unmet("no memory taken for it", f"{(after - before) // 1024} MiB more")
    return ""


def _huge_buffer(examined: Examined) -> None:
    _ = examined.prepared
    request = quote_request(bytes(Report.SIZE), _HUGE, key=K)
    examined.expect(request, m.GetQuoteExResponse(3, None, None))
    examined.expect(m.GetSupportedAttKeyIDsRequest(buf_size=_HUGE), m.GetSupportedAttKeyIDsResponse(3, None))


_N = Family.NEIGHBOURS

CHECKS = (
    Check(
        "neighbours.partial-frame",
        "A client that holds a part of its request back keeps nobody out",
        "aesm 8.1, 9.7",
        _N,
        "Any process on the machine can stop all quotes by two bytes",
        "Put quotehelper in front of the daemon, and let nobody else reach its socket",
        _partial,
        hostile=True,
    ),
    Check(
        "neighbours.idle",
        "500 idle clients keep nobody out",
        "aesm 8.6, 9.7",
        _N,
        "Clients that leak connections take the service away from all",
        "Raise the daemon's limit of open files above 4 for each idle client, but below 1024",
        _idle,
        hostile=True,
    ),
    Check(
        "neighbours.huge-length",
        "A request that announces 4 GiB is closed, and takes no memory",
        "aesm 8.5, 9.7",
        _N,
        "Any process on the machine can have the daemon killed for want of memory",
        "Put quotehelper in front of the daemon, and let nobody else reach its socket",
        _huge_length,
        hostile=True,
    ),
    Check(
        "neighbours.huge-buffer",
        "A buffer of 4 GiB for a quote or for key ids is refused with 3",
        "aesm 8.5",
        _N,
        "Any process on the machine can have the daemon killed for want of memory",
        "Put quotehelper in front of the daemon, and let nobody else reach its socket",
        _huge_buffer,
        hostile=True,
    ),
)
