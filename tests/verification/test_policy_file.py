"""The written form: parser and JSON Schema agree, and a mistake is told with its place."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import sys
import tomllib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import event, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, ValidationError, validators

from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import ConfigError
from quotehelper.verification.policy import ALTERNATIVES_MAX, Policy
from quotehelper.verification.policy_file import (
    DOTS_MAX,
    ENTRIES_MAX,
    SCHEMA_FILE,
    SIZE_MAX,
    YAML_SIZE_MAX,
    parse_policy,
)
from quotehelper.verification.rules import (
    AcceptedAdvisories,
    CollateralGrace,
    InsecureAllowDebug,
    InsecureAnyEnclave,
    MinimumTcbEvaluationDataNumber,
    MrEnclave,
    ReportData,
    ReportDataPrefix,
    ReportDataSha256,
    Signer,
    TcbStatuses,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = json.loads((files("quotehelper.verification") / SCHEMA_FILE).read_text())
BUILD = "ab" * 32
EVERYTHING = f"""\
mr_enclave = ["{BUILD}"]
mr_signer = ["{"cd" * 32}", "{"EF" * 32}"]
isv_prod_id = [1, 2]
minimum_isv_svn = 3
insecure_any_enclave = true
report_data = "c0ffee"
report_data_prefix = "c0"
report_data_sha256_of = "grüße"
tcb_statuses = ["UpToDate", "OutOfDate"]
accepted_advisories = ["INTEL-SA-00334"]
minimum_tcb_evaluation_data_number = 17
collateral_grace_days = 7
insecure_allow_debug = true

[[any_of]]
mr_enclave = ["{"00" * 32}"]

