"""A kube-apiserver's verdicts on manifests, and ours: crds-cases.yaml holds those of a real one."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from msgspec import inspect

from pannier_gateway.config import crds
from pannier_gateway.config.kinds import Metadata
from pannier_gateway.config.resources import BUCKET, USECASE, Bucket, Usecase, changes
from pannier_gateway.config.rules import STATES, TRANSITIONS
from pannier_gateway.config.schema import Schema
from support.manifests import Json, parsed, refusal

CASES: dict[str, list[Json]] = yaml.safe_load(
    Path(__file__).with_name("crds-cases.yaml").read_text(encoding="utf-8")
)
OBJECTS = {case["name"]: case["object"] for case in CASES["accept"]}


def named(case: Json) -> str:
    return str(case["name"])


@pytest.mark.parametrize("case", CASES["accept"], ids=named)
def test_what_a_cluster_accepts_is_accepted_with_the_same_defaults(case: Json) -> None:
    spec = msgspec.to_builtins(resource(case["object"]).spec)

    assert spec == merged(merged(case["object"]["spec"], case.get("becomes", {})), spec)


@pytest.mark.parametrize("case", CASES["refuse"], ids=named)
def test_what_a_cluster_refuses_is_refused_with_its_words(case: Json) -> None:
    assert any(case["says"] in line for line in refusal(case["object"]))


@pytest.mark.parametrize("case", CASES["update"], ids=named)
def test_a_change_is_judged_as_a_cluster_judges_it(case: Json) -> None:
    before = OBJECTS[case["over"]]

    found = changes(resource(before), resource(merged(before, case["patch"])))

    assert [case["says"] in str(problem) for problem in found] == [True] * ("says" in case)


def test_all_verdicts_were_taken_over() -> None:
    assert sum(map(len, CASES.values())) == 41


def test_every_rule_of_the_crds_has_its_counterpart_and_no_other_has() -> None:
    rules = [rule for schema in crds.schemas().values() for rule in all_rules(schema)]

    assert {rule.rule for rule in rules if not rule.is_transition} == STATES.keys()
    assert {rule.rule for rule in rules if rule.is_transition} == TRANSITIONS.keys()


@pytest.mark.parametrize(("kind", "struct"), [(USECASE, Usecase), (BUCKET, Bucket)])
def test_the_structs_have_the_fields_of_the_crds(kind: crds.Kind, struct: type[Any]) -> None:
    about = inspect.type_info(struct)
    assert isinstance(about, inspect.StructType)
    (spec,) = (field for field in about.fields if field.name == "spec")

    assert shape_of_type(spec.type) == shape_of_schema(crds.schemas()[kind].properties["spec"])


def test_the_metadata_we_read_is_metadata_we_accept() -> None:
    read = {field.encode_name for field in msgspec.structs.fields(Metadata)}

    assert read <= crds.METADATA.properties.keys()


def resource(value: Json) -> Any:
    manifests = parsed(value)
    return [*manifests.usecases, *manifests.buckets][0]


def merged(whole: Json, patch: Json) -> Json:
    """RFC 7396, as `kubectl patch --type=merge` does it; deletions do not occur here."""
    both = {
        name: merged(whole[name], part) if isinstance(part, dict) and name in whole else part
        for name, part in patch.items()
    }
    return whole | both


def all_rules(schema: Schema) -> list[Any]:
    parts = [*schema.properties.values(), *([schema.items] if schema.items else [])]
    return [*schema.rules, *(rule for part in parts for rule in all_rules(part))]


def shape_of_schema(schema: Schema) -> object:
    """Field names, which of them are always there, and choices: all that a struct repeats."""
    if schema.properties:
        return {
            (name, name in schema.required or child.default is not msgspec.UNSET): (
                shape_of_schema(child)
            )
            for name, child in schema.properties.items()
        }
    if schema.items:
        return [shape_of_schema(schema.items)]
    return set(schema.enum) or schema.type


def shape_of_type(kind: inspect.Type) -> object:
    match kind:
        case inspect.StructType(fields=fields):
            return {(f.encode_name, f.required): shape_of_type(f.type) for f in fields}
        case inspect.UnionType(types=types):
            (given,) = (each for each in types if not isinstance(each, inspect.NoneType))
            return shape_of_type(given)
        case inspect.VarTupleType(item_type=item):
            return [shape_of_type(item)]
        case inspect.LiteralType(values=values):
            return set(values)
    names = {inspect.StrType: "string", inspect.IntType: "integer", inspect.BoolType: "boolean"}
    return names[type(kind)]
