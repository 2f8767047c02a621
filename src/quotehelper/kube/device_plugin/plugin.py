"""One resource as the kubelet sees it: the service ``v1beta1.DevicePlugin``. Shell.

Handlers run in the event loop, so a kubelet's stream costs no thread. The list goes out as the bytes that it was
encoded to, once for each change and not for each stream. GetPreferredAllocation and PreStartContainer are not offered:
the options say so, and a call gets UNIMPLEMENTED.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from quotehelper.errors import AllocationError
from quotehelper.kube.device_plugin.allocation import allocate
from quotehelper.kube.device_plugin.device_list import encode_list
from quotehelper.kube.kubelet_api.deviceplugin_v1beta1_pb2 import AllocateRequest, AllocateResponse, DevicePluginOptions
from quotehelper.kube.kubelet_api.deviceplugin_v1beta1_pb2 import Empty as EmptyMessage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import NoReturn

    from quotehelper.kube.device_plugin.allocation import Delivery
    from quotehelper.kube.device_plugin.event_log import EventLog
    from quotehelper.kube.device_plugin.inventory import Advertised
    from quotehelper.kube.device_plugin.telemetry import Telemetry

SERVICE = "v1beta1.DevicePlugin"
OPTIONS = DevicePluginOptions(pre_start_required=False, get_preferred_allocation_available=False)


class Plugin:
    """Serves ``advertised``, and whatever ``publish`` puts in its place. ``streams``: lists being watched now."""

    def __init__(self, advertised: Advertised, delivery: Delivery, telemetry: Telemetry, log: EventLog) -> None:
        self.advertised = advertised
        self.streams = 0
        self.on_stream_change: Callable[[], None] = lambda: None
        self._delivery = delivery
        self._telemetry = telemetry
        self._log = log
        self._list = encode_list(advertised.listed, advertised.health)
        self._changed = asyncio.Event()
        self._ended = False
        self._tell_telemetry()

    @property
    def resource(self) -> str:
        """The name that pods ask for."""
        return self.advertised.resource

    def publish(self, advertised: Advertised) -> None:
        """Advertise this from now on: whoever watches gets the new list, if it is another."""
        before, self.advertised = self.advertised, advertised
        if (before.listed, before.health) == (advertised.listed, advertised.health):
            return
        self._list = encode_list(advertised.listed, advertised.health)
        self._tell_telemetry()
        self._wake_streams()

    def end_streams(self) -> None:
        """Let every stream end, now and from now on: the kubelet takes the plugin for gone."""
        self._ended = True
        self._wake_streams()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a server routes to."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(
                    self._options, EmptyMessage.FromString, DevicePluginOptions.SerializeToString
                ),
                "ListAndWatch": grpc.unary_stream_rpc_method_handler(self._list_and_watch, EmptyMessage.FromString),
                "Allocate": grpc.unary_unary_rpc_method_handler(
                    self._allocate, AllocateRequest.FromString, AllocateResponse.SerializeToString
                ),
            },
        )

    async def _options(self, _request: EmptyMessage, _context: object) -> DevicePluginOptions:
        return OPTIONS

    async def _list_and_watch(self, _request: EmptyMessage, _context: object) -> AsyncIterator[bytes]:
        self._count_stream(1)
        sent = None
        try:
            while not self._ended:
                if self._list is not sent:
                    sent = self._list
                    yield sent
                    continue  # it may have changed while it was sent
                await self._changed.wait()
        finally:
            self._count_stream(-1)

    async def _allocate(
        self, request: AllocateRequest, context: grpc.aio.ServicerContext[AllocateRequest, AllocateResponse]
    ) -> AllocateResponse:
        try:
            answer = allocate(request, self.advertised, self._delivery)
        except AllocationError as error:
            self._log.warning("allocation refused", resource=self.resource, reason=error)
            self._telemetry.allocated(self.resource, "refused")
            await _refuse(context, error)
        self._telemetry.allocated(self.resource, "granted")
        units = sum(len(container.devices_ids) for container in request.container_requests)
        self._log.info("allocated", resource=self.resource, units=units, node=self.advertised.device.host_path)
        return answer

    def _count_stream(self, change: int) -> None:
        self.streams += change
        self._telemetry.streams(self.resource, self.streams)
        self.on_stream_change()

    def _wake_streams(self) -> None:
        """Wake all that wait now; who comes later waits for the next event."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _tell_telemetry(self) -> None:
        now = self.advertised
        self._telemetry.advertises(self.resource, now.listed, now.health, len(self._list))


async def _refuse(
    context: grpc.aio.ServicerContext[AllocateRequest, AllocateResponse], error: AllocationError
) -> NoReturn:
    code = grpc.StatusCode.INVALID_ARGUMENT if error.unknown else grpc.StatusCode.FAILED_PRECONDITION
    await context.abort(code, str(error))
    raise AssertionError  # abort always raises
