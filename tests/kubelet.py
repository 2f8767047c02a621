"""A kubelet's side of the device plugin interface, for tests: the real API over real sockets, with its manners.

What it does as a kubelet does (kubernetes 3.1 to 3.4): wipes its directory at its start, but for its checkpoint and
directories; checks version and name; dials a plugin back within Register, with grpc's default limit of 4 MiB for what
it receives; asks for options, then watches; takes a plugin whose stream has ended for gone; lets a second registration
of a name replace the first; allocates healthy devices only. It also answers PodResources v1.
"""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc

from harness import DEADLINE_S
from quotehelper.kube.kubelet_api import deviceplugin_v1beta1_pb2 as plugin_api
from quotehelper.kube.kubelet_api import podresources_v1_pb2 as pod_api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

LOCALHOST = (("grpc.default_authority", "localhost"),)
CHECKPOINT = "kubelet_internal_checkpoint"
DIAL_BACK_S = 10.0
_DOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_NAME = re.compile(rf"{_DOMAIN}/[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?")


class Registered:
    """A plugin as the kubelet knows it. ``lists``: every list received, as ids with their health."""

    def __init__(self, resource: str, path: Path) -> None:
        self.resource = resource
        self.lists: list[dict[str, str]] = []
        self.gone = False
        self.error: grpc.RpcError | None = None
        self.channel = grpc.insecure_channel(f"unix:{path}", options=LOCALHOST)

    def call(self, method: str, request: Any, answer: Any) -> Any:  # noqa: ANN401  a message class
        ask = self.channel.unary_unary(
            f"/v1beta1.DevicePlugin/{method}", type(request).SerializeToString, answer.FromString
        )
        return ask(request, timeout=DEADLINE_S)

    @property
    def healthy(self) -> list[str]:
        """The ids that can be allocated."""
        if self.gone or not self.lists:
            return []
        return [identifier for identifier, health in self.lists[-1].items() if health == "Healthy"]


