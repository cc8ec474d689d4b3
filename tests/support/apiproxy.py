"""A way to a real API server on which things go wrong, as a test's rules say.

What no rule is about arrives, and returns, as it was sent. The proxy has the certificate of the
server, since clients send tokens over nothing but TLS. It runs in a thread of its own: operators
in this process and in others may use it.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

from support import loops
from support.cluster import ControlPlane, Json

_PATH = re.compile(
    r"/(?:api|apis/[^/]+)/v\d\w*(?:/namespaces/(?P<namespace>[^/]+)(?=/.))?"
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<part>.+))?"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_REASONS = {401: "Unauthorized", 403: "Forbidden", 410: "Expired", 429: "TooManyRequests"}
_CHANGED_ON_THE_WAY = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}
_LONGEST_EVENT_BYTES = 1 << 22
_SECONDS = 10.0
_LONGEST_SECONDS = 30.0  # so that a test that fails ends


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as RBAC describes it: the `resource` is such as `usecases` or `usecases/status`.

    What is about no resource (`/version`, discovery) is a `get` of "". `continues` tells a list's
    second page, and those behind it, from the first.
    """

    verb: str
    resource: str
    namespace: str
    name: str
    path: str
    continues: bool

    @classmethod
    def read(cls, method: str, target: str) -> Asked:
        """What the request line says."""
        url = urlsplit(target)
        query, found = parse_qs(url.query), _PATH.fullmatch(url.path)
        parts = found.groupdict("") if found else dict.fromkeys(_PATH.groupindex, "")
        return cls(
            verb=_VERBS.get(method) or _reading_verb(parts, query),
            resource="/".join(filter(None, (parts["resource"], parts["part"]))),
            namespace=parts["namespace"],
            name=parts["name"],
            path=url.path,
            continues="continue" in query,
        )


def _reading_verb(parts: dict[str, str], query: dict[str, list[str]]) -> str:
    if query.get("watch", ["0"])[0] in {"1", "true"}:
        return "watch"
    return "list" if parts["resource"] and not parts["name"] else "get"


class Exchange:
    """A request that is on its way, in the hands of a fault."""

    def __init__(self, request: web.BaseRequest, session: ClientSession, server: str) -> None:
        self.request = request
        self._session = session
        self._server = server

    @asynccontextmanager
    async def forwarded(self) -> AsyncIterator[ClientResponse]:
        """The server's answer, of which only the head has been read."""
        url = URL(self._server + self.request.raw_path, encoded=True)
        headers = _passed_on(self.request.headers.items())
        body = await self.request.content.read()
        async with self._session.request(
            self.request.method, url, data=body or None, headers=headers
        ) as answer:
            yield answer

    async def begun(self, answer: ClientResponse) -> web.StreamResponse:
        """An answer to the client with the head of the server's `answer`."""
        headers = _passed_on(answer.headers.items())
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(self.request)
        return response

    def hang_up(self) -> None:
        """Ends the connection in the middle of whatever it carries."""
        if self.request.transport is not None:
            self.request.transport.abort()


def _passed_on(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.lower() not in _CHANGED_ON_THE_WAY]


