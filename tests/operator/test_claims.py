"""Names that several namespaces want in one store: the oldest claim has them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pannier_operator.claims import Claims, contested, places_of
from pannier_operator.world import View
from support.manifests import Json, bucket, parsed, usecase
from support.views import view

OLD, NEW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def s3(bucket_name: str = "shared", **spec: object) -> Json:
    return bucket(type="S3", s3={"bucket": bucket_name, "region": "eu-1"}, **spec)


def claiming(namespace: str, created: str, place: Json, name: str = "attachments") -> View:
    """A namespace with one usecase of `place`."""
    user = usecase(name)
    user["metadata"]["creationTimestamp"] = created
    return view(*(there(each, namespace) for each in (place, user)), namespace=namespace)


def there(manifest: Json, namespace: str) -> Json:
    return manifest | {"metadata": manifest["metadata"] | {"namespace": namespace}}


def losers(*views: View) -> dict[str, dict[str, str]]:
    return contested({each.namespace: each for each in views})


def test_the_younger_of_two_in_one_store_loses() -> None:
    found = losers(claiming("a", NEW, s3()), claiming("b", OLD, s3()))

    assert found == {"a": {"a/attachments": "b/attachments"}, "b": {}}


def test_of_two_of_one_age_the_first_by_name_wins() -> None:
    found = losers(claiming("b", OLD, s3()), claiming("a", OLD, s3()))

    assert found == {"a": {}, "b": {"b/attachments": "a/attachments"}}


def test_one_name_in_two_stores_is_no_conflict() -> None:
    prefixed, elsewhere = s3(prefix="b"), s3("other")

    found = losers(claiming("a", OLD, s3()), claiming("b", NEW, prefixed))
    also = losers(claiming("a", OLD, s3()), claiming("b", NEW, elsewhere))

    assert [*found.values(), *also.values()] == [{}] * 4


def test_files_of_one_namespace_are_never_those_of_another() -> None:
    disk = bucket(filesystem={"claimName": "data"})

    assert losers(claiming("a", OLD, disk), claiming("b", NEW, disk)) == {"a": {}, "b": {}}


def test_one_endpoint_in_common_is_one_store() -> None:
    one = s3(endpoints=["https://s1:443", "https://S2"])
    two = s3(endpoints=["https://s2", "https://s3"])

    assert losers(claiming("a", OLD, one), claiming("b", NEW, two))["b"] != {}


def test_hubs_are_stores_too() -> None:
    hub = bucket(type="Upstream", endpoints=["https://hub"])

    assert losers(claiming("a", OLD, hub), claiming("b", NEW, hub))["b"] != {}


def test_who_shares_a_name_is_told_when_it_changes_hands() -> None:
    claims = Claims()
    old, new = claiming("a", OLD, s3()), claiming("b", NEW, s3())

    told = [claims.update(each) for each in (old, new, View(namespace="a"))]

    assert told == [set(), {"a"}, {"b"}]
    assert claims.losers("b") == {}


def test_nothing_new_is_told_to_nobody() -> None:
    claims = Claims()
    old, new = claiming("a", OLD, s3()), claiming("b", NEW, s3())
    claims.update(old)
    claims.update(new)

    assert claims.update(old) == claims.update(new) == set()


def test_a_usecase_whose_bucket_is_missing_claims_nothing() -> None:
    nowhere = view(there(usecase(), "a"), namespace="a")

    assert losers(nowhere, claiming("b", NEW, s3()))["b"] == {}


def test_a_place_is_named_once_however_it_is_spelled() -> None:
    def place(endpoint: str) -> frozenset[str]:
        (found,) = parsed(s3(endpoints=[endpoint], allowPlaintext=True)).buckets
        return places_of(found)

    assert place("https://Store:443") == place("https://store")
    assert place("http://store:80") == place("http://store")
    assert place("http://store:443") != place("https://store:443")


NAMESPACES = ["a", "b", "c"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(NAMESPACES),
        st.sampled_from(["", OLD, NEW]),
        st.sampled_from(
            [s3(), s3(endpoints=["https://x"]), s3(endpoints=["https://x", "https://y"])]
        ),
    ),
    max_size=6,
)


@settings(max_examples=30)
@given(STEPS)
def test_the_way_here_makes_no_difference(steps: list[tuple[str, str, Json]]) -> None:
    claims, last = Claims(), {}
    for namespace, created, place in steps:
        there_now = claiming(namespace, created, place) if created else View(namespace=namespace)
        claims.update(there_now)
        last[namespace] = there_now

    assert {each: claims.losers(each) for each in last} == contested(last)
