"""Lists are what protobuf would write, as short as they get, and never longer than the kubelet takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.kube.device_plugin.device_list import (
    LIST_LIMIT,
    Health,
    device_id,
    device_index,
    encode_list,
    largest_count,
    list_bytes,
)
from quotehelper.kube.kubelet_api.deviceplugin_v1beta1_pb2 import Device, ListAndWatchResponse

COUNTS = [0, 1, 63, 64, 65, 4095, 4096, 4097, 10_000]


@pytest.mark.parametrize("health", Health)
@pytest.mark.parametrize("count", COUNTS)
def test_a_list_is_byte_for_byte_protobufs_own(count: int, health: Health) -> None:
    devices = [Device(ID=device_id(index), health=health.value) for index in range(count)]
    assert encode_list(count, health) == ListAndWatchResponse(devices=devices).SerializeToString()


@pytest.mark.parametrize("health", Health)
@pytest.mark.parametrize("count", [*COUNTS, 262_144])
def test_the_size_is_known_before_the_list_is_made(count: int, health: Health) -> None:
    assert list_bytes(count, health) == len(encode_list(count, health))


@pytest.mark.parametrize("health", Health)
def test_the_largest_list_fits_and_one_device_more_does_not(health: Health) -> None:
    largest = largest_count(health)
    assert list_bytes(largest, health) <= LIST_LIMIT < list_bytes(largest + 1, health)


def test_the_largest_confidential_vms_of_azure_fit() -> None:
    assert largest_count(Health.HEALTHY) == 262_388 > 256 * 1024
    assert list_bytes(256 * 1024, Health.HEALTHY) == 4_190_144


@given(st.integers(0, 20_000_000))
def test_an_id_leads_back_to_its_device(index: int) -> None:
    identifier = device_id(index)
    assert device_index(identifier) == (index if len(identifier) <= 4 else None)


@given(st.text(max_size=8))
def test_only_the_id_of_a_device_is_one(text: str) -> None:
    index = device_index(text)
    assert index is None or device_id(index) == text


@pytest.mark.parametrize("text", ["", "00", "01", "0-", "é", "1 ", "12345", "x" * 1000])
def test_what_no_device_is_called_is_no_id(text: str) -> None:
    assert device_index(text) is None
