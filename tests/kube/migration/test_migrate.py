"""Manifests of other systems become ours; the samples are written in the shape of those systems' own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pods import admitted, judged
from quotehelper.errors import DecodeError
from quotehelper.kube.admission.pod import Pod
from quotehelper.kube.admission.requests import read_requests
from quotehelper.kube.admission.settings import AdmissionSettings
from quotehelper.kube.migration.editing import TEXT_LIMIT
from quotehelper.kube.migration.migrate import migrate_text
from quotehelper.kube.migration.rules import Rule
from quotehelper.kube.migration.workloads import Target
from quotehelper.kube.resources import AZURE_EPC, ENCLAVE, INTEL_EPC

if TYPE_CHECKING:
    from collections.abc import Iterator

MANIFESTS = Path(__file__).parent / "manifests"
SAMPLES = ["aks-job", "intel", "alibaba"]
TARGET = Target(INTEL_EPC, ENCLAVE)
IN_MIB = Target(AZURE_EPC, None)


def sample(name: str) -> str:
    return (MANIFESTS / f"{name}.yaml").read_text()


def pod_manifest(spec: str, annotations: str = "") -> str:
    return f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n{annotations}spec:\n{spec}"


def rules(text: str, target: Target = TARGET) -> list[str]:
    return [change.rule.name for change in migrate_text(text, target).changes]


def pods_of(text: str) -> Iterator[dict[str, Any]]:
    """The pods of a stream of manifests, as a controller would make them of their templates."""
    for document in yaml.safe_load_all(text):
        if document is not None and "spec" in document and "hard" not in document["spec"]:
            pod = document["spec"].get("template", document)
            yield {"metadata": pod.get("metadata", {}), "spec": pod["spec"]}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_becomes_what_it_should(name: str) -> None:
    assert migrate_text(sample(name), TARGET).text == sample(f"{name}.migrated")


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("target", [TARGET, IN_MIB])
def test_migrating_again_changes_nothing(name: str, target: Target) -> None:
    once = migrate_text(sample(name), target)
    again = migrate_text(once.text, target)
    assert again.text == once.text
    assert all(change.rule.is_remark for change in again.changes)


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_migrated_asks_for_the_same_epc(name: str) -> None:
    def amounts(text: str) -> list[int]:
        return [read_requests(each).size_bytes for raw in pods_of(text) for each in Pod(raw).containers]

    kept = [size for size in amounts(sample(f"{name}.migrated")) if size]
    before = amounts(sample(name))
    assert kept == before[len(before) - len(kept) :] if name != "intel" else kept == [64 << 20] * 2


@pytest.mark.parametrize("name", SAMPLES)
def test_the_webhook_has_nothing_to_add_or_to_say_about_what_is_wired(name: str) -> None:
    for raw in pods_of(sample(f"{name}.migrated")):
        assert judged(raw, AdmissionSettings()).warnings == ()
        if not raw["metadata"].get("annotations"):
            assert admitted(raw, AdmissionSettings()) == raw


@pytest.mark.parametrize("name", SAMPLES)
def test_environment_values_are_text_afterwards(name: str) -> None:
    for raw in pods_of(sample(f"{name}.migrated")):
        for container in raw["spec"]["containers"]:
            assert all(isinstance(variable["value"], str) for variable in container.get("env", ()))


def test_every_rule_has_its_row_in_the_document() -> None:
    document = (Path(__file__).parents[3] / "docs/migration.md").read_text()
    told = re.findall(r"^\| `([\w-]+)` \|", document.partition("## What is changed")[2], re.MULTILINE)
    changed, remarked = (
        [rule.name.lower().replace("_", "-") for rule in Rule if rule.is_remark is remark] for remark in (False, True)
    )
    assert sorted(told) == sorted(changed + remarked)
    assert told[: len(changed)] == changed


def test_each_change_says_line_object_before_after_and_why() -> None:
    change = migrate_text(sample("aks-job"), TARGET).changes[0]
    assert change.as_json() == {
        "line": 20,
        "object": "Job/sgx-test",
        "rule": "env-text",
        "changed": True,
        "before": "SGX_AESM_ADDR: 1",
        "after": 'SGX_AESM_ADDR: "1"',
        "reason": Rule.ENV_TEXT.value,
    }


def test_every_line_that_is_not_explained_is_as_it_was() -> None:
    old, new = sample("aks-job").splitlines(), migrate_text(sample("aks-job"), TARGET)
    touched = {change.line for change in new.changes}
    kept = [line for number, line in enumerate(old, 1) if number not in touched]
    assert [line for line in new.text.splitlines() if line in kept] == kept


def test_json_stays_json() -> None:
    document = yaml.safe_load(sample("aks-job"))
    for indent in (None, 2):
        migrated = migrate_text(json.dumps(document, indent=indent), TARGET).text
        assert json.loads(migrated) == yaml.safe_load(sample("aks-job.migrated")) | {
            "spec": yaml.safe_load(sample("aks-job.migrated").replace("enclave: 1", 'enclave: "1"'))["spec"]
        }


def test_line_ends_stay() -> None:
    crlf = sample("aks-job").replace("\n", "\r\n")
    assert migrate_text(crlf, TARGET).text == sample("aks-job.migrated").replace("\n", "\r\n")


def test_a_last_line_without_an_end_stays_one() -> None:
    assert migrate_text(sample("aks-job").rstrip("\n"), TARGET).text == sample("aks-job.migrated").rstrip("\n")


def test_lists_and_cron_jobs_are_entered() -> None:
    job = yaml.safe_load(sample("aks-job"))
    cron = {"kind": "CronJob", "metadata": {"name": "c"}, "spec": {"jobTemplate": {"spec": job["spec"]}}}
    text = yaml.safe_dump({"kind": "List", "items": [cron, job]}, sort_keys=False)
    migrated = yaml.safe_load(migrate_text(text, TARGET).text)
    wanted = yaml.safe_load(sample("aks-job.migrated"))["spec"]
    assert migrated["items"][0]["spec"]["jobTemplate"]["spec"] == wanted
    assert migrated["items"][1]["spec"] == wanted


def test_provision_goes_from_who_asks_and_stays_with_who_hosts() -> None:
    limits = "    resources: {limits: {sgx.intel.com/epc: 1Mi, sgx.intel.com/provision: 1}}\n"
    asks = pod_manifest("  containers:\n  - name: a\n    env: [{name: SGX_AESM_ADDR, value: '1'}]\n" + limits)
    hosts = pod_manifest("  containers:\n  - name: a\n" + limits)
    assert "provision" not in migrate_text(asks, TARGET).text
    assert "provision" in migrate_text(hosts, TARGET).text


def test_a_provider_in_the_pod_keeps_its_privilege_and_writes_its_directory() -> None:
    text = pod_manifest(
        "  containers:\n  - name: aesmd\n    volumeMounts: [{name: v, mountPath: /var/run/aesmd}]\n"
        "    resources: {limits: {sgx.intel.com/enclave: 1, sgx.intel.com/epc: 1Mi, sgx.intel.com/provision: 1}}\n"
        "  volumes: [{name: v, hostPath: {path: /var/run/aesmd, type: DirectoryOrCreate}}]\n",
        "  annotations: {sgx.intel.com/quote-provider: aesmd}\n",
    )
    assert migrate_text(text, TARGET).text == text


def test_a_member_alone_in_its_mapping_leaves_an_empty_one() -> None:
    text = pod_manifest(
        "  containers:\n  - name: a\n    env: [{name: SGX_AESM_ADDR, value: '1'}]\n    resources:\n      limits:\n"
        "        sgx.intel.com/provision: 1\n      requests: {sgx.intel.com/provision: 1}\n"
    )
    migrated = yaml.safe_load(migrate_text(text, TARGET).text)
    assert migrated["spec"]["containers"][0]["resources"] == {"limits": {}, "requests": {}}


def test_an_old_name_beside_the_new_one_goes() -> None:
    text = pod_manifest(
        "  containers:\n  - name: a\n    resources:\n      limits:\n        sgx.intel.com/epc: 1Mi\n"
        "        kubernetes.azure.com/sgx_epc_mem_in_MiB: 1\n"
    )
    limits = yaml.safe_load(migrate_text(text, TARGET).text)["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"sgx.intel.com/epc": "1Mi", "sgx.intel.com/enclave": 1}


def test_a_name_that_never_worked_is_understood() -> None:
    text = pod_manifest("  containers:\n  - name: a\n    resources: {limits: {sgx.intel.com/sgx_epc_mem_in_MiB: 10}}\n")
    assert "sgx.intel.com/epc: 10Mi" in migrate_text(text, TARGET).text


ONE = (
    "  containers:\n  - name: a\n    volumeMounts:\n    - name: v\n      mountPath: {mount}\n{more}"
    "  volumes:\n  - name: v\n    hostPath:\n      path: {host}\n"
)
SOCKET = "/var/run/aesmd/aesm.socket"


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (pod_manifest(ONE.format(mount="/run/here.socket", host=SOCKET, more="")), ["SOCKET_BY_HAND"]),
        (
            pod_manifest(ONE.format(mount=SOCKET, host="/var/run/aesmd", more="      subPath: aesm.socket\n")),
            ["SOCKET_BY_HAND"],
        ),
        (pod_manifest(ONE.format(mount="/dev/sgx", host="/dev/sgx", more="")), ["DEVICE_MOUNT"]),
        (
            pod_manifest("  containers:\n  - name: a\n    resources: {limits: {sgx.intel.com/epc: 0.5}}\n"),
            ["EPC_AMOUNT"],
        ),
        (
            pod_manifest("  containers: []\n  tolerations: [{key: kubernetes.azure.com/sgx_epc_mem_in_MiB}]\n"),
            ["TOLERATION"],
        ),
        (
            pod_manifest("  containers: []\n", "  annotations: {sgx.intel.com/quote-provider: aesmd}\n"),
            ["QUOTE_PROVIDER"],
        ),
        (pod_manifest("  containers: []\n", "  annotations: {sgx.intel.com/quote-provider: app}\n"), ["IN_PROCESS"]),
        ("kind: ConfigMap\nmetadata: {name: sgx-attestation-conf}\n", ["COLLATERAL_CONFIG"]),
    ],
)
def test_what_a_person_must_do_is_remarked_and_left_as_it_is(manifest: str, expected: list[str]) -> None:
    migrated = migrate_text(manifest, TARGET)
    assert [change.rule.name for change in migrated.changes] == expected
    assert migrated.text == manifest


def test_a_directory_that_would_be_created_is_waited_for() -> None:
    text = pod_manifest(
        ONE.format(mount="/var/run/aesmd", host="/var/run/aesmd", more="") + "      type: DirectoryOrCreate\n"
    )
    assert rules(text) == ["READ_ONLY", "DIRECTORY_TYPE"]
    assert "type: Directory\n" in migrate_text(text, TARGET).text


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("DaemonSet", "intel/intel-sgx-plugin:0.34"),
        ("DaemonSet", "registry.example:5000/sgx-device-plugin@sha256:00"),
        ("DaemonSet", "registry.example/oe-sgx-device-plugin:0.1"),
        ("DaemonSet", "intel/sgx-aesmd-demo"),
        ("DaemonSet", "mcr.example/aks/acc/sgx-attestation:3.3.1"),
        ("Deployment", "intel/intel-sgx-admissionwebhook:devel"),
        ("Deployment", "mcr.example/aks/acc/sgx-webhook:1.2.2"),
    ],
)
def test_what_quotehelper_takes_the_place_of_is_left_out(kind: str, image: str) -> None:
    spec = {"template": {"spec": {"containers": [{"name": "x", "image": image}]}}}
    text = yaml.safe_dump({"kind": kind, "metadata": {"name": "n"}, "spec": spec})
    migrated = migrate_text(text, TARGET)
    assert [change.rule for change in migrated.changes] == [Rule.REPLACED]
    assert list(yaml.safe_load_all(migrated.text)) == []


@pytest.mark.parametrize("image", ["registry.example/my-sgx-app", "registry.example/sgx-aesmd-exporter", "aesmd/app"])
def test_applications_are_never_left_out(image: str) -> None:
    spec = {"template": {"spec": {"containers": [{"name": "x", "image": image}]}}}
    text = yaml.safe_dump({"kind": "DaemonSet", "metadata": {"name": "intel-sgx-plugin"}, "spec": spec})
    assert migrate_text(text, TARGET).text == text


def test_an_object_that_runs_something_else_beside_is_not_left_out() -> None:
    images = [{"name": "a", "image": "intel/intel-sgx-plugin"}, {"name": "b", "image": "registry.example/exporter"}]
    text = yaml.safe_dump({"kind": "DaemonSet", "spec": {"template": {"spec": {"containers": images}}}})
    assert migrate_text(text, TARGET).text == text


def test_a_file_of_json_that_would_be_left_empty_is_refused() -> None:
    spec = {"template": {"spec": {"containers": [{"name": "x", "image": "intel/intel-sgx-plugin"}]}}}
    with pytest.raises(DecodeError, match="can't hold nothing"):
        migrate_text(json.dumps({"kind": "DaemonSet", "metadata": {"name": "n"}, "spec": spec}), TARGET)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "line 1"),
        ("spec: {{ .Values.spec }}\nb: [", "helm template"),
        ("a: \x1b", "not YAML"),
        ("[" * 5000, "not YAML"),
        ("a: &x [*y]", "undefined alias"),
        (" " * (TEXT_LIMIT + 1), "characters"),
    ],
)
def test_what_is_no_yaml_is_refused_with_the_place(text: str, told: str) -> None:
    with pytest.raises(DecodeError, match=told):
        migrate_text(text, TARGET)


def test_aliases_that_would_explode_do_not() -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 30))
    text = "kind: List\nl0: &l0 [x]\n" + levels + "items: *l29\n"
    assert migrate_text(text, TARGET).text == text


def test_an_object_that_is_listed_again_by_alias_is_visited_once() -> None:
    inner = yaml.safe_dump(yaml.safe_load(sample("aks-job")), default_flow_style=True, width=10**6).strip()
    text = f"kind: List\nitems: [&job {inner}, {', '.join(['*job'] * 1000)}]\n"
    migrated = migrate_text(text, TARGET)
    alone = migrate_text(sample("aks-job"), TARGET)
    assert {change[2:] for change in migrated.changes} == {change[2:] for change in alone.changes}
    assert migrated.text.count("enclave") == alone.text.count("enclave")


def test_lists_of_lists_by_alias_do_not_explode() -> None:
    levels = [f"l{n}: &l{n} {{kind: List, items: [{', '.join([f'*l{n - 1}'] * 200)}]}}" for n in range(1, 4)]
    text = "\n".join(["kind: List", "l0: &l0 {kind: Pod}", *levels, "items: [*l3]", ""])
    assert migrate_text(text, TARGET).text == text


def test_an_anchored_amount_is_changed_in_its_place() -> None:
    text = pod_manifest(
        "  containers:\n  - name: a\n    resources:\n      limits: {kubernetes.azure.com/sgx_epc_mem_in_MiB: &n 10}\n"
        "      requests: {kubernetes.azure.com/sgx_epc_mem_in_MiB: *n}\n"
    )
    resources = yaml.safe_load(migrate_text(text, TARGET).text)["spec"]["containers"][0]["resources"]
    assert resources["limits"]["sgx.intel.com/epc"] == resources["requests"]["sgx.intel.com/epc"] == "10Mi"


NAMES = st.sampled_from(
    ["sgx.intel.com/epc", "kubernetes.azure.com/sgx_epc_mem_in_MiB", "alibabacloud.com/sgx_epc_MiB", "cpu"]
)
AMOUNTS = st.dictionaries(NAMES, st.sampled_from([1, "2", 10, "0.5"]), max_size=3)
PATHS = st.sampled_from(["/var/run/aesmd", SOCKET, "/data", "/run/aesmd/"])
CONTAINERS = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "aesmd"])},
    optional={
        "resources": st.fixed_dictionaries({}, optional={"limits": AMOUNTS, "requests": AMOUNTS}),
        "env": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["SGX_AESM_ADDR", "B"]), "value": st.sampled_from([0, 1, "", "x", True])}
            )
        ),
        "volumeMounts": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["v", "w"]), "mountPath": PATHS}, optional={"subPath": st.just("s")}
            ),
            max_size=3,
        ),
        "args": st.lists(st.text(alphabet="ab:#'\"-{ \n", max_size=8), max_size=2),
    },
)
MANIFEST = st.builds(
    lambda containers, volumes, annotations: {
        "kind": "Pod",
        "metadata": {"name": "p", "annotations": annotations},
        "spec": {"containers": containers, "volumes": volumes},
    },
    st.lists(CONTAINERS, max_size=3),
    st.lists(
        st.fixed_dictionaries(
            {"name": st.sampled_from(["v", "w"])},
            optional={
                "hostPath": st.fixed_dictionaries(
                    {"path": PATHS}, optional={"type": st.sampled_from(["Socket", "Directory"])}
                )
            },
        ),
        max_size=2,
    ),
    st.dictionaries(st.just("sgx.intel.com/quote-provider"), st.sampled_from(["aesmd", "a"]), max_size=1),
)


@given(MANIFEST, st.sampled_from([None, True, False]), st.sampled_from([TARGET, IN_MIB]))
def test_any_pod_in_any_style_is_migrated_once_and_only_where_it_must(
    manifest: dict[str, Any],
    flow: bool | None,  # noqa: FBT001  hypothesis fills it in
    target: Target,
) -> None:
    text = yaml.safe_dump(manifest, default_flow_style=flow, sort_keys=False)
    once = migrate_text(text, target)
    assert migrate_text(once.text, target).text == once.text
    after = yaml.safe_load(once.text)
    assert list(after["spec"]) == list(manifest["spec"])
    for old, new in zip(manifest["spec"]["containers"], after["spec"]["containers"], strict=True):
        assert new.get("args") == old.get("args")
        assert len(new.get("env", ())) == len(old.get("env", ()))
        assert all(isinstance(variable["value"], str) for variable in new.get("env", ()))


@given(st.text(alphabet="abk:-{}[]&*!|>'\"#, \n\t%@`?~1", max_size=60))
def test_any_text_is_migrated_or_refused(text: str) -> None:
    try:
        migrated = migrate_text(text, TARGET)
    except DecodeError:
        return
    assert migrated.text == text
