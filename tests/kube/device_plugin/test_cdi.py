"""The CDI file says what the options say, in the version it needs, and is whole at every moment."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from quotehelper.errors import ConfigError
from quotehelper.kube.device_plugin.cdi import FILE_NAME, CdiOptions, specification, write_specification
from quotehelper.kube.device_plugin.machine import DeviceNode, NodeKind

if TYPE_CHECKING:
    from pathlib import Path

ENCLAVE = DeviceNode(NodeKind.ENCLAVE, "/dev/sgx_enclave")
PROVISION = DeviceNode(NodeKind.PROVISION, None, "missing")


def test_a_node_has_the_owner_and_mode_that_were_asked_for(tmp_path: Path) -> None:
    options = CdiOptions(tmp_path, uid=0, gid=1000, mode=0o660)
    assert specification([ENCLAVE, PROVISION], options, legacy_aliases=False) == {
        "cdiVersion": "0.5.0",
        "kind": "quotehelper/sgx",
        "devices": [
            {
                "name": "enclave",
                "containerEdits": {
                    "deviceNodes": [
                        {
                            "path": "/dev/sgx_enclave",
                            "type": "c",
                            "permissions": "rw",
                            "uid": 0,
                            "gid": 1000,
                            "fileMode": 0o660,
                        }
                    ]
                },
            }
        ],
    }


def test_additional_groups_need_the_newer_version(tmp_path: Path) -> None:
    options = CdiOptions(tmp_path, additional_gids=(104, 105))
    document = specification([ENCLAVE], options, legacy_aliases=False)
    assert document["cdiVersion"] == "0.7.0"
    assert document["devices"][0]["containerEdits"]["additionalGids"] == [104, 105]


def test_an_alias_names_the_node_of_the_host(tmp_path: Path) -> None:
    document = specification([ENCLAVE], CdiOptions(tmp_path), legacy_aliases=True)
    nodes = document["devices"][0]["containerEdits"]["deviceNodes"]
    assert [(node["path"], node.get("hostPath")) for node in nodes] == [
        ("/dev/sgx_enclave", None),
        ("/dev/sgx/enclave", "/dev/sgx_enclave"),
    ]


def test_the_file_is_readable_for_everybody_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        path = write_specification(specification([ENCLAVE], CdiOptions(tmp_path), legacy_aliases=False), tmp_path)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert json.loads(path.read_text())["kind"] == "quotehelper/sgx"
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE_NAME]


def test_an_unchanged_file_is_left_alone(tmp_path: Path) -> None:
    document = specification([ENCLAVE], CdiOptions(tmp_path), legacy_aliases=False)
    inodes = {write_specification(document, tmp_path).stat().st_ino for _ in range(2)}
    assert len(inodes) == 1


def test_a_file_that_somebody_changed_is_written_anew(tmp_path: Path) -> None:
    document = specification([ENCLAVE], CdiOptions(tmp_path), legacy_aliases=False)
    path = write_specification(document, tmp_path)
    path.write_text("{}")
    write_specification(document, tmp_path)
    assert json.loads(path.read_text()) == document


def test_no_devices_leave_no_file(tmp_path: Path) -> None:
    write_specification(specification([ENCLAVE], CdiOptions(tmp_path), legacy_aliases=False), tmp_path)
    write_specification(specification([PROVISION], CdiOptions(tmp_path), legacy_aliases=False), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cant_be_written_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "cdi").touch()
    document = specification([ENCLAVE], CdiOptions(tmp_path / "cdi"), legacy_aliases=False)
    with pytest.raises(ConfigError, match="cdi-directory"):
        write_specification(document, tmp_path / "cdi")
