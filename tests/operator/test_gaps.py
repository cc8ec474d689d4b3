"""What is missed where kopf watches, or takes for its own, is nothing: gaps, and finalizers."""

from pathlib import Path

import pytest
from aiohttp import web

from pannier_operator.api import FIELD_MANAGER
from pannier_operator.handlers import settings
from support.apiproxy import Cut, Exchange, Pass, Proxy, Refuse, Rule
from support.cluster import Refused
from support.manifests import bucket, usecase
from support.operators import Place, Working, eventually, working

pytestmark = pytest.mark.cluster


class WatchesBeginLate:
    """Lists of the operator's own are answered at once, those that a watch begins with are not."""

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        own = exchange.request.headers["User-Agent"] == FIELD_MANAGER
        return await Pass(seconds=0 if own else 4).answer(exchange)


def come_to_rest(place: Place, operator: Working) -> None:
    """All is written, and nothing more is to be looked at: that would find what is deleted."""
    eventually(lambda: place.is_ready("Usecase", "deleted") == ("True", "Ready"))
    eventually(lambda: place.is_ready("Bucket", "main")[0] == "True")
    eventually(lambda: operator.is_idle)


def test_what_is_deleted_before_the_first_watch_begins_goes(
    place: Place, proxy: Proxy, way: Path
) -> None:
    place.apply(bucket(), usecase(), usecase("deleted"))
    proxy.on(Rule(WatchesBeginLate(), verb="list", resource="usecases"))
    with working(way, namespaces=(place.namespace,)) as operator:
        come_to_rest(place, operator)

        place.delete("Usecase", "deleted")

        eventually(lambda: place.config.usecases.keys() == {"attachments"})


def test_what_is_deleted_before_a_watch_begins_anew_goes(
    place: Place, proxy: Proxy, way: Path
) -> None:
    place.apply(bucket(), usecase(), usecase("deleted"))
    with working(way, namespaces=(place.namespace,)) as operator:
        eventually(lambda: proxy.count("watch") >= 3)
        come_to_rest(place, operator)
        slow = proxy.on(Rule(Pass(seconds=2), verb="list", resource="usecases", times=1))
        proxy.on(Rule(Cut(events=0, error=410), verb="watch", resource="usecases", times=1))
        proxy.hang_up()
        eventually(lambda: slow.matched == 1)

        place.delete("Usecase", "deleted")

        eventually(lambda: place.config.usecases.keys() == {"attachments"})


@pytest.mark.parametrize(
    "finalizer", ["pannier.dev/unused", "kopf.zalando.org/KopfFinalizerMarker"]
)
def test_a_finalizer_of_somebody_else_stays_and_hides_no_news(
    place: Place, proxy: Proxy, way: Path, finalizer: str
) -> None:
    held = usecase()
    held["metadata"]["finalizers"] = [finalizer]
    place.apply(bucket(), held)
    refused = proxy.on(Rule(Refuse(403), verb="patch", path="/usecases/[^/]+$"))
    with working(way, namespaces=(place.namespace,)):
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))
        place.patch("Usecase", "attachments", spec={"suspend": "All"})

        eventually(lambda: place.config.usecases["attachments"].suspend == "All")
    assert refused.matched == 0
    place.patch("Usecase", "attachments", metadata={"finalizers": None})


def test_no_object_can_carry_the_finalizer_that_kopf_calls_its_own(place: Place) -> None:
    named = usecase()
    named["metadata"]["finalizers"] = [settings().persistence.finalizer]

    with pytest.raises(Refused, match=r"metadata\.finalizers"):
        place.apply(bucket(), named)
