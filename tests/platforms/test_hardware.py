"""What a machine has of SGX, on trees that stand for machines, and what of it is in the way."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotehelper.platforms.hardware import DeviceNode, Hardware, obstacles, read_hardware

if TYPE_CHECKING:
    from pathlib import Path

LIBRARY = "usr/lib/x86_64-linux-gnu/libsgx_dcap_ql.so.1"
PROVIDER = "usr/lib/x86_64-linux-gnu/libdcap_quoteprov.so.1"
NODE = DeviceNode("/dev/sgx_provision", 0o660, 0, 117, 0)
GOOD = Hardware(
    sgx=True,
    launch_control=True,
    enclave=NODE._replace(path="/dev/sgx_enclave"),
    provision=NODE,
    old_nodes=(),
    dev_noexec=False,
    library="/lib/libsgx_dcap_ql.so.1",
    provider="/lib/libdcap_quoteprov.so.1",
    groups=(0, 117),
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of a machine with all of it."""
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    for name, content in {
        "proc/cpuinfo": "processor : 0\nflags\t\t: fpu sgx sgx_lc avx\n",
        "proc/mounts": "proc /proc proc rw 0 0\ndevtmpfs /dev devtmpfs rw,nosuid 0 0\n",
        "dev/sgx_enclave": "",
        "dev/sgx_provision": "",
        LIBRARY: "",
        PROVIDER: "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "dev/sgx_provision").chmod(0o640)
    return tmp_path


def test_a_machine_with_all_of_it_has_no_obstacle(machine: Path) -> None:
    found = read_hardware(str(machine))
    assert obstacles(found) == ()
    assert found.provision == DeviceNode("/dev/sgx_provision", 0o640, os.getuid(), os.getgid(), 0)
    assert found.library == str(machine / LIBRARY)


def test_a_machine_with_nothing_has_all_obstacles_the_processor_first(tmp_path: Path) -> None:
    problems = [obstacle.problem for obstacle in obstacles(read_hardware(str(tmp_path)))]
    assert [problem.split()[0] for problem in problems] == [
        "the",
        "/dev/sgx_enclave",
        "/dev/sgx_provision",
        "libsgx_dcap_ql.so.1",
        "there",
    ]
    assert problems[0] == "the processor's flags lack sgx"


def test_this_machine_can_be_looked_at() -> None:
    found = read_hardware()
    assert found.groups
    assert all(obstacle.problem and obstacle.remedy for obstacle in obstacles(found))


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("proc/cpuinfo", "flags : fpu sgx\n", "sgx_lc"),
        ("proc/cpuinfo", "flags : fpu sgx1 nosgx\n", "lack sgx"),
        ("proc/mounts", "devtmpfs /dev devtmpfs rw,noexec,nosuid 0 0\n", "/dev is mounted noexec"),
    ],
)
def test_what_the_kernel_shows_is_understood(machine: Path, file: str, content: str, problem: str) -> None:
    (machine / file).write_text(content)
    (found,) = obstacles(read_hardware(str(machine)))
    assert problem in found.problem


@pytest.mark.parametrize("mounts", ["", "\n\n", "/dev", "x /dev ", "x /dev/shm tmpfs noexec 0 0\n", "\xff\0 /dev"])
def test_odd_mounts_say_nothing(machine: Path, mounts: str) -> None:
    (machine / "proc/mounts").write_text(mounts)
    assert not read_hardware(str(machine)).dev_noexec


@given(raw=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_in_the_kernel_s_files_are_survived(machine: Path, raw: bytes) -> None:
    (machine / "etc").mkdir(exist_ok=True)
    for name in ("proc/cpuinfo", "proc/mounts", "etc/ld.so.cache"):
        (machine / name).write_bytes(b"flags\t: " + raw)
    found = read_hardware(str(machine))
    assert found.library == str(machine / LIBRARY)
    assert all(obstacle.remedy for obstacle in obstacles(found))


@pytest.mark.parametrize("name", ["sgx_enclave", "sgx_provision"])
def test_a_node_that_is_not_there_is_named(machine: Path, name: str) -> None:
    (machine / "dev" / name).unlink()
    (found,) = obstacles(read_hardware(str(machine)))
    assert found.problem.startswith(f"/dev/{name} is not there")
    assert "device plugin" in found.remedy


def test_the_node_s_older_name_will_do(machine: Path) -> None:
    (machine / "dev/sgx").mkdir()
    (machine / "dev/sgx_provision").rename(machine / "dev/sgx/provision")
    found = read_hardware(str(machine))
    assert obstacles(found) == ()
    assert found.provision is not None
    assert found.provision.path == "/dev/sgx/provision"


def test_an_old_driver_is_named(machine: Path) -> None:
    (machine / "dev/sgx_enclave").rename(machine / "dev/isgx")
    (found,) = obstacles(read_hardware(str(machine)))
    assert "/dev/isgx belongs to an old driver" in found.problem


def test_a_node_that_can_not_be_opened_says_why(machine: Path) -> None:
    (machine / "dev/sgx_provision").unlink()
    (machine / "dev/sgx_provision").mkdir()
    (found,) = obstacles(read_hardware(str(machine)))
    assert os.strerror(errno.EISDIR) in found.problem


def test_a_missing_group_is_named() -> None:
    (found,) = obstacles(GOOD._replace(provision=NODE._replace(problem=errno.EACCES), groups=(0,)))
    assert "it belongs to group 117, of which this process is no member" in found.problem
    assert "supplementalGroups" in found.remedy


def test_a_mode_that_does_not_suffice_is_named() -> None:
    (found,) = obstacles(GOOD._replace(provision=NODE._replace(problem=errno.EACCES, mode=0o640)))
    assert "its mode is 640" in found.remedy


def test_a_device_that_the_container_may_not_use_is_told_from_its_mode() -> None:
    (found,) = obstacles(GOOD._replace(enclave=NODE._replace(problem=errno.EPERM)))
    assert "a mount alone is not enough" in found.remedy


def test_a_library_is_found_where_the_loader_finds_it(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / LIBRARY).unlink()
    assert read_hardware(str(machine)).library is None
    cache = b"glibc-ld.so.cache1.1\0/opt/intel/libsgx_dcap_ql.so\0/opt/intel/libsgx_dcap_ql.so.1\0"
    (machine / "etc").mkdir()
    (machine / "etc/ld.so.cache").write_bytes(cache)
    assert read_hardware(str(machine)).library == "/opt/intel/libsgx_dcap_ql.so.1"
    (machine / "own").mkdir()
    (machine / "own/libsgx_dcap_ql.so.1").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f":{machine}/own:")
    assert read_hardware(str(machine)).library == f"{machine}/own/libsgx_dcap_ql.so.1"


def test_a_library_given_by_path_is_that_or_none(machine: Path) -> None:
    given = machine / "given.so"
    assert read_hardware(str(machine), library=str(given)).library is None
    given.touch()
    assert read_hardware(str(machine), library=str(given)).library == str(given)
