"""A control plane on which things go wrong: gateways keep what is good, the operator recovers."""

import time
from pathlib import Path

import pytest

from pannier_operator.protection import FINALIZER
from pannier_operator.reconcile import IN_TURN
from support.apiproxy import Cut, Lose, Pass, Proxy, Refuse, Rule, Stall
from support.cluster import ControlPlane, running_control_plane
from support.manifests import bucket, usecase
from support.operators import Json, Place, Working, eventually, logged, process, working

pytestmark = pytest.mark.cluster

KINDS = ("Usecase", "Bucket")
WRITES = {"create", "update", "patch", "delete"}


def writes(proxy: Proxy) -> int:
    return sum(asked.verb in WRITES for asked in proxy.requests)


def settled(place: Place, way: Path) -> None:
    """What is there is programmed, by an operator that has ended by now."""
    with working(way, namespaces=(place.namespace,)):
        eventually(lambda: all_ready(place), 30)


def all_ready(place: Place) -> bool:
    statuses = [each.get("status", {}) for kind in KINDS for each in place.found(kind).values()]
    ready = [
        each["status"]
        for status in statuses
        for each in status.get("conditions", ())
        if each["type"] == "Ready"
    ]
    return ready == ["True"] * len(statuses)


def many(count: int) -> list[Json]:
    return [usecase(f"use-{number:04}") for number in range(count)]


