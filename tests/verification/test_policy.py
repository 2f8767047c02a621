"""Real quotes, appraised. Each rule holds for the case it describes, and says what is wrong with another."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quote_cases import verify_case
from quotehelper.documents.tcb_info import TcbStatus
from quotehelper.errors import CollateralError, ConfigError, PolicyError, Violation
from quotehelper.verification.policy import ALTERNATIVES_MAX, Policy, all_of, any_of, appraise, semantics_for
from quotehelper.verification.rules import (
    AcceptedAdvisories,
    CollateralGrace,
    InsecureAllowDebug,
    InsecureAnyEnclave,
    MinimumTcbEvaluationDataNumber,
    MrEnclave,
    RefuseDebug,
    ReportData,
    ReportDataPrefix,
    ReportDataSha256,
    Rule,
    Signer,
    TcbStatuses,
)
from quotehelper.verification.semantics import INTEL, STRICT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from quotehelper.verification.result import VerifiedQuote

CURRENT = "v01"  # ConfigurationAndSWHardeningNeeded, two advisories
EXPIRED = "v02"  # the same, 13 h 58 min 42 s after the end
DEBUG = "v03"
HARDENING = "v15"
OUT_OF_DATE = "v20"  # product 1, SVN 1
OF_NOTHING = "v26"  # report data: SHA-256 of nothing; a debug enclave
ANY = InsecureAnyEnclave()
DAY = dt.timedelta(days=1)


def violations(verified: VerifiedQuote, policy: Policy) -> dict[str, str]:
    """What ``policy`` has against ``verified``, by rule."""
    try:
        assert appraise(verified, policy).verified is verified
    except PolicyError as error:
        return {violation.rule: violation.problem for violation in error.violations}
    return {}


def names(case: str, *rules: Rule) -> list[str]:
    """The rules that the case violates."""
    return list(violations(verify_case(case), Policy(ANY, *rules)))


def signer(case: str, products: tuple[int, ...], svn: int) -> Signer:
    """A rule that wants the signer of ``case``."""
    return Signer([verify_case(case).report.mr_signer], products, svn)


def test_one_of_several_builds_is_wanted() -> None:
    mr_enclave = verify_case(CURRENT).report.mr_enclave
    assert not violations(verify_case(CURRENT), Policy(MrEnclave([bytes(32), mr_enclave])))


def test_another_build_is_refused_by_name() -> None:
    found = violations(verify_case(CURRENT), Policy(MrEnclave([bytes(32)])))
    assert found == {
        "mr_enclave": f"MRENCLAVE {verify_case(CURRENT).report.mr_enclave.hex()} is not among the 1 wanted"
    }


def test_a_signer_is_wanted_with_product_and_version() -> None:
    assert not names(OUT_OF_DATE, signer(OUT_OF_DATE, (0, 1), 1), TcbStatuses([TcbStatus.OUT_OF_DATE]))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Signer([bytes(32)], (1,), 1), "MRSIGNER feb9"),
        (signer(OUT_OF_DATE, (2, 3), 1), "ISVPRODID is 1, wanted: 2, 3"),
        (signer(OUT_OF_DATE, (1,), 2), "ISVSVN is 1, at least 2"),
    ],
)
def test_another_signer_product_or_an_older_version_is_refused(rule: Signer, words: str) -> None:
    found = violations(verify_case(OUT_OF_DATE), Policy(rule, TcbStatuses([TcbStatus.OUT_OF_DATE])))
    assert words in found["mr_signer"]


def test_all_that_is_wrong_with_signer_product_and_version_is_told() -> None:
    problem = violations(verify_case("v40"), Policy(Signer([bytes(32)], (2,), 2)))["mr_signer"]
    assert all(word in problem for word in ("MRSIGNER", "ISVPRODID", "ISVSVN"))


def test_report_data_is_compared_to_its_last_byte() -> None:
    whole = verify_case(CURRENT).report.report_data
    assert not names(CURRENT, ReportData(whole))
    assert names(CURRENT, ReportData(whole[:-1] + b"\1")) == ["report_data"]


def test_behind_short_report_data_there_must_be_zeros() -> None:
    report_data = verify_case(OF_NOTHING).report.report_data
    rules = (InsecureAllowDebug(),)
    assert not names(OF_NOTHING, *rules, ReportData(report_data[:32]))
    assert names(OF_NOTHING, *rules, ReportData(report_data[:31])) == ["report_data"]


def test_a_prefix_says_nothing_of_the_rest() -> None:
    report_data = verify_case(OF_NOTHING).report.report_data
    assert not names(OF_NOTHING, InsecureAllowDebug(), ReportDataPrefix(report_data[:3]))
    assert names(OF_NOTHING, InsecureAllowDebug(), ReportDataPrefix(report_data[1:3])) == ["report_data_prefix"]


def test_report_data_can_be_the_hash_of_what_is_given() -> None:
    assert not names(OF_NOTHING, InsecureAllowDebug(), ReportDataSha256(b""))
    assert names(OF_NOTHING, InsecureAllowDebug(), ReportDataSha256(b"\0")) == ["report_data_sha256_of"]


@pytest.mark.parametrize(("case", "accepted"), [(CURRENT, True), (HARDENING, True), (OUT_OF_DATE, False)])
def test_by_default_the_platform_must_be_current(case: str, accepted: bool) -> None:  # noqa: FBT001  parametrized
    assert names(case) == ([] if accepted else ["tcb_statuses"])


def test_stated_statuses_replace_the_default() -> None:
    assert not names(OUT_OF_DATE, TcbStatuses([TcbStatus.OUT_OF_DATE]))
    assert names(HARDENING, TcbStatuses([TcbStatus.UP_TO_DATE])) == ["tcb_statuses"]


def test_each_advisory_must_be_on_the_list() -> None:
    assert not names(CURRENT, AcceptedAdvisories(["INTEL-SA-00289", "INTEL-SA-00615", "INTEL-SA-99999"]))
    found = violations(verify_case(CURRENT), Policy(ANY, AcceptedAdvisories(["INTEL-SA-00289"])))
    assert found == {"accepted_advisories": "advisories that are not accepted: INTEL-SA-00615"}


def test_an_empty_list_accepts_no_advisory() -> None:
    assert names(HARDENING, AcceptedAdvisories([])) == ["accepted_advisories"]
    assert not violations(verify_case("v36"), Policy(ANY, AcceptedAdvisories([])))


def test_collateral_of_an_older_evaluation_is_refused() -> None:
    assert not names(CURRENT, MinimumTcbEvaluationDataNumber(17))
    assert names(CURRENT, MinimumTcbEvaluationDataNumber(18)) == ["minimum_tcb_evaluation_data_number"]


def test_without_a_grace_expired_collateral_is_refused() -> None:
    assert names(EXPIRED) == ["collateral_grace_days"]


def test_without_a_grace_even_the_last_moment_is_too_late_if_it_counts_as_expired() -> None:
    verified = verify_case(CURRENT)
    end = verified.supplemental.earliest_expiration_date
    at_the_end = verify_case(CURRENT, later=end - verified.at)
    assert at_the_end.collateral_expired
    assert list(violations(at_the_end, Policy(ANY))) == ["collateral_grace_days"]


@pytest.mark.parametrize(("late", "accepted"), [(DAY, True), (DAY + dt.timedelta(seconds=1), False)])
def test_a_grace_counts_from_the_earliest_end(late: dt.timedelta, accepted: bool) -> None:  # noqa: FBT001  parametrized
    policy = Policy(ANY, CollateralGrace(DAY))
    before = verify_case(CURRENT)
    verified = verify_case(
        CURRENT,
        semantics=semantics_for(policy),
        later=before.supplemental.earliest_expiration_date - before.at + late,
    )
    assert violations(verified, policy).keys() == (set() if accepted else {"collateral_grace_days"})


def test_a_grace_is_none_for_what_is_not_valid_yet() -> None:
    """A revocation list of the future, which Intel's semantics only remark on."""
    policy = Policy(ANY, CollateralGrace(DAY))
    verified = verify_case(CURRENT, later=-300 * DAY)
    assert "not valid yet" in violations(verified, policy)["collateral_grace_days"]


