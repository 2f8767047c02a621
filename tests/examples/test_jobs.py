"""The Jobs of the examples: the API server takes them, and admission makes of them what they say it does.

The checks of mistakes stand here as what must be equal: whoever changes one Job alone must say why in this file.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pods import AZURE, ENCLAVE, EPC, QUOTING, apply_patch, patch_of, review
from quotehelper.kube.admission.review import judge, read_review, write_answer
from quotehelper.kube.admission.settings import AdmissionSettings
from quotehelper.kube.migration.migrate import migrate_text
from quotehelper.kube.migration.workloads import Target
from quotehelper.kube.resources import INTEL_EPC

DIRECTORY = Path(__file__).parents[2] / "examples"
EXAMPLES = ("gramine", "open_enclave", "quote_generation_sample")
FORMS = ("annotated", "azure", "written-out")
JOBS = sorted(DIRECTORY.glob("*/job-*.yaml"))
OLDEST, NEWEST = "1.27", "1.37"
"""Of Kubernetes, whose schemas are asked."""
AESMD = {"name": "quotehelper-aesmd", "hostPath": {"path": "/var/run/aesmd", "type": "Directory"}}
MOUNT = {"name": "quotehelper-aesmd", "mountPath": "/var/run/aesmd", "readOnly": True}
VARIABLE = {"name": "SGX_AESM_ADDR", "value": "1"}
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}

each_job = pytest.mark.parametrize("path", JOBS, ids=lambda path: f"{path.parent.name}/{path.stem}")
each_example = pytest.mark.parametrize("example", EXAMPLES)


def job(path: Path) -> dict[str, Any]:
    """The manifest in a file, which holds one."""
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def named(example: str, form: str) -> dict[str, Any]:
    return job(DIRECTORY / example / f"job-{form}.yaml")


def pod_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """The pod as a review shows it: limits have become requests, amounts texts."""
    template = copy.deepcopy(manifest["spec"]["template"])
    for container in template["spec"]["containers"]:
        limits = {name: str(amount) for name, amount in container["resources"]["limits"].items()}
        container["resources"] = {"limits": limits, "requests": dict(limits)}
    return {"apiVersion": "v1", "kind": "Pod", **template}


def answer(raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the webhook says about a pod, as an API server hears it, and the pod that is stored then."""
    told = read_review(json.dumps(review(raw)).encode())
    answered = write_answer(told, judge(told, AdmissionSettings(), None, by_namespace=False))
    response: dict[str, Any] = json.loads(answered)["response"]
    return response, apply_patch(raw, patch_of(answered))


def only_container(raw: dict[str, Any]) -> dict[str, Any]:
    (container,) = raw["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def test_each_example_has_a_job_in_each_form() -> None:
    assert [(path.parent.name, path.stem) for path in JOBS] == [
        (example, f"job-{form}") for example in EXAMPLES for form in FORMS
    ]


@each_job
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_field(path: Path, version: str) -> None:
    kubernetes_validate.validate(job(path), version, strict=True)


def test_the_mistake_in_the_documented_manifest_would_be_found() -> None:
    """A variable's value as a number, as Azure's page had it."""
    manifest = named("open_enclave", "azure")
    only_container(manifest["spec"]["template"])["env"] = [{"name": "SGX_AESM_ADDR", "value": 1}]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


@each_job
def test_all_but_the_helpers_directory_is_as_restricted_as_pod_security_wants(path: Path) -> None:
    spec = job(path)["spec"]["template"]["spec"]
    assert spec["securityContext"] == POD_SECURITY
    assert only_container({"spec": spec})["securityContext"] == CONTAINER_SECURITY
    assert spec["automountServiceAccountToken"] is False
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert [volume for volume in spec.get("volumes", []) if "emptyDir" not in volume] in ([], [AESMD])


@each_job
def test_nothing_is_requested_that_differs_from_its_limit(path: Path) -> None:
    resources = only_container(job(path)["spec"]["template"])["resources"]
    assert resources.keys() == {"limits"}  # requests follow
    assert {"cpu", "memory"} <= resources["limits"].keys()


@each_job
def test_each_image_is_named_by_a_version(path: Path) -> None:
    image = only_container(job(path)["spec"]["template"])["image"]
    assert image.rpartition(":")[2][0].isdigit()


@each_job
def test_admission_has_nothing_to_refuse_or_to_warn_of(path: Path) -> None:
    response, _ = answer(pod_of(job(path)))
    assert response["allowed"] is True
    assert "warnings" not in response


@each_job
def test_an_admitted_pod_is_not_changed_again(path: Path) -> None:
    _, stored = answer(pod_of(job(path)))
    response, again = answer(stored)
    assert "patch" not in response
    assert again == stored


@each_example
def test_what_is_written_out_needs_no_webhook(example: str) -> None:
    response, _ = answer(pod_of(named(example, "written-out")))
    assert "patch" not in response


@each_example
def test_of_the_old_resource_name_admission_makes_todays_and_nothing_else(example: str) -> None:
    raw = pod_of(named(example, "azure"))
    expected = copy.deepcopy(raw)
    for part in only_container(expected)["resources"].values():
        part[EPC] = f"{part.pop(AZURE)}Mi"
        part[ENCLAVE] = "1"
    assert answer(raw)[1] == expected


@each_example
def test_of_the_annotation_admission_makes_what_is_written_out(example: str) -> None:
    _, stored = answer(pod_of(named(example, "annotated")))
    assert stored["metadata"]["annotations"] == {QUOTING: "out-of-process"}
    wanted = pod_of(named(example, "written-out"))["spec"]
    if example == "gramine":  # which takes no notice of the variable that everybody gets
        only_container({"spec": wanted})["env"].append(VARIABLE)
    assert stored["spec"] == wanted


@each_example
def test_what_is_written_out_is_what_a_client_needs(example: str) -> None:
    spec = named(example, "written-out")["spec"]["template"]["spec"]
    container = only_container({"spec": spec})
    assert MOUNT in container["volumeMounts"]
    assert AESMD in spec["volumes"]
    assert container["resources"]["limits"][ENCLAVE] == 1
    assert (VARIABLE in container.get("env", [])) == (example != "gramine")


@each_example
def test_the_forms_of_an_example_ask_for_the_same_amount_of_epc(example: str) -> None:
    limits = [only_container(pod_of(named(example, form)))["resources"]["limits"] for form in FORMS]
    amounts = {int(each[AZURE]) if AZURE in each else int(each[EPC].removesuffix("Mi")) for each in limits}
    assert len(amounts) == 1


@each_example
def test_migration_makes_of_the_old_form_what_is_written_out(example: str) -> None:
    text = (DIRECTORY / example / "job-azure.yaml").read_text()
    migrated = yaml.safe_load(migrate_text(text, Target(INTEL_EPC, ENCLAVE)).text)
    assert pod_of(migrated)["spec"] == pod_of(named(example, "written-out"))["spec"]
