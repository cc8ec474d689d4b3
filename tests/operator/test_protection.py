"""Which Buckets go when they are deleted, and which stay for those who use them."""

import pytest
from aiohttp import web

from pannier_operator.api import Refused
from pannier_operator.protection import FINALIZER, let_go, unprotect
from support.apiproxy import Exchange, Proxy, Refuse, Rule
from support.cluster import ADMIN
from support.manifests import bucket
from support.operators import Place, reached

pytestmark = pytest.mark.cluster

DISCOVERY = "^/apis/pannier.dev/v1alpha1$"


class WithoutUsecases:
    """What is served, as the API server tells it once their CRD is deleted."""

    async def answer(self, exchange: Exchange) -> web.StreamResponse:
        async with exchange.forwarded() as answer:
            told = await answer.json()
        left = [each for each in told["resources"] if not each["name"].startswith("usecases")]
        return web.json_response(told | {"resources": left})


async def let_go_by(proxy: Proxy, place: Place) -> None:
    async with reached(proxy.kubeconfig(place.plane.tokens[ADMIN])) as cluster:
        await let_go(cluster, [place.namespace])


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
    proxy.on(Rule(WithoutUsecases(), path=DISCOVERY))

    await let_go_by(proxy, left)

    assert left.found("Bucket").keys() == {"main"}
    assert left.found("Bucket")["main"]["metadata"]["finalizers"] == [FINALIZER]


async def test_a_namespace_that_cannot_be_read_does_not_keep_the_others(
    left: Place, other: Place, proxy: Proxy
) -> None:
    proxy.on(Rule(WithoutUsecases(), path=DISCOVERY))
    proxy.on(Rule(Refuse(403), verb="list", resource="buckets", times=1))

    async with reached(proxy.kubeconfig(left.plane.tokens[ADMIN])) as cluster:
        await let_go(cluster, [other.namespace, left.namespace])

    assert left.found("Bucket").keys() == {"main"}


async def test_one_that_cannot_be_freed_does_not_keep_the_others(left: Place, proxy: Proxy) -> None:
    left.apply(bucket("stuck"))
    left.patch("Bucket", "stuck", metadata={"finalizers": [FINALIZER]})
    left.delete("Bucket", "stuck")
    proxy.on(Rule(WithoutUsecases(), path=DISCOVERY))
    proxy.on(Rule(Refuse(422), verb="patch", resource="buckets", times=1))

    await let_go_by(proxy, left)

    assert len(left.found("Bucket")) == 2  # and of two one goes, whichever came first


async def test_once_the_operator_is_gone_all_are_let_go_and_what_is_in_the_way_is_told(
    left: Place, other: Place, proxy: Proxy
) -> None:
    left.patch("Bucket", "main", metadata={"finalizers": ["example.com/theirs", FINALIZER]})
    proxy.on(Rule(Refuse(404), verb="patch", resource="buckets", times=1))  # gone by itself

    async with reached(proxy.kubeconfig(left.plane.tokens[ADMIN])) as cluster:
        await unprotect(cluster, [other.namespace, left.namespace])
        await unprotect(cluster, [left.namespace])
        proxy.on(Rule(Refuse(403)))
        with pytest.raises(Refused):
            await unprotect(cluster, [left.namespace])

    (main,) = left.found("Bucket").values()
    assert main["metadata"]["finalizers"] == ["example.com/theirs"]


@pytest.mark.parametrize(
    "stray",
    [
        Rule(Refuse(404), resource="usecases"),
        Rule(Refuse(404), path=DISCOVERY),
        Rule(Refuse(404), path="^/apis/pannier.dev"),
        Rule(Refuse(503)),
    ],
    ids=["no list", "no version", "no group", "nothing"],
)
async def test_a_server_in_trouble_lets_nothing_go(left: Place, proxy: Proxy, stray: Rule) -> None:
    proxy.on(stray)

    await let_go_by(proxy, left)

    assert left.found("Bucket").keys() == {"main", "deleted"}
