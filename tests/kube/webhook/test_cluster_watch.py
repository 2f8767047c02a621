"""What is known of the cluster follows the API server, and says how old it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from api_server import ApiServer
from harness import DEADLINE_S
from quotehelper.kube.webhook.cluster_watch import ClusterWatch, open_watching
from quotehelper.kube.webhook.settings import HelperPods
from quotehelper.kube.webhook.telemetry import make_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from quotehelper.kube.admission.cluster import ClusterView

NODES, NAMESPACES, PODS = "/api/v1/nodes", "/api/v1/namespaces", "/api/v1/namespaces/ns/pods"


def thing(name: str, labels: dict[str, str] | None = None, **fields: object) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels or {}}, **fields}


def helper(node: str, *, ready: bool = True) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return thing(f"helper-{node}", spec={"nodeName": node}, status={"conditions": conditions})


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ApiServer]:
    """A cluster of two nodes, one with a ready helper."""
    with ApiServer() as running:
        running.put(f"{NODES}/a", thing("a", {"zone": "1"}))
        running.put(f"{NODES}/b", thing("b"))
        running.put(f"{NAMESPACES}/x", thing("x", {"pod-security.kubernetes.io/enforce": "baseline"}))
        running.put(f"{PODS}/helper-a", helper("a"))
        monkeypatch.setenv("KUBECONFIG", running.kubeconfig(tmp_path)["KUBECONFIG"])
        yield running


def watch_until(
    wanted: Callable[[ClusterView], bool], *, do: Callable[[], None] = lambda: None, clock: list[float] | None = None
) -> ClusterView:
    """Follow the cluster until the view is as wanted; ``do`` happens once it is known."""

    async def run() -> ClusterView:
        now = clock or [0.0]
        watch = ClusterWatch(HelperPods("ns", {"app": "q"}), make_log(as_json=True, level="error"), lambda: now[0])
        assert watch.view() is None
        async with open_watching() as client:
            task = asyncio.create_task(watch.follow(client))
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await until(watch, lambda _view: True)
                    await asyncio.to_thread(do)
                    return await until(watch, wanted)
            finally:
                task.cancel()

    return asyncio.run(run())


async def until(watch: ClusterWatch, wanted: Callable[[ClusterView], bool]) -> ClusterView:
    while True:
        view = watch.view()
        if view is not None and wanted(view):
            return view
        await asyncio.sleep(0.01)


def ready(view: ClusterView) -> set[str]:
    return {node.name for node in view.nodes if node.helper_ready}


def test_nodes_namespaces_and_helpers_are_known(api: ApiServer) -> None:
    del api
    view = watch_until(lambda _view: True)
    assert {node.name: node.labels for node in view.nodes} == {"a": {"zone": "1"}, "b": {}}
    assert ready(view) == {"a"}
    assert view.namespace_labels["x"]["pod-security.kubernetes.io/enforce"] == "baseline"


def test_of_nodes_and_namespaces_only_metadata_is_asked_for(api: ApiServer) -> None:
    watch_until(lambda _view: True)
    for _method, path, accept in api.requests:
        assert ("PartialObjectMetadata" in accept) == (path != PODS)


def test_a_helper_that_becomes_ready_is_seen(api: ApiServer) -> None:
    watch_until(
        lambda view: ready(view) == {"a", "b"}, do=lambda: api.put(f"{PODS}/helper-b", helper("b"), event="ADDED")
    )


@pytest.mark.parametrize(
    "change",
    [
        ("MODIFIED", helper("a", ready=False)),
        ("DELETED", helper("a")),
        ("MODIFIED", {**helper("a"), "metadata": {"name": "helper-a", "deletionTimestamp": "2026-01-01T00:00:00Z"}}),
    ],
)
def test_a_helper_that_is_not_ready_any_more_is_seen(api: ApiServer, change: tuple[str, dict[str, Any]]) -> None:
    event, pod = change
    watch_until(lambda view: ready(view) == set(), do=lambda: api.put(f"{PODS}/helper-a", pod, event=event))


def test_a_version_that_is_too_old_has_everything_listed_anew(api: ApiServer) -> None:
    def change() -> None:
        api.put(f"{NODES}/c", thing("c"))
        api.put(f"{NODES}/gone", {"metadata": {}, "message": "too old"}, event="ERROR")
        del api.objects[f"{NODES}/gone"]

    watch_until(lambda view: "c" in {node.name for node in view.nodes}, do=change)


def test_a_watch_that_is_refused_as_too_old_has_everything_listed_anew(api: ApiServer) -> None:
    def change() -> None:
        api.put(f"{NODES}/c", thing("c"))
        api.gone.add(NODES)

    watch_until(lambda view: "c" in {node.name for node in view.nodes}, do=change)


def test_age_grows_while_the_api_server_is_away_and_what_was_known_stays(api: ApiServer) -> None:
    clock = [0.0]

    def leave() -> None:
        api.silent = True
        clock[0] = 1000.0

    view = watch_until(lambda view: view.age_s >= 900.0, do=leave, clock=clock)
    assert ready(view) == {"a"}


def test_age_is_little_while_watches_go_on(api: ApiServer) -> None:
    del api
    clock = [0.0]

    def pass_by() -> None:
        clock[0] = 1000.0

    assert watch_until(lambda view: view.age_s < 1.0, do=pass_by, clock=clock).age_s < 1.0
