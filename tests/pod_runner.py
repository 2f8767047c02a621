"""A pod's containers run as its manifest says, without a cluster: one node's directories, a container runtime.

What the kubelet adds and nobody here needs, such as devices of the device plugin, is left out.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, Any

from harness import DEADLINE_S

if TYPE_CHECKING:
    from pathlib import Path

    from manifests import Manifest

_DEADLINE_S = 5 * DEADLINE_S
"""A runtime copies an image for each container, where it can do no better."""
_PRIVATE_CGROUPS = 'umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec "$@"'
"""Where machines mix both versions of cgroups, crun refuses to run; it gets one version of its own."""


class Node:
    """A node: ``root`` stands for its file system. ``image`` is what every container runs."""

    def __init__(self, root: Path, image: str, storage: list[str], configuration: list[Manifest]) -> None:
        self.root = root
        self._image = image
        self._storage = storage
        self._files = {each["metadata"]["name"]: each["data"] for each in configuration if each["kind"] == "ConfigMap"}
        (root / "var/run").mkdir(parents=True)

    def command(self, pod: dict[str, Any], name: str, pod_directory: Path) -> list[str]:
        """What runs the container ``name`` of ``pod``, whose own volumes are in ``pod_directory``."""
        (container,) = [each for each in (*pod["initContainers"], *pod["containers"]) if each["name"] == name]
        volumes = {volume["name"]: self._directory(volume, pod_directory) for volume in pod["volumes"]}
        context = pod["securityContext"] | container["securityContext"]
        files, processes = min(os.sysconf("SC_OPEN_MAX"), 4096), 256
        words = [
            *("unshare", "--mount", "sh", "-c", _PRIVATE_CGROUPS, "sh", "podman", *self._storage),
            *("--cgroup-manager=cgroupfs", "--events-backend=file", "run", "--rm", "--cgroups=disabled"),
            *("--network=none", f"--ulimit=nofile={files}:{files}", f"--ulimit=nproc={processes}:{processes}"),
            *(f"--user={context['runAsUser']}:{context['runAsGroup']}", "--cap-drop=all"),
            *(f"--cap-add={capability}" for capability in context["capabilities"].get("add", ())),
        ]
        if context["readOnlyRootFilesystem"]:
            words += ["--read-only", "--read-only-tmpfs=false"]
        if context["allowPrivilegeEscalation"] is False:
            words.append("--security-opt=no-new-privileges")
        for variable in container.get("env", ()):
            words.append(f"--env={variable['name']}={variable.get('value', pod_directory.name)}")
        for mount in container["volumeMounts"]:
            mode = "ro" if mount.get("readOnly") else "rw"
            words.append(f"--volume={volumes[mount['name']]}:{mount['mountPath']}:{mode}")
        arguments = [word.replace("$(POD_UID)", pod_directory.name) for word in container["args"]]
        return [*words, self._image, *arguments]

    def run(self, pod: dict[str, Any], name: str, pod_directory: Path) -> subprocess.CompletedProcess[str]:
        """Run one container to its end."""
        command = self.command(pod, name, pod_directory)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_DEADLINE_S)

    def _directory(self, volume: dict[str, Any], pod_directory: Path) -> Path:
        """Where the node has ``volume``, made as the kubelet makes it."""
        if "hostPath" in volume:
            directory: Path = self.root / volume["hostPath"]["path"].lstrip("/")
            if volume["hostPath"]["type"] == "DirectoryOrCreate":
                directory.mkdir(0o755, parents=True, exist_ok=True)
            return directory
        directory = pod_directory / str(volume["name"])
        with contextlib.suppress(FileExistsError):
            directory.mkdir(parents=True)
            directory.chmod(0o777)
        if "configMap" in volume:
            for file, text in self._files[volume["configMap"]["name"]].items():
                (directory / file).write_text(text)
        return directory
