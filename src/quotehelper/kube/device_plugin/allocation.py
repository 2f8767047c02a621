"""What a container is given for the devices that the kubelet chose for it. Pure.

Holders of EPC and of ``sgx.intel.com/enclave`` get the enclave node; holders of ``sgx.intel.com/provision`` get the
provision node and nothing else: whoever opens it may let enclaves identify the platform (kubernetes 4.2). What is
answered is frozen for the container's life, and does not grow with the number of devices: no list of ids goes into the
environment (65,536 of them exceed what exec takes; kubernetes 3.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quotehelper.errors import AllocationError
from quotehelper.kube.device_plugin.cdi import container_paths, qualified_name
from quotehelper.kube.device_plugin.device_list import Health, device_index
from quotehelper.kube.device_plugin.inventory import Reason
from quotehelper.kube.kubelet_api.deviceplugin_v1beta1_pb2 import (
    AllocateResponse,
    CDIDevice,
    ContainerAllocateResponse,
    DeviceSpec,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quotehelper.kube.device_plugin.inventory import Advertised
    from quotehelper.kube.kubelet_api.deviceplugin_v1beta1_pb2 import AllocateRequest

SIMULATED_VARIABLE = "QUOTEHELPER_SIMULATED_EPC"
"""Set to 1 in containers whose EPC does not exist."""
_PERMISSIONS = "rw"
_SHOWN = 64
"""Characters of an unknown id that an error repeats."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How nodes get into containers. ``cdi``: by the runtime, else by the kubelet's DeviceSpec; never by both.

    ``legacy_aliases``: under the old driver's names as well.
    """

    cdi: bool = False
    legacy_aliases: bool = False


def allocate(request: AllocateRequest, advertised: Advertised, delivery: Delivery) -> AllocateResponse:
    """The answer to ``request``. Raises AllocationError for ids that are not there, or can't be used now."""
    for container in request.container_requests:
        _check(container.devices_ids, advertised)
    answer = _answer(advertised, delivery)
    return AllocateResponse(container_responses=[answer] * len(request.container_requests))


def _check(identifiers: Sequence[str], advertised: Advertised) -> None:
    resource = advertised.resource
    if not identifiers:
        raise AllocationError(f"{resource}: a container asks for no device at all", unknown=True)
    for identifier in identifiers:
        index = device_index(identifier)
        if index is None or index >= advertised.count:
            shown = repr(identifier[:_SHOWN])
            known = f"{advertised.count} devices are known"
            raise AllocationError(f"{resource}: there is no device {shown}; {known}", unknown=True)
    if advertised.health is not Health.HEALTHY:
        raise AllocationError(f"{resource} can't be used now: {advertised.explanation}", unknown=False)


def _answer(advertised: Advertised, delivery: Delivery) -> ContainerAllocateResponse:
    node = advertised.device
    answer = ContainerAllocateResponse()
    if advertised.reason is Reason.SIMULATED:
        answer.envs[SIMULATED_VARIABLE] = "1"
    if node.host_path is None:
        return answer
    if delivery.cdi:
        answer.cdi_devices.append(CDIDevice(name=qualified_name(node.kind)))
        return answer
    for path in container_paths(node.kind, legacy_aliases=delivery.legacy_aliases):
        answer.devices.append(DeviceSpec(container_path=path, host_path=node.host_path, permissions=_PERMISSIONS))
    return answer
