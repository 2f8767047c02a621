"""Pods, reviews and patches for tests: builders, and RFC 6902 as an API server applies it."""

from __future__ import annotations

import base64
import copy
import json
from typing import TYPE_CHECKING, Any

from quotehelper.kube.admission.admit import Surroundings, Verdict, admit
from quotehelper.kube.admission.settings import AdmissionSettings

if TYPE_CHECKING:
    from quotehelper.kube.admission.cluster import ClusterView

EPC = "sgx.intel.com/epc"
ENCLAVE = "sgx.intel.com/enclave"
PROVISION = "sgx.intel.com/provision"
AZURE = "kubernetes.azure.com/sgx_epc_mem_in_MiB"
QUOTING = "quotehelper.dev/quoting"
PROVIDER = "sgx.intel.com/quote-provider"
ALLOWING = AdmissionSettings(in_process_namespaces=frozenset({"trusted"}))
"""Settings by which the namespace "trusted" may quote in-process."""


def container(name: str = "app", limits: dict[str, Any] | None = None, **fields: object) -> dict[str, Any]:
    """A container; ``limits`` become requests too, as in a review."""
    built: dict[str, Any] = {"name": name, "image": f"registry.example/{name}:1", **fields}
    if limits is not None:
        built["resources"] = {"limits": dict(limits), "requests": dict(limits)}
    return built


def sgx(name: str = "app", size: str = "10Mi", **fields: object) -> dict[str, Any]:
    """A container with EPC."""
    return container(name, {EPC: size}, **fields)


def pod(*containers: dict[str, Any], annotations: dict[str, str] | None = None, **spec: object) -> dict[str, Any]:
    """A pod."""
    metadata: dict[str, Any] = {"name": "pod", "labels": {"a": "b"}}
    if annotations is not None:
        metadata["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": list(containers), **spec}}


def judged(
    raw: dict[str, Any],
    settings: AdmissionSettings = ALLOWING,
    *,
    namespace: str = "trusted",
    by_namespace: bool = False,
    view: ClusterView | None = None,
) -> Verdict:
    """The verdict on a pod."""
    return admit(raw, Surroundings(namespace, by_namespace, view), settings)


def admitted(
    raw: dict[str, Any], settings: AdmissionSettings = ALLOWING, *, by_namespace: bool = False
) -> dict[str, Any]:
    """The pod as it is stored after admission; it must not be denied."""
    verdict = judged(raw, settings, by_namespace=by_namespace)
    assert verdict.denial is None, verdict.denial
    return apply_patch(raw, [operation.as_json() for operation in verdict.patch])


def container_of(raw: dict[str, Any], name: str) -> dict[str, Any]:
    """The container of that name, of whichever kind."""
    found: dict[str, Any]
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for found in raw["spec"].get(kind) or ():
            if found["name"] == name:
                return found
    raise AssertionError(name)


def kinds(verdict: Verdict) -> list[str]:
    """The kinds of a verdict's warnings, sorted."""
    return sorted(text.rpartition("[")[2].rstrip("]") for text in verdict.warnings)


def apply_patch(document: dict[str, Any], patch: list[dict[str, Any]]) -> dict[str, Any]:
    """``document`` with ``patch`` applied; an assertion fails where an API server would refuse."""
    document = copy.deepcopy(document)
    for step in patch:
        *parents, last = [token.replace("~1", "/").replace("~0", "~") for token in step["path"].split("/")[1:]]
        target: Any = document
        for token in parents:
            target = target[int(token)] if isinstance(target, list) else target[token]
        if isinstance(target, list):
            assert step["op"] == "add"
            assert last == "-"
            target.append(copy.deepcopy(step["value"]))
        elif step["op"] == "add":
            target[last] = copy.deepcopy(step["value"])
        else:
            assert last in target, step
            if step["op"] == "remove":
                del target[last]
            else:
                target[last] = copy.deepcopy(step["value"])
    return document


def review(raw: object, *, uid: object = "7f0c", namespace: object = "trusted", **request: object) -> dict[str, Any]:
    """An AdmissionReview about the creation of a pod."""
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": uid,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": {"username": "someone"},
            "object": raw,
            "oldObject": None,
            "dryRun": False,
            **request,
        },
    }


def patch_of(answer: bytes) -> list[dict[str, Any]]:
    """The patch in an answer; empty if there is none."""
    response = json.loads(answer)["response"]
    patch: list[dict[str, Any]] = json.loads(base64.b64decode(response["patch"])) if "patch" in response else []
    return patch
