"""The slim image, built from Debian's archive, and run as the simulated overlay and the example say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import DEADLINE_S
from manifests import ROOT, Manifest, load, one, run
from pod_runner import Node
from quotehelper import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(1200)  # a base from Debian's archive, on a machine that is busy

IMAGE = f"localhost/quotehelper:{__version__}"
CONTAINERFILES = (ROOT / "deploy/image/Containerfile", ROOT / "deploy/image/Containerfile.psw")


@pytest.fixture(scope="module")
def storage(no_interop_tool: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that keep images of tests apart from the machine's."""
    for tool in ("buildah", "podman", "debootstrap"):
        if shutil.which(tool) is None:
            no_interop_tool(tool)
    if os.geteuid() != 0:
        no_interop_tool("root, which debootstrap needs,")
    directory = tmp_path_factory.mktemp("images")
    return [f"--root={directory / 'storage'}", f"--runroot={directory / 'run'}", "--storage-driver=vfs"]


def build(storage: list[str]) -> str:
    """The id of the image that ``make image`` makes."""
    environment = os.environ | {
        "BUILDAH_OPTIONS": " ".join(storage),
        "BUILDAH_ISOLATION": "chroot",
        "SOURCE_DATE_EPOCH": "1700000000",
    }
    done = subprocess.run(
        [str(ROOT / "deploy/image/build")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return run("buildah", *storage, "images", "--quiet", "--no-trunc", IMAGE).strip()


@pytest.fixture(scope="module")
def image(storage: list[str]) -> str:
    """The image's id."""
    return build(storage)


@pytest.fixture(scope="module")
def overlay(rendered: dict[str, list[Manifest]]) -> list[Manifest]:
    return rendered["simulated"]


@pytest.fixture
def node(image: str, storage: list[str], overlay: list[Manifest], tmp_path: Path) -> Node:
    return Node(tmp_path / "node", image, storage, overlay)


@pytest.fixture
def helper(node: Node, overlay: list[Manifest], tmp_path: Path) -> Iterator[None]:
    """The quote helper's pod on that node, ready."""
    pod: dict[str, Any] = one(overlay, "DaemonSet", "quotehelper")["spec"]["template"]["spec"]
    for container in pod["initContainers"]:
        done = node.run(pod, container["name"], tmp_path / "helper")
        assert done.returncode == 0, done.stderr
    command = node.command(pod, "aesmd", tmp_path / "helper")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if '"ready"' in line:
                break
        else:
            pytest.fail("".join(lines))
        yield
        process.terminate()
        assert process.wait(5 * DEADLINE_S) == 0


@pytest.mark.usefixtures("helper")
def test_a_job_in_containers_of_its_own_gets_its_quote_through_the_shared_directory(
    node: Node, kustomize: str, tmp_path: Path
) -> None:
    (job,) = load(run(kustomize, "build", str(ROOT / "examples/quote-job")))
    pod = job["spec"]["template"]["spec"]
    said = ""
    for container in (*pod["initContainers"], *pod["containers"]):
        done = node.run(pod, container["name"], tmp_path / "job")
        assert done.returncode == 0, done.stderr
        said = done.stdout
    assert "UpToDate" in said
    assert (node.root / "var/run/aesmd/aesm.socket").is_socket()


def test_the_same_sources_make_the_same_image(image: str, storage: list[str]) -> None:
    assert build(storage) == image


def test_the_image_runs_as_nobody_in_particular_and_tells_what_it_holds(image: str, storage: list[str]) -> None:
    about = json.loads(run("buildah", *storage, "inspect", "--type=image", image))
    assert about["OCIv1"]["config"]["User"] == "10650:10650"
    container = run("buildah", *storage, "from", image).strip()
    try:
        root = run("buildah", *storage, "mount", container).strip()
        bill = json.loads((Path(root) / "opt/quotehelper/sbom.spdx.json").read_text())
    finally:
        run("buildah", *storage, "rm", container)
    names = {package["name"] for package in bill["packages"]}
    assert {"quotehelper", "cryptography", "aiohttp", "libc6"} <= names
    assert bill["spdxVersion"] == "SPDX-2.3"


@pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda path: path.name)
def test_a_containerfile_ends_as_a_user_without_rights_and_starts_from_what_is_named(file: Path) -> None:
    text = file.read_text()
    instructions = re.findall(r"^([A-Z]+) (.*)$", text, re.MULTILINE)
    assert [value for word, value in instructions if word == "USER"][-1] == "10650:10650"
    assert all(value.startswith("${") for word, value in instructions if word == "FROM"), "no base of unknown content"
    assert "latest" not in text
    assert not re.search(r"\b(curl|wget|ADD http)", text)


def test_the_image_of_intels_software_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    """The instruction's script, with the programs that it would call replaced by one that tells its arguments."""
    script = re.search(r"^RUN (.*?)\nUSER", CONTAINERFILES[1].read_text(), re.MULTILINE | re.DOTALL)
    assert script
    body = script[1].replace("\\\n", "").replace("/var", str(tmp_path)).replace("/etc", str(tmp_path))
    (tmp_path / "apt-get").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "apt-get").chmod(0o755)

    def installed(**arguments: str) -> tuple[int, str]:
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", **arguments}
        done = subprocess.run(["/bin/sh", "-c", body], env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    assert installed(PSW="default")[0] == 2
    assert installed(PSW="epid", RELEASE="1.22")[0] == 2
    code, default = installed(PSW="default", RELEASE="1.22")
    assert code == 0
    assert "libsgx-dcap-default-qpl=1.22" in default
    assert "libsgx-ae-qe3=1.22" in default
    assert "az-dcap-client" in installed(PSW="azure", RELEASE="1.22")[1]
