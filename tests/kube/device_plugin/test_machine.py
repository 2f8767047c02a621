"""A machine is looked at through real directory trees with real device nodes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from device_plugin_parts import MIB, MachineTree
from quotehelper.kube.device_plugin.epc import EpcAbsence, EpcSource, NodeEpc
from quotehelper.kube.device_plugin.machine import Roots, SimulatedDevices, Stated, look

if TYPE_CHECKING:
    from pathlib import Path

SECTIONS = {
    (0, 0): (0x20, 0, 0, 0),
    (7, 0): (0, 1 << 2, 1 << 30, 0),
    (0x12, 2): (1, 1, 0, 2),
    (0x12, 3): (1, 5, 0, 2),
}


def test_sysfs_is_read_for_each_numa_node(machine: MachineTree) -> None:
    machine.set_epc(64 * MIB, None, 32 * MIB)
    epc = look(machine.roots, Stated()).epc
    assert epc.source is EpcSource.SYSFS
    assert epc.nodes == (NodeEpc(0, 64 * MIB), NodeEpc(2, 32 * MIB))


def test_cpuid_is_read_where_sysfs_is_silent(machine: MachineTree) -> None:
    machine.set_epc(None)
    machine.set_cpuid(SECTIONS)
    epc = look(machine.roots, Stated()).epc
    assert (epc.source, epc.size_bytes) == (EpcSource.CPUID, 16 << 30)


def test_a_damaged_file_lets_the_next_source_speak(machine: MachineTree) -> None:
    machine.set_epc("many\n")
    machine.set_cpuid(SECTIONS)
    epc = look(machine.roots, Stated()).epc
    assert epc.source is EpcSource.CPUID
    assert "sgx_total_bytes: b'many\\n' is not a decimal number" in epc.trail[0]


def test_an_endless_file_is_not_read_to_its_end(machine: MachineTree) -> None:
    machine.set_epc("1" * 10_000_000)
    assert look(machine.roots, Stated()).epc.source is EpcSource.NONE


def test_a_cpuid_device_that_breaks_off_is_a_finding(machine: MachineTree) -> None:
    device = machine.roots.dev / "cpu/0/cpuid"
    device.parent.mkdir(parents=True)
    device.write_bytes(b"short")
    assert any("5 bytes found, 16 expected" in line for line in look(machine.roots, Stated()).epc.trail)


def test_a_missing_cpuid_device_is_told_with_its_remedy(machine: MachineTree) -> None:
    epc = look(machine.roots, Stated()).epc
    assert epc.absence is EpcAbsence.SIZE_UNKNOWN
    assert any("No such file or directory (modprobe cpuid" in line for line in epc.trail)


def test_no_flag_is_told(machine: MachineTree) -> None:
    machine.set_flags("fpu vme")
    assert look(machine.roots, Stated()).epc.absence is EpcAbsence.NO_FLAG


def test_nothing_at_all_is_no_error(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    found = look(Roots(nowhere, nowhere, nowhere), Stated())
    assert (found.epc.size_bytes, found.has_sgx) == (0, False)


def test_nodes_are_found_under_the_kernels_names(machine: MachineTree) -> None:
    machine.add_nodes()
    found = look(machine.roots, Stated())
    assert (found.enclave.host_path, found.provision.host_path) == ("/dev/sgx_enclave", "/dev/sgx_provision")
    assert found.enclave.problem == found.provision.problem == ""


def test_nodes_of_the_older_driver_are_found(machine: MachineTree) -> None:
    machine.add_node("sgx/enclave")
    machine.add_node("sgx/provision")
    found = look(machine.roots, Stated())
    assert (found.enclave.host_path, found.provision.host_path) == ("/dev/sgx/enclave", "/dev/sgx/provision")


def test_a_link_is_followed_to_the_node_itself(machine: MachineTree) -> None:
    machine.add_node("other")
    (machine.roots.dev / "sgx").mkdir()
    (machine.roots.dev / "sgx/enclave").symlink_to("../other")
    assert look(machine.roots, Stated()).enclave.host_path == "/dev/other"


def test_a_link_out_of_the_tree_is_not_given_away(machine: MachineTree, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (machine.roots.dev / "sgx_enclave").symlink_to(tmp_path / "elsewhere")
    assert look(machine.roots, Stated()).enclave.host_path is None


def test_a_directory_is_no_node(machine: MachineTree) -> None:
    (machine.roots.dev / "sgx_enclave").mkdir()
    found = look(machine.roots, Stated()).enclave
    assert (found.host_path, found.problem) == (None, "/dev/sgx_enclave is no character device")


def test_a_fifo_is_no_node_and_is_not_opened(machine: MachineTree) -> None:
    os.mkfifo(machine.roots.dev / "sgx_enclave")
    assert look(machine.roots, Stated()).enclave.host_path is None


def test_the_driver_without_launch_control_is_recognised(machine: MachineTree) -> None:
    machine.add_node("isgx")
    assert "/dev/isgx is there" in look(machine.roots, Stated()).enclave.problem


@pytest.mark.parametrize(("devices", "path"), [(SimulatedDevices.NULL, "/dev/null"), (SimulatedDevices.NONE, None)])
def test_simulated_epc_brings_its_own_devices(
    machine: MachineTree, devices: SimulatedDevices, path: str | None
) -> None:
    found = look(machine.roots, Stated(simulated_bytes=64 * MIB, simulated_devices=devices))
    assert (found.enclave.host_path, found.provision.host_path) == (path, path)
    assert not found.enclave.problem
