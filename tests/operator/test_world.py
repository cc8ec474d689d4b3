"""Lists become views: complete or not at all."""

from collections.abc import AsyncIterator, Iterable

import msgspec
import pytest

from pannier_gateway.config import resources
from pannier_gateway.config.documents import Document
from pannier_gateway.config.problems import Problem
from pannier_gateway.config.resources import Manifests
from pannier_operator.api import Json, Refused, Resource
from pannier_operator.world import World
from support.manifests import bucket, placed, usecase
from support.views import Held, config_map, held


class Broken(Held):
    """One that breaks off after the first page of usecases."""

    async def pages(
        self, resource: Resource, namespace: str | None, labels: str = ""
    ) -> AsyncIterator[list[Json]]:
        async for page in super().pages(resource, namespace, labels):
            yield page
            raise Refused(410, "the list has expired")


def usecases(count: int) -> list[Json]:
    return [held(usecase(f"use-{number}"), number) for number in range(count)]


async def test_all_pages_are_one_view() -> None:
    view = await World(Held(*usecases(5), page=2)).namespace("default")

    assert [seen.name for seen in view.usecases] == [f"use-{number}" for number in range(5)]


async def test_a_list_that_breaks_off_is_no_list_and_keeps_nothing_from_being_news() -> None:
    world = World(Broken(*usecases(5)))

    with pytest.raises(Refused):
        await world.everything(())

    assert not world.knows("uid-0", "1")


async def test_everything_is_told_apart_by_namespace() -> None:
    objects = [
        held(placed(usecase(), each, "2026-01-01T00:00:00Z"), n) for n, each in enumerate("ab")
    ]
    world = World(Held(*objects, config_map("c", note="x")))

    assert (await world.everything(())).keys() == {"a", "b", "c"}
    assert (await world.everything(["a", "c"])).keys() == {"a", "c"}


async def test_another_config_map_with_the_label_is_not_ours() -> None:
    other = config_map("c")
    other["metadata"]["name"] = "somebody-elses"

    assert await World(Held(other)).everything(()) == {}


async def test_a_spec_is_parsed_once_per_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    really = resources.parse

    def parse(items: Iterable[Document | Problem]) -> Manifests:
        parsed.append(1)
        return really(items)

    monkeypatch.setattr(resources, "parse", parse)
    cluster = Held(*usecases(3))
    world = World(cluster)

    await world.everything(())
    await world.everything(())
    cluster.objects[0]["metadata"]["generation"] = 2
    await world.everything(())

    assert len(parsed) == 4


async def test_what_was_listed_or_written_is_no_news() -> None:
    world = World(Held(*usecases(1)))
    await world.namespace("default")

    assert world.knows("uid-0", "1")
    assert not world.knows("uid-0", "2")
    assert not world.knows("uid-0", "")
    world.wrote({"metadata": {"uid": "uid-0", "resourceVersion": "2"}})
    assert world.knows("uid-0", "2")


async def test_what_is_gone_is_forgotten() -> None:
    cluster = Held(*usecases(2), held(bucket(), 9))
    world = World(cluster)
    await world.everything(())

    del cluster.objects[:2]
    await world.everything(())

    assert repr(world) == "<World of 1 objects>"


@pytest.mark.parametrize(
    "spec", [{"bucketRef": 1}, {"name": 2}, {"bucketRef": {"name": []}}, [1], "x", None]
)
async def test_an_object_that_no_schema_has_seen_is_a_fault_and_no_crash(spec: object) -> None:
    strange = held({"kind": "Usecase", "metadata": {"name": "strange"}, "spec": spec})

    (seen,) = (await World(Held(strange)).namespace("default")).usecases

    assert seen.resource is None
    assert "spec" in seen.fault


@pytest.mark.parametrize(
    "status",
    ["x", [1], None, {"conditions": "x"}, {"conditions": [{"type": {}}]}, {"conditions": [1]}],
)
async def test_a_status_that_no_schema_has_seen_counts_as_none(status: object) -> None:
    strange = held(usecase()) | {"status": status}

    (seen,) = (await World(Held(strange)).namespace("default")).usecases

    assert seen.resource is not None
    assert seen.status == {}


async def test_annotations_which_may_be_long_are_kept_of_config_maps_alone() -> None:
    long, notes = usecase(), config_map("default")
    long["metadata"] |= {"annotations": {"example.com/note": "of a usecase"}}
    notes["metadata"] |= {"annotations": {"example.com/note": "of a ConfigMap"}}

    kept = msgspec.json.encode(await World(Held(held(long), notes)).namespace("default"))

    assert b"of a ConfigMap" in kept
    assert b"of a usecase" not in kept


async def test_late_news_of_what_was_listed_or_written_is_none() -> None:
    world = World(Held(*usecases(1)))
    await world.namespace("default")

    for version in ("2", "3"):
        world.wrote({"metadata": {"uid": "uid-0", "resourceVersion": version}})

    assert all(world.knows("uid-0", version) for version in "123")
    assert not world.knows("uid-0", "4")
    assert not world.knows("uid-0", "")
