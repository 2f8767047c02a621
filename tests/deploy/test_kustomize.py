"""deploy/kustomize as it is rendered: valid for every version of Kubernetes, and true to the programs it runs."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from manifests import (
    COMPOSITIONS,
    GATES,
    KUSTOMIZE,
    MINORS,
    OVERLAYS,
    ROOT,
    SINCE,
    Manifest,
    beyond_restricted,
    explained,
    mistakes,
    one,
    rights,
    workloads,
)
from quotehelper.kube.device_plugin.telemetry import COUNTERS, GAUGES, PREFIX
from quotehelper.node.config import Limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALL = (*OVERLAYS, *COMPOSITIONS, *GATES)
INSTALLATIONS = (*OVERLAYS, *COMPOSITIONS)
AZURE_EPC, INTEL_EPC = "kubernetes.azure.com/sgx_epc_mem_in_MiB", "sgx.intel.com/epc"

Rendered = dict[str, list[Manifest]]


def helper(manifests: list[Manifest], name: str = "quotehelper") -> dict[str, Any]:
    spec: dict[str, Any] = one(manifests, "DaemonSet", name)["spec"]
    return spec


def daemon(spec: dict[str, Any]) -> dict[str, Any]:
    (container,) = spec["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def options(container: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in container["args"])}


@pytest.mark.parametrize("minor", MINORS)
def test_everything_conforms_to_the_schemas_of_kubernetes(
    rendered: Rendered, conforming: Callable[[list[Manifest], int], str], minor: int
) -> None:
    given = [each for name in ALL if SINCE.get(name, 0) <= minor for each in rendered[name]]
    assert re.search(r"Valid: [1-9]\d*, Invalid: 0, Errors: 0", conforming(given, minor))


def test_a_misspelt_field_does_not_conform(
    rendered: Rendered, conforming: Callable[[list[Manifest], int], str]
) -> None:
    manifest = yaml.safe_load(yaml.safe_dump(one(rendered["simulated"], "DaemonSet", "quotehelper")))
    manifest["spec"]["template"]["spec"]["priorityClass"] = "system-node-critical"
    with pytest.raises(AssertionError):
        conforming([manifest], MINORS[-1])


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_wrong_that_schemas_let_pass(rendered: Rendered, name: str) -> None:
    found = {f"{workload.name}: {text}" for workload in workloads(rendered[name]) for text in mistakes(workload)}
    assert found == set()


def test_what_is_beyond_pod_security_restricted_is_explained_and_what_is_explained_is_there(rendered: Rendered) -> None:
    found = {
        what
        for manifests in rendered.values()
        for workload in workloads(manifests)
        for what in beyond_restricted(workload)
    }
    assert found == explained(KUSTOMIZE)


@pytest.mark.parametrize("directory", sorted({path.parent for path in KUSTOMIZE.rglob("*.yaml")}), ids=str)
def test_every_file_is_used(directory: Path) -> None:
    kustomization = (
        yaml.safe_load((directory / "kustomization.yaml").read_text()) if any(directory.glob("*.yaml")) else {}
    )
    patches = [patch["path"] for patch in kustomization.get("patches", ()) if "path" in patch]
    there = {path.name for path in directory.glob("*.yaml")} - {"kustomization.yaml"}
    assert there == {name for name in (*kustomization.get("resources", ()), *patches) if name.endswith(".yaml")}


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_names_images_of_this_version(rendered: Rendered, name: str) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {container["image"] for workload in workloads(rendered[name]) for container in workload.containers()}
    assert {image.rpartition(":")[2] for image in images} == {version}


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_the_daemon_is_called_aesmd_and_hands_over_before_the_old_one_ends(rendered: Rendered, name: str) -> None:
    spec = helper(rendered[name])
    assert daemon(spec)["name"] == "aesmd"
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert {"--private-dir", "--take-over", "--instance"} <= options(daemon(spec)).keys()
    assert options(daemon(spec))["--instance"] == "$(POD_UID)"
    assert not any("hostPort" in port for port in daemon(spec)["ports"])


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_the_device_plugin_ends_before_the_new_one_starts(rendered: Rendered, name: str) -> None:
    spec = helper(rendered[name], "quotehelper-device-plugin")
    assert spec["updateStrategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_two_helpers_find_what_they_need_of_the_plugin_during_an_update(rendered: Rendered, name: str) -> None:
    limits = daemon(helper(rendered[name]))["resources"]["limits"]
    plugin = options(daemon(helper(rendered[name], "quotehelper-device-plugin")))
    assert int(plugin["--provision-limit"]) == 2 * limits.get("sgx.intel.com/provision", 0)
    assert {key for key in limits if "epc" in key} <= {plugin["--resource"]}
    if plugin["--resource"] == INTEL_EPC:
        assert limits["sgx.intel.com/enclave"] == 1, "EPC under Intel's name brings no device"
    if "--simulated-epc" in plugin:
        assert int(plugin["--simulated-epc"]) >= 2 * limits[AZURE_EPC]


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_a_pod_has_time_to_drain(rendered: Rendered, name: str) -> None:
    settings = tomllib.loads(one(rendered[name], "ConfigMap", "quotehelper-settings")["data"]["settings.toml"])
    assert settings["limits"].keys() <= set(Limits._fields)
    grace = helper(rendered[name])["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > settings["limits"]["drain_s"] + 2


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_probes_ask_where_the_daemon_answers(rendered: Rendered, name: str) -> None:
    container = daemon(helper(rendered[name]))
    (port,) = container["ports"]
    assert options(container)["--metrics"].endswith(f":{port['containerPort']}")
    paths = {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
    assert paths == {"startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_workloads_see_the_socket_and_nothing_of_the_hand_over(rendered: Rendered, name: str) -> None:
    pod = helper(rendered[name])["template"]["spec"]
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    assert paths["public"] == "/var/run/aesmd"
    others = [path for name, path in paths.items() if name != "public"]
    assert not any(path.startswith("/var/run/aesmd/") or path == "/var/run/aesmd" for path in others)
    prepared = options(pod["initContainers"][0])
    assert int(prepared["--uid"]) == pod["securityContext"]["runAsUser"]
    assert int(prepared["--gid"]) == pod["securityContext"]["runAsGroup"]


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_a_node_with_sgx_is_never_passed_over(rendered: Rendered, name: str) -> None:
    for daemonset in ("quotehelper", "quotehelper-device-plugin"):
        pod = helper(rendered[name], daemonset)["template"]["spec"]
        assert pod["tolerations"] == [{"operator": "Exists"}]
        assert pod["priorityClassName"] == "system-node-critical"
        terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        keys = {rule["key"] for term in terms for rule in term["matchExpressions"]}
        assert {"intel.feature.node.kubernetes.io/sgx", "node.kubernetes.io/instance-type"} <= keys


def test_the_simulated_overlay_runs_on_every_linux_node(rendered: Rendered) -> None:
    for daemonset in ("quotehelper", "quotehelper-device-plugin"):
        affinity = helper(rendered["simulated"], daemonset)["template"]["spec"]["affinity"]["nodeAffinity"]
        terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert any({rule["key"] for rule in term["matchExpressions"]} == {"kubernetes.io/os"} for term in terms)


def test_in_two_waves_each_node_has_one_helper(rendered: Rendered) -> None:
    manifests = rendered["canary, simulated, monitoring"]
    for name, operator in (("quotehelper", "NotIn"), ("quotehelper-canary", "In")):
        spec = helper(manifests, name)
        affinity = spec["template"]["spec"]["affinity"]["nodeAffinity"]
        terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        rule = {"key": "quotehelper.dev/wave", "operator": operator, "values": ["canary"]}
        assert all(rule in term["matchExpressions"] for term in terms)
        assert "--platform" in options(daemon(spec))
        assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
        pod = spec["template"]["spec"]
        assert pod["serviceAccountName"] == "quotehelper"
        assert {"name": "settings", "configMap": {"name": "quotehelper-settings"}} in pod["volumes"]
        rules = [each for term in terms for each in term["matchExpressions"] if each["key"] == "quotehelper.dev/wave"]
        assert rules == [rule] * len(terms)
    selectors = [helper(manifests, name)["selector"]["matchLabels"] for name in ("quotehelper", "quotehelper-canary")]
    assert selectors[0] != selectors[1]


@pytest.mark.parametrize("name", GATES)
def test_a_gate_that_fails_stays_failed(rendered: Rendered, name: str) -> None:
    (job,) = rendered[name]
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert job["spec"]["template"]["spec"]["nodeSelector"] == {"quotehelper.dev/wave": "canary"}


def test_rights_are_the_few_that_are_used(rendered: Rendered) -> None:
    names = ("quotehelper-device-plugin", "quotehelper-device-plugin-events")
    assert rights(rendered["dcap"], *names) == {("events", "create"), ("nodes", "get")}
    more = rights(rendered["azure, webhook, bytes, attribution"], *names)
    assert more == {("events", "create"), ("nodes", "get"), ("nodes/status", "patch")}


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_the_helper_has_no_rights_at_the_api_server(rendered: Rendered, name: str) -> None:
    subjects = [subject["name"] for each in rendered[name] for subject in each.get("subjects", ())]
    assert "quotehelper" not in subjects
    pod = helper(rendered[name])["template"]["spec"]
    assert not any(
        "projected" in volume or ("secret" in volume and not volume["secret"].get("optional"))
        for volume in pod["volumes"]
    )


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_policies_services_and_budgets_select_pods_that_exist(rendered: Rendered, name: str) -> None:
    labels = [
        each["spec"]["template"]["metadata"]["labels"] for each in rendered[name] if "template" in each.get("spec", {})
    ]
    for each in rendered[name]:
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            wanted = spec["selector"]
        elif each["kind"] == "PodDisruptionBudget":
            wanted = spec["selector"]["matchLabels"]
        elif each["kind"] == "NetworkPolicy":
            wanted = spec["podSelector"].get("matchLabels", {})
        else:
            continue
        assert any(wanted.items() <= have.items() for have in labels), each["metadata"]["name"]


def test_alerts_are_those_of_the_rule_file_and_the_device_plugins(rendered: Rendered) -> None:
    groups = one(rendered["canary, simulated, monitoring"], "PrometheusRule", "quotehelper")["spec"]["groups"]
    assert groups[:-1] == yaml.safe_load((ROOT / "deploy/dashboards/alerts.yaml").read_text())["groups"]
    asked = {name for rule in groups[-1]["rules"] for name in re.findall(r"quotehelper_\w+", rule["expr"])}
    assert asked
    assert asked <= {f"{PREFIX}_{name}" for name in (*GAUGES, *COUNTERS)}
    assert all({"summary", "cause", "remedy"} <= rule["annotations"].keys() for rule in groups[-1]["rules"])


def test_monitors_ask_the_ports_of_services(rendered: Rendered) -> None:
    manifests = rendered["canary, simulated, monitoring"]
    services = [each for each in manifests if each["kind"] == "Service"]
    for monitor in (each for each in manifests if each["kind"] == "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [each for each in services if wanted <= each["metadata"]["labels"].items()]
        ports = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports


def test_the_quote_provider_asks_the_service_of_this_namespace(rendered: Rendered) -> None:
    manifests = rendered["dcap"]
    service = one(manifests, "Service", "quotehelper-pccs")
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc:{service['spec']['ports'][0]['port']}"
    assert (
        f"https://{host}/sgx/certification/v4/"
        in one(manifests, "ConfigMap", "quotehelper-dcap")["data"]["sgx_default_qcnl.conf"]
    )


def test_postgresql_takes_the_place_of_the_volume(rendered: Rendered) -> None:
    manifests = rendered["canary, dcap, postgresql"]
    assert not [each for each in manifests if each["kind"] == "PersistentVolumeClaim"]
    deployment = one(manifests, "Deployment", "quotehelper-pccs")["spec"]
    assert deployment["replicas"] == 2
    url = deployment["template"]["spec"]["containers"][0]["env"][0]
    assert url["valueFrom"]["secretKeyRef"]["name"] == "quotehelper-pccs-store"
