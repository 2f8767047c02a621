"""The enclaves behind the test double of Intel's libraries: a simulated platform's quoting enclave on a socket.

Quotes are real: they verify under the authority of the platform's state. What goes wrong is scripted here, by call.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from harness import DEADLINE_S
from quotehelper.errors import PlatformCause, PlatformError
from quotehelper.platforms.simulated.enclaves import Pce, Qe3, pce_identity, qe3_identity
from quotehelper.platforms.simulated.state import read_chain, read_state
from quotehelper.sgx.key_id import QE3_KEY_ID, QeReportInfo
from quotehelper.sgx.quote import CertificationData, CertificationType
from quotehelper.sgx.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

VARIABLE = "QUOTEHELPER_TEST_ENCLAVES"
"""Names the socket to the test double's libraries."""

SUCCESS, NOT_INITIALIZED, PARAMETER = 0, 0xE00F, 0xE002
_CODES = {PlatformCause.INVALID_REPORT: 0xE015, PlatformCause.UNABLE_TO_MAKE_QE_REPORT: 0xE017}
_RETURN, _CRASH = 0, 1
_FOREVER = 1 << 60


class _Process:
    """What a library in one process knows: its paths, and which key it has made."""

    def __init__(self) -> None:
        self.paths: dict[int, str] = {}
        self.key: tuple[int, Qe3] | None = None


