"""Each kind of warning: when it is given, and when not."""

from __future__ import annotations

from typing import Any

import pytest

from pods import EPC, PROVIDER, PROVISION, QUOTING, container, judged, kinds, pod, sgx
from quotehelper.kube.admission.cluster import ClusterView, Node
from quotehelper.kube.admission.remarks import (
    ALL_WARNINGS_CHARACTERS,
    WARNING_CHARACTERS,
    Caution,
    CautionKind,
    as_texts,
)

OUT = {QUOTING: "out-of-process"}
AESM = {"name": "SGX_AESM_ADDR", "value": "1"}
DIRECTORY = {"name": "x", "mountPath": "/var/run/aesmd"}


def test_an_ordinary_pod_of_each_kind_gets_no_warning() -> None:
    for chosen in (None, OUT, {QUOTING: "in-process"}, {PROVIDER: "aesmd"}, {PROVIDER: "app"}, {EPC: "1Mi"}):
        verdict = judged(pod(sgx(), container("plain"), annotations=chosen))
        assert verdict.warnings == ()


@pytest.mark.parametrize("way", [{"env": [AESM]}, {"volumeMounts": [DIRECTORY]}])
def test_an_in_process_container_with_the_way_out_is_told(way: dict[str, Any]) -> None:
    assert kinds(judged(pod(sgx(**way), annotations={QUOTING: "in-process"}))) == ["both-modes-in-container"]


@pytest.mark.parametrize("annotations", [OUT, None])
def test_an_out_of_process_container_with_provision_is_told(annotations: dict[str, str] | None) -> None:
    raw = pod(container("app", {EPC: "1Mi", PROVISION: "1"}, env=[AESM]), annotations=annotations)
    assert kinds(judged(raw)) == ["both-modes-in-container"]


def test_both_modes_in_one_pod_are_told() -> None:
    verdict = judged(pod(sgx("a"), sgx("b"), annotations={QUOTING: "a=in-process,b=out-of-process"}))
    assert kinds(verdict) == ["both-modes-in-pod"]
    assert '"a"' in verdict.warnings[0]
    assert '"b"' in verdict.warnings[0]


@pytest.mark.parametrize(
    ("mount", "host"),
    [
        ("/var/run/aesmd/aesm.socket", "/var/run/aesmd/aesm.socket"),
        ("/elsewhere/aesm.socket", "/run/aesmd/aesm.socket"),
        ("/var/run/aesmd/aesm.socket", "/mnt/socket"),
    ],
)
def test_a_mounted_socket_file_is_told(mount: str, host: str) -> None:
    app = sgx(volumeMounts=[{"name": "s", "mountPath": mount}])
    assert kinds(judged(pod(app, volumes=[{"name": "s", "hostPath": {"path": host}}]))) == ["socket-file"]


@pytest.mark.parametrize("variable", [{"value": "0"}, {"value": ""}, {}])
def test_a_variable_that_was_meant_to_be_off_is_told(variable: dict[str, str]) -> None:
    assert kinds(judged(pod(sgx(env=[{"name": "SGX_AESM_ADDR", **variable}])))) == ["aesm-variable"]


def test_a_variable_from_elsewhere_can_not_be_judged() -> None:
    variable = {"name": "SGX_AESM_ADDR", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}
    assert judged(pod(sgx(env=[variable]))).warnings == ()


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("sgx.intel.com/quote-provder", PROVIDER),
        ("sgx.intel.com/quote_provider", PROVIDER),
        ("sgx.intel.com/qoute-provider", PROVIDER),
        ("quotehelper.dev/quotting", QUOTING),
        ("quotehelper.dev/mode", QUOTING),
        ("quotehelpr.dev/quoting", QUOTING),
        ("sgx.intel.com/ecp", EPC),
    ],
)
def test_a_misspelt_annotation_is_told_with_what_was_meant(key: str, meant: str) -> None:
    verdict = judged(pod(sgx(), annotations={key: "out-of-process"}))
    assert kinds(verdict) == ["annotation-name"]
    assert f"was {meant} meant?" in verdict.warnings[0]


