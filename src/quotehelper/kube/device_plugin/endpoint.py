"""One resource kept at the kubelet: served, registered, and registered again whenever the kubelet forgets. Shell.

A life, from the inside out: a *watch* is the time in which the kubelet reads our list; a *registration* begins with
Register and ends when the kubelet's socket is another one, or when nobody has watched for a while; a *service* begins
with our socket and ends when that is gone. Whatever ends begins anew, after a pause that doubles while it fails, and at
once when a directory changes. Only ``stop`` ends it all.

The kubelet dials back within Register, so the socket serves before. When the kubelet starts it wipes its directory:
our socket is gone, its own is new, and our streams have ended; each of the three is noticed by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from quotehelper.errors import ClusterError, ConfigError
from quotehelper.kube.device_plugin.news import News
from quotehelper.kube.device_plugin.plugin import OPTIONS
from quotehelper.kube.device_plugin.plugin_socket import KUBELET_SOCKET, LOCALHOST, PluginSocket, identity, live_sockets
from quotehelper.kube.kubelet_api.deviceplugin_v1beta1_pb2 import Empty, RegisterRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quotehelper.kube.device_plugin.event_log import EventLog
    from quotehelper.kube.device_plugin.plugin import Plugin
    from quotehelper.kube.device_plugin.plugin_socket import Identity
    from quotehelper.kube.device_plugin.telemetry import Telemetry

VERSION = "v1beta1"
"""Of the kubelet's interface."""
REGISTER = "/v1beta1.Registration/Register"


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things may take, and how often they are looked at, in seconds.

    ``check_s``: between two looks at the sockets where no change was announced. ``register_s``: for the kubelet's
    answer to Register; it waits up to 10 for us itself. ``watch_s``: for the kubelet to watch the list after Register,
    and for which nobody may watch. ``retry_s``, ``retry_limit_s``: the first and the longest pause after a failure.
    ``drain_s``: for calls in flight at the end.
    """

    check_s: float = 2.0
    register_s: float = 20.0
    watch_s: float = 5.0
    retry_s: float = 0.5
    retry_limit_s: float = 30.0
    drain_s: float = 1.0


class Endpoint:
    """Keeps ``plugin`` at the kubelet of ``directory``. ``problem``: why it is not there now, or ""."""

    def __init__(self, plugin: Plugin, directory: Path, pace: Pace, telemetry: Telemetry, log: EventLog) -> None:
        self.plugin = plugin
        self.problem = "not registered yet"
        self._socket = PluginSocket(directory, plugin.resource)
        self._kubelet = directory / KUBELET_SOCKET
        self._pace = pace
        self._telemetry = telemetry
        self._log = log
        self._news = News()
        self._stopping = asyncio.Event()
        self._failures = 0
        plugin.on_stream_change = self.wake
        self._set_problem(self.problem)

    def wake(self) -> None:
        """Something may have changed: look again now."""
        self._news.tell()

    def stop(self) -> None:
        """End the streams, the server and ``keep``."""
        self._stopping.set()
        self.plugin.end_streams()
        self.wake()

    async def keep(self) -> None:
        """Be at the kubelet until told to stop."""
        while not self._stopping.is_set():
            try:
                async with self._service():
                    while not self._stopping.is_set() and self._socket.ours:
                        await self._registration()
            except ConfigError as error:
                await self._failed("not served", error)
        self._set_problem("ended")

    @contextlib.asynccontextmanager
    async def _service(self) -> AsyncIterator[None]:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self.plugin.handler(),))
        try:
            try:
                server.add_insecure_port(f"unix:{self._socket.staging}")
            except RuntimeError as error:
                directory = self._kubelet.parent
                remedy = "Mount the kubelet's device-plugins directory writable, or name it by --kubelet-directory"
                raise ConfigError(f"{directory}: no socket can be made there", remedy) from error
            await server.start()
            self._socket.publish()
            self._log.debug("serving", resource=self.plugin.resource, socket=self._socket.path)
            yield
        finally:
            self._socket.release()  # first: once the server has closed the socket, its inode may be somebody else's
            await server.stop(self._pace.drain_s if self._stopping.is_set() else 0)

    async def _registration(self) -> None:
        """Register, and return when that has to be done again; failures pause."""
        kubelet = identity(self._kubelet)
        try:
            await self._register()
        except ClusterError as error:
            self._telemetry.registration(self.plugin.resource, "failed")
            await self._failed("not registered", error)
            return
        self._telemetry.registration(self.plugin.resource, "done")
        if kubelet is not None and await self._watched(kubelet):
            self._set_problem("")
            self._log.info("registered", resource=self.plugin.resource, devices=self.plugin.advertised.listed)
            await self._kept(kubelet)
            return
        if not self._stopping.is_set() and self._unchanged(kubelet):
            reason = ClusterError("the kubelet took the registration, but does not watch the list")
            await self._failed("not registered", reason)

    async def _register(self) -> None:
        """One Register. Raises ClusterError."""
        if identity(self._kubelet) is None:
            raise ClusterError(f"{self._kubelet} is not there: the kubelet is not running")
        request = RegisterRequest(
            version=VERSION, endpoint=self._socket.path.name, resource_name=self.plugin.resource, options=OPTIONS
        )
        async with grpc.aio.insecure_channel(f"unix:{self._kubelet}", options=LOCALHOST) as channel:
            register = channel.unary_unary(REGISTER, RegisterRequest.SerializeToString, Empty.FromString)
            try:
                await register(request, timeout=self._pace.register_s)
            except grpc.aio.AioRpcError as error:
                raise ClusterError(f"Register: {error.code().name}: {error.details()}") from error

    async def _watched(self, kubelet: Identity) -> bool:
        """Wait for the kubelet to watch the list; False if it does not, or is another by then."""
        deadline = asyncio.get_running_loop().time() + self._pace.watch_s
        while not self.plugin.streams:
            left = deadline - asyncio.get_running_loop().time()
            if self._stopping.is_set() or left <= 0 or not self._unchanged(kubelet):
                return False
            await self._news.wait(min(left, self._pace.check_s))
        return True

    async def _kept(self, kubelet: Identity) -> None:
        """Stay while the kubelet knows us: return once it is another, our socket is gone, or nobody watches."""
        began = asyncio.get_running_loop().time()
        while self._unchanged(kubelet) and (self.plugin.streams or await self._watched(kubelet)):
            await self._news.wait(self._pace.check_s)
            if self._stopping.is_set():
                return
        if not self._unchanged(kubelet):
            self._failures = 0
            self._set_problem("the kubelet has restarted")
            self._log.info("kubelet restarted", resource=self.plugin.resource, own_socket_gone=not self._socket.ours)
        elif not self._stopping.is_set():
            if asyncio.get_running_loop().time() - began > self._pace.retry_limit_s:
                self._failures = 0
            await self._lost()

    async def _lost(self) -> None:
        """The same kubelet has left us. If it did for another plugin, taking the name back would never end: pause."""
        others = live_sockets(self._kubelet.parent)
        others.pop(self._socket.path.name, None)
        lost = ClusterError("the kubelet no longer watches the list: another plugin may have taken the name")
        await self._failed("registration lost", lost, others=others or "none")

    def _unchanged(self, kubelet: Identity | None) -> bool:
        return self._socket.ours and identity(self._kubelet) == kubelet

    async def _failed(self, event: str, reason: Exception, **fields: object) -> None:
        """Tell, and pause: twice as long each time, but not beyond a change of the kubelet's socket or of ours."""
        if self._stopping.is_set():
            return
        seen = self._sockets()
        pause_s = min(self._pace.retry_s * 2**self._failures, self._pace.retry_limit_s)
        self._failures = min(self._failures + 1, 16)
        if str(reason) != self.problem:
            self._log.warning(event, resource=self.plugin.resource, reason=reason, again_in_s=pause_s, **fields)
        self._set_problem(str(reason))
        deadline = asyncio.get_running_loop().time() + pause_s
        while not self._stopping.is_set() and self._sockets() == seen:
            if (left := deadline - asyncio.get_running_loop().time()) <= 0:
                break
            await self._news.wait(min(left, self._pace.check_s))

    def _sockets(self) -> tuple[Identity | None, Identity | None]:
        return identity(self._kubelet), identity(self._socket.path)

    def _set_problem(self, problem: str) -> None:
        self.problem = problem
        self._telemetry.registered(self.plugin.resource, yes=not problem)
