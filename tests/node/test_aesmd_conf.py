from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.node.aesmd_conf import AesmdConf, parse_aesmd_conf


def only_mistake(text: str) -> tuple[int, int, str]:
    _, (mistake,) = parse_aesmd_conf(text)
    assert mistake.remedy
    return mistake.line, mistake.column, mistake.problem


def test_what_intel_ships_is_read_without_a_mistake() -> None:
    text = "#Line with comments only\n\n  #empty line\n default quoting type = ecdsa_256\nqpl log level = error # why\n"
    conf, mistakes = parse_aesmd_conf(text)
    assert conf == AesmdConf(default_quoting_type="ecdsa_256", qpl_log_level="error")
    assert mistakes == ()


@pytest.mark.parametrize("key", ["DefaultQuotingType", "default  quoting\ttype", "DEFAULT QUOTING TYPE"])
def test_keys_are_read_in_any_case_and_spacing(key: str) -> None:
    assert parse_aesmd_conf(f"{key} = ecdsa_256")[0].default_quoting_type == "ecdsa_256"


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("\nqpl log level =error", 2, 16, "exactly one blank"),
        ("qpl log level =  error", 1, 16, "exactly one blank"),
        ("qpl log level = error#why", 1, 22, "not set off by a blank"),
        ("qpl log level = err", 1, 17, "only the beginning"),
        ("qpl log level = loud", 1, 17, "which is none"),
        ("log level = error", 1, 1, "Unknown setting 'log level'"),
        ("  nonsense", 1, 3, "No setting"),
        ("aesm proxy = proxy:80", 1, 14, "not a URL"),
        ("default quoting type = epid_linkable", 1, 24, "end of life"),
        ("proxy type = manual", 1, 1, "no aesm proxy"),
        ("a" * 1024, 1, 1024, "1024 characters"),
    ],
)
def test_a_mistake_is_named_with_line_and_column(text: str, line: int, column: int, said: str) -> None:
    at_line, at_column, problem = only_mistake(text)
    assert (at_line, at_column) == (line, column)
    assert said in problem


def test_a_mistake_costs_its_own_line_only() -> None:
    conf, mistakes = parse_aesmd_conf("nonsense\ndefault quoting type = ecdsa_256\naesm proxy = http://proxy:80\n")
    assert conf == AesmdConf(default_quoting_type="ecdsa_256", aesm_proxy="http://proxy:80")
    assert len(mistakes) == 1


def test_what_trips_intels_service_is_read_as_it_is_meant() -> None:
    assert parse_aesmd_conf("proxy type=direct")[0].proxy_type == "direct"


@given(st.text(max_size=300) | st.text(alphabet="= #default quoting type\n", max_size=200))
def test_any_text_is_read(text: str) -> None:
    conf, mistakes = parse_aesmd_conf(text)
    assert isinstance(conf, AesmdConf)
    assert all(mistake.line >= 1 and mistake.column >= 1 for mistake in mistakes)
