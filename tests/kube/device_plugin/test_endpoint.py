"""A resource stays at the kubelet, whatever the kubelet, a peer or the directory does; over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

import grpc
import pytest

from device_plugin_parts import Recorder
from harness import DEADLINE_S
from kubelet import LOCALHOST, Kubelet, Registered, status_of
from quotehelper.kube.device_plugin.allocation import Delivery
from quotehelper.kube.device_plugin.device_list import (
    LIST_LIMIT,
    Health,
    encode_list,
    largest_count,
    list_bytes,
)
from quotehelper.kube.device_plugin.endpoint import Endpoint, Pace
from quotehelper.kube.device_plugin.inventory import Advertised, Reason
from quotehelper.kube.device_plugin.machine import DeviceNode, NodeKind
from quotehelper.kube.device_plugin.plugin import SERVICE, Plugin
from quotehelper.kube.device_plugin.telemetry import Telemetry
from quotehelper.kube.kubelet_api import deviceplugin_v1beta1_pb2 as api
from quotehelper.kube.resources import AZURE_EPC, ENCLAVE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from device_plugin_parts import Loop

FAST = Pace(check_s=0.02, watch_s=0.3, retry_s=0.02, retry_limit_s=0.1, drain_s=0.5)
NODE = DeviceNode(NodeKind.ENCLAVE, "/dev/sgx_enclave")


def offered(count: int, health: Health = Health.HEALTHY, resource: str = AZURE_EPC.name) -> Advertised:
    return Advertised(resource, count, health, NODE, Reason.AVAILABLE, "said so")


class Running:
    """An endpoint that is being kept."""

    def __init__(self, loop: Loop, directory: Path, advertised: Advertised, pace: Pace) -> None:
        self.log = Recorder()
        self.telemetry = Telemetry()
        self._loop = loop
        self.endpoint = loop.run(self._make(directory, advertised, pace))
        self.kept: Future[None] = asyncio.run_coroutine_threadsafe(self.endpoint.keep(), loop.loop)

    async def _make(self, directory: Path, advertised: Advertised, pace: Pace) -> Endpoint:
        return Endpoint(
            Plugin(advertised, Delivery(), self.telemetry, self.log), directory, pace, self.telemetry, self.log
        )

    def publish(self, advertised: Advertised) -> None:
        self._loop.loop.call_soon_threadsafe(self.endpoint.plugin.publish, advertised)

    def wait_for_log(self, event: str) -> dict[str, object]:
        with self.log.news:
            assert self.log.news.wait_for(lambda: self.log.fields(event), DEADLINE_S), self.log.events
        return self.log.fields(event)[-1]

    def stop(self) -> None:
        self._loop.loop.call_soon_threadsafe(self.endpoint.stop)
        self.kept.result(DEADLINE_S)


@contextlib.contextmanager
def another_plugin(kubelet: Kubelet, loop: Loop, handler: grpc.GenericRpcHandler) -> Iterator[None]:
    """Somebody else's plugin for the same resource, under a socket of its own, registered."""

    async def serve() -> grpc.aio.Server:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((handler,))
        server.add_insecure_port(f"unix:{kubelet.directory / 'another.sock'}")
        await server.start()
        return server

    server = loop.run(serve())
    with grpc.insecure_channel(f"unix:{kubelet.directory / 'kubelet.sock'}", options=LOCALHOST) as channel:
        register = channel.unary_unary(
            "/v1beta1.Registration/Register", api.RegisterRequest.SerializeToString, api.Empty.FromString
        )
        request = api.RegisterRequest(version="v1beta1", endpoint="another.sock", resource_name=AZURE_EPC.name)
        register(request, timeout=DEADLINE_S)
    yield
    loop.run(server.stop(0))


