"""`kubectl explain` is the manual that is always at hand: it says what each field means."""

import re
import time
from collections.abc import Iterator

import pytest

from pannier_gateway.config import crds
from pannier_gateway.config.schema import Schema, join
from support.cluster import START_SECONDS, ControlPlane, Refused

UNITS = {  # what a field's name or pattern tells, and what its description has to say then
    r"Bytes$|^bytes": r"[Bb]ytes",
    r"PerSecond$": r"per second",
    r"\[smhdw\]": r"a whole number of s, m, h, d or w",
    r"\(ms\|s\|m\)": r"a whole number of ms, s or m",
}
SPECS = {kind.kind: schema.properties["spec"] for kind, schema in crds.schemas().items()}


def blocks(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Every part that has fields, with its path."""
    whole = schema.items or schema
    if whole.properties:
        yield path, whole
    for name, child in whole.properties.items():
        yield from blocks(child, join(path, name))


BLOCKS = [each for kind, spec in SPECS.items() for each in blocks(spec, f"{kind.lower()}.spec")]


def test_a_field_with_a_unit_names_it() -> None:
    for path, block in BLOCKS:
        for name, field in block.properties.items():
            for sign, unit in UNITS.items():
                if re.search(sign, name) or re.search(sign, field.pattern):
                    assert re.search(unit, field.description), f"{path}.{name}"


@pytest.fixture(scope="module")
def explaining(control_plane: ControlPlane) -> ControlPlane:
    """The same, once it can tell of both kinds: some time after it serves them."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            for kind in SPECS:
                control_plane.kubectl("explain", kind.lower())
            return control_plane
        except Refused:
            if time.monotonic() > deadline:
                raise


@pytest.mark.cluster
@pytest.mark.parametrize(("path", "block"), BLOCKS, ids=[path for path, _ in BLOCKS])
def test_an_explained_block_has_the_meaning_of_each_field(
    explaining: ControlPlane, path: str, block: Schema
) -> None:
    said = " ".join(explaining.kubectl("explain", path).split())

    for name, field in block.properties.items():
        assert re.search(rf" {name} <[^>]+>", said), name
        assert field.description in said, name
