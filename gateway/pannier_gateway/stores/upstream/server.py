"""The server upstream, request by request: each is one exchange, and its answer understood."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from time import time
from typing import Protocol

from pannier_gateway.dates import seconds_to_wait
from pannier_gateway.errors import ObjectExpired, ObjectNotFound, StoreMisanswered
from pannier_gateway.stores import records
from pannier_gateway.stores.connecting import Entrance, broken
from pannier_gateway.stores.provision import Endpoints
from pannier_gateway.stores.upstream.refusals import refused
from pannier_gateway.upstream.connection import Answer, Patience
from pannier_gateway.upstream.errors import ExchangeError
from pannier_gateway.upstream.pool import Pool
from pannier_gateway.upstream.request import Buffer, Request, Streamed

MOST_TOLD = 64 * 1024  # bytes of an answer that is no object
SLOW_ANSWER_SECONDS = 60.0  # to a body that the server has to put away first
EXPECTING = 1 << 20  # bytes of a body from which on the server is asked before they are sent

Headers = Mapping[str, str]
NO_HEADERS: Headers = {}


class Authorization(Protocol):
    """Gives the headers that prove who asks."""

    def headers(self) -> Headers:
        """Raises StoreRefused."""
        ...


class Server:
    """Raises ObjectNotFound, and what `refusals` makes of the answers.

    `label` is what the manifests call the Bucket.
    """

    def __init__(
        self,
        label: str,
        entrances: Endpoints[Entrance],
        authorization: Authorization,
        patience: Patience,
    ) -> None:
        self.place = f"Bucket {label} (at {entrances})"
        self._entrances = entrances
        self._authorization = authorization
        self._patience = patience

    def __repr__(self) -> str:
        return f"<Server of {self.place}>"

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        target: str,
        headers: Headers = NO_HEADERS,
        body: Buffer | Streamed = b"",
    ) -> AsyncIterator[Answer]:
        """One request; its answer, if that is a success."""
        told = {**self._authorization.headers(), **headers}
        large = isinstance(body, Streamed) or len(body) >= EXPECTING
        with self._entrances.pick() as picked:
            host, pool = picked.target
            request = Request(method, target, [("host", host), *told.items()], body, expect=large)
            async with self._answer(pool, request) as answer:
                picked.answered()
                if answer.status >= 300:
                    await self._refuse(target, answer)
                if answer.early:
                    raise StoreMisanswered(f"{self.place} took a body before it had all of it")
                yield answer

    @asynccontextmanager
    async def _answer(self, pool: Pool, request: Request) -> AsyncIterator[Answer]:
        patience = self._patience
        if request.method == "PUT":
            patience = patience._replace(first_byte=max(SLOW_ANSWER_SECONDS, patience.first_byte))
        try:
            async with pool.exchange(request, patience) as answer:
                yield answer
        except ExchangeError as error:
            raise broken(self.place, error, "an objectstore", "check endpoints") from error

    async def _refuse(self, target: str, answer: Answer) -> None:
        text = await answer.whole(MOST_TOLD)
        if answer.status == 404 and not text and self._object_missing(answer):
            absent = f"{self.place} has no {target}"
            expired = answer.headers.get(records.HEADER) == records.EXPIRED
            raise ObjectExpired(absent) if expired else ObjectNotFound(absent)
        wait = seconds_to_wait(answer.headers.get("retry-after"), time())
        untold = not text and answer.headers.get("content-type") == "application/json"
        raise refused(self.place, answer.status, wait, None if untold else text)

    def _object_missing(self, answer: Answer) -> bool:
        """The protocol gives no words to an object that is not there, but to all else. To HEAD it
        gives none at all, and then their length tells."""
        return answer.headers.get("content-length", "0") == "0"
