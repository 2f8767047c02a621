"""Clients of the soak, good and bad, and what befalls the good ones, moment by moment.

Good: a steady stream of quotes from the load generator, whose report is as old as the soak (as Occlum's clients keep
their target info for life), bursts of it at full speed, and careful clients that make a report for each quote and
check each answer and signature. Bad: clients that stall in the middle of a request, send nonsense, or connect and
close.
"""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InvalidSignature

from benchmarks.answers import check_answer
from benchmarks.rig import PATIENCE_S, BenchError, build, exchange
from quotehelper.aesm.client import AesmClient
from quotehelper.aesm.messages import encode_request
from quotehelper.cli.bench import KINDS, play_enclave, request_of_kind
from quotehelper.errors import QuoteHelperError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STEADY, PAUSE_MS = 8, 10
"""Clients of the steady stream, and what each waits between two requests: 800 a second, if the machine has them."""
CAREFUL = 2
BURST = 64
"""Clients of a burst, which wait for nothing."""
SCRAPE_S = 1.0
"""Seconds between two looks at the metrics."""
STALLED = 200
"""Clients that hold a connection without completing a request."""


class Failure(NamedTuple):
    """A good request that failed. ``moment``: of the monotonic clock."""

    moment: float
    who: str
    kind: str


class Seen:
    """What befell clients; any thread may add to it."""

    def __init__(self) -> None:
        self.failures: deque[Failure] = deque(maxlen=10_000)
        self.counts: Counter[str] = Counter()
        self.answered: list[tuple[float, int]] = []
        """Of the steady stream: moments, and answers until then."""

    def fail(self, moment: float, who: str, kind: str) -> None:
        """A good request of ``who`` failed."""
        self.failures.append(Failure(moment, who, kind))


class Stream:
    """A load generator that tells each failure at its moment. Ends by ``stop``."""

    def __init__(self, server: str, frame: bytes, name: str, seen: Seen, *options: str) -> None:
        self._name, self._seen = name, seen
        self._frame = tempfile.NamedTemporaryFile(prefix="frame-")  # noqa: SIM115  lives as long as the generator
        self._frame.write(frame)
        self._frame.flush()
        fixed = ("--socket", server, "--frame", self._frame.name, "--two-writes", "--tell", "0.5", "--seconds", "1e6")
        self._process = subprocess.Popen(
            [str(build("load_generator")), *fixed, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def stop(self) -> None:
        """End it: it waits for the answers that are due."""
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._reader.join()
        self._frame.close()

    def _read(self) -> None:
        answered = 0
        with self._process.stderr or contextlib.nullcontext(()) as lines:
            for line in lines:
                moment, what, rest = line.split()
                if what == "failed":
                    self._seen.fail(float(moment), self._name, rest)
                    continue
                answered = int(rest)
                if self._name == "steady":
                    self._seen.answered.append((float(moment), answered))
        self._seen.counts[self._name] += answered


class Clients:
    """All of them, at the socket ``server`` of a simulated platform in ``state``, until ``stop``.

    ``metrics`` says where metrics are told at present.
    """

    def __init__(self, server: str, state: Path, frames: dict[str, bytes], metrics: Callable[[], Path]) -> None:
        self.seen = Seen()
        self._metrics = metrics
        self._server = server
        self._frames = frames
        self._make_report = play_enclave(state)
        self._stalled: deque[socket.socket] = deque()
        self._ended = threading.Event()
        self._steady = self._stream("steady", "--clients", str(STEADY), "--pause-ms", str(PAUSE_MS))
        kinds: list[tuple[str, Callable[[random.Random], None]]] = [
            *(("careful", self._ask_and_check) for _ in range(CAREFUL)),
            ("stalling", self._stall),
            ("malformed", self._send_nonsense),
            ("closing", self._connect_and_close),
            ("scraping", self._scrape),
        ]
        self._threads = [threading.Thread(target=self._run, args=kind, daemon=True) for kind in kinds]
        for thread in self._threads:
            thread.start()

    @contextlib.contextmanager
    def burst(self) -> Iterator[None]:
        """As many requests as the daemon takes, meanwhile."""
        stream = self._stream("burst", "--clients", str(BURST))
        try:
            yield
        finally:
            stream.stop()

    def stop(self) -> None:
        """End all of them."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._steady.stop()
        while self._stalled:
            self._stalled.popleft().close()

    def _stream(self, name: str, *options: str) -> Stream:
        return Stream(self._server, self._frames["quote"], name, self.seen, *options)

    def _run(self, name: str, act: Callable[[random.Random], None]) -> None:
        dice = random.Random(name)  # noqa: S311  the same every time, not secret
        while not self._ended.wait(dice.uniform(0, 0.02)):
            try:
                act(dice)
            except (BrokenPipeError, ConnectionResetError) as error:
                if name == "careful":
                    self.seen.fail(time.monotonic(), name, _kind(error))
            except (OSError, BenchError, QuoteHelperError, InvalidSignature) as error:
                self.seen.fail(time.monotonic(), name, _kind(error))
            self.seen.counts[name] += 1

    def _ask_and_check(self, dice: random.Random) -> None:
        kind = dice.choice(KINDS)
        frame = encode_request(request_of_kind(kind, AesmClient(self._server), self._make_report))
        check_answer(kind, frame, exchange(self._server, frame))

    def _stall(self, dice: random.Random) -> None:
        """Send a part of a request and keep the connection, until the daemon or its turn ends it."""
        frame = self._frames["quote"]
        client = self._connect()
        self._stalled.append(client)
        client.send(frame[: dice.choice((0, 1, 2, 4, 5, dice.randrange(len(frame))))])
        if len(self._stalled) > STALLED:
            self._stalled.popleft().close()

    def _send_nonsense(self, dice: random.Random) -> None:
        """A request with a few bytes changed, cut off or made up; whatever the daemon does must leave it alive."""
        frame = bytearray(self._frames[dice.choice(KINDS)])
        for _ in range(dice.randrange(1, 4)):
            frame[dice.randrange(len(frame))] = dice.randrange(256)
        with self._connect() as client:
            client.settimeout(0.02)
            client.send(frame[: dice.randrange(1, len(frame) + 1)] + dice.randbytes(dice.choice((0, 0, 100))))
            with contextlib.suppress(TimeoutError):
                client.recv(65536)

    def _connect_and_close(self, _dice: random.Random) -> None:
        for _ in range(20):
            self._connect().close()

    def _scrape(self, _dice: random.Random) -> None:
        """Look at the metrics; that they are away for a moment with their process is no failure."""
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(PATIENCE_S)
            client.connect(str(self._metrics()))
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            while client.recv(65536):
                pass
        self._ended.wait(SCRAPE_S)

    def _connect(self) -> socket.socket:
        """A connection. That fails for nobody, good or bad."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE_S)
        try:
            client.connect(self._server)
        except OSError as error:
            client.close()
            raise BenchError(f"refused: {error.strerror or error}") from error
        return client


def _kind(error: Exception) -> str:
    """What a failure is, in the load generator's words where it has one."""
    text = str(error)
    if isinstance(error, ConnectionError) or "closed without" in text or "closed after 0 " in text:
        return "refused" if isinstance(error, ConnectionRefusedError) else "closed"
    return "short" if "closed amid" in text or "closed after" in text else f"{type(error).__name__}: {text}"
