"""Another AESM service as the platform: its answers passed on, its absence survived."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import Daemon
from quotehelper.aesm import messages as m
from quotehelper.aesm.status import AesmStatus
from quotehelper.errors import ConfigError, PlatformCause, PlatformError
from quotehelper.node.config import Limits
from quotehelper.node.service import STATUS_OF_CAUSE, Service
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load, load_cpu
from quotehelper.platforms.upstream import (
    CAUSE_OF_STATUS,
    KEYS_KEPT_S,
    SIZE_KEPT_S,
    TIMEOUT_S,
    UpstreamPlatform,
    open_upstream,
)
from quotehelper.sgx.key_id import QE3_KEY_ID, AttestationAlgorithm, AttestationKeyId
from quotehelper.sgx.quote import read_quote
from quotehelper.sgx.report import Attributes, Report, TargetInfo
from scripted_service import ScriptedService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness import WrittenLog

KEY = QE3_KEY_ID
TARGET = TargetInfo.build(mr_enclave=b"\x11" * 32)
OTHER_TARGET = TargetInfo.build(mr_enclave=b"\x22" * 32)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Other:
    """What a well-behaved service answers, as far as a test does not change it."""

    def __init__(self, quote: bytes) -> None:
        self.quote = quote
        self.target = TARGET
        self.keys: tuple[AttestationKeyId, ...] = (KEY,)
        self.not_initialized = 0
        self.statuses: dict[type[m.Request], int] = {}

    def __call__(self, request: m.Request) -> m.Response:
        if status := self.statuses.get(type(request), 0):
            return m.error_response(request.FIELD, status, request)
        if isinstance(request, (m.GetQuoteExRequest, m.GetQuoteSizeExRequest)) and self.not_initialized:
            self.not_initialized -= 1
            return m.error_response(request.FIELD, 42, request)
        return self._answer(request)

    def _answer(self, request: m.Request) -> m.Response:
        if isinstance(request, m.GetQuoteExRequest):
            if request.buf_size < len(self.quote):
                return m.error_response(request.FIELD, 3, request)
            return m.GetQuoteExResponse(0, self.quote.ljust(request.buf_size, b"\0"), request.qe_report_info)
        if isinstance(request, m.GetQuoteSizeExRequest):
            return m.GetQuoteSizeExResponse(0, len(self.quote))
        if isinstance(request, m.GetSupportedAttKeyIDNumRequest):
            return m.GetSupportedAttKeyIDNumResponse(0, len(self.keys))
        if isinstance(request, m.GetSupportedAttKeyIDsRequest):
            return m.GetSupportedAttKeyIDsResponse(0, b"".join(key.raw for key in self.keys))
        return m.InitQuoteExResponse(0, self.target.raw, 32, bytes(32))


@pytest.fixture(scope="module")
def genuine(state: Path) -> bytes:
    """A quote's bytes."""
    platform = load(state)
    app = load_cpu(state).load(EnclaveIdentity(b"\xaa" * 32, b"\xbb" * 32, Attributes.build(flags=5, xfrm=3)))
    return platform.quote(app.report(platform.target(KEY).target_info, bytes(64)), KEY).quote


@pytest.fixture
def other(genuine: bytes) -> Other:
    return Other(genuine)


@pytest.fixture
def service(other: Other, tmp_path: Path) -> Iterator[ScriptedService]:
    with ScriptedService(tmp_path / "other.socket", other) as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def platform(service: ScriptedService, log: WrittenLog, clock: Clock, tmp_path: Path) -> UpstreamPlatform:
    return UpstreamPlatform(str(service.path), str(tmp_path / "own.socket"), log, clock=clock)


def failure(call: Callable[[], object]) -> PlatformError:
    with pytest.raises(PlatformError) as caught:
        call()
    return caught.value


def resized(genuine: bytes, change: int) -> bytes:
    """A quote whose certification data is longer, or shorter, by ``change`` bytes."""
    quote = read_quote(genuine)
    data = quote.certification.data
    size = len(data) + change
    return quote._replace(certification=quote.certification._replace(data=data[:size].ljust(size, b"\0"))).encode()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