[[any_of]]
accepted_advisories = []
"""


def test_every_key_becomes_its_rule() -> None:
    assert parse_policy(EVERYTHING, name="policy.toml") == Policy(
        MrEnclave([b"\xab" * 32]),
        Signer([b"\xcd" * 32, b"\xef" * 32], [1, 2], 3),
        InsecureAnyEnclave(),
        ReportData(b"\xc0\xff\xee"),
        ReportDataPrefix(b"\xc0"),
        ReportDataSha256("grüße".encode()),
        TcbStatuses([TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE]),
        AcceptedAdvisories(["INTEL-SA-00334"]),
        MinimumTcbEvaluationDataNumber(17),
        CollateralGrace(dt.timedelta(days=7)),
        InsecureAllowDebug(),
        any_of=[[MrEnclave([bytes(32)])], [AcceptedAdvisories([])]],
    )


def test_yaml_says_the_same() -> None:
    text = yaml.safe_dump(tomllib.loads(EVERYTHING), allow_unicode=True, sort_keys=False)
    assert parse_policy(text, name="policy.yaml") == parse_policy(EVERYTHING, name="policy.toml")


def test_rules_are_called_in_violations_as_they_are_in_the_file() -> None:
    assert {rule.NAME for rule in parse_policy(EVERYTHING, name="p").rules} <= SCHEMA["properties"].keys()


def test_the_example_shows_every_key_of_the_schema() -> None:
    told = set(re.findall(r"^(\w+) = ", EVERYTHING, re.MULTILINE))
    assert told | {"any_of"} == SCHEMA["properties"].keys()
    assert told == SCHEMA["definitions"]["alternative"]["properties"].keys()


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1:1", "the policy is empty"),
        ("# nothing\n", "1:1", "the policy is empty"),
        ("tcb_statuses = ['UpToDate']", "1:1", "does not say which enclave"),
        ("mr_enclave = ['ab']", "1:15", "32 bytes in hexadecimal"),
        (f"mr_enclave = [\n  '{BUILD}',\n  '{BUILD[1:]}',\n]", "3:3", "32 bytes in hexadecimal"),
        (f"mr_enclave = '{BUILD}'", "1:14", "a list of 1 to 1000 entries"),
        ("mr_enclave = []", "1:14", "a list of 1 to 1000 entries"),
        (f"mrenclave = ['{BUILD}']", "1:1", "Did you mean mr_enclave?"),
        (f"mr_enclave = ['{BUILD}']\n\n[tcb]\nx = 1", "3:1", "unknown key 'tcb'"),
        (f"mr_enclave = ['{BUILD}']\nminimum_isv_svn = 1", "2:1", "without mr_signer and isv_prod_id"),
        (f"mr_signer = ['{BUILD}']\nisv_prod_id=[0]", "1:1", "mr_signer without minimum_isv_svn"),
        (f"mr_signer = ['{BUILD}']\nisv_prod_id=[0, 65536]\nminimum_isv_svn=0", "2:17", "from 0 to 65535"),
        (f"mr_signer = ['{BUILD}']\nisv_prod_id=[0]\nminimum_isv_svn=true", "3:17", "not True"),
        (f"mr_signer = ['{BUILD}']\nisv_prod_id=[0]\nminimum_isv_svn=0.5", "3:17", "a whole number"),
        ("insecure_any_enclave = false", "1:24", "true, or to be left out"),
        ("insecure_any_enclave = true\nreport_data = ''", "2:15", "1 to 64 bytes"),
        ("insecure_any_enclave = true\nreport_data = 'c'", "2:15", "1 to 64 bytes"),
        ("insecure_any_enclave = true\ntcb_statuses = ['Revoked']", "2:17", "one of UpToDate, "),
        ("insecure_any_enclave = true\naccepted_advisories = ['INTEL-SA-']", "2:24", "INTEL-SA-00334"),
        ("insecure_any_enclave = true\ncollateral_grace_days = 366", "2:25", "from 0 to 365"),
        ("[[any_of]]\nmr_enclave = ['ab']", "2:15", "32 bytes"),
        ("[[any_of]]\ninsecure_any_enclave = true\n [[any_of]]\nreport_data = '00'", "3:2", "which enclave"),
        ("insecure_any_enclave = true\n[[any_of]]", "2:1", "an alternative that is empty"),
        ("any_of = []", "1:10", "a list of 1 to 1000"),
        ("any_of = [1]", "1:11", "any_of: a table expected, not 1"),
        ("any_of = {}", "1:10", "not a table"),
        ("any_of = 2026-01-31", "1:10", "not a date or time"),
        ("any_of = [" + "1," * 1001 + "]", "1:10", "not one of 1001"),
        ("any_of = [{any_of = []}]", "1:12", "unknown key 'any_of'"),
        ("mr_enclave = [", "1:15", ""),
        ("mr_enclave = [}", "1:15", ""),
        ("a = 1\nb = \n", "2:5", ""),
        ("a = 1\na = 2\n", "2:6", "Cannot overwrite"),
        ("a = " + "9" * 5000, "1:5005", "digits"),
        ("a = " + "[" * 5000, "1:5005", "nested too deeply"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, place: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_policy(text, name="policy.toml")
    assert refused.value.problem.startswith(f"policy.toml:{place}: ")
    assert words in str(refused.value)
    assert refused.value.remedy
    assert len(str(refused.value)) < 400


def test_lines_may_end_as_on_windows() -> None:
    with pytest.raises(ConfigError, match=r"^p:3:3:"):
        parse_policy("mr_enclave = [\r\n# é\r\n  'ab']\r\n", name="p")


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1:1", "the policy is empty"),
        ("- mr_enclave", "1:1", "a mapping of keys expected"),
        ("mr_enclave: ['ab']", "1:14", "32 bytes in hexadecimal"),
        (f"mr_enclave: [{'0' * 64}]", "1:14", "32 bytes in hexadecimal expected, not 0"),
        ("# é\nmrenclave: []", "2:1", "Did you mean mr_enclave?"),
        ("any_of:\n- insecure_any_enclave: true\n- report_data: c0ffee", "3:3", "which enclave"),
        ("insecure_any_enclave: yes", "1:23", "not 'yes'"),
        ("insecure_any_enclave:", "1:22", "not nothing"),
        ("insecure_any_enclave: true\ninsecure_any_enclave: true", "2:1", "comes twice"),
        ("insecure_any_enclave: &a true", "1:23", "anchors"),
        ("insecure_any_enclave: *a", "1:23", "aliases"),
        ("insecure_any_enclave: !!bool true", "1:23", "tags"),
        ("? [a]\n: b", "1:3", "a key that is no text"),
        ("insecure_any_enclave: true\n---\n", "2:1", "another document"),
        ("a: [", "1:5", ""),
        ("a: \0", "1:4", "a character that YAML does not have"),
        ('a: "\\ud800"', "1:4", "an escape of no character"),
        ('a: "\\UFFFFFFFF"', "1:1", "an escape of no character"),
        ("[" * 60000, "1:1", "nested too deeply"),
    ],
)
def test_a_mistake_in_yaml_is_told_with_its_place(text: str, place: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_policy(text, name="policy.yml")
    assert refused.value.problem.startswith(f"policy.yml:{place}: ")
    assert words in str(refused.value)


@given(st.text(max_size=200) | st.text("[]{}:-?&*!|>%@'\"#\n tru1a_\\", max_size=60))
def test_any_text_is_a_policy_in_yaml_or_a_deliberate_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^p\.yaml:\d+:\d+: "):
        parse_policy(text, name="p.yaml")


def test_yaml_that_takes_too_long_to_be_read_is_no_policy() -> None:
    with pytest.raises(ConfigError, match="Is it a policy"):
        parse_policy("#" * (YAML_SIZE_MAX + 1), name="p.yaml")


def test_without_pyyaml_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "quotehelper.verification.yaml_document", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'quotehelper\[yaml\]'"):
        parse_policy("insecure_any_enclave: true", name="p.yaml")


@pytest.mark.parametrize("text", ["#" * (SIZE_MAX + 1), "a" + ".a" * (DOTS_MAX + 1) + " = 1"], ids=["long", "dotted"])
def test_a_text_that_takes_too_long_to_be_read_is_no_policy(text: str) -> None:
    with pytest.raises(ConfigError, match="Is it a policy"):
        parse_policy(text, name="p")


@given(st.text(max_size=200) | st.text("[]{}=.\"'#\n tru1a_\\", max_size=60))
def test_any_text_is_a_policy_or_a_deliberate_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^p:\d+:\d+: "):
        parse_policy(text, name="p")


@settings(max_examples=300)
@given(st.integers(0, len(EVERYTHING)), st.integers(0, 3), st.text("[]{}='\"#\n.,0a-\r\t", max_size=3))
def test_a_damaged_policy_is_a_policy_or_a_deliberate_error(at: int, lost: int, put: str) -> None:
    text = EVERYTHING[:at] + put + EVERYTHING[at + lost :]
    try:
        assert parse_policy(text, name="p").rules
    except ConfigError as error:
        line, column = map(int, error.problem.split(":")[1:3])
        event("refused")
        lines = f"{text} ".split("\n")
        assert line <= len(lines)
        assert column <= len(lines[line - 1]) + 1


def _matches(_: Any, pattern: str, instance: object, __: object) -> Iterator[ValidationError]:  # noqa: ANN401
    """JSON Schema's ``pattern`` with the ``$`` of ECMAScript, the end; Python's is also before a last line's end."""
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield ValidationError(f"{instance!r} does not match")


