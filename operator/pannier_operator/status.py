"""What a status says of a resource: its conditions, and what gateways are told of it. Pure."""

import hashlib
from datetime import datetime
from typing import NamedTuple

import msgspec

from pannier_gateway.config.kinds import Bucket
from pannier_gateway.config.model import BucketConfig, Expiry, GatewayConfig, UsecaseConfig
from pannier_operator.api import Json
from pannier_operator.claims import places_of
from pannier_operator.conditions import Finding, Reason, Type, conditions, shortened, summed_up
from pannier_operator.plan import Plan, Planned, entry

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_LONGEST_URI = 512  # by the CRD


class Failure(NamedTuple):
    """Why the configuration could not be published."""

    reason: Reason
    message: str


def status(
    planned: Planned, plan: Plan, published: GatewayConfig, failure: Failure | None, now: datetime
) -> Json:
    """The status of one resource, `published` being what gateways are told now."""
    verdict = programmed(planned, plan, published, failure)
    accepted, resolved, *others = planned.findings
    ready = summed_up((*planned.findings, verdict))
    seen = planned.seen
    listed = conditions(
        (accepted, resolved, verdict, ready, *others), seen.status, seen.metadata.generation, now
    )
    return described(planned, published) | {"conditions": listed}


def programmed(
    planned: Planned, plan: Plan, published: GatewayConfig, failure: Failure | None
) -> Finding:
    """Whether gateways are told of `planned`, `published` being what they are told now."""
    told, wanted = entry(planned, published), planned.wanted
    same_home = not isinstance(wanted, UsecaseConfig) or (
        published.buckets.get(wanted.bucket) == plan.config.buckets.get(wanted.bucket)
    )
    if wanted is not None and told == wanted and same_home:
        return Finding(Type.PROGRAMMED, True, Reason.PROGRAMMED, "gateways are told of it")
    reason, message = failure or Failure(Reason.PENDING, "the configuration is not written yet")
    if wanted is None:
        reason, message = Reason.PENDING, "gateways are told of it once the above is mended"
    kept = "" if told is None else "; until then they go on with what they were told last"
    return Finding(Type.PROGRAMMED, False, reason, message + kept)


def described(planned: Planned, config: GatewayConfig) -> Json:
    """The fields of its status that tell what `config` makes of it."""
    told = entry(planned, config)
    status: Json = {"observedGeneration": planned.seen.metadata.generation}
    if planned.seen.kind.kind == "Bucket":
        status["usecases"] = planned.users
        if isinstance(planned.seen.resource, Bucket):
            status["backendURI"] = shortened(backend_uri(planned.seen.resource), _LONGEST_URI)
    if isinstance(told, UsecaseConfig):
        status["effective"] = _effective(told)
        status["configHash"] = _hash(told, config.buckets.get(told.bucket))
    elif told is not None:
        status["configHash"] = _hash(told)
    return status


def backend_uri(bucket: Bucket) -> str:
    """Where the objects are, for people."""
    spec = bucket.spec
    tail = "" if spec.prefix is None else f"/{spec.prefix}"
    if spec.s3 is not None:
        return f"s3://{spec.s3.bucket}{tail}"
    if spec.type == "Upstream":
        return min(places_of(bucket), default="")
    claim = None if spec.filesystem is None else spec.filesystem.claim_name
    return f"claim://{claim}{tail}" if claim else f"pod://data{tail}"


def _effective(told: UsecaseConfig) -> Json:
    return {
        "name": told.name,
        "bucket": told.bucket.partition("/")[2],
        "compression": told.compression,
        "expiration": _expiration(told.expiration),
    }


def _expiration(expiry: Expiry) -> str:
    """Such as `TimeToIdle 30d`, in the largest unit that is exact."""
    if expiry.after is None:
        return expiry.policy
    unit, size = next((unit, size) for unit, size in _UNITS if expiry.after % size == 0)
    return f"{expiry.policy} {expiry.after // size}{unit}"


def _hash(*told: UsecaseConfig | BucketConfig | None) -> str:
    return hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()
