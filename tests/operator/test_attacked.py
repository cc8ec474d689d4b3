"""Whatever others do to its resources, the operator ends in the right state, and comes to rest."""

import copy
from functools import partial
from pathlib import Path

import pytest
import yaml

from pannier_gateway.config import crds
from support.apiproxy import Pass, Proxy, Rule, running_proxy
from support.cluster import ADMIN, ControlPlane, running_control_plane
from support.manifests import bucket, placed, usecase
from support.operators import PATHS, Json, Place, Working, eventually, working

pytestmark = pytest.mark.cluster

MERGE = "application/merge-patch+json"
READY = ("True", "Ready")


def rewrite_status(place: Place, name: str, status: Json) -> None:
    """As somebody else who may write statuses."""
    path = f"{PATHS['Usecase'].format(place.namespace)}/{name}/status"
    with place.plane.api() as api:
        answer = api.request("PATCH", path, {"status": status}, MERGE)
    assert answer.status == 200, answer.message


def condition(of: str, status: str, reason: str) -> Json:
    began = "2001-01-01T00:00:00Z"
    return {
        "type": of,
        "status": status,
        "reason": reason,
        "message": "",
        "lastTransitionTime": began,
    }


def rests(proxy: Proxy, operator: Working) -> None:
    """Fails unless it looks at everything several times over and writes nothing."""
    eventually(lambda: operator.metric("pannier_operator_queue_depth") == 0)
    looked, written = proxy.count("list", "buckets"), proxy.count("patch")
    proxy.wait_until(lambda seen: seen.count("list", "buckets") >= looked + 6, 30)
    assert proxy.count("patch") == written


