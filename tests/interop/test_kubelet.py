"""gRPC's own implementation in Go, with the kubelet's messages and limits, against the device plugin."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from device_plugin_parts import PluginProcess
from harness import DEADLINE_S
from quotehelper.kube.device_plugin.device_list import LIST_LIMIT, Health, encode_list, largest_count
from quotehelper.kube.device_plugin.plugin import SERVICE
from quotehelper.kube.kubelet_api import deviceplugin_v1beta1_pb2 as api
from quotehelper.kube.resources import AZURE_EPC, PROVISION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.interop

SOURCES = Path(__file__).parent / "kubelet"


@pytest.fixture(scope="module")
def driver(no_interop_tool: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver, built."""
    go = shutil.which("go", path=f"{os.environ['PATH']}:/usr/local/go/bin")
    if go is None:
        no_interop_tool("Go 1.26")
    binary = tmp_path_factory.mktemp("kubelet") / "kubelet"
    subprocess.run([str(go), "build", "-o", str(binary), "."], cwd=SOURCES, check=True, timeout=900)
    return binary


@pytest.fixture
def directory() -> Iterator[Path]:
    """The kubelet's directory; its path leaves room for the names of sockets."""
    with tempfile.TemporaryDirectory(prefix="dp-") as path:
        yield Path(path)


@contextlib.contextmanager
def kubelet(driver: Path, directory: Path, resource: str) -> Iterator[Callable[[], dict[str, Any]]]:
    """The driver, running; what is yielded waits for what it saw."""
    with subprocess.Popen([driver, directory, resource], stdout=subprocess.PIPE, text=True) as running:
        try:
            yield lambda: dict(json.loads(running.communicate(timeout=DEADLINE_S)[0]))
        finally:
            running.kill()


@pytest.mark.timeout(1000)
def test_the_plugin_is_registered_listed_and_asked(driver: Path, directory: Path) -> None:
    with (
        kubelet(driver, directory, AZURE_EPC.name) as seen,
        PluginProcess(directory, "--simulated-epc", "100", "--legacy-aliases"),
    ):
        assert seen() == {
            "endpoint": "kubernetes.azure.com-sgx_epc_mem_in_MiB.sock",
            "version": "v1beta1",
            "devices": 100,
            "healthy": 100,
            "first_id": "0",
            "topology": False,
            "code": "OK",
            "message": "",
            "containers": [
                {
                    "devices": ["/dev/null:/dev/sgx_enclave:rw", "/dev/null:/dev/sgx/enclave:rw"],
                    "cdi": [],
                    "environment": {"QUOTEHELPER_SIMULATED_EPC": "1"},
                }
            ],
        }


@pytest.mark.timeout(1000)
def test_cdi_names_arrive(driver: Path, directory: Path, tmp_path: Path) -> None:
    with (
        kubelet(driver, directory, PROVISION) as seen,
        PluginProcess(directory, "--simulated-epc", "1", "--cdi-directory", str(tmp_path)),
    ):
        (container,) = seen()["containers"]
        assert (container["cdi"], container["devices"]) == (["quotehelper/sgx=provision"], [])


@pytest.mark.timeout(1000)
def test_the_largest_list_that_is_advertised_arrives(driver: Path, directory: Path) -> None:
    count = largest_count(Health.HEALTHY)
    with (
        kubelet(driver, directory, AZURE_EPC.name) as seen,
        PluginProcess(directory, "--simulated-epc", str(count)),
    ):
        found = seen()
        assert (found["code"], found["healthy"]) == ("OK", count)


@pytest.mark.timeout(1000)
def test_one_device_more_is_what_the_kubelet_refuses(driver: Path, directory: Path) -> None:
    too_long = encode_list(largest_count(Health.HEALTHY) + 1, Health.HEALTHY)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "ListAndWatch": grpc.unary_stream_rpc_method_handler(lambda _request, _context: iter([too_long])),
        "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(lambda _request, _context: b""),
    }
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(f"unix:{directory / 'oversize.sock'}")
    server.start()
    with kubelet(driver, directory, AZURE_EPC.name) as seen:
        options = (("grpc.default_authority", "localhost"),)
        with grpc.insecure_channel(f"unix:{directory / 'kubelet.sock'}", options=options) as channel:
            register = channel.unary_unary(
                "/v1beta1.Registration/Register", api.RegisterRequest.SerializeToString, api.Empty.FromString
            )
            request = api.RegisterRequest(version="v1beta1", endpoint="oversize.sock", resource_name=AZURE_EPC.name)
            register(request, timeout=DEADLINE_S, wait_for_ready=True)
        found = seen()
    server.stop(0).wait(DEADLINE_S)
    assert found["code"] == "ResourceExhausted"
    assert f"({len(too_long)} vs. {LIST_LIMIT})" in found["message"]
