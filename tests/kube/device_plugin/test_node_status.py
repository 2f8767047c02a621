"""The node's status says what it should, whoever changes it, with the rights that are asked for and no more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_plugin_parts import MIB, MachineTree, Recorder
from node_api_server import ApiServerStandIn, Refusal, apply_operation
from quotehelper.errors import ClusterError, ConfigError
from quotehelper.kube.device_plugin.api_server import ApiServer, access_from
from quotehelper.kube.device_plugin.inventory import Inventory, Offer, take_stock
from quotehelper.kube.device_plugin.machine import Stated, look
from quotehelper.kube.device_plugin.node_events import MESSAGE_LIMIT, NodeEvents
from quotehelper.kube.device_plugin.node_status import (
    NodeStatus,
    Rhythm,
    operations_for,
    sold_elsewhere,
    stated_bytes,
)
from quotehelper.kube.device_plugin.telemetry import Telemetry
from quotehelper.kube.resources import AZURE_EPC, INTEL_EPC, EpcResource

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

NODE = "node-1"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServerStandIn]:
    with ApiServerStandIn(tmp_path / "serviceaccount") as running:
        running.add_node(NODE)
        yield running


def client(api: ApiServerStandIn) -> ApiServer:
    access = access_from(api.environment, api.credentials)
    assert access is not None
    return ApiServer(access)


class Keeper:
    """A NodeStatus with what it needs."""

    def __init__(self, api: ApiServerStandIn, node: str = NODE) -> None:
        self.log = Recorder()
        self.telemetry = Telemetry()
        server = client(api)
        self.events = NodeEvents(server, node, self.telemetry, self.log)
        self.status = NodeStatus(
            server, node, Rhythm(0.02, 0.02, 2), events=self.events, telemetry=self.telemetry, log=self.log
        )


def stock(machine: MachineTree, accounting: EpcResource = INTEL_EPC) -> Inventory:
    return take_stock(look(machine.roots, Stated()), Offer(accounting))


@pytest.fixture
def ready(machine: MachineTree) -> MachineTree:
    """A machine with 64 MiB of EPC."""
    machine.set_epc(64 * MIB)
    machine.add_nodes()
    return machine


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_the_capacity_is_put_on_the_nodes_status(api: ApiServerStandIn, ready: MachineTree) -> None:
    keeper = Keeper(api)
    run(keeper.status.look(stock(ready)))
    assert api.capacity(NODE) == {"cpu": "8", "sgx.intel.com/epc": str(64 * MIB)}
    assert keeper.status.problem == ""


def test_a_right_status_is_not_patched_again(api: ApiServerStandIn, ready: MachineTree) -> None:
    keeper = Keeper(api)
    for _ in range(3):
        run(keeper.status.look(stock(ready)))
    assert [method for method, _ in api.requests] == ["GET", "PATCH", "GET", "GET"]


def test_the_same_amount_in_another_form_is_right(api: ApiServerStandIn, ready: MachineTree) -> None:
    api.capacity(NODE)["sgx.intel.com/epc"] = "64Mi"
    run(Keeper(api).status.look(stock(ready)))
    assert [method for method, _ in api.requests] == ["GET"]


@pytest.mark.parametrize("was", ["0", "1Mi", "1e3", "128Mi"])
def test_what_a_kubelet_or_another_wrote_is_put_right(api: ApiServerStandIn, ready: MachineTree, was: str) -> None:
    api.capacity(NODE)["sgx.intel.com/epc"] = was
    run(Keeper(api).status.look(stock(ready)))
    assert api.capacity(NODE)["sgx.intel.com/epc"] == str(64 * MIB)


def test_a_recreated_node_is_put_right_without_being_asked(api: ApiServerStandIn, ready: MachineTree) -> None:
    keeper = Keeper(api)
    inventory = stock(ready)

    def right() -> bool:
        return api.capacity(NODE).get("sgx.intel.com/epc") == str(64 * MIB)

    async def keep() -> None:
        kept = asyncio.create_task(keeper.status.keep(lambda: inventory))
        await asyncio.to_thread(api.wait_until, right)
        api.add_node(NODE)
        await asyncio.to_thread(api.wait_until, right)
        kept.cancel()

    run(keep())


def test_a_patch_never_meets_a_namesake() -> None:
    node: dict[str, Any] = {"metadata": {"uid": "old"}, "status": {"capacity": {"cpu": "8"}}}
    operations = operations_for(node, 4096)
    node["metadata"]["uid"] = "new"
    with pytest.raises(Refusal, match="testing value failed"):
        apply_operation(node, operations[0])


def test_a_node_without_any_capacity_gets_one() -> None:
    node: dict[str, Any] = {"metadata": {"uid": "u"}, "status": {}}
    for operation in operations_for(node, 4096):
        apply_operation(node, operation)
    assert node["status"]["capacity"] == {"sgx.intel.com/epc": "4096"}


def test_a_node_that_never_had_epc_is_not_told_of_none(api: ApiServerStandIn, machine: MachineTree) -> None:
    run(Keeper(api).status.look(stock(machine)))
    assert [method for method, _ in api.requests] == ["GET"]


def test_epc_that_is_gone_is_withdrawn(api: ApiServerStandIn, machine: MachineTree) -> None:
    api.capacity(NODE)["sgx.intel.com/epc"] = "64Mi"
    run(Keeper(api).status.look(stock(machine)))
    assert api.capacity(NODE)["sgx.intel.com/epc"] == "0"


def test_missing_rights_are_told_with_the_rights_to_give(api: ApiServerStandIn, ready: MachineTree) -> None:
    api.rights.remove(("patch", "nodes/status"))
    keeper = Keeper(api)
    for _ in range(2):
        run(keeper.status.look(stock(ready)))
    (told,) = keeper.log.fields("node status not kept")
    assert "cannot patch resource" in str(told["reason"])
    assert told["remedy"] == "the service account needs get on nodes and patch on nodes/status"
    assert keeper.status.problem


def test_an_unknown_node_is_told_with_the_option(api: ApiServerStandIn, ready: MachineTree) -> None:
    keeper = Keeper(api, "elsewhere")
    run(keeper.status.look(stock(ready)))
    assert "--node-name" in str(keeper.log.fields("node status not kept")[0]["remedy"])


def test_epc_sold_under_a_second_name_is_told_once(api: ApiServerStandIn, ready: MachineTree) -> None:
    api.capacity(NODE)["sgx.intel.com/epc"] = "64Mi"
    keeper = Keeper(api)
    for _ in range(2):
        run(keeper.status.look(stock(ready, AZURE_EPC)))
    assert [event["reason"] for event in api.events] == ["EpcSoldTwice"]
    assert "sgx.intel.com/epc (64Mi)" in api.events[0]["message"]
    assert api.capacity(NODE)["sgx.intel.com/epc"] == "64Mi"


def test_a_name_with_nothing_under_it_sells_nothing() -> None:
    capacity = {AZURE_EPC.name: "64", INTEL_EPC.name: "0", "alibabacloud.com/sgx_epc_MiB": "rubbish"}
    assert sold_elsewhere({"status": {"capacity": capacity}}, AZURE_EPC.name) == {}


def test_an_event_is_what_describe_node_shows(api: ApiServerStandIn) -> None:
    keeper = Keeper(api)
    run(keeper.events.warn("NoEpc", "no EPC: the processor has no SGX"))
    (event,) = api.events
    assert event["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": NODE, "uid": NODE}
    assert (event["type"], event["reason"]) == ("Warning", "NoEpc")
    assert event["source"] == {"component": "quotehelper-device-plugin", "host": NODE}


def test_the_same_event_is_not_repeated_within_its_time(api: ApiServerStandIn) -> None:
    now = [1000.0]
    events = NodeEvents(client(api), NODE, Telemetry(), Recorder(), lambda: now[0])
    for at in (1000.0, 1599.0, 1600.0):
        now[0] = at
        run(events.inform("EpcAvailable", "64 MiB"))
    assert len(api.events) == 2


def test_a_message_is_cut_to_what_the_api_server_takes(api: ApiServerStandIn) -> None:
    run(Keeper(api).events.warn("NoEpc", "x" * 5000))
    assert len(api.events[0]["message"]) == MESSAGE_LIMIT


def test_an_event_that_cant_be_written_is_told_and_forgotten(api: ApiServerStandIn) -> None:
    api.rights.remove(("create", "events"))
    keeper = Keeper(api)
    run(keeper.events.warn("NoEpc", "none"))
    assert keeper.log.fields("event not written")
    assert 'node_events_total{outcome="failed"} 1.0' in keeper.telemetry.exposition().decode()


def test_a_renewed_token_is_used_at_once(api: ApiServerStandIn) -> None:
    server = client(api)
    token = (api.credentials / "token").read_text()
    (api.credentials / "token").write_text("expired")
    with pytest.raises(ClusterError, match="401: Unauthorized"):
        asyncio.run(server.get(f"/api/v1/nodes/{NODE}"))
    (api.credentials / "token").write_text(token)
    assert asyncio.run(server.get(f"/api/v1/nodes/{NODE}"))["kind"] == "Node"


def test_a_server_of_another_authority_is_not_talked_to(api: ApiServerStandIn, tmp_path: Path) -> None:
    other = ApiServerStandIn(tmp_path / "other/serviceaccount")
    with other:
        (api.credentials / "ca.crt").write_bytes((other.credentials / "ca.crt").read_bytes())
    with pytest.raises(ClusterError, match="CERTIFICATE_VERIFY_FAILED"):
        asyncio.run(client(api).get(f"/api/v1/nodes/{NODE}"))
    assert api.requests == []


def test_a_server_that_is_gone_is_a_cluster_error(api: ApiServerStandIn) -> None:
    server = client(api)
    api.stop()
    with pytest.raises(ClusterError, match="GET /api/v1/nodes"):
        asyncio.run(server.get("/api/v1/nodes/x"))


def test_an_answer_beyond_the_limit_is_refused(api: ApiServerStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quotehelper.kube.device_plugin.api_server.ANSWER_LIMIT", 50)
    with pytest.raises(ClusterError, match="longer than 50 bytes"):
        asyncio.run(client(api).get(f"/api/v1/nodes/{NODE}"))


def test_a_damaged_authority_is_the_operators_to_mend(api: ApiServerStandIn) -> None:
    (api.credentials / "ca.crt").write_text("nothing")
    with pytest.raises(ConfigError, match=r"ca\.crt"):
        client(api)


@pytest.mark.parametrize("missing", ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "token"])
def test_without_token_or_address_the_api_server_is_left_alone(api: ApiServerStandIn, missing: str) -> None:
    environment = api.environment
    environment.pop(missing, None)
    if missing == "token":
        (api.credentials / "token").unlink()
    assert access_from(environment, api.credentials) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NODES = st.fixed_dictionaries(
    {},
    optional={
        "metadata": JSON | st.fixed_dictionaries({"uid": JSON}),
        "status": JSON | st.fixed_dictionaries({"capacity": JSON | st.fixed_dictionaries({INTEL_EPC.name: JSON})}),
    },
)


@given(NODES, st.integers(0, 1 << 50))
def test_any_answer_gives_a_patch_that_works_or_an_error(node: dict[str, Any], size_bytes: int) -> None:
    sold_elsewhere(node, AZURE_EPC.name)
    try:
        operations = operations_for(node, size_bytes)
    except ClusterError:
        return
    if operations and isinstance(node.get("status"), dict):
        for operation in operations:
            apply_operation(node, operation)
        assert stated_bytes(node) == size_bytes
