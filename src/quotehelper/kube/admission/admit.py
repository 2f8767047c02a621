"""Admit one pod: read what it asks for, opt it in, complete it, say what is odd. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quotehelper.errors import DecodeError
from quotehelper.kube.admission.opting_in import OptingIn, Role, opt_in
from quotehelper.kube.admission.patch import Operation, pointer, set_member
from quotehelper.kube.admission.pod import Pod, members, text
from quotehelper.kube.admission.remarks import Caution, CautionKind, DenialKind, Denied, as_texts, shown
from quotehelper.kube.admission.requests import (
    SgxRequests,
    add_device,
    read_requests,
    remark_on_names,
    remark_on_requests,
    translate_epc,
)
from quotehelper.kube.admission.settings import AESM_VARIABLE, INTEL_EPC_SUM, QUOTING
from quotehelper.kube.admission.wiring import Wiring, socket_file
from quotehelper.kube.quantity import format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quotehelper.kube.admission.cluster import ClusterView
    from quotehelper.kube.admission.settings import AdmissionSettings

_MIRROR = "kubernetes.io/config.mirror"
"""Marks the image of a pod that runs from a file on its node; changing the image changes nothing."""
_POD_SECURITY = "pod-security.kubernetes.io/enforce"
_REFUSING_HOST_PATH = ("baseline", "restricted")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a pod. ``denial``: why it is refused, without a patch. ``opted_in``: quoting was set up."""

    patch: tuple[Operation, ...] = ()
    warnings: tuple[str, ...] = ()
    denial: str | None = None
    opted_in: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a pod is to be. ``by_namespace``: its namespace has our label. ``view``: None if nothing is known."""

    namespace: str
    by_namespace: bool = False
    view: ClusterView | None = None


def admit(raw_pod: dict[str, object], surroundings: Surroundings, settings: AdmissionSettings) -> Verdict:
    """The verdict on a pod, which is the user's JSON. Raises nothing: a pod that can't be read is left alone."""
    pod = Pod(raw_pod)
    try:
        if _MIRROR in pod.annotations:
            return Verdict()
        asked = [read_requests(container) for container in pod.containers]
        with_epc = dict.fromkeys(request.container.name for request in asked if request.epc)
        opted = opt_in(pod, with_epc, by_namespace=surroundings.by_namespace)
        _deny_in_process(asked, opted, surroundings, settings)
        wiring = Wiring(pod, opted)
        patch = [*_resources(asked, opted, settings), *wiring.operations(), *_epc_sum(pod, asked, settings)]
        warnings = [*_remarks(pod, asked, opted, settings), *_about_cluster(pod, opted, wiring, surroundings, settings)]
    except Denied as denied:
        return Verdict(denial=str(denied))
    except DecodeError as error:
        told = Caution(CautionKind.UNREADABLE, f"the pod could not be read and was left as it is: {error}")
        return Verdict(warnings=as_texts([told]))
    return Verdict(tuple(patch), as_texts(warnings), opted_in=bool(opted.roles))


def _deny_in_process(
    asked: list[SgxRequests], opted: OptingIn, surroundings: Surroundings, settings: AdmissionSettings
) -> None:
    if settings.provision is None or settings.allows_in_process(surroundings.namespace):
        return
    for request in asked:
        name = request.container.name
        hosts = opted.roles.get(name) in {Role.IN_PROCESS, Role.PROVIDER}
        if hosts and request.epc and not request.devices.get(settings.provision):
            raise Denied(
                DenialKind.IN_PROCESS_NOT_ALLOWED,
                f"container {shown(name)} is declared to host quoting enclaves, which need {settings.provision}; "
                f"namespace {shown(surroundings.namespace)} may not have it by declaration",
                f'Quote out-of-process ({QUOTING}: "out-of-process"), or have the operator add the namespace to '
                "--in-process-namespaces",
            )


def _resources(asked: list[SgxRequests], opted: OptingIn, settings: AdmissionSettings) -> Iterator[Operation]:
    for request in asked:
        if not request.epc:
            continue
        yield from translate_epc(request, settings)
        yield from add_device(request, settings.enclave)
        if opted.roles.get(request.container.name) in {Role.IN_PROCESS, Role.PROVIDER}:
            yield from add_device(request, settings.provision)


def _epc_sum(pod: Pod, asked: list[SgxRequests], settings: AdmissionSettings) -> Iterator[Operation]:
    """Intel's annotation for runtimes that start a virtual machine, such as Kata; others don't read it."""
    units = sum(settings.epc.count(request.size_bytes) for request in asked if request.container.is_regular)
    total = units * settings.epc.unit_bytes
    if not total or not text(pod.spec, "runtimeClassName"):
        return
    amount = format_bytes(total)
    if members(pod.raw, "metadata") is None:  # no API server sends such a pod
        yield set_member(pointer("metadata"), None, "annotations", {INTEL_EPC_SUM: amount})
    elif pod.annotations.get(INTEL_EPC_SUM) != amount:
        holder = pointer("metadata", "annotations")
        yield set_member(holder, members(pod.metadata, "annotations"), INTEL_EPC_SUM, amount)


def _remarks(pod: Pod, asked: list[SgxRequests], opted: OptingIn, settings: AdmissionSettings) -> Iterator[Caution]:
    yield from opted.warnings
    for request in asked:
        yield from _both_modes(request, opted, settings)
        yield from _about_socket(pod, request, opted)
        if request.container.name in opted.named and request.container.name in opted.roles and not request.epc:
            yield Caution(
                CautionKind.NO_EPC,
                f"container {shown(request.container.name)} is to quote but asks for no EPC, so no enclave can start "
                f"in it. Add a limit of {settings.epc.name}",
            )
        yield from remark_on_requests(request, settings)
    yield from remark_on_names(pod.containers)
    hosting = [name for name, role in opted.roles.items() if role is Role.IN_PROCESS]
    asking = [name for name, role in opted.roles.items() if role is Role.CLIENT]
    if hosting and asking:
        yield Caution(
            CautionKind.BOTH_MODES_IN_POD,
            f"container {shown(hosting[0])} quotes in-process, {shown(asking[0])} out-of-process: if they are one "
            "application, use one mode",
        )


def _both_modes(request: SgxRequests, opted: OptingIn, settings: AdmissionSettings) -> Iterator[Caution]:
    container, role = request.container, opted.roles.get(request.container.name)
    where = f"container {shown(container.name)}"
    by_socket = AESM_VARIABLE in container.environment or container.aesm_mount is not None
    privileged = settings.provision is not None and request.devices.get(settings.provision)
    if role is Role.IN_PROCESS and by_socket:
        yield Caution(
            CautionKind.BOTH_MODES_IN_CONTAINER,
            f"{where} is declared in-process, but has {AESM_VARIABLE} or the AESM directory, by which clients quote "
            "out-of-process. Remove them",
        )
    elif privileged and (role is Role.CLIENT or (role is None and by_socket)):
        yield Caution(
            CautionKind.BOTH_MODES_IN_CONTAINER,
            f"{where} quotes out-of-process and needs no {settings.provision}, which lets it identify the platform. "
            "Remove it",
        )


def _about_socket(pod: Pod, request: SgxRequests, opted: OptingIn) -> Iterator[Caution]:
    container = request.container
    where = f"container {shown(container.name)}"
    path = socket_file(pod, container)
    if path is not None:
        yield Caution(
            CautionKind.SOCKET_FILE,
            f"{where} mounts a socket file at {shown(path)}: it stays bound to the socket of now, and breaks when the "
            "helper restarts. Mount the directory /var/run/aesmd",
        )
    variable = container.environment.get(AESM_VARIABLE)
    in_process = opted.roles.get(container.name) is Role.IN_PROCESS
    if variable is None or in_process or variable.get("valueFrom") is not None:
        return
    if text(variable, "value") in {"", "0"}:
        yield Caution(
            CautionKind.AESM_VARIABLE,
            f"{where} sets {AESM_VARIABLE} to {shown(text(variable, 'value'))}, which does not turn it off: its "
            'presence makes Intel\'s library ask AESM. Set it to "1", or remove it',
        )


def _about_cluster(
    pod: Pod, opted: OptingIn, wiring: Wiring, surroundings: Surroundings, settings: AdmissionSettings
) -> Iterator[Caution]:
    """What is known of nodes and namespace, if it is known and not too old."""
    view = surroundings.view
    if view is None or view.age_s > settings.view_age_limit_s:
        return
    if Role.CLIENT in opted.roles.values() and not opted.own_provider and view.lacks_helper(pod):
        yield Caution(
            CautionKind.NO_HELPER,
            "no node that this pod may run on has a ready quote helper; quotes will fail until there is one. "
            "Look at the helper's DaemonSet and its node selector",
        )
    labels = view.namespace_labels.get(surroundings.namespace, {})
    level = labels.get(_POD_SECURITY)
    if wiring.adds_host_path and level in _REFUSING_HOST_PATH:
        yield Caution(
            CautionKind.POD_SECURITY,
            f"the hostPath volume for /var/run/aesmd was added, which Pod Security level {level} of this namespace "
            "refuses unless the pod is exempt. Use a namespace of level privileged",
        )
    mode = labels.get(QUOTING)
    if mode is not None and mode != "out-of-process" and not opted.roles:
        yield Caution(
            CautionKind.NAMESPACE_LABEL,
            f"this namespace's label {QUOTING} is {shown(mode)}, which has no effect; the one value is out-of-process",
        )
