"""How objects upstream are looked at and opened, whichever words the server is asked in."""

from abc import ABC, abstractmethod
from functools import partial
from typing import ClassVar

from pannier_gateway.ranges import EVERYTHING, RangeSpec
from pannier_gateway.stores.base import Record
from pannier_gateway.stores.remote import RemoteOpening
from pannier_gateway.stores.upstream.reading import UpstreamObject, Words
from pannier_gateway.stores.upstream.server import Headers, Server
from pannier_gateway.stores.upstream.targets import existing_target
from pannier_gateway.upstream.connection import Answer


class UpstreamReader(ABC):
    """The reading half of a store upstream. Keys get `prefix` there.

    `asked` are the headers of every read; whoever extends this says what an answer tells.
    """

    asked: ClassVar[Headers]

    def __init__(self, server: Server, prefix: str = "") -> None:
        self._server = server
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self._server!r}>"

    def open(self, path: str, ahead: RangeSpec = EVERYTHING) -> RemoteOpening:
        return RemoteOpening(partial(self.find, path), ahead)

    async def head(self, path: str) -> Record:
        found = await self.find(path)
        return found.record(await found.head())

    async def find(self, path: str) -> UpstreamObject:
        """How to ask for it. Raises ObjectNotFound for a path that nothing can have."""
        words = Words(self.asked, partial(self._record, path), self._guard)
        return UpstreamObject(self._server, existing_target(path, self._prefix), words)

    @abstractmethod
    def _record(self, path: str, answer: Answer) -> Record:
        """What the answer tells of the object. Raises StoreMisanswered."""

    def _guard(self, record: Record) -> Headers:
        """What to ask with for that very version; nothing, where the server heeds nothing."""
        return {}
