"""An object upstream, as it is asked for, whichever words its server is asked in."""

from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple

from pannier_gateway.stores.base import Buffer, Record
from pannier_gateway.stores.exchanging import StoreExchange
from pannier_gateway.stores.upstream.server import Headers, Server
from pannier_gateway.upstream.connection import Answer


class Words(NamedTuple):
    """The headers to ask with, what an answer tells, and how to ask for that version alone."""

    headers: Headers
    record: Callable[[Answer], Record]
    guard: Callable[[Record], Headers]


class UpstreamObject:
    """Implements RemoteObject."""

    def __init__(self, server: Server, target: str, words: Words) -> None:
        self._server = server
        self._target = target
        self._words = words

    @property
    def place(self) -> str:
        return self._server.place

    async def get(self, headers: Headers) -> StoreExchange:
        return self._server.ask("GET", self._target, {**self._words.headers, **headers})

    async def head(self) -> Answer:
        async with self._server.ask("HEAD", self._target, self._words.headers) as answer:
            return answer

    def record(self, answer: Answer) -> Record:
        return self._words.record(answer)

    def guard(self, answer: Answer, record: Record) -> Headers:
        return self._words.guard(record)

    def check(self, answer: Answer, data: bytes) -> None:
        """It tells of no checksum; its bytes are counted."""

    def pieces(self, answer: Answer, size: int) -> AsyncGenerator[Buffer, None]:
        return self._server.pieces(answer)
