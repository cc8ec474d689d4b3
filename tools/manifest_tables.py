"""The tables of fields in docs/manifests.md, made from what the CRDs say of each field.

`python tools/manifest_tables.py` writes them anew, between their markers; all other words of the
page are its own. A test compares the two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from pannier_gateway.config import crds
from pannier_gateway.config.schema import Schema, join

PAGE = Path(__file__).resolve().parent.parent / "docs" / "manifests.md"
TABLE = re.compile(r"(<!-- fields of (\w+)[^\n]*\n).*?(<!-- end of fields -->)", re.DOTALL)
HEAD = "| Field | Value | Default | Meaning |\n|---|---|---|---|\n"


class Field(NamedTuple):
    """One field of a spec, by its path in there."""

    path: str
    schema: Schema
    required: bool

    @property
    def default(self) -> str:
        if self.schema.default is not msgspec.UNSET:
            return code(json.dumps(self.schema.default).replace('"', ""))
        return "required" if self.required else ""

    @property
    def row(self) -> str:
        cells = (code(self.path), value(self.schema), self.default, self.schema.description)
        return f"| {' | '.join(cells)} |\n"


def main() -> None:
    PAGE.write_text(filled(PAGE.read_text()))


def filled(page: str) -> str:
    """The page with every table as the CRDs have it."""
    return TABLE.sub(lambda found: found[1] + described(found[2]) + found[3], page)


def described(kind: str) -> str:
    """The fields of a kind as a table, and the rules that they keep as a list."""
    (spec,) = (s.properties["spec"] for k, s in crds.schemas().items() if k.kind == kind)
    listed = list(fields(spec))
    rows = "".join(field.row for field in listed)
    rules = "".join(f"- {rule}\n" for rule in rules_of(spec, listed))
    return f"\n{HEAD}{rows}\nAlso checked:\n\n{rules}\n"


def fields(schema: Schema, path: str = "") -> Iterator[Field]:
    """Every field at any depth, a block before what is in it."""
    for name, child in schema.properties.items():
        here = join(path, name)
        yield Field(here, child, name in schema.required)
        yield from fields(child.items or child, f"{here}[]" if child.items else here)


def rules_of(spec: Schema, listed: list[Field]) -> Iterator[str]:
    """What each rule of the spec and its fields says when it is broken."""
    schemas = [spec, *(each for field in listed for each in (field.schema, field.schema.items))]
    yield from (rule.message for schema in schemas if schema for rule in schema.rules)


def value(schema: Schema) -> str:
    """What may stand in a field."""
    match schema.type:
        case "string" if schema.enum:
            return ", ".join(map(code, schema.enum))
        case "string":
            return "text" + length(schema) + (f", {code(schema.pattern)}" if schema.pattern else "")
        case "integer":
            return f"{schema.minimum:,} to {schema.maximum:,}"
        case "boolean":
            return "`true`, `false`"
        case "array":
            return f"list of {schema.min_items} to {schema.max_items}"
    return "block"


def length(schema: Schema) -> str:
    """How many characters a text may have, where its pattern does not say so already."""
    return f" of {schema.min_length} to {schema.max_length}" if schema.min_length else ""


def code(text: str) -> str:
    """Text as it is typed, fit for a table's cell."""
    return f"`{text}`".replace("|", r"\|")


if __name__ == "__main__":
    main()
