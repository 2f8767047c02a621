"""The way from a container to its quote provider: environment, mount, volume. Pure.

The *directory* of the socket is mounted, read-only, so that a new socket is seen after the provider has restarted, and
no client can replace it (kubernetes 7.1). A hostPath of type Directory makes a pod wait, with an event that says so,
until the helper has made the directory; DirectoryOrCreate would hide that there is none until the first quote.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from quotehelper.kube.admission.opting_in import OptingIn, Role
from quotehelper.kube.admission.patch import Operation, append, pointer
from quotehelper.kube.admission.pod import is_aesm_directory, is_aesm_socket, items, text
from quotehelper.kube.admission.settings import AESM_DIRECTORY, AESM_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quotehelper.kube.admission.pod import Container, Pod

VOLUME = "quotehelper-aesmd"
"""The name of the volume that is added; a number follows if the pod has another volume of that name."""


class Wiring:
    """Operations that connect a pod's containers with their provider. ``adds_host_path``: a hostPath is among them."""

    def __init__(self, pod: Pod, opted: OptingIn) -> None:
        self._pod = pod
        self._opted = opted
        reached = [c for c in pod.containers if opted.roles.get(c.name) in {Role.CLIENT, Role.PROVIDER}]
        self._clients = [c for c in reached if opted.roles[c.name] is Role.CLIENT]
        self._unmounted = [c for c in reached if c.aesm_mount is None and socket_file(pod, c) is None]
        self._volume, self._is_new = self._find_volume()

    @property
    def adds_host_path(self) -> bool:
        """Whether a volume that leads to the node is added to the pod."""
        return bool(self._unmounted) and self._is_new and not self._opted.own_provider

    def operations(self) -> Iterator[Operation]:
        """What is to be added; nothing if everything is there."""
        for container in self._clients:
            if AESM_VARIABLE not in container.environment:
                variable = {"name": AESM_VARIABLE, "value": "1"}
                yield append(container.pointer + "/env", items(container.raw, "env"), variable)
        for container in self._unmounted:
            mount: dict[str, object] = {"name": self._volume, "mountPath": AESM_DIRECTORY}
            if self._opted.roles[container.name] is Role.CLIENT:
                mount["readOnly"] = True
            yield append(container.pointer + "/volumeMounts", items(container.raw, "volumeMounts"), mount)
        if self._unmounted and self._is_new:
            volume = {"name": self._volume, **self._source()}
            yield append(pointer("spec", "volumes"), items(self._pod.spec, "volumes"), volume)

    def _find_volume(self) -> tuple[str, bool]:
        """The volume to mount, and whether it has to be added."""
        provider = self._opted.own_provider
        if provider:
            mounts = (c.aesm_mount for c in self._pod.containers if c.name == provider)
            present = next((text(mount, "name") for mount in mounts if mount), None)
        else:
            present = next((name for name in self._pod.volumes if is_aesm_directory(self._pod.host_path(name))), None)
        if present is not None:
            return present, False
        taken = self._pod.volumes
        return next(name for n in count(1) if (name := f"{VOLUME}-{n}" if n > 1 else VOLUME) not in taken), True

    def _source(self) -> dict[str, object]:
        if self._opted.own_provider:
            return {"emptyDir": {"medium": "Memory"}}
        serves_node = Role.PROVIDER in self._opted.roles.values()  # Intel's own DaemonSet, which makes the directory
        kind = "DirectoryOrCreate" if serves_node else "Directory"
        return {"hostPath": {"path": AESM_DIRECTORY, "type": kind}}


def socket_file(pod: Pod, container: Container) -> str | None:
    """Where ``container`` mounts the socket itself instead of its directory; None if it does not."""
    for mount in container.mounts:
        path = text(mount, "mountPath")
        if is_aesm_socket(path) or is_aesm_socket(pod.host_path(text(mount, "name"))):
            return path
    return None
