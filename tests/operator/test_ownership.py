"""What the operator writes is its own, it writes no more than that, and the rest stays others'."""

from collections import Counter
from pathlib import Path

import pytest

from pannier_operator.api import FIELD_MANAGER
from support.apiproxy import Proxy
from support.manifests import bucket, manifest, placed, usecase
from support.operators import Json, Place, eventually, working

pytestmark = pytest.mark.cluster

THEIRS = {
    "type": "Reviewed",
    "status": "True",
    "reason": "ByThem",
    "message": "looks good",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def owned(found: Json) -> set[tuple[str, str]]:
    """How the operator has written to an object, and to which part of it."""
    return {
        (each["operation"], each.get("subresource", ""))
        for each in found["metadata"]["managedFields"]
        if each["manager"] == FIELD_MANAGER
    }


def test_the_config_map_and_statuses_are_applied_so_that_the_server_knows_whose_they_are(
    place: Place,
) -> None:
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments"))
        eventually(lambda: place.is_ready("Bucket", "main"))

        assert owned(place.found("ConfigMap")["pannier-config"]) == {("Apply", "")}
        assert owned(place.found("Usecase")["attachments"]) == {("Apply", "status")}


def test_what_others_have_written_beside_it_stays(place: Place) -> None:
    note = {"example.com/note": "theirs"}
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))
        place.patch("ConfigMap", "pannier-config", metadata={"annotations": note})
        judge(place, "attachments")

        place.patch("Usecase", "attachments", spec={"suspend": "All"})

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("False", "Suspended"))
        assert place.condition("Usecase", "attachments", "Reviewed") == ("True", "ByThem")
        kept = place.found("ConfigMap")["pannier-config"]["metadata"]["annotations"]
        assert note.items() <= kept.items()


def judge(place: Place, name: str) -> None:
    """Another controller gives a Usecase a condition of its own."""
    given = placed(manifest("Usecase", name, {}), place.namespace) | {
        "status": {"conditions": [THEIRS]}
    }
    path = f"/apis/pannier.dev/v1alpha1/namespaces/{place.namespace}/usecases/{name}/status"
    with place.plane.api() as api:
        del given["spec"], given["metadata"]["creationTimestamp"]
        kind = "application/apply-patch+yaml"
        answer = api.request("PATCH", f"{path}?fieldManager=theirs", given, kind)
    assert answer.status == 200, answer.message


def test_one_change_among_many_writes_what_is_about_it_and_nothing_else(
    place: Place, proxy: Proxy, way: Path
) -> None:
    place.apply(bucket(), *(usecase(f"use-{number:02}") for number in range(20)))
    with working(way, namespaces=(place.namespace,)) as operator:
        eventually(lambda: all(each["status"] for each in place.found("Usecase").values()))
        eventually(lambda: place.is_ready("Bucket", "main"))
        eventually(lambda: operator.is_idle)
        proxy.clear()

        place.patch("Usecase", "use-07", spec={"suspend": "All"})

        eventually(lambda: place.is_ready("Usecase", "use-07") == ("False", "Suspended"))
        eventually(lambda: operator.is_idle)
    written = Counter(
        (asked.resource, asked.name)
        for asked in proxy.requests
        if asked.verb not in {"get", "list", "watch"}
    )
    assert written == {
        ("configmaps", "pannier-config"): 1,
        ("usecases/status", "use-07"): 1,
        ("events", ""): 1,
    }
