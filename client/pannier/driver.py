"""Carries planned requests out, one thread at a time: connections, waiting, trying again."""

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from pannier.address import Address
from pannier.answer import Answer
from pannier.errors import ConnectionFailed
from pannier.http import Connection, Unanswered
from pannier.patience import Retry, Timeout
from pannier.plan import Request, refusal
from pannier.pool import Pool
from pannier.source import Source

_MAY_STILL_COME_UP = (
    ConnectionError,
    FileNotFoundError,  # a Unix socket that is not there yet
    BlockingIOError,  # one whose queue is full
    TimeoutError,
    socket.gaierror,
)


@dataclass(frozen=True, slots=True)
class Config:
    """All that a client is told; what a pickle of it holds."""

    address: Address
    timeout: Timeout
    retry: Retry
    pool_size: int
    headers: tuple[tuple[str, str], ...]


class Driver:
    """The blocking driver. Threads share it; a forked child starts with connections of its own."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.pool = Pool(config.pool_size)
        self._headers = dict(config.headers)
        self._tls: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"<Driver {self.config.address} {self.pool!r}>"

    def __reduce__(self) -> tuple[Callable[[Config], Self], tuple[Config]]:
        return type(self), (self.config,)

    def exchange(self, request: Request, source: Source | None = None) -> Answer:
        """Return the answer if it is one that the request accepts, else raise what it means."""
        answer = self._ask(request, source)
        if answer.head.status in request.accepts:
            return answer
        with answer:
            raise refusal(request, answer.head, answer.excerpt())

    def _ask(self, request: Request, source: Source | None) -> Answer:
        if self.pool.closed:
            raise ValueError(f"{request.subject}: the client is closed")
        reused = self.pool.take()
        try:
            return self._exchange(reused or self._connect(request), request, source)
        except Unanswered as error:
            again = request.repeatable and (source is None or source.can_begin)
            if reused is None or not again:
                raise _lost(request, error) from error
        return self._ask_anew(request, source)

    def _ask_anew(self, request: Request, source: Source | None) -> Answer:
        """The connection had died while idle, which says nothing about the server."""
        try:
            return self._exchange(self._connect(request), request, source)
        except Unanswered as error:
            raise _lost(request, error) from error

    def _exchange(self, connection: Connection, request: Request, source: Source | None) -> Answer:
        return connection.exchange(request, self._headers, source, self.pool.give_back)

    def _connect(self, request: Request) -> Connection:
        """Connect, again and again for a while: the sidecar may start beside us."""
        begun = time.monotonic()
        failures = 0
        while True:
            try:
                return Connection(self.config.address, self.config.timeout, self._tls_context())
            except OSError as error:
                failures += 1
                elapsed = time.monotonic() - begun
                wait = self.config.retry.wait(failures, elapsed)
                if wait is None or not isinstance(error, _MAY_STILL_COME_UP):
                    raise self._unreachable(request, error, elapsed) from error
            time.sleep(wait)

    def _tls_context(self) -> ssl.SSLContext | None:
        if self.config.address.scheme == "https" and self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _unreachable(self, request: Request, error: OSError, elapsed: float) -> ConnectionFailed:
        return ConnectionFailed(
            f"cannot reach {self.config.address} within {elapsed:.1f} s: {error}. Is the gateway "
            "running? Its address is base_url, or PANNIER_URL",
            request.subject,
        )


def _lost(request: Request, error: Unanswered) -> ConnectionFailed:
    return ConnectionFailed(f"no answer came: {error}", request.subject)