class Kubelet:
    """A kubelet over ``directory``. ``refusal``: what Register answers instead, while it is set."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.registrations: list[plugin_api.RegisterRequest] = []
        self.plugins: dict[str, Registered] = {}
        self.refusal = ""
        self.starts: list[Path] = []
        self.news = threading.Condition()
        self._server: grpc.Server | None = None

    def start(self) -> None:
        """As at a start of the kubelet: wipe, listen."""
        for path in self.directory.iterdir():
            if path.name != CHECKPOINT and not path.is_dir():
                path.unlink()
        handlers = {
            "Register": grpc.unary_unary_rpc_method_handler(
                self._register,
                plugin_api.RegisterRequest.FromString,
                plugin_api.Empty.SerializeToString,
            )
        }
        self._server = grpc.server(ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("v1beta1.Registration", handlers),))
        # By another name first: gRPC removes what is at a server's path when that ends, be it its successor's.
        staging = self.directory / f"starting-{len(self.starts)}"
        self.starts.append(staging)
        self._server.add_insecure_port(f"unix:{staging}")
        self._server.start()
        staging.rename(self.directory / "kubelet.sock")

    def stop(self) -> None:
        """As at an end of the kubelet: connections break; plugins' sockets stay."""
        with self.news:
            plugins = list(self.plugins.values())
            self.plugins.clear()
        for plugin in plugins:
            plugin.channel.close()
        if self._server is not None:
            self._server.stop(0).wait(DEADLINE_S)
            self._server = None
            (self.directory / "kubelet.sock").unlink(missing_ok=True)

    def restart(self) -> None:
        """End, and start again."""
        self.stop()
        self.start()

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait until ``holds``, which is asked again at every event here."""
        with self.news:
            assert self.news.wait_for(holds, timeout=DEADLINE_S), {
                name: (plugin.gone, plugin.error, [len(devices) for devices in plugin.lists])
                for name, plugin in self.plugins.items()
            }

    def plugin(self, resource: str) -> Registered:
        """The plugin of a resource, waited for until its first list is there."""
        self.wait_until(lambda: bool(resource in self.plugins and self.plugins[resource].lists))
        return self.plugins[resource]

    def allocatable(self, resource: str) -> int:
        """How many devices could be allocated now."""
        return len(self.plugins[resource].healthy) if resource in self.plugins else 0

    def wait_for_allocatable(self, resource: str, count: int) -> None:
        self.wait_until(lambda: self.allocatable(resource) == count)

    def allocate(self, resource: str, count: int) -> plugin_api.ContainerAllocateResponse:
        """What one container is given for ``count`` devices."""
        plugin = self.plugin(resource)
        chosen = plugin.healthy[:count]
        assert len(chosen) == count
        request = plugin_api.AllocateRequest(
            container_requests=[plugin_api.ContainerAllocateRequest(devices_ids=chosen)]
        )
        answer = plugin.call("Allocate", request, plugin_api.AllocateResponse)
        assert len(answer.container_responses) == 1
        response: plugin_api.ContainerAllocateResponse = answer.container_responses[0]
        return response

    def _register(self, request: plugin_api.RegisterRequest, context: grpc.ServicerContext) -> plugin_api.Empty:
        with self.news:
            self.registrations.append(request)
            self.news.notify_all()
        domain = request.resource_name.split("/")[0]
        if self.refusal:
            context.abort(grpc.StatusCode.UNKNOWN, self.refusal)
        if request.version != "v1beta1":
            context.abort(grpc.StatusCode.UNKNOWN, f"unsupported version {request.version}")
        if not _NAME.fullmatch(request.resource_name) or domain.endswith("kubernetes.io"):
            context.abort(grpc.StatusCode.UNKNOWN, f"invalid name {request.resource_name}")
        plugin = Registered(request.resource_name, self.directory / request.endpoint)
        grpc.channel_ready_future(plugin.channel).result(timeout=DIAL_BACK_S)
        plugin.call("GetDevicePluginOptions", plugin_api.Empty(), plugin_api.DevicePluginOptions)
        with self.news:
            replaced = self.plugins.get(plugin.resource)
            self.plugins[plugin.resource] = plugin
        if replaced is not None:
            replaced.channel.close()
        threading.Thread(target=self._watch, args=(plugin,), daemon=True).start()
        return plugin_api.Empty()

    def _watch(self, plugin: Registered) -> None:
        watch = plugin.channel.unary_stream(
            "/v1beta1.DevicePlugin/ListAndWatch",
            plugin_api.Empty.SerializeToString,
            plugin_api.ListAndWatchResponse.FromString,
        )
        try:
            stream: Iterator[plugin_api.ListAndWatchResponse] = watch(plugin_api.Empty())
            for message in stream:
                with self.news:
                    plugin.lists.append({device.ID: device.health for device in message.devices})
                    self.news.notify_all()
        except (grpc.RpcError, ValueError) as error:  # ValueError: the channel was closed before the call began
            plugin.error = error if isinstance(error, grpc.RpcError) else None
        with self.news:
            plugin.gone = True
            self.news.notify_all()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def status_of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Code and details of a call that failed: such an error is a call as well, which its type does not say."""
    call: Any = error
    return call.code(), call.details() or ""


class PodResourcesServer:
    """A kubelet's pod resources at ``path``: it answers ``answer``."""

    def __init__(self, path: Path, answer: pod_api.ListPodResourcesResponse) -> None:
        self.answer = answer
        self.asked = 0
        self._news = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(
            self._list,
            pod_api.ListPodResourcesRequest.FromString,
            pod_api.ListPodResourcesResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("v1.PodResourcesLister", {"List": handler}),)
        )
        self._server.add_insecure_port(f"unix:{path}")

    def wait_until_asked(self, times: int) -> None:
        """Wait until so many requests were answered; the answers before the last have arrived by then."""
        with self._news:
            assert self._news.wait_for(lambda: self.asked >= times, DEADLINE_S)

    def _list(self, _request: object, _context: object) -> pod_api.ListPodResourcesResponse:
        with self._news:
            self.asked += 1
            self._news.notify_all()
        return self.answer

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait(DEADLINE_S)
