"""Manifests in tests: rendered by the real tools, and what must hold for every one of them.

``make tools`` builds kustomize, helm and kubeconform into build/tools; elsewhere on the PATH they are taken as well.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import kubernetes_validate
import yaml

from quotehelper.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
KUSTOMIZE = ROOT / "deploy/kustomize"
CHART = ROOT / "deploy/helm/quotehelper"
TOOLS = ROOT / "build/tools"

Manifest = dict[str, Any]

CUSTOM = ("Certificate", "Issuer", "PrometheusRule", "ServiceMonitor")
"""Kinds of cert-manager and of the Prometheus operator, which Kubernetes' schemas don't know."""


SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
OLDEST_MINOR = 27
MINORS = sorted(
    minor for path in SCHEMAS.glob("v1.*.0-local-strict") if (minor := int(path.name.split(".")[1])) >= OLDEST_MINOR
)
GATES = ("gate, hardware", "gate, simulated")
OVERLAYS = ("simulated", "dcap", "dcap-azure", "upstream")
COMPOSITIONS: dict[str, tuple[str, ...]] = {
    "canary, simulated, monitoring": ("canary", "platform-simulated", "monitoring", "network-policies"),
    "canary, dcap, postgresql": ("canary", "platform-dcap", "cdi", "pccs", "pccs-postgresql"),
    "azure, webhook, bytes, attribution": ("platform-dcap-azure", "webhook", "cdi", "epc-in-bytes", "attribution"),
    "simulated, webhook": ("platform-simulated", "webhook", "network-policies"),
    "simulated, webhook by cert-manager": ("platform-simulated", "webhook", "webhook-cert-manager"),
}
"""Beside the overlays: components together on the base, in the order in which they are listed."""
SINCE = {"azure, webhook, bytes, attribution": 30}
"""Compositions that need a later minor version than the oldest: ValidatingAdmissionPolicy."""
IMAGES = ("quotehelper", "quotehelper-dcap", "quotehelper-dcap-azure")


def find_tool(name: str) -> str | None:
    """Where the tool ``name`` is, or None."""
    ours = TOOLS / name
    return str(ours) if ours.exists() else shutil.which(name)


def run(*command: str) -> str:
    """What ``command`` prints; what it complains about, if it fails, is the failure."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def load(text: str) -> list[Manifest]:
    """Each manifest in a stream of YAML documents."""
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """The one manifest of this kind and name."""
    (found,) = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


class Workload(NamedTuple):
    """Something that has a pod template."""

    name: str
    pod: dict[str, Any]

    def containers(self) -> list[dict[str, Any]]:
        """Its containers, those that come first among them."""
        return [*self.pod.get("initContainers", ()), *self.pod["containers"]]


def workloads(manifests: list[Manifest]) -> list[Workload]:
    """Everything in ``manifests`` that has a pod template."""
    return [
        Workload(f"{each['kind']} {each['metadata']['name']}", each["spec"]["template"]["spec"])
        for each in manifests
        if "template" in each.get("spec", {})
    ]


def beyond_restricted(workload: Workload) -> Iterator[str]:
    """What Pod Security's level restricted refuses in ``workload``, as sentences' beginnings."""
    pod = workload.pod
    yield from (f"pod, {key}" for key in ("hostPID", "hostIPC", "hostNetwork") if pod.get(key))
    yield from (f"volume {volume['name']}, hostPath" for volume in pod.get("volumes", ()) if "hostPath" in volume)
    for container in workload.containers():
        name, own = container["name"], container.get("securityContext", {})
        context = pod.get("securityContext", {}) | own
        if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
            yield f"container {name}, root"
        if context.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
            yield f"container {name}, seccomp"
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            yield f"container {name}, privileges"
        if own.get("capabilities", {}).get("drop") != ["ALL"]:
            yield f"container {name}, capabilities kept"
        yield from (f"container {name}, capability {added}" for added in own.get("capabilities", {}).get("add", ()))
        if "seLinuxOptions" in context:
            yield f"container {name}, SELinux type {context['seLinuxOptions']['type']}"
        yield from (f"container {name}, hostPort" for port in container.get("ports", ()) if "hostPort" in port)


def explained(*directories: Path) -> set[str]:
    """The exceptions from restricted that comments in ``directories`` explain: ``# - WHAT: why``."""
    texts = [path.read_text() for directory in directories for path in directory.rglob("*.yaml")]
    return {match[1] for text in texts for match in re.finditer(r"^\s*# - ([^:\n]+): \S", text, re.MULTILINE)}


def mistakes(workload: Workload) -> Iterator[str]:
    """What no schema refuses, and what goes wrong all the same."""
    pod = workload.pod
    if pod.get("automountServiceAccountToken") is not False and "webhook" not in workload.name:
        yield "a service account's token is mounted"
    for container in workload.containers():
        name = container["name"]
        limits, requests = (container.get("resources", {}).get(key, {}) for key in ("limits", "requests"))
        if "memory" not in limits or not {"cpu", "memory"} <= requests.keys():
            yield f"{name}: not limited"
        if not container.get("securityContext", {}).get("readOnlyRootFilesystem"):
            yield f"{name}: a root file system that can be written"
        image, _, tag = container["image"].rpartition(":")
        if not image or tag == "latest":
            yield f"{name}: an image that may be any ({container['image']})"
        for variable in container.get("env", ()):
            if "valueFrom" not in variable and not isinstance(variable.get("value"), str):
                yield f"{name}: {variable['name']} is not a text"
        yield from (f"{name}: subPath" for mount in container.get("volumeMounts", ()) if "subPath" in mount)
        yield from (f"{name}: {word} is no text" for word in container.get("args", ()) if not isinstance(word, str))
        yield from (f"{name}: {problem}" for problem in not_ours(container))
    mounted = {mount["name"] for each in workload.containers() for mount in each.get("volumeMounts", ())}
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    yield from (f"volume {name}: mounted or declared alone" for name in mounted ^ volumes)


def not_ours(container: dict[str, Any]) -> Iterator[str]:
    """What in a container's arguments no command of ours understands, and what it lacks."""
    words = container.get("args", [])
    command: click.Command | None = cli
    rest = list(words)
    path = ["QUOTEHELPER"]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        path.append(rest[0])
        command = command.get_command(click.Context(command), rest.pop(0))
    if command is None or isinstance(command, click.Group):
        yield f"no command: {' '.join(words)}"
        return
    variables = {"_".join((*path, str(each.name))).replace("-", "_").upper(): each for each in command.params}
    ours = [each["name"] for each in container.get("env", ()) if each["name"].startswith("QUOTEHELPER_")]
    yield from (f"no variable {name}" for name in ours if name not in variables)
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    given = [word.partition("=")[0] for word in rest if word.startswith("-")]
    yield from (f"no option {option}" for option in given if option not in known)
    options = {name: each for name, each in variables.items() if isinstance(each, click.Option)}
    required = {each.opts[0] for name, each in options.items() if each.required and name not in ours}
    yield from (f"{option} is missing" for option in required - set(given))


def rights(manifests: list[Manifest], *names: str) -> set[tuple[str, str]]:
    """(resource, verb) of the roles of these names."""
    return {
        (resource, verb)
        for each in manifests
        if each["kind"] in {"Role", "ClusterRole"} and each["metadata"]["name"] in names
        for rule in each["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
