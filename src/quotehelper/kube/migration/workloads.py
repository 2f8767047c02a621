"""What changes in pods and the templates of pods: resources, environment, mounts. Pure."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from quotehelper.errors import DecodeError
from quotehelper.kube.admission.pod import is_aesm_directory, is_aesm_socket
from quotehelper.kube.admission.settings import AESM_DIRECTORY, AESM_VARIABLE, INTEL_PROVIDER
from quotehelper.kube.migration.editing import elements, find, pairs, scalar
from quotehelper.kube.migration.rules import Change, Rule
from quotehelper.kube.quantity import format_bytes
from quotehelper.kube.resources import (
    ALIBABA_EPC,
    AZURE_EPC,
    EPC_RESOURCES,
    MIB,
    OPEN_ENCLAVE_EPC,
    PROVISION,
    EpcResource,
)

if TYPE_CHECKING:
    from quotehelper.kube.migration.editing import Editor, Pair

_WRONG_NAMES = {name: EpcResource(name, MIB) for name in ("sgx.intel.com/sgx_epc_mem_in_MiB",)}
"""Names that stood in documentation and that no node ever advertised."""
_NAMES = EPC_RESOURCES | _WRONG_NAMES
_TAINTS = (AZURE_EPC.name, ALIBABA_EPC.name, OPEN_ENCLAVE_EPC.name)
_DEVICE = re.compile(r"/dev/(sgx|isgx|gsgx|sgx_enclave|sgx_provision|sgx/(enclave|provision))/?")
_NO_TEXT = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool"))
_AESMD = "aesmd"


@dataclass(frozen=True, slots=True)
class Target:
    """The cluster to migrate to. ``epc``: what nodes advertise. ``enclave``: what gives the device; None: EPC does."""

    epc: EpcResource
    enclave: str | None


class WorkloadMigration:
    """Migrates pod specs of one document. ``thing`` names it in changes, which collect in ``changes``."""

    def __init__(self, editor: Editor, target: Target, thing: str, changes: list[Change]) -> None:
        self._editor = editor
        self._target = target
        self._thing = thing
        self._changes = changes

    def migrate(self, metadata: yaml.Node | None, spec: yaml.Node) -> None:
        """Migrate a pod's ``spec``, whose ``metadata`` has its annotations."""
        provider = self._annotations(metadata)
        containers = [c for holder in ("initContainers", "containers") for c in elements(find(spec, holder))]
        volumes = {scalar(find(volume, "name")): volume for volume in elements(find(spec, "volumes"))}
        to_aesm = {name for name, volume in volumes.items() if _leads_to_aesm(volume)}
        fixed = _by_hand(containers, volumes)
        for container in containers:
            self._environment(container)
            asks = _asks_aesm(container, provider, to_aesm)
            serves = provider == _AESMD and scalar(find(container, "name")) == _AESMD
            self._resources(find(container, "resources"), asks=asks and not serves)
            self._mounts(container, volumes, fixed, writes=serves)
        if provider != _AESMD or not any(scalar(find(c, "name")) == _AESMD for c in containers):
            for name, volume in volumes.items():
                if name not in fixed:
                    self._volume(volume)
        for toleration in elements(find(spec, "tolerations")):
            key = find(toleration, "key")
            if key is not None and scalar(key) in _TAINTS:
                self._note(key, Rule.TOLERATION, scalar(key), "")

    def quota(self, hard: yaml.Node | None) -> None:
        """Translate names of EPC in a ResourceQuota's ``hard``."""
        self._translate(hard, prefix="requests.")

    def _annotations(self, metadata: yaml.Node | None) -> str:
        """The quote provider that Intel's annotation names, "" if there is none."""
        annotation = find(metadata, "annotations", INTEL_PROVIDER)
        if annotation is None:
            return ""
        rule = Rule.QUOTE_PROVIDER if scalar(annotation) == _AESMD else Rule.IN_PROCESS
        self._note(annotation, rule, f"{INTEL_PROVIDER}: {scalar(annotation)}", "")
        return scalar(annotation)

    def _environment(self, container: yaml.Node) -> None:
        for variable in elements(find(container, "env")):
            name, value = scalar(find(variable, "name")), find(variable, "value")
            if not isinstance(value, yaml.ScalarNode):
                continue
            written = self._editor.text[value.start_mark.index : value.end_mark.index]
            if name == AESM_VARIABLE and value.value in {"", "0"}:
                self._replace(value, "1", Rule.AESM_VARIABLE, f"{name}: {written}", f'{name}: "1"', quoted=True)
            elif value.tag in _NO_TEXT:
                self._replace(value, written, Rule.ENV_TEXT, f"{name}: {written}", f'{name}: "{written}"', quoted=True)

    def _resources(self, resources: yaml.Node | None, *, asks: bool) -> None:
        done: list[yaml.Node] = []  # limits and requests can be one and the same by an alias
        for part in ("limits", "requests"):
            amounts = find(resources, part)
            if not isinstance(amounts, yaml.MappingNode) or any(amounts is other for other in done):
                continue
            done.append(amounts)
            kept = self._translate(amounts, prefix="")
            device = self._target.enclave
            if kept is not None and device and find(amounts, device) is None:
                self._editor.add_behind(amounts, kept, device, "1")
                self._note(kept[0], Rule.ENCLAVE_DEVICE, "", f"{device}: 1")
            for pair in pairs(amounts):
                if asks and pair[0].value == PROVISION and self._editor.remove(amounts, pair):
                    self._note(pair[0], Rule.PROVISION, f"{PROVISION}: {scalar(pair[1])}", "")

    def _translate(self, amounts: yaml.Node | None, *, prefix: str) -> Pair | None:
        """Move EPC to the accounting resource's name; returns the pair under which it is now, None if there is none."""
        if not isinstance(amounts, yaml.MappingNode):
            return None
        found = [pair for pair in pairs(amounts) if pair[0].value.removeprefix(prefix) in _NAMES]
        found = [pair for pair in found if pair[0].value.startswith(prefix) and scalar(pair[1])]
        present = next((pair for pair in found if pair[0].value == prefix + self._target.epc.name), None)
        for key, value in found:
            amount = self._amount(key.value.removeprefix(prefix), value)
            if amount is None:
                return None
            if present is not None and key is present[0]:
                continue
            before, after = f"{key.value}: {scalar(value)}", f"{prefix}{self._target.epc.name}: {amount}"
            if present is not None:
                if self._editor.remove(amounts, (key, value)):
                    self._note(key, Rule.EPC_NAME, before, "")
                continue
            self._editor.replace(key, prefix + self._target.epc.name)
            self._replace(value, amount, Rule.EPC_NAME, before, after)
            present = (key, value)
        return present

    def _amount(self, name: str, value: yaml.Node) -> str | None:
        """The same amount in the accounting resource's unit; None if it can't be told."""
        try:
            size = _NAMES[name].size_bytes(scalar(value))
        except DecodeError:
            self._note(value, Rule.EPC_AMOUNT, f"{name}: {scalar(value)}", "")
            return None
        count = self._target.epc.count(size)
        return format_bytes(count) if self._target.epc.unit_bytes == 1 else str(count)

    def _mounts(self, container: yaml.Node, volumes: dict[str, yaml.Node], fixed: set[str], *, writes: bool) -> None:
        for mount in elements(find(container, "volumeMounts")):
            name, path = scalar(find(mount, "name")), find(mount, "mountPath")
            host = find(volumes.get(name), "hostPath", "path")
            if not isinstance(path, yaml.ScalarNode) or not isinstance(mount, yaml.MappingNode) or host is None:
                continue
            if _DEVICE.fullmatch(scalar(host)):
                self._note(path, Rule.DEVICE_MOUNT, path.value, "")
            if name in fixed:
                self._note(path, Rule.SOCKET_BY_HAND, path.value, "")
                continue
            if is_aesm_socket(path.value):
                self._replace(path, AESM_DIRECTORY, Rule.SOCKET_FILE, path.value, AESM_DIRECTORY)
            if _leads_to_aesm(volumes[name]) and find(mount, "readOnly") is None and not writes:
                key = next(key for key, value in pairs(mount) if value is path)
                self._editor.add_behind(mount, (key, path), "readOnly", "true")
                self._note(path, Rule.READ_ONLY, "", "readOnly: true")

    def _volume(self, volume: yaml.Node) -> None:
        source = find(volume, "hostPath")
        path, kind = find(source, "path"), find(source, "type")
        if not isinstance(source, yaml.MappingNode) or not isinstance(path, yaml.ScalarNode):
            return
        if not _leads_to_aesm(volume):
            return
        if is_aesm_socket(path.value):
            self._replace(path, AESM_DIRECTORY, Rule.SOCKET_FILE, path.value, AESM_DIRECTORY)
        if kind is None:
            key = next(key for key, value in pairs(source) if value is path)
            self._editor.add_behind(source, (key, path), "type", "Directory")
            self._note(path, Rule.DIRECTORY_TYPE, "", "type: Directory")
        elif scalar(kind) != "Directory":
            self._replace(kind, "Directory", Rule.DIRECTORY_TYPE, f"type: {scalar(kind)}", "type: Directory")

    def _replace(
        self, node: yaml.Node, value: str, rule: Rule, before: str, after: str, *, quoted: bool = False
    ) -> None:
        self._editor.replace(node, value, quoted=quoted)
        self._note(node, rule, before, after)

    def _note(self, node: yaml.Node, rule: Rule, before: str, after: str) -> None:
        change = Change(node.start_mark.line + 1, self._thing, rule, before, after)
        if change not in self._changes:
            self._changes.append(change)


