"""Who holds the EPC: by the kubelet's pod resources, or by pod specifications. Pure readers, thin shell.

No kernel tells how much EPC a process uses (kubernetes 4.3), so what is told is what containers were given. The kubelet
knows it for resources with devices; ``sgx.intel.com/epc`` has none and is invisible there (kubernetes 3.5), so the
node's pods are asked for instead, which needs ``list`` on ``pods``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Protocol

import grpc

from quotehelper.errors import ClusterError, DecodeError
from quotehelper.kube.device_plugin.plugin_socket import LOCALHOST
from quotehelper.kube.kubelet_api.podresources_v1_pb2 import ListPodResourcesRequest, ListPodResourcesResponse
from quotehelper.kube.resources import INTEL_EPC

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from quotehelper.kube.device_plugin.api_server import ApiServer
    from quotehelper.kube.resources import EpcResource

LIST = "/v1.PodResourcesLister/List"
ANSWER_LIMIT = 32 * 1024 * 1024
"""Bytes of the kubelet's answer: 256 GiB in units of MiB are 1.3 MB of ids."""
TIMEOUT_S = 10.0
"""Seconds for the kubelet's answer."""
_ENDED = frozenset({"Succeeded", "Failed"})


class Holder(NamedTuple):
    """A container that holds EPC."""

    namespace: str
    pod: str
    container: str


class Attribution(Protocol):
    """Finds out who holds EPC."""

    async def holders(self) -> Mapping[Holder, int]:
        """Bytes by holder. Raises ClusterError."""


def holders_by_devices(answer: ListPodResourcesResponse, resource: EpcResource) -> dict[Holder, int]:
    """Bytes of EPC by container, from what the kubelet says of devices."""
    found: Counter[Holder] = Counter()
    for pod in answer.pod_resources:
        for container in pod.containers:
            units = sum(len(device.device_ids) for device in container.devices if device.resource_name == resource.name)
            if units:
                found[Holder(pod.namespace, pod.name, container.name)] += units * resource.unit_bytes
    return dict(found)


def holders_by_pods(pods: dict[str, Any], resource: EpcResource) -> dict[Holder, int]:
    """Bytes of EPC by container, from a PodList; pods that have ended and containers that ask for none are left out.

    Init containers count if they go on running as sidecars. Raises DecodeError if ``pods`` is no PodList.
    """
    found: dict[Holder, int] = {}
    for pod in _objects(pods, "items"):
        metadata, specification = _object(pod, "metadata"), _object(pod, "spec")
        if _object(pod, "status").get("phase") in _ENDED:
            continue
        sidecars = [one for one in _objects(specification, "initContainers") if one.get("restartPolicy") == "Always"]
        for container in (*_objects(specification, "containers"), *sidecars):
            limits = _object(_object(container, "resources"), "limits")
            if resource.name in limits and (size_bytes := resource.size_bytes(limits[resource.name])) > 0:
                names = (metadata.get("namespace", ""), metadata.get("name", ""), container.get("name", ""))
                found[Holder(*map(str, names))] = size_bytes
    return found


class PodResources:
    """The kubelet's word, over its pod resources socket."""

    def __init__(self, socket: Path, resource: EpcResource) -> None:
        self._socket = socket
        self._resource = resource

    async def holders(self) -> Mapping[Holder, int]:
        """Bytes by holder. Raises ClusterError."""
        options = (*LOCALHOST, ("grpc.max_receive_message_length", ANSWER_LIMIT))
        async with grpc.aio.insecure_channel(f"unix:{self._socket}", options=options) as channel:
            ask = channel.unary_unary(
                LIST, ListPodResourcesRequest.SerializeToString, ListPodResourcesResponse.FromString
            )
            try:
                answer: ListPodResourcesResponse = await ask(ListPodResourcesRequest(), timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                raise ClusterError(f"{self._socket}: List: {error.code().name}: {error.details()}") from error
        return holders_by_devices(answer, self._resource)


class PodSpecifications:
    """The API server's word: what the node's pods ask for."""

    def __init__(self, api: ApiServer, node_name: str) -> None:
        self._api = api
        self._query = {"fieldSelector": f"spec.nodeName={node_name}", "resourceVersion": "0"}

    async def holders(self) -> Mapping[Holder, int]:
        """Bytes by holder. Raises ClusterError."""
        pods = await self._api.get("/api/v1/pods", self._query)
        try:
            return holders_by_pods(pods, INTEL_EPC)
        except DecodeError as error:
            raise ClusterError(f"GET /api/v1/pods: {error}") from error


def _objects(document: dict[str, Any], field: str) -> list[dict[str, Any]]:
    value = document.get(field) or []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise DecodeError("PodList", field, "not a list of objects")
    return value


def _object(document: dict[str, Any], field: str) -> dict[str, Any]:
    value = document.get(field) or {}
    if not isinstance(value, dict):
        raise DecodeError("PodList", field, "not an object")
    return value
