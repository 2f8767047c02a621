from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.errors import DecodeError
from quotehelper.kube.resources import AZURE_EPC, EPC_RESOURCES, INTEL_EPC, MIB, SGX_RESOURCES, EpcResource


@pytest.mark.parametrize(
    ("name", "quantity", "size"),
    [
        ("sgx.intel.com/epc", "10Mi", 10 * MIB),
        ("sgx.intel.com/epc", "1", 1),
        ("kubernetes.azure.com/sgx_epc_mem_in_MiB", "10", 10 * MIB),
        ("kubernetes.azure.com/sgx_epc_mem_in_MiB", 10, 10 * MIB),
        ("alibabacloud.com/sgx_epc_MiB", "1k", 1000 * MIB),
        ("openenclave.io/sgx_epc_MiB", "2", 2 * MIB),
    ],
)
def test_each_name_has_its_unit(name: str, quantity: object, size: int) -> None:
    assert EPC_RESOURCES[name].size_bytes(quantity) == size


def test_half_a_mib_can_not_be_asked_for() -> None:
    with pytest.raises(DecodeError):
        AZURE_EPC.size_bytes("500m")


@given(st.sampled_from(list(EPC_RESOURCES.values())), st.integers(0, 2**50))
def test_units_hold_at_least_what_is_asked_and_less_than_one_more(resource: EpcResource, size: int) -> None:
    held = resource.count(size) * resource.unit_bytes
    assert size <= held < size + resource.unit_bytes


@given(st.integers(0, 2**40))
def test_whole_units_survive_translation_to_bytes_and_back(count: int) -> None:
    assert AZURE_EPC.count(INTEL_EPC.size_bytes(AZURE_EPC.size_bytes(count))) == count


def test_names_are_extended_resources_that_kubernetes_takes() -> None:
    for name in SGX_RESOURCES:
        domain, _, rest = name.partition("/")
        assert domain
        assert rest
        assert not domain.endswith("kubernetes.io")
