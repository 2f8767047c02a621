"""EPC is sold under one name, in the state it is in, with the reason."""

from __future__ import annotations

import pytest

from quotehelper.kube.device_plugin.device_list import LIST_LIMIT, Health, largest_count, list_bytes
from quotehelper.kube.device_plugin.epc import Epc, EpcAbsence, EpcSource, NodeEpc
from quotehelper.kube.device_plugin.explanation import explain
from quotehelper.kube.device_plugin.inventory import Inventory, Offer, Reason, take_stock
from quotehelper.kube.device_plugin.machine import DeviceNode, Machine, NodeKind
from quotehelper.kube.resources import (
    ALIBABA_EPC,
    AZURE_EPC,
    ENCLAVE,
    EPC_RESOURCES,
    INTEL_EPC,
    MIB,
    OPEN_ENCLAVE_EPC,
    PROVISION,
    EpcResource,
)


def machine(
    size_bytes: int,
    *,
    source: EpcSource = EpcSource.SYSFS,
    absence: EpcAbsence | None = None,
    enclave: bool = True,
    provision: bool = True,
) -> Machine:
    nodes = [
        DeviceNode(kind, f"/dev/{kind.standard}" if there else None, "" if there else f"{kind.standard} is missing")
        for kind, there in ((NodeKind.ENCLAVE, enclave), (NodeKind.PROVISION, provision))
    ]
    return Machine(Epc((NodeEpc(0, size_bytes),), source, absence, ()), *nodes)


def advertised(inventory: Inventory) -> dict[str, tuple[int, Health]]:
    return {resource.resource: (resource.listed, resource.health) for resource in inventory.resources}


@pytest.mark.parametrize("accounting", EPC_RESOURCES.values(), ids=lambda resource: resource.name)
def test_epc_has_exactly_one_name(accounting: EpcResource) -> None:
    inventory = take_stock(machine(64 * MIB), Offer(accounting))
    names = [name for name in advertised(inventory) if name in EPC_RESOURCES]
    extended = [] if inventory.extended_bytes is None else [INTEL_EPC.name]
    assert [*names, *extended] == [accounting.name]


@pytest.mark.parametrize("accounting", [AZURE_EPC, ALIBABA_EPC, OPEN_ENCLAVE_EPC])
def test_epc_in_mib_has_one_device_a_whole_mib(accounting: EpcResource) -> None:
    inventory = take_stock(machine(64 * MIB - 1), Offer(accounting, 3, 2))
    assert inventory.sold_bytes == 63 * MIB
    assert advertised(inventory) == {
        accounting.name: (63, Health.HEALTHY),
        ENCLAVE: (3, Health.HEALTHY),
        PROVISION: (2, Health.HEALTHY),
    }


def test_epc_in_bytes_goes_to_the_nodes_status_to_the_byte() -> None:
    inventory = take_stock(machine(64 * MIB - 1), Offer(INTEL_EPC))
    assert inventory.extended_bytes == inventory.sold_bytes == 64 * MIB - 1
    assert set(advertised(inventory)) == {ENCLAVE, PROVISION}


def test_a_limit_of_zero_offers_nothing() -> None:
    assert set(advertised(take_stock(machine(MIB), Offer(AZURE_EPC, 0, 0)))) == {AZURE_EPC.name}


def test_epc_without_its_device_node_is_there_but_unhealthy() -> None:
    inventory = take_stock(machine(64 * MIB, enclave=False), Offer(AZURE_EPC, 3, 2))
    assert (inventory.reason, inventory.sold_bytes) == (Reason.NO_DEVICE_NODE, 0)
    assert advertised(inventory) == {
        AZURE_EPC.name: (64, Health.UNHEALTHY),
        ENCLAVE: (3, Health.UNHEALTHY),
        PROVISION: (2, Health.HEALTHY),
    }


def test_epc_in_bytes_without_its_device_node_is_not_sold() -> None:
    assert take_stock(machine(64 * MIB, enclave=False), Offer(INTEL_EPC)).extended_bytes == 0


def test_a_missing_provision_node_concerns_its_holders_alone() -> None:
    inventory = take_stock(machine(64 * MIB, provision=False), Offer(AZURE_EPC, 3, 2))
    assert advertised(inventory)[PROVISION] == (2, Health.UNHEALTHY)
    assert advertised(inventory)[AZURE_EPC.name] == (64, Health.HEALTHY)


def test_a_machine_without_sgx_has_empty_lists_and_says_why() -> None:
    absent = machine(0, source=EpcSource.NONE, absence=EpcAbsence.NO_PROCESSOR_SUPPORT, enclave=False, provision=False)
    inventory = take_stock(absent, Offer(AZURE_EPC))
    assert set(advertised(inventory).values()) == {(0, Health.UNHEALTHY)}
    assert inventory.explanation == "no EPC: the processor has no SGX"
    assert inventory.remedy


def test_a_list_too_large_is_refused_with_the_alternative() -> None:
    largest = largest_count(Health.HEALTHY)
    inventory = take_stock(machine((largest + 1) * MIB), Offer(AZURE_EPC))
    assert inventory.refused
    assert advertised(inventory)[AZURE_EPC.name] == (0, Health.UNHEALTHY)
    assert "--resource sgx.intel.com/epc" in inventory.remedy
    assert f"{largest + 1} MiB of EPC make a list of {list_bytes(largest + 1, Health.HEALTHY)} bytes" in (
        inventory.explanation
    )


def test_the_largest_list_is_not_refused() -> None:
    count = largest_count(Health.HEALTHY)
    assert take_stock(machine(count * MIB), Offer(AZURE_EPC)).sold_bytes == count * MIB


def test_epc_in_bytes_has_no_limit() -> None:
    assert take_stock(machine(1 << 44), Offer(INTEL_EPC)).extended_bytes == 1 << 44


def test_an_unhealthy_list_that_would_be_too_long_is_cut() -> None:
    inventory = take_stock(machine(256 << 30, enclave=False), Offer(AZURE_EPC))
    listed, health = advertised(inventory)[AZURE_EPC.name]
    assert listed == largest_count(Health.UNHEALTHY)
    assert list_bytes(listed, health) <= LIST_LIMIT


def test_devices_that_cant_be_delivered_are_unhealthy() -> None:
    inventory = take_stock(machine(MIB), Offer(AZURE_EPC), "the CDI directory is read-only")
    assert inventory.reason is Reason.NO_CDI_FILE
    assert {health for _, health in advertised(inventory).values()} == {Health.UNHEALTHY}


def test_simulated_epc_is_called_so_wherever_it_is_told_of() -> None:
    inventory = take_stock(machine(MIB, source=EpcSource.SIMULATED), Offer(AZURE_EPC))
    assert {resource.reason for resource in inventory.resources} == {Reason.SIMULATED}
    assert "simulated" in inventory.explanation


def test_the_explanation_has_every_list_with_its_size() -> None:
    facts = explain(take_stock(machine(64 * MIB), Offer(AZURE_EPC)))
    assert facts["resources"][0] == {
        "name": AZURE_EPC.name,
        "devices": 64,
        "health": "Healthy",
        "reason": "EpcAvailable",
        "explanation": "67108864 bytes of EPC by sysfs",
        "list_bytes": 64 * 14,
        "socket": "kubernetes.azure.com-sgx_epc_mem_in_MiB.sock",
    }
