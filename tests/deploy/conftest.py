"""Manifests rendered by the real tools, and Kubernetes' schemas in the form that kubeconform reads."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
import yaml

from manifests import COMPOSITIONS, CUSTOM, GATES, IMAGES, KUSTOMIZE, OVERLAYS, SCHEMAS, Manifest, find_tool, load, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def kustomize(no_interop_tool: Callable[[str], None]) -> str:
    """The tool."""
    found = find_tool("kustomize")
    if found is None:
        no_interop_tool("kustomize (make tools)")
        raise AssertionError
    return found


@pytest.fixture(scope="session")
def rendered(kustomize: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Manifest]]:
    """What each overlay and composition, and each gate of a canary, comes to."""
    directories = {name: KUSTOMIZE / "overlays" / name for name in OVERLAYS}
    directories |= {name: KUSTOMIZE / "canary-gate" / name.removeprefix("gate, ") for name in GATES}
    for name, components in COMPOSITIONS.items():
        directories[name] = tmp_path_factory.mktemp("composition")
        compose(directories[name], components)
    return {name: load(run(kustomize, "build", str(directory))) for name, directory in directories.items()}


def compose(directory: Path, components: tuple[str, ...]) -> None:
    """Write a kustomization into ``directory``, as an operator would."""

    def to(path: str) -> str:
        return os.path.relpath(KUSTOMIZE / path, directory.resolve())

    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [to("base")],
        "components": [to(f"components/{name}") for name in components],
        "images": [{"name": name, "newTag": "0.1.0"} for name in IMAGES],
    }
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))


@pytest.fixture(scope="session")
def conforming(
    no_interop_tool: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[list[Manifest], int], str]:
    """Hold manifests against the strict schemas of Kubernetes 1.MINOR; what kubeconform says."""
    kubeconform = find_tool("kubeconform")
    if kubeconform is None:
        no_interop_tool("kubeconform (make tools)")
        raise AssertionError
    directory = tmp_path_factory.mktemp("schemas")

    def conform(manifests: list[Manifest], minor: int) -> str:
        schemas = directory / str(minor)
        if not schemas.exists():
            unpack(minor, schemas)
        file = directory / "manifests.yaml"
        file.write_text(yaml.safe_dump_all(manifests))
        location = str(schemas / "{{.ResourceKind}}{{.KindSuffix}}.json")
        skipped = ",".join(CUSTOM)
        return run(kubeconform, "-strict", "-summary", "-skip", skipped, "-schema-location", location, str(file))

    return conform


def unpack(minor: int, directory: Path) -> None:
    """The schemas of Kubernetes 1.MINOR with references that lead to the file beside, not into the network."""
    directory.mkdir()
    for path in (SCHEMAS / f"v1.{minor}.0-local-strict").glob("*.json"):
        text = path.read_text().replace('"/api/_definitions.json#', '"_definitions.json#')
        text = re.sub(r',?\s*"\$id": "[^"]*"', "", text)
        (directory / path.name).write_text(text)


@pytest.fixture(scope="session")
def helm(no_interop_tool: Callable[[str], None]) -> str:
    """The tool."""
    found = find_tool("helm")
    if found is None:
        no_interop_tool("helm (make tools)")
        raise AssertionError
    return found
