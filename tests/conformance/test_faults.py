"""Each check can fail: daemons that break exactly one rule, and exactly the rows that must tell."""

from __future__ import annotations

import datetime as dt
import itertools
import select
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from quotehelper.aesm import messages as m
from quotehelper.aesm import retired as r
from quotehelper.conformance.catalogue import CHECKS
from quotehelper.conformance.connection import Peer
from quotehelper.conformance.examine import examine
from quotehelper.conformance.examined import Examined
from quotehelper.conformance.oddities import STRANGE_KEY, K, flipped
from quotehelper.conformance.simulated import Means, means_of_state
from quotehelper.platforms.simulated import state as states
from quotehelper.platforms.simulated.enclaves import Qe3, qe3_identity
from quotehelper.platforms.simulated.platform import SimulatedPlatform
from quotehelper.sgx.quote import CertificationData, CertificationType
from rogue import Altering, Fault, Rogue, changed, read_exactly, wait_until_read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from quotehelper.platforms.platform import Platform

PATIENCE_S = 0.2
"""What a silent daemon costs a check here."""

COUNT, IDS, SELECT = m.GetSupportedAttKeyIDNumRequest, m.GetSupportedAttKeyIDsRequest, m.SelectAttKeyIDRequest
INIT, SIZE, QUOTE = m.InitQuoteExRequest, m.GetQuoteSizeExRequest, m.GetQuoteExRequest

LASTING = {"framing.probes", "neighbours.idle"}
"""Checks that take time by the number of their connections: tried where they matter."""

ACCEPTED_QUOTES = {
    *("quote-ex.quote", "quote-ex.nonce", "dcap-ql.quote", "open-enclave.quote", "ukey-exchange.quote"),
    *("fortanix.quote", "gramine.quote", "occlum.quote", "enarx.quote", "rune.quote", "quote.marked-key"),
}
"""Where the client, or whoever gets its quote, verifies it."""

PREPARED = {
    f"{client}.{step}"
    for client in ("quote-ex", "dcap-ql", "open-enclave", "ukey-exchange", "fortanix", "occlum", "enarx", "rune")
    for step in ("prepare", "quote")
}
"""Those who ask how large the key's id is, and how large a quote."""
EVERYONE = PREPARED | {"quote-ex.nonce", "gramine.start", "gramine.quote"}


class Case(NamedTuple):
    """A rule broken by ``fault``, over ``platform``; the checks that must fail; ``only`` those are tried, if given."""

    fault: Callable[[], Fault]
    fails: set[str]
    only: set[str] = set()  # noqa: RUF012  never changed
    platform: Callable[[Path], Platform] = states.load
    pause_s: float = 0.02
    timeout_s: float = 10


def altering(*kinds: type[m.Request]) -> Callable[[Callable[[Any, Any], Any]], Callable[[], Fault]]:
    """A maker of faults that answer requests of ``kinds`` with what the function makes of request and response."""
    return lambda alter: lambda: Altering(*kinds, alter=alter)


def changing(kind: type[m.Request], **changes: object) -> Callable[[], Fault]:
    """Other values in the fields of every successful answer to ``kind``."""
    return altering(kind)(lambda _, answer: answer if answer.error_code else changed(answer, **changes))


def saying(kind: type[m.Request], status: int, when: Callable[[Any], bool] = lambda _: True) -> Callable[[], Fault]:
    """``status`` in place of success."""
    return altering(kind)(
        lambda asked, answer: answer if answer.error_code or not when(asked) else type(answer).error(status, asked)
    )


def passing_over(kind: type[m.Request], status: int, then: Callable[[Any], m.Response]) -> Callable[[], Fault]:
    """Success where ``status`` belongs."""
    return altering(kind)(lambda asked, answer: then(asked) if answer.error_code == status else answer)


