"""Control group paths as the kubelet and container runtimes name them, and as nobody should."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotehelper.node.cgroup_path import LIMIT_BYTES, Workload, WorkloadKind, parse_cgroups

UID = "0123abcd-4567-89ab-cdef-0123456789ab"
OTHER_UID = "ffffffff-4567-89ab-cdef-0123456789ab"
ID = "0f" * 32
OTHER_ID = "a1" * 32
U, S = UID.replace("-", "_"), UID.replace("-", "")
POD = Workload(WorkloadKind.POD, UID, ID)
HOST = Workload(WorkloadKind.HOST)


def v2(path: str) -> bytes:
    return f"0::{path}\n".encode()


@pytest.mark.parametrize(
    "path",
    [
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{U}.slice/cri-containerd-{ID}.scope",
        f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{U}.slice/crio-{ID}.scope",
        f"/kubepods.slice/kubepods-pod{U}.slice/crio-{ID}.scope/container",
        f"/kubepods.slice/kubepods-pod{U}.slice/docker-{ID}.scope",
        f"/kubepods.slice/kubepods-pod{S}.slice/cri-containerd-{ID}.scope",
        f"/kubepods/burstable/pod{UID}/{ID}",
        f"/kubepods/pod{UID}/{ID}/nested/deeper",
        f"/kubepods/besteffort/pod{S}/{ID}",
        f"/kubepods/besteffort/pod{UID}/crio-{ID}",
        (
            f"/docker/{OTHER_ID}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
            f"kubelet-kubepods-besteffort-pod{U}.slice/cri-containerd-{ID}.scope"
        ),
        f"/docker/{OTHER_ID}/kubelet/kubepods/burstable/pod{UID}/{ID}",
        (
            f"/system.slice/docker-{OTHER_ID}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{U}.slice/"
            f"cri-containerd-{ID}.scope"
        ),
        f"/../../../kubepods-burstable.slice/kubepods-burstable-pod{U}.slice/cri-containerd-{ID}.scope",
        f"/../../pod{UID}/{ID}",
        f"/kubepods/pod{UID}/{ID} (deleted)",
        f"/kubepods/pod{UID}/{ID}/kubepods/pod{OTHER_UID}/{OTHER_ID}",
    ],
)
def test_pod_and_container_are_named_by(path: str) -> None:
    assert parse_cgroups(v2(path)) == POD


@pytest.mark.parametrize(
    "path",
    [
        f"/docker/{ID}",
        f"/system.slice/docker-{ID}.scope",
        f"/machine.slice/libpod-{ID}.scope/container",
        f"/libpod_parent/libpod-{ID}",
        f"/system.slice/containerd.service/cri-containerd-{ID}.scope",
    ],
)
def test_a_container_outside_of_pods_is_named_by(path: str) -> None:
    assert parse_cgroups(v2(path)) == Workload(WorkloadKind.CONTAINER, container_id=ID)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/init.scope",
        "/system.slice/kubelet.service",
        "/user.slice/user-1000.slice/session-1.scope",
        f"/system.slice/crio-conmon-{ID}.scope",
        f"/kubepods.slice/kubepods-pod{U[:-1]}.slice/x",
        f"/kubepods.slice/kubepods-pod{U.replace('_', '-', 1)}.slice/x",
        f"/my-pod{UID}x",
    ],
)
def test_the_host_is_named_by(path: str) -> None:
    assert parse_cgroups(v2(path)) == HOST


def test_a_user_of_the_host_can_name_no_pod() -> None:
    """User sessions may make groups of any name below their own."""
    own = f"/user.slice/user-1000.slice/user@1000.service/kubepods.slice/kubepods-pod{U}.slice/crio-{ID}.scope"
    assert parse_cgroups(v2(own)) == HOST


def test_a_pods_own_processes_beside_its_containers_name_the_pod() -> None:
    path = f"/kubepods.slice/kubepods-pod{U}.slice/crio-conmon-{ID}.scope"
    assert parse_cgroups(v2(path)) == Workload(WorkloadKind.POD, UID)


@pytest.mark.parametrize("path", ["/../../system.slice/x.service", "/..", f"/../cri-containerd-{ID}.scope"])
def test_what_lies_outside_of_a_private_namespace_is_unknown_with_the_reason(path: str) -> None:
    got = parse_cgroups(v2(path))
    assert got.kind is WorkloadKind.UNKNOWN
    assert "control group namespace" in got.doubt


def test_version_1_hierarchies_name_the_pod_where_the_unified_one_is_empty() -> None:
    raw = f"11:memory:/\n3:cpu,cpuacct:/kubepods/burstable/pod{UID}/{ID}\n1:name=systemd:/system.slice\n0::/\n"
    assert parse_cgroups(raw.encode()) == POD


def test_the_unified_hierarchy_is_believed_first() -> None:
    raw = f"5:pids:/kubepods/pod{OTHER_UID}/{OTHER_ID}\n0::/kubepods/pod{UID}/{ID}\n"
    assert parse_cgroups(raw.encode()) == POD


def test_a_name_with_colons_is_part_of_the_path() -> None:
    assert parse_cgroups(v2(f"/a:b:c/kubepods/pod{UID}/{ID}")) == POD


@pytest.mark.parametrize("raw", [b"", b"\n", b"0::", b"0::relative\n", b"no colons\n", b"0::/unfinished"])
def test_without_a_whole_line_nothing_is_known(raw: bytes) -> None:
    assert parse_cgroups(raw).kind is WorkloadKind.UNKNOWN


def test_no_more_is_looked_at_than_the_limit() -> None:
    assert parse_cgroups(b"1::/" + b"x" * LIMIT_BYTES + b"\n" + v2(f"/kubepods/pod{UID}/{ID}")).kind is not POD.kind


fragments = st.sampled_from(
    [
        "/",
        "..",
        ":",
        "\n",
        "0::/",
        "kubepods",
        "kubepods-",
        "pod",
        UID,
        U,
        S,
        ID,
        ".slice",
        ".scope",
        "crio-",
        "user.slice",
    ]
)


@given(st.one_of(st.binary(max_size=300), st.lists(fragments, max_size=30).map(lambda parts: "".join(parts).encode())))
def test_any_bytes_give_something_well_formed(raw: bytes) -> None:
    got = parse_cgroups(raw)
    assert re.fullmatch("([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?", got.pod_uid)
    assert re.fullmatch("([0-9a-f]{64})?", got.container_id)
    assert bool(got.doubt) is (got.kind is WorkloadKind.UNKNOWN)
    assert bool(got.pod_uid) is (got.kind is WorkloadKind.POD)
