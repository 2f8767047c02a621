"""Google's protobuf over our own schema file, compiled when the tests run: the oracle of our codec."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from grpc_tools import protoc

if TYPE_CHECKING:
    from types import ModuleType

SCHEMA = Path(__file__).with_name("aesm_messages.proto")


def compile_schema(text: str, name: str, directory: Path) -> ModuleType:
    (directory / f"{name}.proto").write_text(text)
    assert protoc.main(["protoc", f"-I{directory}", f"--python_out={directory}", f"{name}.proto"]) == 0
    spec = importlib.util.spec_from_file_location(name, directory / f"{name}_pb2.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401  made when the tests run
    """The messages as the specification has them."""
    return compile_schema(SCHEMA.read_text(), "aesm_messages", tmp_path_factory.mktemp("schema"))


@pytest.fixture(scope="session")
def partial_schema(tmp_path_factory: pytest.TempPathFactory) -> Any:  # noqa: ANN401  made when the tests run
    """The same with nothing required: it tells what is in bytes that lack something."""
    text = SCHEMA.read_text().replace("required ", "optional ").replace("aesm.message;", "aesm.partial;")
    return compile_schema(text, "aesm_partial", tmp_path_factory.mktemp("schema"))
