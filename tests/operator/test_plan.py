"""What should be, given what is: judged without a cluster."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pannier_gateway.config.model import GatewayConfig
from pannier_gateway.config.resources import BUCKET, USECASE
from pannier_operator.claims import contested
from pannier_operator.conditions import REASONS, Finding, Reason, Type
from pannier_operator.plan import NOTHING, Plan, Planned, plan
from pannier_operator.status import Failure, described, programmed
from pannier_operator.world import View
from support.manifests import Json, bucket, manifests, usecase
from support.views import view

HERE = "default"
FEW = settings(max_examples=30)  # each is many parts


def planned(
    *objects: Json, published: GatewayConfig = NOTHING, taken: dict[str, str] | None = None
) -> Plan:
    return plan(view(*objects), published, taken or {})


def findings(found: Plan, name: str) -> dict[Type, Finding]:
    (one,) = (each for each in found.resources if each.seen.name == name)
    return {each.type: each for each in one.findings}


def reasons(found: Plan, name: str) -> list[tuple[bool, Reason]]:
    return [(each.status, each.reason) for each in findings(found, name).values()]


def test_a_sound_usecase_of_a_sound_bucket_is_wanted() -> None:
    found = planned(bucket(), usecase())

    assert reasons(found, "attachments") == [(True, Reason.VALID), (True, Reason.RESOLVED)]
    assert found.config.usecases.keys() == {"attachments"}
    assert found.config.buckets.keys() == {"default/main"}


def test_a_usecase_without_its_bucket_is_not_served_and_its_neighbours_are() -> None:
    found = planned(bucket(), usecase(), usecase("lost", bucketRef={"name": "no"}))

    assert reasons(found, "lost") == [(True, Reason.VALID), (False, Reason.BUCKET_NOT_FOUND)]
    assert found.config.usecases.keys() == {"attachments"}


def test_a_bound_below_the_default_is_refused_even_where_the_bucket_is_missing() -> None:
    found = planned(too_long(bucketRef={"name": "no"}))

    assert reasons(found, "attachments")[0] == (False, Reason.INVALID_EXPIRATION)


def test_a_mistake_leaves_in_force_what_was_published() -> None:
    before = planned(bucket(), usecase()).config

    after = planned(bucket(), too_long(), published=before)

    assert after.config == before
    assert reasons(after, "attachments")[0] == (False, Reason.INVALID_EXPIRATION)


def test_what_the_operator_cannot_read_stays_as_it_was_published() -> None:
    before = planned(bucket(), usecase()).config

    after = planned(bucket(fromTheFuture=True), usecase(fromTheFuture=True), published=before)

    assert after.config == before
    assert reasons(after, "attachments") == [
        (False, Reason.INVALID_SPEC),
        (False, Reason.BUCKET_NOT_READY),
    ]
    assert "fromTheFuture" in findings(after, "main")[Type.ACCEPTED].message


def test_a_mistake_in_one_does_not_undo_what_has_the_same_name_now() -> None:
    before = planned(bucket(), usecase("old-one", name="shared")).config
    stranger = usecase("new-one", name="shared", suspend="All")

    after = planned(
        bucket(), usecase("old-one", name="shared", nonsense=1), stranger, published=before
    )

    assert after.config.usecases["shared"].suspend == "All"


def test_a_deleted_usecase_is_gone_at_once() -> None:
    before = planned(bucket(), usecase()).config

    assert planned(bucket(), published=before).config.usecases == {}


def test_a_usecase_whose_bucket_is_gone_is_not_served_on() -> None:
    before = planned(bucket(), usecase()).config

    assert planned(usecase(), published=before).config == NOTHING


def test_the_loser_of_a_name_is_not_served_though_it_was() -> None:
    before = planned(bucket(), usecase()).config

    after = planned(
        bucket(), usecase(), published=before, taken={"default/attachments": "elder/files"}
    )

    assert reasons(after, "attachments")[0] == (False, Reason.NAME_CONFLICT)
    assert "elder/files" in findings(after, "attachments")[Type.ACCEPTED].message
    assert after.config.usecases == {}


def test_of_two_claimants_in_a_namespace_the_oldest_is_served() -> None:
    young = dated(usecase("young", name="shared"), "2026-01-02T00:00:00Z")
    old = dated(usecase("old", name="shared", suspend="All"), "2026-01-01T00:00:00Z")

    found = planned(bucket(), young, old)

    assert reasons(found, "young")[0] == (False, Reason.NAME_CONFLICT)
    assert found.config.usecases["shared"].suspend == "All"
    assert described(usecase_in(found, "young"), found.config).get("effective") is None


def test_a_bucket_that_is_deleted_serves_those_who_use_it_and_takes_no_new_ones() -> None:
    leaving = bucket()
    leaving["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    old = dated(usecase("old"), "2026-01-01T00:00:00Z")
    late = dated(usecase("late"), "2026-01-03T00:00:00Z")

    found = planned(leaving, old, late)

    assert found.config.usecases.keys() == {"old"}
    assert reasons(found, "late")[1] == (False, Reason.BUCKET_NOT_READY)
    assert (True, Reason.DELETION_WAITS) in reasons(found, "main")
    assert findings(found, "main")[Type.IN_USE].message.endswith(": old")


def test_a_bucket_does_not_wait_for_usecases_that_are_being_deleted_themselves() -> None:
    staying, leaving = usecase("staying"), usecase("leaving")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"

    assert not planned(bucket(), leaving).buckets[0].in_use
    assert planned(bucket(), leaving).config.usecases.keys() == {"leaving"}
    assert planned(bucket(), leaving, staying).buckets[0].users == 1


def test_a_bucket_names_only_some_of_many_users() -> None:
    found = planned(bucket(), *(usecase(f"use-{number}") for number in range(9)))

    assert findings(found, "main")[Type.IN_USE].message.endswith("use-4 and 4 more")
    assert described(found.buckets[0], found.config)["usecases"] == 9


def test_files_without_a_claim_are_said_to_die_with_the_pod() -> None:
    found = planned(bucket(), bucket("kept", filesystem={"claimName": "data"}))

    assert findings(found, "main")[Type.DURABLE][1:3] == (False, Reason.NO_CLAIM)
    assert findings(found, "kept")[Type.DURABLE][1:3] == (True, Reason.ON_CLAIM)


def test_secrets_are_named_and_not_looked_at() -> None:
    secret = {"mode": "Secret", "secretRef": {"name": "keys"}}
    s3 = {"bucket": "media", "region": "eu-1", "auth": secret}

    found = planned(bucket(type="S3", s3=s3, tls={"secretRef": {"name": "mtls"}}))

    resolved = findings(found, "main")[Type.RESOLVED_REFS]
    assert resolved[1:3] == (True, Reason.SECRET_UNKNOWN)
    assert "keys, mtls" in resolved.message
    assert "answer 502" in resolved.message


def test_the_status_tells_what_gateways_are_told_and_not_what_is_asked_for() -> None:
    before = planned(bucket(), usecase()).config

    found = usecase_in(planned(bucket(), too_long(), published=before), "attachments")

    assert described(found, before)["effective"]["expiration"] == "Manual"
    assert described(found, NOTHING) == {"observedGeneration": 1}


def test_the_hash_of_one_does_not_change_with_its_neighbours() -> None:
    alone, beside = planned(bucket(), usecase()), planned(bucket(), usecase(), usecase("media"))

    before = described(usecase_in(alone, "attachments"), alone.config)
    after = described(usecase_in(beside, "attachments"), beside.config)

    assert before == after
    assert (
        before["configHash"] != described(usecase_in(beside, "media"), beside.config)["configHash"]
    )


def test_programmed_is_what_is_published_and_nothing_else() -> None:
    found = planned(bucket(), usecase(), usecase("media"))
    first = replace(found.config, usecases={"media": found.config.usecases["media"]})
    failure = Failure(Reason.CONFIG_TOO_LARGE, "too large")

    verdicts = {each.seen.name: programmed(each, found, first, failure) for each in found.usecases}

    assert verdicts["media"][1:3] == (True, Reason.PROGRAMMED)
    assert verdicts["attachments"][1:3] == (False, Reason.CONFIG_TOO_LARGE)


def test_a_usecase_of_a_changed_bucket_is_programmed_once_the_bucket_is() -> None:
    before = planned(bucket(), usecase()).config
    found = planned(bucket(access="ReadOnly"), usecase())

    verdict = programmed(usecase_in(found, "attachments"), found, before, None)

    assert verdict[1:3] == (False, Reason.PENDING)


def test_backends_are_named_for_people() -> None:
    upstream = bucket("hub", type="Upstream", endpoints=["https://Hub:443"], prefix="a")
    s3 = bucket("far", type="S3", s3={"bucket": "media", "region": "eu-1"}, prefix="a/b")
    disk = bucket("disk", filesystem={"claimName": "data"})

    found = planned(upstream, s3, disk)

    uris = [described(each, found.config)["backendURI"] for each in found.buckets]
    assert uris == ["https://hub/a", "s3://media/a/b", "claim://data"]


@FEW
@given(st.lists(manifests(USECASE), max_size=4), st.lists(manifests(BUCKET), max_size=3))
def test_every_resource_gets_reasons_of_the_closed_set(
    usecases: list[Json], buckets: list[Json]
) -> None:
    found = plan(here(*usecases, *buckets), NOTHING, {})

    assert len(found.resources) == len(usecases) + len(buckets)
    for each in found.resources:
        verdict = programmed(each, found, found.config, None)
        assert all(one.reason in REASONS[one.type] for one in (*each.findings, verdict))
        assert verdict.status == (each.wanted is not None)


@FEW
@given(st.lists(manifests(USECASE), max_size=4), st.lists(manifests(BUCKET), max_size=3))
def test_planning_again_from_what_was_published_changes_nothing(
    usecases: list[Json], buckets: list[Json]
) -> None:
    seen = here(*usecases, *buckets)
    once = plan(seen, NOTHING, {})

    assert plan(seen, once.config, {}).config == once.config


def here(*objects: Json) -> View:
    """All of them in one namespace, each under a name of its own."""
    named = [
        each | {"metadata": each["metadata"] | {"namespace": HERE, "name": f"item-{number}"}}
        for number, each in enumerate(objects)
    ]
    return view(*named)


def usecase_in(found: Plan, name: str) -> Planned:
    return next(each for each in found.usecases if each.seen.name == name)


def too_long(**spec: object) -> Json:
    return usecase(
        defaults={"expiration": {"policy": "TimeToLive", "after": "2d"}},
        allowedExpirations=[{"policy": "TimeToLive", "maxAfter": "1d"}],
        **spec,
    )


def dated(manifest: Json, created: str) -> Json:
    return manifest | {"metadata": manifest["metadata"] | {"creationTimestamp": created}}


def test_nobody_contests_a_name_alone() -> None:
    assert contested({HERE: view(bucket(), usecase())}) == {HERE: {}}