@pytest.mark.parametrize("key", ["example.com/quote", "prometheus.io/scrape", "sgx.example.com/epc-limit"])
def test_annotations_of_others_are_not_taken_for_ours(key: str) -> None:
    assert judged(pod(sgx(), annotations={key: "x"})).warnings == ()


@pytest.mark.parametrize(
    ("annotations", "told"),
    [
        ({QUOTING: "out-of-proces"}, 'was "out-of-process" meant?'),
        ({QUOTING: "ap=out-of-process"}, 'was "app" meant?'),
        ({QUOTING: "app=out-of-process,app=none"}, "declared twice"),
        ({QUOTING: "app=out-of-process,,"}, "is no mode"),
        ({PROVIDER: "aesm"}, 'was "aesmd" meant?'),
        ({PROVIDER: "apq"}, 'was "app" meant?'),
        ({PROVIDER: "app,aesmd"}, "there is no container"),
    ],
)
def test_a_value_that_means_nothing_is_told(annotations: dict[str, str], told: str) -> None:
    verdict = judged(pod(sgx(), annotations=annotations))
    assert set(kinds(verdict)) == {"annotation-value"}
    assert told in verdict.warnings[0]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("sgx.intel.com/ecp", EPC),
        ("sgx.intel.com/enclaves", "sgx.intel.com/enclave"),
        ("kubernetes.azure.com/sgx_epc_mem_in_Mib", "kubernetes.azure.com/sgx_epc_mem_in_MiB"),
        ("sgx.intel.com/sgx_epc_mem_in_MiB", "kubernetes.azure.com/sgx_epc_mem_in_MiB"),
        ("intel.com/sgx_epc_MiB", "alibabacloud.com/sgx_epc_MiB"),
    ],
)
def test_a_misspelt_resource_is_told_with_what_was_meant(name: str, meant: str) -> None:
    verdict = judged(pod(container("app", {name: "10"})))
    assert kinds(verdict) == ["resource-name"]
    assert f"was {meant} meant?" in verdict.warnings[0]


@pytest.mark.parametrize("name", ["nvidia.com/gpu", "sgx.intel.com/qe", "ephemeral-storage", "example.com/epc", "cpu"])
def test_resources_of_others_are_not_taken_for_ours(name: str) -> None:
    assert judged(pod(container("app", {name: "1"}))).warnings == ()


def test_a_named_container_without_epc_is_told() -> None:
    assert kinds(judged(pod(container(), annotations={QUOTING: "app=out-of-process"}))) == ["no-epc"]
    assert kinds(judged(pod(container(), annotations={QUOTING: "app=none"}))) == []


READY = Node("a", {"zone": "1"}, helper_ready=True)
BARE = Node("b", {"zone": "2"}, helper_ready=False)


@pytest.mark.parametrize(
    ("nodes", "spec", "expected"),
    [
        ((READY, BARE), {}, []),
        ((READY, BARE), {"nodeSelector": {"zone": "2"}}, ["no-helper"]),
        ((BARE,), {}, ["no-helper"]),
        ((), {}, []),
        ((READY,), {"nodeSelector": {"zone": "3"}}, []),
    ],
)
def test_no_ready_helper_is_told_if_it_is_known(
    nodes: tuple[Node, ...], spec: dict[str, Any], expected: list[str]
) -> None:
    assert kinds(judged(pod(sgx(), annotations=OUT, **spec), view=ClusterView(nodes))) == expected


def test_what_is_too_old_is_not_known() -> None:
    raw = pod(sgx(), annotations=OUT)
    assert kinds(judged(raw, view=ClusterView((BARE,), age_s=60.0))) == ["no-helper"]
    assert kinds(judged(raw, view=ClusterView((BARE,), age_s=60.1))) == []
    assert kinds(judged(raw, view=None)) == []


