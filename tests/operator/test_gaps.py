"""What is missed where kopf watches, or takes for its own, is nothing: gaps, and finalizers."""

import pytest

from pannier_operator.handlers import settings
from support.apiproxy import Cut, Pass, Proxy, Refuse, Rule
from support.cluster import ADMIN, Refused
from support.manifests import bucket, usecase
from support.operators import Place, eventually, working

pytestmark = pytest.mark.cluster


def test_what_is_deleted_before_a_watch_begins_anew_goes(place: Place, proxy: Proxy) -> None:
    place.apply(bucket(), usecase(), usecase("deleted"))
    way = proxy.kubeconfig(place.plane.tokens[ADMIN])
    with working(way, namespaces=(place.namespace,)) as operator:
        eventually(lambda: proxy.count("watch") >= 3)
        eventually(lambda: place.is_ready("Usecase", "deleted") == ("True", "Ready"))
        eventually(lambda: place.is_ready("Bucket", "main")[0] == "True")
        eventually(lambda: operator.metric("pannier_operator_queue_depth") == 0)
        eventually(lambda: operator.metric("pannier_operator_reconciles_active") == 0)
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
    place: Place, proxy: Proxy, finalizer: str
) -> None:
    held = usecase()
    held["metadata"]["finalizers"] = [finalizer]
    place.apply(bucket(), held)
    refused = proxy.on(Rule(Refuse(403), verb="patch", path="/usecases/[^/]+$"))
    way = proxy.kubeconfig(place.plane.tokens[ADMIN])
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
