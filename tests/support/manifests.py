"""Manifests to test with: written short, or generated from the very schema they must pass."""

from functools import cache
from typing import Any

from hypothesis import strategies as st

from pannier_gateway.config import crds
from pannier_gateway.config.documents import Document
from pannier_gateway.config.problems import ManifestErrors
from pannier_gateway.config.resources import BUCKET, USECASE, Bucket, Manifests, Usecase, parse
from pannier_gateway.config.schema import Schema

Json = dict[str, Any]

NAMES = st.sampled_from(["main", "other", "spare-parts"])
NAMESPACES = st.sampled_from(["default", "team-a"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(), max_size=8)
)
_ALIEN: dict[str | None, set[str]] = {
    "Filesystem": {"s3", "upstream", "endpoints", "tls", "resilience"},
    "Upstream": {"s3", "filesystem"},
    "S3": {"upstream", "filesystem"},
    None: set(),
}
"""The blocks that a Bucket's type leaves no place for: else hardly a generated one would pass."""

JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def usecase(name: str = "attachments", /, **spec: object) -> Json:
    """A Usecase of Bucket `main`; `spec` replaces whole fields. `metadata` may be added to."""
    return manifest("Usecase", name, {"bucketRef": {"name": "main"}} | spec)


def bucket(name: str = "main", /, **spec: object) -> Json:
    """A Filesystem Bucket; `spec` replaces whole fields."""
    return manifest("Bucket", name, {"type": "Filesystem"} | spec)


def huge(number: int) -> Json:
    """A Bucket with as long a configuration as can be had."""
    host = ".".join(letter * 60 for letter in "abc")
    endpoints = [f"https://{host}.{'d' * 50}{each:04}" for each in range(16)]
    return bucket(f"huge-{number}", type="Upstream", endpoints=endpoints, prefix="p" * 256)


def manifest(kind: str, name: str, spec: Json) -> Json:
    """A manifest of one of our kinds."""
    version = {"apiVersion": USECASE.api_version, "kind": kind}
    return version | {"metadata": {"name": name}, "spec": spec}


def placed(resource: Json, namespace: str, created: str | None = None) -> Json:
    """`resource` in `namespace`, as if created then."""
    return resource | {
        "metadata": resource["metadata"] | {"namespace": namespace, "creationTimestamp": created}
    }


def parsed(*objects: object) -> Manifests:
    """What the parser makes of `objects`, documents 1, 2, … of `test.yaml`."""
    return parse(Document("test.yaml", number, value) for number, value in enumerate(objects, 1))


def refusal(*objects: object) -> list[str]:
    """What the parser says against `objects`; empty if it accepts them."""
    try:
        parsed(*objects)
    except ManifestErrors as errors:
        return str(errors).splitlines()
    return []


def accepted(value: object) -> Manifests:
    """`value` if the parser accepts it, or else nothing."""
    try:
        return parsed(value)
    except ManifestErrors:
        return parsed()


@st.composite
def manifests(draw: st.DrawFn, kind: crds.Kind) -> Json:
    """A manifest of `kind` that its schema allows; it may still break a rule."""
    created = draw(st.none() | st.datetimes().map(lambda moment: moment.isoformat() + "Z"))
    spec = draw(_specs(kind))
    spec = {name: part for name, part in spec.items() if name not in _ALIEN[spec.get("type")]}
    if kind == USECASE:
        spec["bucketRef"] = {"name": draw(st.sampled_from(["main", "main", "main", "missing"]))}
    return placed(manifest(kind.kind, draw(NAMES), spec), draw(NAMESPACES), created)


@st.composite
def resources(draw: st.DrawFn) -> tuple[list[Bucket], list[Usecase]]:
    """Buckets and usecases that a cluster could hold, and some more: two of one name."""
    given = [placed(bucket(), namespace) for namespace in ("default", "team-a")]
    found_buckets = given[: draw(st.integers(0, 2))] + draw(st.lists(manifests(BUCKET), max_size=2))
    found_usecases = draw(st.lists(manifests(USECASE), max_size=3))
    return (
        [found for each in found_buckets for found in accepted(each).buckets],
        [found for each in found_usecases for found in accepted(each).usecases],
    )


@st.composite
def damaged(draw: st.DrawFn, sound: st.SearchStrategy[object]) -> object:
    """What `sound` gives, with one of its parts replaced by something else."""
    whole = draw(sound)
    if not whole or not isinstance(whole, dict | list) or not draw(st.integers(0, 3)):
        return draw(JSON)
    if isinstance(whole, dict):
        name = draw(st.sampled_from(list(whole)))
        return whole | {name: draw(damaged(st.just(whole[name])))}
    index = draw(st.integers(0, len(whole) - 1))
    return [*whole[:index], draw(damaged(st.just(whole[index]))), *whole[index + 1 :]]


@cache
def _specs(kind: crds.Kind) -> st.SearchStrategy[Any]:
    return values(crds.schemas()[kind].properties["spec"])


def values(schema: Schema) -> st.SearchStrategy[object]:
    """Values that `schema` allows, its rules aside."""
    if schema.enum:
        return st.sampled_from(schema.enum)
    by_type = {"string": _texts, "integer": _integers, "array": _lists, "object": _objects}
    return by_type[schema.type](schema) if schema.type in by_type else st.booleans()


def _integers(schema: Schema) -> st.SearchStrategy[object]:
    return st.integers(schema.minimum, schema.maximum)


def _texts(schema: Schema) -> st.SearchStrategy[object]:
    if schema.pattern:
        shortest, longest = schema.min_length, schema.max_length or 64
        found = st.from_regex(schema.pattern.strip("^$"), fullmatch=True)
        return found.filter(lambda text: shortest <= len(text) <= longest and text.isascii())
    return st.text(min_size=schema.min_length, max_size=schema.max_length)


def _lists(schema: Schema) -> st.SearchStrategy[object]:
    assert schema.items is not None
    keys = schema.list_keys
    return st.lists(
        values(schema.items),
        min_size=schema.min_items,
        max_size=min(schema.max_items or 3, 3),
        unique_by=lambda item: str([item[key] for key in keys] if keys else item),  # type: ignore[index]  # a map's items are objects
    )


def _objects(schema: Schema) -> st.SearchStrategy[object]:
    parts = {name: values(child) for name, child in schema.properties.items()}
    return st.fixed_dictionaries(
        {name: part for name, part in parts.items() if name in schema.required},
        optional={name: part for name, part in parts.items() if name not in schema.required},
    ).filter(lambda value: len(value) >= schema.min_properties)