REPORT = Report(bytes(432))

# Statuses


@pytest.mark.parametrize("status", [*list(AesmStatus)[1:], 52, 77777], ids=str)
def test_a_status_is_passed_on_as_it_came(
    platform: UpstreamPlatform, other: Other, log: WrittenLog, status: int
) -> None:
    other.statuses = {m.InitQuoteExRequest: status}
    request = m.InitQuoteExRequest(att_key_id=KEY.raw, b_pub_key_id=True, buf_size=32)
    answer = m.decode_response(Service(platform, Limits(), log).answer(request)[4:], m.InitQuoteExResponse)
    assert answer.error_code == status
    assert str(status) in log.events("request refused")[0]["status"]


def test_the_causes_of_statuses_are_those_of_the_service_turned_round() -> None:
    turned = {status: cause for cause, status in STATUS_OF_CAUSE.items() if status != AesmStatus.UNEXPECTED_ERROR}
    assert turned == CAUSE_OF_STATUS


def test_its_ecdsa_keys_are_passed_on_and_others_are_not(platform: UpstreamPlatform, other: Other) -> None:
    epid = KEY.replace(algorithm_id=AttestationAlgorithm.EPID_LINKABLE)
    debug = KEY.replace(mr_signer=b"\xe4" * 48)
    other.keys = (epid, debug, KEY)
    assert platform.attestation_keys() == (debug, KEY)


def test_a_service_without_an_ecdsa_key_is_named(platform: UpstreamPlatform, other: Other) -> None:
    other.keys = (KEY.replace(algorithm_id=AttestationAlgorithm.EPID_UNLINKABLE),)
    error = failure(platform.attestation_keys)
    assert error.cause is PlatformCause.UNAVAILABLE
    assert "has no ECDSA key. Install" in error.detail


# What is kept


def test_keys_are_asked_for_once_a_minute(platform: UpstreamPlatform, service: ScriptedService, clock: Clock) -> None:
    for _ in range(5):
        platform.attestation_keys()
    assert service.asked(m.GetSupportedAttKeyIDsRequest) == 1
    clock.now += KEYS_KEPT_S
    platform.attestation_keys()
    assert service.asked(m.GetSupportedAttKeyIDsRequest) == 2


def test_the_target_is_always_asked_for(platform: UpstreamPlatform, service: ScriptedService, other: Other) -> None:
    assert platform.target(KEY).target_info == TARGET
    other.target = OTHER_TARGET
    assert platform.target(KEY).target_info == OTHER_TARGET
    assert service.asked(m.InitQuoteExRequest) == 2


def test_a_size_is_kept_for_the_quote_that_follows(
    platform: UpstreamPlatform, service: ScriptedService, genuine: bytes, clock: Clock
) -> None:
    assert platform.quote_size(KEY) == len(genuine)
    assert platform.quote(REPORT, KEY).quote == genuine
    assert service.asked(m.GetQuoteSizeExRequest) == 1
    clock.now += SIZE_KEPT_S
    platform.quote_size(KEY)
    assert service.asked(m.GetQuoteSizeExRequest) == 2


def test_a_size_is_forgotten_with_the_quoting_enclave_it_was_for(
    platform: UpstreamPlatform, service: ScriptedService, other: Other
) -> None:
    platform.target(KEY)
    platform.quote_size(KEY)
    platform.target(KEY)
    platform.quote_size(KEY)
    assert service.asked(m.GetQuoteSizeExRequest) == 1
    other.target = OTHER_TARGET
    platform.target(KEY)
    platform.quote_size(KEY)
    assert service.asked(m.GetQuoteSizeExRequest) == 2


def test_keys_are_asked_for_anew_once_one_is_unknown(
    platform: UpstreamPlatform, service: ScriptedService, other: Other
) -> None:
    platform.attestation_keys()
    other.statuses = {m.InitQuoteExRequest: 38}
    assert failure(lambda: platform.target(KEY)).cause is PlatformCause.UNSUPPORTED_KEY
    platform.attestation_keys()
    assert service.asked(m.GetSupportedAttKeyIDsRequest) == 2


