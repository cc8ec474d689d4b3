"""An object behind a network, held open: what came with its record, and further bytes as asked."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import NamedTuple, Protocol

from pannier_gateway.errors import (
    ObjectNotFound,
    ObjectReplaced,
    PreconditionFailed,
    RangeNotSatisfiable,
    StoreMisanswered,
    StoreUnavailable,
)
from pannier_gateway.ranges import EVERYTHING, NOTHING, RangeSpec, content_range
from pannier_gateway.span import Span
from pannier_gateway.stores.base import Buffer, Record
from pannier_gateway.upstream.connection import Answer

AT_ONCE = 64 * 1024  # bytes up to which an answer is taken at once, and its connection given back
MOST_DIGITS = 19  # of a size
LAST = 64  # bytes at most that somebody looks at who looks at the end

Headers = Mapping[str, str]
Pieces = AsyncGenerator[Buffer, None]


def admit_all(record: Record) -> None:
    """Refuse none."""


class NoSuchRange(StoreMisanswered):
    """The object has no byte of the range that was asked for (416)."""


class RemoteObject(Protocol):
    """One object, as its store is asked for it."""

    @property
    def place(self) -> str:
        """Of the store, for messages."""
        ...

    async def get(self, headers: Headers) -> AbstractAsyncContextManager[Answer]:
        """A block around the answer, which raises ObjectNotFound, PreconditionFailed, NoSuchRange,
        and what the store can't do."""
        ...

    async def head(self) -> Answer:
        """Raises what `get` does."""
        ...

    def record(self, answer: Answer) -> Record:
        """What an answer tells of it."""
        ...

    def guard(self, answer: Answer, record: Record) -> Headers:
        """What to ask with for that very version, as far as the store heeds it."""
        ...

    def check(self, answer: Answer, data: bytes) -> None:
        """Raises Damaged where this is not all of the object, as far as the store tells."""
        ...

    def pieces(self, answer: Answer, size: int) -> Pieces:
        """The body of an answer, with the errors of a store; `size` is that of the object."""
        ...


class Incoming(NamedTuple):
    """Bytes on their way: those of `span`. Who wants later ones skips `skippable` of them at most,
    or else asks anew."""

    span: Span
    pieces: Pieces
    skippable: int

    def serves(self, wanted: Span) -> bool:
        before = wanted.start - self.span.start
        return 0 <= before <= self.skippable and wanted.stop <= self.span.stop