@pytest.fixture
def keep(loop: Loop, kubelet: Kubelet) -> Iterator[Callable[..., Running]]:
    """Keep endpoints at the kubelet until the test ends."""
    running: list[Running] = []

    def start(advertised: Advertised, pace: Pace = FAST) -> Running:
        running.append(Running(loop, kubelet.directory, advertised, pace))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def test_it_registers_with_version_socket_and_options(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    keep(offered(3))
    kubelet.wait_for_allocatable(AZURE_EPC.name, 3)
    (request,) = kubelet.registrations
    assert request == api.RegisterRequest(
        version="v1beta1",
        endpoint="kubernetes.azure.com-sgx_epc_mem_in_MiB.sock",
        resource_name=AZURE_EPC.name,
        options=api.DevicePluginOptions(),
    )


def test_devices_have_short_ids_and_no_topology(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    keep(offered(3))
    assert kubelet.plugin(AZURE_EPC.name).lists == [dict.fromkeys("012", "Healthy")]


def test_the_largest_list_arrives_within_the_kubelets_limit(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    count = largest_count(Health.HEALTHY)
    keep(offered(count))
    kubelet.wait_for_allocatable(AZURE_EPC.name, count)
    assert list_bytes(count, Health.HEALTHY) > LIST_LIMIT - 17


def test_a_kubelet_would_refuse_one_device_more(kubelet: Kubelet, loop: Loop) -> None:
    """The limit that the lists keep is the kubelet's, not ours."""
    too_long = encode_list(largest_count(Health.HEALTHY) + 1, Health.HEALTHY)

    async def watch(_request: bytes, _context: object) -> AsyncIterator[bytes]:
        yield too_long

    async def options(_request: bytes, _context: object) -> bytes:
        return b""

    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "ListAndWatch": grpc.unary_stream_rpc_method_handler(watch),
        "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(options),
    }
    with another_plugin(kubelet, loop, grpc.method_handlers_generic_handler(SERVICE, handlers)):
        kubelet.wait_until(lambda: kubelet.plugins[AZURE_EPC.name].gone)
        error = kubelet.plugins[AZURE_EPC.name].error
    assert error is not None
    assert status_of(error)[0] is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_change_of_health_reaches_the_kubelet_as_a_full_list(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    running = keep(offered(2))
    plugin = kubelet.plugin(AZURE_EPC.name)
    running.publish(offered(2, Health.UNHEALTHY))
    kubelet.wait_for_allocatable(AZURE_EPC.name, 0)
    running.publish(offered(2))
    kubelet.wait_for_allocatable(AZURE_EPC.name, 2)
    assert plugin.lists == [
        {"0": "Healthy", "1": "Healthy"},
        {"0": "Unhealthy", "1": "Unhealthy"},
        {"0": "Healthy", "1": "Healthy"},
    ]


def test_what_did_not_change_is_not_sent_again(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    running = keep(offered(2))
    plugin = kubelet.plugin(AZURE_EPC.name)
    running.publish(offered(2))
    running.publish(offered(3))
    kubelet.wait_for_allocatable(AZURE_EPC.name, 3)
    assert [len(devices) for devices in plugin.lists] == [2, 3]


def test_epc_that_shrinks_shortens_the_list(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    running = keep(offered(100))
    kubelet.wait_for_allocatable(AZURE_EPC.name, 100)
    running.publish(offered(70))
    kubelet.wait_for_allocatable(AZURE_EPC.name, 70)


def test_a_restarted_kubelet_is_registered_at_again(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    keep(offered(2))
    for _ in range(3):
        kubelet.wait_for_allocatable(AZURE_EPC.name, 2)
        kubelet.restart()
    kubelet.wait_for_allocatable(AZURE_EPC.name, 2)


def test_a_wiped_socket_alone_is_made_again(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    running = keep(offered(2))
    kubelet.plugin(AZURE_EPC.name)
    socket = kubelet.directory / kubelet.registrations[0].endpoint
    socket.unlink()
    kubelet.wait_until(lambda: len(kubelet.registrations) == 2)
    kubelet.wait_for_allocatable(AZURE_EPC.name, 2)
    assert socket.is_socket()
    assert running.wait_for_log("kubelet restarted")["own_socket_gone"] is True


def test_a_kubelet_that_does_not_wipe_is_registered_at_again(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    running = keep(offered(2))
    kubelet.plugin(AZURE_EPC.name)
    replacement = kubelet.directory / "replacement"
    os.link(kubelet.directory / "kubelet.sock", replacement)
    replacement.rename(kubelet.directory / "other")
    (kubelet.directory / "kubelet.sock").unlink()
    (kubelet.directory / "other").rename(kubelet.directory / "kubelet.sock")
    kubelet.wait_until(lambda: len(kubelet.registrations) == 2)
    assert running.wait_for_log("kubelet restarted")["own_socket_gone"] is False


def test_a_stream_that_ends_by_itself_is_registered_anew(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    running = keep(offered(2))
    kubelet.plugin(AZURE_EPC.name).channel.close()
    assert running.wait_for_log("registration lost")["others"] == "none"
    kubelet.wait_until(lambda: len(kubelet.registrations) == 2)
    kubelet.wait_for_allocatable(AZURE_EPC.name, 2)


def test_a_refused_registration_is_tried_again(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    kubelet.refusal = "not yet"
    running = keep(offered(2))
    assert "Register: UNKNOWN: not yet" in str(running.wait_for_log("not registered")["reason"])
    kubelet.wait_until(lambda: len(kubelet.registrations) >= 3)
    kubelet.refusal = ""
    kubelet.wait_for_allocatable(AZURE_EPC.name, 2)
    assert len(running.log.fields("not registered")) == 1


def test_a_name_that_kubelets_refuse_is_told_with_their_words(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    running = keep(offered(2, resource="sgx.kubernetes.io/epc"))
    assert "invalid name sgx.kubernetes.io/epc" in str(running.wait_for_log("not registered")["reason"])
    assert kubelet.plugins == {}


def test_it_waits_for_a_kubelet_that_is_not_there_yet(loop: Loop, short_path: Path) -> None:
    directory = short_path / "late"
    directory.mkdir()
    running = Running(loop, directory, offered(2), FAST)
    assert "the kubelet is not running" in str(running.wait_for_log("not registered")["reason"])
    with Kubelet(directory) as kubelet:
        kubelet.wait_for_allocatable(AZURE_EPC.name, 2)
        running.stop()


def test_it_waits_for_a_directory_that_is_not_there_yet(loop: Loop, short_path: Path) -> None:
    directory = short_path / "late"
    running = Running(loop, directory, offered(2), FAST)
    assert "no socket can be made there" in str(running.wait_for_log("not served")["reason"])
    directory.mkdir()
    with Kubelet(directory) as kubelet:
        kubelet.wait_for_allocatable(AZURE_EPC.name, 2)
        running.stop()


def test_a_live_peer_is_waited_for_and_never_robbed(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    first = keep(offered(2))
    kubelet.wait_for_allocatable(AZURE_EPC.name, 2)
    second = keep(offered(5))
    assert f"served by process {os.getpid()} " in str(second.wait_for_log("not served")["reason"])
    assert kubelet.allocatable(AZURE_EPC.name) == 2
    assert len(kubelet.registrations) == 1
    first.stop()
    kubelet.wait_for_allocatable(AZURE_EPC.name, 5)


def test_a_rival_under_another_socket_is_named_and_not_fought_without_pause(
    keep: Callable[..., Running], kubelet: Kubelet, loop: Loop
) -> None:
    """Nobody arbitrates at the kubelet: the last to register wins. So the loser pauses, longer each time."""
    running = keep(offered(2), Pace(check_s=0.02, watch_s=0.1, retry_s=3600.0, retry_limit_s=3600.0, drain_s=0.5))
    kubelet.wait_for_allocatable(AZURE_EPC.name, 2)

    rival = Plugin(offered(9), Delivery(), Telemetry(), Recorder())
    with another_plugin(kubelet, loop, rival.handler()):
        kubelet.wait_for_allocatable(AZURE_EPC.name, 9)
        assert "another.sock" in str(running.wait_for_log("registration lost")["others"])
        assert len(kubelet.registrations) == 2
        loop.loop.call_soon_threadsafe(rival.end_streams)


def test_two_resources_live_side_by_side(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    keep(offered(2))
    keep(offered(4, resource=ENCLAVE))
    kubelet.wait_for_allocatable(AZURE_EPC.name, 2)
    kubelet.wait_for_allocatable(ENCLAVE, 4)


def test_at_its_end_the_stream_ends_and_the_socket_is_gone(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    running = keep(offered(2))
    plugin = kubelet.plugin(AZURE_EPC.name)
    running.stop()
    kubelet.wait_until(lambda: plugin.gone)
    assert plugin.error is None
    assert [path.name for path in kubelet.directory.iterdir()] == ["kubelet.sock"]


def test_a_late_end_leaves_the_successors_socket(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    first = keep(offered(2))
    kubelet.plugin(AZURE_EPC.name)
    socket = kubelet.directory / kubelet.registrations[0].endpoint
    with contextlib.suppress(FileNotFoundError):
        socket.unlink()
    first.stop()
    keep(offered(3))
    kubelet.wait_for_allocatable(AZURE_EPC.name, 3)
    assert socket.is_socket()


@pytest.mark.parametrize(
    ("identifiers", "health", "code"),
    [
        (["nonsense"], Health.HEALTHY, grpc.StatusCode.INVALID_ARGUMENT),
        (["0", "2"], Health.HEALTHY, grpc.StatusCode.INVALID_ARGUMENT),
        (["0"], Health.UNHEALTHY, grpc.StatusCode.FAILED_PRECONDITION),
    ],
)
def test_what_cant_be_allocated_gets_a_clear_error(
    keep: Callable[..., Running], kubelet: Kubelet, identifiers: list[str], health: Health, code: grpc.StatusCode
) -> None:
    keep(offered(2, health))
    plugin = kubelet.plugin(AZURE_EPC.name)
    request = api.AllocateRequest(container_requests=[api.ContainerAllocateRequest(devices_ids=identifiers)])
    with pytest.raises(grpc.RpcError) as refused:
        plugin.call("Allocate", request, api.AllocateResponse)
    assert status_of(refused.value)[0] is code
    assert AZURE_EPC.name in status_of(refused.value)[1]


@pytest.mark.parametrize("method", ["GetPreferredAllocation", "PreStartContainer"])
def test_what_the_options_do_not_offer_is_not_there(
    keep: Callable[..., Running], kubelet: Kubelet, method: str
) -> None:
    keep(offered(2))
    plugin: Registered = kubelet.plugin(AZURE_EPC.name)
    with pytest.raises(grpc.RpcError) as refused:
        plugin.call(method, api.Empty(), api.Empty)
    assert status_of(refused.value)[0] is grpc.StatusCode.UNIMPLEMENTED


def test_metrics_tell_lists_streams_and_registrations(keep: Callable[..., Running], kubelet: Kubelet) -> None:
    running = keep(offered(2))
    kubelet.wait_for_allocatable(AZURE_EPC.name, 2)
    running.wait_for_log("registered")
    text = running.telemetry.exposition().decode()
    label = f'resource="{AZURE_EPC.name}"'
    for line in (
        f'quotehelper_device_plugin_devices{{health="Healthy",{label}}} 2.0',
        f"quotehelper_device_plugin_list_bytes{{{label}}} 28.0",
        f"quotehelper_device_plugin_streams{{{label}}} 1.0",
        f"quotehelper_device_plugin_registered{{{label}}} 1.0",
        f'quotehelper_device_plugin_registrations_total{{outcome="done",{label}}} 1.0',
    ):
        assert line in text
