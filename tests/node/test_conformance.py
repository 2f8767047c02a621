"""The conformance list of the AESM specification (section 9, tests 1 to 10), each against a live daemon."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from typing import TYPE_CHECKING

import pytest

import frames
from frames import K
from harness import VECTORS, Daemon, receive_frame, run_cli
from quotehelper.sgx.key_id import QeReportInfo
from quotehelper.sgx.quote import read_quote
from quotehelper.sgx.report import Report, ReportBody

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REPORT_DATA = bytes(range(64))
TARGET = ReportBody.build(mr_enclave=b"\xe1" * 32).as_target()

GOLDEN_REQUESTS = {
    "select, no list (Intel)": (frames.SELECT, "060000009a0103109875"),
    "num (Intel)": (frames.NUM, "06000000aa0103489875"),
    "ids, 1 key (Intel)": (frames.IDS, "09000000b20106088002489875"),
    "init b=1 buf=32 (Intel)": (frames.INIT, "bfec22f34b9b572999326afed98c3a08f6cb56042667a53bd16f46eb08d6ab3e"),
    "init b=0, no buf_size (Intel)": (
        frames.INIT_SIZE_ONLY,
        "e4584c54ef024c204d5f02bf8a070e59c80c9d4db470ef656f649e592e1356d2",
    ),
    "size (Intel)": (frames.SIZE, "7a50a015ff829f95a89b5a083a18f8b640228f08cf073c8fc4fb7edfb6a9eda2"),
    "quote (Intel)": (
        frames.quote(b"\xab" * 432, 8192),
        "e6023bdd7d37d3bf3bfe2437b7fb8a5459f66c8d643ff14668f1db312e5b2c49",
    ),
    "init b=1 buf=32, no timeout (Gramine, Fortanix)": (
        frames.message(15, frames.octets(1, K), frames.number(3, 1), frames.number(4, 32)),
        "86c26b6fc18f4cc750eccb991ed9b99af63436df29a517b360b43f9850242291",
    ),
    "init b=0, timeout in µs (Fortanix)": (
        frames.message(15, frames.octets(1, K), frames.number(3, 0), frames.number(9, 30_000_000)),
        "2c53beb4c04fe581b4e6d266e7fbc82dacbe858cc40a0ec85495cd00a3d669d4",
    ),
    "quote, no timeout (Gramine)": (
        frames.message(17, frames.octets(1, b"\xab" * 432), frames.octets(2, K), frames.number(4, 8192)),
        "65ec9589e9e24d4dace27d8884f2ecf384166ceec156004c7a124d9d43013ede",
    ),
}


@pytest.fixture(scope="module")
def target_info(daemon: Daemon) -> bytes:
    _, answer = frames.reply(daemon.exchange(frames.INIT))
    assert isinstance(answer[2], bytes)
    return answer[2]


@pytest.fixture(scope="module")
def report(state: Path, target_info: bytes, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A report of a simulated enclave for the daemon's quoting enclave, made by the command line."""
    directory = tmp_path_factory.mktemp("report")
    (directory / "target").write_bytes(target_info)
    run_cli(
        *("simulate", "report", "--state", str(state), "--target-info", str(directory / "target")),
        *("--report-data", REPORT_DATA.hex(), "--out", str(directory / "report")),
    )
    return (directory / "report").read_bytes()


@pytest.fixture(scope="module")
def quote_size(daemon: Daemon) -> int:
    _, answer = frames.reply(daemon.exchange(frames.SIZE))
    assert answer[1] == 0
    assert isinstance(answer[2], int)
    return answer[2]


# 1. Golden and recorded exchanges


@pytest.mark.parametrize("name", GOLDEN_REQUESTS)
def test_requests_here_are_those_that_were_captured(name: str) -> None:
    frame, expected = GOLDEN_REQUESTS[name]
    assert expected in {frame.hex(), hashlib.sha256(frame).hexdigest()}


