"""Everything, listed over and over, and what happens meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from pannier_operator.api import Json, Resource
from pannier_operator.survey import Survey
from pannier_operator.world import KINDS, World
from support.manifests import bucket, placed, usecase
from support.views import Held, held

OBJECTS = (held(bucket(), 0), held(usecase(), 1))
AS_LISTED = ("default", "uid-1", "1")
CHANGED = ("default", "uid-1", "2")
DELETED = ("default", "uid-1", "")


class Meanwhile(Held):
    """A cluster in which something happens while it is listed."""

    def __init__(self, happens: Callable[[], object]) -> None:
        super().__init__(*OBJECTS)
        self._happens = happens

    async def pages(
        self, resource: Resource, namespace: str | None, labels: str = ""
    ) -> AsyncIterator[list[Json]]:
        async for page in super().pages(resource, namespace, labels):
            self._happens()
            yield page


@pytest.fixture(autouse=True)
def _watches_need_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pannier_operator.survey.WATCH_SECONDS", 0)
    monkeypatch.setattr("pannier_operator.survey.RELIST_SECONDS", 0)


async def test_before_everything_was_listed_there_is_no_news() -> None:
    survey = Survey(World(Held(*OBJECTS)))

    assert not survey.is_news(*CHANGED)
    await anext(survey.looks())
    assert survey.is_news(*CHANGED)
    assert not survey.is_news(*AS_LISTED)


@pytest.mark.parametrize("event", [CHANGED, DELETED])
async def test_a_view_stands_until_something_happens(event: tuple[str, str, str]) -> None:
    survey = Survey(World(Held(*OBJECTS)))
    found = await anext(survey.looks())

    survey.is_news(*AS_LISTED)
    assert survey.take("default") == found.views["default"]
    assert survey.take("default") is None
    await anext(survey.looks())
    survey.is_news(*event)
    assert survey.take("default") is None


@pytest.mark.parametrize("event", [CHANGED, DELETED, ("new", "uid-7", "7")])
async def test_where_something_happens_while_it_is_listed_no_view_stands(
    event: tuple[str, str, str],
) -> None:
    survey = Survey(World(Meanwhile(lambda: survey.is_news(*event))))

    found = await anext(survey.looks())

    assert found.changed == {event[0]}
    assert survey.take(event[0]) is None


async def test_what_is_listed_while_somebody_works_on_it_does_not_stand() -> None:
    survey = Survey(World(Meanwhile(lambda: survey.take("default"))))

    assert (await anext(survey.looks())).changed == {"default"}
    assert survey.take("default") is None


async def test_what_was_listed_before_the_work_ended_does_not_stand() -> None:
    survey = Survey(World(Held(*OBJECTS)))
    await anext(survey.looks())

    survey.worked("default")

    assert survey.take("default") is None


async def test_of_a_namespace_that_went_unseen_no_view_stands() -> None:
    cluster = Held(*OBJECTS)
    survey = Survey(World(cluster))
    looks = survey.looks()
    await anext(looks)
    cluster.objects.clear()
    survey.relisted("/apis")

    assert (await anext(looks)).views == {}

    assert survey.take("default") is None


async def test_what_a_watch_begins_with_is_no_change() -> None:
    survey = Survey(World(Meanwhile(lambda: survey.is_news(*AS_LISTED))))

    assert (await anext(survey.looks())).changed == set()


async def test_it_begins_once_all_watches_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pannier_operator.survey.WATCH_SECONDS", 60)
    survey = Survey(World(Held(*OBJECTS)), namespaces=("default", "b"))
    looking = asyncio.ensure_future(anext(survey.looks()))
    paths = [kind.path(namespace) for kind in KINDS for namespace in ("default", "b")]
    for path in (*paths[1:], *paths[1:]):
        survey.relisted(path)
    await asyncio.sleep(0)
    assert not looking.done()

    survey.relisted(paths[0])

    async with asyncio.timeout(5):
        assert (await looking).views.keys() == {"default"}


async def test_namespaces_of_which_not_all_was_told_come_first() -> None:
    told = [held(placed(usecase(), each), n) for n, each in enumerate("abcd")]
    for each in told:
        each["status"] = {"observedGeneration": 1}
    told[1]["metadata"]["generation"] = 2
    del told[2]["status"]

    found = await anext(Survey(World(Held(*told))).looks())

    assert list(found.views) == ["b", "c", "a", "d"]
