"""Policies as people write them down: TOML or YAML with the keys of docs/policy.md. Pure.

``policy.schema.json`` beside this module says the same as a JSON Schema; a test holds the two together. Errors name
line and column.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import ConfigError
from quotehelper.verification import rules
from quotehelper.verification.policy import NAME_AN_ENCLAVE, Policy
from quotehelper.verification.toml_positions import Position, Positions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from quotehelper.verification.toml_positions import KeyPath

SIZE_MAX = 1 << 20
"""Characters of a policy: a thousand alternatives with some enclaves each."""
YAML_SIZE_MAX = 1 << 16
"""Of one in YAML, which is read forty times slower."""
DOTS_MAX = 5000
"""Of one in TOML: its keys have none, and reading a key takes time with the square of its dots."""
ENTRIES_MAX = 1000
"""Of one list."""
TEXT_MAX = 4096
"""Characters whose SHA-256 can be asked for."""
SCHEMA_FILE = "policy.schema.json"
"""Beside this module."""

_YAML = (".yaml", ".yml")
_ANY_OF = "any_of"
_SIGNER = ("mr_signer", "isv_prod_id", "minimum_isv_svn")
_SEE = "See docs/policy.md"
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")
_ADVISORY = re.compile(r"[A-Z0-9]+(?:-[A-Z0-9]+)+")
_STATUSES = {status.value: status for status in TcbStatus if status is not TcbStatus.REVOKED}
_TOGETHER = (
    "Say all three: a signer's other products and its versions with known holes are signed by the same key; "
    "minimum_isv_svn = 0 asks for no version"
)


def parse_policy(text: str, *, name: str) -> Policy:
    """The policy in ``text``; ``name`` is what errors call the file, YAML if it ends so (.yaml, .yml), else TOML.

    Raises ConfigError, which begins with ``name:line:column``, for anything that the schema does not have.
    """
    is_yaml = name.lower().endswith(_YAML)
    if len(text) > (longest := YAML_SIZE_MAX if is_yaml else SIZE_MAX):
        raise ConfigError(f"{name}: {len(text)} characters, at most {longest} are read", "Is it a policy?")
    load = _load_yaml if is_yaml else _load_toml
    document, find_positions = load(text, name)
    try:
        return _policy(document)
    except _Wrong as wrong:
        positions = find_positions()
        position = positions.of_key(wrong.path) if wrong.is_key else positions.of_value(wrong.path)
        raise _error(name, position, wrong.problem, wrong.remedy) from wrong


class _Positions(Protocol):
    """Where the parts of a document stand."""

    def of_key(self, path: KeyPath) -> Position:
        """The place of the key at ``path``."""

    def of_value(self, path: KeyPath) -> Position:
        """The place of the value at ``path``."""


class _Wrong(Exception):  # noqa: N818  never leaves this module
    """What is wrong with the key or the value at ``path``."""

    def __init__(self, path: KeyPath, problem: str, remedy: str = _SEE, *, is_key: bool = False) -> None:
        super().__init__(problem)
        self.path = path
        self.problem = problem
        self.remedy = remedy
        self.is_key = is_key


@dataclass(frozen=True, slots=True)
class _Value:
    """A value and the way to it."""

    path: KeyPath
    value: object

    def refuse(self, expected: str) -> NoReturn:
        """Raise _Wrong: it is not what was ``expected``."""
        key = next(name for name in reversed(self.path) if isinstance(name, str))
        raise _Wrong(self.path, f"{key}: {expected} expected, not {_show(self.value)}")

    def entries(self, least: int = 1) -> list[_Value]:
        """The entries of a list of ``least`` to 1000."""
        if not isinstance(self.value, list) or not least <= len(self.value) <= ENTRIES_MAX:
            self.refuse(f"a list of {least} to {ENTRIES_MAX} entries")
        return [_Value((*self.path, number), entry) for number, entry in enumerate(self.value)]

    def whole(self, high: int) -> int:
        """A whole number from 0 to ``high``; 5.0 is one, as in JSON."""
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)) or not 0 <= self.value <= high:
            self.refuse(f"a whole number from 0 to {high}")
        if self.value != int(self.value):
            self.refuse(f"a whole number from 0 to {high}")
        return int(self.value)

    def text(self, expected: str, pattern: re.Pattern[str], longest: int) -> str:
        """A text of the form of ``pattern``, which ``expected`` says in words."""
        if not isinstance(self.value, str) or len(self.value) > longest or not pattern.fullmatch(self.value):
            self.refuse(expected)
        return self.value

    def octets(self, low: int, high: int) -> bytes:
        """Bytes in hexadecimal."""
        size = str(low) if low == high else f"{low} to {high}"
        raw = bytes.fromhex(self.text(f"{size} bytes in hexadecimal", _HEX, 2 * high))
        if len(raw) < low:
            self.refuse(f"{size} bytes in hexadecimal")
        return raw

    def yes(self) -> bool:
        """True: a switch that is off is left out."""
        if self.value is not True:
            self.refuse("true, or to be left out,")
        return True


def _show(value: object) -> str:
    """What ``value`` is, in a few words."""
    if isinstance(value, (str, int, float)):
        shown = repr(value)
        return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
    if isinstance(value, list):
        return f"one of {len(value)}"
    if value is None:
        return "nothing"
    return "a table" if isinstance(value, dict) else "a date or time"


_SHOWN = 80
_ADVISORY_MAX = 64
_ANYTHING = re.compile(r"[\s\S]*")


def _measurements(value: _Value) -> list[bytes]:
    size = rules.MEASUREMENT_SIZE
    return [entry.octets(size, size) for entry in value.entries()]


def _report_data(value: _Value) -> bytes:
    return value.octets(1, rules.REPORT_DATA_SIZE)


def _status(value: _Value) -> TcbStatus:
    if not isinstance(value.value, str) or value.value not in _STATUSES:
        value.refuse(f"one of {', '.join(_STATUSES)}")
    return _STATUSES[value.value]


def _advisory(value: _Value) -> str:
    return value.text("an advisory such as INTEL-SA-00334", _ADVISORY, _ADVISORY_MAX)


_READ: Mapping[str, Callable[[_Value], Any]] = {
    "mr_enclave": _measurements,
    "mr_signer": _measurements,
    "isv_prod_id": lambda value: [entry.whole(rules.U16_MAX) for entry in value.entries()],
    "minimum_isv_svn": lambda value: value.whole(rules.U16_MAX),
    "insecure_any_enclave": _Value.yes,
    "report_data": _report_data,
    "report_data_prefix": _report_data,
    "report_data_sha256_of": lambda value: value.text(f"a text of at most {TEXT_MAX} characters", _ANYTHING, TEXT_MAX),
    "tcb_statuses": lambda value: [_status(entry) for entry in value.entries()],
    "accepted_advisories": lambda value: [_advisory(entry) for entry in value.entries(0)],
    "minimum_tcb_evaluation_data_number": lambda value: value.whole(rules.EVALUATION_NUMBER_MAX),
    "collateral_grace_days": lambda value: value.whole(rules.GRACE_DAYS_MAX),
    "insecure_allow_debug": _Value.yes,
}
"""What each key of a table has to hold."""

_MAKE: Mapping[str, Callable[[Mapping[str, Any]], rules.Rule]] = {
    "mr_enclave": lambda read: rules.MrEnclave(read["mr_enclave"]),
    "mr_signer": lambda read: rules.Signer(read["mr_signer"], read["isv_prod_id"], read["minimum_isv_svn"]),
    "insecure_any_enclave": lambda _: rules.InsecureAnyEnclave(),
    "report_data": lambda read: rules.ReportData(read["report_data"]),
    "report_data_prefix": lambda read: rules.ReportDataPrefix(read["report_data_prefix"]),
    "report_data_sha256_of": lambda read: rules.ReportDataSha256(read["report_data_sha256_of"].encode()),
    "tcb_statuses": lambda read: rules.TcbStatuses(read["tcb_statuses"]),
    "accepted_advisories": lambda read: rules.AcceptedAdvisories(read["accepted_advisories"]),
    "minimum_tcb_evaluation_data_number": lambda read: rules.MinimumTcbEvaluationDataNumber(
        read["minimum_tcb_evaluation_data_number"]
    ),
    "collateral_grace_days": lambda read: rules.CollateralGrace(dt.timedelta(days=read["collateral_grace_days"])),
    "insecure_allow_debug": lambda _: rules.InsecureAllowDebug(),
}
"""The rule that each key makes of what was read; two only go with ``mr_signer``."""


def _load_toml(text: str, name: str) -> tuple[dict[str, Any], Callable[[], _Positions]]:
    if text.count(".") > DOTS_MAX:
        raise ConfigError(f"{name}: more than {DOTS_MAX} dots, which no policy needs", "Is it a policy?")
    try:
        return tomllib.loads(text), lambda: Positions(text)
    except (ValueError, RecursionError) as error:
        found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error))
        if found:
            raise _error(name, Position(int(found[2]), int(found[3])), found[1], "Write it in TOML") from error
        last = Position(text.count("\n") + 1, len(text) - text.rfind("\n"))
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error).partition(" (at end")[0]
        raise _error(name, last, problem, "Write it in TOML") from error


def _load_yaml(text: str, name: str) -> tuple[dict[str, Any], Callable[[], _Positions]]:
    try:
        from quotehelper.verification.yaml_document import YamlDocument, YamlError  # noqa: PLC0415  an extra
    except ImportError as error:
        remedy = "Install it: pip install 'quotehelper[yaml]', or write the policy in TOML"
        raise ConfigError(f"{name}: PyYAML is not installed", remedy) from error
    try:
        document = YamlDocument(text)
    except YamlError as error:
        raise _error(name, error.position, error.problem, "Write it in YAML") from error
    if not isinstance(document.value, dict):
        raise _error(name, document.of_value(()), "a mapping of keys expected", _SEE)
    return document.value, lambda: document


def _error(name: str, position: Position, problem: str, remedy: str) -> ConfigError:
    return ConfigError(f"{name}:{position.line}:{position.column}: {problem}", remedy)


def _policy(document: dict[str, Any]) -> Policy:
    common = _rules({key: value for key, value in document.items() if key != _ANY_OF}, (), may_have=(_ANY_OF,))
    names_one = rules.Subject.ENCLAVE in {rule.SUBJECT for rule in common}
    if _ANY_OF not in document:
        if not common:
            raise _Wrong((), "the policy is empty, so it would accept anybody's enclave", NAME_AN_ENCLAVE, is_key=True)
        if not names_one:
            raise _Wrong((), "the policy does not say which enclave is wanted", NAME_AN_ENCLAVE, is_key=True)
        return Policy(*common)
    alternatives = []
    for entry in _Value((_ANY_OF,), document[_ANY_OF]).entries():
        if not isinstance(entry.value, dict):
            entry.refuse("a table")
        alternative = _rules(entry.value, entry.path)
        if not alternative:
            raise _Wrong(entry.path, "an alternative that is empty", "Leave it out", is_key=True)
        if not names_one and rules.Subject.ENCLAVE not in {rule.SUBJECT for rule in alternative}:
            raise _Wrong(entry.path, "this does not say which enclave is wanted", NAME_AN_ENCLAVE, is_key=True)
        alternatives.append(alternative)
    return Policy(*common, any_of=alternatives)


def _rules(table: Mapping[str, object], path: KeyPath, may_have: tuple[str, ...] = ()) -> tuple[rules.Rule, ...]:
    """The rules that ``table``, at ``path``, states, in its order."""
    read = {}
    for key, value in table.items():
        if key not in _READ:
            near = difflib.get_close_matches(key, (*_READ, *may_have), n=1)
            remedy = f"Did you mean {near[0]}?" if near else f"Known are {', '.join((*_READ, *may_have))}"
            raise _Wrong((*path, key), f"unknown key {key!r}", remedy, is_key=True)
        read[key] = _READ[key](_Value((*path, key), value))
    told = [key for key in _SIGNER if key in read]
    if told and len(told) < len(_SIGNER):
        missing = " and ".join(key for key in _SIGNER if key not in read)
        raise _Wrong((*path, told[0]), f"{told[0]} without {missing}", _TOGETHER, is_key=True)
    return tuple(_MAKE[key](read) for key in table if key in _MAKE)