def test_with_a_grace_strict_semantics_still_refuse_what_is_not_valid_yet() -> None:
    semantics = semantics_for(Policy(ANY, CollateralGrace(DAY)), STRICT)
    with pytest.raises(CollateralError, match="not yet"):
        verify_case(CURRENT, semantics=semantics, later=-300 * DAY)


def test_a_debug_enclave_is_refused_whatever_the_semantics_let_pass() -> None:
    assert names(DEBUG) == ["debug"]
    assert names(DEBUG, RefuseDebug()) == ["debug"]


def test_a_debug_enclave_is_wanted_only_where_that_is_called_insecure() -> None:
    policy = Policy(ANY, InsecureAllowDebug())
    assert not violations(verify_case(DEBUG, semantics=semantics_for(policy, STRICT)), policy)


def test_semantics_stay_as_they_are_where_a_policy_allows_nothing() -> None:
    policy = Policy(ANY, CollateralGrace(), TcbStatuses(), RefuseDebug())
    assert semantics_for(policy, STRICT) is STRICT
    assert semantics_for(policy, INTEL) is INTEL


def test_every_violation_is_told_at_once_in_the_order_of_the_policy() -> None:
    policy = Policy(
        ReportData(b"\1"), MrEnclave([bytes(32)]), AcceptedAdvisories([]), MinimumTcbEvaluationDataNumber(99)
    )
    with pytest.raises(PolicyError) as refused:
        appraise(verify_case(DEBUG), policy)
    told = [violation.rule for violation in refused.value.violations]
    assert told == ["report_data", "mr_enclave", "accepted_advisories", "minimum_tcb_evaluation_data_number", "debug"]


