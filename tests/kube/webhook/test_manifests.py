"""The manifests under deploy/kustomize/components: what they promise, held against what the webhook does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from quotehelper.cli.webhook import command
from quotehelper.kube.admission.settings import QUOTING
from quotehelper.kube.webhook.keeper import SECRET_KEY
from quotehelper.kube.webhook.settings import NAMESPACE_PATH, PODS_PATH, SelfMade

COMPONENTS = Path(__file__).parents[3] / "deploy/kustomize/components"
WEBHOOK, CERT_MANAGER = COMPONENTS / "webhook", COMPONENTS / "webhook-cert-manager"
NAMES = SelfMade("quotehelper")


def load(directory: Path) -> list[dict[str, Any]]:
    """Every object of the files that a kustomization lists."""
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    files = [(directory / name).read_text() for name in kustomization["resources"]]
    return [thing for text in files for thing in yaml.safe_load_all(text)]


OBJECTS = load(WEBHOOK)


def one(kind: str) -> dict[str, Any]:
    (found,) = [thing for thing in OBJECTS if thing["kind"] == kind]
    return found


POD: dict[str, Any] = one("Deployment")["spec"]["template"]["spec"]
CONTAINER: dict[str, Any] = POD["containers"][0]
WEBHOOKS: list[dict[str, Any]] = one("MutatingWebhookConfiguration")["webhooks"]


def values(tree: object) -> list[tuple[str, object]]:
    """Every member of a manifest, with its name."""
    if isinstance(tree, dict):
        return [pair for key, value in tree.items() for pair in ((key, value), *values(value))]
    return [pair for item in tree for pair in values(item)] if isinstance(tree, list) else []


@pytest.mark.parametrize("directory", [WEBHOOK, CERT_MANAGER], ids=lambda path: path.name)
def test_every_file_of_a_component_is_used(directory: Path) -> None:
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    patches = [patch["path"] for patch in kustomization.get("patches", ()) if "path" in patch]
    there = {path.name for path in directory.iterdir()} - {"kustomization.yaml"}
    assert there == {*kustomization["resources"], *patches}


def test_environment_values_are_text() -> None:
    for name, value in values(OBJECTS):
        if name == "env":
            assert isinstance(value, list)
            assert all("valueFrom" in variable or isinstance(variable["value"], str) for variable in value)


def test_annotations_and_labels_are_text() -> None:
    for name, value in values(OBJECTS):
        if name in {"annotations", "labels", "matchLabels"}:
            assert isinstance(value, dict)
            assert all(isinstance(text, str) for text in value.values())


@pytest.mark.parametrize("webhook", WEBHOOKS, ids=lambda webhook: webhook["name"])
def test_a_webhook_fails_open_is_quick_and_stays_away_from_system_and_self(webhook: dict[str, Any]) -> None:
    assert webhook["failurePolicy"] == "Ignore"
    assert webhook["reinvocationPolicy"] == "IfNeeded"
    assert webhook["sideEffects"] == "None"
    assert webhook["timeoutSeconds"] <= 5
    assert webhook["admissionReviewVersions"] == ["v1"]
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
        "scope": "Namespaced",
    }
    assert webhook["rules"] == [rule]
    excluded = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["quotehelper", "kube-system"]}
    assert excluded in webhook["namespaceSelector"]["matchExpressions"]
    ours = one("Deployment")["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/part-of"]
    assert webhook["objectSelector"]["matchExpressions"] == [
        {"key": "app.kubernetes.io/part-of", "operator": "NotIn", "values": [ours]}
    ]
    assert "contains('sgx')" in webhook["matchConditions"][0]["expression"]


def test_each_pod_is_asked_about_on_one_path_alone() -> None:
    operators = {}
    for webhook in WEBHOOKS:
        (by_label,) = [rule for rule in webhook["namespaceSelector"]["matchExpressions"] if rule["key"] == QUOTING]
        assert by_label["values"] == ["out-of-process"]
        operators[webhook["clientConfig"]["service"]["path"]] = by_label["operator"]
    assert operators == {PODS_PATH: "NotIn", NAMESPACE_PATH: "In"}


def test_the_configuration_leads_to_the_service_and_that_to_the_pods() -> None:
    service = one("Service")
    for webhook in WEBHOOKS:
        target = webhook["clientConfig"]["service"]
        assert (target["name"], target["namespace"]) == (service["metadata"]["name"], service["metadata"]["namespace"])
        assert target["port"] == service["spec"]["ports"][0]["port"]
    assert service["spec"]["selector"].items() <= one("Deployment")["spec"]["template"]["metadata"]["labels"].items()
    assert service["spec"]["ports"][0]["targetPort"] in {port["name"] for port in CONTAINER["ports"]}


def test_names_are_those_that_the_webhook_takes_by_default() -> None:
    assert one("Service")["metadata"]["name"] == NAMES.service
    assert one("Secret")["metadata"]["name"] == NAMES.secret
    assert one("MutatingWebhookConfiguration")["metadata"]["name"] == NAMES.configuration


def test_two_replicas_survive_a_drain() -> None:
    deployment, budget = one("Deployment")["spec"], one("PodDisruptionBudget")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert budget["minAvailable"] == 1
    assert budget["selector"] == deployment["selector"]


def test_the_pod_meets_pod_security_restricted() -> None:
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & POD.keys()


def test_probes_ask_what_is_served() -> None:
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert CONTAINER[probe]["httpGet"]["port"] == "health"
        assert CONTAINER[probe]["httpGet"]["path"] in {"/healthz", "/readyz"}


@pytest.mark.parametrize("file", [WEBHOOK / "deployment.yaml", CERT_MANAGER / "deployment.yaml"])
def test_arguments_are_options_of_the_command(file: Path) -> None:
    spec = yaml.safe_load(file.read_text())["spec"]["template"]["spec"]
    name, *options = spec["containers"][0]["args"]
    assert name == "webhook"
    with command.make_context("webhook", [option.replace("$(NAMESPACE)", "ns") for option in options]) as context:
        assert isinstance(context, click.Context)


def test_rights_are_the_few_that_are_used() -> None:
    rights = {
        (resource, name, verb)
        for role in (one("Role"), one("ClusterRole"))
        for rule in role["rules"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", ("*",))
        for verb in rule["verbs"]
    }
    assert rights == {
        ("secrets", NAMES.secret, "get"),
        ("secrets", NAMES.secret, "update"),
        ("pods", "*", "list"),
        ("pods", "*", "watch"),
        ("nodes", "*", "list"),
        ("nodes", "*", "watch"),
        ("namespaces", "*", "list"),
        ("namespaces", "*", "watch"),
        ("mutatingwebhookconfigurations", NAMES.configuration, "get"),
        ("mutatingwebhookconfigurations", NAMES.configuration, "patch"),
    }


def test_the_secret_is_empty_so_that_applying_it_again_takes_nothing_away() -> None:
    assert "data" not in one("Secret")
    assert SECRET_KEY not in one("Secret")


def test_cert_managers_certificate_is_for_the_service_and_goes_where_it_is_read() -> None:
    (certificate,) = [thing for thing in load(CERT_MANAGER) if thing["kind"] == "Certificate"]
    assert certificate["spec"]["dnsNames"] == list(NAMES.dns_names)
    spec = yaml.safe_load((CERT_MANAGER / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    assert spec["volumes"][0]["secret"]["secretName"] == certificate["spec"]["secretName"]
    mount = spec["containers"][0]["volumeMounts"][0]
    assert "subPath" not in mount
    assert f"--certificate={mount['mountPath']}/tls.crt" in spec["containers"][0]["args"]


def test_policies_select_the_webhooks_pods() -> None:
    labels = one("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert set(one("NetworkPolicy")["spec"]["policyTypes"]) == {"Ingress", "Egress"}
