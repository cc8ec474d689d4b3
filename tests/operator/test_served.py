"""CRDs that are older than the operator are found out before they eat a status."""

import copy

import pytest
import yaml

from pannier_gateway.config import crds
from pannier_operator.api import Json
from pannier_operator.served import unserved


def document() -> Json:
    """What an API server tells of the CRDs that come with this version."""
    definitions = yaml.safe_load_all(crds.FILE.read_text())
    schemas = {
        f"dev.pannier.v1alpha1.{each['spec']['names']['kind']}": copy.deepcopy(
            each["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        )
        for each in definitions
    }
    return {"components": {"schemas": schemas}}


def status(of: Json, kind: str) -> Json:
    schema = of["components"]["schemas"][f"dev.pannier.v1alpha1.{kind}"]
    found: Json = schema["properties"]["status"]["properties"]
    return found


def test_our_own_crds_lack_nothing() -> None:
    assert list(unserved(document())) == []


@pytest.mark.parametrize(
    ("kind", "path", "told"),
    [
        ("Usecase", ["effective", "name"], "usecases.status.effective.name"),
        (
            "Usecase",
            ["conditions", "observedGeneration"],
            "usecases.status.conditions.observedGeneration",
        ),
        ("Bucket", ["backendURI"], "buckets.status.backendURI"),
    ],
)
def test_a_missing_field_is_named(kind: str, path: list[str], told: str) -> None:
    found = document()
    *way, last = path
    part = status(found, kind)
    for name in way:
        part = part[name].get("items", part[name])["properties"]
    del part[last]

    assert list(unserved(found)) == [told]


def test_without_any_status_all_fields_are_named() -> None:
    found = document()
    del found["components"]["schemas"]["dev.pannier.v1alpha1.Bucket"]["properties"]["status"]

    assert "buckets.status.conditions" in list(unserved(found))
    assert "usecases.status.conditions" in list(unserved({}))