ORACLE = validators.extend(Draft7Validator, {"pattern": _matches})(SCHEMA)  # type: ignore[no-untyped-call]  # its types lack it
HEX = st.sampled_from([BUILD, BUILD.upper(), BUILD[:-2], BUILD + "00", BUILD[:-1], "", "zz" * 32, BUILD + "\n", "c0"])
ADVISORIES = st.sampled_from(
    ["INTEL-SA-00334", "INTEL-SA-", "intel-sa-1", "X-SA-1", "INTEL-SA-1\n", "INTEL", "A-" + "1" * 62, "A-" + "1" * 63]
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 365, 366, 0xFFFF, 0x1_0000, 0x7FFF_FFFF, 0x8000_0000, 2**70, 1.0, 0.5, -0.0]),
    st.sampled_from([float("inf"), float("nan"), True, "1"]),
)
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, False, 0, "", [], {}, [[]], [None], dt.date(2026, 1, 1), dt.time(1), 1.5]
)
STATUSES = st.sampled_from([*(status.value for status in TcbStatus), "uptodate", 1])


def lists(entries: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(entries, max_size=3) | st.just([1] * (ENTRIES_MAX + 1))


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "mr_enclave": lists(HEX),
    "mr_signer": lists(HEX),
    "isv_prod_id": lists(NUMBERS),
    "minimum_isv_svn": NUMBERS,
    "insecure_any_enclave": st.booleans() | NUMBERS,
    "report_data": HEX,
    "report_data_prefix": HEX,
    "report_data_sha256_of": st.sampled_from(["", "x", "é" * 4096, "x" * 4097]),
    "tcb_statuses": lists(STATUSES),
    "accepted_advisories": lists(ADVISORIES),
    "minimum_tcb_evaluation_data_number": NUMBERS,
    "collateral_grace_days": NUMBERS,
    "insecure_allow_debug": st.booleans() | NUMBERS,
    "odd": ODD,
}
GOOD: dict[str, Any] = {key: value for key, value in tomllib.loads(EVERYTHING).items() if key != "any_of"}