class Fault(Protocol):
    """What becomes of a request."""

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        """Answers, late or wrongly or not at all."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Nothing goes wrong, after `seconds` in which nothing happens.

    The answer comes `late` seconds after the server has given it.
    """

    seconds: float = 0
    late: float = 0

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        await asyncio.sleep(self.seconds)
        async with exchange.forwarded() as answer:
            await asyncio.sleep(self.late)
            response = await exchange.begun(answer)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            return response


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing happens until it is `over`, and then nothing goes wrong."""

    over: threading.Event

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        await asyncio.to_thread(self.over.wait, _LONGEST_SECONDS)
        return await Pass().answer(exchange)


@dataclass(slots=True)
class Note:
    """Nothing goes wrong; `times` are those, in seconds, at which requests came."""

    times: list[float] = field(default_factory=list)

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        self.times.append(time.monotonic())
        return await Pass().answer(exchange)


@dataclass(frozen=True, slots=True)
class Refuse:
    """The server is not asked: `status`, with a Retry-After in seconds where one is given."""

    status: int
    retry_after: int | None = None

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return web.json_response(failure(self.status), status=self.status, headers=headers)


@dataclass(frozen=True, slots=True)
class Cut:
    """An answer that ends after `events` lines, each of them an event where it is a watch's.

    It ends as a complete one does, or else by a lost connection. An `error` is the status of one
    more event, which is how a watch that has begun learns that it is too old.
    """

    events: int = 0
    error: int | None = None
    clean: bool = True

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        async with exchange.forwarded() as answer:
            response = await exchange.begun(answer)
            await _relay(answer, response, self.events)
            if self.error is not None:
                event = {"type": "ERROR", "object": failure(self.error)}
                await response.write(json.dumps(event).encode() + b"\n")
            if not self.clean:
                exchange.hang_up()
            return response


@dataclass(frozen=True, slots=True)
class Stall:
    """An answer that, after its head and `events` lines, neither goes on nor ends."""

    events: int = 0

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        async with exchange.forwarded() as answer:
            response = await exchange.begun(answer)
            await _relay(answer, response, self.events)
            await asyncio.Event().wait()
            return response


@dataclass(frozen=True, slots=True)
class Lose:
    """The connection is lost before an answer: the request `arrived` at the server, or did not."""

    arrived: bool

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        if self.arrived:
            async with exchange.forwarded() as answer:
                await answer.read()
        exchange.hang_up()
        return web.Response()


async def _relay(answer: ClientResponse, response: web.StreamResponse, lines: int) -> None:
    for _ in range(lines):
        await response.write(await answer.content.readline())


def failure(status: int) -> Json:
    """The `Status` that an API server answers with."""
    reason = _REASONS.get(status, "InternalError" if status == 500 else "ServiceUnavailable")
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "metadata": {},
        "status": "Failure",
        "message": f"the test says {status}",
        "reason": reason,
        "code": status,
    }


@dataclass(slots=True)
class Rule:
    """Which requests a fault meets. None and "" are for any; `path` is a regular expression.

    Of those that match, the first `skip` pass, and after `times` more the rule is spent.
    `matched` counts all of them.
    """

    fault: Fault
    verb: str = ""
    resource: str = ""
    path: str = ""
    continues: bool | None = None
    skip: int = 0
    times: int | None = None
    matched: int = 0

    def takes(self, asked: Asked) -> bool:
        """Whether this request meets the fault. Counts it."""
        if not self._is_about(asked):
            return False
        self.matched += 1
        turn = self.matched - self.skip
        return turn > 0 and (self.times is None or turn <= self.times)

    def _is_about(self, asked: Asked) -> bool:
        return (
            self.verb in {"", asked.verb}
            and self.resource in {"", asked.resource}
            and self.continues in {None, asked.continues}
            and re.search(self.path, asked.path) is not None
        )


class Proxy:
    """Where requests pass, are counted, and meet the first rule that takes them."""

    def __init__(self, plane: ControlPlane, session: ClientSession) -> None:
        self.url = ""
        self._plane = plane
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._server = web.Server(self._answer, handler_cancellation=True)
        self._rules: tuple[Rule, ...] = ()
        self._requests: list[Asked] = []
        self._changed = threading.Condition()

    def __repr__(self) -> str:
        return f"<Proxy of {self._plane.url}, {len(self._requests)} requests>"

    @property
    def requests(self) -> tuple[Asked, ...]:
        """All that came so far, in the order in which they came."""
        with self._changed:
            return tuple(self._requests)

    def kubeconfig(self, token: str) -> Path:
        """For whoever holds `token`, by this way."""
        return self._plane.kubeconfig_for(token, self.url)

    def on(self, rule: Rule) -> Rule:
        """From now on `rule` holds, before those that held already."""
        self._rules = (rule, *self._rules)
        return rule

    def clear(self) -> None:
        """From now on nothing goes wrong; what is in its course goes on so. Nothing is counted."""
        self._rules = ()
        with self._changed:
            self._requests.clear()

    def hang_up(self) -> None:
        """Loses every connection that there is, idle ones too."""
        self._loop.call_soon_threadsafe(self._hang_up)

    def count(self, verb: str = "", resource: str = "") -> int:
        """How many requests came; "" is for any."""
        about = Rule(Pass(), verb, resource)
        return sum(map(about.takes, self.requests))

    def wait_until(self, holds: Callable[[Proxy], bool], seconds: float = _SECONDS) -> None:
        """Returns when `holds`, asked after each request. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: holds(self), seconds):
                raise TimeoutError(f"not after {seconds} s, and these requests: {self._requests}")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Requests arrive at `url`."""
        identity = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        identity.load_cert_chain(self._plane.ca_file, self._plane.ca_file.with_suffix(".key"))
        listener = await self._loop.create_server(self._server, "127.0.0.1", 0, ssl=identity)
        self.url = "https://{}:{}".format(*listener.sockets[0].getsockname())
        async with listener:
            yield
            self._hang_up()
        await self._server.shutdown(0)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = Asked.read(request.method, request.raw_path)
        with self._changed:
            self._requests.append(asked)
            self._changed.notify_all()
        fault = next((rule.fault for rule in self._rules if rule.takes(asked)), Pass())
        exchange = Exchange(request, self._session, self._plane.url)
        try:
            return await fault.answer(exchange)
        except (ClientError, ConnectionError):  # one of both sides has left
            exchange.hang_up()
            return web.Response()

    def _hang_up(self) -> None:
        for connection in self._server.connections:
            if connection.transport is not None:
                connection.transport.abort()


@contextmanager
def running_proxy(plane: ControlPlane) -> Iterator[Proxy]:
    """A proxy of `plane`, in a thread of its own."""
    started, ended = Future[Proxy](), threading.Event()
    serving = _serve(plane, started, ended)
    thread = threading.Thread(target=loops.run, args=[serving])
    thread.start()
    try:
        yield started.result(_SECONDS)
    finally:
        ended.set()
        thread.join()


async def _serve(plane: ControlPlane, started: Future[Proxy], ended: threading.Event) -> None:
    trust = ssl.create_default_context(cafile=plane.ca_file)
    async with ClientSession(
        connector=TCPConnector(ssl=trust, limit=0),
        timeout=ClientTimeout(),
        auto_decompress=False,
        read_bufsize=_LONGEST_EVENT_BYTES,
    ) as session:
        proxy = Proxy(plane, session)
        async with proxy.serving():
            started.set_result(proxy)
            await asyncio.to_thread(ended.wait)