@pytest.mark.parametrize(
    ("request_frame", "expected"),
    [
        (frames.NUM, "07000000aa010408001001"),
        (frames.IDS, "871641a27f6571451a578bfd15ccff3725b5196a04188694d42acd316312a5e1"),
        (frames.SELECT, "0af943241609f4e34420323824db0e86e3958f0b777180521d5e75f630c31084"),
        (frames.INIT_SIZE_ONLY, "137c77405d4703ddf937f12756e37e5056d3b4f6fc8d7ee2901ebdd597283ad2"),
        (frames.message(19, frames.octets(1, bytes(4) + b"\1\0\0\0" + bytes(256))), "050000009a01020826"),
        (frames.message(22, frames.number(1, 257)), "05000000b201020803"),
        (frames.message(15, frames.octets(1, K), frames.number(3, 1), frames.number(4, 77)), "060000007a040803184d"),
        (frames.message(16), "0700000082010408031000"),
        (frames.message(17, frames.octets(2, K)), "050000008a01020801"),
        (frames.message(3, *(frames.octets(n, b"x") for n in (1, 2, 3))), "040000001a02081e"),
        (frames.message(1, frames.INTEL_TIMEOUT), "040000000a02081e"),
        (frames.message(10, frames.INTEL_TIMEOUT), "060000005204081e1000"),
        (frames.message(12, frames.INTEL_TIMEOUT), "060000006204081e1000"),
        (frames.message(18, frames.number(2, 12), frames.number(3, 1)), "07000000920104081e1800"),
    ],
    ids=[
        *("num", "ids", "select", "init b=0", "select 38", "ids 3", "init 3", "size 3", "quote 1"),
        *("launch token", "init_quote", "white list size", "extended group", "update"),
    ],
)
def test_deterministic_replies_are_intels_to_the_byte(daemon: Daemon, request_frame: bytes, expected: str) -> None:
    answer = daemon.exchange(request_frame)
    assert expected in {answer.hex(), hashlib.sha256(answer).hexdigest()}


