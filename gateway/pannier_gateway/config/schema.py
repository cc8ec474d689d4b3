"""The part of OpenAPI v3 that CRDs are written in, walked as an API server walks it.

The CRDs themselves say what a manifest may hold; here is only how to read them, so that a laptop
and a cluster cannot disagree. Messages keep the API server's words, but repeat no value that may be
a secret.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, field

Moment = Annotated[datetime, Meta(tz=True)]
"""A date and time with its offset, RFC 3339 on the outside."""

_TYPE_NAMES = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


class Fault(NamedTuple):
    """What is wrong at one JSON path."""

    path: str
    message: str


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """A CEL rule of a CRD, and what to say when it does not hold."""

    rule: str
    message: str

    @property
    def is_transition(self) -> bool:
        return "oldSelf" in self.rule


class Schema(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One node of an `openAPIV3Schema`. A keyword not listed here is refused, never skipped."""

    type: str = ""
    format: str = ""
    description: str = ""
    default: Any = UNSET  # any JSON value; UNSET: none
    enum: tuple[str, ...] = ()
    pattern: str = ""
    min_length: int = 0
    max_length: int | None = None
    minimum: int | None = None
    maximum: int | None = None
    properties: "dict[str, Schema]" = {}
    additional_properties: "Schema | None" = None
    required: tuple[str, ...] = ()
    min_properties: int = 0
    items: "Schema | None" = None
    min_items: int = 0
    max_items: int | None = None
    list_type: str = field(name="x-kubernetes-list-type", default="atomic")
    list_keys: tuple[str, ...] = field(name="x-kubernetes-list-map-keys", default=())
    rules: tuple[Rule, ...] = field(name="x-kubernetes-validations", default=())


def filled(schema: Schema, value: object) -> object:
    """`value` with every default in its place; a null stands for a field left out, 3.0 for 3."""
    match value:
        case dict() if schema.properties:
            given = {k: v for k, v in value.items() if v is not None or k not in schema.properties}
            known = {k: child.default for k, child in schema.properties.items() if k not in given}
            defaults = {k: v for k, v in known.items() if v is not UNSET}
            return {k: _filled_field(schema, k, v) for k, v in (given | defaults).items()}
        case list() if schema.items:
            return [filled(schema.items, item) for item in value]
        case float() if schema.type == "integer" and value.is_integer():
            return int(value)
    return value


def _filled_field(schema: Schema, name: str, value: object) -> object:
    child = schema.properties.get(name)
    return value if child is None else filled(child, value)


def faults(schema: Schema, value: object, path: str = "") -> Iterator[Fault]:
    """Everything about `value` that `schema` does not allow, deepest parts included."""
    found = type_name(value)
    if schema.type and found != schema.type:
        yield Fault(path, f"Invalid value: must be of type {schema.type}, not {found}")
        return
    yield from (Fault(path, message) for message in _own_faults(schema, value))
    if isinstance(value, dict):
        yield from _missing_and_unknown(schema, value, path)
    elif isinstance(value, list) and not _too_many(schema, value):
        yield from _duplicates(schema, value, path)
    for child, part, where in children(schema, value, path):
        yield from faults(child, part, where)


def children(schema: Schema, value: object, path: str) -> Iterator[tuple[Schema, object, str]]:
    """The parts of `value` that have a schema of their own, each with its path.

    A list longer than allowed has no parts worth a look: its length is the fault.
    """
    if isinstance(value, dict):
        for name, part in value.items():
            child = schema.properties.get(name, schema.additional_properties)
            if child is not None:
                yield child, part, join(path, name)
    elif isinstance(value, list) and schema.items and not _too_many(schema, value):
        for index, part in enumerate(value):
            yield schema.items, part, f"{path}[{index}]"


def join(path: str, name: object) -> str:
    """The path of field `name` below `path`."""
    return f"{path}.{name}" if path else str(name)


def type_name(value: object) -> str:
    """What JSON calls the type of `value`."""
    return _TYPE_NAMES.get(type(value), type(value).__name__)


def _own_faults(schema: Schema, value: object) -> Iterator[str]:
    match value:
        case str():
            yield from _text_faults(schema, value)
        case bool():
            pass
        case int():
            if schema.minimum is not None and value < schema.minimum:
                yield f"Invalid value: should be greater than or equal to {schema.minimum}"
            if schema.maximum is not None and value > schema.maximum:
                yield f"Invalid value: should be less than or equal to {schema.maximum}"
        case dict() if len(value) < schema.min_properties:
            yield f"Invalid value: should have at least {schema.min_properties} properties"
        case list() if len(value) < schema.min_items:
            yield f"Invalid value: should have at least {schema.min_items} items"
        case list() if _too_many(schema, value):
            yield f"Too many: {len(value)}: must have at most {schema.max_items} items"


def _too_many(schema: Schema, value: list[object]) -> bool:
    return schema.max_items is not None and len(value) > schema.max_items


def _text_faults(schema: Schema, value: str) -> Iterator[str]:
    if not _is_unicode(value):
        yield "Invalid value: must be Unicode text, without lone surrogates"
        return
    if schema.enum and value not in schema.enum:
        supported = ", ".join(f'"{choice}"' for choice in schema.enum)
        yield f'Unsupported value: "{value[:64]}": supported values: {supported}'
    if len(value) < schema.min_length:
        yield f"Invalid value: should be at least {schema.min_length} chars long"
    if schema.max_length is not None and len(value) > schema.max_length:
        yield f"Too long: may not be more than {schema.max_length} chars long"
    elif schema.pattern and not _compiled(schema.pattern).search(value):
        meant = f" ({schema.description})" if schema.description else ""
        yield f"Invalid value: should match '{schema.pattern}'{meant}"
    if schema.format == "date-time" and not _is_date_time(value):
        yield "Invalid value: must be a date and time such as 2026-01-31T12:00:00Z"


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """As RE2 reads it: a closing `$` is the very end, also after a newline; classes are ASCII."""
    return re.compile(re.sub(r"\$$", r"\\Z", pattern), re.ASCII)


def _is_date_time(value: str) -> bool:
    try:
        msgspec.convert(value, Moment)
    except msgspec.ValidationError:
        return False
    return True


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _missing_and_unknown(schema: Schema, value: dict[str, object], path: str) -> Iterator[Fault]:
    for name in schema.required:
        if name not in value:
            yield Fault(join(path, name), "Required value")
    if schema.properties:
        known = ", ".join(schema.properties)
        for name in value:
            if name not in schema.properties:
                yield Fault(join(path, name), f"unknown field; the fields here are {known}")


def _duplicates(schema: Schema, value: list[object], path: str) -> Iterator[Fault]:
    identities = [_identity(schema, item) for item in value]
    for index, identity in enumerate(identities):
        if identity is not None and identity in identities[:index]:
            yield Fault(f"{path}[{index}]", "Duplicate value")


def _identity(schema: Schema, item: object) -> object:
    """What may occur once in a list of type `set` or `map`; None: not to be compared."""
    if schema.list_type == "set" and isinstance(item, str):
        return item
    if schema.list_type == "map" and isinstance(item, dict):
        return tuple(item.get(key) for key in schema.list_keys)
    return None
