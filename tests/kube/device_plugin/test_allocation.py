"""Containers get the node that their resource stands for, and nothing that grows with what they asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.errors import AllocationError
from quotehelper.kube.device_plugin.allocation import Delivery, allocate
from quotehelper.kube.device_plugin.device_list import Health, device_id
from quotehelper.kube.device_plugin.inventory import Advertised, Reason
from quotehelper.kube.device_plugin.machine import DeviceNode, NodeKind
from quotehelper.kube.kubelet_api.deviceplugin_v1beta1_pb2 import AllocateRequest, ContainerAllocateRequest
from quotehelper.kube.resources import AZURE_EPC

ENCLAVE_NODE = DeviceNode(NodeKind.ENCLAVE, "/dev/sgx_enclave")
PROVISION_NODE = DeviceNode(NodeKind.PROVISION, "/dev/sgx_provision")


def offered(
    count: int = 100,
    *,
    health: Health = Health.HEALTHY,
    device: DeviceNode = ENCLAVE_NODE,
    reason: Reason = Reason.AVAILABLE,
) -> Advertised:
    return Advertised(AZURE_EPC.name, count, health, device, reason, "the driver is gone")


def request(*containers: list[str]) -> AllocateRequest:
    return AllocateRequest(container_requests=[ContainerAllocateRequest(devices_ids=ids) for ids in containers])


@pytest.mark.parametrize("node", [ENCLAVE_NODE, PROVISION_NODE])
def test_a_holder_gets_one_node_and_nothing_else(node: DeviceNode) -> None:
    (answer,) = allocate(request(["0", "1", "2"]), offered(device=node), Delivery()).container_responses
    (device,) = answer.devices
    assert (device.container_path, device.host_path, device.permissions) == (node.host_path, node.host_path, "rw")
    assert not any((answer.envs, answer.mounts, answer.annotations, answer.cdi_devices))


def test_aliases_are_the_old_drivers_names_for_the_same_node() -> None:
    (answer,) = allocate(request(["0"]), offered(), Delivery(legacy_aliases=True)).container_responses
    assert [(device.container_path, device.host_path) for device in answer.devices] == [
        ("/dev/sgx_enclave", "/dev/sgx_enclave"),
        ("/dev/sgx/enclave", "/dev/sgx_enclave"),
    ]


def test_by_cdi_the_runtime_gives_the_node_and_the_kubelet_none() -> None:
    (answer,) = allocate(request(["0"]), offered(), Delivery(cdi=True, legacy_aliases=True)).container_responses
    assert [device.name for device in answer.cdi_devices] == ["quotehelper/sgx=enclave"]
    assert not answer.devices


def test_each_container_has_its_answer() -> None:
    assert len(allocate(request(["0"], ["1"]), offered(), Delivery()).container_responses) == 2


def test_the_answer_does_not_grow_with_the_request() -> None:
    many = [device_id(index) for index in range(65_536)]
    small, large = (allocate(request(ids), offered(65_536), Delivery()) for ids in (["0"], many))
    assert small.SerializeToString() == large.SerializeToString()


def test_simulated_epc_is_marked_in_the_container() -> None:
    node = DeviceNode(NodeKind.ENCLAVE, "/dev/null")
    simulated = offered(device=node, reason=Reason.SIMULATED)
    (answer,) = allocate(request(["0"]), simulated, Delivery()).container_responses
    assert dict(answer.envs) == {"QUOTEHELPER_SIMULATED_EPC": "1"}
    assert [(device.container_path, device.host_path) for device in answer.devices] == [
        ("/dev/sgx_enclave", "/dev/null")
    ]


def test_without_devices_a_simulated_holder_gets_none() -> None:
    simulated = offered(device=DeviceNode(NodeKind.ENCLAVE, None), reason=Reason.SIMULATED)
    (answer,) = allocate(request(["0"]), simulated, Delivery()).container_responses
    assert not answer.devices


@pytest.mark.parametrize("identifier", ["1a", "sgx-enclave-0", "", "00"])
def test_an_unknown_id_is_refused_by_name(identifier: str) -> None:
    with pytest.raises(AllocationError, match="there is no device") as refused:
        allocate(request(["0", identifier]), offered(100), Delivery())
    assert refused.value.unknown
    assert repr(identifier) in str(refused.value)


def test_the_last_device_is_known_and_the_next_is_not() -> None:
    allocate(request([device_id(99)]), offered(100), Delivery())
    with pytest.raises(AllocationError):
        allocate(request([device_id(100)]), offered(100), Delivery())


def test_an_unhealthy_device_is_refused_with_the_reason() -> None:
    with pytest.raises(AllocationError, match="the driver is gone") as refused:
        allocate(request(["0"]), offered(health=Health.UNHEALTHY), Delivery())
    assert not refused.value.unknown


def test_a_container_without_devices_is_refused() -> None:
    with pytest.raises(AllocationError, match="no device at all"):
        allocate(request([]), offered(), Delivery())


@given(st.lists(st.lists(st.text(max_size=6), max_size=4), max_size=3), st.integers(0, 70))
def test_any_ids_are_granted_or_refused(containers: list[list[str]], count: int) -> None:
    known = {device_id(index) for index in range(count)}
    try:
        allocate(request(*containers), offered(count), Delivery())
    except AllocationError:
        assert any(not ids or not known.issuperset(ids) for ids in containers)
    else:
        assert all(ids and known.issuperset(ids) for ids in containers)