def test_a_quote_that_has_grown_is_had_all_the_same(platform: UpstreamPlatform, other: Other, genuine: bytes) -> None:
    platform.quote_size(KEY)
    other.quote = resized(genuine, 100)
    assert platform.quote(REPORT, KEY).quote == other.quote
    assert platform.quote_size(KEY) == len(genuine) + 100


def test_a_quote_that_has_shrunk_comes_without_padding(
    platform: UpstreamPlatform, other: Other, genuine: bytes
) -> None:
    platform.quote_size(KEY)
    other.quote = resized(genuine, -100)
    assert platform.quote(REPORT, KEY).quote == other.quote


def test_a_client_with_too_little_room_for_a_quote_that_has_grown_is_told(
    platform: UpstreamPlatform, other: Other, genuine: bytes, log: WrittenLog
) -> None:
    platform.quote_size(KEY)
    other.quote = resized(genuine, 100)
    request = m.GetQuoteExRequest(report=REPORT.raw, att_key_id=KEY.raw, buf_size=len(genuine))
    answer = m.decode_response(Service(platform, Limits(), log).answer(request)[4:], m.GetQuoteExResponse)
    assert (answer.error_code, answer.quote) == (3, None)


def test_a_parameter_that_is_wrong_for_another_reason_is_not_tried_again(
    platform: UpstreamPlatform, other: Other, service: ScriptedService
) -> None:
    other.statuses = {m.GetQuoteExRequest: 3}
    assert failure(lambda: platform.quote(REPORT, KEY)).status == 3
    assert service.asked(m.GetQuoteExRequest) == 1


# Keys that are not initialised


@pytest.mark.parametrize("ask", [lambda p: p.quote(REPORT, KEY), lambda p: p.quote_size(KEY)], ids=["quote", "size"])
def test_a_service_that_has_been_restarted_is_initialised_once(
    platform: UpstreamPlatform, other: Other, service: ScriptedService, ask: Callable[[UpstreamPlatform], object]
) -> None:
    platform.target(KEY)
    other.not_initialized = 1
    assert ask(platform)
    assert service.asked(m.InitQuoteExRequest) == 2


def test_a_key_made_anew_has_its_size_asked_for_anew(
    platform: UpstreamPlatform, other: Other, service: ScriptedService
) -> None:
    platform.target(KEY)
    platform.quote_size(KEY)
    other.not_initialized = 1
    assert platform.quote(REPORT, KEY).quote
    assert service.asked(m.GetQuoteSizeExRequest) == 2


def test_a_key_that_stays_uninitialised_is_passed_on(
    platform: UpstreamPlatform, other: Other, service: ScriptedService
) -> None:
    platform.target(KEY)
    other.not_initialized = 99
    assert failure(lambda: platform.quote(REPORT, KEY)).status == 42
    assert service.asked(m.InitQuoteExRequest) == 2


def test_another_quoting_enclave_is_passed_on_as_42_at_once(
    platform: UpstreamPlatform, other: Other, service: ScriptedService
) -> None:
    platform.target(KEY)
    platform.quote_size(KEY)
    other.not_initialized, other.target = 1, OTHER_TARGET
    assert failure(lambda: platform.quote(REPORT, KEY)).status == 42
    assert service.asked(m.GetQuoteExRequest) == 1


# Absence


def test_it_may_go_and_come_back(state: Path, tmp_path: Path, log: WrittenLog) -> None:
    path = tmp_path / "other.socket"
    platform = open_upstream(str(path), str(tmp_path / "own.socket"), log)
    error = failure(platform.attestation_keys)
    assert error.cause is PlatformCause.UNAVAILABLE
    assert error.status is None
    assert str(path) in error.detail
    with Daemon(state, path) as running:
        running.wait_for(" ready ")
        before = platform.target(KEY)
        assert platform.quote_size(KEY)
        assert platform.attestation_keys()
        assert running.stop() == 0
    for ask in (lambda: platform.target(KEY), platform.attestation_keys, lambda: platform.quote_size(KEY)):
        assert failure(ask).cause is PlatformCause.UNAVAILABLE
    with Daemon(state, path) as running:
        running.wait_for(" ready ")
        assert platform.target(KEY) == before
    told = [event["event"] for event in log.events()]
    assert told == ["upstream is gone", "upstream is back", "upstream is gone", "upstream is back"]


