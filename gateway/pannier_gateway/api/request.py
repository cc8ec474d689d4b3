"""What a client asks: the head of its request, the body as it comes, and where it comes from."""

import asyncio

from aiohttp.hdrs import CONTENT_LENGTH
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from pannier_gateway.api.turns import Turns


class Request:
    """One request; `last` says that its client will not send another, `begun` that something of its
    answer is sent."""

    __slots__ = (
        "begun",
        "connection",
        "content",
        "headers",
        "last",
        "method",
        "raw_path",
        "version",
    )

    def __init__(self, message: RawRequestMessage, content: StreamReader, by: Turns) -> None:
        self.begun = False
        self.connection = by
        self.content = content
        self.headers = message.headers
        self.last = message.should_close
        self.method = message.method
        self.raw_path = message.path
        self.version = message.version

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.raw_path}>"

    @property
    def keep_alive(self) -> bool:
        """Whether there may be another."""
        return not (self.last or self.connection.aged)

    @property
    def content_length(self) -> int | None:
        """Bytes of the body, where the head tells."""
        length = self.headers.get(CONTENT_LENGTH)
        return None if length is None else int(length)

    @property
    def transport(self) -> asyncio.Transport | None:
        """None once the client has left."""
        return self.connection.transport
