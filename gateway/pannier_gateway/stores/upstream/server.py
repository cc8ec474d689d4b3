"""The server upstream, request by request: each is one exchange, and its answer understood."""

from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from pannier_gateway.errors import ObjectExpired, ObjectNotFound, PannierError, StoreMisanswered
from pannier_gateway.stores import records
from pannier_gateway.stores.base import Buffer
from pannier_gateway.stores.connecting import Entrance
from pannier_gateway.stores.exchanging import Exchanges, Refused, StoreExchange, expecting
from pannier_gateway.stores.provision import Endpoints
from pannier_gateway.stores.upstream.refusals import OBJECTSTORE, refused
from pannier_gateway.upstream.connection import Answer, Patience
from pannier_gateway.upstream.request import Request, Streamed

Headers = Mapping[str, str]
NO_HEADERS: Headers = {}

T = TypeVar("T")


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
        self._authorization = authorization
        self._exchanges = Exchanges(
            entrances, patience, OBJECTSTORE, f"Bucket {label} (at {{}})".format
        )
        self.place = self._exchanges.place

    def __repr__(self) -> str:
        return f"<Server of {self.place}>"

    def ask(
        self,
        method: str,
        target: str,
        headers: Headers = NO_HEADERS,
        body: Buffer | Streamed = b"",
    ) -> StoreExchange:
        """One request; its answer, if that is a success."""
        told = {**self._authorization.headers(), **headers}

        def request(host: str) -> Request:
            return Request(method, target, [("host", host), *told.items()], body, expecting(body))

        refusal = partial(refusal_of, target, of_gateway=records.HEADER in headers)
        return StoreExchange(self._exchanges, request, refusal)

    async def have_done(
        self,
        method: str,
        target: str,
        headers: Headers = NO_HEADERS,
        body: Buffer = b"",
    ) -> None:
        """One request to which a server has nothing to say once it is done (204)."""
        async with self.ask(method, target, headers, body) as answer:
            if answer.status != 204:
                raise self._misanswered(f"{answer.status} to {method}")

    def understood(self, text: bytes, kind: type[T]) -> T:
        """What an answer says in JSON. Raises StoreMisanswered."""
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.MsgspecError as error:
            raise self._misanswered(str(error)) from error

    def _misanswered(self, how: str) -> StoreMisanswered:
        return StoreMisanswered(
            f"{self.place} does not answer as an objectstore does: {how}: {OBJECTSTORE.check}, "
            "and what stands in front of it"
        )

    def pieces(self, answer: Answer) -> AsyncGenerator[Buffer, None]:
        """The body of an answer."""
        return self._exchanges.pieces(answer)


def refusal_of(target: str, told: Refused, *, of_gateway: bool) -> PannierError:
    """What it means that the server does not do what it was asked. A gateway says of an object that
    it is not there; what stands in between, and has not found the gateway, does not."""
    said = records.HEADER in told.headers or not of_gateway
    if told.status == 404 and said and not told.text and object_missing(told.headers):
        absent = f"{told.place} has no {target}"
        expired = told.headers.get(records.HEADER) == records.EXPIRED
        return ObjectExpired(absent) if expired else ObjectNotFound(absent)
    untold = not told.text and told.headers.get("content-type") == "application/json"
    return refused(told.place, told.status, told.wait, None if untold else told.text)


def object_missing(headers: Headers) -> bool:
    """The protocol gives no words to an object that is not there, but to all else. To HEAD it
    gives none at all, and then their length tells."""
    return headers.get("content-length", "0") == "0"
