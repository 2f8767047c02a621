"""The HTTP side: reviews in, answers out, with limits and deadlines; health and metrics. Shell.

A fault of ours while judging a review is logged and lets the pod pass as it is: quoting is not worth a cluster that
starts nothing.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aiohttp import web

from quotehelper.errors import DecodeError
from quotehelper.kube.admission.admit import Verdict
from quotehelper.kube.admission.review import judge, read_review, write_answer
from quotehelper.kube.webhook.settings import NAMESPACE_PATH, PODS_PATH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from quotehelper.kube.admission.cluster import ClusterView
    from quotehelper.kube.admission.review import Review
    from quotehelper.kube.admission.settings import AdmissionSettings
    from quotehelper.kube.webhook.settings import Limits
    from quotehelper.kube.webhook.telemetry import Metrics


class ReviewServer:
    """Answers reviews and probes.

    ``view`` returns what is known of the cluster now. ``ready`` is whether /readyz says so.
    """

    def __init__(
        self,
        admission: AdmissionSettings,
        limits: Limits,
        view: Callable[[], ClusterView | None],
        metrics: Metrics,
        log: FilteringBoundLogger,
    ) -> None:
        self.ready = False
        self._admission = admission
        self._limits = limits
        self._view = view
        self._metrics = metrics
        self._log = log
        self._silent: dict[asyncio.BaseProtocol, asyncio.TimerHandle] = {}

    def reviews(self) -> web.Application:
        """What the API server talks to."""
        application = web.Application(client_max_size=self._limits.body_bytes, middlewares=[self._heard])
        application.router.add_post(PODS_PATH, self._answer_pods)
        application.router.add_post(NAMESPACE_PATH, self._answer_namespace)
        return application

    def health(self) -> web.Application:
        """What probes and Prometheus talk to."""
        application = web.Application(client_max_size=1024, middlewares=[self._heard])
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._measured)
        return application

    def door(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """Makes the protocol of each connection to ``server``: none beyond the limit, and none that stays silent."""

        def let_in() -> asyncio.Protocol:
            if len(server.connections) >= self._limits.connections:
                self._metrics.refused_connections.inc()
                return _Refusal()
            protocol = server()
            loop = asyncio.get_running_loop()
            self._silent[protocol] = loop.call_later(
                self._limits.handshake_s + self._limits.header_s, self._close_silent, protocol
            )
            return protocol

        return let_in

    def _close_silent(self, protocol: web.RequestHandler) -> None:
        del self._silent[protocol]
        if protocol.transport is not None:
            self._metrics.refused_connections.inc()
            protocol.force_close()

    @web.middleware
    async def _heard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        timer = self._silent.pop(request.protocol, None)
        if timer is not None:
            timer.cancel()
        return await handler(request)

    async def _answer_pods(self, request: web.Request) -> web.Response:
        return await self._answer(request, by_namespace=False)

    async def _answer_namespace(self, request: web.Request) -> web.Response:
        return await self._answer(request, by_namespace=True)

    async def _answer(self, request: web.Request, *, by_namespace: bool) -> web.Response:
        try:
            async with asyncio.timeout(self._limits.body_s):
                data = await request.read()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        began = time.perf_counter()
        try:
            review = read_review(data)
        except DecodeError as error:
            self._metrics.reviews.labels("unreadable").inc()
            self._log.warning("review unreadable", reason=str(error))
            raise web.HTTPBadRequest(text=str(error)) from error
        verdict, outcome = self._judge(review, by_namespace=by_namespace)
        answer = write_answer(review, verdict)
        self._metrics.reviews.labels(outcome).inc()
        self._metrics.warnings.inc(len(verdict.warnings))
        self._metrics.seconds.observe(time.perf_counter() - began)
        return web.Response(body=answer, content_type="application/json")

    def _judge(self, review: Review, *, by_namespace: bool) -> tuple[Verdict, str]:
        try:
            verdict = judge(review, self._admission, self._view(), by_namespace=by_namespace)
        except Exception as error:  # noqa: BLE001  the edge of one review: whatever is wrong here, the pod passes
            self._log.error("review failed", reason=repr(error), exc_info=True)
            return Verdict(), "failed"
        if verdict.denial is not None:
            self._log.info("pod denied", namespace=review.namespace, uid=review.uid, reason=verdict.denial)
            return verdict, "denied"
        return verdict, "patched" if verdict.patch else "untouched"

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        if not self.ready:
            raise web.HTTPServiceUnavailable(text="not ready\n")
        return web.Response(text="ok\n")

    async def _measured(self, _request: web.Request) -> web.Response:
        view = self._view()
        self._metrics.view_age.set(float("inf") if view is None else view.age_s)
        return web.Response(body=self._metrics.text(), content_type="text/plain")


class _Refusal(asyncio.Protocol):
    """Closes the connection it is given."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
