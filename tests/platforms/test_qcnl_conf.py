from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.platforms.dcap.qcnl_conf import parse_qcnl_conf

SHIPPED = """\
{
  // *** ATTENTION : This file is in JSON format so the keys are case sensitive.

  //PCCS server address
  "pccs_url": "https://localhost:8081/sgx/certification/v4/",
  "use_secure_cert": true,
  //"collateral_service": "https://api.example.com/sgx/certification/v4/",
  "pck_cache_expire_hours": 168,
  "custom_request_options" : {"get_cert" : {"headers": {"metadata": "true"}, "params": {"api-version": "1"}}}
}
"""


def only_mistake(text: str) -> tuple[int, int, str]:
    _, (mistake,) = parse_qcnl_conf(text)
    assert mistake.remedy
    return mistake.line, mistake.column, mistake.problem


def test_what_is_shipped_is_read_comments_and_all() -> None:
    settings, mistakes = parse_qcnl_conf(SHIPPED)
    assert mistakes == ()
    assert settings["pccs_url"] == "https://localhost:8081/sgx/certification/v4/", "// in a text is no comment"
    assert settings["pck_cache_expire_hours"] == 168


def test_the_old_form_is_read() -> None:
    settings, mistakes = parse_qcnl_conf("# old\nPCCS_URL=https://localhost:8081/sgx/\nUSE_SECURE_CERT=TRUE\n")
    assert settings == {"pccs_url": "https://localhost:8081/sgx/", "use_secure_cert": True}
    assert mistakes == ()


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ('{\n "pccs_url": "x",,\n}', 2, 18, "Not JSON"),
        ('{\n\n  "pccs_uri": "https://a/"}', 3, 3, "Unknown setting 'pccs_uri'"),
        ('{"pccs_url": "https://localhost:8081"}', 1, 2, "ends in /"),
        ('{"use_secure_cert": "true"}', 1, 2, "not true or false"),
        ('{"use_secure_cert": false}', 1, 2, "not checked"),
        ('{"pccs_api_version": 3.1}', 1, 2, '"3.0" or "3.1"'),
        ('{"retry_times": 6, "retry_delay": 10}', 1, 2, "up to 60 s"),
        ('{"retry_times": 6}', 1, 2, "up to 63 s"),
        ('{"retry_times": 1000000000000}', 1, 2, "retries take"),
        ('{"retry_times": true}', 1, 2, "a whole number"),
        ('{"verify_collateral_cache_expire_hours": 2161}', 1, 2, "at most 2160"),
        ("PCCS=1", 1, 1, "Neither JSON nor"),
    ],
)
def test_a_mistake_is_named_with_line_and_column(text: str, line: int, column: int, said: str) -> None:
    at_line, at_column, problem = only_mistake(text)
    assert (at_line, at_column) == (line, column)
    assert said in problem


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)
)


@given(st.text(max_size=300) | st.dictionaries(st.text() | st.just("retry_times"), JSON).map(json.dumps))
def test_any_text_is_read(text: str) -> None:
    _, mistakes = parse_qcnl_conf(text)
    assert all(mistake.line >= 1 and mistake.column >= 1 for mistake in mistakes)
