"""The device plugin as a whole: looks at the machine, keeps each resource at the kubelet, tells what it does. Shell.

One event loop, no thread of ours and no child process: gRPC does not survive a fork. Each part is a task; a fault in
one is told, and that part begins anew after a pause, while the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from quotehelper.errors import ClusterError, ConfigError
from quotehelper.kube.device_plugin.allocation import Delivery
from quotehelper.kube.device_plugin.api_server import ApiServer
from quotehelper.kube.device_plugin.attribution import PodResources, PodSpecifications
from quotehelper.kube.device_plugin.cdi import specification, write_specification
from quotehelper.kube.device_plugin.endpoint import Endpoint
from quotehelper.kube.device_plugin.http_server import serving
from quotehelper.kube.device_plugin.inventory import Reason, take_stock
from quotehelper.kube.device_plugin.machine import look
from quotehelper.kube.device_plugin.news import News
from quotehelper.kube.device_plugin.node_events import NodeEvents
from quotehelper.kube.device_plugin.node_status import NodeStatus
from quotehelper.kube.device_plugin.plugin import Plugin
from quotehelper.kube.device_plugin.plugin_socket import KUBELET_SOCKET, identity
from quotehelper.kube.device_plugin.settling import Settling
from quotehelper.kube.device_plugin.telemetry import Telemetry
from quotehelper.kube.device_plugin.watch import DirectoryWatch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from quotehelper.kube.device_plugin.attribution import Attribution
    from quotehelper.kube.device_plugin.event_log import EventLog
    from quotehelper.kube.device_plugin.inventory import Inventory
    from quotehelper.kube.device_plugin.machine import Machine
    from quotehelper.kube.device_plugin.settings import Settings

END_S = 5.0
"""Seconds that parts have to end in, before they are cancelled."""
FAULT_PAUSE_S = 5.0
"""Seconds until a part that failed by a fault of ours begins anew."""


def survey(settings: Settings, *, write_cdi: bool) -> Inventory:
    """Look at the machine, and say what to advertise; with ``write_cdi`` the CDI file is brought up to date."""
    machine = look(settings.roots, settings.stated)
    problem = _write_cdi(settings, machine) if write_cdi else ""
    return take_stock(machine, settings.offer, problem)


async def serve(settings: Settings, log: EventLog) -> None:
    """Run until SIGTERM or SIGINT. Raises ConfigError for what has to be put right before it can begin."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        api = None
        if settings.access is not None and settings.node_name:
            api = ApiServer(settings.access)
        service = _Service(settings, api, log)
        stack.enter_context(_signals(loop, stopping))
        stack.enter_context(service.watching(loop))
        await stack.enter_async_context(service.reachable())
        await service.run(stopping)


