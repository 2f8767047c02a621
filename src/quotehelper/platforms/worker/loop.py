"""The side that has the platform: reads one request after another, and answers each before it reads the next. Shell.

So at most one request is lost when the process dies, the one it was at.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING

from quotehelper.errors import DecodeError, PlatformCause, PlatformError, QuoteHelperError
from quotehelper.platforms.platform import Quoted
from quotehelper.platforms.worker.messages import (
    MESSAGE_LIMIT_BYTES,
    PUBLIC_KEY_ID_SIZE,
    QUOTE_LIMIT_BYTES,
    Answer,
    Description,
    KeyDescription,
    encode_answer,
    read_request,
)
from quotehelper.sgx.key_id import KEY_ID_LIST_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from quotehelper.platforms.platform import Platform, QuoteOrder, QuotingTarget
    from quotehelper.sgx.key_id import AttestationKeyId

    class Observer(Protocol):
        """Who is told of what a worker does."""

        def quoted(self, seconds: float, *, made: bool) -> None:
            """The platform took ``seconds`` for a quote, or to say that it makes none."""

        def reloaded(self) -> None:
            """The platform was opened anew."""

        def not_reloaded(self, error: QuoteHelperError) -> None:
            """It could not be opened anew; the old one stays."""

        def failed(self, error: Exception) -> None:
            """A request or the platform met a fault of ours, or a message was not what it should be."""


class WorkerLoop:
    """Answers what comes through ``channel`` with the platform that ``open_platform`` opens.

    ``generation`` is announced, and must be another one for each process that uses the channel. ``signals`` gets the
    number of each signal when it arrives, and the non-blocking pipe ``wakeup`` a byte, so that none is slept through.
    """

    def __init__(
        self,
        channel: socket.socket,
        open_platform: Callable[[], Platform],
        observer: Observer,
        *,
        generation: int,
        signals: list[int],
        wakeup: int,
    ) -> None:
        """Open the platform. Raises ConfigError if that can't be done."""
        self._channel = channel
        self._open_platform = open_platform
        self._observer = observer
        self._generation = generation
        self._signals = signals
        self._wakeup = wakeup
        self._platform = open_platform()
        self._ending = False
        self._buffer = memoryview(bytearray(MESSAGE_LIMIT_BYTES + 1))
        self._poller = select.poll()
        for fd in (channel, wakeup):
            self._poller.register(fd, select.POLLIN)

    def run(self) -> None:
        """Announce the platform, then serve until SIGTERM, or until nobody has the other end any more."""
        self._announce()
        while not self._ending:
            try:
                size = self._channel.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._poller.poll()
                self._heed_signals()
                continue
            except ConnectionResetError:
                break
            if not size:
                break
            self._serve(bytes(self._buffer[:size]))
            self._heed_signals()
        self._platform.close()

    def _heed_signals(self) -> None:
        while self._signals:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wakeup, 64)
            number = self._signals.pop(0)
            if number == signal.SIGTERM:
                self._ending = True
            elif number == signal.SIGHUP:
                self._reload()

    def _reload(self) -> None:
        try:
            platform = self._open_platform()
        except QuoteHelperError as error:
            self._observer.not_reloaded(error)
            return
        old, self._platform = self._platform, platform
        old.close()
        self._observer.reloaded()
        self._announce()

    # Requests

    def _serve(self, raw: bytes) -> None:
        try:
            number, order = read_request(raw)
        except DecodeError as error:
            self._observer.failed(error)  # whose it is can't be told; who sent it will see that it is overtaken
            return
        content = self._describe() if order is None else self._quote(order)
        self._say(Answer(number, content))

    def _say(self, answer: Answer) -> None:
        try:
            self._channel.sendall(encode_answer(answer))
        except (BrokenPipeError, ConnectionResetError):
            self._ending = True  # nobody has the other end any more

    def _quote(self, order: QuoteOrder) -> Quoted | PlatformError:
        began = time.perf_counter()
        content: Quoted | PlatformError
        try:
            content = self._platform.quote(*order)
        except PlatformError as error:
            content = error
        except Exception as error:  # noqa: BLE001  the edge of a request: a bug met by one must not end the others
            self._observer.failed(error)
            content = PlatformError(PlatformCause.UNAVAILABLE, f"a fault in the platform: {type(error).__name__}")
        else:
            if len(content.quote) > QUOTE_LIMIT_BYTES:
                detail = f"the quote has {len(content.quote)} bytes, at most {QUOTE_LIMIT_BYTES} can be passed on"
                content = PlatformError(PlatformCause.UNAVAILABLE, detail)
        self._observer.quoted(time.perf_counter() - began, made=isinstance(content, Quoted))
        return content

    # Descriptions

    def _announce(self) -> None:
        content = self._describe()
        if isinstance(content, PlatformError):
            content = Description(self._generation, (), {})
        self._say(Answer(0, content))

    def _describe(self) -> Description | PlatformError:
        platform = self._platform
        try:
            keys = tuple(map(self._describe_key, platform.attestation_keys()[:KEY_ID_LIST_LIMIT]))
            return Description(self._generation, keys, platform.reopening())
        except PlatformError as error:
            return error
        except Exception as error:  # noqa: BLE001  as above
            self._observer.failed(error)
            return PlatformError(PlatformCause.UNAVAILABLE, f"a fault in the platform: {type(error).__name__}")

    def _describe_key(self, key: AttestationKeyId) -> KeyDescription:
        return KeyDescription(key, self._target(key), self._quote_size(key))

    def _target(self, key: AttestationKeyId) -> QuotingTarget | PlatformError:
        try:
            target = self._platform.target(key)
        except PlatformError as error:
            return error
        if len(target.public_key_id) != PUBLIC_KEY_ID_SIZE:
            return PlatformError(PlatformCause.UNAVAILABLE, f"the key's id has {len(target.public_key_id)} bytes")
        return target

    def _quote_size(self, key: AttestationKeyId) -> int | PlatformError:
        try:
            size = self._platform.quote_size(key)
        except PlatformError as error:
            return error
        if not 0 < size <= QUOTE_LIMIT_BYTES:
            return PlatformError(PlatformCause.UNAVAILABLE, f"the quote has {size} bytes")
        return size
