"""What holds for every pod: patched twice is patched once, the unrelated stays byte for byte, nothing crashes."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pods import ALLOWING, AZURE, ENCLAVE, EPC, PROVIDER, PROVISION, QUOTING, apply_patch, judged, patch_of, review
from quotehelper.errors import DecodeError
from quotehelper.kube.admission.cluster import ClusterView, Node
from quotehelper.kube.admission.remarks import WARNING_CHARACTERS
from quotehelper.kube.admission.review import judge, read_review, write_answer
from quotehelper.kube.admission.settings import AdmissionSettings
from quotehelper.kube.resources import AZURE_EPC

VIEW = ClusterView((Node("n", {"zone": "1"}, helper_ready=False),), {"trusted": {QUOTING: "x"}})
SETTINGS = st.sampled_from(
    [ALLOWING, AdmissionSettings(), AdmissionSettings(epc=AZURE_EPC, enclave=None, provision=None)]
)
NAMES = st.sampled_from(["app", "aesmd", "init", "side", "a", "b", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
UNRELATED = st.dictionaries(
    st.sampled_from(["workingDir", "ports", "probe", "securityContext", "x/y~z"]), JSON, max_size=3
)
RESOURCES = st.dictionaries(
    st.sampled_from(
        [EPC, AZURE, "alibabacloud.com/sgx_epc_MiB", ENCLAVE, PROVISION, "cpu", "example.com/sgx", "sgx.intel.com/ecp"]
    ),
    st.sampled_from(["0", "1", "10Mi", "1500Ki", "7", "2"]),
    max_size=4,
)
HOSTS = ["/var/run/aesmd", "/run/aesmd/", "/var/run/aesmd/aesm.socket", "/data"]
VOLUME = st.fixed_dictionaries(
    {"name": st.sampled_from(["v", "w", "quotehelper-aesmd"])},
    optional={"hostPath": st.fixed_dictionaries({"path": st.sampled_from(HOSTS)}), "emptyDir": st.just({})},
)
MOUNT = st.fixed_dictionaries(
    {"name": st.sampled_from(["v", "w", "quotehelper-aesmd"]), "mountPath": st.sampled_from(HOSTS)}
)
VARIABLE = st.fixed_dictionaries(
    {"name": st.sampled_from(["SGX_AESM_ADDR", "B"]), "value": st.sampled_from(["1", "0", ""])}
)


@st.composite
def containers(draw: st.DrawFn) -> dict[str, Any]:
    limits = draw(RESOURCES)
    resources = draw(st.sampled_from([{"limits": limits, "requests": dict(limits)}, {"limits": limits}, {}, None]))
    optional = {
        "env": draw(st.none() | st.lists(VARIABLE, max_size=2)),
        "volumeMounts": draw(st.none() | st.lists(MOUNT, max_size=2)),
        "restartPolicy": draw(st.sampled_from([None, "Always"])),
        "resources": copy.deepcopy(resources),
    }
    return {
        "name": draw(NAMES),
        **draw(UNRELATED),
        **{key: value for key, value in optional.items() if value is not None},
    }


VALUES = ["out-of-process", "in-process", "app=out-of-process,*=in-process", "aesmd", "app", "typo", "a=none"]
ANNOTATIONS = st.dictionaries(
    st.sampled_from([QUOTING, PROVIDER, EPC, "other", "quotehelper.dev/x"]), st.sampled_from(VALUES)
)


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "pod", **draw(UNRELATED)}
    annotations = draw(st.none() | ANNOTATIONS)
    if annotations is not None:
        metadata["annotations"] = annotations
    spec: dict[str, Any] = {"containers": draw(st.lists(containers(), min_size=1, max_size=3)), **draw(UNRELATED)}
    for name, strategy in (
        ("initContainers", st.lists(containers(), max_size=2)),
        ("ephemeralContainers", st.lists(containers(), max_size=1)),
        ("volumes", st.lists(VOLUME, max_size=2)),
        ("runtimeClassName", st.just("kata")),
    ):
        value = draw(st.none() | strategy)
        if value is not None:
            spec[name] = value
    return {"kind": "Pod", "metadata": metadata, "spec": spec, **draw(UNRELATED)}


def patched(raw: dict[str, Any], chosen: AdmissionSettings, *, by_namespace: bool) -> dict[str, Any] | None:
    """The pod after admission, None if it was denied; warnings have their size either way."""
    verdict = judged(raw, chosen, by_namespace=by_namespace, view=VIEW)
    assert all(len(text) <= WARNING_CHARACTERS and text.isprintable() for text in verdict.warnings)
    if verdict.denial is not None:
        assert not verdict.patch
        return None
    result: dict[str, Any] = apply_patch(raw, [step.as_json() for step in verdict.patch])
    return result


@given(pods(), SETTINGS, st.booleans())
def test_patching_twice_changes_nothing(raw: dict[str, Any], chosen: AdmissionSettings, by_namespace: bool) -> None:  # noqa: FBT001  hypothesis fills it in
    once = patched(raw, chosen, by_namespace=by_namespace)
    if once is not None:
        verdict = judged(once, chosen, by_namespace=by_namespace, view=VIEW)
        assert verdict.patch == ()
        assert verdict.denial is None


def without_ours(raw: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    """``raw`` without what a patch may touch; lists are cut to the length that they had."""
    raw = copy.deepcopy(raw)
    for holder in ("containers", "initContainers"):
        for each, before in zip(raw["spec"].get(holder) or (), original["spec"].get(holder) or (), strict=True):
            for part in ("limits", "requests"):
                for name in [
                    name for name in each.get("resources", {}).get(part, ()) if "sgx_epc" in name or "intel" in name
                ]:
                    if name != "sgx.intel.com/ecp":
                        del each["resources"][part][name]
            cut(each, before, "env", "volumeMounts")
    cut(raw["spec"], original["spec"], "volumes")
    annotations = raw["metadata"].get("annotations")
    if annotations is not None:
        annotations.pop(EPC, None)
        if "annotations" not in original["metadata"] and not annotations:
            del raw["metadata"]["annotations"]
    return raw


def cut(after: dict[str, Any], before: dict[str, Any], *names: str) -> None:
    for name in names:
        if name in after:
            after[name] = after[name][: len(before.get(name, ()))]
            if name not in before:
                assert after.pop(name) == []


@given(pods(), SETTINGS, st.booleans())
def test_everything_else_stays_byte_for_byte(
    raw: dict[str, Any],
    chosen: AdmissionSettings,
    by_namespace: bool,  # noqa: FBT001  hypothesis fills it in
) -> None:
    before = json.dumps(raw)
    after = patched(raw, chosen, by_namespace=by_namespace)
    assert json.dumps(raw) == before
    if after is not None:
        assert json.dumps(without_ours(after, raw)) == json.dumps(without_ours(raw, raw))


@given(pods(), st.booleans())
def test_no_epc_is_lost_or_made(raw: dict[str, Any], by_namespace: bool) -> None:  # noqa: FBT001  hypothesis fills it in
    after = patched(raw, ALLOWING, by_namespace=by_namespace)
    if after is None:
        return
    for before, now in zip(raw["spec"]["containers"], after["spec"]["containers"], strict=True):
        asked = before.get("resources", {}).get("limits", {})
        holds = now.get("resources", {}).get("limits", {})
        has_epc = any(asked.get(name, "0") != "0" for name in (EPC, AZURE, "alibabacloud.com/sgx_epc_MiB"))
        assert has_epc == (holds.get(EPC, "0") != "0")
        assert has_epc is False or holds[ENCLAVE] != "0"
        assert "resources" not in before or list(now["resources"]) == list(before["resources"])


PLAIN = st.dictionaries(
    st.sampled_from(["cpu", "memory", "example.com/gpu"]), st.sampled_from(["1", "500m", "1Gi"]), max_size=3
)


@given(
    st.lists(
        st.builds(
            lambda name, limits, more: {"name": name, "resources": {"limits": limits}, **more}, NAMES, PLAIN, UNRELATED
        )
    ),
    st.dictionaries(st.text(alphabet="abc./", max_size=12), st.text(max_size=12), max_size=3),
    SETTINGS,
    st.booleans(),
)
def test_unrelated_pods_pass_untouched_and_unremarked(
    plain: list[dict[str, Any]],
    annotations: dict[str, str],
    chosen: AdmissionSettings,
    by_namespace: bool,  # noqa: FBT001  hypothesis fills it in
) -> None:
    raw = {"metadata": {"annotations": annotations}, "spec": {"containers": plain}}
    verdict = judged(raw, chosen, by_namespace=by_namespace)
    assert (verdict.patch, verdict.warnings, verdict.denial) == ((), (), None)


@given(pods(), st.data())
def test_a_pod_with_anything_anywhere_is_answered(raw: dict[str, Any], data: st.DataObject) -> None:
    """Members are replaced by arbitrary JSON, as no API server would send them."""
    spot: Any = raw
    while isinstance(spot, (dict, list)) and spot:
        keys = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()) or not isinstance(spot[key], (dict, list)):
            spot[key] = data.draw(JSON)
            break
        spot = spot[key]
    told = read_review(json.dumps(review(raw)).encode())
    answer = write_answer(told, judge(told, ALLOWING, VIEW, by_namespace=True))
    response = json.loads(answer)["response"]
    assert response["uid"] == told.uid
    assert isinstance(response["allowed"], bool)
    if response["allowed"] and told.pod is not None:
        apply_patch(told.pod, patch_of(answer))


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_bytes_that_are_no_review_are_a_decode_error(data: bytes) -> None:
    try:
        read_review(data)
    except DecodeError:
        return
    raise AssertionError(data)


@given(st.data())
def test_a_review_with_anything_anywhere_is_read_or_refused(data: st.DataObject) -> None:
    document = review({"spec": {"containers": []}})
    spot: Any = document if data.draw(st.booleans()) else document["request"]
    spot[data.draw(st.sampled_from(sorted(spot)))] = data.draw(JSON)
    try:
        told = read_review(json.dumps(document).encode())
    except DecodeError:
        return
    write_answer(told, judge(told, ALLOWING, None, by_namespace=False))