def test_helpers_do_not_matter_to_a_pod_that_does_not_ask_them() -> None:
    view = ClusterView((BARE,))
    assert kinds(judged(pod(sgx()), view=view)) == []
    assert kinds(judged(pod(sgx(), annotations={QUOTING: "in-process"}), view=view)) == []
    assert kinds(judged(pod(sgx(), sgx("aesmd"), annotations={PROVIDER: "aesmd"}), view=view)) == []


@pytest.mark.parametrize(
    ("level", "expected"), [("baseline", ["pod-security"]), ("restricted", ["pod-security"]), ("privileged", [])]
)
def test_an_added_hostpath_that_pod_security_refuses_is_told(level: str, expected: list[str]) -> None:
    view = ClusterView((READY,), {"trusted": {"pod-security.kubernetes.io/enforce": level}})
    assert kinds(judged(pod(sgx(), annotations=OUT), view=view)) == expected
    assert kinds(judged(pod(sgx(), view_of="x"), view=view)) == []
    own = pod(sgx(), annotations=OUT, volumes=[{"name": "own", "hostPath": {"path": "/var/run/aesmd"}}])
    assert kinds(judged(own, view=view)) == []


def test_a_socket_of_the_pods_own_is_no_hostpath() -> None:
    view = ClusterView((READY,), {"trusted": {"pod-security.kubernetes.io/enforce": "baseline"}})
    assert kinds(judged(pod(sgx(), sgx("aesmd"), annotations={PROVIDER: "aesmd"}), view=view)) == []


def test_a_namespace_label_without_effect_is_told() -> None:
    view = ClusterView((READY,), {"trusted": {QUOTING: "in-process"}})
    assert kinds(judged(pod(sgx()), view=view)) == ["namespace-label"]
    view = ClusterView((READY,), {"trusted": {QUOTING: "out-of-process"}})
    assert kinds(judged(pod(sgx()), view=view, by_namespace=True)) == []


def test_a_pod_that_can_not_be_read_is_left_alone_and_told() -> None:
    verdict = judged({"spec": {"containers": "none"}})
    assert kinds(verdict) == ["unreadable"]
    assert verdict.patch == ()
    assert verdict.denial is None


def test_warnings_fit_what_the_api_server_passes_on() -> None:
    texts = as_texts([Caution(CautionKind.SOCKET_FILE, f"{n} " + "x" * 400) for n in range(100)])
    assert all(len(text) <= WARNING_CHARACTERS for text in texts)
    assert sum(map(len, texts)) <= ALL_WARNINGS_CHARACTERS
    assert texts[0].endswith("… [socket-file]")
    assert texts[-1].startswith("and 85 more")


def test_every_warning_says_it_all_within_the_limit_for_names_of_the_usual_length() -> None:
    name, path = "a-container-of-thirty-characters", "/var/run/aesmd/aesm.socket"
    app = container(
        name,
        {EPC: "1Mi", PROVISION: "1", "sgx.intel.com/ecp": "1"},
        env=[{"name": "SGX_AESM_ADDR", "value": "0"}],
        volumeMounts=[{"name": "s", "mountPath": path}],
    )
    view = ClusterView((BARE,), {"trusted": {"pod-security.kubernetes.io/enforce": "restricted"}})
    raw = pod(app, container("b"), annotations={QUOTING: f"{name}=out-of-process,b=out-of-process,c=in-process"})
    verdict = judged(raw, view=view)
    assert len(verdict.warnings) == 8
    assert not any("…" in text for text in verdict.warnings)


def test_control_characters_never_reach_a_message() -> None:
    raw = pod(sgx("a\x1b[2J\nb"), annotations={"quotehelper.dev/\x1b": "x", QUOTING: "\n=\x07", "a": 1})  # type: ignore[dict-item]
    assert all(text.isprintable() for text in judged(raw).warnings)
    raw["metadata"]["annotations"].pop("a")
    assert all(text.isprintable() for text in judged(raw).warnings)
    denied = judged(pod(container("\x1b", {EPC: "\x1b"})))
    assert denied.denial
    assert denied.denial.isprintable()
