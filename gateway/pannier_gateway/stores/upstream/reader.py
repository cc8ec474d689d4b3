"""How objects upstream are looked at and opened, whichever words the server is asked in."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import ClassVar

from pannier_gateway.span import Span
from pannier_gateway.stores.base import Record
from pannier_gateway.stores.upstream.reading import UpstreamReading, held
from pannier_gateway.stores.upstream.server import Server
from pannier_gateway.stores.upstream.targets import existing_target
from pannier_gateway.upstream.connection import Answer


class UpstreamReader(ABC):
    """The reading half of a store upstream. Keys get `prefix` there.

    `asked` are the headers of every read; whoever extends this says what an answer tells.
    """

    asked: ClassVar[Mapping[str, str]]

    def __init__(self, server: Server, prefix: str = "") -> None:
        self._server = server
        self._prefix = prefix

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self._server!r}>"

    def open(self, path: str) -> AbstractAsyncContextManager[UpstreamReading]:
        target = existing_target(path, self._prefix)
        asking = self._server.ask("GET", target, self.asked)
        record_of, ask = partial(self._record, path), partial(self._range, target)
        return held(self._server.place, asking, record_of, ask)

    async def head(self, path: str) -> Record:
        target = existing_target(path, self._prefix)
        async with self._server.ask("HEAD", target, self.asked) as answer:
            return self._record(path, answer)

    @abstractmethod
    def _record(self, path: str, answer: Answer) -> Record:
        """What the answer tells of the object. Raises StoreMisanswered."""

    @abstractmethod
    def _range(
        self, target: str, record: Record, span: Span
    ) -> AbstractAsyncContextManager[Answer]:
        """Ask for a part of that very version. Raises ObjectReplaced."""