class _Service:
    """All parts of one device plugin."""

    def __init__(self, settings: Settings, api: ApiServer | None, log: EventLog) -> None:
        self._settings = settings
        self._log = log
        self._telemetry = Telemetry()
        self._stock = Settling(survey(settings, write_cdi=True), settings.settle_s)
        self._events = NodeEvents(api, settings.node_name, self._telemetry, log)
        delivery = Delivery(cdi=settings.cdi is not None, legacy_aliases=settings.legacy_aliases)
        self._endpoints = [
            Endpoint(
                Plugin(advertised, delivery, self._telemetry, log),
                settings.kubelet_directory,
                settings.pace,
                self._telemetry,
                log,
            )
            for advertised in self._stock.value.resources
        ]
        self._node_status = None
        if api is not None:
            self._node_status = NodeStatus(
                api, settings.node_name, settings.rhythm, events=self._events, telemetry=self._telemetry, log=log
            )
        self._attribution = _attribution(settings, api, self._stock.value)
        self._news = News()
        self._problems_since: dict[tuple[str, str], float] = {}
        self._watch: DirectoryWatch | None = None
        self._kubelet = identity(settings.kubelet_directory / KUBELET_SOCKET)

    @contextlib.contextmanager
    def watching(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Be told of changes among the kubelet's sockets and the device nodes."""
        roots = self._settings.roots
        directories = (self._settings.kubelet_directory, roots.dev, roots.dev / "sgx")
        with DirectoryWatch(directories, self._something_changed, loop) as watch:
            self._watch = watch
            yield

    @contextlib.asynccontextmanager
    async def reachable(self) -> AsyncIterator[None]:
        """Serve metrics and health, if wanted."""
        if self._settings.http is None:
            yield
            return
        async with serving(self._settings.http, self._telemetry, self._problems) as port:
            self._log.info("http ready", address=self._settings.http.host, port=port)
            yield

    async def run(self, stopping: asyncio.Event) -> None:
        """Everything, until ``stopping``."""
        await self._take_over(self._stock.value)
        lasting = [self._survey_again]
        if self._node_status is not None:
            lasting.append(self._keep_node_status)
        if self._attribution is not None:
            lasting.append(self._attribute)
        background = [asyncio.create_task(self._part(part)) for part in lasting]
        kept = [asyncio.create_task(self._part(endpoint.keep)) for endpoint in self._endpoints]
        await stopping.wait()
        self._log.info("ending")
        for endpoint in self._endpoints:
            endpoint.stop()
        for task in background:
            task.cancel()
        await asyncio.wait(kept, timeout=END_S) if kept else None
        for task in kept:
            task.cancel()
        await asyncio.gather(*background, *kept, return_exceptions=True)
        self._log.info("ended")

    async def _part(self, part: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run a part to its end, anew after a fault."""
        while True:
            try:
                await part()
            except Exception as error:  # noqa: BLE001  the edge: one part's fault must not end the others
                self._log.error("part failed", part=part.__qualname__, error=repr(error))
                await asyncio.sleep(FAULT_PAUSE_S)
            else:
                return

    async def _survey_again(self) -> None:
        """Look at the machine from time to time and after notices; take over what lasts."""
        clock = asyncio.get_running_loop().time
        while True:
            due_s = self._stock.due_s(clock())
            pause_s = self._settings.rescan_s if due_s is None else min(due_s, self._settings.rescan_s)
            await self._news.wait(pause_s)
            self._notice_kubelet()
            if self._watch is not None:
                self._watch.renew()
            if self._stock.offer(survey(self._settings, write_cdi=True), clock()):
                await self._take_over(self._stock.value)
            await self._tell_problems()

    async def _take_over(self, inventory: Inventory) -> None:
        """Advertise ``inventory`` from now on, and say so everywhere."""
        fine = inventory.reason in {Reason.AVAILABLE, Reason.SIMULATED}
        for endpoint, advertised in zip(self._endpoints, inventory.resources, strict=True):
            endpoint.plugin.publish(advertised)
        self._telemetry.took_stock(inventory)
        if self._node_status is not None:
            self._node_status.wake()
        (self._log.info if fine else self._log.warning)(
            "advertising",
            resource=inventory.accounting.name,
            sold_bytes=inventory.sold_bytes,
            reason=inventory.reason.value,
            explanation=inventory.explanation,
            remedy=inventory.remedy or "none",
        )
        message = f"{inventory.accounting.name}: {inventory.explanation}. {inventory.remedy}".rstrip(". ")
        write = self._events.inform if inventory.reason is Reason.AVAILABLE else self._events.warn
        await write(inventory.reason.value, message)

    async def _tell_problems(self) -> None:
        """Write an event about what has been wrong for as long as lies between two looks."""
        now_s = asyncio.get_running_loop().time()
        known = self._problems_since
        self._problems_since = {problem: known.get(problem, now_s) for problem in self._problems().items()}
        for (name, problem), since_s in self._problems_since.items():
            if now_s - since_s >= self._settings.rescan_s:
                await self._events.warn("NotRegistered", f"{name}: {problem}")

    async def _keep_node_status(self) -> None:
        if self._node_status is not None:
            await self._node_status.keep(lambda: self._stock.value)

    async def _attribute(self) -> None:
        """Find out from time to time who holds EPC."""
        problem = ""
        while self._attribution is not None:
            try:
                self._telemetry.holders(await self._attribution.holders())
                problem = ""
            except ClusterError as error:
                self._telemetry.holders(None)
                if str(error) != problem:
                    problem = str(error)
                    self._log.warning("holders not known", reason=error)
            await asyncio.sleep(self._settings.rescan_s)

    def _something_changed(self) -> None:
        self._news.tell()
        for endpoint in self._endpoints:
            endpoint.wake()
        self._notice_kubelet()

    def _notice_kubelet(self) -> None:
        """A kubelet that starts sets what it does not know of to 0: have the node's status looked at."""
        before, self._kubelet = self._kubelet, identity(self._settings.kubelet_directory / KUBELET_SOCKET)
        if self._kubelet != before and self._node_status is not None:
            self._node_status.wake()

    def _problems(self) -> dict[str, str]:
        """What is not as it should be, by resource."""
        problems = {endpoint.plugin.resource: endpoint.problem for endpoint in self._endpoints if endpoint.problem}
        inventory = self._stock.value
        if inventory.refused:
            problems[inventory.accounting.name] = f"{inventory.explanation}. {inventory.remedy}"
        elif inventory.extended_bytes is not None and self._node_status is None:
            problems[inventory.accounting.name] = _NO_API
        elif inventory.extended_bytes is not None and self._node_status is not None and self._node_status.problem:
            problems[inventory.accounting.name] = self._node_status.problem
        return problems


_NO_API = "nobody puts it on the node's status: that takes a service account token and --node-name"


def _attribution(settings: Settings, api: ApiServer | None, inventory: Inventory) -> Attribution | None:
    if not settings.attribute_pods:
        return None
    if inventory.extended_bytes is None:
        return PodResources(settings.pod_resources, inventory.accounting)
    if api is None:
        raise ConfigError(
            f"who holds {inventory.accounting.name} can be learnt from the API server alone",
            "Give the pod a service account token and --node-name, or leave --attribute-pods out",
        )
    return PodSpecifications(api, settings.node_name)


def _write_cdi(settings: Settings, machine: Machine) -> str:
    """Bring the CDI file up to date; what is wrong with that, or ""."""
    if settings.cdi is None:
        return ""
    nodes = (machine.enclave, machine.provision)
    document = specification(nodes, settings.cdi, legacy_aliases=settings.legacy_aliases)
    try:
        write_specification(document, settings.cdi.directory)
    except ConfigError as error:
        return str(error)
    return ""


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stopping.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
