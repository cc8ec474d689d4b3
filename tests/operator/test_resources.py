"""What becomes of resources on a real API server, as whoever applies them sees it."""

import pytest

from pannier_gateway.config.model import dump
from pannier_operator.configmap import LABELS, LIMIT_BYTES
from pannier_operator.world import CONFIG_NAME
from support.cluster import ControlPlane
from support.manifests import bucket, huge, usecase
from support.operators import Place, eventually, working

pytestmark = pytest.mark.cluster


def test_what_is_applied_is_what_gateways_are_told(place: Place) -> None:
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(filesystem={"claimName": "data"}), usecase(), usecase("media"))

        eventually(lambda: place.is_ready("Usecase", "media") == ("True", "Ready"))
    assert set(place.config.usecases) == {"attachments", "media"}
    assert place.found("Usecase")["media"]["status"]["observedGeneration"] == 1


def test_kubectl_get_says_how_things_stand(place: Place) -> None:
    expiring = {"expiration": {"policy": "TimeToIdle", "after": "60m"}}
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase(defaults=expiring), usecase("lost", bucketRef={"name": "no"}))

        eventually(lambda: place.is_ready("Bucket", "main"))
        eventually(lambda: place.is_ready("Usecase", "lost"))
    usecases = place.plane.kubectl("get", "usecases", "-n", place.namespace)
    buckets = place.plane.kubectl("get", "buckets", "-n", place.namespace)
    wide = place.plane.kubectl("get", "usecases,buckets", "-n", place.namespace, "-o", "wide")
    assert "declare it, or correct spec.bucketRef.name" in wide
    assert "set filesystem.claimName" in wide
    assert columns(usecases) == [
        ["NAME", "BUCKET", "COMPRESSION", "EXPIRATION", "READY", "REASON"],
        ["attachments", "main", "Zstd", "TimeToIdle 1h", "True", "Ready"],
        ["lost", "no", "Zstd", "", "False", "BucketNotFound"],
    ]
    assert columns(buckets) == [
        ["NAME", "TYPE", "BACKEND", "USECASES", "READY", "REASON"],
        ["main", "Filesystem", "pod://data", "1", "True", "NoClaim"],
    ]


def test_a_changed_spec_reaches_gateways_and_the_status_says_so(place: Place) -> None:
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments"))

        place.patch("Usecase", "attachments", spec={"suspend": "All"})

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("False", "Suspended"))
    assert place.config.usecases["attachments"].suspend == "All"
    assert place.config.generation == 2
    assert place.found("Usecase")["attachments"]["status"]["observedGeneration"] == 2


def test_a_mistake_leaves_what_works_in_force_until_it_is_mended(place: Place) -> None:
    wrong = {"expiration": {"policy": "TimeToLive", "after": "2d"}}
    bound = [{"policy": "TimeToLive", "maxAfter": "1d"}]
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase(), usecase("media"))
        eventually(lambda: place.is_ready("Usecase", "attachments"))

        place.patch("Usecase", "attachments", spec={"defaults": wrong, "allowedExpirations": bound})
        place.patch("Usecase", "media", spec={"suspend": "Writes"})

        eventually(
            lambda: place.is_ready("Usecase", "attachments") == ("False", "InvalidExpiration")
        )
        eventually(lambda: place.config.usecases["media"].suspend == "Writes")
        assert place.config.usecases["attachments"].expiration.policy == "Manual"
        assert place.message("Usecase", "attachments", "Programmed").endswith("told last")

        place.patch("Usecase", "attachments", spec={"allowedExpirations": None})

        eventually(lambda: place.config.usecases["attachments"].expiration.after == 172_800)
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))


def test_the_oldest_of_two_namespaces_has_a_name_and_the_next_inherits_it(
    place: Place, other: Place
) -> None:
    shared = bucket(type="S3", s3={"bucket": place.namespace, "region": "eu-1"})
    places = (place.namespace, other.namespace)
    with working(place.plane.kubeconfig, namespaces=places):
        place.apply(shared, usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))
        # creation times are whole seconds, and of one second the lesser name is the elder
        eventually(lambda: newer_than(place, other))
        other.apply(shared, usecase(), usecase("media"))

        eventually(lambda: other.is_ready("Usecase", "attachments") == ("False", "NameConflict"))
        eventually(lambda: other.config.usecases.keys() == {"media"})
        assert f"{place.namespace}/attachments" in other.message("Usecase", "attachments")

        place.delete("Usecase", "attachments")

        eventually(lambda: other.is_ready("Usecase", "attachments") == ("True", "Ready"))
        assert other.config.usecases.keys() == {"attachments", "media"}
        assert place.config.usecases.keys() == set()


def newer_than(place: Place, other: Place) -> bool:
    """Whether what is made in `other` now is younger than what was made in `place`."""
    probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe"}}
    other.apply(probe)
    made = other.found("ConfigMap")["probe"]["metadata"]["creationTimestamp"]
    other.delete("ConfigMap", "probe")
    first = place.found("Usecase")["attachments"]["metadata"]["creationTimestamp"]
    return str(made) > str(first)


