"""The requests of a connection, one after the other in the connection's own task.

aiohttp makes a task of every request. That costs a fifth of a small GET, and buys what nobody here
uses: context variables of a request's own. Of its `RequestHandler` this overrides `start` and
`shutdown`, and besides what `connection` names leans on `_buffer_paused`, `_close`, `_force_close`,
`_keepalive_handle`, `_keepalive_timeout`, `_msg_queue_resume_size`, `_next_keepalive_close_time`,
`_process_keepalive`, `_request_in_progress`, `_resume_reading_if_drained` and `_task_handler`.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from aiohttp.http import RawRequestMessage
from aiohttp.http_writer import StreamWriter
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from pannier_gateway.api.patience import PROGRESS_SECONDS

log = logging.getLogger("pannier.api")

Message = RawRequestMessage | _ErrInfo  # the head of a request, or why there is none


class Turns(RequestHandler, ABC):
    """One connection; whoever extends it says how a request is answered.

    Once it has `aged`, the request at hand is its last.
    """

    __slots__ = ("_flow", "aged")

    aged: bool

    @abstractmethod
    def receiving(self) -> AbstractContextManager[None]:
        """A block in which a body comes in."""

    @abstractmethod
    async def answered(self, message: Message, body: StreamReader) -> bool:
        """Answer it; whether the connection may stay. Raises ConnectionError: the client left."""

    async def start(self) -> None:
        """Answer until the connection ends, or is to be closed."""
        self._flow = StreamWriter(self, self._loop)
        try:
            while await self._turn():
                self._wait_on()
        except ConnectionError as left:
            log.debug("a client left", extra={"error": str(left)})
        except Exception:  # the outermost loop of a connection: its end must not be silent
            log.exception("connection failed")
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        """Close, once the client has taken what was written; it has a minute for that."""
        transport = self.transport
        if transport is not None and transport.get_write_buffer_size():
            self._loop.call_later(PROGRESS_SECONDS, transport.abort)
        self.force_close()

    async def drained(self) -> None:
        """Wait until the client has taken what was written. Raises ConnectionError."""
        await self._flow.drain()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  aiohttp's
        """Let what is in flight end within `timeout` seconds, then end it in as many."""
        self._force_close = True
        task = self._task_handler
        if task is None:
            return
        if self._request_in_progress:
            await asyncio.wait([task], timeout=timeout)
        task.cancel()
        await asyncio.wait([task], timeout=timeout)

    async def _turn(self) -> bool:
        """Answer one request; whether there may be another."""
        message, body = await self._next()
        self._request_in_progress = True
        try:
            stays = await self.answered(message, body)
        finally:
            self._request_in_progress = False
        if not body.is_eof():
            await self._skip(body)
        return stays and not (self._close or self._force_close)

    async def _next(self) -> tuple[Message, StreamReader]:
        if not self._messages:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        else:
            await asyncio.sleep(0)  # who sends many at once leaves others their turn
        message = self._messages.popleft()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        return message

    async def _skip(self, body: StreamReader) -> None:
        """Read on for a while: a client that still sends would lose the answer to a reset."""
        try:
            async with asyncio.timeout(self._lingering_time):
                while self._lingering_time and not body.is_eof():
                    await body.readany()
        except TimeoutError:
            log.debug("a body is left unread")
        if not body.is_eof() and not self._force_close:
            self.close()

    def _wait_on(self) -> None:
        """Keep the connection open, for as long as may pass without another request."""
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )
