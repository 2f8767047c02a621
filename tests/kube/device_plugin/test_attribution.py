"""Who holds EPC is read from what the kubelet or the API server says, and only EPC is counted."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_plugin_parts import MIB
from kubelet import PodResourcesServer
from quotehelper.errors import ClusterError, DecodeError
from quotehelper.kube.device_plugin.attribution import Holder, PodResources, holders_by_devices, holders_by_pods
from quotehelper.kube.kubelet_api import podresources_v1_pb2 as api
from quotehelper.kube.resources import AZURE_EPC, INTEL_EPC

if TYPE_CHECKING:
    from pathlib import Path

    from device_plugin_parts import Loop


def devices(resource: str, count: int) -> api.ContainerDevices:
    return api.ContainerDevices(resource_name=resource, device_ids=[str(number) for number in range(count)])


def pod(*containers: dict[str, Any], phase: str = "Running", **specification: Any) -> dict[str, Any]:  # noqa: ANN401  parts of a pod
    return {
        "metadata": {"name": "pod-1", "namespace": "shop"},
        "spec": {"containers": list(containers), **specification},
        "status": {"phase": phase},
    }


def container(name: str, amount: object = None, **more: Any) -> dict[str, Any]:  # noqa: ANN401  parts of a container
    limits = {} if amount is None else {INTEL_EPC.name: amount}
    return {"name": name, "resources": {"limits": {"cpu": "1", **limits}}, **more}


def test_devices_of_all_numa_nodes_are_added_and_others_left_out() -> None:
    containers = [
        api.ContainerResources(name="app", devices=[devices(AZURE_EPC.name, 3), devices(AZURE_EPC.name, 2)]),
        api.ContainerResources(name="side", devices=[devices("sgx.intel.com/enclave", 1)]),
    ]
    answer = api.ListPodResourcesResponse(
        pod_resources=[api.PodResources(name="pod-1", namespace="shop", containers=containers)]
    )
    assert holders_by_devices(answer, AZURE_EPC) == {Holder("shop", "pod-1", "app"): 5 * MIB}


def test_containers_and_sidecars_hold_what_they_ask_for() -> None:
    sidecar, init = container("sidecar", "1Mi", restartPolicy="Always"), container("init", "8Mi")
    pods = {"items": [pod(container("app", "3Mi"), container("web"), initContainers=[sidecar, init])]}
    assert holders_by_pods(pods, INTEL_EPC) == {
        Holder("shop", "pod-1", "app"): 3 * MIB,
        Holder("shop", "pod-1", "sidecar"): MIB,
    }


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_pods_that_have_ended_hold_nothing(phase: str) -> None:
    assert holders_by_pods({"items": [pod(container("app", "3Mi"), phase=phase)]}, INTEL_EPC) == {}


def test_an_amount_that_is_none_is_refused() -> None:
    with pytest.raises(DecodeError):
        holders_by_pods({"items": [pod(container("app", "much"))]}, INTEL_EPC)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["items", "spec", "containers", "resources", "limits"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.just("items"), JSON))
def test_any_list_is_read_or_refused(pods: dict[str, Any]) -> None:
    with contextlib.suppress(DecodeError):
        assert holders_by_pods(pods, INTEL_EPC) == {}


def test_the_kubelet_is_asked_over_its_socket(loop: Loop, short_path: Path) -> None:
    many = api.ContainerResources(name="app", devices=[devices(AZURE_EPC.name, 400_000)])
    answer = api.ListPodResourcesResponse(pod_resources=[api.PodResources(name="p", namespace="n", containers=[many])])
    with PodResourcesServer(short_path / "s", answer):
        found = loop.run(_ask(short_path / "s"))
    assert found == {Holder("n", "p", "app"): 400_000 * MIB}


def test_a_kubelet_that_is_not_there_is_a_cluster_error(loop: Loop, short_path: Path) -> None:
    with pytest.raises(ClusterError, match="UNAVAILABLE"):
        loop.run(_ask(short_path / "s"))


async def _ask(path: Path) -> dict[Holder, int]:
    async with asyncio.timeout(60):
        return dict(await PodResources(path, AZURE_EPC).holders())
