"""A platform put through its paces, step by step, each with its outcome and times. Shell (what the platform is).

For people who have hardware that we have not: what they send back must say how far it got and how fast, and nothing
that identifies the machine. Steps come one by one, so that a platform that hangs or crashes leaves those before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from quotehelper.errors import PlatformCause, PlatformError, QuoteHelperError
from quotehelper.sgx.quote import read_quote
from quotehelper.sgx.report import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from quotehelper.platforms.platform import Platform

_T = TypeVar("_T")

STEPS = ("open", "attestation_keys", "target", "target_again", "quote_size", "forged_report", "quote")
"""What is tried, in order; ``quote`` only with a report."""

REPEATS = 20
"""How often a step that is to be timed is repeated."""

DONE = "done"


class StepResult(NamedTuple):
    """What became of a step.

    ``outcome``: ``done``, the name of a PlatformCause, or ``refused`` for what only the operator can mend. ``detail``
    is for people; ``facts`` what was learnt, none of it a secret or an identity of the machine; ``milliseconds``: how
    long each repeat took.
    """

    step: str
    outcome: str
    detail: str
    facts: dict[str, Any]
    milliseconds: list[float]


class Survey:
    """Tries the platform that ``open_platform`` opens. ``clock`` yields seconds; ``report`` was made for the platform.

    ``quote`` is the last quote made, if any.
    """

    def __init__(
        self, open_platform: Callable[[], Platform], clock: Callable[[], float], report: Report | None = None
    ) -> None:
        self._open_platform = open_platform
        self._clock = clock
        self._report = report
        self.quote: bytes | None = None

    def run(self) -> Iterator[StepResult]:
        """The result of each step; a step that can't be taken ends those that need it."""
        opened = self._take("open", self._open_platform, lambda _platform: {})
        yield opened[0]
        platform = opened[1]
        if platform is None:
            return
        keys = self._take(
            "attestation_keys",
            platform.attestation_keys,
            lambda keys: {"algorithms": [key.algorithm_id for key in keys], "prod_ids": [key.prod_id for key in keys]},
        )
        yield keys[0]
        if keys[1] is None:
            return
        yield from self._with_key(platform, keys[1][0])
        platform.close()

    def _with_key(self, platform: Platform, key: Any) -> Iterator[StepResult]:  # noqa: ANN401  an AttestationKeyId
        target = self._take(
            "target",
            lambda: platform.target(key),
            lambda t: {"qe_mr_enclave": t.target_info.mr_enclave.hex(), "key_id_known": any(t.public_key_id)},
        )
        yield target[0]
        if target[1] is None:
            return
        yield self._take(
            "target_again", lambda: platform.target(key), lambda t: {"same": t == target[1]}, repeats=REPEATS
        )[0]
        yield self._take(
            "quote_size", lambda: platform.quote_size(key), lambda size: {"size_bytes": size}, repeats=REPEATS
        )[0]
        yield self._take("forged_report", lambda: _forge(platform, key), lambda _none: {}, repeats=REPEATS)[0]
        if self._report is not None:
            report = self._report
            quoted = self._take("quote", lambda: platform.quote(report, key).quote, _describe, repeats=REPEATS)
            self.quote = quoted[1]
            yield quoted[0]

    def _take(
        self, step: str, act: Callable[[], _T], learn: Callable[[_T], dict[str, Any]], *, repeats: int = 1
    ) -> tuple[StepResult, _T | None]:
        times: list[float] = []
        value: _T | None = None
        for _ in range(repeats):
            began = self._clock()
            try:
                value = act()
            except PlatformError as error:
                return StepResult(step, error.cause.name, error.detail, {}, times), None
            except QuoteHelperError as error:
                return StepResult(step, "refused", str(error), {}, times), None
            times.append(round(1000 * (self._clock() - began), 3))
        if value is None:
            return StepResult(step, DONE, "", {}, times), None
        return StepResult(step, DONE, "", learn(value), times), value


def _forge(platform: Platform, key: Any) -> bool:  # noqa: ANN401  an AttestationKeyId
    """Have a report refused that no processor has made: it costs all of a quote but the signature."""
    try:
        platform.quote(Report(bytes(Report.SIZE)), key)
    except PlatformError as error:
        if error.cause is PlatformCause.INVALID_REPORT:
            return True
        raise
    raise PlatformError(PlatformCause.FAILED, "a report that no processor has made was quoted")


def _describe(raw: bytes) -> dict[str, Any]:
    quote = read_quote(raw)
    return {
        "size_bytes": len(raw),
        "version": quote.header.version,
        "certification_type": int(quote.certification.type),
        "certification_bytes": len(quote.certification.data),
        "qe_svn": quote.header.qe_svn,
        "pce_svn": quote.header.pce_svn,
        "qe_isv_svn": quote.qe_report.isv_svn,
        "qe_mr_signer": quote.qe_report.mr_signer.hex(),
    }
