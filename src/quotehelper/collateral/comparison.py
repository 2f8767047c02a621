"""What newer collateral would change: of TCB levels, and of the verdicts on given quotes. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from quotehelper.documents.signed_json import split_signed
from quotehelper.documents.tcb_info import NAME, parse_tcb_info
from quotehelper.errors import VerificationError
from quotehelper.verification.semantics import STRICT
from quotehelper.verification.verify import Verifier

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping

    from quotehelper.documents.collateral import Collateral
    from quotehelper.documents.tcb_info import TcbInfo, TcbLevel
    from quotehelper.verification.roots import Roots


class Verdict(NamedTuple):
    """What is said of one quote by the old and by the new collateral: a TCB status with advisories, or the step."""

    quote: str
    before: str
    after: str


class Comparison(NamedTuple):
    """``numbers``: TCB evaluation data numbers, old and new. ``levels``: a sentence for each level that differs."""

    numbers: tuple[int, int]
    levels: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it, for machines."""
        return {
            "tcb_evaluation_data_number": list(self.numbers),
            "levels": list(self.levels),
            "quotes": [{**verdict._asdict(), "changed": verdict.before != verdict.after} for verdict in self.verdicts],
        }


def compare(old: Collateral, new: Collateral, quotes: Mapping[str, bytes], roots: Roots, at: dt.datetime) -> Comparison:
    """What ``new`` changes against ``old``, both proven; ``quotes`` by their names, which anybody may have made.

    Validity in time is left aside: the content of both is what is compared.
    """
    infos = _tcb_info(old), _tcb_info(new)
    semantics = replace(STRICT, insecure_expired_is_flag=True, refuse_debug=False)
    before, after = (Verifier(each, roots=roots, semantics=semantics) for each in (old, new))
    verdicts = (
        Verdict(name, _verdict(before, quote, at), _verdict(after, quote, at)) for name, quote in quotes.items()
    )
    numbers = infos[0].tcb_evaluation_data_number, infos[1].tcb_evaluation_data_number
    return Comparison(numbers, tuple(_levels(*infos)), tuple(verdicts))


def _verdict(verifier: Verifier, quote: bytes, at: dt.datetime) -> str:
    try:
        verified = verifier.verify(quote, at=at)
    except VerificationError as error:
        return f"refused: {error.step.value}"
    return " ".join((verified.status.value, *sorted(verified.advisory_ids)))


def _levels(old: TcbInfo, new: TcbInfo) -> Iterator[str]:
    before, after = ({_name(level): level for level in info.levels} for info in (old, new))
    for name, level in after.items():
        if name not in before:
            yield f"new level {name}: {_worth(level)}"
        elif _worth(level) != _worth(before[name]):
            yield f"level {name}: {_worth(before[name])} -> {_worth(level)}"
    for name in before.keys() - after.keys():
        yield f"no more level {name}"


def _name(level: TcbLevel) -> str:
    return f"{bytes(part.svn for part in level.components).hex()}/{level.pce_svn}"


def _worth(level: TcbLevel) -> str:
    return " ".join((level.status.value, *sorted(level.advisory_ids)))


def _tcb_info(collateral: Collateral) -> TcbInfo:
    return parse_tcb_info(split_signed(collateral.tcb_info, NAME).body)
