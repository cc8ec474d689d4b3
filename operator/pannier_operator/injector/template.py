"""A piece of a pod with places that an option fills: webhook and policy are made from the same."""

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct

Json: TypeAlias = "str | int | bool | list[Json] | dict[str, Json]"
Template: TypeAlias = (
    "str | int | bool | Given | Joined | Sequence[Template] | Mapping[str, Template]"
)


class Given(Struct, frozen=True):
    """The value of an option, as text or as a number."""

    option: str
    number: bool = False


class Joined(Struct, frozen=True):
    """Text around the value of an option."""

    before: str
    value: Given


def filled(template: Template, values: Mapping[str, str]) -> Json:
    """`template` with each option's value in its place."""
    match template:
        case str() | int():
            return template
        case Given(option, number):
            return int(values[option]) if number else values[option]
        case Joined(before, value):
            return before + values[value.option]
        case Mapping():
            return filled_map(template, values)
        case _:
            return [filled(each, values) for each in template]


def filled_map(template: Mapping[str, Template], values: Mapping[str, str]) -> dict[str, Json]:
    """The same of a map, whose values can then still be added to."""
    return {key: filled(each, values) for key, each in template.items()}


def cel(template: Template) -> str:
    """`template` as a CEL expression over `variables`. Mixed maps and lists need `dyn`."""
    match template:
        case str() | int():
            return json.dumps(template)  # CEL writes text, numbers and truth as JSON does
        case Given(option, number):
            return f"int({variable(option)})" if number else variable(option)
        case Joined(before, value):
            return f"{quoted(before)} + {variable(value.option)}"
        case Mapping():
            entries = (f"{quoted(key)}: dyn({cel(each)})" for key, each in template.items())
            return f"{{{', '.join(entries)}}}"
        case _:
            return f"[{', '.join(f'dyn({cel(each)})' for each in template)}]"


def variable(option: str) -> str:
    return f"variables.{identifier(option)}"


def identifier(option: str) -> str:
    """The option's name where it must be one of CEL's."""
    return option.replace("-", "_")


def quoted(text: str) -> str:
    """A CEL string: what JSON makes of it is one."""
    return json.dumps(text)
