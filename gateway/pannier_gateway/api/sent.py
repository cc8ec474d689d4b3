"""What aiohttp is handed in place of a response once the answer is out."""

from typing import cast

from aiohttp.web import BaseRequest, StreamResponse


class Sent:
    """Nothing is left to send; says whether the connection stays."""

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    def __repr__(self) -> str:
        return f"<Sent keep_alive={self.keep_alive}>"

    async def prepare(self, request: BaseRequest) -> None:
        """The head is out."""

    async def write_eof(self) -> None:
        """So is the body."""


KEPT = cast(StreamResponse, Sent(keep_alive=True))  # aiohttp asks no more of a response than this
CLOSED = cast(StreamResponse, Sent(keep_alive=False))