def test_one_alternative_that_holds_is_enough() -> None:
    wanted = [MrEnclave([verify_case(CURRENT).report.mr_enclave])]
    other = [MrEnclave([bytes(32)])]
    assert not violations(verify_case(CURRENT), Policy(any_of=[wanted, other]))
    assert not violations(verify_case(CURRENT), Policy(any_of=[other, wanted]))


def test_it_is_told_which_alternatives_hold() -> None:
    verified = verify_case(CURRENT)
    this = MrEnclave([verified.report.mr_enclave])
    policy = Policy(any_of=[[MrEnclave([bytes(32)])], [this], [ANY], [this, AcceptedAdvisories([])]])
    assert appraise(verified, policy).alternatives == (1, 2)
    assert appraise(verified, Policy(this)).alternatives == ()


def test_if_no_alternative_holds_it_is_told_of_each_why() -> None:
    alternatives: list[list[Rule]] = [[MrEnclave([bytes(32)])], [Signer([bytes(32)], (0,), 0), ReportData(b"\1")]]
    found = violations(verify_case(CURRENT), Policy(AcceptedAdvisories([]), any_of=alternatives))
    assert list(found) == [
        *("accepted_advisories", "any_of[0].mr_enclave"),
        *("any_of[1].mr_signer", "any_of[1].report_data"),
    ]


def test_a_default_holds_in_each_alternative_that_does_not_speak_of_it() -> None:
    """OutOfDate will do for the one enclave, and not for the other."""
    this, other = MrEnclave([verify_case(OUT_OF_DATE).report.mr_enclave]), MrEnclave([bytes(32)])
    out_of_date = TcbStatuses([TcbStatus.OUT_OF_DATE])
    assert not violations(verify_case(OUT_OF_DATE), Policy(any_of=[[this, out_of_date], [other]]))
    found = violations(verify_case(OUT_OF_DATE), Policy(any_of=[[this], [other, out_of_date]]))
    assert list(found) == ["any_of[0].tcb_statuses", "any_of[1].mr_enclave"]


def test_a_default_that_no_alternative_replaces_is_told_once() -> None:
    policy = Policy(any_of=[[ANY], [MrEnclave([bytes(32)])]])
    assert list(violations(verify_case(DEBUG), policy)) == ["debug"]


def test_a_common_rule_is_not_weakened_by_an_alternative() -> None:
    policy = Policy(TcbStatuses([TcbStatus.UP_TO_DATE]), any_of=[[ANY, TcbStatuses([TcbStatus.OUT_OF_DATE])]])
    assert list(violations(verify_case(OUT_OF_DATE), policy)) == ["tcb_statuses"]


RULES: tuple[Rule, ...] = (
    *(MrEnclave([bytes(32)]), InsecureAllowDebug(), CollateralGrace(DAY), CollateralGrace(), RefuseDebug()),
    *(AcceptedAdvisories([]), TcbStatuses([TcbStatus.OUT_OF_DATE]), TcbStatuses([TcbStatus.UP_TO_DATE])),
)
"""Some that hold and some that don't, with and without a default that they replace."""
SOME_RULES = st.lists(st.sampled_from(RULES), max_size=3)
POLICIES = st.builds(
    lambda rules, alternatives: Policy(ANY, *rules, any_of=[[ANY, *rules] for rules in alternatives]),
    SOME_RULES,
    st.lists(SOME_RULES, max_size=3),
)
A_CASE = st.sampled_from([CURRENT, EXPIRED, DEBUG, HARDENING, OUT_OF_DATE, "v36"])


def accepted(case: str, policy: Policy) -> bool:
    return not violations(verify_case(case), policy)


@given(A_CASE, POLICIES, POLICIES)
def test_any_of_accepts_what_either_accepts(case: str, one: Policy, other: Policy) -> None:
    assert accepted(case, any_of(one, other)) == (accepted(case, one) or accepted(case, other))