def without_error_code(frame: bytes) -> bytes:
    """An answer in which errorCode 0 is left out, as proto3 would."""
    body = frame[4:]
    tag = 1 if body[0] < 0x80 else 2
    inner = body[tag + 1 :]
    assert inner[:2] == b"\x08\0"
    shorter = body[:tag] + bytes((len(inner) - 2,)) + inner[2:]
    return len(shorter).to_bytes(4, "little") + shorter


# Faults of content


def size_plus(extra: int) -> Callable[[], Fault]:
    return altering(SIZE)(lambda _, answer: changed(answer, quote_size=answer.quote_size and answer.quote_size + extra))


@altering(QUOTE)
def unpadded_quote(_: m.GetQuoteExRequest, answer: m.GetQuoteExResponse) -> m.Response:
    return answer if answer.quote is None else changed(answer, quote=answer.quote.rstrip(b"\0") + b"\0")


@altering(QUOTE)
def noisy_padding(_: m.GetQuoteExRequest, answer: m.GetQuoteExResponse) -> m.Response:
    if answer.quote is None or answer.quote[-8:] != bytes(8):
        return answer
    return changed(answer, quote=answer.quote[:-1] + b"\1")


def flipped_quote(at: int) -> Callable[[], Fault]:
    return altering(QUOTE)(
        lambda _, answer: answer if answer.quote is None else changed(answer, quote=flipped(answer.quote, at))
    )


@altering(QUOTE)
def info_over_padding(_: m.GetQuoteExRequest, answer: m.GetQuoteExResponse) -> m.Response:
    """The QE's report data of another quote, unless there is no padding."""
    if not answer.quote or not answer.qe_report_info or answer.quote[-8:] != bytes(8):
        return answer
    return changed(answer, qe_report_info=flipped(answer.qe_report_info, 528 + 320))


@altering(QUOTE)
def info_unasked(asked: m.GetQuoteExRequest, answer: m.GetQuoteExResponse) -> m.Response:
    return changed(answer, qe_report_info=bytes(960)) if answer.quote and asked.qe_report_info is None else answer


@altering(QUOTE)
def info_forgotten_on_error(_: m.GetQuoteExRequest, answer: m.GetQuoteExResponse) -> m.Response:
    return changed(answer, qe_report_info=None) if answer.error_code else answer


@altering(QUOTE)
def cut_quote(asked: m.GetQuoteExRequest, answer: m.GetQuoteExResponse) -> m.Response:
    too_small = answer.error_code == 3 and len(asked.report) == 432 and 0 < asked.buf_size < 4096
    return m.GetQuoteExResponse(0, bytes(asked.buf_size), None) if too_small else answer


class ChangingKey(Altering):
    """Another key id from the third init on."""

    def __init__(self) -> None:
        number = itertools.count()
        super().__init__(
            INIT,
            alter=lambda _, answer: (
                changed(answer, pub_key_id=b"\7" * 32) if answer.pub_key_id and next(number) > 1 else answer
            ),
        )


class ChangingSize(Altering):
    """The size that was told before, and the next time one more."""

    def __init__(self) -> None:
        number = itertools.count()
        super().__init__(SIZE, alter=lambda _, answer: changed(answer, quote_size=answer.quote_size + next(number) % 2))


class Uninitialised(Fault):
    """As Intel's service after its start: 42 until some client has initialised the key."""

    def __init__(self) -> None:
        self._ready = False

    def respond(self, request: m.Request | bytes, right: bytes) -> bytes | None:
        if isinstance(request, INIT) and request.b_pub_key_id:
            self._ready = True
        if not self._ready and isinstance(request, (SIZE, QUOTE)):
            return m.encode_response(m.error_response(request.FIELD, 42, request))
        return right


class ForgetfulAfter(Fault):
    """The key is lost after some quotes: right for Gramine, which initialises again."""

    def __init__(self, quotes: int) -> None:
        self._left = self._quotes = quotes

    def respond(self, request: m.Request | bytes, right: bytes) -> bytes | None:
        if isinstance(request, INIT):
            self._left = self._quotes
        if isinstance(request, QUOTE):
            self._left -= 1
            if self._left < 0:
                return m.encode_response(m.error_response(request.FIELD, 42, request))
        return right


