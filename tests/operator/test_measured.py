"""What a running operator tells Prometheus of its work, while it goes on and once it is done."""

import threading
from pathlib import Path

import pytest

from support.apiproxy import Hold, Pass, Proxy, Rule
from support.manifests import bucket, usecase
from support.operators import Place, Working, eventually, working

pytestmark = pytest.mark.cluster

HELD_SECONDS = 0.5
PROGRAMMING = "pannier_operator_programming_duration_seconds"


def test_work_is_timed_and_what_waits_for_it_grows_old(
    place: Place, other: Place, proxy: Proxy, way: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pannier_operator.reconcile.WORKERS", 1)
    over = threading.Event()
    with working(way, namespaces=(place.namespace, other.namespace)) as operator:
        eventually(lambda: operator.metric("pannier_operator_world_listed_timestamp_seconds"))
        eventually(lambda: operator.is_idle)
        held = proxy.on(Rule(Hold(over), verb="patch", resource="configmaps", times=1))
        place.apply(bucket(), usecase())
        eventually(lambda: held.matched == 1)
        other.apply(bucket(), usecase())

        eventually(lambda: oldest(operator) > HELD_SECONDS)
        assert operator.metric("pannier_operator_queue_depth") >= 1
        assert operator.metric("pannier_operator_reconciles_active") == 1

        over.set()
        eventually(lambda: other.is_ready("Usecase", "attachments") == ("True", "Ready"))
        eventually(lambda: operator.is_idle)
        assert oldest(operator) == 0
        assert_all_was_timed(operator)


def test_what_had_to_be_done_anew_is_timed_from_the_first_news_of_it(
    place: Place, proxy: Proxy, way: Path
) -> None:
    over = threading.Event()
    with working(way, namespaces=(place.namespace,)) as operator:
        place.apply(bucket())
        eventually(lambda: place.is_ready("Bucket", "main"))
        eventually(lambda: operator.is_idle)
        slow = Rule(Pass(seconds=HELD_SECONDS), verb="patch", resource="configmaps", times=1)
        proxy.on(slow)
        held = proxy.on(Rule(Hold(over), verb="patch", resource="usecases/status", times=1))
        place.apply(usecase())
        eventually(lambda: held.matched == 1)

        place.patch("Usecase", "attachments", spec={"suspend": "All"})
        over.set()

        eventually(lambda: operator.metric(f"{PROGRAMMING}_count") == 1)
        assert operator.metric("pannier_operator_reconciles_total", result="failed") == 1
        assert operator.metric(f"{PROGRAMMING}_sum") > HELD_SECONDS


def oldest(operator: Working) -> float:
    return operator.metric("pannier_operator_queue_oldest_seconds")


def assert_all_was_timed(operator: Working) -> None:
    results = ("unchanged", "changed", "failed")
    done = [operator.metric("pannier_operator_reconciles_total", result=each) for each in results]
    assert operator.metric("pannier_operator_reconcile_duration_seconds_count") == sum(done)
    assert operator.metric("pannier_operator_reconcile_duration_seconds_sum") > HELD_SECONDS
    timed, applied = "pannier_operator_api_request_duration_seconds", {"verb": "apply"}
    codes = ("200", "201")  # of two ConfigMaps that are new, and of four statuses
    asked = [
        operator.metric("pannier_operator_api_requests_total", code=c, **applied) for c in codes
    ]
    assert operator.metric(f"{timed}_count", **applied) == sum(asked) >= 6
    assert operator.metric(f"{timed}_sum", **applied) > HELD_SECONDS
