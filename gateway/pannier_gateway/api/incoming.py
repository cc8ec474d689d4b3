"""A request's body as it arrives, with what can go wrong on the way in the gateway's own errors."""

from collections.abc import AsyncIterator

from aiohttp import HttpVersion11, hdrs
from aiohttp.web import RequestPayloadError

from pannier_gateway.admission import Pacer
from pannier_gateway.api.departure import has_left, unread
from pannier_gateway.api.patience import PROGRESS_SECONDS, Patience
from pannier_gateway.api.request import Request
from pannier_gateway.errors import BadRequest, ExpectationFailed, RequestTimeout


class IncomingBody:
    """The body of one request; can be read once. A client that waits to be asked is asked then."""

    def __init__(self, request: Request, pacer: Pacer | None = None) -> None:
        self._request = request
        self._pacer = pacer
        self._content = request.content
        self.length = request.content_length  # the parser refuses it next to a transfer-encoding
        self.received = 0

    def take_at_hand(self, most: int) -> bytes | None:
        """All of it, where it is no more than `most` bytes and has come with its request.

        None, and nothing taken, where it has to be waited for, or goes by a pace.
        """
        paced = self._pacer is not None and self._pacer.account is not None
        if self.length is None or self.length > most or paced or not self._content.is_eof():
            return None
        if hdrs.EXPECT in self._request.headers or self._content.exception() is not None:
            return None
        whole = self._content.read_nowait()
        self.received = len(whole)
        return whole

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._request.connection.receiving():
            await self._go_on()
            while piece := await self._next():
                self.received += len(piece)
                while piece:
                    size = await self._let(len(piece))
                    yield piece[:size]
                    piece = piece[size:]  # whoever has taken a part decides how long it is kept

    async def _let(self, size: int) -> int:
        """How many of these bytes may go on. Nobody waits for the end of a body that has none."""
        if self._pacer is None or self._pacer.account is None or self._breaks_off():
            return size
        return await self._pacer.spend(size, self._breaks_off)

    def _breaks_off(self) -> bool:
        """Whether the client has left within the body; of a chunked one, whether that may be."""
        transport = self._request.transport
        if transport is None:
            return True
        if self._content.is_eof() or not has_left(transport):
            return False
        return self.length is None or self._content.total_bytes + unread(transport) < self.length

    async def _next(self) -> bytes:
        """The next piece; empty at the end. Waits only where nothing has arrived."""
        try:
            if self._content.is_eof() or self._content.total_bytes > self.received:
                return await self._content.readany()
            async with Patience():
                return await self._content.readany()
        except TimeoutError as error:
            raise RequestTimeout(
                f"no byte of the body came for {PROGRESS_SECONDS:.0f} s, after {self.received}"
            ) from error
        except RequestPayloadError as error:
            raise BadRequest(f"the body can't be read: {error}") from error

    async def _go_on(self) -> None:
        """Tell a client that sent `Expect: 100-continue` to send its body; HTTP/1.0 has no 100."""
        expectation = self._request.headers.get(hdrs.EXPECT)
        if expectation is None or self._request.version < HttpVersion11:
            return
        if expectation.lower() != "100-continue":
            raise ExpectationFailed(
                f"expect: {expectation!r} can't be met, only '100-continue' can"
            )
        transport = self._request.transport
        if transport is not None and not self._content.is_eof() and not self._content.total_bytes:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