def test_a_status_that_somebody_else_wrote_is_put_right_and_their_own_stays(
    place: Place, proxy: Proxy, way: Path
) -> None:
    theirs = condition("Mirrored", "True", "Copied")
    wrong = [condition("Ready", "False", "Broken"), theirs]
    with working(way, namespaces=(place.namespace,), resync=0.2) as operator:
        place.apply(bucket(), usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments") == READY)

        told = {"name": "other", "bucket": "other", "compression": "None", "expiration": "None"}
        rewrite_status(place, "attachments", {"conditions": wrong, "effective": told})

        eventually(lambda: place.is_ready("Usecase", "attachments") == READY)
        assert place.condition("Usecase", "attachments", "Mirrored") == ("True", "Copied")
        status = place.found("Usecase")["attachments"]["status"]
        assert status["effective"]["name"] == "attachments"
        rests(proxy, operator)


def test_what_somebody_else_says_of_a_usecase_that_is_not_served_is_taken_back(
    place: Place, proxy: Proxy, way: Path
) -> None:
    with working(way, namespaces=(place.namespace,), resync=0.2) as operator:
        place.apply(usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("False", "BucketNotFound"))

        rewrite_status(place, "attachments", {"configHash": "f" * 64})

        eventually(lambda: "configHash" not in place.found("Usecase")["attachments"]["status"])
        rests(proxy, operator)


def test_a_usecase_that_never_stops_changing_is_looked_at_now_and_then(
    place: Place, proxy: Proxy, way: Path
) -> None:
    with working(way, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase(), usecase("calm"))
        eventually(lambda: place.is_ready("Usecase", "attachments") == READY)
        looked = proxy.count("list", "usecases")

        for number in range(300):
            place.patch(
                "Usecase", "attachments", spec={"limits": {"requestsPerSecond": number + 1}}
            )
        place.patch("Usecase", "calm", spec={"suspend": "All"})

        eventually(lambda: place.config.usecases["calm"].suspend == "All")
        eventually(lambda: place.config.usecases["attachments"].limits.requests_per_second == 300)
        assert proxy.count("list", "usecases") - looked < 150


ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
GARBAGE = {  # by what a status may be that was written before there was a schema
    "a-text": "x",
    "a-list": [1],
    "no-list": {"conditions": "x"},
    "no-types": {"conditions": [{}]},
    "no-times": {"conditions": [{"type": "Ready", "status": "True"}]},
    "no-texts": {"configHash": 5, "effective": "x"},
}


@pytest.mark.timeout(180)
def test_what_is_older_than_its_schema_is_made_good_and_disturbs_nobody(tmp_path: Path) -> None:
    with running_control_plane(tmp_path / "cluster") as plane:
        plane.apply(*map(without_schema, definitions()))
        place = Place(plane, plane.create_namespace())
        strange = [usecase(name) | {"status": status} for name, status in GARBAGE.items()]
        hopeless = [each("no-spec") | {"spec": [1]} for each in (usecase, bucket)]
        eventually(lambda: place.found("Usecase") == place.found("Bucket") == {}, 30)
        place.apply(*strange, *hopeless, bucket(), usecase())
        plane.apply(*definitions())
        eventually(lambda: "selectableFields" in plane.kubectl("get", "crds", "-o", "yaml"))
        eventually(lambda: place.found("Usecase"), 30)  # once they are served anew

        with working(plane.kubeconfig, resync=0.3) as operator:
            for name in (*GARBAGE, "attachments"):
                eventually(partial(is_told, place, name), 40)
                assert place.is_ready("Usecase", name) == READY
            assert place.config.usecases.keys() == {*GARBAGE, "attachments"}
            told = [("Warning", "InvalidSpec", f"{kind}/no-spec") for kind in ("Bucket", "Usecase")]
            eventually(lambda: [each for each in place.events if "InvalidSpec" in each] == told)
            looked = {"result": "unchanged"}
            eventually(lambda: operator.metric("pannier_operator_reconciles_total", **looked) > 3)
            assert [each for each in place.events if "InvalidSpec" in each] == told
            refused = {"ready": "False", "reason": "InvalidSpec"}
            assert operator.metric("pannier_operator_usecases", **refused) == 1


def is_told(place: Place, name: str) -> bool:
    return "observedGeneration" in place.found("Usecase")[name]["status"]


def definitions() -> list[Json]:
    """Our CRDs."""
    return list(yaml.safe_load_all(crds.FILE.read_text()))


def without_schema(definition: Json) -> Json:
    """One that takes anything, a status too."""
    loose = copy.deepcopy(definition)
    (version,) = loose["spec"]["versions"]
    kept = {each: version[each] for each in ("name", "served", "storage")}
    loose["spec"]["versions"] = [kept | {"schema": {"openAPIV3Schema": ANYTHING}}]
    return loose


def test_a_name_of_letters_that_yaml_has_no_place_for_is_told_like_any_other(place: Place) -> None:
    name = "\U0001f4be\x7f\u2028"
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        with place.plane.api() as api:  # kubectl cannot write it either
            sent = placed(usecase("odd", bucketRef={"name": name}), place.namespace)
            answer = api.request("POST", PATHS["Usecase"].format(place.namespace), sent)
        assert answer.status == 201, answer.message

        eventually(lambda: place.is_ready("Usecase", "odd") == ("False", "BucketNotFound"))
    assert f"there is no Bucket {name} in" in place.message("Usecase", "odd")


def test_notes_on_a_usecase_are_no_cause_to_write(place: Place, proxy: Proxy, way: Path) -> None:
    with working(way, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments") == READY)
        eventually(lambda: place.condition("Bucket", "main", "InUse"))
        written = proxy.count("patch")

        for number in range(50):
            notes = {"annotations": {"example.com/at": str(number)}, "labels": {"x": str(number)}}
            place.patch("Usecase", "attachments", metadata=notes)
        place.patch("Usecase", "attachments", spec={"suspend": "All"})

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("False", "Suspended"))
        assert proxy.count("patch") == written + 2


def test_a_namespace_that_goes_while_it_is_written_to_goes(controlled_plane: ControlPlane) -> None:
    place = Place(controlled_plane, controlled_plane.create_namespace())
    path = f"/api/v1/namespaces/{place.namespace}"
    with running_proxy(controlled_plane) as proxy:
        way = proxy.kubeconfig(controlled_plane.tokens[ADMIN])
        slow = proxy.on(Rule(Pass(seconds=0.3), verb="patch", resource="usecases/status"))
        with working(way, namespaces=(place.namespace,)) as operator:
            place.apply(bucket(), *(usecase(f"use-{number}") for number in range(30)))
            eventually(lambda: slow.matched > 6)

            place.plane.kubectl("delete", "namespace", place.namespace, "--wait=false")

            with place.plane.api() as api:
                eventually(lambda: api.request("GET", path).status == 404, 40)
            eventually(lambda: operator.metric("pannier_operator_queue_depth") == 0)
            assert operator.metric("pannier_operator_reconciles_total", result="failed") < 5


def test_a_config_map_that_was_made_immutable_is_told_and_its_end_awaited(place: Place) -> None:
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments") == READY)
        place.patch("ConfigMap", "pannier-config", immutable=True)

        place.patch("Usecase", "attachments", spec={"limits": {"requestsPerSecond": 7}})

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("False", "WriteFailed"))
        assert "immutable" in place.message("Usecase", "attachments")
        place.delete("ConfigMap", "pannier-config")
        eventually(lambda: place.is_ready("Usecase", "attachments") == READY)
