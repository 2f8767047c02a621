"""Both clients against a daemon of the test's own, on real sockets, well-behaved and hostile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import receive_frame
from quotehelper.aesm import messages as m
from quotehelper.aesm import transport
from quotehelper.aesm.async_client import AsyncAesmClient
from quotehelper.aesm.client import AesmClient
from quotehelper.errors import DaemonError, DecodeError, TransportError
from quotehelper.sgx.key_id import QE3_KEY_ID, QeReportInfo
from quotehelper.sgx.report import Report, TargetInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECORDED = Path(__file__).parents[1] / "vectors" / "frames"
REPORT = Report(bytes(432))
NUM = m.encode_response(m.GetSupportedAttKeyIDNumResponse(0, 1))
STALL = "send nothing more, and keep the connection open"
PAUSE = "wait for most of SHORT_S"
SHORT_S = 0.2
"""Seconds after which a client gives up in a test where it must."""

Script = Sequence[bytes | str]


class ScriptedDaemon:
    """A listener that answers each connection with the next script: bytes are sent as they are, then it closes.

    ``frames``: what it was sent. ``reads``: bytes that it reads, if not a whole frame.
    """

    def __init__(self, address: str | bytes, backlog: int = 16) -> None:
        self.address = address
        self.frames: list[bytes] = []
        self.reads: int | None = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(address)
        self._listener.listen(backlog)
        self._stalled = contextlib.ExitStack()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._scripts: tuple[Script, ...] = ()

    def start(self, *scripts: Script) -> None:
        self._scripts = scripts
        self._thread.start()

    def _serve(self) -> None:
        for script in self._scripts:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed before all scripts were played
                return
            if STALL in script:
                self._stalled.enter_context(connection)
                self._play(connection, script)
            else:
                with connection:
                    self._play(connection, script)

    def _play(self, connection: socket.socket, script: Script) -> None:
        self.frames.append(connection.recv(self.reads) if self.reads else receive_frame(connection))
        for part in script:
            if isinstance(part, bytes):
                with contextlib.suppress(BrokenPipeError):  # a client may have given up
                    connection.sendall(part)
            elif part is PAUSE:
                self._ended.wait(SHORT_S * 0.75)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._stalled.close()
        self._listener.close()


class SyncedAsyncClient:
    """AsyncAesmClient with calls that wait, so that one test fits both."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        self._client = AsyncAesmClient(*args, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **options: asyncio.run(getattr(self._client, name)(*args, **options))


@pytest.fixture(params=[AesmClient, SyncedAsyncClient], ids=["blocking", "asyncio"])
def client_kind(request: pytest.FixtureRequest) -> Any:  # noqa: ANN401
    return request.param


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ScriptedDaemon]:
    with contextlib.closing(ScriptedDaemon(str(tmp_path / "aesm.socket"))) as scripted:
        yield scripted


def recorded(client: str, number: int) -> bytes:
    return (RECORDED / client / f"{number:02}.res").read_bytes()


# Calls


def test_each_request_takes_a_connection_of_its_own(client_kind: Any, daemon: ScriptedDaemon) -> None:  # noqa: ANN401
    daemon.start([NUM], [m.encode_response(m.GetSupportedAttKeyIDsResponse(0, QE3_KEY_ID.raw))])
    assert client_kind(daemon.address).supported_key_ids() == (QE3_KEY_ID,)
    assert [m.decode_request(frame[4:]).FIELD for frame in daemon.frames] == [21, 22]


def test_all_calls_work_with_what_intel_s_service_answers(client_kind: Any, daemon: ScriptedDaemon) -> None:  # noqa: ANN401
    numbers = [2, 4, 5, 5, 6]
    daemon.start(*([recorded("intel-quote-ex-nonce", number)] for number in numbers))
    client = client_kind(daemon.address)
    assert client.select_key_id() == QE3_KEY_ID
    target_info, public_key_id = client.init_quote(QE3_KEY_ID)
    assert isinstance(target_info, TargetInfo)
    assert len(public_key_id) == 32
    assert client.quote_size(QE3_KEY_ID) == 4563
    info = QeReportInfo.build(nonce=b"\x0f" * 16)
    reply = client.quote(REPORT, QE3_KEY_ID, qe_report_info=info)
    assert len(reply.quote) == 4563
    assert isinstance(reply.qe_report_info, QeReportInfo)


