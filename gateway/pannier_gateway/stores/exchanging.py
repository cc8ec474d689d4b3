"""One exchange with a store, at one of its entrances; a failure is told in words of a store."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from time import time
from types import TracebackType
from typing import NamedTuple

from pannier_gateway.dates import seconds_to_wait
from pannier_gateway.errors import (
    PannierError,
    StoreMisanswered,
    StoreRefused,
    StoreTimedOut,
    StoreUnavailable,
)
from pannier_gateway.stores.base import Buffer
from pannier_gateway.stores.connecting import Entrance
from pannier_gateway.stores.provision import Endpoints
from pannier_gateway.tls.advice import advice
from pannier_gateway.upstream.connection import Answer, Patience
from pannier_gateway.upstream.errors import (
    AnswerCut,
    AnswerMalformed,
    AnswerTooLong,
    ConnectTimedOut,
    ExchangeError,
    FirstByteTimedOut,
    ProgressTimedOut,
    TlsFailed,
)
from pannier_gateway.upstream.pool import Pool
from pannier_gateway.upstream.request import Request, Streamed

MOST_TOLD = 64 * 1024  # bytes of an answer that says why not
SLOW_ANSWER_SECONDS = 60.0  # to a body that the store has to put away first
EXPECTING = 1 << 20  # bytes of a body from which on the store is asked before they are sent
SENDING = {"PUT", "POST"}


class Dialect(NamedTuple):
    """Whose answers a store's should look like, and what to check where they do not."""

    name: str
    check: str


class Refused(NamedTuple):
    """An answer that is no success, and whose. `wait`: seconds until it may be asked again."""

    place: str
    status: int
    headers: Mapping[str, str]
    text: bytes
    wait: float | None


class Exchanges:
    """What all exchanges with one store share. `at` makes of an address what messages call it."""

    def __init__(
        self,
        entrances: Endpoints[Entrance],
        patience: Patience,
        dialect: Dialect,
        at: Callable[[str], str],
    ) -> None:
        self.place = at(str(entrances))
        self.entrances = entrances
        self.dialect = dialect
        self._patience = patience
        slow = max(SLOW_ANSWER_SECONDS, patience.first_byte)
        self._patience_with_bodies = patience._replace(first_byte=slow)
        self._at = at

    def __repr__(self) -> str:
        return f"<Exchanges with {self.place}>"

    def patience(self, request: Request) -> Patience:
        return self._patience_with_bodies if request.method in SENDING else self._patience

    def at(self, pool: Pool) -> str:
        """The store, at the entrance that leads there."""
        return self._at(str(pool.endpoint))

    async def pieces(self, answer: Answer) -> AsyncGenerator[Buffer, None]:
        """The body of an answer; what breaks it off is told in words of a store."""
        try:
            async with aclosing(answer.pieces()) as pieces:
                async for piece in pieces:
                    yield piece
        except ExchangeError as error:
            raise broken(self.place, error, self.dialect) from error


class StoreExchange:
    """The answer to what `request` makes for a host, if it is a success, as a block that ends with
    the exchange. Entering raises what `refusal` makes of any other answer; either end raises what
    it means that the exchange broke.

    It is a class, for a generator takes 3 µs more.
    """

    __slots__ = ("_exchange", "_exchanges", "_picking", "_pool", "_refusal", "_request")

    def __init__(
        self,
        exchanges: Exchanges,
        request: Callable[[str], Request],
        refusal: Callable[[Refused], PannierError],
    ) -> None:
        self._exchanges = exchanges
        self._request = request
        self._refusal = refusal

    async def __aenter__(self) -> Answer:
        self._picking = self._exchanges.entrances.pick()
        picked = self._picking.__enter__()
        host, self._pool = picked.target
        try:
            request = self._request(host)
            self._exchange = self._pool.exchange(request, self._exchanges.patience(request))
            answer = await self._exchange.__aenter__()
        except BaseException as error:
            self._end(error)
            raise
        picked.answered()
        if answer.status >= 300 or answer.early:
            await self._turn_down(answer)
        return answer

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exchange.__aexit__(kind, error, trace)
        self._end(error)

    async def _turn_down(self, answer: Answer) -> None:
        """End the exchange, and raise why the answer is no success."""
        place = self._exchanges.at(self._pool)
        try:
            if answer.status >= 300:
                raise self._refusal(await refused(place, answer))
            raise StoreMisanswered(f"{place} took a body before it had all of it")
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise

    def _end(self, error: BaseException | None) -> None:
        """Raises, in place of what broke the exchange, what that means."""
        if isinstance(error, ExchangeError):
            exchanges = self._exchanges
            told = broken(exchanges.at(self._pool), error, exchanges.dialect)
            told.__cause__ = error
            self._picking.__exit__(type(told), told, error.__traceback__)
            raise told
        kind, trace = (None, None) if error is None else (type(error), error.__traceback__)
        self._picking.__exit__(kind, error, trace)


def expecting(body: Buffer | Streamed) -> bool:
    """Whether to ask before it is sent."""
    size = body.length if isinstance(body, Streamed) else len(body)
    return size is None or size >= EXPECTING


async def refused(place: str, answer: Answer) -> Refused:
    text = await answer.whole(MOST_TOLD)
    wait = seconds_to_wait(answer.headers.get("retry-after"), time())
    return Refused(place, answer.status, answer.headers, text, wait)


def broken(place: str, error: ExchangeError, dialect: Dialect) -> PannierError:
    """The error for an exchange that came to no answer; `place` names the store, and where."""
    match error:
        case ConnectTimedOut() | FirstByteTimedOut() | ProgressTimedOut():
            return StoreTimedOut(f"{place}: {error}")
        case TlsFailed():
            return StoreRefused(f"{place}: {error}: {advice(error.__cause__)}")
        case AnswerMalformed() | AnswerTooLong():
            said = f"{place} does not answer as {dialect.name} does: {error}: {dialect.check}"
            return StoreMisanswered(said)
        case AnswerCut():
            return StoreUnavailable(f"{place} broke off: {error}")
        case _:
            return StoreUnavailable(f"{place} can't be reached: {error}: {dialect.check}")
