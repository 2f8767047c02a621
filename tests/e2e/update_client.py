"""A client process for update tests: asks as Intel's or Gramine's library does, at a steady rate, until told to stop.

``python update_client.py SOCKET STATE intel|gramine RATE``: stops when its standard input ends, then prints one JSON
object: requests made, and failures by kind. A failure is what the application would see.
"""

from __future__ import annotations

import collections
import json
import select
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from quotehelper.aesm.client import AesmClient
from quotehelper.errors import DaemonError, QuoteHelperError
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load_cpu
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.sgx.quote import read_quote
from quotehelper.sgx.report import AttributeFlags, Attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from quotehelper.sgx.report import TargetInfo

_T = TypeVar("_T")
GRAMINE_BUFFER, GRAMINE_ROUNDS = 8192, 5
NOT_INITIALISED = 42


class Application:
    """An application that quotes again and again; each step is one request to the daemon."""

    def __init__(self, socket: str, state: str) -> None:
        identity = EnclaveIdentity(b"\xaa" * 32, b"\xbb" * 32, Attributes.build(flags=AttributeFlags.INIT, xfrm=3))
        self._enclave = load_cpu(Path(state)).load(identity)
        self._client = AesmClient(socket)
        self.requests = 0
        self.failures: collections.Counter[str] = collections.Counter()

    def intel(self) -> Iterator[None]:
        """libsgx_dcap_ql's three calls, over and over."""
        while True:
            target = self._ask(lambda: self._client.init_quote(QE3_KEY_ID)).target_info
            yield
            size = self._ask(lambda: self._client.quote_size(QE3_KEY_ID))
            yield
            self._quote(target, size)
            yield

    def gramine(self) -> Iterator[None]:
        """Gramine's: the target info once for all, begun anew only on 42."""
        target = self._ask(lambda: self._client.init_quote(QE3_KEY_ID)).target_info
        while True:
            yield
            for _ in range(GRAMINE_ROUNDS):
                try:
                    self._quote(target, GRAMINE_BUFFER)
                    break
                except DaemonError as error:
                    if error.status != NOT_INITIALISED:
                        raise
                    target = self._ask(lambda: self._client.init_quote(QE3_KEY_ID)).target_info

    def _quote(self, target: TargetInfo, size: int) -> None:
        report = self._enclave.report(target, self.requests.to_bytes(64, "little"))
        quote = self._ask(lambda: self._client.quote(report, QE3_KEY_ID, size)).quote
        if read_quote(quote).signed[48:] != report.raw[:384]:
            self.failures["another client's quote"] += 1

    def _ask(self, call: Callable[[], _T]) -> _T:
        self.requests += 1
        return call()


def run(socket: str, state: str, family: str, rate: float) -> dict[str, object]:
    """Ask until standard input ends; a failed sequence is counted and begun anew."""
    application = Application(socket, state)
    begin: Callable[[], Iterator[None]] = getattr(application, family)
    sequence = begin()
    due = time.monotonic()
    print("begun", flush=True)  # noqa: T201  tells the test
    while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
        due = max(due + 1 / rate, time.monotonic() - 1)
        try:
            next(sequence)
        except QuoteHelperError as error:
            status = f"status {error.status}" if isinstance(error, DaemonError) else str(error).partition(": ")[2]
            application.failures[status] += 1
            sequence = begin()
    return {"requests": application.requests, "failures": application.failures}


if __name__ == "__main__":
    socket_path, state_directory, client_family, requests_a_second = sys.argv[1:]
    print(json.dumps(run(socket_path, state_directory, client_family, float(requests_a_second))))  # noqa: T201  its result