def test_exchange_gives_the_whole_response(client_kind: Any, daemon: ScriptedDaemon) -> None:  # noqa: ANN401
    daemon.start([NUM])
    response = client_kind(daemon.address).exchange(m.GetSupportedAttKeyIDNumRequest(timeout=7))
    assert response == m.GetSupportedAttKeyIDNumResponse(0, 1)
    assert m.decode_request(daemon.frames[0][4:]) == m.GetSupportedAttKeyIDNumRequest(timeout=7)


def test_an_answer_may_come_a_byte_at_a_time(client_kind: Any, daemon: ScriptedDaemon) -> None:  # noqa: ANN401
    daemon.start([bytes([byte]) for byte in NUM])
    assert client_kind(daemon.address).exchange(m.GetSupportedAttKeyIDNumRequest())[1] == 1


def test_an_abstract_name_is_an_address(client_kind: Any) -> None:  # noqa: ANN401
    name = b"\0quotehelper-test-" + os.urandom(8).hex().encode()
    with contextlib.closing(ScriptedDaemon(name)) as scripted:
        scripted.start([NUM])
        assert client_kind(name).exchange(m.GetSupportedAttKeyIDNumRequest())[1] == 1


def test_a_large_answer_within_the_limit_is_taken(client_kind: Any, daemon: ScriptedDaemon) -> None:  # noqa: ANN401
    response = m.GetQuoteExResponse(0, bytes(300_000))
    daemon.start([m.encode_response(response)])
    assert client_kind(daemon.address).exchange(m.GetQuoteExRequest(report=b"", buf_size=300_000)) == response


# Hostile daemons