def test_silence_ends_with_the_deadline(service: ScriptedService, log: WrittenLog, tmp_path: Path) -> None:
    service.answer = lambda _request: None
    platform = UpstreamPlatform(str(service.path), str(tmp_path / "own"), log, timeout_s=0.05)
    error = failure(lambda: platform.quote(REPORT, KEY))
    assert error.cause is PlatformCause.UNAVAILABLE
    assert f"{service.path}: no answer within" in error.detail
    assert len(service.requests) == 1


def test_all_that_one_quote_takes_shares_its_deadline(
    platform: UpstreamPlatform, service: ScriptedService, other: Other, clock: Clock
) -> None:
    def answer(request: m.Request) -> m.Response | None:
        if isinstance(request, m.GetQuoteExRequest):
            return None
        clock.now += TIMEOUT_S - 0.125
        return other(request)

    service.answer = answer
    assert "no answer within 0.125 s" in failure(lambda: platform.quote(REPORT, KEY)).detail


def test_no_connection_stays_open(platform: UpstreamPlatform) -> None:
    platform.quote(REPORT, KEY)
    before = open_files()
    for _ in range(20):
        platform.quote(REPORT, KEY)
        platform.target(KEY)
    assert open_files() <= before + 1  # the service may not yet have closed its end of the last one


# What is no AESM service


@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\3\0\0\0abc", b"\2\0\0\0\x7a\0", b"HTTP/1.1 400 Bad Request\r\n\r\n"],
)
def test_garbage_is_a_failure_that_names_the_place(
    platform: UpstreamPlatform, service: ScriptedService, garbage: bytes
) -> None:
    service.answer = lambda _request: garbage
    error = failure(lambda: platform.target(KEY))
    assert error.cause is PlatformCause.FAILED
    assert str(service.path) in error.detail


@given(garbage=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_any_bytes_give_a_deliberate_error(
    platform: UpstreamPlatform, service: ScriptedService, garbage: bytes
) -> None:
    frame = len(garbage).to_bytes(4, "little") + garbage
    service.answer = lambda _request: frame
    for ask in (platform.attestation_keys, lambda: platform.target(KEY), lambda: platform.quote(REPORT, KEY)):
        assert failure(ask).cause in {PlatformCause.FAILED, PlatformCause.UNAVAILABLE, *CAUSE_OF_STATUS.values()}


# Itself


def test_its_own_socket_is_refused_by_whatever_name(tmp_path: Path, log: WrittenLog) -> None:
    own = tmp_path / "own.socket"
    with pytest.raises(ConfigError, match="own socket"):
        open_upstream(str(own), str(own), log)
    own.touch()
    (tmp_path / "link").symlink_to(own)
    (tmp_path / "hard").hardlink_to(own)
    for name in ("link", "hard", "../" + tmp_path.name + "/own.socket"):
        with pytest.raises(ConfigError, match="Let the other service listen elsewhere"):
            open_upstream(str(tmp_path / name), str(own), log)


def test_a_path_that_comes_to_be_its_own_socket_is_not_asked(daemon: Daemon, tmp_path: Path, log: WrittenLog) -> None:
    path = tmp_path / "other.socket"
    platform = open_upstream(str(path), str(daemon.path), log)
    path.symlink_to(daemon.path)
    error = failure(lambda: platform.target(KEY))
    assert error.cause is PlatformCause.UNAVAILABLE
    assert "this daemon's own socket" in error.detail


def test_no_socket_at_all_is_a_mistake_of_the_operator_s(log: WrittenLog) -> None:
    with pytest.raises(ConfigError, match="Name it with --upstream"):
        open_upstream("", "/own", log)
