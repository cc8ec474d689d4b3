"""What of the charts needs no Helm to be checked."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from pannier import __version__
from support.charts import CHART, CRDS

ROOT = CHART.parent.parent
CHARTS = (CHART, CRDS)
OF_HELM = {CHART: {"global", "crds.global"}, CRDS: {"global", "enabled"}}
Json = dict[str, Any]


def chart_of(chart: Path) -> Json:
    return dict(yaml.safe_load((chart / "Chart.yaml").read_text()))


def schema_of(chart: Path) -> Json:
    return dict(json.loads((chart / "values.schema.json").read_text()))


def test_admission_objects_are_those_that_the_injector_makes(files: ModuleType) -> None:
    kept = {name: (CHART / "files" / name).read_text() for name in files.files()}

    assert kept == files.files(), "run python tools/chart_files.py"


def test_every_value_is_documented_with_its_default(files: ModuleType) -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()

    assert "<!-- values" in page
    assert files.filled(page) == page, "run python tools/chart_files.py"


def test_every_value_has_words_that_say_what_it_does(files: ModuleType) -> None:
    text = (CHART / "values.yaml").read_text()

    told = [value.path for value in files.values(text)]

    assert untold(yaml.safe_load(text), "", set(told)) == []
    assert all(value.meaning.endswith((".", "…")) for value in files.values(text))


def untold(values: Json, path: str, told: set[str]) -> list[str]:
    """The values that nothing is said about; what is said of a block is said of all in it."""
    missing = []
    for name, value in values.items():
        here = f"{path}.{name}".lstrip(".")
        if here not in told and isinstance(value, dict) and value:
            missing += untold(value, here, told)
        elif here not in told:
            missing.append(here)
    return missing


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_the_schema_has_the_values_that_there_are_and_no_others(chart: Path) -> None:
    values = yaml.safe_load((chart / "values.yaml").read_text())

    known = set(leaves(schema_of(chart), schema_of(chart))) - OF_HELM[chart]

    assert known == set(given(values, schema_of(chart)))


def resolved(schema: Json, root: Json) -> Json:
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    return dict(root["$defs"][name]) if name else schema


def is_block(schema: Json, root: Json) -> bool:
    """Whether what is in there are values of the chart, and not of somebody else's objects."""
    named = schema.get("$ref", "") in {"", "#/$defs/image"}
    return named and "properties" in resolved(schema, root) and bool(schema)


def leaves(schema: Json, root: Json, path: str = "") -> Iterator[str]:
    for name, child in resolved(schema, root)["properties"].items():
        here = f"{path}.{name}".lstrip(".")
        if is_block(child, root) and name != "issuerRef":
            yield from leaves(child, root, here)
        else:
            yield here


def given(values: Json, schema: Json) -> Iterator[str]:
    for path in leaves(schema, schema):
        found: Any = values
        for name in path.split("."):
            found = found.get(name, ...) if isinstance(found, dict) else ...
        if found is not ...:
            yield path
    yield from (name for name in values if name not in schema["properties"])


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_no_block_takes_what_it_does_not_know(chart: Path) -> None:
    assert open_blocks(schema_of(chart), "") == []


def open_blocks(schema: object, path: str) -> list[str]:
    """Where `additionalProperties` is missing; maps say of which type their values are."""
    if isinstance(schema, list):
        return [found for each in schema for found in open_blocks(each, path)]
    if not isinstance(schema, dict):
        return []
    is_open = "properties" in schema and schema.get("type") == "object"
    mine = [path] if is_open and schema.get("additionalProperties") is not False else []
    inner = (open_blocks(each, f"{path}.{key}") for key, each in schema.items())
    return [*mine, *chain.from_iterable(inner)]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_no_value_can_be_taken_away(chart: Path) -> None:
    schema = schema_of(chart)
    of_others = {"global", "enabled"} if chart == CRDS else {"global", "crds"}

    assert optional(schema, schema, of_others) == []


def optional(schema: Json, root: Json, others: set[str]) -> list[str]:
    """The values that this block, and those in it, may be without."""
    named = set(schema["properties"]) - others
    blocks = (
        resolved(each, root)
        for name, each in schema["properties"].items()
        if name in named - {"issuerRef"} and is_block(each, root)
    )
    inner = (optional(each, root, set()) for each in blocks)
    return [*(named - set(schema["required"])), *chain.from_iterable(inner)]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_a_chart_has_the_version_of_what_it_installs(chart: Path) -> None:
    found = chart_of(chart)

    assert found["appVersion"] == found["version"] == __version__
    assert all(each["version"] == __version__ for each in found.get("dependencies", ()))
    assert found["kubeVersion"] == ">=1.29.0-0"


def test_the_page_on_artifact_hub_names_images_and_kinds_that_there_are() -> None:
    notes = chart_of(CHART)["annotations"]
    values = yaml.safe_load((CHART / "values.yaml").read_text())["images"]
    crds = list(yaml.safe_load_all((CRDS / "files" / "crds.yaml").read_text()))

    images = {
        each["name"]: each["image"] for each in yaml.safe_load(notes["artifacthub.io/images"])
    }
    kinds = {each["name"]: each["kind"] for each in yaml.safe_load(notes["artifacthub.io/crds"])}
    examples = yaml.safe_load(notes["artifacthub.io/crdsExamples"])

    assert images == {name: f"{each['repository']}:{__version__}" for name, each in values.items()}
    assert kinds == {each["metadata"]["name"]: each["spec"]["names"]["kind"] for each in crds}
    assert {each["kind"] for each in examples} == set(kinds.values())


def test_manifests_that_artifact_hub_and_the_notes_show_are_accepted() -> None:
    from pannier_gateway.config import resources
    from pannier_gateway.config.render import render

    notes = (CHART / "templates" / "NOTES.txt").read_text()
    (shown,) = re.findall(r"<<EOF\n(.*?)^EOF", notes, re.MULTILINE | re.DOTALL)
    examples = yaml.safe_load(chart_of(CHART)["annotations"]["artifacthub.io/crdsExamples"])
    hub = yaml.safe_dump_all(examples)

    for text in (hub, shown):
        found = resources.parse_files((("shown.yaml", text.encode()),))
        _, verdicts = render(found.buckets, found.usecases)

        assert len(verdicts) == 2
        assert all(verdict.accepted for verdict in verdicts)
