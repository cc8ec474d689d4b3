"""What a status says: a closed set of conditions and reasons, each told in docs/conditions.md."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from pannier_operator.api import Json

LONGEST_MESSAGE = 1024  # bytes: what an Event holds too


class Type(StrEnum):
    """What a condition is about."""

    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    PROGRAMMED = "Programmed"
    READY = "Ready"
    IN_USE = "InUse"
    DURABLE = "Durable"


class Reason(StrEnum):
    """Why a condition holds or does not."""

    VALID = "Valid"
    SUSPENDED = "Suspended"
    INVALID_SPEC = "InvalidSpec"
    INVALID_EXPIRATION = "InvalidExpiration"
    NAME_CONFLICT = "NameConflict"
    RESOLVED = "Resolved"
    SECRET_UNKNOWN = "SecretUnknown"
    BUCKET_NOT_FOUND = "BucketNotFound"
    BUCKET_NOT_READY = "BucketNotReady"
    PROGRAMMED = "Programmed"
    PENDING = "Pending"
    CONFIG_TOO_LARGE = "ConfigTooLarge"
    WRITE_FAILED = "WriteFailed"
    READY = "Ready"
    USED = "Used"
    UNUSED = "Unused"
    DELETION_WAITS = "DeletionWaits"
    ON_CLAIM = "OnClaim"
    NO_CLAIM = "NoClaim"


REASONS: Mapping[Type, frozenset[Reason]] = {
    Type.ACCEPTED: frozenset(
        {
            Reason.VALID,
            Reason.SUSPENDED,
            Reason.INVALID_SPEC,
            Reason.INVALID_EXPIRATION,
            Reason.NAME_CONFLICT,
        }
    ),
    Type.RESOLVED_REFS: frozenset(
        {
            Reason.RESOLVED,
            Reason.SECRET_UNKNOWN,
            Reason.BUCKET_NOT_FOUND,
            Reason.BUCKET_NOT_READY,
        }
    ),
    Type.PROGRAMMED: frozenset(
        {Reason.PROGRAMMED, Reason.PENDING, Reason.CONFIG_TOO_LARGE, Reason.WRITE_FAILED}
    ),
    Type.READY: frozenset(Reason)
    - {Reason.VALID, Reason.RESOLVED, Reason.PROGRAMMED, Reason.USED, Reason.UNUSED}
    - {Reason.SECRET_UNKNOWN, Reason.ON_CLAIM},
    Type.IN_USE: frozenset({Reason.USED, Reason.UNUSED, Reason.DELETION_WAITS}),
    Type.DURABLE: frozenset({Reason.ON_CLAIM, Reason.NO_CLAIM}),
}
"""Which reasons a condition may give."""

_NEEDED = (Type.ACCEPTED, Type.RESOLVED_REFS, Type.PROGRAMMED)
_NOT_OURS = frozenset({"conditions", "rollout"})  # each condition on its own; told by gateways
_WORTH_A_LOOK = frozenset({Reason.DELETION_WAITS, Reason.NO_CLAIM})


class Finding(NamedTuple):
    """A condition before it knows when it began."""

    type: Type
    status: bool
    reason: Reason
    message: str


def summed_up(findings: Iterable[Finding]) -> Finding:
    """`Ready`: True if all that it takes is, else with the reason of the first that is not.

    A suspended usecase is not ready, though all is well with it. What is worth a look without
    keeping anything from working is told as the reason of a True.
    """
    by_type = {each.type: each for each in findings}
    for needed in (by_type[kind] for kind in _NEEDED):
        if not needed.status or needed.reason == Reason.SUSPENDED:
            return Finding(Type.READY, False, needed.reason, needed.message)
    for other in by_type.values():
        if other.reason in _WORTH_A_LOOK:
            return Finding(Type.READY, True, other.reason, other.message)
    return Finding(Type.READY, True, Reason.READY, "gateways are told of it")


def conditions(
    findings: Iterable[Finding], before: Json, generation: int, now: datetime
) -> list[Json]:
    """`findings` as a status holds them; one whose status stays keeps the time it began at.

    `before` is the status so far, whoever wrote it.
    """
    known = _by_type(before)
    return [_condition(each, known.get(each.type, {}), generation, now) for each in findings]


def _condition(finding: Finding, before: Json, generation: int, now: datetime) -> Json:
    status = str(finding.status)
    began = before.get("lastTransitionTime") if before.get("status") == status else None
    return {
        "type": str(finding.type),
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": began or timestamp(now),
        "reason": str(finding.reason),
        "message": shortened(finding.message),
    }


def same(before: Json, after: Json) -> bool:
    """Whether the status `before` says already what `after` says; others may add to it."""
    theirs, ours = _by_type(before), _by_type(after)
    fields = (before.keys() | after.keys()) - _NOT_OURS
    return all(theirs.get(kind) == each for kind, each in ours.items()) and all(
        before.get(name) == after.get(name) for name in fields
    )


def foreign(before: Json, after: Json) -> set[str]:
    """The fields of status `before` that `after` has no place for."""
    return before.keys() - after.keys() - _NOT_OURS


def changed(before: Json, after: Json) -> list[Json]:
    """The conditions of `after` of which `before` says something else, the message aside."""
    known = _by_type(before)
    return [
        each
        for kind, each in _by_type(after).items()
        if _essence(known.get(kind, {})) != _essence(each)
    ]


def condition(status: Json, kind: Type) -> Json:
    """That of `kind` in `status`. Raises KeyError where there is none."""
    return _by_type(status)[kind]


def shortened(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """As much of `text` as `longest` bytes of UTF-8 hold."""
    encoded, end = text.encode(), "…"
    if len(encoded) <= longest:
        return text
    return encoded[: longest - len(end.encode())].decode(errors="ignore") + end


def timestamp(moment: datetime) -> str:
    """RFC 3339, to the second, as Kubernetes writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _essence(condition: Json) -> tuple[object, object]:
    return condition.get("status"), condition.get("reason")


def _by_type(status: Json) -> dict[str, Json]:
    return {each["type"]: each for each in status.get("conditions", ())}