class SimulatedEnclaves:
    """Serves at ``path`` the enclaves of the simulated platform in ``state``, from when it is entered until it is left.

    ``calls``: the names of all calls so far. The version of the quoting enclave is ``qe_svn``, or what the file says
    to which the library's path for it leads.
    """

    def __init__(self, state: Path, path: Path, *, certification: CertificationData | None = None) -> None:
        self._state = read_state(state)
        self._chain = certification or CertificationData(CertificationType.PCK_CHAIN, read_chain(state))
        self.cpu = self._state.cpu()
        self.path = path
        self.calls: list[str] = []
        self.paths_set: list[str] = []
        self.qe_svn = self._state.qe.isv_svn
        self.provider_line: tuple[int, str] = (1, "certificates fetched")
        self._epoch = 0
        self._faults: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._answers: dict[str, bytes] = {}
        self._gates: dict[str, tuple[threading.Event, int]] = {}
        self._processes: dict[int, _Process] = defaultdict(_Process)
        self._reached = threading.Condition()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    # What tests script

    def fail(self, call: str, code: int, times: int = 1) -> None:
        """Let the next ``times`` calls return ``code``."""
        self._faults[call].append((code, times))

    def fail_for_good(self, call: str, code: int) -> None:
        """Let every call return ``code`` until ``mend``."""
        self.fail(call, code, _FOREVER)

    def crash(self, call: str, times: int = 1) -> None:
        """Let the next ``times`` calls end their process by SIGSEGV."""
        self.fail(call, -1, times)

    def mend(self) -> None:
        """Forget what was to fail."""
        self._faults.clear()

    def answer(self, call: str, payload: bytes) -> None:
        """Let every call succeed with ``payload``, whatever it is."""
        self._answers[call] = payload

    def hold(self, call: str, times: int = _FOREVER) -> threading.Event:
        """Let the next ``times`` calls wait until the event returned is set."""
        gate = threading.Event()
        self._gates[call] = gate, times
        return gate

    def wait_for(self, call: str) -> None:
        """Wait until ``call`` has been made."""
        with self._reached:
            assert self._reached.wait_for(lambda: call in self.calls, DEADLINE_S), f"no {call} in {self.calls}"

    def change_tcb(self, qe_svn: int | None = None) -> None:
        """Let every key be invalid, as after a TCB update; with ``qe_svn`` the quoting enclave is another one then."""
        self._epoch += 1
        self.qe_svn = self.qe_svn if qe_svn is None else qe_svn

    # The socket

    def __enter__(self) -> Self:
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for gate, _times in self._gates.values():
            gate.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(DEADLINE_S)
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        self._listener.close()
        self.path.unlink()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        process = self._processes[struct.unpack("3i", credentials)[0]]
        with contextlib.suppress(OSError), connection, connection.makefile("rwb") as stream:
            while header := stream.read(20):
                call = header[:16].rstrip(b"\0").decode()
                payload = stream.read(int.from_bytes(header[16:], "little"))
                stream.write(self._answer(process, call, payload))
                stream.flush()

    def _answer(self, process: _Process, call: str, payload: bytes) -> bytes:
        with self._reached:
            self.calls.append(call)
            self._reached.notify_all()
        if call in self._gates:
            gate, times = self._gates[call]
            self._gates[call] = gate, times - 1
            if times > 0:
                gate.wait(DEADLINE_S)
        code, answer = self._scripted(call), self._answers.get(call, b"")
        if call == "config":
            level, line = self.provider_line
            answer = level.to_bytes(4, "little") + line.encode()
        elif code == SUCCESS and not answer:
            try:
                code, answer = getattr(self, f"_{call}")(process, payload)
            except PlatformError as error:
                code = _CODES[error.cause]
        if code < 0:
            return struct.pack("<3I", _CRASH, 0, 0)
        return struct.pack("<3I", _RETURN, code, len(answer)) + answer

    def _scripted(self, call: str) -> int:
        faults = self._faults[call]
        if not faults:
            return SUCCESS
        code, times = faults[0]
        faults[:1] = [(code, times - 1)] if times > 1 else []
        return code

    # The enclaves

    def _policy(self, _process: _Process, payload: bytes) -> tuple[int, bytes]:
        return (SUCCESS if payload == bytes(4) else 0xE00C), b""

    def _path(self, process: _Process, payload: bytes) -> tuple[int, bytes]:
        path = payload[4:].decode()
        self.paths_set.append(path)
        if process.key is None:  # later it is taken, and does nothing: the enclaves are loaded
            process.paths[int.from_bytes(payload[:4], "little")] = path
        return SUCCESS, b""

    def _init(self, process: _Process, payload: bytes) -> tuple[int, bytes]:
        svn = self.qe_svn
        if path := process.paths.get(0):
            with open(path, encoding="ascii") as file:  # noqa: PTH123  a path of the library's
                svn = int(file.read())
        qe = self.quoting_enclave(svn, certified=payload == b"\1\0\0\0")
        process.key = self._epoch, qe
        return SUCCESS, qe.target_info.raw + qe.public_key_id

    def _size(self, process: _Process, _payload: bytes) -> tuple[int, bytes]:
        if process.key is None or process.key[0] != self._epoch:
            return NOT_INITIALIZED, b""
        return SUCCESS, process.key[1].quote_size.to_bytes(4, "little")

    def _quote(self, process: _Process, payload: bytes) -> tuple[int, bytes]:
        if process.key is None or process.key[0] != self._epoch:
            return NOT_INITIALIZED, b""
        size, report, info = int.from_bytes(payload[:4], "little"), Report(payload[4:436]), payload[436:]
        qe = process.key[1]
        if size < qe.quote_size:
            return PARAMETER, b""
        quote = qe.quote(report)
        return SUCCESS, (qe.report_quote(quote, QeReportInfo(info)).raw if info else b"") + quote

    def _key_id(self, _process: _Process, _payload: bytes) -> tuple[int, bytes]:
        return SUCCESS, QE3_KEY_ID.raw

    def _clean_up(self, _process: _Process, _payload: bytes) -> tuple[int, bytes]:
        return SUCCESS, b""

    @functools.cache  # noqa: B019  lives as long as a test
    def quoting_enclave(self, svn: int, *, certified: bool = True) -> Qe3:
        """The quoting enclave of version ``svn``; not ``certified``: with certification data of type 3."""
        state = self._state
        same = svn == state.qe.isv_svn
        identity = qe3_identity(*state.qe) if same else qe3_identity(svn)
        tail = state.pck_tcb.cpu_svn + state.pck_tcb.pce_svn.to_bytes(2, "little") + bytes(2)
        uncertified = CertificationData(CertificationType.PPID_RSA_3072, b"\xee" * 384 + tail)
        pce = Pce(self.cpu, pce_identity(*state.pce))
        return Qe3(self.cpu, identity, pce, state.pck_tcb, self._chain if certified else uncertified)
