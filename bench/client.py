"""Clients: `pannier.Client` beside the published `objectstore-client` and a bare `http.client`.

All three talk to the same gateway from this process, one call after another. What counts is the
caller's own CPU; the table's CPU is the gateway's.
"""

import http.client
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import objectstore_client
import urllib3

import pannier
from bench import gateway
from bench.load import Sample, Traffic, sample
from bench.process import Server, running
from bench.race import race
from bench.report import CALLER, show
from bench.settings import KIB, MIB, Settings
from bench.workplace import workplace

USECASE = "media"
PIECE = 256 * KIB
BARE = "http.client"


class Caller(Protocol):
    """What every client can do."""

    def put(self, key: str, body: bytes) -> None:
        """Store the bytes."""

    def get(self, key: str) -> int:
        """Read all of it, in pieces where it is large; how many bytes came."""


class Pannier:
    """Ours."""

    def __init__(self, server: Server) -> None:
        self._session = pannier.Client(server.url).session(USECASE)

    def put(self, key: str, body: bytes) -> None:
        self._session.put(body, key)

    def get(self, key: str) -> int:
        with self._session.get(key) as result:
            return _drain(result.read)


class Published:
    """`objectstore-client`, patient and without compression."""

    def __init__(self, server: Server) -> None:
        patience = urllib3.Timeout(connect=10, read=None)
        client = objectstore_client.Client(server.url, connection_kwargs={"timeout": patience})
        usecase = objectstore_client.Usecase(USECASE, compression="none")
        self._session = client.session(usecase)

    def put(self, key: str, body: bytes) -> None:
        self._session.put(body, key)

    def get(self, key: str) -> int:
        found = self._session.get(key)
        if found is None:
            raise KeyError(key)
        return _drain(found.payload.read)


class Bare:
    """The standard library alone: nothing is checked but the status."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection = http.client.HTTPConnection(*server.address)

    def put(self, key: str, body: bytes) -> None:
        self._ask("PUT", key, body).read()

    def get(self, key: str) -> int:
        return _drain(self._ask("GET", key).read)

    def _ask(self, method: str, key: str, body: bytes | None = None) -> http.client.HTTPResponse:
        self._connection.request(method, self._server.path(USECASE, key), body)
        answer = self._connection.getresponse()
        if answer.status != 200:
            raise ConnectionError(f"{method} {key}: {answer.status}")
        return answer


def _drain(read: Callable[[int], bytes]) -> int:
    size = 0
    while piece := read(PIECE):
        size += len(piece)
    return size


def main(settings: Settings) -> None:
    with (
        workplace(settings) as home,
        running(gateway.command(settings, home / "gateway"), home / "log") as server,
    ):
        callers: dict[str, Caller] = {
            BARE: Bare(server),
            "objectstore-client": Published(server),
            "pannier": Pannier(server),
        }
        for title, size in (("1 KiB", KIB), ("64 MiB", 64 * MIB)):
            body = os.urandom(size)
            puts = {name: partial(caller.put, name, body) for name, caller in callers.items()}
            gets = {name: partial(caller.get, name) for name, caller in callers.items()}
            for verb, calls in (("put", puts), ("get", gets)):
                turns = {
                    name: partial(_turn, server, partial(repeat, call, size, settings.seconds))
                    for name, call in calls.items()
                }
                result = race(settings.rounds, turns)
                show(f"{title} {verb}, one caller", result, BARE, figures=CALLER)


def _turn(server: Server, send: Callable[[], Traffic], _number: int) -> Sample:
    return sample(server, send)


def repeat(call: Callable[[], int | None], size: int, seconds: float) -> Traffic:
    """`call` again and again for `seconds`; raises ConnectionError where a get came short."""
    latencies: list[float] = []
    began = now = time.perf_counter()
    while now - began < seconds:
        if call() not in (None, size):
            raise ConnectionError("a get brought fewer bytes than were put")
        latencies.append(time.perf_counter() - now)
        now += latencies[-1]
    return Traffic.of(latencies, now - began, size * len(latencies))


if __name__ == "__main__":
    main(Settings.parse())
