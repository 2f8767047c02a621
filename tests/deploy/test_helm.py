"""The chart comes to the same manifests as the kustomizations, and its schema refuses what they could not be."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml

from manifests import (
    CHART,
    COMPOSITIONS,
    MINORS,
    OVERLAYS,
    SINCE,
    Manifest,
    beyond_restricted,
    explained,
    load,
    mistakes,
    run,
    workloads,
)
from quotehelper import __version__

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUES: dict[str, dict[str, Any]] = {
    "canary, simulated, monitoring": {
        "platform": "simulated",
        "canary": {"enabled": True},
        "monitoring": {"enabled": True},
    },
    "canary, dcap, postgresql": {
        "platform": "dcap",
        "canary": {"enabled": True},
        "pccs": {"database": "postgresql"},
        "networkPolicies": {"enabled": False},
    },
    "azure, webhook, bytes, attribution": {
        "platform": "dcap-azure",
        "epcResource": "sgx.intel.com/epc",
        "attribution": {"enabled": True},
        "webhook": {"enabled": True},
        "networkPolicies": {"enabled": False},
    },
    "simulated, webhook": {"platform": "simulated", "webhook": {"enabled": True}},
    "simulated, webhook by cert-manager": {
        "platform": "simulated",
        "webhook": {"enabled": True, "certManager": True},
        "networkPolicies": {"enabled": False},
    },
} | {name: {"platform": name} for name in OVERLAYS}
"""What makes the chart the same as each overlay and composition."""


def template(helm: str, values: dict[str, Any], directory: Path) -> list[Manifest]:
    file = directory / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    version = f"1.{MINORS[-1]}.0"
    command = (helm, "template", "q", str(CHART), "--namespace=quotehelper", "--values", str(file))
    return load(run(*command, "--kube-version", version))


@pytest.fixture(scope="session")
def charted(helm: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Manifest]]:
    """What the chart comes to, by the name of what it must be the same as."""
    return {name: template(helm, values, tmp_path_factory.mktemp("values")) for name, values in VALUES.items()}


def keyed(manifests: list[Manifest]) -> dict[str, Manifest]:
    """By kind and name; without the namespace, which helm makes itself, and the gate, which is applied by itself."""
    found = {f"{each['kind']} {each['metadata']['name']}": each for each in manifests}
    assert len(found) == len(manifests)
    return {key: each for key, each in found.items() if not key.startswith(("Namespace ", "Job "))}


def ordered(value: Any) -> Any:  # noqa: ANN401  any YAML
    """``value`` with each container's environment in the order of names, on which nothing here depends."""
    if isinstance(value, dict):
        return {
            key: sorted(part, key=lambda variable: str(variable["name"])) if key == "env" else ordered(part)
            for key, part in value.items()
        }
    return [ordered(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", VALUES)
def test_the_chart_comes_to_the_same_as_kustomize(
    charted: dict[str, list[Manifest]], rendered: dict[str, list[Manifest]], name: str
) -> None:
    ours, theirs = keyed(charted[name]), keyed(rendered[name])
    assert ours.keys() == theirs.keys()
    for key, manifest in ours.items():
        assert ordered(manifest) == ordered(theirs[key]), key


def test_every_composition_has_its_values() -> None:
    assert VALUES.keys() == {*OVERLAYS, *COMPOSITIONS}


def test_the_gate_of_an_upgrade_is_that_of_kustomize(
    charted: dict[str, list[Manifest]], rendered: dict[str, list[Manifest]]
) -> None:
    for name, gate in (("canary, simulated, monitoring", "simulated"), ("canary, dcap, postgresql", "hardware")):
        (job,) = [each for each in charted[name] if each["kind"] == "Job"]
        assert "post-upgrade" in job["metadata"]["annotations"]["helm.sh/hook"]
        spec = json.loads(json.dumps(job["spec"]))
        (theirs,) = rendered[f"gate, {gate}"]
        image = spec["template"]["spec"]["containers"][0].pop("image")
        assert image.startswith("quotehelper")
        expected = json.loads(json.dumps(theirs["spec"]))
        expected["template"]["spec"]["containers"][0].pop("image")
        assert spec == expected


@pytest.mark.parametrize("minor", [MINORS[0], MINORS[-1]])
def test_charts_conform_to_the_schemas_of_kubernetes(
    charted: dict[str, list[Manifest]], conforming: Callable[[list[Manifest], int], str], minor: int
) -> None:
    given = [each for name in VALUES if SINCE.get(name, 0) <= minor for each in charted[name]]
    assert "Invalid: 0, Errors: 0" in conforming(given, minor)


@pytest.mark.parametrize("name", VALUES)
def test_nothing_is_wrong_that_schemas_let_pass(charted: dict[str, list[Manifest]], name: str) -> None:
    found = {f"{workload.name}: {text}" for workload in workloads(charted[name]) for text in mistakes(workload)}
    assert found == set()


def test_what_is_beyond_pod_security_restricted_is_explained(
    charted: dict[str, list[Manifest]], helm: str, tmp_path: Path
) -> None:
    every = [*charted.values(), template(helm, {"platform": "upstream"}, tmp_path)]
    found = {what for manifests in every for each in workloads(manifests) for what in beyond_restricted(each)}
    assert found == explained(CHART)


REFUSED = {
    "no platform": {},
    "a platform that there is not": {"platform": "epid"},
    "a misspelt value": {"platform": "dcap", "pcs": {"enabled": True}},
    "any image": {"platform": "dcap", "image": {"tag": "latest"}},
    "an EPC resource that nobody knows": {"platform": "dcap", "epcResource": "sgx.intel.com/epcs"},
    "no EPC": {"platform": "dcap", "helper": {"epcMiB": 0}},
    "a number where a text is wanted": {"platform": "dcap", "helper": {"memoryLimit": 256}},
    "a canary of any image": {"platform": "dcap", "canary": {"image": "quotehelper:latest"}},
    "a relative directory": {"platform": "upstream", "upstream": {"directory": "aesmd"}},
}


@pytest.mark.parametrize("values", REFUSED.values(), ids=REFUSED.keys())
def test_the_schema_refuses(helm: str, tmp_path: Path, values: dict[str, Any]) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    command = (helm, "template", "q", str(CHART), "--values", str(tmp_path / "values.yaml"), "--kube-version", "1.37.0")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "schema" in done.stderr


def test_the_schema_knows_every_value_that_there_is() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(values | {"platform": "dcap"}, schema)
    assert values.keys() | {"global"} == schema["properties"].keys()


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


def test_a_canary_runs_its_own_image(helm: str, tmp_path: Path) -> None:
    values = {"platform": "dcap", "canary": {"enabled": True, "image": "registry.example/q:2"}}
    images = {
        each.name: {container["image"] for container in each.containers()}
        for each in workloads(template(helm, values, tmp_path))
    }
    assert images["DaemonSet quotehelper-canary"] == images["Job quotehelper-canary-gate"] == {"registry.example/q:2"}
    assert images["DaemonSet quotehelper"] == {"quotehelper-dcap:0.1.0"}
