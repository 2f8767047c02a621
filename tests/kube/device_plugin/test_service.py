"""The device plugin as users run it: a process at a kubelet, over a machine that changes beneath it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from device_plugin_parts import MIB, MachineTree, PluginProcess
from harness import DEADLINE_S, run_cli
from kubelet import Kubelet, PodResourcesServer
from node_api_server import ApiServerStandIn
from quotehelper.kube.kubelet_api import podresources_v1_pb2 as pod_api
from quotehelper.kube.resources import AZURE_EPC, ENCLAVE, EPC_RESOURCES, INTEL_EPC, PROVISION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EVERY_LOOK = ("--rescan-s", "0.1")


@pytest.fixture
def ready(machine: MachineTree) -> MachineTree:
    """A machine with 64 MiB of EPC in two NUMA nodes."""
    machine.set_epc(48 * MIB, 16 * MIB)
    machine.add_nodes()
    return machine


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServerStandIn]:
    with ApiServerStandIn(tmp_path / "serviceaccount") as running:
        running.add_node("node-1")
        yield running


def at_api(api: ApiServerStandIn) -> dict[str, Any]:
    """How a plugin is told of an API server."""
    return {"environment": api.environment | {"NODE_NAME": "node-1"}}


def ask(plugin: PluginProcess, path: str, method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", plugin.port, timeout=DEADLINE_S)
    connection.request(method, path)
    response = connection.getresponse()
    answer = response.status, response.read().decode()
    connection.close()
    return answer


def test_epc_and_devices_are_handed_out(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree
) -> None:
    start_plugin(*ready.options)
    for resource, node in (
        (AZURE_EPC.name, "/dev/sgx_enclave"),
        (ENCLAVE, "/dev/sgx_enclave"),
        (PROVISION, "/dev/sgx_provision"),
    ):
        (device,) = kubelet.allocate(resource, 1).devices
        assert (device.container_path, device.host_path) == (node, node)
    assert kubelet.allocatable(AZURE_EPC.name) == 64


@pytest.mark.parametrize("name", [name for name in EPC_RESOURCES if name not in {AZURE_EPC.name, INTEL_EPC.name}])
def test_other_names_in_mib_are_served_alike(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree, name: str
) -> None:
    start_plugin(*ready.options, "--resource", name)
    assert kubelet.allocate(name, 64).devices[0].host_path == "/dev/sgx_enclave"
    assert AZURE_EPC.name not in kubelet.plugins


def test_a_late_driver_makes_the_epc_healthy(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, machine: MachineTree
) -> None:
    machine.set_epc(64 * MIB)
    start_plugin(*machine.options)
    assert set(kubelet.plugin(AZURE_EPC.name).lists[0].values()) == {"Unhealthy"}
    machine.add_node("sgx_enclave")
    kubelet.wait_for_allocatable(AZURE_EPC.name, 64)


def test_epc_that_appears_late_is_advertised(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, machine: MachineTree
) -> None:
    machine.set_flags("fpu")
    plugin = start_plugin(*machine.options, *EVERY_LOOK)
    assert kubelet.plugin(AZURE_EPC.name).lists == [{}]
    plugin.wait_for("advertising .*sgx flag")
    machine.set_epc(64 * MIB)
    machine.add_nodes()
    kubelet.wait_for_allocatable(AZURE_EPC.name, 64)
    kubelet.wait_for_allocatable(PROVISION, 110)


def test_epc_taken_out_of_service_is_followed(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree
) -> None:
    start_plugin(*ready.options, *EVERY_LOOK)
    kubelet.wait_for_allocatable(AZURE_EPC.name, 64)
    ready.set_epc(48 * MIB, 0)
    kubelet.wait_for_allocatable(AZURE_EPC.name, 48)


def test_a_node_that_is_pulled_and_put_back_is_followed(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree
) -> None:
    plugin = start_plugin(*ready.options)
    kubelet.wait_for_allocatable(AZURE_EPC.name, 64)
    (ready.roots.dev / "sgx_enclave").unlink()
    kubelet.wait_for_allocatable(AZURE_EPC.name, 0)
    plugin.wait_for("NoSgxDeviceNode")
    ready.add_node("sgx_enclave")
    kubelet.wait_for_allocatable(AZURE_EPC.name, 64)


def test_what_flaps_is_not_streamed(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree
) -> None:
    start_plugin(*ready.options, *EVERY_LOOK, "--settle-s", "600")
    kubelet.wait_for_allocatable(AZURE_EPC.name, 64)
    for _ in range(20):
        (ready.roots.dev / "sgx_enclave").unlink()
        ready.add_node("sgx_enclave")
    kubelet.allocate(PROVISION, 1)
    assert len(kubelet.plugin(AZURE_EPC.name).lists) == 1


def test_a_restarted_kubelet_has_everything_again(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree
) -> None:
    start_plugin(*ready.options)
    kubelet.wait_for_allocatable(AZURE_EPC.name, 64)
    kubelet.restart()
    for resource, count in ((AZURE_EPC.name, 64), (ENCLAVE, 110), (PROVISION, 110)):
        kubelet.wait_for_allocatable(resource, count)


def test_sigterm_ends_streams_and_removes_the_sockets(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree
) -> None:
    plugin = start_plugin(*ready.options)
    kubelet.wait_for_allocatable(AZURE_EPC.name, 64)
    assert plugin.stop() == 0
    kubelet.wait_until(lambda: all(known.gone for known in kubelet.plugins.values()))
    assert [path.name for path in kubelet.directory.iterdir()] == ["kubelet.sock"]


def test_sigterm_ends_it_while_it_waits_for_a_kubelet(kubelet: Kubelet, ready: MachineTree) -> None:
    kubelet.stop()
    with PluginProcess(kubelet.directory, *ready.options) as plugin:
        plugin.wait_for("not registered")
        assert plugin.stop(signal.SIGINT) == 0


def test_a_successor_takes_over_when_the_first_ends(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree
) -> None:
    first = start_plugin(*ready.options)
    kubelet.wait_for_allocatable(AZURE_EPC.name, 64)
    second = start_plugin(*ready.options, "--enclave-limit", "7")
    second.wait_for(f"not served .*process {first.process.pid} ")
    assert first.stop() == 0
    kubelet.wait_for_allocatable(ENCLAVE, 7)
    kubelet.wait_for_allocatable(AZURE_EPC.name, 64)


def test_aliases_are_given_when_wanted(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree
) -> None:
    start_plugin(*ready.options, "--legacy-aliases")
    paths = [device.container_path for device in kubelet.allocate(PROVISION, 1).devices]
    assert paths == ["/dev/sgx_provision", "/dev/sgx/provision"]


def test_by_cdi_the_file_is_there_before_a_container_is(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree, tmp_path: Path
) -> None:
    options = ("--cdi-directory", str(tmp_path / "cdi"), "--cdi-gid", "1000", "--cdi-mode", "660")
    start_plugin(*ready.options, *options, "--cdi-additional-gid", "104")
    answer = kubelet.allocate(AZURE_EPC.name, 1)
    assert [device.name for device in answer.cdi_devices] == ["quotehelper/sgx=enclave"]
    document = json.loads((tmp_path / "cdi/quotehelper-sgx.json").read_text())
    edits = document["devices"][0]["containerEdits"]
    assert edits["additionalGids"] == [104]
    assert (edits["deviceNodes"][0]["gid"], edits["deviceNodes"][0]["fileMode"]) == (1000, 0o660)


def test_a_cdi_directory_that_cant_be_written_makes_everything_unhealthy(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree, tmp_path: Path
) -> None:
    (tmp_path / "cdi").touch()
    plugin = start_plugin(*ready.options, *EVERY_LOOK, "--cdi-directory", str(tmp_path / "cdi"))
    plugin.wait_for("CdiFileNotWritten")
    assert set(kubelet.plugin(PROVISION).lists[0].values()) == {"Unhealthy"}
    (tmp_path / "cdi").unlink()
    kubelet.wait_for_allocatable(PROVISION, 110)


def test_simulated_epc_is_given_with_null_devices_and_a_mark(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet
) -> None:
    plugin = start_plugin("--simulated-epc", "32")
    answer = kubelet.allocate(AZURE_EPC.name, 32)
    assert dict(answer.envs) == {"QUOTEHELPER_SIMULATED_EPC": "1"}
    assert [(device.container_path, device.host_path) for device in answer.devices] == [
        ("/dev/sgx_enclave", "/dev/null")
    ]
    assert "quotehelper_device_plugin_simulated 1.0" in ask(plugin, "/metrics")[1]


def test_epc_in_bytes_is_kept_on_the_node(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree, api: ApiServerStandIn
) -> None:
    options = ("--resource", INTEL_EPC.name, "--service-account", str(api.credentials))
    start_plugin(*ready.options, *options, **at_api(api))
    api.wait_until(lambda: api.capacity("node-1").get(INTEL_EPC.name) == str(64 * MIB))
    kubelet.wait_for_allocatable(ENCLAVE, 110)
    assert set(kubelet.plugins) == {ENCLAVE, PROVISION}
    api.add_node("node-1", {INTEL_EPC.name: "0"})
    kubelet.restart()
    api.wait_until(lambda: api.capacity("node-1").get(INTEL_EPC.name) == str(64 * MIB))


def test_epc_in_bytes_without_an_api_server_is_not_ready_and_says_why(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree
) -> None:
    plugin = start_plugin(*ready.options, "--resource", INTEL_EPC.name, "--service-account", "/nonexistent")
    kubelet.wait_for_allocatable(ENCLAVE, 110)
    status, body = ask(plugin, "/readyz")
    assert status == 503
    assert "service account token" in json.loads(body)["problems"][INTEL_EPC.name]


def test_a_node_without_sgx_says_why_in_an_event(
    start_plugin: Callable[..., PluginProcess], machine: MachineTree, api: ApiServerStandIn
) -> None:
    machine.set_flags("fpu")
    start_plugin(*machine.options, "--service-account", str(api.credentials), **at_api(api))
    api.wait_until(lambda: bool(api.events))
    assert api.events[0]["reason"] == "NoEpc"
    assert "no sgx flag" in api.events[0]["message"]
    assert "SGX disabled by BIOS" in api.events[0]["message"]


def test_a_kubelet_that_refuses_is_told_of_in_an_event(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree, api: ApiServerStandIn
) -> None:
    kubelet.refusal = "no plugins today"
    start_plugin(*ready.options, *EVERY_LOOK, "--service-account", str(api.credentials), **at_api(api))
    api.wait_until(lambda: any(event["reason"] == "NotRegistered" for event in api.events))
    assert any("no plugins today" in event["message"] for event in api.events)


def test_holders_are_told_by_the_kubelets_pod_resources(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree, short_path: Path
) -> None:
    devices = pod_api.ContainerDevices(resource_name=AZURE_EPC.name, device_ids=["0", "1", "2"])
    container = pod_api.ContainerResources(name="app", devices=[devices])
    pods = [pod_api.PodResources(name="pod-1", namespace="shop", containers=[container])]
    path = short_path / "pods.sock"
    with PodResourcesServer(path, pod_api.ListPodResourcesResponse(pod_resources=pods)) as server:
        plugin = start_plugin(*ready.options, *EVERY_LOOK, "--attribute-pods", "--pod-resources-socket", str(path))
        kubelet.wait_for_allocatable(AZURE_EPC.name, 64)
        server.wait_until_asked(2)
        metrics = ask(plugin, "/metrics")[1]
    line = 'quotehelper_device_plugin_pod_epc_bytes{container="app",namespace="shop",pod="pod-1"} 3.145728e+06'
    assert line in metrics


def test_holders_of_bytes_are_told_by_the_nodes_pods(
    start_plugin: Callable[..., PluginProcess], ready: MachineTree, api: ApiServerStandIn
) -> None:
    container = {"name": "app", "resources": {"limits": {INTEL_EPC.name: "3Mi"}}}
    api.pods = [
        {
            "metadata": {"name": "pod-1", "namespace": "shop"},
            "spec": {"nodeName": "node-1", "containers": [container]},
            "status": {"phase": "Running"},
        }
    ]
    options = ("--resource", INTEL_EPC.name, "--service-account", str(api.credentials), "--attribute-pods")
    plugin = start_plugin(*ready.options, *EVERY_LOOK, *options, **at_api(api))
    api.wait_until(lambda: sum(target.startswith("/api/v1/pods") for _, target in api.requests) >= 2)
    line = 'quotehelper_device_plugin_pod_epc_bytes{container="app",namespace="shop",pod="pod-1"} 3.145728e+06'
    assert line in ask(plugin, "/metrics")[1]


def test_health_and_readiness_tell_apart(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, ready: MachineTree
) -> None:
    kubelet.stop()
    plugin = start_plugin(*ready.options)
    plugin.wait_for("not registered", times=3)
    assert ask(plugin, "/healthz")[0] == 200
    status, body = ask(plugin, "/readyz")
    assert status == 503
    assert "the kubelet is not running" in json.loads(body)["problems"][AZURE_EPC.name]
    kubelet.start()
    plugin.wait_for("INFO registered ", times=3)
    assert ask(plugin, "/readyz") == (200, '{"ready": true, "problems": {}}')


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 404), ("POST", "/metrics", 405)])
def test_other_requests_get_an_answer(
    start_plugin: Callable[..., PluginProcess], method: str, path: str, status: int
) -> None:
    assert ask(start_plugin("--simulated-epc", "1"), path, method)[0] == status


def test_garbage_on_the_http_port_ends_its_connection_alone(start_plugin: Callable[..., PluginProcess]) -> None:
    plugin = start_plugin("--simulated-epc", "1")
    for garbage in (b"\r\n\r\n", b"\xff" * 100_000, b"GET\r\n\r\n", b"GET / SPDY/3\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", plugin.port), timeout=DEADLINE_S) as client:
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
            assert b"200" not in client.recv(100)
    assert ask(plugin, "/healthz")[0] == 200


def test_its_memory_stays_below_sixty_mib_with_the_largest_list(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet
) -> None:
    plugin = start_plugin("--simulated-epc", "262144")
    for _ in range(3):
        kubelet.wait_for_allocatable(AZURE_EPC.name, 262_144)
        kubelet.restart()
    kubelet.wait_for_allocatable(AZURE_EPC.name, 262_144)
    assert plugin.peak_kib() < 60 * 1024


def test_a_dry_run_explains_and_touches_nothing(ready: MachineTree, short_path: Path) -> None:
    result = run_cli("device-plugin", *ready.options, "--kubelet-directory", str(short_path), "--dry-run", "--json")
    facts = json.loads(result.stdout)
    assert facts["epc"]["nodes"] == [
        {"numa_node": 0, "size_bytes": 48 * MIB},
        {"numa_node": 1, "size_bytes": 16 * MIB},
    ]
    assert [resource["devices"] for resource in facts["resources"]] == [64, 110, 110]
    assert os.listdir(short_path) == []  # noqa: PTH208  names alone


def test_a_dry_run_for_people_says_the_reason(machine: MachineTree) -> None:
    machine.set_flags("fpu")
    text = run_cli("device-plugin", *machine.options, "--dry-run").stdout
    assert "no sgx flag" in text
    assert "/dev/sgx_enclave is missing" in text


def test_a_machine_too_large_for_the_name_is_refused_with_the_alternative(machine: MachineTree) -> None:
    machine.set_epc(512 << 30)
    machine.add_nodes()
    refused = run_cli("device-plugin", *machine.options, "--dry-run", check=False)
    assert refused.returncode == 2
    assert "--resource sgx.intel.com/epc" in refused.stdout
    run_cli("device-plugin", *machine.options, "--dry-run", "--resource", INTEL_EPC.name)


def test_a_machine_too_large_for_the_name_goes_on_with_the_rest(
    start_plugin: Callable[..., PluginProcess], kubelet: Kubelet, machine: MachineTree
) -> None:
    machine.set_epc(512 << 30)
    machine.add_nodes()
    plugin = start_plugin(*machine.options)
    kubelet.wait_for_allocatable(ENCLAVE, 110)
    assert kubelet.plugin(AZURE_EPC.name).lists == [{}]
    assert "--resource sgx.intel.com/epc" in ask(plugin, "/readyz")[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--resource", "example.com/epc"), "is not one of"),
        (("--json",), "--json goes with --dry-run"),
        (("--cdi-uid", "1000"), "--cdi-directory"),
        (("--cdi-mode", "999"), "is not a mode"),
        (("--listen", "9481"), "is not HOST:PORT"),
        (("--simulated-epc", "0"), "range"),
        (("--attribute-pods", "--resource", INTEL_EPC.name, "--service-account", "/nonexistent"), "API server alone"),
    ],
)
def test_a_wrong_command_line_is_refused_with_words(options: tuple[str, ...], words: str) -> None:
    refused = run_cli("device-plugin", *options, check=False)
    assert refused.returncode == 2
    assert words in refused.stderr


def test_help_teaches_what_each_resource_gives() -> None:
    text = run_cli("device-plugin", "--help").stdout
    assert "\n    sgx.intel.com/provision  /dev/sgx_provision, for quoting services alone\n" in text


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    """As where only the daemon's libraries are installed: importing gRPC fails."""
    (tmp_path / "grpc.py").write_text("raise ModuleNotFoundError(\"No module named 'grpc'\", name='grpc')\n")
    refused = subprocess.run(
        [sys.executable, "-m", "quotehelper", "device-plugin", "--dry-run"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert refused.returncode == 2
    assert "pip install 'quotehelper[kubernetes]'" in refused.stderr


def test_an_address_in_use_is_told(kubelet: Kubelet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        options = ("--kubelet-directory", str(kubelet.directory), "--simulated-epc", "1", "--listen", address)
        refused = run_cli("device-plugin", *options, check=False)
    assert refused.returncode == 2
    assert "--listen" in refused.stderr
