"""Resources become configuration, each with a verdict: pure, and never in the way of the others.

One refused resource is left out and the rest is served. The gateway renders manifests with it, the
operator what the cluster holds.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple, TypeVar

import msgspec

from pannier_gateway.config.kinds import (
    S3,
    Bucket,
    BucketSpec,
    Expiration,
    Limits,
    Resilience,
    Tls,
    Upstream,
    Usecase,
    UsecaseSpec,
)
from pannier_gateway.config.model import (
    LONGEST_LIFETIME,
    AllowedExpiry,
    BucketConfig,
    Expiry,
    FilesystemConfig,
    GatewayConfig,
    ResilienceConfig,
    S3Config,
    TlsConfig,
    UpstreamConfig,
    UsecaseConfig,
)
from pannier_gateway.config.model import Limits as LimitsConfig

R = TypeVar("R", Usecase, Bucket)

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Reason(StrEnum):
    """Why a resource is accepted or not: what a status condition gives as its reason."""

    VALID = "Valid"
    SUSPENDED = "Suspended"
    BUCKET_NOT_FOUND = "BucketNotFound"
    INVALID_EXPIRATION = "InvalidExpiration"
    NAME_CONFLICT = "NameConflict"


class Verdict(NamedTuple):
    """What became of one resource, and in words why."""

    kind: str
    namespace: str
    name: str
    accepted: bool
    reason: Reason
    message: str


def render(
    buckets: Iterable[Bucket], usecases: Iterable[Usecase], generation: int = 1
) -> tuple[GatewayConfig, tuple[Verdict, ...]]:
    """The configuration that serves what is accepted, and a sorted verdict on every resource.

    A name belongs to its oldest claimant, also while that one is refused for another reason: else a
    mistake in one namespace would hand its objects' name to another.
    """
    places = _oldest_first(buckets, lambda bucket: bucket.metadata.key)
    names = _oldest_first(usecases, lambda usecase: usecase.wire_name)
    homes = {key: claimants[0] for key, claimants in places.items()}
    on_buckets = [_on_bucket(each, all_[0]) for all_ in places.values() for each in all_]
    judged = [(each, _on_usecase(each, all_[0], homes)) for all_ in names.values() for each in all_]
    config = GatewayConfig(
        generation=generation,
        buckets={key: _bucket(bucket) for key, bucket in homes.items()},
        usecases={u.wire_name: _usecase(u) for u, verdict in judged if verdict.accepted},
    )
    return config, tuple(sorted([*on_buckets, *(verdict for _, verdict in judged)]))


def seconds(duration: str) -> int:
    """`30d` in seconds."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def _oldest_first(resources: Iterable[R], claim: Callable[[R], str]) -> dict[str, list[R]]:
    claimants: dict[str, list[R]] = {}
    for resource in sorted(resources, key=_seniority):
        claimants.setdefault(claim(resource), []).append(resource)
    return claimants


def _seniority(resource: Usecase | Bucket) -> tuple[bool, float, str, bytes]:
    """Age (no date yet is youngest), then `namespace/name`, then content."""
    created = resource.metadata.creation_timestamp
    age = 0.0 if created is None else created.timestamp()
    content = msgspec.json.encode(resource, order="sorted")
    return created is None, age, resource.metadata.key, content


def _verdict(resource: Usecase | Bucket, reason: Reason, message: str) -> Verdict:
    accepted = reason in {Reason.VALID, Reason.SUSPENDED}
    kind, metadata = type(resource).__name__, resource.metadata
    return Verdict(kind, metadata.namespace, metadata.name, accepted, reason, message)


def _on_bucket(bucket: Bucket, first: Bucket) -> Verdict:
    if bucket != first:
        return _verdict(bucket, Reason.NAME_CONFLICT, "given twice, with different content")
    return _verdict(bucket, Reason.VALID, f"ready for usecases in {bucket.metadata.namespace}")


def _on_usecase(usecase: Usecase, owner: Usecase, homes: dict[str, Bucket]) -> Verdict:
    name, home = usecase.wire_name, _home(usecase)
    if usecase != owner:
        message = f"the name {name} is taken by Usecase {owner.metadata.key}; set another spec.name"
        return _verdict(usecase, Reason.NAME_CONFLICT, message)
    wrong = _wrong_expiration(usecase.spec)
    if wrong is not None:
        return _verdict(usecase, Reason.INVALID_EXPIRATION, wrong)
    if home not in homes:
        message = f"there is no Bucket {home}: declare it, or correct spec.bucketRef.name"
        return _verdict(usecase, Reason.BUCKET_NOT_FOUND, message)
    if usecase.spec.suspend != "None":
        what = "writes are" if usecase.spec.suspend == "Writes" else "every request is"
        message = f"spec.suspend is {usecase.spec.suspend}: {what} refused"
        return _verdict(usecase, Reason.SUSPENDED, message)
    return _verdict(usecase, Reason.VALID, f"served as {name} from Bucket {home}")


