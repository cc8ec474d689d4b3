"""The CEL rules of the CRDs, in Python.

Each stands under its own CEL text, so that a test finds a rule that changed in `crds.yaml` and not
here; its message and its place in a manifest are the CRD's.
"""

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from pannier_gateway.config.kinds import (
    AllowedExpiration,
    Bucket,
    BucketSpec,
    Defaults,
    Expiration,
    S3Auth,
    Usecase,
    UsecaseSpec,
)
from pannier_gateway.config.schema import Fault, Schema, children, faults

T = TypeVar("T")

_WIRE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{1,61})[a-z0-9]")


def broken(
    schema: Schema, value: object, path: str = "", *, sound: bool = False
) -> Iterator[Fault]:
    """The rules that `value` breaks; a part with structural faults is not judged yet.

    `sound`: none has any, so that nobody need look again.
    """
    if schema.rules and (sound or not any(faults(schema, value, path))):
        for rule in schema.rules:
            if not rule.is_transition and not STATES[rule.rule](value):
                yield Fault(path, f"Invalid value: {rule.message}")
    for child, part, where in children(schema, value, path):
        yield from broken(child, part, where, sound=sound)


def forbidden_changes(schema: Schema, old: object, new: object, path: str = "") -> Iterator[Fault]:
    """The rules that going from `old` to `new`, both valid, breaks."""
    for rule in schema.rules:
        if rule.is_transition and not TRANSITIONS[rule.rule](old, new):
            yield Fault(path, f"Invalid value: {rule.message}")
    if isinstance(old, dict) and isinstance(new, dict):
        before = {where: part for _, part, where in children(schema, old, path)}
        for child, part, where in children(schema, new, path):
            if where in before:
                yield from forbidden_changes(child, before[where], part, where)


def _state(kind: type[T], holds: Callable[[T], bool]) -> Callable[[object], bool]:
    return lambda value: holds(msgspec.convert(value, kind))


def _transition(kind: type[T], holds: Callable[[T, T], bool]) -> Callable[[object, object], bool]:
    return lambda old, new: holds(msgspec.convert(old, kind), msgspec.convert(new, kind))


def _has_a_wire_name(usecase: Usecase) -> bool:
    return usecase.spec.name is not None or bool(_WIRE_NAME.fullmatch(usecase.metadata.name))


def _default_is_allowed(spec: UsecaseSpec) -> bool:
    allowed = spec.allowed_expirations
    return allowed is None or spec.defaults.expiration.policy in {each.policy for each in allowed}


def _block_matches_type(spec: BucketSpec) -> bool:
    return (
        (spec.type == "S3") == (spec.s3 is not None)
        and (spec.type == "Filesystem" or spec.filesystem is None)
        and (spec.type == "Upstream" or spec.upstream is None)
    )


def _files_need_no_connection(spec: BucketSpec) -> bool:
    connection = (spec.endpoints, spec.tls, spec.resilience)
    return spec.type != "Filesystem" or connection == (None, None, None)


def _plaintext_is_said(spec: BucketSpec) -> bool:
    return spec.allow_plaintext or all(e.startswith("https://") for e in spec.endpoints or ())


STATES: dict[str, Callable[[object], bool]] = {
    "has(self.spec.name) || self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{1,61})[a-z0-9]$')": (
        _state(Usecase, _has_a_wire_name)
    ),
    "!has(self.allowedExpirations) || self.allowedExpirations"
    ".exists(a, a.policy == self.defaults.expiration.policy)": (
        _state(UsecaseSpec, _default_is_allowed)
    ),
    "!has(self.compressionLevel) || self.compression != 'None'": _state(
        Defaults, lambda self: self.compression_level is None or self.compression != "None"
    ),
    "self.policy == 'Manual' ? !has(self.after) : has(self.after)": _state(
        Expiration, lambda self: (self.policy == "Manual") == (self.after is None)
    ),
    "!has(self.maxAfter) || self.policy != 'Manual'": _state(
        AllowedExpiration, lambda self: self.max_after is None or self.policy != "Manual"
    ),
    "self.metadata.name.size() <= 63": _state(Bucket, lambda self: len(self.metadata.name) <= 63),
    "(self.type == 'S3') == has(self.s3)"
    " && (self.type == 'Filesystem' || !has(self.filesystem))"
    " && (self.type == 'Upstream' || !has(self.upstream))": _state(BucketSpec, _block_matches_type),
    "self.type != 'Upstream' || has(self.endpoints)": _state(
        BucketSpec, lambda self: self.type != "Upstream" or self.endpoints is not None
    ),
    "self.type != 'Filesystem'"
    " || (!has(self.endpoints) && !has(self.tls) && !has(self.resilience))": (
        _state(BucketSpec, _files_need_no_connection)
    ),
    "!has(self.endpoints) || self.allowPlaintext"
    " || self.endpoints.all(e, e.startsWith('https://'))": _state(BucketSpec, _plaintext_is_said),
    "(self.mode == 'Secret') == has(self.secretRef)": _state(
        S3Auth, lambda self: (self.mode == "Secret") == (self.secret_ref is not None)
    ),
}

TRANSITIONS: dict[str, Callable[[object, object], bool]] = {
    "self == oldSelf": lambda old, new: old == new,
    "has(self.name) == has(oldSelf.name)": _transition(
        UsecaseSpec, lambda old, new: (old.name is None) == (new.name is None)
    ),
    "has(self.prefix) == has(oldSelf.prefix)": _transition(
        BucketSpec, lambda old, new: (old.prefix is None) == (new.prefix is None)
    ),
}
