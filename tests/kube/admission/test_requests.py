from __future__ import annotations

from typing import Any

import pytest

from pods import ALLOWING, AZURE, ENCLAVE, EPC, PROVISION, QUOTING, admitted, container, judged, kinds, pod
from quotehelper.kube.admission.settings import AdmissionSettings
from quotehelper.kube.resources import AZURE_EPC

ALIBABA = "alibabacloud.com/sgx_epc_MiB"
OPEN_ENCLAVE = "openenclave.io/sgx_epc_MiB"
IN_MIB = AdmissionSettings(epc=AZURE_EPC, enclave=None, provision=None)


def limits_after(limits: dict[str, Any], settings: AdmissionSettings = ALLOWING) -> dict[str, Any]:
    resources = admitted(pod(container("app", limits)), settings)["spec"]["containers"][0]["resources"]
    assert resources["limits"] == resources["requests"]
    found: dict[str, Any] = resources["limits"]
    return found


@pytest.mark.parametrize(
    ("name", "amount", "translated"),
    [
        (AZURE, "10", "10Mi"),
        (ALIBABA, "1024", "1Gi"),
        (OPEN_ENCLAVE, "3", "3Mi"),
        (EPC, "10Mi", "10Mi"),
        (EPC, "7", "7"),
    ],
)
def test_every_name_of_epc_becomes_the_accounting_resource(name: str, amount: str, translated: str) -> None:
    assert limits_after({"cpu": "1", name: amount}) == {"cpu": "1", EPC: translated, ENCLAVE: "1"}


@pytest.mark.parametrize(
    ("name", "amount", "translated"),
    [(EPC, "10Mi", "10"), (ALIBABA, "5", "5"), (AZURE, "10", "10"), (EPC, "1Gi", "1024")],
)
def test_the_accounting_resource_can_count_in_mib(name: str, amount: str, translated: str) -> None:
    assert limits_after({name: amount}, IN_MIB) == {AZURE: translated}


def test_bytes_are_rounded_up_to_whole_mib_and_the_user_told() -> None:
    assert limits_after({EPC: "1025Ki"}, IN_MIB) == {AZURE: "2"}
    assert kinds(judged(pod(container("app", {EPC: "1025Ki"})), IN_MIB)) == ["epc-rounded"]


def test_epc_asked_for_twice_counts_once_and_the_user_is_told_if_amounts_differ() -> None:
    assert limits_after({AZURE: "10", EPC: "10Mi"}) == {EPC: "10Mi", ENCLAVE: "1"}
    assert kinds(judged(pod(container("app", {AZURE: "10", EPC: "10Mi"})))) == []
    assert limits_after({AZURE: "10", EPC: "12Mi"}) == {EPC: "12Mi", ENCLAVE: "1"}
    assert kinds(judged(pod(container("app", {AZURE: "10", EPC: "12Mi"})))) == ["epc-twice"]


def test_nothing_is_asked_for_by_0() -> None:
    assert limits_after({AZURE: "0", EPC: "0"}) == {AZURE: "0", EPC: "0"}


def test_a_device_that_was_set_to_0_is_asked_for_with_epc() -> None:
    assert limits_after({EPC: "1Mi", ENCLAVE: "0"}) == {EPC: "1Mi", ENCLAVE: "1"}


def test_devices_asked_for_already_stay_as_they_are() -> None:
    assert limits_after({EPC: "1Mi", ENCLAVE: "2", PROVISION: "1"}) == {EPC: "1Mi", ENCLAVE: "2", PROVISION: "1"}


def test_limits_without_requests_are_enough() -> None:
    raw = pod(container("app", resources={"limits": {AZURE: 10}}))
    assert admitted(raw)["spec"]["containers"][0]["resources"] == {"limits": {EPC: "10Mi", ENCLAVE: "1"}}


def denial(resources: dict[str, Any], annotations: dict[str, str] | None = None, *, namespace: str = "trusted") -> str:
    verdict = judged(pod(container("app", resources=resources), annotations=annotations), namespace=namespace)
    assert verdict.denial
    assert verdict.patch == ()
    return verdict.denial


@pytest.mark.parametrize(
    ("resources", "cause", "remedy", "link"),
    [
        ({"limits": {AZURE: "500m"}}, "no whole number of MiB", "Round it up", "#not-whole"),
        ({"limits": {EPC: "0.5"}}, "no whole number of bytes", "10Mi", "#not-whole"),
        ({"limits": {ENCLAVE: "1500m"}}, "no whole number of devices", "Round it up", "#not-whole"),
        ({"limits": {EPC: "ten"}}, '"ten"', "Round it up", "#not-whole"),
        ({"requests": {EPC: "1Mi"}}, "without a limit", "resources.limits", "#limit-missing"),
        (
            {"limits": {EPC: "2Mi"}, "requests": {EPC: "1Mi"}},
            "another amount",
            "Leave resources.requests",
            "#request-is",
        ),
        ({"limits": {EPC: "-1"}}, "asks for -1", "Ask for 1 or more", "#negative"),
    ],
)
def test_what_can_not_work_is_denied_with_cause_remedy_and_link(
    resources: dict[str, Any], cause: str, remedy: str, link: str
) -> None:
    message = denial(resources)
    assert 'container "app"' in message
    assert cause in message
    assert remedy in message
    assert f"docs/admission.md{link}" in message


def test_amounts_are_compared_by_value() -> None:
    assert (
        judged(pod(container("app", resources={"limits": {EPC: "1Mi"}, "requests": {EPC: "1048576"}}))).denial is None
    )


@pytest.mark.parametrize("annotations", [{QUOTING: "in-process"}, {"sgx.intel.com/quote-provider": "app"}])
def test_in_process_is_denied_where_the_namespace_may_not(annotations: dict[str, str]) -> None:
    message = denial({"limits": {EPC: "1Mi"}}, annotations=annotations, namespace="other")
    assert "in-process-namespaces" in message
    assert "docs/admission.md#in-process-not-allowed" in message


def test_in_process_is_allowed_everywhere_if_the_operator_says_so() -> None:
    settings = AdmissionSettings(in_process_namespaces=frozenset({"*"}))
    raw = pod(container("app", {EPC: "1Mi"}), annotations={QUOTING: "in-process"})
    assert judged(raw, settings, namespace="any").denial is None


def test_in_process_needs_no_permission_where_epc_alone_hands_out_devices() -> None:
    raw = pod(container("app", {AZURE: "1"}), annotations={QUOTING: "in-process"})
    assert judged(raw, IN_MIB, namespace="any").denial is None


def test_a_pod_that_asks_for_provision_itself_is_not_denied() -> None:
    raw = pod(container("app", {EPC: "1Mi", PROVISION: "1"}), annotations={QUOTING: "in-process"})
    assert judged(raw, namespace="other").denial is None


def test_resources_of_others_are_never_judged() -> None:
    resources = {"limits": {"example.com/gpu": "500m"}, "requests": {"example.com/gpu": "2"}}
    assert judged(pod(container("app", resources=resources))).denial is None
