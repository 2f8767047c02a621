"""What the authority says: events follow each other in any order, and every status can be had."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import ConfigError
from quotehelper.platforms.simulated import settings as rules
from quotehelper.platforms.simulated.enclaves import Tcb
from quotehelper.platforms.simulated.ruling import encode_settings, parse_settings
from quotehelper.platforms.simulated.settings import (
    ADVISORIES_LIMIT,
    LEVELS_LIMIT,
    NO_CONDITION,
    PCK_TCB,
    REVOKED_LIMIT,
    Condition,
    Document,
    Settings,
    Subject,
    initial,
    qe_tcb,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
FILE = Path("/nowhere/settings.json")
EVENTS: dict[str, Callable[[Settings], Settings]] = {
    "recover": lambda s: rules.recover(s, ["INTEL-SA-1"], NOW),
    "withdraw": lambda s: rules.recover(s, [], NOW, withdraw=True),
    "release": lambda s: rules.supersede_qe(s, s.qe_levels[0].tcb.pce_svn + 1, [], NOW),
    "configure": lambda s: rules.change_level(s, Subject.PLATFORM, s.current, Condition.CONFIGURATION_NEEDED),
    "harden": lambda s: rules.change_level(s, Subject.PLATFORM, s.current, Condition.SW_HARDENING_NEEDED),
    "relieve": lambda s: rules.relieve_level(s, Subject.PLATFORM, s.current, Condition.CONFIGURATION_NEEDED),
    "revoke": lambda s: rules.revoke(s, "processor", 1 << 158),
    "revoke qe": lambda s: rules.change_level(s, Subject.QE, qe_tcb(11), Condition.REVOKED, ["X.1"]),
    "expire": lambda s: rules.expire(s, [Document.PCK_CRL, Document.TCB_INFO]),
    "renew": lambda s: rules.renew(s, [Document.PCK_CRL]),
}


def test_every_status_is_made_by_conditions() -> None:
    made = {
        reduce(Condition.__or__, chosen, NO_CONDITION).status
        for size in range(len(Condition) + 1)
        for chosen in itertools.combinations(Condition, size)
    }
    assert made == set(TcbStatus)


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        (NO_CONDITION, TcbStatus.UP_TO_DATE),
        (Condition.CONFIGURATION_NEEDED, TcbStatus.CONFIGURATION_NEEDED),
        (
            Condition.CONFIGURATION_NEEDED | Condition.SW_HARDENING_NEEDED,
            TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
        ),
        (Condition.OUT_OF_DATE | Condition.SW_HARDENING_NEEDED, TcbStatus.OUT_OF_DATE),
        (Condition.OUT_OF_DATE | Condition.CONFIGURATION_NEEDED, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED),
        (~NO_CONDITION, TcbStatus.REVOKED),
    ],
)
def test_conditions_add_up(conditions: Condition, status: TcbStatus) -> None:
    assert conditions.status is status


def test_a_recovery_makes_one_level_more_and_all_others_out_of_date() -> None:
    after = rules.recover(initial(), ["INTEL-SA-1", "INTEL-SA-2"], NOW)
    newest, *older = after.platform_levels
    assert newest.tcb == after.current == Tcb(b"\x11" + PCK_TCB.cpu_svn[1:], 14)
    assert (newest.conditions, newest.advisory_ids, newest.date) == (NO_CONDITION, (), NOW)
    assert [level.tcb for level in older] == [level.tcb for level in initial().platform_levels]
    assert {level.conditions.status for level in older} == {TcbStatus.OUT_OF_DATE}
    assert all(level.advisory_ids[-2:] == ("INTEL-SA-1", "INTEL-SA-2") for level in older)
    assert after.tcb_evaluation_data_number == initial().tcb_evaluation_data_number + 1
    assert after.qe_levels == initial().qe_levels


def test_a_recovery_without_advisories_names_one_that_says_it_is_simulated() -> None:
    assert rules.recover(initial(), [], NOW).platform_levels[1].advisory_ids == ("SIMULATED-SA-00018",)


def test_a_withdrawal_leaves_the_newest_level_alone() -> None:
    assert len(rules.recover(initial(), [], NOW, withdraw=True).platform_levels) == 1


def test_levels_and_file_are_bounded_and_the_end_is_told() -> None:
    settings = initial()
    for _ in range(0xFF - PCK_TCB.cpu_svn[0]):
        settings = rules.recover(settings, [], NOW)
    with pytest.raises(ConfigError, match="no higher TCB level left"):
        rules.recover(settings, [], NOW)
    assert len(settings.platform_levels) == LEVELS_LIMIT
    assert settings.current.cpu_svn[0] == 0xFF
    assert parse_settings(FILE, encode_settings(settings)) == settings


def test_a_release_of_a_quoting_enclave_must_be_newer() -> None:
    for isv_svn in (0, 8, 1 << 16):
        with pytest.raises(ConfigError, match="is no newer one"):
            rules.supersede_qe(initial(), isv_svn, [], NOW)
    newest, *older = rules.supersede_qe(initial(), 12, ["A-1"], NOW).qe_levels
    assert (newest.tcb.pce_svn, newest.conditions) == (12, NO_CONDITION)
    assert {level.conditions.status for level in older} == {TcbStatus.OUT_OF_DATE}


def test_the_level_that_is_changed_is_the_one_that_is_reached() -> None:
    between = Tcb(PCK_TCB.cpu_svn, 12)  # the PCE is too old for the highest
    after = rules.change_level(initial(), Subject.PLATFORM, between, Condition.REVOKED)
    assert [level.conditions.status for level in after.platform_levels] == [TcbStatus.UP_TO_DATE, TcbStatus.REVOKED]


@pytest.mark.parametrize("subject", Subject)
def test_who_is_below_every_level_is_told_to_update(subject: Subject) -> None:
    for change in (rules.change_level, rules.relieve_level):
        with pytest.raises(ConfigError, match=r"below every level\. Update it first"):
            change(initial(), subject, Tcb(bytes(16), 0), Condition.REVOKED)


@pytest.mark.parametrize("advisory_id", ["", " ", "a b", "-x", "x" * 41, "INTEL-SA-1\n", "é", "\0"])
def test_an_impossible_advisory_is_refused(advisory_id: str) -> None:
    with pytest.raises(ConfigError, match="is not an advisory's name"):
        rules.recover(initial(), [advisory_id], NOW)


def test_advisories_and_revocations_are_bounded() -> None:
    with pytest.raises(ConfigError, match=f"can have {ADVISORIES_LIMIT} advisories"):
        rules.recover(initial(), [f"A-{number}" for number in range(ADVISORIES_LIMIT)], NOW)
    settings = initial()
    for number in range(REVOKED_LIMIT):
        settings = rules.revoke(settings, "root", number)
    with pytest.raises(ConfigError, match=f"{REVOKED_LIMIT} certificates are revoked already"):
        rules.revoke(settings, "root", REVOKED_LIMIT)
    assert len(settings.revoked) == REVOKED_LIMIT
    assert len(encode_settings(settings)) < 1 << 16


def test_what_is_said_twice_is_kept_once() -> None:
    for event in ("revoke", "configure", "expire", "renew", "relieve"):
        once = EVENTS[event](initial())
        assert EVENTS[event](once) == once


@given(names=st.lists(st.sampled_from(sorted(EVENTS)), max_size=20))
def test_any_events_in_any_order_make_settings_that_are_read_as_they_were_written(names: list[str]) -> None:
    settings = reduce(lambda before, name: EVENTS[name](before), names, initial())
    assert parse_settings(FILE, encode_settings(settings)) == settings
    assert {level.conditions.status for level in settings.platform_levels} <= set(TcbStatus)


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(encode_settings(EVENTS["revoke"](EVENTS["expire"](initial()))))
    change(document)
    return json.dumps(document).encode()


FIELDS = ["version", "tcb_evaluation_data_number", "platform_levels", "qe_levels", "revoked", "expired"]


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(ConfigError, match=f"^{FILE} is damaged: {field}: missing"):
        parse_settings(FILE, changed(lambda document: document.pop(field)))


@pytest.mark.parametrize("value", [None, True, 1.5, {}, -1, "", [1], [None], [{}], ["x"], [[]], 1 << 70], ids=repr)
@pytest.mark.parametrize("field", FIELDS)
def test_a_value_of_the_wrong_kind_is_named(field: str, value: object) -> None:
    if (field, value) == ("version", 1 << 70):
        value = 0  # that is a later version
    with pytest.raises(ConfigError, match=rf"is damaged: {field}"):
        parse_settings(FILE, changed(lambda document: document.update({field: value})))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d["platform_levels"].clear(), "platform_levels: at least one level"),
        (lambda d: d["qe_levels"].extend(d["qe_levels"]), "qe_levels: at least one level, and each once"),
        (lambda d: d["qe_levels"].extend(20 * d["qe_levels"]), "qe_levels: a list of at most 16"),
        (lambda d: d["qe_levels"][1].update(conditions=["splendid"]), r"qe_levels\[1\].conditions: .* are known"),
        (lambda d: d["qe_levels"][0].update(date="yesterday"), r"qe_levels\[0\].date: a time as"),
        (lambda d: d["qe_levels"][0].update(advisory_ids=[" "]), r"qe_levels\[0\].advisory_ids: names such as"),
        (lambda d: d["qe_levels"][0].update(colour=1), r"qe_levels\[0\].colour: not known"),
        (lambda d: d["platform_levels"][0].update(cpu_svn="00"), r"platform_levels\[0\].cpu_svn: 32 hexadecimal"),
        (lambda d: d["revoked"][0].update(issuer="me"), r"revoked\[0\].issuer: one of root, processor, platform"),
        (lambda d: d.update(expired=["pck-crl", "me"]), "expired: tcb-info, .* are known"),
        (lambda d: d.update(more=1), "more: not known"),
    ],
)
def test_a_fault_is_told_by_its_place(change: Callable[[dict[str, Any]], object], told: str) -> None:
    with pytest.raises(ConfigError, match=f"is damaged: {told}"):
        parse_settings(FILE, changed(change))


def test_a_later_format_is_told_apart_from_damage() -> None:
    with pytest.raises(ConfigError, match="is of version 2, this program knows 1"):
        parse_settings(FILE, changed(lambda document: document.update(version=2, more={})))


@given(
    raw=st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda value: json.dumps(value).encode())
)
def test_whatever_is_in_the_file_settings_or_a_config_error_come_out(raw: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_settings(FILE, raw)
