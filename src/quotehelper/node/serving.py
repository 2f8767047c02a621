"""The serving loop: a batch of connections in, a batch of answers out. Shell.

One thread, raw descriptors, non-blocking throughout: accept what waits (up to a batch), read each once, answer
metadata requests at once and quotes after them, then look for more. No client is ever waited for outside the
waiting room, so none can hold up another. The loop is given its listening sockets; it never makes them.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from typing import TYPE_CHECKING

from quotehelper.aesm.messages import FRAME_HEADER_SIZE, REQUESTS, GetQuoteExRequest, decode_request, frame_size
from quotehelper.errors import DecodeError, ProtocolError
from quotehelper.node.arrivals import accept
from quotehelper.node.counters import ServingCount
from quotehelper.node.leash import Word
from quotehelper.node.reins import Orphan
from quotehelper.node.waiting import Phase, WaitingRoom

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from quotehelper.node.config import Limits
    from quotehelper.node.counters import ServingCounts
    from quotehelper.node.log import Log
    from quotehelper.node.peers import Peers
    from quotehelper.node.quoter import Quoter, TurnedAway
    from quotehelper.node.reins import Reins
    from quotehelper.node.service import Service
    from quotehelper.node.waiting import Connection

BATCH = 32
"""Connections accepted between two looks at everything else."""

ORPHAN_LOOK_S = 0.2
"""Seconds between two looks at the path of a serving process that has no supervisor any more."""

EVENTS = 64
READ_SIZE = 4096
"""Bytes read at once: the largest request of a DCAP client has 1,671."""

_CONNECTIONS, _IN_FLIGHT, _WAITING = ServingCount.CONNECTIONS, ServingCount.IN_FLIGHT, ServingCount.WAITING
_OUT_OF_DESCRIPTORS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class ServingLoop:
    """Serves ``listeners`` with ``service`` until it is told to end by its ``reins``.

    ``quoter`` has the quotes made; ``counts`` is told of everything; ``peers`` says who is calling.
    """

    def __init__(  # noqa: PLR0913  what serving takes, each by itself
        self,
        listeners: Sequence[socket.socket],
        service: Service,
        log: Log,
        reins: Reins,
        quoter: Quoter,
        counts: ServingCounts,
        peers: Peers,
    ) -> None:
        self._service = service
        self._log = log
        self._reload = reins.reload
        self._poller = select.epoll()
        self._listeners: dict[int, socket.socket] = {}
        self._end_by: float | None = None
        self._published = reins.published
        self._listen(listeners)
        self._wakeup, self._leash = reins.wakeup, reins.leash
        self._orphan: Orphan | None = None
        self._waiting = WaitingRoom(service.limits)
        self._watched: dict[int, Connection] = {}
        self._quoter, self._counts, self._peers = quoter, counts, peers
        self._heeds: dict[int, Callable[[], object]] = {
            self._wakeup: self._heed_signals,
            self._leash.fileno(): self._heed_supervisor,
            peers.descriptor: peers.forget_ended,
        }
        self._quoting = quoter.descriptor
        for fd in (*self._heeds, *(() if self._quoting is None else (self._quoting,))):
            self._poller.register(fd, select.EPOLLIN)
        self._answers: list[tuple[Connection, bytes]] = []
        self._answered: list[Connection] = []
        self._now = time.monotonic()

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._waiting.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._waiting.limits = limits

    def run(self) -> None:
        """Serve until SIGTERM or the supervisor's end, then until what is in flight is answered."""
        while not self._done():
            earlier, self._answered = self._answered, []
            events = self._poller.poll(self._patience(busy=bool(earlier or self._answers)), EVENTS)
            self._now = time.monotonic()
            for fd, mask in events:
                if (listening := self._listeners.get(fd)) is not None:
                    self._accept(listening)
                elif (connection := self._watched.get(fd)) is not None:
                    self._receive(connection, hung_up=bool(mask & select.EPOLLHUP))
                elif (heed := self._heeds.get(fd)) is not None:
                    heed()
            if self._end_by is not None:
                self._accept_last()
            self._send_answers()
            self._quoter.advance(self._answers)
            self._send_answers()
            for connection in earlier:  # by now most of these peers have read their answer and closed
                if connection.received:
                    self._cut(connection)
                else:
                    self._receive(connection)
            self._expire()
            self._tell()
        self._poller.close()

    def _done(self) -> bool:
        if self._end_by is None:
            return False
        busy = self._listeners or self._quoter or self._answers or self._answered or len(self._waiting)
        return not busy or self._now >= self._end_by

    def _patience(self, *, busy: bool) -> float | None:
        """Seconds to wait for the next event; None: for as long as it takes."""
        if busy or (self._listeners and self._end_by is not None):
            return 0
        look = None if self._orphan is None else self._now + ORPHAN_LOOK_S
        deadlines = [
            at for at in (self._waiting.next_deadline(), self._end_by, look, self._quoter.next_turn()) if at is not None
        ]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _tell(self) -> None:
        """Say what there is now; and look no more at a quoter whose worker has gone for good."""
        self._counts.set(_IN_FLIGHT, len(self._quoter))
        self._counts.set(_WAITING, len(self._waiting))
        if self._quoting is not None and self._quoter.descriptor is None:
            self._poller.unregister(self._quoting)
            self._quoting = None

    # Connections in

    def _accept(self, listening: socket.socket) -> None:
        connections, reason = accept(listening, BATCH, self._peers, self._now)
        for connection in connections:
            self._counts.add(_CONNECTIONS)
            self._receive(connection)
        if isinstance(reason, BlockingIOError) and self._end_by is not None:
            self._close_listener(listening)  # all that had connected before are accepted
        elif reason is not None and not isinstance(reason, BlockingIOError):
            self._cannot_accept(reason)

    def _cannot_accept(self, error: OSError) -> None:
        if error.errno in _OUT_OF_DESCRIPTORS and (oldest := self._waiting.oldest()) is not None:
            self._log.warning("out of descriptors", consequence="the oldest waiting client was closed")
            self._close(oldest)
        elif error.errno != errno.ECONNABORTED:
            self._log.error("accept failed", reason=error.strerror)

    def _receive(self, connection: Connection, *, hung_up: bool = False) -> None:
        """Read once, without waiting, and serve what is complete. ``hung_up``: the peer can't read either."""
        fd = connection.fd
        if fd < 0:
            return
        try:
            data = os.read(fd, READ_SIZE)
        except BlockingIOError:
            self._wait(connection)
            return
        except OSError:
            data = b""
        if not data:
            if connection.queued and not hung_up:
                self._unwatch(connection)  # it has said all it will say, and waits for its quote
            else:
                self._close(connection)
        elif connection.received:
            self._waiting.receive(connection, data)
            self._cut(connection)
        elif len(data) >= FRAME_HEADER_SIZE and int.from_bytes(data[:4], "little") == len(data) - FRAME_HEADER_SIZE:
            self._waiting.leave(connection)
            self._serve(connection, data[FRAME_HEADER_SIZE:])
        else:
            self._waiting.receive(connection, data)
            self._cut(connection)

    def _cut(self, connection: Connection) -> None:
        """Serve the next whole request among what was received, or wait for the rest of it."""
        received = connection.received
        if connection.fd < 0:
            return
        if connection.queued or len(received) < FRAME_HEADER_SIZE:
            self._wait(connection)
            return
        try:
            size = frame_size(bytes(received[:FRAME_HEADER_SIZE]), self.limits.frame_bytes)
        except DecodeError as error:
            self._refuse(connection, error)
            return
        end = FRAME_HEADER_SIZE + size
        if len(received) < end:
            self._wait(connection)
            return
        self._waiting.leave(connection)
        body = bytes(received[FRAME_HEADER_SIZE:end])
        del received[:end]
        self._serve(connection, body)

    # Waiting

    def _wait(self, connection: Connection) -> None:
        """Watch a connection whose request is not complete, or not begun."""
        if connection.queued:
            if len(connection.received) > self.limits.frame_bytes:
                self._close(connection)  # a further request while one is in flight may wait, but not grow
            return
        received = len(connection.received)
        if received:
            phase = Phase.BODY if received >= FRAME_HEADER_SIZE else Phase.HEADER
        else:
            phase = Phase.IDLE if connection.answered or self._end_by is not None else Phase.HEADER
        self._waiting.enter(connection, phase, self._now)
        if not connection.watched:
            connection.watched = True
            self._watched[connection.fd] = connection
            self._poller.register(connection.fd, select.EPOLLIN)
        while (surplus := self._waiting.surplus()) is not None:
            owed, remedy = surplus.phase and surplus.phase.value, "raise limits.connections"
            self._log.info("client made room", owed=owed, remedy=remedy, **surplus.fields)
            self._counts.add(ServingCount.MADE_ROOM)
            self._close(surplus)

    def _expire(self) -> None:
        for connection in self._waiting.expired(self._now):
            if connection.phase is not Phase.IDLE:
                owed = connection.phase and connection.phase.value
                self._log.info("client too slow", owed=owed, **connection.fields)
                self._counts.add(ServingCount.EXPIRED)
            self._close(connection)
        if self._orphan is not None:
            self._live_on(self._orphan)

    def _unwatch(self, connection: Connection) -> None:
        if connection.watched:
            connection.watched = False
            del self._watched[connection.fd]
            self._poller.unregister(connection.fd)

    def _close(self, connection: Connection) -> None:
        self._waiting.leave(connection)
        if connection.watched:
            del self._watched[connection.fd]
        os.close(connection.fd)
        connection.fd = -1

    # Requests in, answers out

    def _serve(self, connection: Connection, body: bytes) -> None:
        self._service.peer = connection.peer
        try:
            request = decode_request(body)
        except ProtocolError as error:
            self._answer(connection, self._service.refuse(error))
            self._counts.answered(REQUESTS[error.request_field], self._service.status, connection.peer)
        except DecodeError as error:
            self._refuse(connection, error)
        except Exception as error:  # noqa: BLE001  the edge of a connection: a bug met by one must not end the others
            self._log.error("request failed", reason=repr(error), remedy="please report this", **connection.fields)
            self._close(connection)
        else:
            if not isinstance(request, GetQuoteExRequest) and not self._quoter.is_doubtful:
                self._answer(connection, self._service.answer(request))
                self._counts.answered(type(request), self._service.status, connection.peer)
            else:
                connection.queued = True
                if (turned_away := self._quoter.append((connection, request, self._now))) is not None:
                    self._turn_away(turned_away)

    def _turn_away(self, turned_away: TurnedAway) -> None:
        (connection, request, _arrived), reason = turned_away
        if connection.fd >= 0:
            self._service.peer = connection.peer
            self._answer(connection, self._service.busy(request, reason))
            self._counts.quoted(self._service.status, 0.0, connection.peer)

    def _answer(self, connection: Connection, frame: bytes) -> None:
        """Send ``frame`` with the others of its batch: clients woken one by one cost 5 µs each, in a row far less."""
        connection.queued = True
        self._answers.append((connection, frame))

    def _send_answers(self) -> None:
        """Send each answer whole and in one piece: Intel's client can't read it in fragments (aesm 1.4)."""
        answers, self._answers = self._answers, []
        stays = self._end_by is None and self.limits.idle_s > 0
        for connection, frame in answers:
            if connection.fd < 0:
                continue  # its peer hung up meanwhile
            connection.queued = False
            try:
                sent = os.write(connection.fd, frame)
            except OSError:
                sent = -1  # gone, or it has not read its earlier answers
            if sent != len(frame) or not stays:
                self._close(connection)
                continue
            connection.answered = True
            if connection.watched and not connection.received:
                self._wait(connection)
            else:
                self._answered.append(connection)

    def _refuse(self, connection: Connection, error: DecodeError) -> None:
        """Close on what can't be answered in kind: no bytes is what every client survives (aesm 0.2)."""
        self._log.info("malformed request", reason=error, **connection.fields)
        self._counts.add(ServingCount.REFUSED_FRAMES)
        self._close(connection)

    # The supervisor, and the end

    def _heed_supervisor(self) -> None:
        """Do what the supervisor orders; when it has gone, see how long to go on."""
        try:
            message = self._leash.receive()
        except BlockingIOError:
            return
        if message is not None:
            if message.word is Word.LISTEN:
                self._listen(message.sockets)
                self._leash.send(Word.LISTENING)
            return
        self._poller.unregister(self._leash.fileno())
        if self._published is None or self._end_by is not None or not self._listeners:
            self._begin_end("the supervisor has gone")
        else:
            self._orphan = Orphan(self._was_published, self._now + self.limits.orphan_s)
            most = f"serving goes on until another instance takes over, at most {self.limits.orphan_s:g} s"
            self._log.error("supervisor gone", consequence=most, remedy="start the daemon again with --take-over")

    def _listen(self, sockets: Sequence[socket.socket]) -> None:
        """Listen to ``sockets`` only; who waits at the former ones is left to whoever listens there."""
        if self._end_by is not None:
            for listening in sockets:
                listening.close()
            return
        for listening in list(self._listeners.values()):
            self._close_listener(listening)
        for listening in sockets:
            self._listeners[listening.fileno()] = listening
            self._poller.register(listening, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._was_published = self._published and self._published()

    def _live_on(self, orphan: Orphan) -> None:
        """Without a supervisor: end when clients have somewhere else to go, or nobody ever came."""
        if self._published is None or self._published() != orphan.published or self._now >= orphan.until:
            self._orphan = None
            self._begin_end("the supervisor has gone")

    def _heed_signals(self) -> None:
        for number in os.read(self._wakeup, 64):
            if number == signal.SIGHUP:
                self._reload()
            elif number in {signal.SIGTERM, signal.SIGINT}:
                self._begin_end(signal.Signals(number).name)

    def _begin_end(self, reason: str) -> None:
        """Accept whoever has connected already, nobody else, and finish what is in flight.

        The supervisor has shut the listening sockets down, so that no further client can connect. A serving process
        that is told to end alone leaves those that still can to its successor.
        """
        if self._end_by is not None:
            return
        self._log.debug("draining", reason=reason, waiting=len(self._waiting), quotes=len(self._quoter))
        self._end_by = self._now + self.limits.drain_s
        for connection in self._waiting:
            if connection.answered and not connection.received:
                self._close(connection)
            else:
                self._wait(connection)

    def _accept_last(self) -> None:
        for listening in list(self._listeners.values()):
            self._accept(listening)

    def _close_listener(self, listening: socket.socket) -> None:
        del self._listeners[listening.fileno()]
        self._poller.unregister(listening.fileno())
        listening.close()
