"""One request and its answer: what was sent, how long it took, what the log says of it."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import perf_counter
from types import TracebackType

from aiohttp.web import BaseRequest, Response, StreamResponse

from pannier.version import __version__
from pannier_gateway.api.incoming import IncomingBody
from pannier_gateway.drain import Drain
from pannier_gateway.metrics import Requests
from pannier_gateway.stores.base import Buffer

log = logging.getLogger("pannier.request")

CLIENT_LEFT = 499
SERVER = f"pannier/{__version__}"


class Exchange:
    """A `with` block around the work on one request; counts and logs it when it ends."""

    def __init__(self, request: BaseRequest, requests: Requests, drain: Drain) -> None:
        self.request = request
        self.body = IncomingBody(request)
        self.usecase = ""  # a declared one, so that a label can't take any value
        self.operation = "unknown"
        self._requests = requests
        self._drain = drain
        self._response: StreamResponse | None = None
        self._sent = 0

    def __repr__(self) -> str:
        return f"<Exchange {self.request.method} {self.request.raw_path} {self.status}>"

    @property
    def begun(self) -> bool:
        """The head is sent: only the rest of the body, or the connection's end, is honest now."""
        return self._response is not None

    @property
    def status(self) -> int:
        return CLIENT_LEFT if self._response is None else self._response.status

    async def send(
        self, status: int, headers: dict[str, str], body: Buffer = b""
    ) -> StreamResponse:
        """Answer with a body at hand, in one write."""
        response = Response(status=status, headers=headers, body=body or None)
        await self._begin(response)
        self._sent = len(body)
        await response.write_eof()
        return response

    async def stream(
        self, status: int, headers: dict[str, str], body: AsyncGenerator[Buffer, None]
    ) -> StreamResponse:
        """Answer with a body that comes in pieces; chunked where `headers` give no length."""
        response = StreamResponse(status=status, headers=headers)
        await self._begin(response)
        async with aclosing(body):
            async for piece in body:
                await response.write(piece)
                self._sent += len(piece)
        await response.write_eof()
        return response

    def abort(self) -> None:
        """End the connection so that the client can't take what it has for all there is."""
        if self.request.transport is not None:
            self.request.transport.abort()

    def __enter__(self) -> "Exchange":
        self._started = perf_counter()
        self._first_byte = 0.0
        self._drain.enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seconds = perf_counter() - self._started
        status = self.status if kind is None else CLIENT_LEFT
        self._drain.leave()
        tally = self._requests.tally(self.usecase, self.operation, status)
        tally.seconds.add(seconds)
        tally.first_byte.add(self._first_byte or seconds)
        tally.bytes_in += self.body.received
        tally.bytes_out += self._sent
        level = level_of(status)
        if log.isEnabledFor(level):
            log.log(level, "request ended", extra=self._fields(status, seconds))

    async def _begin(self, response: StreamResponse) -> None:
        if self._drain.begun:
            response.force_close()
        response.headers["server"] = SERVER
        await response.prepare(self.request)
        self._response = response
        self._first_byte = perf_counter() - self._started

    def _fields(self, status: int, seconds: float) -> dict[str, object]:
        return {
            "method": self.request.method,
            "target": self.request.raw_path,
            "usecase": self.usecase,
            "operation": self.operation,
            "status": status,
            "seconds": round(seconds, 6),
            "bytes_in": self.body.received,
            "bytes_out": self._sent,
        }


def level_of(status: int) -> int:
    """Success is for debugging, a client's mistake is worth a line, our own a warning."""
    if status < 400:
        return logging.DEBUG
    return logging.INFO if status < 500 else logging.WARNING
