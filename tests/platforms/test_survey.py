"""A platform put through its paces: how far it gets, and what is told of it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from quotehelper.aesm import messages as m
from quotehelper.errors import ConfigError
from quotehelper.platforms.simulated.cpu import EnclaveIdentity
from quotehelper.platforms.simulated.state import load, load_cpu
from quotehelper.platforms.survey import REPEATS, STEPS, StepResult, Survey
from quotehelper.platforms.upstream import UpstreamPlatform
from quotehelper.sgx.key_id import QE3_KEY_ID
from quotehelper.sgx.report import Attributes, Report, TargetInfo
from scripted_service import ScriptedService

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness import WrittenLog
    from quotehelper.platforms.platform import Platform


def ticks() -> Callable[[], float]:
    """A clock that goes on by a second each time it is read."""
    return itertools.count(0.0, 1.0).__next__


def report_for(state: Path, platform: Platform) -> Report:
    app = load_cpu(state).load(EnclaveIdentity(b"\xaa" * 32, b"\xbb" * 32, Attributes.build(flags=5, xfrm=3)))
    return app.report(platform.target(QE3_KEY_ID).target_info, bytes(64))


def test_every_step_is_taken_and_timed(state: Path) -> None:
    platform = load(state)
    survey = Survey(lambda: platform, ticks(), report_for(state, platform))
    results = list(survey.run())
    assert tuple(result.step for result in results) == STEPS
    assert {result.outcome for result in results} == {"done"}
    assert [len(result.milliseconds) for result in results] == [1, 1, 1, *[REPEATS] * 4]
    assert {time for result in results for time in result.milliseconds} == {1000.0}
    assert survey.quote is not None
    assert results[-1].facts["size_bytes"] == len(survey.quote)
    assert results[-1].facts["certification_type"] == 5


def test_without_a_report_no_quote_is_made(state: Path) -> None:
    survey = Survey(lambda: load(state), ticks())
    assert [result.step for result in survey.run()] == list(STEPS[:-1])
    assert survey.quote is None


def test_what_names_the_platform_is_not_told(state: Path) -> None:
    platform = load(state)
    told = repr(list(Survey(lambda: platform, ticks(), report_for(state, platform)).run()))
    assert platform.target(QE3_KEY_ID).public_key_id.hex() not in told
    assert platform.target(QE3_KEY_ID).target_info.mr_enclave.hex() in told


def test_a_platform_that_can_not_be_opened_is_one_step() -> None:
    def refuse() -> Platform:
        raise ConfigError("no state", "make one")

    assert [(result.step, result.outcome) for result in Survey(refuse, ticks()).run()] == [("open", "refused")]


def test_the_step_that_fails_is_the_last_and_says_why(state: Path, tmp_path: Path, log: WrittenLog) -> None:
    del state
    survey = Survey(lambda: UpstreamPlatform(str(tmp_path / "none"), "", log), ticks())
    *_, last = survey.run()
    assert (last.step, last.outcome) == ("attestation_keys", "UNAVAILABLE")
    assert "none" in last.detail


def scripted(genuine: bytes) -> dict[type[m.Request], m.Response]:
    """What a service answers that quotes whatever it is given."""
    return {
        m.GetQuoteExRequest: m.GetQuoteExResponse(0, genuine, None),
        m.GetQuoteSizeExRequest: m.GetQuoteSizeExResponse(0, len(genuine)),
        m.GetSupportedAttKeyIDNumRequest: m.GetSupportedAttKeyIDNumResponse(0, 1),
        m.GetSupportedAttKeyIDsRequest: m.GetSupportedAttKeyIDsResponse(0, QE3_KEY_ID.raw),
        m.InitQuoteExRequest: m.InitQuoteExResponse(0, TargetInfo(bytes(512)).raw, 32, bytes(32)),
    }


def survey_forgery(answer: Callable[[m.Request], m.Response], path: Path, log: WrittenLog) -> StepResult:
    """What a survey says of the forged report on a service with these answers."""
    with ScriptedService(path, answer) as service:
        survey = Survey(lambda: UpstreamPlatform(str(service.path), "", log), ticks())
        return next(result for result in survey.run() if result.step == "forged_report")


def test_a_platform_that_quotes_anything_is_found_out(state: Path, tmp_path: Path, log: WrittenLog) -> None:
    platform = load(state)
    answers = scripted(platform.quote(report_for(state, platform), QE3_KEY_ID).quote)
    forged = survey_forgery(lambda request: answers[type(request)], tmp_path / "other.socket", log)
    assert forged.outcome == "FAILED"
    assert "was quoted" in forged.detail


def test_a_failure_keeps_the_times_before_it(state: Path, tmp_path: Path, log: WrittenLog) -> None:
    platform = load(state)
    answers = scripted(platform.quote(report_for(state, platform), QE3_KEY_ID).quote)
    statuses = iter([47, 47, 46])

    def answer(request: m.Request) -> m.Response:
        if isinstance(request, m.GetQuoteExRequest):
            return m.error_response(17, next(statuses), request)
        return answers[type(request)]

    forged = survey_forgery(answer, tmp_path / "other.socket", log)
    assert (forged.outcome, len(forged.milliseconds)) == ("ENCLAVE_LOST", 2)
