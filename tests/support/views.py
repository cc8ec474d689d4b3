"""Namespaces as the operator sees them, without a cluster."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from pannier_operator.api import CONFIG_MAPS, Json, Refused, Resource
from pannier_operator.world import View, World


class Held:
    """A cluster that holds just these objects, and gives them page by page; nothing is written.

    It stands in where only what is listed matters: what an API server does with writes, or with
    faults, is tested against one.
    """

    def __init__(self, *objects: Json, page: int = 2) -> None:
        self.objects = list(objects)
        self._page = page

    async def pages(
        self, resource: Resource, namespace: str | None, labels: str = ""
    ) -> AsyncIterator[list[Json]]:
        found = [
            each
            for each in self.objects
            if each["kind"] == resource.kind and namespace in {None, each["metadata"]["namespace"]}
        ]
        for start in range(0, len(found), self._page):
            yield found[start : start + self._page]

    async def get(self, path: str) -> Json:
        raise Refused(404, f"nothing is at {path}")

    async def apply(self, manifest: Json, part: str = "") -> Json:
        raise Refused(403, "nothing is written here")

    async def patch(self, manifest: Json, operations: Sequence[Json], part: str = "") -> Json:
        raise Refused(403, "nothing is written here")

    async def create(self, manifest: Json) -> Json:
        raise Refused(403, "nothing is written here")


def held(manifest: Json, number: int = 0) -> Json:
    """`manifest` with the metadata that an API server gives."""
    given = {"namespace": "default", "uid": f"uid-{number}", "resourceVersion": "1"}
    times = {"generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
    named = {k: v for k, v in manifest["metadata"].items() if v is not None}
    return manifest | {"metadata": given | times | named}


def view(*objects: Json, namespace: str = "default") -> View:
    """`objects` as they are listed in `namespace`."""
    listed = [held(each, number) for number, each in enumerate(objects)]
    return asyncio.run(World(Held(*listed)).namespace(namespace))


def config_map(namespace: str, **data: str) -> Json:
    """A ConfigMap as it is listed, with nothing of what the operator notes on it."""
    return held(CONFIG_MAPS.object(namespace, "pannier-config") | {"data": data})