TOGETHER = [("mr_signer", "isv_prod_id", "minimum_isv_svn")]
GROUPS = TOGETHER + [(key,) for key in GOOD if key not in TOGETHER[0]]


@st.composite
def tables(draw: st.DrawFn) -> dict[str, Any]:
    """A table with some good keys; in one of three, one key more that may be wrong in some way, or one less."""
    groups = draw(st.lists(st.sampled_from(GROUPS), min_size=1, max_size=4))
    table = {key: GOOD[key] for group in groups for key in group}
    match draw(st.integers(0, 5)):
        case 0:
            key = draw(st.sampled_from(sorted(VALUES)))
            table[key] = draw(VALUES[key] | ODD)
        case 1:
            del table[draw(st.sampled_from(sorted(table)))]
    return table


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly policies."""
    document = draw(tables())
    if draw(st.booleans()):
        document["any_of"] = draw(st.lists(tables(), max_size=3) | ODD)
    return document


def to_toml(value: object) -> str:
    """``value`` as a TOML value; tables are inline. None, which TOML lacks, as a text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {to_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    return str(value) if isinstance(value, float) else json.dumps("none" if value is None else value)


@settings(max_examples=500)
@given(documents())
def test_the_parser_accepts_what_the_schema_accepts_and_nothing_else(document: dict[str, Any]) -> None:
    text = "\n".join(f"{key} = {to_toml(value)}" for key, value in document.items())
    read = tomllib.loads(text)
    problem = None
    try:
        parse_policy(text, name="p")
    except ConfigError as error:
        problem = error
    event("accepted" if problem is None else "refused")
    assert ORACLE.is_valid(read) == (problem is None), problem or [error.message for error in ORACLE.iter_errors(read)]


def plain(value: object) -> Any:  # noqa: ANN401  what JSON can say
    """``value`` without what JSON lacks."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    is_odd = isinstance(value, (dt.date, dt.time)) or (isinstance(value, float) and not math.isfinite(value))
    return str(value) if is_odd else value


@settings(max_examples=200)
@given(documents().map(plain))
def test_in_yaml_too_it_accepts_what_the_schema_accepts_and_nothing_else(document: dict[str, Any]) -> None:
    """JSON is YAML, so the document is written as JSON."""
    text = json.dumps(document, indent=1)
    if len(text) > YAML_SIZE_MAX:
        return
    problem = None
    try:
        parse_policy(text, name="p.yaml")
    except ConfigError as error:
        problem = error
    event("accepted" if problem is None else "refused")
    assert ORACLE.is_valid(document) == (problem is None), problem


def test_the_schema_is_one() -> None:
    Draft7Validator.check_schema(SCHEMA)


def test_the_schema_accepts_no_more_alternatives_than_a_policy() -> None:
    assert SCHEMA["properties"]["any_of"]["maxItems"] == ALTERNATIVES_MAX
