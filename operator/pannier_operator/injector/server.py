"""Reviews over HTTPS, and what Prometheus and the kubelet ask over HTTP."""

import asyncio
import logging
from collections.abc import Collection, Iterable
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from pannier_operator.api import ClusterError
from pannier_operator.conditions import shortened
from pannier_operator.injector import review
from pannier_operator.injector.manifests import PATH
from pannier_operator.injector.metrics import Metrics, Review
from pannier_operator.injector.mounts import Bucket
from pannier_operator.injector.options import Refused
from pannier_operator.injector.patch import Operation, patch, wanted
from pannier_operator.injector.review import MalformedReview, Question
from pannier_operator.injector.sidecar import Sidecar

log = logging.getLogger("pannier.injector")

BODY_SECONDS = 5.0  # for a body to come; an API server waits no longer for the whole review
LARGEST_REVIEW = 8 << 20  # bytes; an API server takes no request above 3 MiB


class Buckets(Protocol):
    """Where Buckets are asked for."""

    async def buckets(self, namespace: str) -> Iterable[Bucket]:
        """Those of `namespace`. Raises ClusterError."""
        ...


class Injector:
    """Answers reviews. It keeps nothing: any number of them give the same answers."""

    def __init__(
        self, given: Sidecar, excluded: Collection[str], buckets: Buckets, metrics: Metrics
    ) -> None:
        self._given = given
        self._excluded = frozenset(excluded)
        self._buckets = buckets
        self._metrics = metrics

    def application(self) -> web.Application:
        application = web.Application(client_max_size=LARGEST_REVIEW)
        application.add_routes([web.post(PATH, self.mutate)])
        return application

    async def mutate(self, request: web.Request) -> web.Response:
        """500 where the cluster can't be asked: then the failurePolicy decides."""
        body = await self._body(request)
        with self._metrics.review() as counted:
            try:
                question = review.asked(body)
                answer = await self._answer(question, counted)
            except MalformedReview as error:
                counted.result = "malformed"
                raise web.HTTPBadRequest(text=f"{error}\n") from error
            except ClusterError as error:
                log.exception("review failed", extra={"namespace": question.namespace})
                text = f"Buckets could not be listed: {error}\n"
                raise web.HTTPInternalServerError(text=text) from error
        return web.Response(body=answer, content_type="application/json")

    async def _body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await request.read()
        except TimeoutError as error:
            self._metrics.malformed()
            text = f"the review did not come within {BODY_SECONDS:g} s\n"
            raise web.HTTPRequestTimeout(text=text) from error
        except (ConnectionError, web.RequestPayloadError) as error:
            self._metrics.malformed()
            request.content.feed_eof()  # or the server waits for the rest, and fails aloud
            raise web.HTTPBadRequest(text=f"the review cannot be read: {error}\n") from error

    async def _answer(self, question: Question, counted: Review) -> bytes:
        try:
            operations = await self._operations(question)
        except Refused as refusal:
            counted.result = "denied"
            why = shortened(str(refusal))  # it may repeat an annotation, which has room for 256 KiB
            log.info("pod denied", extra={"namespace": question.namespace, "why": why})
            return review.denied(question.uid, why)
        counted.result = "injected" if operations else "unchanged"
        return review.allowed(question.uid, operations)

    async def _operations(self, question: Question) -> list[Operation]:
        if question.namespace in self._excluded or not wanted(question.pod):
            return []
        buckets = await self._buckets.buckets(question.namespace)
        return patch(question.pod, self._given, buckets)


class Health(Protocol):
    """What the admin pages tell."""

    @property
    def registry(self) -> CollectorRegistry: ...

    @property
    def unready(self) -> str:
        """Why no review should come here now; empty: they may."""
        ...


class Admin:
    """The pages. `livez` answers as long as the event loop turns."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def application(self) -> web.Application:
        application = web.Application()
        application.add_routes(
            [
                web.get("/metrics", self.metrics),
                web.get("/livez", self.livez),
                web.get("/readyz", self.readyz),
            ]
        )
        return application

    async def metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        body = await asyncio.to_thread(encode, self._health.registry)
        return web.Response(body=body, headers={"content-type": content_type})

    async def livez(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(self, _: web.Request) -> web.Response:
        if unready := self._health.unready:
            return web.Response(status=503, text=f"{unready}\n")
        return web.Response(text="ok\n")