@pytest.mark.parametrize(
    "fault", [Refuse(500), Refuse(410), Lose(arrived=False), Cut(events=0, clean=False)]
)
def test_half_a_list_is_never_published(
    place: Place,
    proxy: Proxy,
    way: Path,
    fault: Refuse | Lose | Cut,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pannier_operator.cluster.PAGE", 5)
    place.apply(bucket(), *many(6))
    settled(place, way)
    before = place.config
    proxy.clear()
    broken = proxy.on(Rule(fault, verb="list", resource="usecases", continues=True, times=2))

    with working(way, namespaces=(place.namespace,)) as operator:
        eventually(lambda: broken.matched >= 3, 30)
        eventually(lambda: operator.metric("pannier_operator_world_listed_timestamp_seconds"))
        eventually(lambda: at_rest(operator))

    assert writes(proxy) == 0
    assert place.config == before


def at_rest(operator: Working) -> bool:
    done = sum(
        operator.metric("pannier_operator_reconciles_total", result=result)
        for result in ("unchanged", "changed")
    )
    return done > 0 and operator.is_idle


def test_what_happens_while_everything_is_listed_is_not_missed(
    place: Place, proxy: Proxy, way: Path
) -> None:
    slow = proxy.on(Rule(Pass(seconds=4), verb="list", resource="configmaps", times=2))
    place.apply(bucket(), usecase())
    with working(way, namespaces=(place.namespace,)):
        eventually(lambda: slow.matched == 2)  # of both: the operator's own, and its watch's
        place.apply(usecase("late"))
        place.delete("Usecase", "attachments")

        eventually(lambda: place.config.usecases.keys() == {"late"})


@pytest.mark.parametrize("resource", ["usecases", "buckets", "configmaps"])
def test_a_list_that_fails_means_what_was_last_good(
    place: Place, proxy: Proxy, way: Path, resource: str
) -> None:
    place.apply(bucket(), usecase())
    settled(place, way)
    before = place.config
    proxy.clear()
    broken = proxy.on(Rule(Refuse(503), verb="list", resource=resource))

    with working(way, namespaces=(place.namespace,)):
        eventually(lambda: broken.matched >= 3, 30)

    assert writes(proxy) == 0
    assert place.config == before


@pytest.mark.parametrize("status", [403, 429, 500])
def test_a_broken_watch_heals(place: Place, proxy: Proxy, way: Path, status: int) -> None:
    proxy.on(Rule(Refuse(status), verb="watch", times=3))
    with working(way, namespaces=(place.namespace,)):
        proxy.wait_until(lambda seen: seen.count("watch") >= 6, 30)

        place.apply(bucket(), usecase())

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"), 30)


def test_a_watch_that_expires_in_its_course_heals(place: Place, proxy: Proxy, way: Path) -> None:
    proxy.on(Rule(Cut(events=0, error=410), verb="watch", times=3))
    with working(way, namespaces=(place.namespace,)):
        proxy.wait_until(lambda seen: seen.count("watch") >= 6, 30)

        place.apply(bucket(), usecase())

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"), 30)


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_watch_that_is_refused_for_good_ends_the_process(
    place: Place, proxy: Proxy, way: Path, tmp_path: Path, status: int
) -> None:
    proxy.on(Rule(Pass(seconds=60), verb="watch"))  # which the end of the process interrupts
    proxy.on(Rule(Refuse(status), verb="watch", resource="usecases"))
    log = tmp_path / "log"

    with process(way, log, f"--namespace={place.namespace}") as operator:
        assert operator.wait(60) == 1

    assert any(line["event"] == "work broke off" for line in logged(log))


@pytest.mark.timeout(180)
def test_a_kind_that_is_deleted_ends_the_process_and_the_next_one_lets_buckets_go(
    tmp_path: Path,
) -> None:
    with running_control_plane(tmp_path / "cluster") as plane:
        plane.install_crds()
        place = Place(plane, plane.create_namespace())
        place.apply(bucket(), usecase())
        with process(plane.kubeconfig, tmp_path / "log") as operator:
            eventually(lambda: place.is_ready("Usecase", "attachments"), 30)
            plane.kubectl("delete", "crd", "usecases.pannier.dev")
            assert operator.wait(60) == 1
        assert any(line["event"] == "work broke off" for line in logged(tmp_path / "log"))
        # as if it had ended before it heard of the last Usecase
        place.patch("Bucket", "main", metadata={"finalizers": [FINALIZER]})
        plane.kubectl("delete", "crd", "buckets.pannier.dev", "--wait=false")
        eventually(lambda: place.found("Bucket")["main"]["metadata"]["deletionTimestamp"])

        with process(plane.kubeconfig, tmp_path / "log"):
            plane.kubectl("wait", "--for=delete", "crd/buckets.pannier.dev", "--timeout=30s")


def test_a_watch_that_says_nothing_is_made_up_for_by_looking_again(
    place: Place, proxy: Proxy, way: Path
) -> None:
    proxy.on(Rule(Stall(), verb="watch"))
    with working(way, namespaces=(place.namespace,), resync=1.0):
        proxy.wait_until(lambda seen: seen.count("watch") >= 3, 30)

        place.apply(bucket(), usecase())

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"), 30)


def test_a_watch_that_says_nothing_is_begun_anew(
    place: Place, proxy: Proxy, way: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pannier_operator.handlers.SILENCE_SECONDS", 1)
    stalled = proxy.on(Rule(Stall(), verb="watch", times=3))
    with working(way, namespaces=(place.namespace,)):
        eventually(lambda: stalled.matched >= 3, 30)
        place.apply(bucket(), usecase())

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"), 30)


@pytest.mark.parametrize("fault", [Refuse(503), Refuse(429, retry_after=1)])
def test_an_outage_ends_nothing_and_is_not_stormed(
    place: Place, proxy: Proxy, way: Path, fault: Refuse
) -> None:
    with working(way, namespaces=(place.namespace,), resync=4.0) as operator:
        place.apply(bucket(), usecase())
        eventually(lambda: all_ready(place))
        proxy.clear()
        proxy.on(Rule(fault))
        proxy.hang_up()
        began = time.monotonic()

        proxy.wait_until(lambda seen: seen.count("list") >= 3, 40)

        rate = len(proxy.requests) / (time.monotonic() - began)
        assert rate < 20
        assert writes(proxy) == 0
        assert operator.asked("/livez")[0] == 200
        proxy.clear()
        place.patch("Usecase", "attachments", spec={"suspend": "All"})
        eventually(lambda: place.config.usecases["attachments"].suspend == "All", 40)
        assert not operator.ended.is_set()


def test_another_broken_api_group_is_no_concern(place: Place, way: Path) -> None:
    broken = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.metrics.k8s.io"},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"namespace": place.namespace, "name": "nobody"},
            "insecureSkipTLSVerify": True,
        },
    }
    place.plane.apply(broken)
    try:
        with working(way, namespaces=(place.namespace,)):
            place.apply(bucket(), usecase())

            eventually(lambda: all_ready(place))
    finally:
        place.plane.kubectl("delete", "apiservice", "v1beta1.metrics.k8s.io")