@altering(INIT)
def checked_garbage(asked: m.InitQuoteExRequest, answer: m.InitQuoteExResponse) -> m.Response:
    odd = not asked.b_pub_key_id and asked.buf_size not in {None, 32} and answer.error_code == 0
    return m.InitQuoteExResponse.error(3, asked) if odd else answer


@altering(INIT)
def no_echo(_: m.InitQuoteExRequest, answer: m.InitQuoteExResponse) -> m.Response:
    return changed(answer, pub_key_id_size=0) if answer.error_code else answer


def key_of(asked: Any) -> bytes:  # noqa: ANN401  three kinds of request
    return asked.att_key_id or b""


def refusing_key(when: Callable[[bytes], bool], status: int) -> Callable[[], Fault]:
    """A ``status`` for keys that are good."""
    return altering(INIT, SIZE, QUOTE)(
        lambda asked, answer: type(answer).error(status, asked) if when(key_of(asked)) else answer
    )


def confusing(right: int, wrong: int, *kinds: type[m.Request]) -> Callable[[], Fault]:
    """``wrong`` where the status ``right`` belongs."""
    return altering(*kinds)(
        lambda _, answer: changed(answer, error_code=wrong) if answer.error_code == right else answer
    )


@altering(COUNT, IDS)
def refused_microseconds(asked: Any, answer: m.Response) -> m.Response:  # noqa: ANN401  two kinds
    return type(answer).error(3, asked) if (asked.timeout or 0) > 600_000 else answer


@altering(INIT)
def demanded_timeout(asked: m.InitQuoteExRequest, answer: m.Response) -> m.Response:
    return answer if asked.timeout is not None else m.InitQuoteExResponse.error(1, asked)


class Closing(Fault):
    """No answer to some requests, but an end; a frame stands for a request that can't be decoded."""

    def __init__(self, when: Callable[[m.Request | bytes, bytes], bool]) -> None:
        self._when = when

    def respond(self, request: m.Request | bytes, right: bytes) -> bytes | None:
        return None if self._when(request, right) else right


class Silent(Altering):
    """Nothing for ``kinds``, and no end either."""

    def __init__(self, *kinds: type[m.Request]) -> None:
        super().__init__(*kinds, alter=lambda *_: b"")

    def end(self, client: socket.socket, answer: bytes) -> None:
        if not answer:
            client.recv(1)


# Faults of transport


class InTwo(Fault):
    """Answers in two pieces, the first of ``size`` bytes."""

    def __init__(self, size: int) -> None:
        self._size = size

    def send(self, client: socket.socket, answer: bytes) -> None:
        client.sendall(answer[: self._size])
        wait_until_read(client)
        client.sendall(answer[self._size :])


class Lingering(Fault):
    def end(self, client: socket.socket, answer: bytes) -> None:
        del answer
        client.recv(1)


class Talkative(Fault):
    def end(self, client: socket.socket, answer: bytes) -> None:
        del answer
        wait_until_read(client)
        client.sendall(b"\0\0\0\0")


class HastyAbout(Fault):
    """Closes if nothing follows the first ``size`` bytes in time."""

    def __init__(self, size: int) -> None:
        self._size = size

    def receive(self, client: socket.socket) -> bytes | None:
        first = read_exactly(client, self._size)
        if first in {b"\xff" * 4, bytes(4)} or len(first) < self._size or not select.select([client], [], [], 0.3)[0]:
            return None
        header = first + read_exactly(client, 4 - self._size)
        size = int.from_bytes(header, "little")
        return None if not 0 < size <= 1 << 16 else header + read_exactly(client, size)


class HangsUpOnEnd(Fault):
    """Takes a client that has ended its side for one that has left."""

    def receive(self, client: socket.socket) -> bytes | None:
        frame = super().receive(client)
        poll = select.poll()
        poll.register(client, select.POLLRDHUP)
        return None if poll.poll(300) else frame