@given(A_CASE, POLICIES, POLICIES)
def test_all_of_accepts_what_both_accept(case: str, one: Policy, other: Policy) -> None:
    assert accepted(case, all_of(one, other)) == (accepted(case, one) and accepted(case, other))


@given(A_CASE, POLICIES)
def test_defaults_change_nothing_when_they_are_spelled_out(case: str, policy: Policy) -> None:
    spelled_out = Policy(*policy.whole.rules, any_of=policy.whole.any_of)
    assert violations(verify_case(case), spelled_out) == violations(verify_case(case), policy)
    assert spelled_out.whole == policy.whole


def test_rules_can_be_added_to_a_policy_without_its_defaults_coming_back() -> None:
    verified = verify_case(OUT_OF_DATE)
    policy = Policy(any_of=[[ANY, TcbStatuses([TcbStatus.OUT_OF_DATE])]])
    assert not violations(verified, policy.with_rules(ReportData(verified.report.report_data)))
    assert list(violations(verified, policy.with_rules(ReportData(b"\1")))) == ["report_data"]


@given(A_CASE, POLICIES, POLICIES, POLICIES)
def test_the_order_in_which_policies_are_combined_does_not_matter(
    case: str, one: Policy, two: Policy, three: Policy
) -> None:
    assert accepted(case, all_of(one, any_of(two, three))) == accepted(
        case, any_of(all_of(two, one), all_of(three, one))
    )


def test_combining_multiplies_alternatives_up_to_a_limit() -> None:
    many = Policy(any_of=[[ANY]] * 100)
    with pytest.raises(ConfigError, match=f"More than {ALTERNATIVES_MAX}"):
        all_of(*[many] * 20)


@pytest.mark.parametrize(
    ("rules", "alternatives", "words"),
    [
        ((), [], "is empty"),
        ((), [[]], "is empty"),
        ((ANY,), [[]], "is empty"),
        ((TcbStatuses(),), [], "which enclave"),
        ((), [[ANY], [TcbStatuses()]], r"any_of\[1\] does not say which enclave"),
    ],
)
def test_a_policy_that_would_accept_anybody_is_refused(
    rules: tuple[Rule, ...], alternatives: list[list[Rule]], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Policy(*rules, any_of=alternatives)


def test_combining_nothing_is_refused() -> None:
    for combine in (all_of, any_of):
        with pytest.raises(ConfigError, match="is empty"):
            combine()


@pytest.mark.parametrize(
    "make",
    [
        lambda: MrEnclave([]),
        lambda: MrEnclave([bytes(31)]),
        lambda: Signer([bytes(33)], (1,), 1),
        lambda: Signer([bytes(32)], (), 1),
        lambda: Signer([bytes(32)], (0x1_0000,), 1),
        lambda: Signer([bytes(32)], (1,), -1),
        lambda: ReportData(b""),
        lambda: ReportDataPrefix(bytes(65)),
        lambda: TcbStatuses([]),
        lambda: TcbStatuses([TcbStatus.REVOKED]),
        lambda: AcceptedAdvisories("INTEL-SA-00334"),
        lambda: MinimumTcbEvaluationDataNumber(-1),
        lambda: CollateralGrace(-DAY),
        lambda: CollateralGrace(366 * DAY),
    ],
)
def test_a_rule_that_can_not_be_meant_is_refused(make: Callable[[], Rule]) -> None:
    with pytest.raises(ConfigError):
        make()


@dataclass(frozen=True)
class FromOneFamily(Rule):
    """A rule of one's own, as docs/policy.md has it."""

    NAME: ClassVar = "fmspc"
    fmspc: bytes

    def problem(self, verified: VerifiedQuote) -> str | None:
        return None if verified.supplemental.platform.fmspc == self.fmspc else "another family"


def test_rules_of_ones_own_take_part() -> None:
    fmspc = verify_case(CURRENT).supplemental.platform.fmspc
    assert not names(CURRENT, FromOneFamily(fmspc))
    with pytest.raises(PolicyError) as refused:
        appraise(verify_case(CURRENT), Policy(ANY, FromOneFamily(bytes(6))))
    assert refused.value.violations == (Violation("fmspc", "another family"),)


def test_an_unverified_quote_can_not_be_appraised_says_mypy(tmp_path: Path) -> None:
    unverified = ("read_quote(b'')", "b''", "None")
    (tmp_path / "wrong.py").write_text(
        "from quotehelper.sgx.quote import read_quote\n"
        "from quotehelper.verification.policy import Policy, appraise\n"
        "def judge(policy: Policy) -> None:\n" + "".join(f"    appraise({each}, policy)\n" for each in unverified)
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "wrong.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.count('Argument 1 to "appraise" has incompatible type') == len(unverified)