def test_two_at_once_agree_and_come_to_rest(place: Place, proxy: Proxy, way: Path) -> None:
    here = {"namespaces": (place.namespace,), "resync": 0.3}
    with working(way, **here) as one, working(way, **here) as two:
        place.apply(bucket(), *many(20))
        eventually(lambda: len(place.found("Usecase")) == 20 and all_ready(place), 30)
        eventually(lambda: at_rest(one) and at_rest(two))
        rounds = proxy.count("list", "buckets")
        before, generation = writes(proxy), place.config.generation

        proxy.wait_until(lambda seen: seen.count("list", "buckets") >= rounds + 10, 30)

        assert (writes(proxy), place.config.generation) == (before, generation)


def test_killed_between_config_map_and_status_the_next_one_finishes(
    place: Place, proxy: Proxy, way: Path, tmp_path: Path
) -> None:
    stuck = proxy.on(Rule(Pass(seconds=60), verb="patch", resource="usecases/status"))
    place.apply(bucket(), usecase())
    with process(way, tmp_path / "log", f"--namespace={place.namespace}") as operator:
        eventually(lambda: stuck.matched > 0, 40)
        operator.kill()
        operator.wait(10)
    before = place.config
    assert "status" not in place.found("Usecase")["attachments"]
    proxy.clear()

    with working(way, namespaces=(place.namespace,)):
        eventually(lambda: all_ready(place))

    assert place.config == before
    assert proxy.count("patch", "configmaps") == 0


def test_a_write_whose_answer_is_lost_is_not_made_twice(
    place: Place, proxy: Proxy, way: Path
) -> None:
    lost = proxy.on(Rule(Lose(arrived=True), verb="patch", resource="configmaps", times=1))
    place.apply(bucket(), usecase())

    with working(way, namespaces=(place.namespace,)):
        eventually(lambda: all_ready(place), 30)

    assert lost.matched == 1
    assert place.config.generation == 1


def test_a_config_map_that_cannot_be_written_is_said(place: Place, proxy: Proxy, way: Path) -> None:
    forbidden = proxy.on(Rule(Refuse(403), verb="patch", resource="configmaps"))
    with working(way, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("False", "WriteFailed"))
        assert "403" in place.message("Usecase", "attachments")
        eventually(lambda: forbidden.matched >= 2)

        proxy.clear()

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"), 30)


def test_a_bucket_that_cannot_be_protected_is_served_and_told_all_the_same(
    place: Place, proxy: Proxy, way: Path
) -> None:
    proxy.on(Rule(Refuse(403), verb="patch", resource="buckets"))
    with working(way, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())

        eventually(lambda: place.is_ready("Bucket", "main") == ("True", "NoClaim"))
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))


def test_one_that_cannot_be_written_does_not_keep_the_others(
    place: Place, proxy: Proxy, way: Path
) -> None:
    proxy.on(Rule(Refuse(422), verb="patch", resource="usecases/status", path="/media/"))
    with working(way, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase(), usecase("media"))

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))
    assert place.config.usecases.keys() == {"attachments", "media"}


def test_at_rest_nothing_is_written_however_often_it_looks(
    place: Place, proxy: Proxy, way: Path
) -> None:
    place.apply(bucket(), *many(20), usecase("lost", bucketRef={"name": "no"}))
    with working(way, namespaces=(place.namespace,), resync=0.2) as operator:
        eventually(lambda: place.is_ready("Usecase", "lost"))
        eventually(lambda: at_rest(operator))
        before = writes(proxy)
        looked = proxy.count("list", "usecases")

        proxy.wait_until(lambda seen: seen.count("list", "usecases") >= looked + 10, 30)

        assert writes(proxy) == before


