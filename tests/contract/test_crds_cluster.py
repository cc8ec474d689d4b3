"""A real kube-apiserver and our parser judge manifests alike: those that are listed, and any."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pannier_gateway.config.resources import BUCKET, USECASE
from support.cluster import Answer, Api, ControlPlane
from support.manifests import Json, accepted, damaged, manifests, refusal

pytestmark = pytest.mark.cluster

CASES: dict[str, list[Json]] = yaml.safe_load(
    Path(__file__).with_name("crds-cases.yaml").read_text(encoding="utf-8")
)
OBJECTS = {case["name"]: case["object"] for case in CASES["accept"]}
JUDGED_ONLY = "dryRun=All&fieldValidation=Strict"
EDGES: st.SearchStrategy[object] = st.one_of(
    st.sampled_from([None, True, 0, 1, -1, 1.5, 3.0, 2**31, 2**53 + 1, 2**63, 1e300]),
    st.sampled_from(["", "a", "a\n", "-", "3d", "0s", "5m\n", "x" * 300, "http://é", "None"]),
    st.sampled_from([[], {}, [None], [""], ["a", "a"], {"name": ""}, {"name": "a", "nmae": "a"}]),
)
EXAMPLES = settings.get_profile("thorough").max_examples


@st.composite
def spoiled(draw: st.DrawFn, whole: Any) -> Any:
    """`whole` with one part, however deep, at an edge, missing, there twice, or unknown."""
    match whole, draw(st.integers(0, 3)):
        case (dict(), 0) if whole:
            gone = draw(st.sampled_from(list(whole)))
            return {name: part for name, part in whole.items() if name != gone}
        case (dict(), 1):
            return whole | {draw(st.sampled_from(["name", "after", "tls", "x"])): draw(EDGES)}
        case (dict(), _) if whole:
            name = draw(st.sampled_from(list(whole)))
            return whole | {name: draw(spoiled(whole[name]))}
        case (list(), 0 | 1) if whole:
            return [*whole, whole[0]]
        case (list(), _) if whole:
            return [draw(spoiled(whole[0])), *whole[1:]]
    return draw(EDGES)


MANIFESTS = st.one_of(manifests(USECASE), manifests(BUCKET)).map(
    lambda manifest: manifest | {"metadata": {"name": manifest["metadata"]["name"]}}
)
SOUND = MANIFESTS.filter(lambda manifest: bool(accepted(manifest).resources))
BROKEN = st.one_of(
    SOUND.flatmap(
        lambda manifest: spoiled(manifest["spec"]).map(lambda it: manifest | {"spec": it})
    ),
    damaged(MANIFESTS),
)


class Court(NamedTuple):
    """The real server's verdicts, all over one connection."""

    api: Api
    namespace: str

    def judged(self, manifest: Any) -> Answer:
        kind = manifest.get("kind") if isinstance(manifest, dict) else None
        path = self.folder("Bucket" if kind == "Bucket" else "Usecase")
        return self.api.request("POST", f"{path}?{JUDGED_ONLY}", manifest)

    def changed(self, manifest: Json, patch: Json) -> Answer:
        """The verdict on a change to `manifest`, which is kept from now on."""
        path = self.folder(manifest["kind"])
        self.api.request("POST", path, manifest)
        return self.api.request(
            "PATCH",
            f"{path}/{manifest['metadata']['name']}?{JUDGED_ONLY}",
            patch,
            "application/merge-patch+json",
        )

    def folder(self, kind: str) -> str:
        return f"/apis/pannier.dev/v1alpha1/namespaces/{self.namespace}/{kind.lower()}s"


@pytest.fixture(scope="module")
def court(control_plane: ControlPlane) -> Iterator[Court]:
    with control_plane.api() as api:
        yield Court(api, control_plane.create_namespace())


def named(case: Json) -> str:
    return str(case["name"])


def spec_of(manifest: object) -> object:
    """The spec as our parser takes it, defaults filled in; None where it refuses."""
    specs = [resource.spec for resource in accepted(manifest).resources]
    return msgspec.json.decode(msgspec.json.encode(specs[0])) if specs else None


@pytest.mark.parametrize("case", CASES["accept"], ids=named)
def test_what_the_list_says_is_accepted_is(court: Court, case: Json) -> None:
    answer = court.judged(case["object"])

    assert (answer.status, answer.message) == (201, "")
    assert answer.body["spec"] == spec_of(case["object"])


@pytest.mark.parametrize("case", CASES["refuse"], ids=named)
def test_what_the_list_says_is_refused_is(court: Court, case: Json) -> None:
    answer = court.judged(case["object"])

    assert answer.status in {400, 422}
    assert case["says"] in answer.message


@pytest.mark.parametrize("case", CASES["update"], ids=named)
def test_changes_are_judged_as_the_list_says(court: Court, namespace: str, case: Json) -> None:
    answer = court._replace(namespace=namespace).changed(OBJECTS[case["over"]], case["patch"])

    assert (answer.status == 200) == ("says" not in case)
    assert case.get("says", "") in answer.message


@pytest.mark.slow
@pytest.mark.timeout(180)
@settings(max_examples=5 * EXAMPLES)
@given(manifest=MANIFESTS)
def test_both_judge_any_manifest_alike(court: Court, manifest: Json) -> None:
    answer = court.judged(manifest)

    assert answer.body.get("spec") == spec_of(manifest), answer.message or refusal(manifest)


@pytest.mark.slow
@pytest.mark.timeout(180)
@settings(max_examples=10 * EXAMPLES)
@given(manifest=BROKEN)
def test_both_judge_a_damaged_manifest_alike(court: Court, manifest: object) -> None:
    answer = court.judged(manifest)

    assert answer.body.get("spec") == spec_of(manifest), answer.message or refusal(manifest)
