"""News from the cluster, through kopf: the only module that knows that library.

kopf watches, reconnects and notices streams that have gone silent. It handles nothing: an event
says in which namespace to look, no more, so none of its state, retries or finalizers are used.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import aiohttp
import kopf

from pannier_operator.api import CONFIG_MAPS, Json
from pannier_operator.cluster import PAGE, PLAIN, Access
from pannier_operator.pace import Backoff
from pannier_operator.world import CONFIG_SELECTOR, KINDS

News = Callable[[str, str, str], None]
"""Told of an object: its namespace, its uid, and its resourceVersion, empty where it is gone."""

Task = asyncio.Task[Any]

LOGIN_MINUTES = 50  # a ServiceAccount's token lasts an hour
SILENCE_SECONDS = 70  # an API server says something every minute
WATCH_ENDS_SECONDS = 1  # what handles news takes none of it


@asynccontextmanager
async def following(
    access: Callable[[], Awaitable[Access]],
    namespaces: Collection[str],
    news: News,
    relisted: Callable[[str], None],
) -> AsyncIterator[Collection[Task]]:
    """Tell `news` of whatever changes, until one of the tasks that are yielded is done.

    Whenever a kind was listed `relisted` hears at which path: of what was deleted since it was last
    watched nobody tells. One task is done when the process is told to end (SIGTERM, SIGINT), or
    when a watch is broken for good: why, is raised when the block is left.
    """
    logins, roots, over = Logins(access, relisted), list[Task](), list[Task]()
    try:
        roots += await kopf.spawn_tasks(
            registry=registry(logins, news),
            settings=settings(),
            identity="pannier",  # type: ignore[arg-type]  # or it asks for a user's name: images have none
            clusterwide=not namespaces,
            namespaces=namespaces,
        )
        yield roots
        over += [root for root in roots if root.done()]
    finally:
        await _end(roots, logins)
    for root in over:
        root.result()


async def _end(roots: Collection[Task], logins: "Logins") -> None:
    """End kopf: `roots`, and whatever else it has begun.

    A root ends what it began, but for one that has failed. A watch that is left over then, and is
    cancelled together with what might pause it, takes that for a pause and begins anew. Without
    a session it comes to nothing, and the next time it ends.
    """
    left = set(roots)
    while left:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=2 * WATCH_ENDS_SECONDS)
        await logins.close()
        left = {task for task in asyncio.all_tasks() if _is_kopfs(task)}


def _is_kopfs(task: Task) -> bool:
    """By whose code it runs: what else goes on in this loop is for others to end."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    return frame is not None and frame.f_globals["__name__"].startswith("kopf.")


class Logins:
    """The sessions that kopf has been given, one after the other."""

    def __init__(
        self, access: Callable[[], Awaitable[Access]], relisted: Callable[[str], None]
    ) -> None:
        self._access = access
        self._relisted = relisted
        self._sessions: list[aiohttp.ClientSession] = []

    def __repr__(self) -> str:
        return f"<Logins {len(self._sessions)}>"

    async def log_in(self, **_: object) -> kopf.AiohttpSession:
        """Another session, for as long as its token is good."""
        access = await self._access()
        session = _session(access, self._relisted)
        self._sessions = [each for each in self._sessions if not each.closed] + [session]
        return kopf.AiohttpSession(
            server=access.server,
            aiohttp_session=session,
            expiration=datetime.now(UTC) + timedelta(minutes=LOGIN_MINUTES),
        )

    async def close(self) -> None:
        """Nothing is asked of the cluster from now on."""
        for session in self._sessions:
            await session.close()


def registry(logins: Logins, news: News) -> kopf.OperatorRegistry:
    """The handlers: one that logs in, one that tells news.

    Kinds are fully qualified: one that is named short is looked for in every group of the cluster,
    and a single broken one keeps kopf from starting.
    """
    found = kopf.OperatorRegistry()

    async def seen(event: kopf.RawEvent, **_: object) -> None:
        metadata = event["object"]["metadata"]
        gone = event["type"] == "DELETED"
        news(metadata["namespace"], metadata["uid"], "" if gone else metadata["resourceVersion"])
        lighten(cast(Json, event["object"]))

    kopf.on.login(registry=found, errors=kopf.ErrorsMode.TEMPORARY)(logins.log_in)
    for each in KINDS:
        kopf.on.event(group=each.group, version=each.version, plural=each.plural, registry=found)(
            seen
        )
    return found


def lighten(body: Json) -> None:
    """Leave of `body`, which kopf holds for a while, and of many objects, what kopf looks at."""
    for part in body.keys() - {"apiVersion", "kind", "metadata"}:
        del body[part]
    for part in body["metadata"].keys() & {"annotations", "labels", "managedFields"}:
        del body["metadata"][part]


def settings() -> kopf.OperatorSettings:
    """How to watch so that no silence goes unnoticed and no fault ends the process needlessly."""
    found = kopf.OperatorSettings()
    found.peering.standalone = True  # else another operator's peering object could pause this one
    found.scanning.disabled = True  # the CRDs are known and there: no permission to look for them
    found.posting.enabled = False
    # kopf takes this one off wherever it sees it: no object can have one of that name
    found.persistence.finalizer = "/"
    found.persistence.diffbase_storage = _NoDiffs()
    found.watching.server_timeout = 600
    found.watching.client_timeout = 660
    found.watching.connect_timeout = 10
    found.watching.inactivity_timeout = SILENCE_SECONDS
    found.watching.reconnect_backoff = 1
    found.watching.chunk_size = PAGE
    found.watching.label_selectors[CONFIG_MAPS.version, CONFIG_MAPS.plural] = CONFIG_SELECTOR
    found.queueing.idle_timeout = 0.2  # a task for each object ends then
    found.queueing.exit_timeout = WATCH_ENDS_SECONDS
    found.process.ultimate_exiting_timeout = 60  # then it is killed
    found.networking.request_timeout = 30
    found.networking.connect_timeout = 10
    found.networking.error_backoffs = Backoff(longest=30.0)
    found.execution.default_backoff = 10
    return found


class _NoDiffs(kopf.DiffBaseStorage):
    """Nobody asks what has changed in an object, so kopf need not copy each to find out."""

    def build(
        self,
        *,
        body: kopf.Body,
        extra_fields: Iterable[kopf.FieldSpec] | None = None,
    ) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        return None


def _session(access: Access, relisted: Callable[[str], None]) -> aiohttp.ClientSession:
    known = kopf.ConnectionInfo(
        server=access.server,
        ca_path=access.ca_path,
        ca_data=access.ca_data,
        insecure=not access.verify,
        scheme=None if access.token is None else "Bearer",
        token=access.token,
        certificate_path=access.certificate_path,
        private_key_path=access.key_path,
    )
    connector = aiohttp.TCPConnector(limit=0, ssl=known.as_ssl_context())
    return aiohttp.ClientSession(
        connector=connector,
        headers=known.as_http_headers() | PLAIN,
        trace_configs=[_tracing(relisted)],
    )


def _tracing(relisted: Callable[[str], None]) -> aiohttp.TraceConfig:
    """Calls `relisted` for a list's first page: what it holds, and the watch's begin, are fixed."""
    names = {each.plural for each in KINDS}

    async def ended(
        _session: aiohttp.ClientSession, _context: object, end: aiohttp.TraceRequestEndParams
    ) -> None:
        lists = end.method == "GET" and end.url.name in names
        begins = lists and not {"watch", "continue"} & end.url.query.keys()
        if begins and end.response.ok:
            relisted(end.url.path)

    found = aiohttp.TraceConfig()
    found.on_request_end.append(ended)
    return found