def _home(usecase: Usecase) -> str:
    return f"{usecase.metadata.namespace}/{usecase.spec.bucket_ref.name}"


def _wrong_expiration(spec: UsecaseSpec) -> str | None:
    """What is wrong with how `spec` lets objects expire."""
    default, allowed = spec.defaults.expiration, spec.allowed_expirations or ()
    given = [default.after, *(each.max_after for each in allowed)]
    for duration in given:
        if duration is not None and seconds(duration) > LONGEST_LIFETIME:
            return f"an expiration of {duration} is over a thousand years: use policy Manual"
    bound = next((each.max_after for each in allowed if each.policy == default.policy), None)
    if default.after is None or bound is None or seconds(default.after) <= seconds(bound):
        return None
    return (
        f"defaults.expiration.after is {default.after},"
        f" more than the {bound} that allowedExpirations has for {default.policy}"
    )


def _usecase(usecase: Usecase) -> UsecaseConfig:
    spec = usecase.spec
    return UsecaseConfig(
        name=usecase.wire_name,
        namespace=usecase.metadata.namespace,
        bucket=_home(usecase),
        suspend=spec.suspend,
        compression=spec.defaults.compression,
        compression_level=spec.defaults.compression_level,
        compression_min_bytes=spec.defaults.compression_min_bytes,
        expiration=_expiry(spec.defaults.expiration),
        allowed_expirations=_allowed(spec),
        limits=LimitsConfig(**msgspec.structs.asdict(spec.limits or Limits())),
    )


def _expiry(expiration: Expiration) -> Expiry:
    return Expiry(policy=expiration.policy, after=_seconds_or_none(expiration.after))


def _allowed(spec: UsecaseSpec) -> tuple[AllowedExpiry, ...] | None:
    if spec.allowed_expirations is None:
        return None
    return tuple(
        AllowedExpiry(policy=each.policy, max_after=_seconds_or_none(each.max_after))
        for each in spec.allowed_expirations
    )


def _seconds_or_none(duration: str | None) -> int | None:
    return None if duration is None else seconds(duration)


def _bucket(bucket: Bucket) -> BucketConfig:
    spec = bucket.spec
    return BucketConfig(
        namespace=bucket.metadata.namespace,
        name=bucket.metadata.name,
        type=spec.type,
        prefix=spec.prefix,
        access=spec.access,
        deletion_policy=spec.deletion_policy,
        endpoints=spec.endpoints or (),
        tls=None if spec.tls is None else _tls(spec.tls),
        s3=None if spec.s3 is None else _s3(spec.s3),
        filesystem=_filesystem(spec),
        upstream=_upstream(spec),
        resilience=_resilience(spec.resilience or Resilience()),
    )


def _tls(tls: Tls) -> TlsConfig:
    ca = tls.ca_config_map_ref
    return TlsConfig(
        secret=None if tls.secret_ref is None else tls.secret_ref.name,
        ca_config_map=None if ca is None else ca.name,
        ca_key=None if ca is None else ca.key,
        server_name=tls.server_name,
        min_version=tls.min_version,
        relaxed_x509=tls.relaxed_x509,
        insecure_skip_verify=tls.insecure_skip_verify,
    )


def _s3(s3: S3) -> S3Config:
    secret = s3.auth.secret_ref
    return S3Config(
        bucket=s3.bucket,
        region=s3.region,
        addressing=s3.addressing,
        storage_class=s3.storage_class,
        auth=s3.auth.mode,
        secret=None if secret is None else secret.name,
        access_key_id_key=None if secret is None else secret.access_key_id_key,
        secret_access_key_key=None if secret is None else secret.secret_access_key_key,
    )


def _filesystem(spec: BucketSpec) -> FilesystemConfig | None:
    if spec.type != "Filesystem":
        return None
    return FilesystemConfig(claim=None if spec.filesystem is None else spec.filesystem.claim_name)


def _upstream(spec: BucketSpec) -> UpstreamConfig | None:
    if spec.type != "Upstream":
        return None
    token = (spec.upstream or Upstream()).token_secret_ref
    return UpstreamConfig(
        token_secret=None if token is None else token.name,
        token_key=None if token is None else token.key,
    )


def _resilience(given: Resilience) -> ResilienceConfig:
    return ResilienceConfig(
        attempts=given.attempts,
        hedging=None if given.hedging is None else given.hedging == "Enabled",
        connect_timeout=_timeout(given.connect_timeout),
        first_byte_timeout=_timeout(given.first_byte_timeout),
        progress_timeout=_timeout(given.progress_timeout),
    )


def _timeout(text: str | None) -> float | None:
    """`500ms` in seconds."""
    if text is None:
        return None
    if text.endswith("ms"):
        return int(text[:-2]) / 1000
    return float(seconds(text))
