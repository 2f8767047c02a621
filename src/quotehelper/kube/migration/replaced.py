"""Objects of other systems whose place quotehelper takes. Pure.

Recognised by what they run, since names are changed more often than images; by name or group where they run nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from quotehelper.kube.migration.editing import elements, find, scalar

if TYPE_CHECKING:
    import yaml

_DAEMON = "the helper's DaemonSet"
_PLUGIN = "the device plugin"
_WEBHOOK = "deploy/kustomize/components/webhook"
_IMAGES = (
    (re.compile(r"^(oe-)?sgx-device-plugin$|^(intel-)?sgx-plugin$"), _PLUGIN),
    (re.compile(r"^intel-sgx-initcontainer$"), _PLUGIN),
    (re.compile(r"^(intel-)?sgx-(admission)?webhook$"), _WEBHOOK),
    (re.compile(r"^(intel-)?(sgx-)?aesmd(-demo)?$|^sgx-attestation$|^sgx-quote-helper$"), _DAEMON),
)
_WORKLOADS = {"DaemonSet", "Deployment"}
_INTELS_WEBHOOK = re.compile(r"\bsgx\.mutator\.webhooks\.intel\.com$")
_WEBHOOK_PARTS = {"Service", "Certificate", "Issuer", "ServiceAccount", "Secret"}
_WEBHOOK_NAME = re.compile(r"sgx.*webhook|webhook.*sgx")
_PLUGIN_PARTS = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
_PLUGIN_NAME = re.compile(r"^(intel-)?sgx-(device-)?plugin|^sgx-plugin")


def successor(document: yaml.Node) -> str:
    """What takes the place of the object in ``document``, "" if nothing does."""
    kind, name = scalar(find(document, "kind")), scalar(find(document, "metadata", "name"))
    if kind in _WORKLOADS:
        return _by_image(find(document, "spec", "template", "spec"))
    if kind == "SgxDevicePlugin" and scalar(find(document, "apiVersion")).startswith("deviceplugin.intel.com/"):
        return _PLUGIN
    if kind == "MutatingWebhookConfiguration":
        names = [scalar(find(webhook, "name")) for webhook in elements(find(document, "webhooks"))]
        return _WEBHOOK if names and all(_INTELS_WEBHOOK.search(each) for each in names) else ""
    if kind in _WEBHOOK_PARTS and _WEBHOOK_NAME.search(name):
        return _WEBHOOK
    return _PLUGIN if kind in _PLUGIN_PARTS and _PLUGIN_NAME.search(name) else ""


def _by_image(spec: yaml.Node | None) -> str:
    """Of what the containers of a pod run; init containers only prepare."""
    images = [scalar(find(container, "image")) for container in elements(find(spec, "containers"))]
    found = [part for image in images for pattern, part in _IMAGES if pattern.search(_repository(image))]
    return found[0] if found and len(found) == len(images) else ""


def _repository(image: str) -> str:
    """The last part of an image's name, without tag and digest."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]