FAILURES: dict[str, tuple[Script, type[Exception], str]] = {
    "closes at once": ([], TransportError, "closed without an answer"),
    "closes within the length": ([NUM[:3]], TransportError, "closed amid the answer, after 3 bytes"),
    "closes within the answer": ([NUM[:-1]], TransportError, f"closed amid the answer, after {len(NUM) - 1} bytes"),
    "answers nothing": ([bytes(4)], DecodeError, r"Frame\.length at byte 0: 0 given"),
    "announces 4 GiB": ([b"\xff" * 4], DecodeError, r"Frame\.length at byte 0: 4294967295 given"),
    "announces too much": ([(1 << 20 | 1).to_bytes(4, "little")], DecodeError, r"1 to 1048576 are taken"),
    "answers something else": ([recorded("gramine", 1)], DecodeError, "but InitQuoteExResponse came"),
    "answers field 20": (
        [m.encode_response(m.UnsupportedRequestResponse(1))],
        DecodeError,
        "but UnsupportedRequestResponse came",
    ),
    "answers garbage": ([b"\5\0\0\0\xff\xff\xff\xff\xff"], DecodeError, "^Response"),
    "answers an error": (
        [m.encode_response(m.error_response(21, 30))],
        DaemonError,
        "^GetSupportedAttKeyIDNum: the daemon answered 30: ",
    ),
    "says nothing": ([STALL], TransportError, f"no answer within {SHORT_S} s"),
    "stops within the length": ([NUM[:2], STALL], TransportError, f"no answer within {SHORT_S} s"),
    "stops within the answer": ([NUM[:-1], STALL], TransportError, f"no answer within {SHORT_S} s"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_daemon_that_misbehaves_is_a_deliberate_error(
    client_kind: Any,  # noqa: ANN401
    daemon: ScriptedDaemon,
    case: str,
) -> None:
    script, error, message = FAILURES[case]
    daemon.start(script)
    client = client_kind(daemon.address, timeout_s=SHORT_S if STALL in script else 60.0)
    with pytest.raises(error, match=message):
        client.exchange(m.GetSupportedAttKeyIDNumRequest())


def test_the_deadline_is_for_all_requests_of_a_call(client_kind: Any, daemon: ScriptedDaemon) -> None:  # noqa: ANN401
    daemon.start([PAUSE, recorded("intel-quote-ex", 5)], [PAUSE, recorded("intel-quote-ex", 6)])
    with pytest.raises(TransportError, match=f"no answer within {SHORT_S} s"):
        client_kind(daemon.address, timeout_s=SHORT_S).quote(REPORT, QE3_KEY_ID)


def test_the_limit_of_a_response_is_a_setting(client_kind: Any, daemon: ScriptedDaemon) -> None:  # noqa: ANN401
    daemon.start([NUM])
    with pytest.raises(DecodeError, match="1 to 6 are taken"):
        client_kind(daemon.address, response_limit_bytes=6).exchange(m.GetSupportedAttKeyIDNumRequest())


def test_a_daemon_that_closes_on_a_large_request_unread_is_a_transport_error(
    client_kind: Any,  # noqa: ANN401
    daemon: ScriptedDaemon,
) -> None:
    daemon.reads = 1
    daemon.start([])
    with pytest.raises(TransportError, match="closed without an answer"):
        client_kind(daemon.address).exchange(m.GetQuoteExRequest(report=bytes(8 << 20), buf_size=0))


# Nobody there


def test_no_socket_says_to_start_the_daemon(client_kind: Any, tmp_path: Path) -> None:  # noqa: ANN401
    path = tmp_path / "none"
    with pytest.raises(TransportError, match=rf"^{path}: No such file or directory\. Start the daemon"):
        client_kind(str(path)).quote_size(QE3_KEY_ID)


def test_a_stale_socket_says_that_the_daemon_has_gone(client_kind: Any, tmp_path: Path) -> None:  # noqa: ANN401
    path = str(tmp_path / "stale")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    with pytest.raises(TransportError, match=r"Connection refused\. The daemon has gone: restart it"):
        client_kind(path).quote_size(QE3_KEY_ID)


def test_a_file_in_its_place_is_a_transport_error(client_kind: Any, tmp_path: Path) -> None:  # noqa: ANN401
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(TransportError, match="Connection refused"):
        client_kind(str(path)).quote_size(QE3_KEY_ID)


def test_another_kind_of_socket_is_a_transport_error(client_kind: Any, tmp_path: Path) -> None:  # noqa: ANN401
    path = str(tmp_path / "datagrams")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(path)
        with pytest.raises(TransportError, match="Another kind of socket is there"):
            client_kind(path).quote_size(QE3_KEY_ID)


def test_a_path_that_is_too_long_is_a_transport_error(client_kind: Any) -> None:  # noqa: ANN401
    with pytest.raises(TransportError, match="AF_UNIX path too long"):
        client_kind("/" + "x" * 200).quote_size(QE3_KEY_ID)


def test_a_backlog_that_stays_full_is_waited_for_until_the_deadline(client_kind: Any, tmp_path: Path) -> None:  # noqa: ANN401
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as others:
        listener.bind(path)
        listener.listen(0)
        others.enter_context(socket.socket(socket.AF_UNIX)).connect(path)
        with pytest.raises(TransportError, match=f"no answer within {SHORT_S} s"):
            client_kind(path, timeout_s=SHORT_S).quote_size(QE3_KEY_ID)


def test_a_full_backlog_that_gets_room_is_no_error(client_kind: Any, tmp_path: Path) -> None:  # noqa: ANN401
    with contextlib.closing(ScriptedDaemon(str(tmp_path / "busy"), backlog=0)) as busy:
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(busy.address)  # takes all the room there is until it is accepted, though it has gone by then
        accept = threading.Timer(0.05, busy.start, ([], [NUM]))
        accept.start()
        answer = client_kind(busy.address).exchange(m.GetSupportedAttKeyIDNumRequest())
        accept.join()
    assert answer == m.GetSupportedAttKeyIDNumResponse(0, 1)


def test_no_time_at_all_is_too_slow(client_kind: Any, daemon: ScriptedDaemon) -> None:  # noqa: ANN401
    with pytest.raises(TransportError, match="no answer within 0 s"):
        client_kind(daemon.address, timeout_s=0.0).quote_size(QE3_KEY_ID)


# Addresses


def test_the_defaults_are_what_clients_have_compiled_in() -> None:
    assert transport.SOCKET_PATH == "/var/run/aesmd/aesm.socket"
    assert (len(transport.ABSTRACT_NAME), transport.ABSTRACT_NAME.rstrip(b"\0")) == (108, b"\0sgx_aesm_socket_base")
    assert transport.TIMEOUT_S == 15


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/run/aesm.socket", "/run/aesm.socket"),
        (b"/run/aesm.socket", "/run/aesm.socket"),
        (transport.ABSTRACT_NAME, "@sgx_aesm_socket_base"),
        ("\0name", "@name"),
        (b"\0\xff", "@\\xff"),
    ],
)
def test_addresses_are_shown_as_people_write_them(address: str | bytes, shown: str) -> None:
    assert transport.display_address(address) == shown