def test_a_restart_with_nothing_to_do_writes_nothing(place: Place, proxy: Proxy, way: Path) -> None:
    place.apply(bucket(), *many(20))
    settled(place, way)
    proxy.clear()

    with working(way, namespaces=(place.namespace,)) as operator:
        looked = {"result": "unchanged"}
        eventually(lambda: operator.metric("pannier_operator_reconciles_total", **looked))
        eventually(lambda: at_rest(operator))

    assert writes(proxy) == 0


def test_a_start_lists_everything_once_when_its_watches_have_begun(
    place: Place, proxy: Proxy, way: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pannier_operator.survey.WATCH_SECONDS", 30)
    monkeypatch.setattr("pannier_operator.survey.RELIST_SECONDS", 0)
    place.apply(bucket(), *many(10))

    with working(way, namespaces=(place.namespace,)) as operator:
        eventually(lambda: all_ready(place) and at_rest(operator))

    # the operator's own, and that of its watch: what it writes itself is no news to it
    assert proxy.count("list", "usecases") == 2


def test_what_changes_does_not_wait_for_the_statuses_of_other_namespaces(
    control_plane: ControlPlane, proxy: Proxy, way: Path
) -> None:
    places = [Place(control_plane, control_plane.create_namespace()) for _ in range(5)]
    for each in places:
        each.apply(bucket(), usecase())
    stuck = proxy.on(Rule(Pass(seconds=60), verb="patch", resource="usecases/status"))
    namespaces = tuple(each.namespace for each in places)
    with working(way, namespaces=namespaces):
        eventually(lambda: stuck.matched == IN_TURN)  # and so are all that take turns

        for each in places[IN_TURN:]:
            each.patch("Usecase", "attachments", spec={"suspend": "All"})

        eventually(lambda: all(is_suspended(each) for each in places[IN_TURN:]))


def is_suspended(place: Place) -> bool:
    return place.config.usecases["attachments"].suspend == "All"


def test_a_token_that_has_run_out_is_read_again(place: Place, proxy: Proxy, way: Path) -> None:
    with working(way, namespaces=(place.namespace,), resync=0.3):
        place.apply(bucket(), usecase())
        eventually(lambda: all_ready(place))
        refused = proxy.on(Rule(Refuse(401), verb="list", times=2))
        eventually(lambda: refused.matched >= 3)

        place.patch("Usecase", "attachments", spec={"suspend": "All"})

        eventually(lambda: place.config.usecases["attachments"].suspend == "All", 30)


def test_a_watch_whose_token_has_run_out_goes_on_with_another(
    place: Place, proxy: Proxy, way: Path
) -> None:
    with working(way, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())
        eventually(lambda: all_ready(place))
        refused = proxy.on(Rule(Refuse(401), verb="watch", times=3))
        proxy.hang_up()
        eventually(lambda: refused.matched > 3, 30)

        place.patch("Usecase", "attachments", spec={"suspend": "All"})

        eventually(lambda: place.config.usecases["attachments"].suspend == "All", 30)


def test_a_spec_that_changes_meanwhile_is_never_overwritten_by_older_news(
    place: Place, proxy: Proxy, way: Path
) -> None:
    place.apply(bucket(), usecase())
    slow = proxy.on(Rule(Pass(seconds=1.0), verb="patch", resource="usecases/status", times=1))
    with working(way, namespaces=(place.namespace,)):
        eventually(lambda: slow.matched == 1)
        place.patch("Usecase", "attachments", spec={"suspend": "All"})

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("False", "Suspended"))
    assert place.found("Usecase")["attachments"]["status"]["observedGeneration"] == 2


def test_it_is_ailing_when_it_cannot_list_for_too_long(
    place: Place, proxy: Proxy, way: Path
) -> None:
    with working(way, namespaces=(place.namespace,), resync=0.5) as operator:
        eventually(lambda: operator.asked("/livez")[0] == 200)
        proxy.on(Rule(Refuse(403), verb="list"))

        eventually(lambda: operator.asked("/livez")[0] == 503, 20)
        assert "last listed" in operator.asked("/livez")[1]
        proxy.clear()
        eventually(lambda: operator.asked("/livez")[0] == 200, 40)