class RemoteReading:
    """Implements Reading. The first reader gets what came with the record, if it serves; whoever
    else reads asks anew, and hears of it when the object has been replaced since."""

    def __init__(self, remote: RemoteObject, answer: Answer) -> None:
        self.record = remote.record(answer)
        self.whole: bytes | None = None
        self._remote = remote
        self._guard = remote.guard(answer, self.record)
        self._incoming: Incoming | None = None
        self._exchange: AbstractAsyncContextManager[Answer] | None = None  # by which that comes
        self._at_hand: list[tuple[Span, bytes]] = []

    async def take(
        self, exchange: AbstractAsyncContextManager[Answer], answer: Answer, ahead: RangeSpec
    ) -> None:
        """Have the bytes that come with the record at hand, and be done with the exchange, if they
        are few; if not, they wait for a reader. Raises StoreMisanswered, StoreUnavailable."""
        span = self._span_of(answer, ahead)
        if span.size > AT_ONCE:
            self._incoming, self._exchange = self._incoming_with(answer, ahead), exchange
            return
        data = await all_of(answer, span.size)
        self._at_hand.append((span, data))
        if len(data) == self.record.size:
            self._remote.check(answer, data)
            self.whole = data
        await exchange.__aexit__(None, None, None)

    async def leave(self) -> None:
        """Give the connection back by which bytes came with the record, unless that is done."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            await exchange.__aexit__(None, None, None)

    async def chunks(self, span: Span) -> AsyncGenerator[Buffer, None]:
        if not span.size:
            return
        data = self._found(span) or await self._end_with(span)
        if data is not None:
            yield data
            return
        incoming, self._incoming = self._incoming, None
        if incoming is not None and incoming.serves(span):
            pieces = self._coming(incoming, span)
        else:
            if incoming is not None:
                await self.leave()
            pieces = self._asked_for(span)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def _coming(self, incoming: Incoming, span: Span) -> Pieces:
        """What came with the record; whether or not it breaks off, others ask anew from then on."""
        try:
            async with aclosing(cut(incoming, span)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            await self.leave()

    def _found(self, span: Span) -> Buffer | None:
        """The bytes of `span`, where they are at hand."""
        for held, data in self._at_hand:
            if held.start <= span.start and span.stop <= held.stop:
                return memoryview(data)[span.start - held.start : span.stop - held.start]
        return None

    async def _end_with(self, span: Span) -> Buffer | None:
        """The same for the very end: who looks there goes on with what lies before it, so that
        comes along."""
        size = self.record.size
        if span.stop != size or span.size > LAST:
            return None
        end = Span(max(0, size - AT_ONCE), size)
        data = b"".join([bytes(piece) async for piece in self._asked_for(end)])
        self._at_hand.append((end, data))
        return self._found(span)

    async def _asked_for(self, span: Span) -> Pieces:
        """A span of this very version. All of it is asked for without a range: only then is there
        a checksum to look at. Raises ObjectReplaced."""
        everything = span.size == self.record.size
        wanted = EVERYTHING if everything else RangeSpec(span.start, span.stop - 1)
        try:
            async with await self._remote.get({**range_header(wanted), **self._guard}) as answer:
                if self._remote.record(answer).etag != self.record.etag:
                    raise self._replaced()
                async with aclosing(cut(self._incoming_with(answer, wanted), span)) as pieces:
                    async for piece in pieces:
                        yield piece
        except (PreconditionFailed, ObjectNotFound, NoSuchRange) as error:
            raise self._replaced() from error

    def _incoming_with(self, answer: Answer, wanted: RangeSpec) -> Incoming:
        size, span = self.record.size, self._span_of(answer, wanted)
        ignored = span.start == 0 and wanted.first != 0  # then it would be so the next time, too
        skippable = size if ignored else AT_ONCE
        return Incoming(span, self._remote.pieces(answer, size), skippable)

    def _span_of(self, answer: Answer, wanted: RangeSpec) -> Span:
        """The bytes that come with it. Raises StoreMisanswered for others than were asked for."""
        size = self.record.size
        span = span_of(answer, wanted, size)
        if span is None or answer.length not in (None, span.size):
            told = answer.headers.get("content-range", "no range")
            raise StoreMisanswered(
                f"{self._remote.place} gives {answer.length} bytes ({told}) of the {size} of "
                f"{self.record.path!r} in place of {wanted.header}"
            )
        return span

    def _replaced(self) -> ObjectReplaced:
        return ObjectReplaced(f"{self.record.path!r} was replaced while it was read")


class RemoteOpening:
    """Opening an object, with the bytes `ahead` on their way; if they are few, they are at hand,
    and their connection serves others already. One without such bytes is looked at.

    `find` says how to ask for it, and `admit` may refuse it for what its record says.
    """

    __slots__ = ("_admit", "_ahead", "_find", "_reading")

    def __init__(
        self,
        find: Callable[[], Awaitable[RemoteObject]],
        ahead: RangeSpec,
        admit: Callable[[Record], None] = admit_all,
    ) -> None:
        self._find = find
        self._ahead = ahead
        self._admit = admit
        self._reading: RemoteReading | None = None

    async def __aenter__(self) -> RemoteReading:
        remote = await self._find()
        if self._ahead != NOTHING:
            try:
                return await self._read(remote)
            except NoSuchRange:
                pass
        return self._admitted(remote, await remote.head())

    async def __aexit__(self, *_: object) -> None:
        if self._reading is not None:
            await self._reading.leave()

    async def _read(self, remote: RemoteObject) -> RemoteReading:
        """Raises NoSuchRange."""
        exchange = await remote.get(range_header(self._ahead))
        answer = await exchange.__aenter__()
        try:
            self._reading = self._admitted(remote, answer)
            await self._reading.take(exchange, answer, self._ahead)
        except BaseException as error:
            await exchange.__aexit__(type(error), error, error.__traceback__)
            raise
        return self._reading

    def _admitted(self, remote: RemoteObject, answer: Answer) -> RemoteReading:
        reading = RemoteReading(remote, answer)
        self._admit(reading.record)
        return reading


def range_header(wanted: RangeSpec) -> Headers:
    return {} if wanted == EVERYTHING else {"range": wanted.header}


def span_of(answer: Answer, wanted: RangeSpec, size: int) -> Span | None:
    """The bytes of an object of `size` that an answer holds: those wanted, or all of them where the
    store knows no ranges. None: others."""
    if answer.status != 206 or not size:  # what some engines say of the end of nothing
        return Span(0, size)
    with suppress(RangeNotSatisfiable):
        span = wanted.resolve(size)
        if answer.headers.get("content-range") == content_range(span, size):
            return span
    return None


async def cut(incoming: Incoming, wanted: Span) -> Pieces:
    """The bytes wanted of those on their way. Raises StoreUnavailable where there are fewer."""
    skip, left = wanted.start - incoming.span.start, wanted.size
    async with aclosing(incoming.pieces) as pieces:
        async for piece in pieces:
            part = piece[skip : skip + left]
            skip -= min(skip, len(piece))
            left -= len(part)
            if part:
                yield part
            if not left:
                return
    check_complete(left)


def stated_size(headers: Headers) -> int | None:
    """Bytes of the whole object, where an answer with these tells of them, in part or whole."""
    total = headers.get("content-range", "").rpartition("/")[2]
    size = total or headers.get("content-length", "")
    return int(size) if size.isdecimal() and len(size) <= MOST_DIGITS else None


async def all_of(answer: Answer, size: int) -> bytes:
    """A body of `size` bytes, AT_ONCE at most. Raises StoreUnavailable where there are fewer."""
    data = (await answer.whole(AT_ONCE))[:size]
    check_complete(size - len(data))
    return data


def check_complete(missing: int) -> None:
    """Raises StoreUnavailable: the rest may well come when it is asked for again."""
    if missing:
        raise StoreUnavailable(f"the store's answer ended {missing} bytes too early")
