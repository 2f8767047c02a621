"""The manifests of the collateral service: what they promise, held against what the service does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from quotehelper.cli.pccs import serve
from quotehelper.collateral.pccs.endpoints import ENDPOINTS

COMPONENTS = Path(__file__).parents[2] / "deploy/kustomize/components"
PCCS, POSTGRESQL = COMPONENTS / "pccs", COMPONENTS / "pccs-postgresql"
Manifest = dict[str, Any]
PREFIX = "QUOTEHELPER_PCCS_SERVE_"


def load(directory: Path) -> dict[str, Any]:
    """Every object of a component by its kind."""
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    things = [yaml.safe_load((directory / name).read_text()) for name in kustomization["resources"]]
    return {thing["kind"]: thing for thing in things}


def patched() -> Manifest:
    """The Deployment as the second component makes it of that of the first: its JSON patch carried out."""
    deployment: Manifest = load(PCCS)["Deployment"]
    for step in yaml.safe_load((POSTGRESQL / "deployment.yaml").read_text()):
        *way, last = [int(name) if name.isdecimal() else name for name in step["path"].split("/")[1:]]
        place: Any = deployment
        for name in way:
            place = place[name]
        if step["op"] == "add":
            place[last] = step["value"]
        else:
            assert place[last]
            del place[last]
            if step["op"] == "replace":
                place.insert(last, step["value"]) if isinstance(place, list) else place.update({last: step["value"]})
    return deployment


DEPLOYMENTS = [load(PCCS)["Deployment"], patched()]
NAMES = ["pccs", "pccs-postgresql"]


def pod(deployment: Manifest) -> Manifest:
    found: Manifest = deployment["spec"]["template"]["spec"]
    return found


def container(deployment: Manifest) -> Manifest:
    only: Manifest
    (only,) = pod(deployment)["containers"]
    return only


@pytest.mark.parametrize("directory", [PCCS, POSTGRESQL], ids=NAMES)
def test_every_file_of_a_component_is_used(directory: Path) -> None:
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    patches = [patch["path"] for patch in kustomization.get("patches", ()) if "path" in patch]
    there = {path.name for path in directory.iterdir()} - {"kustomization.yaml"}
    assert there == {*kustomization["resources"], *patches}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_the_command_and_its_settings_exist(deployment: Manifest) -> None:
    arguments = container(deployment)["args"]
    assert arguments[:2] == ["pccs", "serve"]
    options = {option for parameter in serve.params for option in parameter.opts}
    assert {argument.partition("=")[0] for argument in arguments[2:]} <= options
    parameters = {f"{PREFIX}{str(parameter.name).upper()}" for parameter in serve.params}
    assert {variable["name"] for variable in container(deployment)["env"]} <= parameters
    assert container(deployment)["env"][0]["name"] == f"{PREFIX}DB"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_probes_ask_what_the_service_answers_on_the_port_it_listens_on(deployment: Manifest) -> None:
    (port,) = container(deployment)["ports"]
    assert f"--listen=0.0.0.0:{port['containerPort']}" in container(deployment)["args"]
    answered = {endpoint.path for endpoint in ENDPOINTS if "" in endpoint.bases}
    for probe in ("startupProbe", "readinessProbe"):
        asked = container(deployment)[probe]["httpGet"]
        assert (asked["port"], asked["scheme"]) == (port["name"], "HTTPS")
        assert asked["path"] in answered
    assert load(PCCS)["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert load(PCCS)["NetworkPolicy"]["spec"]["ingress"] == [{"ports": [{"port": port["name"]}]}]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_the_service_has_no_rights_and_no_privileges(deployment: Manifest) -> None:
    inner = container(deployment)["securityContext"]
    assert pod(deployment)["automountServiceAccountToken"] is False
    assert load(PCCS)["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod(deployment)["securityContext"]["runAsNonRoot"] is True
    assert inner["capabilities"] == {"drop": ["ALL"]}
    assert (inner["allowPrivilegeEscalation"], inner["readOnlyRootFilesystem"]) == (False, True)
    assert not any(thing["kind"] in {"Role", "ClusterRole"} for thing in load(PCCS).values())


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=NAMES)
def test_every_mount_has_its_volume_and_every_volume_its_mount(deployment: Manifest) -> None:
    mounts = {mount["name"] for mount in container(deployment)["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod(deployment)["volumes"]}


def test_one_replica_has_the_volume_and_two_share_a_database() -> None:
    alone, together = (deployment["spec"] for deployment in DEPLOYMENTS)
    assert (alone["replicas"], alone["strategy"]) == (1, {"type": "Recreate"})
    assert (together["replicas"], "rollingUpdate" in together["strategy"]) == (2, True)
    assert [volume["name"] for volume in pod(DEPLOYMENTS[1])["volumes"]] == ["tls"]
    (url,) = [variable for variable in container(DEPLOYMENTS[1])["env"] if variable["name"] == f"{PREFIX}DB"]
    assert url["valueFrom"]["secretKeyRef"]["name"] == "quotehelper-pccs-store"


def test_quote_providers_are_pointed_at_the_service() -> None:
    text = json.loads(load(PCCS)["ConfigMap"]["data"]["sgx_default_qcnl.conf"])
    name, port = load(PCCS)["Service"]["metadata"]["name"], load(PCCS)["Service"]["spec"]["ports"][0]["port"]
    assert text["pccs_url"] == f"https://{name}.quotehelper.svc:{port}/sgx/certification/v4/"