def _by_hand(containers: list[yaml.Node], volumes: dict[str, yaml.Node]) -> set[str]:
    """Names of volumes to the socket that some container mounts elsewhere, in part, or beside the directory."""
    found: set[str] = set()
    for container in containers:
        taken: set[str] = set()
        for mount in elements(find(container, "volumeMounts")):
            name, path = scalar(find(mount, "name")), scalar(find(mount, "mountPath"))
            if name not in volumes or not (_leads_to_aesm(volumes[name]) or is_aesm_socket(path)):
                continue
            is_file = is_aesm_socket(scalar(find(volumes[name], "hostPath", "path"))) or is_aesm_socket(path)
            elsewhere = not (is_aesm_directory(path) or is_aesm_socket(path))
            partial = find(mount, "subPath") is not None or not _leads_to_aesm(volumes[name])
            if is_file and (elsewhere or partial or taken):
                found |= {name, *taken}
            taken.add(name)
    return found


def _leads_to_aesm(volume: yaml.Node) -> bool:
    path = scalar(find(volume, "hostPath", "path"))
    return is_aesm_directory(path) or (is_aesm_socket(path) and posixpath.basename(path).startswith("aesm.sock"))


def _asks_aesm(container: yaml.Node, provider: str, to_aesm: set[str]) -> bool:
    """Whether a container is wired to ask AESM."""
    has_variable = any(scalar(find(v, "name")) == AESM_VARIABLE for v in elements(find(container, "env")))
    mounts = any(scalar(find(mount, "name")) in to_aesm for mount in elements(find(container, "volumeMounts")))
    return has_variable or mounts or provider == _AESMD