def test_a_bucket_in_use_outlives_its_deletion_and_not_its_users(place: Place) -> None:
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), bucket("spare"), usecase())
        eventually(lambda: place.found("Bucket")["main"]["metadata"]["finalizers"])
        eventually(lambda: place.is_ready("Bucket", "spare"))

        place.delete("Bucket", "spare")
        place.delete("Bucket", "main")

        eventually(lambda: place.is_ready("Bucket", "main") == ("True", "DeletionWaits"))
        eventually(lambda: place.found("Bucket").keys() == {"main"})
        assert place.config.usecases.keys() == {"attachments"}

        place.delete("Usecase", "attachments")

        eventually(lambda: not place.found("Bucket"))
        eventually(lambda: place.config.buckets == {})
    assert ("Warning", "DeletionWaits", "Bucket/main") in place.events


def test_the_finalizers_of_others_stay(place: Place) -> None:
    theirs = bucket()
    theirs["metadata"]["finalizers"] = ["example.com/theirs"]
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(theirs, usecase())
        eventually(lambda: len(place.found("Bucket")["main"]["metadata"]["finalizers"]) == 2)

        place.delete("Usecase", "attachments")

        eventually(
            lambda: (
                place.found("Bucket")["main"]["metadata"]["finalizers"] == ["example.com/theirs"]
            )
        )


def test_a_namespace_is_deleted_with_all_that_is_in_it(controlled_plane: ControlPlane) -> None:
    place = Place(controlled_plane, controlled_plane.create_namespace())
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())
        eventually(lambda: place.found("Bucket")["main"]["metadata"]["finalizers"])

        place.plane.kubectl("delete", "namespace", place.namespace, "--wait=false")

        path = f"/api/v1/namespaces/{place.namespace}"
        with place.plane.api() as api:
            eventually(lambda: api.request("GET", path).status == 404, 30)


def test_what_a_human_does_to_the_config_map_is_undone(place: Place) -> None:
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())
        eventually(lambda: place.config.usecases.keys() == {"attachments"})

        place.patch("ConfigMap", "pannier-config", data={"config.json": "{}"})
        eventually(lambda: place.config.generation == 2)
        place.delete("ConfigMap", "pannier-config")
        eventually(lambda: place.config.usecases.keys() == {"attachments"})
        unlabelled = {"labels": {"pannier.dev/config": None}}
        place.patch("ConfigMap", "pannier-config", metadata=unlabelled)
        eventually(
            lambda: place.found("ConfigMap")["pannier-config"]["metadata"]["labels"][
                "pannier.dev/config"
            ]
        )


def test_what_a_newer_operator_has_left_is_replaced_and_counted_on(place: Place) -> None:
    newer = {"pannier.dev/generation": "7"}
    metadata = {"labels": LABELS, "annotations": newer, "name": CONFIG_NAME}
    left = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    place.apply(left | {"data": {"config.json": '{"version": "2.0", "all": "new"}'}}, bucket())
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(usecase())

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))
    assert place.config.generation >= 8


def test_names_as_long_as_can_be_are_no_trouble(place: Place) -> None:
    home = bucket("b" * 63, filesystem={"claimName": "c" * 253}, prefix="p" * 256)
    served = usecase("s" * 253, name="S" * 64, bucketRef={"name": "b" * 63})
    dotted = f"{'l' * 199}.{'d' * 53}"
    lost = usecase(dotted, name="L" * 64, bucketRef={"name": "x" * 63})
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(home, served, lost)

        eventually(lambda: place.is_ready("Bucket", "b" * 63) == ("True", "Ready"))
        eventually(lambda: place.is_ready("Usecase", "s" * 253) == ("True", "Ready"))
        eventually(lambda: place.is_ready("Usecase", dotted) == ("False", "BucketNotFound"))
        eventually(lambda: place.events)
    assert place.config.usecases.keys() == {"S" * 64}
    assert place.events == [("Warning", "BucketNotFound", f"Usecase/{dotted}")]


def test_an_object_as_large_as_can_be_disturbs_nobody(place: Place) -> None:
    large = usecase("large")
    large["metadata"]["annotations"] = {"example.com/note": "\N{SNOWMAN}\u202e" * 40_000}
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase(), large)

        eventually(lambda: place.is_ready("Usecase", "large") == ("True", "Ready"))
        place.patch("Usecase", "large", spec={"suspend": "All"})
        eventually(lambda: place.is_ready("Usecase", "large") == ("False", "Suspended"))
    assert place.is_ready("Usecase", "attachments") == ("True", "Ready")


