from __future__ import annotations

import json
from typing import Any

import pytest

from pods import ALLOWING, AZURE, EPC, QUOTING, apply_patch, container, patch_of, pod, review, sgx
from quotehelper.errors import DecodeError
from quotehelper.kube.admission.review import REVIEW_LIMIT_BYTES, judge, read_review, write_answer


def answer(document: dict[str, Any], *, by_namespace: bool = False) -> bytes:
    told = read_review(json.dumps(document).encode())
    return write_answer(told, judge(told, ALLOWING, None, by_namespace=by_namespace))


def test_an_answer_carries_the_questions_uid_and_a_patch() -> None:
    raw = pod(sgx(), annotations={QUOTING: "out-of-process"})
    told = answer(review(raw, uid="0-1-2"))
    document = json.loads(told)
    assert document["apiVersion"] == "admission.k8s.io/v1"
    assert document["kind"] == "AdmissionReview"
    assert document["response"]["uid"] == "0-1-2"
    assert document["response"]["allowed"] is True
    assert document["response"]["patchType"] == "JSONPatch"
    assert len(apply_patch(raw, patch_of(told))["spec"]["volumes"]) == 1


def test_a_pod_without_sgx_gets_the_shortest_answer() -> None:
    assert json.loads(answer(review(pod(container()))))["response"] == {"uid": "7f0c", "allowed": True}


def test_a_denial_has_a_message_and_no_patch() -> None:
    response = json.loads(answer(review(pod(container("app", {AZURE: "1.5"})))))["response"]
    assert response["allowed"] is False
    assert response["status"]["code"] == 403
    assert "no whole number of MiB" in response["status"]["message"]
    assert "patch" not in response


def test_warnings_are_passed_on() -> None:
    response = json.loads(answer(review(pod(container("app", {"sgx.intel.com/ecp": "1"})))))["response"]
    assert [text.startswith('container "app" asks for') for text in response["warnings"]] == [True]


@pytest.mark.parametrize(
    "request_fields",
    [
        {"operation": "UPDATE"},
        {"operation": "DELETE", "object": None},
        {"subResource": "ephemeralcontainers"},
        {"resource": {"group": "apps", "version": "v1", "resource": "deployments"}},
        {"object": None},
    ],
)
def test_all_but_the_creation_of_pods_is_allowed_as_it_is(request_fields: dict[str, Any]) -> None:
    document = review(pod(container("app", {EPC: "0.5"})), **request_fields)
    assert json.loads(answer(document))["response"] == {"uid": "7f0c", "allowed": True}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps({**review({}), "apiVersion": "admission.k8s.io/v1beta1"}).encode(),
        json.dumps({**review({}), "kind": "Pod"}).encode(),
        json.dumps({**review({}), "request": []}).encode(),
        json.dumps(review({}, uid="")).encode(),
        json.dumps(review({}, uid="x" * 200)).encode(),
        json.dumps(review({}, namespace=3)).encode(),
        json.dumps(review({})).encode() + b" " * REVIEW_LIMIT_BYTES,
    ],
)
def test_what_is_no_review_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_review(data)


def test_the_label_of_a_namespace_comes_with_the_way_that_the_review_took() -> None:
    assert len(patch_of(answer(review(pod(sgx())), by_namespace=True))) > len(patch_of(answer(review(pod(sgx())))))


def test_a_hostile_pod_of_the_greatest_size_takes_bounded_work() -> None:
    """Thousands of near misses: what is compared with each other is limited, so the count of edits stays small."""
    names = {f"sgx.intel.com/{n:03x}": "1" for n in range(4096)}
    annotations = {f"sgx.intel.com/quote-{n:04x}xxxx": "x" for n in range(4096)}
    annotations[QUOTING] = ",".join(f"ap{n}=out-of-proces" for n in range(1000))
    raw = pod(*(container(f"c{n}", names) for n in range(8)), annotations=annotations)
    response = json.loads(answer(review(raw)))["response"]
    assert response["allowed"] is True
    assert len(response["warnings"]) < 200