RECORDED = sorted((VECTORS / "frames").glob("*/*.req"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_recorded_exchanges_get_replies_of_the_recorded_shape(daemon: Daemon, path: Path, report: bytes) -> None:
    """A recorded quote request carries another platform's report: one of ours takes its place."""
    request, recorded = path.read_bytes(), path.with_suffix(".res").read_bytes()
    envelope, expected = frames.reply(recorded)
    if envelope == 17:
        asked = frames.reply(request)[1]
        foreign = asked[1]
        echo = {3: asked[3]} if 3 in asked else {}
        assert frames.reply(daemon.exchange(request)) == (17, {1: 47, **echo})
        if expected[1] == 47:
            return
        assert isinstance(foreign, bytes)
        request = request.replace(foreign, report)
    answer = daemon.exchange(request)
    if envelope in {19, 21, 22} or (envelope == 15 and path.stem == "03"):
        assert answer == recorded
        return
    got_envelope, got = frames.reply(answer)
    assert got_envelope == envelope
    assert list(got) == list(expected)
    assert got[1] == expected[1]
    for field, value in expected.items():
        if isinstance(value, bytes):
            assert isinstance(got[field], bytes)
            if not (envelope == 17 and field == 2 and path.parent.name.startswith("intel")):
                assert len(got[field]) == len(value)  # type: ignore[arg-type]


# 2. Initialising


@pytest.mark.parametrize("size", [None, 0, 31, 33, 64, 0xFFFFFFFF, 1 << 63])
def test_init_demands_a_buffer_of_exactly_32_bytes(daemon: Daemon, size: int | None) -> None:
    fields = [frames.octets(1, K), frames.number(3, 1)] + ([] if size is None else [frames.number(4, size)])
    assert frames.reply(daemon.exchange(frames.message(15, *fields))) == (15, {1: 3, 3: size or 0})


def test_init_without_key_id_ignores_the_buffer_size(daemon: Daemon) -> None:
    garbage = frames.message(15, frames.octets(1, K), frames.number(3, 0), frames.number(4, 0xDEADBEEF))
    assert frames.reply(daemon.exchange(garbage)) == (15, {1: 0, 2: bytes(512), 3: 32})


def test_init_gives_target_info_and_key_id(daemon: Daemon) -> None:
    _, answer = frames.reply(daemon.exchange(frames.INIT))
    assert answer[1] == 0
    assert answer[3] == 32
    assert isinstance(answer[2], bytes)
    assert isinstance(answer[4], bytes)
    assert (len(answer[2]), len(answer[4])) == (512, 32)
    filled = {*range(48), *range(52, 56)}
    assert not any(byte for at, byte in enumerate(answer[2]) if at not in filled), "aesm 4.4"


@pytest.mark.parametrize("envelope", [15, 16, 17])
@pytest.mark.parametrize(
    ("key", "status"),
    [
        (None, 3),
        (b"", 3),
        (K[:255], 3),
        (K + b"\1" * 44, 0),
        *((K[:n] + b"\x77" + K[n + 1 :], 38) for n in (0, 6, 54, 154, 157)),
    ]
    + [(K[:n] + b"\x77" + K[n + 1 :], 0) for n in (158, 174, 255)],
)
def test_a_key_is_known_by_its_first_158_bytes(
    daemon: Daemon, report: bytes, envelope: int, key: bytes | None, status: int
) -> None:
    field = 2 if envelope == 17 else 1
    named = [] if key is None else [frames.octets(field, key)]
    rest = {
        15: [frames.number(3, 1), frames.number(4, 32)],
        16: [],
        17: [frames.octets(1, report), frames.number(4, 8192)],
    }
    answered, answer = frames.reply(daemon.exchange(frames.message(envelope, *named, *rest[envelope])))
    assert (answered, answer[1]) == (envelope, status)


# 3. Choosing a key


def key_list(*ids: bytes, header: bytes = bytes(4), count: int | None = None) -> bytes:
    return header + (len(ids) if count is None else count).to_bytes(4, "little") + b"".join(ids)


EPID = K[:154] + bytes(4) + K[158:]
MARKED = K[:158] + b"\x5a" * 98


@pytest.mark.parametrize(
    ("offered", "status", "selected"),
    [
        (key_list(EPID, K), 0, K),
        (key_list(K, EPID), 0, K),
        (key_list(MARKED), 0, MARKED),
        (key_list(EPID, MARKED, K), 0, MARKED),
        (key_list(EPID), 38, None),
        (b"", 3, None),
        (key_list(K)[:263], 3, None),
        (key_list(K) + b"\0", 3, None),
        (key_list(K, header=b"\0\0\1\0"), 3, None),
        (key_list(K, header=b"\1\0\0\0"), 3, None),
        (key_list(*[K] * 11), 3, None),
        (key_list(K, count=2), 3, None),
        (key_list(K, count=0), 3, None),
        (key_list(*[K] * 10), 0, K),
    ],
)
def test_select_takes_the_first_known_id_as_the_caller_wrote_it(
    daemon: Daemon, offered: bytes, status: int, selected: bytes | None
) -> None:
    expected = {1: status} if selected is None else {1: status, 2: selected}
    assert frames.reply(daemon.exchange(frames.message(19, frames.octets(1, offered)))) == (19, expected)


# 4. Listing keys


@pytest.mark.parametrize(("size", "status"), [(0, 3), (255, 3), (512, 3), (0xFFFFFFFF, 3), (256, 0)])
def test_ids_demand_a_buffer_of_exactly_their_size(daemon: Daemon, size: int, status: int) -> None:
    _, answer = frames.reply(daemon.exchange(frames.message(22, frames.number(1, size))))
    assert answer[1] == status
    assert answer.get(2) == (None if status else K)


def test_ids_without_a_buffer_size_lack_something_required(daemon: Daemon) -> None:
    assert frames.reply(daemon.exchange(frames.message(22, frames.INTEL_TIMEOUT))) == (22, {1: 1})


# 5. Quotes


@pytest.mark.parametrize("size", [0, 431, 433])
def test_a_report_of_another_size_is_refused(daemon: Daemon, report: bytes, size: int) -> None:
    frame = frames.quote(report.ljust(size, b"\0")[:size], 8192)
    assert frames.reply(daemon.exchange(frame)) == (17, {1: 3})


@pytest.mark.parametrize("size", [0, 959, 961])
def test_qe_report_info_of_another_size_is_refused_and_echoed(daemon: Daemon, report: bytes, size: int) -> None:
    frame = frames.quote(report, 8192, b"\x11" * size)
    echo = {3: b"\x11" * size} if size else {}
    assert frames.reply(daemon.exchange(frame)) == (17, {1: 3, **echo})


@pytest.mark.parametrize("excess", [0, 1, 4096])
def test_the_reply_has_exactly_the_size_of_the_buffer_and_a_zero_tail(
    daemon: Daemon, report: bytes, quote_size: int, excess: int
) -> None:
    _, answer = frames.reply(daemon.exchange(frames.quote(report, quote_size + excess)))
    assert list(answer) == [1, 2], "no qe_report_info in, none out"
    assert isinstance(answer[2], bytes)
    assert len(answer[2]) == quote_size + excess
    assert not any(answer[2][quote_size:])
    quote = read_quote(answer[2][:quote_size])
    assert quote.trailing == b"", "the size is exact"
    assert quote.body.raw == report[:384]


@pytest.mark.parametrize("size", [0, 1, -1, 64 * 1024 + 1, 0xFFFFFFFF])
def test_a_buffer_too_small_or_absurdly_large_is_refused(
    daemon: Daemon, report: bytes, quote_size: int, size: int
) -> None:
    frame = frames.quote(report, quote_size - 1 if size < 0 else size)
    assert frames.reply(daemon.exchange(frame)) == (17, {1: 3})


def test_the_qe_reports_over_nonce_and_unpadded_quote(daemon: Daemon, report: bytes, quote_size: int) -> None:
    info = QeReportInfo.build(nonce=b"\x0f" * 16, app_enclave_target_info=TARGET)
    _, answer = frames.reply(daemon.exchange(frames.quote(report, quote_size + 100, info.raw)))
    assert isinstance(answer[2], bytes)
    assert isinstance(answer[3], bytes)
    told = QeReportInfo(answer[3])
    assert told.raw[:528] == info.raw[:528], "nonce and target info unchanged"
    expected = hashlib.sha256(info.nonce + answer[2][:quote_size]).digest() + bytes(32)
    assert told.qe_report.body.report_data == expected


@pytest.mark.parametrize("at", [0, 383, 384, 415, 416, 431])
def test_a_forged_report_is_47_in_kind(daemon: Daemon, report: bytes, at: int) -> None:
    forged = report[:at] + bytes([report[at] ^ 1]) + report[at + 1 :]
    info = QeReportInfo.build(nonce=b"\x0f" * 16, app_enclave_target_info=TARGET).raw
    assert frames.reply(daemon.exchange(frames.quote(forged, 8192))) == (17, {1: 47})
    assert frames.reply(daemon.exchange(frames.quote(forged, 8192, info))) == (17, {1: 47, 3: info})


def test_a_report_for_another_enclave_is_47(daemon: Daemon, report: bytes) -> None:
    other = Report(report).replace(mac=bytes(16)).raw
    assert frames.reply(daemon.exchange(frames.quote(other, 8192))) == (17, {1: 47})


# 6. No warm-up needed


def test_a_fresh_daemon_quotes_without_any_init(start_daemon: Callable[..., Daemon], report: bytes) -> None:
    """Intel's says 42 until some client has initialised the key; ours does it at start (aesm 0.10)."""
    fresh = start_daemon()
    _, answer = frames.reply(fresh.exchange(frames.quote(report, 8192)))
    assert answer[1] == 0


# 7. Transport


def test_header_and_body_may_come_apart(daemon: Daemon) -> None:
    with daemon.connect() as client:
        client.sendall(frames.NUM[:4])
        assert frames.reply(daemon.exchange(frames.NUM))[0] == 21, "meanwhile others are answered"
        client.sendall(frames.NUM[4:])
        assert frames.reply(receive_frame(client))[0] == 21


def test_a_request_may_come_a_byte_at_a_time(daemon: Daemon, report: bytes) -> None:
    with daemon.connect() as client:
        for byte in frames.quote(report, 8192):
            client.sendall(bytes([byte]))
        assert frames.reply(receive_frame(client))[1][1] == 0


def test_connecting_and_closing_hurts_nobody(daemon: Daemon) -> None:
    for first in (b"", b"\6"):
        for _ in range(500):
            with daemon.connect() as client:
                client.sendall(first)
    assert frames.reply(daemon.exchange(frames.NUM))[0] == 21


def test_500_idle_connections_keep_nobody_out(daemon: Daemon) -> None:
    idle = [daemon.connect() for _ in range(500)]
    try:
        assert frames.reply(daemon.exchange(frames.NUM))[0] == 21
    finally:
        for client in idle:
            client.close()


def test_a_partial_frame_held_open_keeps_nobody_out(daemon: Daemon) -> None:
    with daemon.connect() as stalled:
        stalled.sendall(b"\6\0")
        assert frames.reply(daemon.exchange(frames.NUM))[0] == 21


@pytest.mark.parametrize("header", ["ffffffff", "01000100", "00000000"])
def test_an_impossible_length_is_closed_without_memory(daemon: Daemon, header: str) -> None:
    before = daemon.resident_kib()
    assert daemon.exchange(bytes.fromhex(header)) == b""
    assert daemon.resident_kib() - before < 1024


def test_two_requests_sent_ahead_are_answered_in_order(daemon: Daemon, report: bytes) -> None:
    with daemon.connect() as client:
        client.sendall(frames.quote(report, 8192) + frames.NUM)
        assert frames.reply(receive_frame(client))[0] == 17
        assert frames.reply(receive_frame(client))[0] == 21


def test_a_connection_may_be_used_again(daemon: Daemon) -> None:
    with daemon.connect() as client:
        for _ in range(3):
            client.sendall(frames.NUM)
            assert frames.reply(receive_frame(client))[0] == 21


def test_an_answered_connection_is_closed(daemon: Daemon) -> None:
    with daemon.connect() as client:
        client.sendall(frames.NUM)
        receive_frame(client)
        assert client.recv(1) == b""


def test_a_client_that_has_shut_its_sending_side_down_gets_its_answer(daemon: Daemon, report: bytes) -> None:
    with daemon.connect() as client:
        client.sendall(frames.quote(report, 8192))
        client.shutdown(socket.SHUT_WR)
        assert frames.reply(receive_frame(client))[1][1] == 0
        assert client.recv(1) == b""


# 8. One segment


def test_a_quote_arrives_in_one_piece(daemon: Daemon, report: bytes) -> None:
    with daemon.connect() as client:
        client.sendall(frames.quote(report, 8192))
        piece = client.recv(1 << 16)
    assert len(piece) == 4 + int.from_bytes(piece[:4], "little")


# 9. Every request is answered in kind


@pytest.mark.parametrize(
    ("envelope", "fields", "expected"),
    [
        (1, [], {1: 30}),
        (2, [frames.octets(1, b""), frames.number(2, 0), frames.octets(3, b""), frames.number(6, 0xFFFFFFFF)], {1: 30}),
        (3, [frames.octets(n, b"") for n in (1, 2, 3)], {1: 30}),
        (4, [frames.octets(1, b""), frames.number(2, 0), frames.number(3, 0)], {1: 30}),
        (10, [], {1: 30, 2: 0}),
        (11, [], {1: 30}),
        (12, [], {1: 30, 2: 0}),
        (13, [], {1: 30}),
        (14, [frames.octets(1, b""), frames.number(2, 0)], {1: 30}),
        (14, [frames.octets(1, b""), frames.number(2, 1)], {1: 3}),
        (18, [frames.number(2, 0), frames.number(3, 0)], {1: 30, 3: 0}),
    ],
)
def test_legacy_requests_are_answered_in_kind(
    daemon: Daemon, envelope: int, fields: list[bytes], expected: dict[int, int]
) -> None:
    assert frames.reply(daemon.exchange(frames.message(envelope, *fields))) == (envelope, expected)


@pytest.mark.parametrize("envelope", [2, 3, 4, 14, 15, 17, 18, 22])
def test_a_request_that_lacks_something_required_is_1_in_kind(daemon: Daemon, envelope: int) -> None:
    answered, answer = frames.reply(daemon.exchange(frames.message(envelope)))
    assert (answered, answer[1]) == (envelope, 1)


@pytest.mark.parametrize(
    "body", [b"", b"\0", b"\xff" * 12, frames.octets(20, b""), frames.octets(99, b"xyz"), frames.number(21, 5)]
)
def test_what_can_not_be_answered_in_kind_is_closed_without_a_byte(daemon: Daemon, body: bytes) -> None:
    assert daemon.exchange(frames.frame(body)) == b""


def test_unknown_fields_and_absurd_time_outs_are_tolerated(daemon: Daemon) -> None:
    odd = frames.message(21, frames.number(9, 0xFFFFFFFF), frames.octets(77, b"?"), frames.number(78, 1 << 60))
    assert frames.reply(daemon.exchange(odd)) == (21, {1: 0, 2: 1})


# 10. Signals


def test_sigterm_answers_what_is_in_flight_and_exits_0(start_daemon: Callable[..., Daemon], report: bytes) -> None:
    running = start_daemon(["--log-level", "debug"])
    frame = frames.quote(report, 8192)
    with running.connect() as client:
        client.sendall(frame[:-1])
        frames.reply(running.exchange(frames.NUM))  # so the daemon has seen the first part
        running.process.terminate()
        running.wait_for("DEBUG draining")
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            running.connect()
        client.sendall(frame[-1:])
        assert frames.reply(receive_frame(client))[1][1] == 0
    assert running.process.wait(60) == 0
    assert not running.path.exists()


def test_sigterm_answers_those_who_wait_in_the_backlog(start_daemon: Callable[..., Daemon]) -> None:
    running = start_daemon()
    clients = [running.connect() for _ in range(200)]
    running.process.terminate()
    for client in clients:
        client.sendall(frames.NUM)
    answers = [receive_frame(client) for client in clients]
    for client in clients:
        client.close()
    assert {frames.reply(answer)[0] for answer in answers} == {21}
    assert running.process.wait(60) == 0


def test_sigterm_does_not_wait_for_silent_clients(start_daemon: Callable[..., Daemon]) -> None:
    running = start_daemon()
    with running.connect():
        assert running.stop() == 0


def test_sighup_keeps_inode_and_key_and_takes_new_settings(
    start_daemon: Callable[..., Daemon], tmp_path: Path, report: bytes
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("")
    running = start_daemon(["--config", str(settings)])
    inode = running.path.stat().st_ino
    key = frames.reply(running.exchange(frames.INIT))
    settings.write_text('log_level = "debug"\n[limits]\nbuffer_bytes = 16384\n')
    with running.connect() as client:
        client.sendall(frames.NUM[:5])
        os.kill(running.process.pid, 1)
        running.wait_for("INFO reloaded level=DEBUG")
        client.sendall(frames.NUM[5:])
        assert frames.reply(receive_frame(client))[0] == 21, "what was in flight goes on"
    assert running.path.stat().st_ino == inode
    assert frames.reply(running.exchange(frames.INIT)) == key
    assert frames.reply(running.exchange(frames.quote(report, 16384)))[1][1] == 0
    assert frames.reply(running.exchange(frames.quote(report, 16385)))[1][1] == 3


def test_sighup_with_a_mistake_in_the_file_keeps_what_is_in_force(
    start_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text("")
    running = start_daemon(["--config", str(settings)])
    settings.write_text("[limits]\nconections = 3\n")
    os.kill(running.process.pid, 1)
    assert "unknown setting limits.conections" in running.wait_for("ERROR not reloaded")
    assert frames.reply(running.exchange(frames.NUM))[0] == 21


# And what an operator sees


def test_a_serving_process_that_dies_is_replaced_while_clients_wait(start_daemon: Callable[..., Daemon]) -> None:
    running = start_daemon()
    (serving,) = running.children()
    os.kill(serving, 9)
    assert frames.reply(running.exchange(frames.NUM))[0] == 21
    assert re.search(r"cause=\"signal SIGKILL\"", running.wait_for("ERROR serving process ended"))


def test_a_serving_process_that_is_told_to_end_leaves_the_socket_to_its_successor(
    start_daemon: Callable[..., Daemon],
) -> None:
    running = start_daemon()
    (serving,) = running.children()
    os.kill(serving, 15)
    running.wait_for("ERROR serving process ended")
    assert frames.reply(running.exchange(frames.NUM))[0] == 21


def test_several_processes_share_the_socket(start_daemon: Callable[..., Daemon], report: bytes) -> None:
    running = start_daemon(["--processes", "2"])
    assert len(running.children()) == 2
    assert {frames.reply(running.exchange(frames.quote(report, 8192)))[1][1] for _ in range(50)} == {0}


def test_a_second_daemon_on_the_path_is_told_who_has_it(daemon: Daemon, state: Path) -> None:
    second = run_cli(
        *("serve", "--platform", "simulated", "--state", str(state), "--socket", str(daemon.path)), check=False
    )
    assert second.returncode == 2
    assert f"{daemon.path} is served by process {daemon.process.pid}" in second.stderr
    assert frames.reply(daemon.exchange(frames.NUM))[0] == 21


def test_a_damaged_state_is_named_and_leaves_no_socket(tmp_path: Path) -> None:
    damaged = tmp_path / "state"
    damaged.mkdir(mode=0o700)
    (damaged / "platform.json").write_text("{")
    (damaged / "platform.json").chmod(0o600)
    socket_path = tmp_path / "aesm.socket"
    failed = run_cli(
        *("serve", "--platform", "simulated", "--state", str(damaged), "--socket", str(socket_path)), check=False
    )
    assert failed.returncode == 2
    assert "platform.json" in failed.stderr
    assert not socket_path.exists()