class ConfusedAhead(Fault):
    """Takes all that was sent for one request."""

    def receive(self, client: socket.socket) -> bytes | None:
        header = read_exactly(client, 4)
        size = int.from_bytes(header, "little")
        if not 0 < size <= 1 << 16:
            return None
        body = client.recv(1 << 17)
        while len(body) < size:
            more = client.recv(1 << 17)
            if not more:
                return None
            body += more
        return header + body if len(body) == size else None


class Offended(Fault):
    """Takes nobody any more after 100 clients that left without asking."""

    def __init__(self) -> None:
        self._left = 0

    def left(self) -> None:
        self._left += 1

    def admit(self) -> bool:
        return self._left < 100


class Capped(Fault):
    """Takes 100 connections at a time."""

    def __init__(self) -> None:
        self._open = 0

    def admit(self) -> bool:
        self._open += 1
        return self._open <= 100


class Explaining(Fault):
    """Answers what it does not know by the message that no client reads."""

    def respond(self, request: m.Request | bytes, right: bytes) -> bytes | None:
        del request
        return right or m.encode_response(m.UnsupportedRequestResponse(40))


class OneAtATime(Fault):
    """Reads one request after the other, as Intel's service."""

    def __init__(self) -> None:
        self._reading = threading.Lock()

    def receive(self, client: socket.socket) -> bytes | None:
        client.recv(1, socket.MSG_PEEK)
        with self._reading:
            return super().receive(client)


class Believing(Fault):
    """Waits for as many bytes as were announced."""

    def receive(self, client: socket.socket) -> bytes | None:
        header = read_exactly(client, 4)
        size = int.from_bytes(header, "little")
        return header + read_exactly(client, size) if len(header) == 4 and size else None


# Platforms


def with_certification(make: Callable[[bytes], CertificationData]) -> Callable[[Path], Platform]:
    """The platform of a state, but with other certification data made of its chain."""

    def load(directory: Path) -> Platform:
        state, pce = states.read_state(directory), states.read_state(directory).provisioning_enclave()
        certification = make(states.read_chain(directory))
        return SimulatedPlatform(Qe3(state.cpu(), qe3_identity(*state.qe), pce, state.pck_tcb, certification))

    return load


def long_chain(chain: bytes) -> CertificationData:
    return CertificationData(CertificationType.PCK_CHAIN, chain.rstrip(b"\0") + b"\n" * 4000 + b"\0")


def no_chain(_: bytes) -> CertificationData:
    return CertificationData(CertificationType.PPID_RSA_3072, bytes(404))


class LeavesOut(Fault):
    """errorCode 0 left out of the answers to ``kind``."""

    def __init__(self, kind: type[m.Request]) -> None:
        self._kind = kind

    def respond(self, request: m.Request | bytes, right: bytes) -> bytes | None:
        return without_error_code(right) if isinstance(request, self._kind) else right


NEED_COUNT = {
    *("quote-ex.keys", "open-enclave.keys", "open-enclave.prepare", "open-enclave.quote", "fortanix.probe"),
    *("fortanix.prepare", "fortanix.quote", "enarx.prepare", "enarx.quote"),
}
"""Those who ask which keys there are."""
INFO_USERS = {"quote.qe-report", "quote-ex.nonce", "ukey-exchange.quote", "fortanix.quote"}
NEED_QUOTE = {
    *("quote.buffer-filled", "quote.exact-size", "quote.verifies", "quote.certification-type", "quote.announced-key"),
}
"""What can't be tried with a buffer that is too small."""
RETIRED = {check.id for check in CHECKS if check.id.startswith("retired.")}

