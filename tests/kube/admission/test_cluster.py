from __future__ import annotations

from typing import Any

import pytest

from pods import pod, sgx
from quotehelper.errors import DecodeError
from quotehelper.kube.admission.cluster import SELECTORS_LIMIT, ClusterView, Node, may_run_on
from quotehelper.kube.admission.pod import Pod

NODE = Node("a", {"zone": "1", "epc": "128"}, helper_ready=True)


def affine(*rules: dict[str, Any], part: str = "matchExpressions") -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{part: list(rules)}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def rule(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, True),
        ({"nodeName": "a"}, True),
        ({"nodeName": "b"}, False),
        ({"nodeSelector": {"zone": "1"}}, True),
        ({"nodeSelector": {"zone": "1", "disk": "ssd"}}, False),
        (affine(rule("zone", "In", "1", "2")), True),
        (affine(rule("zone", "In", "2")), False),
        (affine(rule("zone", "NotIn", "1")), False),
        (affine(rule("disk", "NotIn", "ssd")), True),
        (affine(rule("zone", "Exists")), True),
        (affine(rule("disk", "Exists")), False),
        (affine(rule("disk", "DoesNotExist")), True),
        (affine(rule("zone", "DoesNotExist")), False),
        (affine(rule("epc", "Gt", "64")), True),
        (affine(rule("epc", "Gt", "128")), False),
        (affine(rule("epc", "Lt", "129")), True),
        (affine(rule("epc", "Lt")), False),
        (affine(rule("disk", "Gt", "1")), False),
        (affine(rule("zone", "Resembles", "1")), True),
        (affine(rule("zone", "In", "1"), rule("disk", "Exists")), False),
        (affine(rule("metadata.name", "In", "a"), part="matchFields"), True),
        (affine(rule("metadata.name", "In", "b"), part="matchFields"), False),
        (affine(), False),
    ],
)
def test_selectors_decide_as_the_scheduler_does(spec: dict[str, Any], expected: bool) -> None:  # noqa: FBT001  a row's outcome
    assert may_run_on(Pod(pod(sgx(), **spec)), NODE) is expected


def test_one_term_of_several_is_enough() -> None:
    terms = [{"matchExpressions": [rule("zone", "In", "2")]}, {"matchExpressions": [rule("zone", "In", "1")]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    assert may_run_on(Pod(pod(sgx(), affinity={"nodeAffinity": required})), NODE)


def test_preferences_keep_nobody_away() -> None:
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]}
    assert may_run_on(Pod(pod(sgx(), affinity={"nodeAffinity": preferred})), NODE)


def test_a_pod_with_more_rules_than_are_looked_at_can_not_be_told() -> None:
    view = ClusterView((Node("a", {"zone": "1"}, helper_ready=False),))
    many = affine(rule("zone", "In", "1", *map(str, range(SELECTORS_LIMIT))))
    assert not view.lacks_helper(Pod(pod(sgx(), **many)))
    assert view.lacks_helper(Pod(pod(sgx(), **affine(rule("zone", "In", "1")))))


def test_a_malformed_selector_is_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        may_run_on(Pod(pod(sgx(), nodeSelector=["zone"])), NODE)
