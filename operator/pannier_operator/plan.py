"""What should be, given what is: a namespace's configuration, and what to say of each resource.

Pure. A mistake never takes away what works: a resource that was served and cannot be read now, or
asks for what cannot be, is served on as it was last published.
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from pannier_gateway.config import render
from pannier_gateway.config.kinds import Bucket, Usecase
from pannier_gateway.config.model import BucketConfig, GatewayConfig, UsecaseConfig
from pannier_operator.conditions import Finding, Reason, Type
from pannier_operator.world import Seen, View

NOTHING = GatewayConfig(generation=0, buckets={}, usecases={})
_NAMED = 5  # users of a Bucket that a message names


class Planned(Struct, frozen=True):
    """One resource: what was found of it, and all conditions but `Programmed` and `Ready`.

    `wanted` is what gateways should be told of it; None: nothing, or nothing new.
    """

    seen: Seen
    findings: tuple[Finding, ...]
    wanted: UsecaseConfig | BucketConfig | None
    users: int = 0

    @property
    def in_use(self) -> bool:
        return self.users > 0

    def __repr__(self) -> str:
        return f"<Planned {self.seen.kind.kind} {self.seen.key}>"


class Plan(Struct, frozen=True):
    """The configuration of a namespace, generation aside, and all its resources."""

    config: GatewayConfig
    usecases: tuple[Planned, ...]
    buckets: tuple[Planned, ...]

    @property
    def resources(self) -> tuple[Planned, ...]:
        return *self.buckets, *self.usecases


def plan(view: View, published: GatewayConfig, taken: Mapping[str, str]) -> Plan:
    """What `view` comes to, where `published` is obeyed now.

    `taken` are the usecases (`namespace/name`) whose name an older one of another namespace has in
    the same store, with that one.
    """
    config, verdicts = render.render(
        (seen.resource for seen in view.buckets if isinstance(seen.resource, Bucket)),
        (seen.resource for seen in view.usecases if isinstance(seen.resource, Usecase)),
    )
    by_name = {verdict.name: verdict for verdict in verdicts if verdict.kind == "Usecase"}
    homes = {seen.name: seen for seen in view.buckets}
    usecases = tuple(
        _usecase(seen, by_name.get(seen.name), homes.get(seen.bucket), taken, config)
        for seen in view.usecases
    )
    return Plan(
        config=_kept(view, usecases, config, published),
        usecases=usecases,
        buckets=tuple(_bucket(seen, usecases, config) for seen in view.buckets),
    )


def entry(planned: Planned, config: GatewayConfig) -> UsecaseConfig | BucketConfig | None:
    """What `config` tells gateways of the resource of `planned`."""
    seen = planned.seen
    if seen.kind.kind == "Bucket":
        return config.buckets.get(seen.key)
    found = config.usecases.get(seen.claim)
    mine = f"{seen.metadata.namespace}/{seen.bucket}"
    return found if found is not None and found.bucket == mine and not _lost(planned) else None


def _usecase(
    seen: Seen,
    verdict: render.Verdict | None,
    home: Seen | None,
    taken: Mapping[str, str],
    config: GatewayConfig,
) -> Planned:
    accepted, resolved = _acceptance(seen, verdict, taken), _resolution(seen, home)
    sound = accepted.status and resolved.status
    wanted = config.usecases.get(seen.claim) if sound else None
    return Planned(seen, (accepted, resolved), wanted)


def _acceptance(seen: Seen, verdict: render.Verdict | None, taken: Mapping[str, str]) -> Finding:
    if verdict is None:
        return _refused(Reason.INVALID_SPEC, seen.fault)
    if seen.key in taken:
        message = f"the name {seen.claim} in this store is taken by Usecase {taken[seen.key]}"
        return _refused(Reason.NAME_CONFLICT, f"{message}; declare it anew with another spec.name")
    if verdict.reason == render.Reason.BUCKET_NOT_FOUND:  # judged last: the rest is sound
        return Finding(Type.ACCEPTED, True, Reason.VALID, "the spec is sound")
    return Finding(Type.ACCEPTED, verdict.accepted, Reason(verdict.reason), verdict.message)


def _resolution(seen: Seen, home: Seen | None) -> Finding:
    if home is None:
        return _unresolved(
            Reason.BUCKET_NOT_FOUND,
            f"there is no Bucket {seen.bucket} in {seen.metadata.namespace}: declare it,"
            " or correct spec.bucketRef.name",
        )
    if home.resource is None:
        message = f"Bucket {seen.bucket} is not accepted: see its conditions"
        return _unresolved(Reason.BUCKET_NOT_READY, message)
    if _too_late(seen, home):
        message = f"Bucket {seen.bucket} was being deleted before this Usecase was made"
        return _unresolved(Reason.BUCKET_NOT_READY, message)
    return Finding(Type.RESOLVED_REFS, True, Reason.RESOLVED, f"Bucket {seen.bucket} is there")


def _too_late(usecase: Seen, bucket: Seen) -> bool:
    deleted = bucket.metadata.deletion_timestamp
    return deleted is not None and usecase.metadata.creation_timestamp > deleted


def _is_leaving(usecase: Seen, bucket: Seen) -> bool:
    """Whether `bucket` need not wait for `usecase`: it is being deleted too, or came too late."""
    return usecase.metadata.deletion_timestamp is not None or _too_late(usecase, bucket)


def _bucket(seen: Seen, usecases: tuple[Planned, ...], config: GatewayConfig) -> Planned:
    users = [
        each.seen.name
        for each in usecases
        if each.seen.bucket == seen.name and not _is_leaving(each.seen, seen)
    ]
    findings = (_sound(seen), _secrets(seen), _use(seen, users), *_durability(seen))
    return Planned(seen, findings, config.buckets.get(seen.key), len(users))


def _sound(seen: Seen) -> Finding:
    if seen.resource is None:
        return _refused(Reason.INVALID_SPEC, seen.fault)
    message = f"ready for usecases in {seen.metadata.namespace}"
    return Finding(Type.ACCEPTED, True, Reason.VALID, message)


def _secrets(seen: Seen) -> Finding:
    named = sorted(set(_named_secrets(seen.resource))) if isinstance(seen.resource, Bucket) else []
    if not named:
        return Finding(Type.RESOLVED_REFS, True, Reason.RESOLVED, "it refers to no Secret")
    message = (
        f"Secret {', '.join(named)} is for gateways to mount, the operator may not look at it:"
        " where it is missing, usecases of this Bucket answer 502 and say so, until it comes"
    )
    return Finding(Type.RESOLVED_REFS, True, Reason.SECRET_UNKNOWN, message)


def _named_secrets(bucket: Bucket) -> Iterator[str]:
    spec = bucket.spec
    references = (
        spec.tls and spec.tls.secret_ref,
        spec.s3 and spec.s3.auth.secret_ref,
        spec.upstream and spec.upstream.token_secret_ref,
    )
    return (reference.name for reference in references if reference)


def _use(seen: Seen, users: list[str]) -> Finding:
    if not users:
        return Finding(Type.IN_USE, False, Reason.UNUSED, "no Usecase refers to it")
    rest = f" and {len(users) - _NAMED} more" if len(users) > _NAMED else ""
    names = f"{', '.join(sorted(users)[:_NAMED])}{rest}"
    if seen.metadata.deletion_timestamp is not None:
        message = f"deleted, but kept while Usecases refer to it: {names}"
        return Finding(Type.IN_USE, True, Reason.DELETION_WAITS, message)
    return Finding(Type.IN_USE, True, Reason.USED, f"Usecases refer to it: {names}")


def _durability(seen: Seen) -> Iterator[Finding]:
    if not isinstance(seen.resource, Bucket) or seen.resource.spec.type != "Filesystem":
        return
    block = seen.resource.spec.filesystem
    if block is not None and block.claim_name is not None:
        message = f"objects are on claim {block.claim_name}"
        yield Finding(Type.DURABLE, True, Reason.ON_CLAIM, message)
    else:
        message = "each pod has objects of its own, which die with it: set filesystem.claimName"
        yield Finding(Type.DURABLE, False, Reason.NO_CLAIM, message)


def _kept(
    view: View, usecases: tuple[Planned, ...], config: GatewayConfig, published: GatewayConfig
) -> GatewayConfig:
    """`config` without what may not be served, and with what is served on as it was."""
    unreadable = {seen.key for seen in view.buckets if seen.resource is None}
    buckets = config.buckets | {
        key: told for key, told in published.buckets.items() if key in unreadable
    }
    served = {
        each.wanted.name: each.wanted for each in usecases if isinstance(each.wanted, UsecaseConfig)
    }
    for each in usecases:
        last = entry(each, published)
        if each.wanted is None and isinstance(last, UsecaseConfig) and last.bucket in buckets:
            served.setdefault(last.name, last)
    return GatewayConfig(generation=0, buckets=buckets, usecases=served)


def _lost(planned: Planned) -> bool:
    return any(finding.reason == Reason.NAME_CONFLICT for finding in planned.findings)


def _refused(reason: Reason, message: str) -> Finding:
    return Finding(Type.ACCEPTED, False, reason, message)


def _unresolved(reason: Reason, message: str) -> Finding:
    return Finding(Type.RESOLVED_REFS, False, reason, message)
