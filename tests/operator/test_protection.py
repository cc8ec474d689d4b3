"""Which Buckets go when they are deleted, and which stay for those who use them."""

import pytest

from pannier_operator.protection import FINALIZER, let_go
from support.apiproxy import Proxy, Refuse, Rule
from support.cluster import ADMIN
from support.manifests import bucket
from support.operators import Place, reached

pytestmark = pytest.mark.cluster


@pytest.fixture
def left(place: Place) -> Place:
    """What an operator that was killed has left: protected Buckets, of which one is deleted."""
    protected = {"finalizers": [FINALIZER]}
    place.apply(bucket(), bucket("deleted"))
    for name in ("main", "deleted"):
        place.patch("Bucket", name, metadata=protected)
    place.delete("Bucket", "deleted")
    return place


async def test_while_there_may_be_usecases_no_bucket_is_let_go(left: Place) -> None:
    async with reached(left.plane.kubeconfig) as cluster:
        await let_go(cluster, [left.namespace])

    assert left.found("Bucket").keys() == {"main", "deleted"}


async def test_without_their_kind_what_is_deleted_goes_and_the_rest_stays_protected(
    left: Place, proxy: Proxy
) -> None:
    proxy.on(Rule(Refuse(404), resource="usecases"))

    async with reached(proxy.kubeconfig(left.plane.tokens[ADMIN])) as cluster:
        await let_go(cluster, [left.namespace])

    assert left.found("Bucket").keys() == {"main"}
    assert left.found("Bucket")["main"]["metadata"]["finalizers"] == [FINALIZER]


async def test_a_server_in_trouble_lets_nothing_go(left: Place, proxy: Proxy) -> None:
    proxy.on(Rule(Refuse(503)))

    async with reached(proxy.kubeconfig(left.plane.tokens[ADMIN])) as cluster:
        await let_go(cluster, [left.namespace])

    assert left.found("Bucket").keys() == {"main", "deleted"}
