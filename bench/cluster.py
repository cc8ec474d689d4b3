"""A real API server with many Usecases, as the tests start it, and what is asked of it here."""

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from support.cluster import ADMIN, ControlPlane, running_control_plane
from support.manifests import bucket, usecase

__all__ = ["ControlPlane", "asking", "bucket", "crowded", "each", "emptied"]

Json = dict[str, Any]
T = TypeVar("T")

AT_ONCE = 8  # as many requests as an operator has under way
PER_NAMESPACE = 100
PAGE = 500
OURS = "/apis/pannier.dev/v1alpha1"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class Refused(Exception):
    """The API server's answer, where it was none that a measurement can go on with."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many Usecases there are; a hundred in each namespace, which all have one Bucket."""

    plane: ControlPlane
    usecases: int

    @property
    def namespaces(self) -> list[str]:
        return [f"team-{number:03}" for number in range(-(-self.usecases // PER_NAMESPACE))]

    def names(self) -> Iterator[tuple[str, str]]:
        """Namespace and name of each Usecase."""
        for number in range(self.usecases):
            yield self.namespaces[number // PER_NAMESPACE], f"usecase-{number:05}"

    def scattered(self) -> Iterator[tuple[str, str]]:
        """The same over and over, one from each namespace in turn."""
        for first in cycle(range(PER_NAMESPACE)):
            yield from islice(self.names(), first, None, PER_NAMESPACE)


class Asking:
    """Requests over a few kept connections. All methods raise Refused."""

    def __init__(self, plane: ControlPlane, session: aiohttp.ClientSession) -> None:
        self._plane = plane
        self._session = session

    async def request(self, method: str, path: str, body: object = None, kind: str = "") -> Json:
        headers = {"content-type": kind} if kind else {}
        asked = self._session.request(method, self._plane.url + path, json=body, headers=headers)
        async with asked as answer:
            found: Json = await answer.json()
        if answer.status >= 400:
            raise Refused(f"{method} {path}: {found.get('message')}")
        return found

    async def listed(self, path: str) -> AsyncIterator[Json]:
        """All items, page by page."""
        rest = ""
        while True:
            page = await self.request("GET", f"{path}?limit={PAGE}&continue={rest}")
            for item in page["items"]:
                yield item
            if not (rest := page["metadata"].get("continue", "")):
                return

    @asynccontextmanager
    async def watching(self, path: str) -> AsyncIterator[aiohttp.StreamReader]:
        """News of what is at `path`, a line each, from what is there now."""
        async with self._session.get(f"{self._plane.url}{path}&watch=1") as answer:
            yield answer.content


@asynccontextmanager
async def asking(plane: ControlPlane) -> AsyncIterator[Asking]:
    """As the administrator."""
    trust = ssl.create_default_context(cafile=plane.ca_file)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust, limit=0),
        headers={"authorization": f"Bearer {plane.tokens[ADMIN]}"},
        read_bufsize=1 << 20,
    )
    async with session:
        yield Asking(plane, session)


@contextmanager
def emptied(folder: Path) -> Iterator[ControlPlane]:
    """An API server that serves our kinds, and holds none."""
    with running_control_plane(folder) as plane:
        plane.install_crds()
        yield plane


@contextmanager
def crowded(folder: Path, usecases: int) -> Iterator[Crowd]:
    """An API server that holds so many, of which nobody has taken notice yet."""
    with emptied(folder) as plane:
        crowd = Crowd(plane, usecases)
        asyncio.run(_filled(crowd))
        yield crowd


async def each(items: Iterable[T], do: Callable[[T], Awaitable[object]]) -> None:
    """Do all of them, some at once."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await do(item)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))


async def _filled(crowd: Crowd) -> None:
    claimed = bucket(filesystem={"claimName": "objects"})
    async with asking(crowd.plane) as server:

        async def settle(namespace: str) -> None:
            made = {"metadata": {"name": namespace}}
            await server.request("POST", "/api/v1/namespaces", made)
            await server.request("POST", f"{OURS}/namespaces/{namespace}/buckets", claimed)

        async def add(key: tuple[str, str]) -> None:
            namespace, name = key
            path = f"{OURS}/namespaces/{namespace}/usecases"
            await server.request("POST", path, usecase(name))

        await each(crowd.namespaces, settle)
        await each(crowd.names(), add)