def test_metrics_show_how_things_stand_and_how_long_it_took(place: Place) -> None:
    here = {"namespace": place.namespace}
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)) as operator:
        eventually(lambda: operator.metric("pannier_operator_world_listed_timestamp_seconds"))
        place.apply(bucket(), usecase(), usecase("lost", bucketRef={"name": "no"}))
        eventually(lambda: place.is_ready("Usecase", "lost"))
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))

        told = [
            operator.metric("pannier_operator_usecases", ready="True", reason="Ready"),
            operator.metric("pannier_operator_usecases", ready="False", reason="BucketNotFound"),
            operator.metric("pannier_operator_config_bytes", **here),
            operator.metric("pannier_operator_leader"),
        ]
        eventually(lambda: operator.metric("pannier_operator_programming_duration_seconds_count"))
        assert told == [1, 1, len(dump(place.config)), 1]

        place.plane.kubectl("delete", "usecases,buckets", "--all", "-n", place.namespace)
        eventually(lambda: place.config.buckets == {})
        place.delete("ConfigMap", "pannier-config")

        eventually(lambda: place.namespace not in operator.asked("/metrics")[1])


def test_people_are_told_of_trouble_and_its_end_and_of_nothing_else(place: Place) -> None:
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(usecase(), bucket("kept", filesystem={"claimName": "data"}))
        eventually(lambda: place.is_ready("Bucket", "kept"))
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("False", "BucketNotFound"))

        place.apply(bucket())

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))
        expected = [
            ("Normal", "Ready", "Usecase/attachments"),
            ("Warning", "BucketNotFound", "Usecase/attachments"),
            ("Warning", "NoClaim", "Bucket/main"),
        ]
        eventually(lambda: place.events == expected)


def test_too_much_for_a_config_map_leaves_the_last_good_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pannier_operator.configmap.LIMIT_BYTES", 20_000)
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))

        place.apply(*(huge(number) for number in range(6)), usecase("late"))

        eventually(lambda: place.is_ready("Usecase", "late") == ("False", "ConfigTooLarge"))
        assert place.is_ready("Usecase", "attachments") == ("True", "Ready")
        assert place.config.usecases.keys() == {"attachments"}

        place.delete("Bucket", "huge-0")
        place.delete("Bucket", "huge-1")

        eventually(lambda: place.is_ready("Usecase", "late") == ("True", "Ready"))


def test_people_are_warned_once_before_a_config_map_is_full(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pannier_operator.configmap.NEARLY_FULL_BYTES", 5_000)
    warned = ("Warning", "ConfigNearlyFull", "ConfigMap/pannier-config")
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))
        assert warned not in place.events

        place.apply(huge(0))
        eventually(lambda: place.is_ready("Bucket", "huge-0") == ("True", "Ready"))
        place.apply(huge(1))

        eventually(lambda: place.is_ready("Bucket", "huge-1") == ("True", "Ready"))
        assert place.events.count(warned) == 1


def test_an_api_server_takes_what_the_operator_holds_small_enough(place: Place) -> None:
    found = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "full"}}

    place.apply(found | {"data": {"config.json": "x" * LIMIT_BYTES}})

    assert place.found("ConfigMap").keys() >= {"full"}


def test_a_secret_that_is_not_there_is_named_to_whoever_looks_and_takes_nothing_away(
    place: Place,
) -> None:
    keys = {"mode": "Secret", "secretRef": {"name": "no-such-keys"}}
    away = bucket("away", type="S3", s3={"bucket": "mine", "region": "eu-1", "auth": keys})
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase(), away, usecase("media", bucketRef={"name": "away"}))

        eventually(lambda: place.is_ready("Usecase", "media") == ("True", "Ready"))
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))
    # the operator may look at no Secret: it says which to look for, and gateways if it is missing
    assert place.condition("Bucket", "away", "ResolvedRefs") == ("True", "SecretUnknown")
    assert "no-such-keys" in place.message("Bucket", "away", "ResolvedRefs")
    assert place.config.usecases.keys() == {"attachments", "media"}


def test_of_two_that_claim_one_name_in_a_namespace_the_older_has_it_until_it_goes(
    place: Place,
) -> None:
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))
        place.apply(usecase("young", name="attachments"), usecase("media"))

        eventually(lambda: place.is_ready("Usecase", "young") == ("False", "NameConflict"))
        eventually(lambda: place.is_ready("Usecase", "media") == ("True", "Ready"))
        assert "attachments" in place.message("Usecase", "young")
        assert place.is_ready("Usecase", "attachments") == ("True", "Ready")

        place.delete("Usecase", "attachments")

        eventually(lambda: place.is_ready("Usecase", "young") == ("True", "Ready"))
    assert place.config.usecases.keys() == {"attachments", "media"}


def columns(table: str) -> list[list[str]]:
    """The cells of a table as kubectl prints it, but for the last column, the age."""
    head, *rows = table.splitlines()
    starts = [
        index
        for index in range(len(head))
        if head[index : index + 1].strip() and (index == 0 or head[index - 3 : index].isspace())
    ]
    ends = [*starts[1:], None]
    cells = [
        [row[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        for row in (head, *rows)
    ]
    return [row[:-1] for row in cells]