CASES = {
    # keys
    "num leaves errorCode 0 out": Case(lambda: LeavesOut(COUNT), {"num.answer", *NEED_COUNT}),
    "num says none": Case(changing(COUNT, att_key_id_num=0), {"num.answer", *NEED_COUNT}),
    "num is answered by another message": Case(
        altering(COUNT)(lambda *_: m.SelectAttKeyIDResponse(0, K)), {"num.answer", *NEED_COUNT}
    ),
    "ids are cut short": Case(changing(IDS, att_key_ids=K[:-1]), {"ids.answer", "ids.production-key", *NEED_COUNT}),
    "ids are another's": Case(
        changing(IDS, att_key_ids=STRANGE_KEY),
        {"ids.production-key", "fortanix.prepare", "fortanix.quote"} | {"open-enclave.prepare", "open-enclave.quote"},
    ),
    "ids take any buffer": Case(
        passing_over(IDS, 3, lambda _: m.GetSupportedAttKeyIDsResponse(0, K)),
        {"ids.buffer-size", "neighbours.huge-buffer"},
    ),
    "select needs a list": Case(
        saying(SELECT, 38, lambda asked: asked.att_key_id_list is None),
        {"select.no-list", "quote-ex.keys", "rune.prepare", "rune.quote"},
    ),
    "select reads no list": Case(
        altering(SELECT)(lambda *_: m.SelectAttKeyIDResponse(0, K)),
        {"select.malformed-list", "select.unknown", "select.gives-back"},
    ),
    "select gives its own id": Case(changing(SELECT, selected_att_key_id=K), {"select.gives-back"}),
    "select takes the first id": Case(
        saying(SELECT, 38, lambda asked: (asked.att_key_id_list or b"")[8:264] == STRANGE_KEY),
        {"select.known", "select.gives-back"},
    ),
    # initialising and sizes
    "the key is not there at first": Case(Uninitialised, {"size.before-init"}),
    "init tells another size of the key's id": Case(
        altering(INIT)(lambda asked, answer: answer if asked.b_pub_key_id else changed(answer, pub_key_id_size=64)),
        {"init.size-only", "init.size-only.any-buffer", "quote-ex.nonce", *PREPARED},
    ),
    "init reads the buffer size it is not to read": Case(
        checked_garbage,
        {"init.size-only.any-buffer", "dcap-ql.prepare", "dcap-ql.quote", "occlum.prepare", "occlum.quote"}
        | {"rune.prepare", "rune.quote"},
    ),
    "init gives short target info": Case(
        changing(INIT, target_info=bytes(511)),
        {"init.size-only", "init.size-only.any-buffer", "init.answer", *EVERYONE, "quote-ex.bad-mac"},
    ),
    "init changes the key": Case(ChangingKey, {"init.stable", "key-id.tail"}),
    "init takes any buffer": Case(
        passing_over(INIT, 3, lambda _: m.InitQuoteExResponse(0, bytes(512), 32, bytes(32))),
        {"init.buffer-size", "key-id.length"},
    ),
    "init's errors don't repeat the buffer size": Case(
        no_echo, {"init.buffer-size", "key-id.length", "key-id.decides"}
    ),
    "init tells another key than it quotes by": Case(
        altering(INIT)(
            lambda _, answer: answer if answer.pub_key_id is None else changed(answer, pub_key_id=b"\7" * 32)
        ),
        {"quote.announced-key"},
    ),
    "size is an upper bound": Case(
        size_plus(1),
        {"quote.exact-size", "quote.buffer-too-small", "open-enclave.quote", "ukey-exchange.quote", "fortanix.quote"},
    ),
    "size is too small": Case(
        size_plus(-1),
        ACCEPTED_QUOTES - {"gramine.quote"} | NEED_QUOTE,
    ),
    "size is 0": Case(changing(SIZE, quote_size=0), {"size.answer", "quote-ex.nonce", *PREPARED}),
    "size changes": Case(ChangingSize, {"open-enclave.prepare"}, only={"open-enclave.prepare", "size.answer"}),
    "a short key id is taken": Case(refusing_key(lambda key: len(key) < 256, 38), {"key-id.length", "quote.key-id"}),
    "a key is known by less than 158 bytes": Case(
        confusing(38, 1, INIT, SIZE, QUOTE), {"key-id.decides", "quote.key-id"}
    ),
    "a key is known by more than 158 bytes": Case(
        refusing_key(lambda key: len(key) >= 256 and key != K, 38), {"key-id.tail", "quote.marked-key"}
    ),
    "requests that lack a field are closed": Case(
        lambda: Closing(lambda request, _: isinstance(request, bytes)),
        {"ids.missing-size", "init.missing-choice", "quote.missing-field", "retired.missing-field"},
    ),
    # quotes
    "47 is 42": Case(confusing(47, 42, QUOTE), {"quote.nobodys-report", "quote.forged", "quote-ex.bad-mac"}),
    "3 is 47": Case(
        confusing(3, 47, QUOTE),
        {"quote.report-size", "quote.info-size", "quote.key-id", "quote.buffer-too-small", "neighbours.huge-buffer"},
    ),
    "nothing is quoted": Case(saying(QUOTE, 30), {"quote.answer", *ACCEPTED_QUOTES} - {"quote.marked-key"}),
    "a buffer too small is filled": Case(cut_quote, {"quote.buffer-too-small"}),
    "the quote is not padded to the buffer": Case(unpadded_quote, {"quote.buffer-filled"}),
    "the padding is not zero": Case(noisy_padding, {"quote.buffer-filled"}),
    "a report comes that nobody asked for": Case(info_unasked, {"quote.buffer-filled"}),
    "qe_report_info is forgotten": Case(changing(QUOTE, qe_report_info=None), INFO_USERS),
    "qe_report_info is not repeated on errors": Case(
        info_forgotten_on_error, {"quote.info-size", "quote.nobodys-report"}
    ),
    "the QE reports over the padding": Case(info_over_padding, {"quote.qe-report"}),
    "the quote's report is another's": Case(
        flipped_quote(48 + 64), {"quote.verifies", "quote.qe-report", *ACCEPTED_QUOTES}
    ),
    "the quote's signature does not hold": Case(
        flipped_quote(440), {"quote.verifies", "quote.qe-report", *ACCEPTED_QUOTES}
    ),
    "the quote has no chain": Case(
        Fault, {"quote.certification-type", "quote.verifies", *ACCEPTED_QUOTES}, platform=with_certification(no_chain)
    ),
    "the quote is larger than 8192 bytes": Case(Fault, {"gramine.quote"}, platform=with_certification(long_chain)),
    "the key is lost after two quotes": Case(
        lambda: ForgetfulAfter(2), {"occlum.quote"}, only={"occlum.quote", "gramine.quote", "quote-ex.quote"}
    ),
    # clients
    "a timeout in microseconds is refused": Case(
        refused_microseconds,
        {
            "framing.unknown-fields",
            "fortanix.probe",
            "fortanix.prepare",
            "fortanix.quote",
            "enarx.prepare",
            "enarx.quote",
        },
    ),
    "a timeout is demanded": Case(
        demanded_timeout, {"gramine.start", "gramine.quote", "fortanix.prepare", "fortanix.quote"}
    ),
    "launch tokens are not answered": Case(
        lambda: Silent(r.GetLaunchTokenRequest),
        {"retired.launch-token", "fortanix.launch"},
        only={"num.answer", "retired.launch-token", "fortanix.launch"},
        timeout_s=0.5,
    ),
    "retired requests are closed, as from 2.28 on": Case(
        lambda: Closing(lambda _, right: right[4:5] < b"\x7a" or right[4:5] == b"\x92"),
        {*RETIRED, "fortanix.launch"},
    ),
    # transport
    "length and body come apart": Case(lambda: InTwo(4), {"framing.one-piece"}),
    "the body comes in two": Case(lambda: InTwo(60), {"framing.one-piece", "rune.prepare", "rune.quote"}),
    "connections stay open": Case(Lingering, {"framing.end"}),
    "more comes than the answer": Case(Talkative, {"framing.end"}),
    "the body must follow at once": Case(lambda: HastyAbout(4), {"framing.apart"}, pause_s=0.6),
    "the length must come whole": Case(lambda: HastyAbout(1), {"framing.byte-by-byte"}, pause_s=0.6),
    "who ends its side has left": Case(
        HangsUpOnEnd, {"framing.half-closed"}, only={"framing.half-closed", "framing.end", "num.answer"}
    ),
    "what is sent ahead confuses": Case(ConfusedAhead, {"framing.sent-ahead"}),
    "unknown requests are explained": Case(Explaining, {"framing.unanswerable"}),
    # neighbours
    "probes are resented": Case(Offended, {"framing.probes"}, only={"num.answer", "framing.probes"}),
    "one request is read after the other": Case(OneAtATime, {"neighbours.partial-frame"}),
    "100 connections are taken": Case(Capped, {"neighbours.idle"}, only={"num.answer", "neighbours.idle"}),
    "any length is believed": Case(Believing, {"neighbours.huge-length"}),
    "a huge buffer is taken": Case(
        altering(QUOTE)(
            lambda asked, answer: changed(answer, error_code=21) if asked.buf_size == 0xFFFFFFFF else answer
        ),
        {"neighbours.huge-buffer"},
    ),
}


