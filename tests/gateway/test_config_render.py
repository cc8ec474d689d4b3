"""From resources to configuration: every resource judged, the sound ones served."""

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier_gateway.config import model
from pannier_gateway.config.kinds import Bucket, Usecase
from pannier_gateway.config.model import (
    LONGEST_LIFETIME,
    AllowedExpiry,
    Expiry,
    GatewayConfig,
    dump,
)
from pannier_gateway.config.render import Reason, Verdict, render, seconds
from pannier_gateway.config.resources import BUCKET, USECASE
from support.manifests import (
    Json,
    accepted,
    bucket,
    damaged,
    manifests,
    parsed,
    placed,
    resources,
    usecase,
)

FEW = settings(max_examples=50)  # each is many parts
OLDER = "2026-01-01T01:00:00+02:00"
OLD = "2026-01-01T00:00:00Z"


def rendered(*objects: Json) -> tuple[GatewayConfig, dict[str, Verdict]]:
    """The configuration of `objects`, of which two may have one name, and verdicts by resource."""
    sets = [parsed(each) for each in objects]
    config, verdicts = render(
        [found for each in sets for found in each.buckets],
        [found for each in sets for found in each.usecases],
    )
    return config, {f"{verdict.namespace}/{verdict.name}": verdict for verdict in verdicts}


def expiring(policy: str, after: str, allowed: Iterable[Json] | None = None) -> Json:
    return usecase(
        defaults={"expiration": {"policy": policy, "after": after}},
        allowedExpirations=None if allowed is None else list(allowed),
    )


def test_a_usecase_becomes_what_the_gateway_obeys() -> None:
    config, _ = rendered(
        bucket(),
        usecase(
            "debug-files",
            name="Debug_Files",
            suspend="Writes",
            defaults={
                "compressionLevel": 9,
                "compressionMinBytes": 0,
                "expiration": {"policy": "TimeToIdle", "after": "1h"},
            },
            allowedExpirations=[{"policy": "Manual"}, {"policy": "TimeToIdle", "maxAfter": "2w"}],
            limits={"maxObjectBytes": 5, "concurrentRequests": 2},
        ),
    )

    assert config.usecases == {
        "Debug_Files": model.UsecaseConfig(
            name="Debug_Files",
            namespace="default",
            bucket="default/main",
            suspend="Writes",
            compression="Zstd",
            compression_level=9,
            compression_min_bytes=0,
            expiration=Expiry(policy="TimeToIdle", after=3600),
            allowed_expirations=(
                AllowedExpiry(policy="Manual"),
                AllowedExpiry(policy="TimeToIdle", max_after=1_209_600),
            ),
            limits=model.Limits(max_object_bytes=5, concurrent_requests=2),
        )
    }


def test_an_s3_bucket_becomes_what_the_gateway_obeys_with_secrets_by_name_only() -> None:
    config, _ = rendered(
        bucket(
            type="S3",
            prefix="a/b",
            access="ReadOnly",
            deletionPolicy="Delete",
            endpoints=["https://one:9000", "https://two:9000"],
            tls={"secretRef": {"name": "cert"}, "caConfigMapRef": {"name": "ca"}},
            s3={
                "bucket": "abc",
                "region": "here",
                "auth": {"mode": "Secret", "secretRef": {"name": "keys"}},
            },
            resilience={"hedging": "Disabled", "connectTimeout": "500ms", "progressTimeout": "2m"},
        )
    )

    assert config.buckets == {
        "default/main": model.BucketConfig(
            namespace="default",
            name="main",
            type="S3",
            prefix="a/b",
            access="ReadOnly",
            deletion_policy="Delete",
            endpoints=("https://one:9000", "https://two:9000"),
            tls=model.TlsConfig(
                secret="cert",
                ca_config_map="ca",
                ca_key="ca.crt",
                min_version="TLS12",
                relaxed_x509=False,
                insecure_skip_verify=False,
            ),
            s3=model.S3Config(
                bucket="abc",
                region="here",
                addressing="VirtualHost",
                auth="Secret",
                secret="keys",
                access_key_id_key="AWS_ACCESS_KEY_ID",
                secret_access_key_key="AWS_SECRET_ACCESS_KEY",
            ),
            resilience=model.ResilienceConfig(
                hedging=False, connect_timeout=0.5, progress_timeout=120.0
            ),
        )
    }


def test_filesystem_and_upstream_buckets_have_their_block_also_where_nothing_was_said() -> None:
    hub = {"type": "Upstream", "endpoints": ["https://hub"]}
    token = {"tokenSecretRef": {"name": "hub"}}

    config, _ = rendered(
        bucket("bare"),
        bucket("claim", filesystem={"claimName": "data"}),
        bucket("open", **hub),
        bucket("known", upstream=token, **hub),
    )

    found = {name.removeprefix("default/"): each for name, each in config.buckets.items()}
    assert found["bare"].filesystem == model.FilesystemConfig()
    assert found["claim"].filesystem == model.FilesystemConfig(claim="data")
    assert found["open"].upstream == model.UpstreamConfig()
    assert found["known"].upstream == model.UpstreamConfig(token_secret="hub", token_key="token")


