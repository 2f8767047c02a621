"""The committed messages are what the committed schemas say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from quotehelper.kube.kubelet_api import deviceplugin_v1beta1_pb2, podresources_v1_pb2

if TYPE_CHECKING:
    from types import ModuleType

SOURCES = Path(__file__).parents[2] / "src"


def without_json_names(file: FileDescriptorProto) -> FileDescriptorProto:
    """The compiler adds them when it writes a descriptor set; modules go without."""
    for message in file.message_type:
        for inner in (message, *message.nested_type):
            for field in inner.field:
                field.ClearField("json_name")
    return file


@pytest.mark.parametrize("module", [deviceplugin_v1beta1_pb2, podresources_v1_pb2], ids=lambda module: module.__name__)
def test_messages_are_current(module: ModuleType, tmp_path: Path) -> None:
    """Compared by content, not by text: that changes with the compiler's version."""
    name = module.__name__.replace(".", "/").removesuffix("_pb2") + ".proto"
    compiled = tmp_path / "set"
    assert protoc.main(["protoc", f"-I{SOURCES}", f"--descriptor_set_out={compiled}", name]) == 0
    (expected,) = FileDescriptorSet.FromString(compiled.read_bytes()).file
    committed = FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(committed)
    assert without_json_names(committed) == without_json_names(expected)


@pytest.mark.parametrize("schema", sorted(SOURCES.rglob("*.proto")), ids=lambda path: path.name)
def test_a_schema_of_others_has_its_notice(schema: Path) -> None:
    head = schema.read_text()[:700]
    assert head.startswith("// Copyright The Kubernetes Authors.")
    assert "Apache License, Version 2.0" in head