@pytest.fixture(scope="module")
def means(state: Path) -> Means:
    return means_of_state(state, dt.datetime.now(dt.UTC))


@pytest.mark.parametrize("name", CASES)
def test_a_broken_rule_fails_its_rows_and_no_other(name: str, state: Path, means: Means, tmp_path: Path) -> None:
    case = CASES[name]
    path = tmp_path / "aesm.socket"
    checks = [check for check in CHECKS if (check.id in case.only if case.only else check.id not in LASTING)]
    with Rogue(path, case.platform(state), case.fault()):
        peer = Peer(str(path), timeout_s=case.timeout_s, prompt_s=PATIENCE_S, pause_s=case.pause_s, retry_pause_s=0)
        findings = list(examine(Examined(peer, reporter=means.reporter, judge=means.judge), checks))
    failed = {finding.check.id: finding.result for finding in findings if finding.verdict == "failed"}
    assert set(failed) == case.fails, failed


def test_another_daemon_at_the_abstract_name_fails_its_row(state: Path, means: Means, tmp_path: Path) -> None:
    del state
    path, name = tmp_path / "aesm.socket", b"\0" + str(tmp_path).encode()
    check = [check for check in CHECKS if check.id == "gramine.abstract-name"]

    def verdict() -> str:
        peer = Peer(str(path), timeout_s=5)
        peer.abstract_name = name
        (finding,) = examine(Examined(peer, reporter=None, judge=means.judge), check)
        return finding.verdict

    with socket.socket(socket.AF_UNIX) as ours:
        ours.bind(str(path))
        ours.listen()
        assert verdict() == "passed", "nobody is there"
        with socket.socket(socket.AF_UNIX) as same:
            same.bind(name)
            same.listen()
            assert verdict() == "passed"
    path.unlink()
    with Listening(path), socket.socket(socket.AF_UNIX) as other:
        other.bind(name)
        other.listen()
        assert verdict() == "failed"


class Listening:
    """Another process that listens at ``path``."""

    def __init__(self, path: Path) -> None:
        program = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
            "print(flush=True); sys.stdin.read()"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def test_a_daemon_without_fault_passes_everything(state: Path, means: Means, tmp_path: Path) -> None:
    path = tmp_path / "aesm.socket"
    with Rogue(path, states.load(state), Fault()):
        peer = Peer(str(path), timeout_s=30, pause_s=0.02)
        findings = list(examine(Examined(peer, reporter=means.reporter, judge=means.judge), CHECKS))
    assert [finding for finding in findings if finding.verdict != "passed"] == []


def test_every_check_is_failed_by_some_fault() -> None:
    assert set().union(*(case.fails for case in CASES.values())) | {"gramine.abstract-name"} == {
        check.id for check in CHECKS
    }