def test_a_usecase_without_its_bucket_is_left_out_and_the_rest_is_served() -> None:
    lost = placed(usecase("lost"), "elsewhere")  # where there is no bucket of that name

    config, verdicts = rendered(bucket(), usecase(), lost)

    assert list(config.usecases) == ["attachments"]
    assert verdicts["default/attachments"].reason is Reason.VALID
    assert verdicts["elsewhere/lost"] == Verdict(
        kind="Usecase",
        namespace="elsewhere",
        name="lost",
        accepted=False,
        reason=Reason.BUCKET_NOT_FOUND,
        message="there is no Bucket elsewhere/main: declare it, or correct spec.bucketRef.name",
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            expiring("TimeToLive", "8d", [{"policy": "TimeToLive", "maxAfter": "1w"}]),
            "after is 8d, more than the 1w that allowedExpirations has for TimeToLive",
        ),
        (expiring("TimeToIdle", "365001d"), "365001d is over a thousand years: use policy Manual"),
        (
            usecase(
                allowedExpirations=[
                    {"policy": "Manual"},
                    {"policy": "TimeToLive", "maxAfter": "999999999w"},
                ]
            ),
            "999999999w is over a thousand years",
        ),
    ],
)
def test_an_expiration_that_cannot_be_kept_is_refused(wrong: Json, says: str) -> None:
    config, verdicts = rendered(bucket(), wrong)

    assert config.usecases == {}
    assert verdicts["default/attachments"].reason is Reason.INVALID_EXPIRATION
    assert says in verdicts["default/attachments"].message


@pytest.mark.parametrize(
    "sound",
    [
        expiring("TimeToLive", "7d", [{"policy": "TimeToLive", "maxAfter": "1w"}]),
        expiring("TimeToLive", "365000d"),
        expiring("TimeToLive", "8d", [{"policy": "TimeToLive"}]),
        expiring(
            "TimeToLive",
            "8d",
            [{"policy": "TimeToLive"}, {"policy": "TimeToIdle", "maxAfter": "1s"}],
        ),
    ],
)
def test_an_expiration_up_to_its_own_bound_is_served(sound: Json) -> None:
    assert rendered(bucket(), sound)[0].usecases.keys() == {"attachments"}


@pytest.mark.parametrize(
    ("created", "owner"),
    [
        ((OLD, OLDER), "team-b"),
        ((OLD, OLD), "team-a"),
        ((None, OLD), "team-b"),
        ((None, None), "team-a"),
    ],
)
def test_a_name_belongs_to_the_oldest_then_to_the_first_in_order(
    created: tuple[str | None, str | None], owner: str
) -> None:
    spaces = ("team-a", "team-b")
    claimants = [placed(usecase(), *each) for each in zip(spaces, created, strict=True)]

    config, verdicts = rendered(*claimants, *(placed(bucket(), each) for each in spaces))

    (loser,) = {*spaces} - {owner}
    assert config.usecases["attachments"].namespace == owner
    assert verdicts[f"{loser}/attachments"].reason is Reason.NAME_CONFLICT
    assert f"taken by Usecase {owner}/attachments" in verdicts[f"{loser}/attachments"].message


def test_a_name_is_not_handed_on_because_its_owner_makes_a_mistake() -> None:
    owner = placed(usecase(bucketRef={"name": "mistyped"}), "team-a", OLDER)
    waiting = placed(usecase(), "team-b", OLD)

    config, verdicts = rendered(owner, waiting, placed(bucket(), "team-b"))

    assert config.usecases == {}
    assert verdicts["team-b/attachments"].reason is Reason.NAME_CONFLICT


def test_a_suspended_usecase_is_accepted_and_told_apart() -> None:
    config, verdicts = rendered(bucket(), usecase(suspend="All"))

    assert config.usecases["attachments"].suspend == "All"
    assert verdicts["default/attachments"][3:] == (
        True,
        Reason.SUSPENDED,
        "spec.suspend is All: every request is refused",
    )


@FEW
@given(resources(), st.randoms())
def test_order_does_not_matter_and_every_resource_is_judged(
    found: tuple[list[Bucket], list[Usecase]], random: Random
) -> None:
    buckets, usecases = found
    config, verdicts = render(buckets, usecases)

    shuffled = render(random.sample(buckets, len(buckets)), random.sample(usecases, len(usecases)))

    assert (dump(shuffled[0]), shuffled[1]) == (dump(config), verdicts)
    assert len(verdicts) == len(buckets) + len(usecases)
    assert {v.name for v in verdicts if v.accepted} >= {b.name for b in config.buckets.values()}


@FEW
@given(resources())
def test_leaving_out_what_is_refused_changes_nothing(
    found: tuple[list[Bucket], list[Usecase]],
) -> None:
    buckets = found[0]
    usecases = {each.metadata.key: each for each in found[1]}
    config, verdicts = render(buckets, usecases.values())
    accepted = {f"{v.namespace}/{v.name}" for v in verdicts if v.accepted and v.kind == "Usecase"}

    again, _ = render(buckets, [usecases[key] for key in accepted])

    assert again == config
    assert len(config.usecases) == len(accepted)


@FEW
@given(damaged(manifests(BUCKET)), damaged(manifests(USECASE)))
def test_whatever_passes_the_parser_can_be_rendered(a_bucket: object, a_usecase: object) -> None:
    config, _ = render(accepted(a_bucket).buckets, accepted(a_usecase).usecases)

    assert model.parse(dump(config)) == config


@given(st.integers(1, 999_999_999), st.sampled_from("smhdw"))
def test_a_duration_is_its_number_of_its_unit(number: int, unit: str) -> None:
    of_one = {"s": 1, "m": 60, "h": 60 * 60, "d": 24 * 60 * 60, "w": 7 * 24 * 60 * 60}

    assert seconds(f"{number}{unit}") == number * of_one[unit]
    assert seconds("365000d") == LONGEST_LIFETIME
