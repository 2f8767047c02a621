"""What a container asks for of EPC and devices: read, translated, completed. Pure.

Kubernetes counts extended resources in whole numbers, with requests equal to limits, and fills in requests from limits
(kubernetes 2.3). What breaks that could never start and is denied, in better words than the API server's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from quotehelper.errors import DecodeError
from quotehelper.kube.admission.patch import Operation, pointer, set_member
from quotehelper.kube.admission.remarks import Caution, CautionKind, DenialKind, Denied, shown
from quotehelper.kube.admission.spelling import nearest
from quotehelper.kube.quantity import format_bytes, whole_number
from quotehelper.kube.resources import EPC_RESOURCES, SGX_RESOURCES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quotehelper.kube.admission.pod import Container
    from quotehelper.kube.admission.settings import AdmissionSettings

_OTHERS_RESOURCES = ("sgx.intel.com/qe", "sgx.intel.com/registration")
"""Of Intel's plugin, for its infrastructure: right names, none of our business."""


@dataclass(frozen=True, slots=True)
class SgxRequests:
    """What a container asks for. ``epc``: bytes by resource name. ``devices``: count by resource name; none is 0."""

    container: Container
    epc: dict[str, int]
    devices: dict[str, int]

    @property
    def size_bytes(self) -> int:
        """Its EPC; where it is asked for under several names, the most."""
        return max(self.epc.values(), default=0)


def read_requests(container: Container) -> SgxRequests:
    """What ``container`` asks for. Raises Denied for what can't work, DecodeError for a malformed pod."""
    names = [name for name in SGX_RESOURCES if name in (container.limits or ()) or name in (container.requests or ())]
    counts = {name: _count(container, name) for name in names}
    epc = {
        name: EPC_RESOURCES[name].size_bytes(count) for name, count in counts.items() if count and name in EPC_RESOURCES
    }
    return SgxRequests(container, epc, {name: n for name, n in counts.items() if n and name not in EPC_RESOURCES})


def _count(container: Container, name: str) -> int:
    limits, requests = container.limits or {}, container.requests or {}
    where = f"container {shown(container.name)}"
    if name not in limits:
        raise Denied(
            DenialKind.LIMIT_MISSING,
            f"{where} requests {name} without a limit, which Kubernetes refuses",
            "Write it under resources.limits; the request follows from it",
        )
    limit = _whole(where, name, limits[name])
    if name in requests and _whole(where, name, requests[name]) != limit:
        raise Denied(
            DenialKind.REQUEST_IS_NOT_LIMIT,
            f"{where} requests another amount of {name} than its limit, and this resource can't be overcommitted",
            "Leave resources.requests out for it; the request follows from the limit",
        )
    return limit


def _whole(where: str, name: str, value: object) -> int:
    try:
        number = whole_number(value)
    except DecodeError as error:
        unit = EPC_RESOURCES[name].unit_bytes if name in EPC_RESOURCES else 0
        counted = {0: "devices", 1: "bytes"}.get(unit, "MiB")
        raise Denied(
            DenialKind.NOT_WHOLE,
            f"{where} asks for {shown(str(value))} of {name}, which is no whole number of {counted}",
            "Round it up to a whole number" + (", or write bytes with a suffix, as in 10Mi" if unit == 1 else ""),
        ) from error
    if number < 0:
        raise Denied(DenialKind.NEGATIVE, f"{where} asks for {number} of {name}", "Ask for 1 or more, or leave it out")
    return number


def translate_epc(asked: SgxRequests, settings: AdmissionSettings) -> Iterator[Operation]:
    """Move EPC under other names than the accounting resource's to that; nothing to do yields nothing."""
    foreign = [name for name in asked.epc if name != settings.epc.name]
    if not foreign:
        return
    count = settings.epc.count(asked.size_bytes)
    amount = format_bytes(count) if settings.epc.unit_bytes == 1 else str(count)
    for part, present in (("limits", asked.container.limits), ("requests", asked.container.requests)):
        holder = asked.container.pointer + pointer("resources", part)
        if present is None or not any(name in present for name in asked.epc):
            continue
        for name in foreign:
            if name in present:
                yield Operation("remove", holder + pointer(name))
        yield set_member(holder, present, settings.epc.name, amount)


def add_device(asked: SgxRequests, resource: str | None) -> Iterator[Operation]:
    """Ask for one of a device resource, unless it is asked for already; None is no resource."""
    if resource is None or asked.devices.get(resource):
        return
    for part, present in (("limits", asked.container.limits), ("requests", asked.container.requests)):
        if present is not None:
            yield set_member(asked.container.pointer + pointer("resources", part), present, resource, "1")


def remark_on_requests(asked: SgxRequests, settings: AdmissionSettings) -> Iterator[Caution]:
    """What is odd about the EPC that a container asks for."""
    where = f"container {shown(asked.container.name)}"
    if len(set(asked.epc.values())) > 1:
        sizes = ", ".join(f"{format_bytes(size)} as {name}" for name, size in asked.epc.items())
        yield Caution(CautionKind.EPC_TWICE, f"{where} asks for EPC twice ({sizes}); the most holds. Keep one")
    counted = settings.epc.count(asked.size_bytes) * settings.epc.unit_bytes
    if counted != asked.size_bytes and set(asked.epc) != {settings.epc.name}:
        yield Caution(
            CautionKind.EPC_ROUNDED,
            f"{where}: {asked.size_bytes} bytes of EPC are {format_bytes(counted)} in units of {settings.epc.name}",
        )


NAMES_LIMIT = 64
"""Names of resources in a pod that are compared with ours; more than any pod has, less than a hostile one could."""


def remark_on_names(containers: tuple[Container, ...]) -> Iterator[Caution]:
    """Names of resources that look like misspelt ones of SGX."""
    named = (
        (container.name, name)
        for container in containers
        for name in dict.fromkeys((*(container.limits or ()), *(container.requests or ())))
        if "/" in name and name not in SGX_RESOURCES and name not in _OTHERS_RESOURCES
    )
    for container_name, name in islice(named, NAMES_LIMIT):
        meant = misspelt_resource(name)
        if meant:
            problem = f"container {shown(container_name)} asks for {shown(name)}; was {meant} meant?"
            yield Caution(CautionKind.RESOURCE_NAME, problem)


def misspelt_resource(name: str) -> str | None:
    """The resource of SGX that was meant by ``name``, which is none; None if it has nothing to do with SGX."""
    near = nearest(name, SGX_RESOURCES)
    if near is None and "sgx" in name.lower():
        kind = name.rpartition("/")[2].lower()
        near = next((known for known in SGX_RESOURCES if known.rpartition("/")[2].lower() == kind), None)
    return near
