"""Who of several does the work."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pannier_operator import lease as module
from pannier_operator.lease import Candidate, LeaseLost, LeaseName, may_take, taken
from support.apiproxy import Pass, Proxy, Refuse, Rule, Stall
from support.manifests import bucket, usecase
from support.operators import Json, Place, eventually, process, reached, working

NAME = LeaseName("default", "operator")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def held_by(holder: str, now: datetime = NOW) -> dict[str, object]:
    return taken({}, NAME, holder, now)


@pytest.mark.parametrize(
    ("lease", "unchanged", "may"),
    [
        ({}, 0.0, True),
        (held_by("me"), 0.0, True),
        (held_by("other"), 14.9, False),
        (held_by("other"), 15.0, True),
        (held_by(""), 0.0, True),
        ({"spec": {"holderIdentity": "other", "leaseDurationSeconds": 60}}, 59.0, False),
    ],
)
def test_a_lease_may_be_taken_when_nobody_keeps_it(
    lease: dict[str, object], unchanged: float, may: bool
) -> None:
    assert may_take(lease, "me", unchanged) is may


@pytest.mark.parametrize("year", [1999, 2099])
@pytest.mark.parametrize(("unchanged", "may"), [(14.9, False), (15.0, True)])
def test_a_clock_that_is_wrong_makes_no_difference(year: int, unchanged: float, may: bool) -> None:
    theirs = held_by("other", NOW.replace(year=year))

    assert may_take(theirs, "me", unchanged) is may


def test_renewing_keeps_the_time_of_taking_and_taking_over_counts() -> None:
    mine = taken(held_by("other"), NAME, "me", NOW)
    again = taken(mine, NAME, "me", NOW.replace(hour=13))

    assert [each["spec"]["leaseTransitions"] for each in (mine, again)] == [2, 2]
    assert again["spec"]["acquireTime"] == mine["spec"]["acquireTime"]
    assert again["spec"]["renewTime"] > mine["spec"]["renewTime"]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of a second, so that tests need not wait."""
    monkeypatch.setattr(module, "LASTS_SECONDS", 2)
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(module, "GIVE_UP_SECONDS", 1.0)


@pytest.mark.cluster
@pytest.mark.usefixtures("hasty")
async def test_the_next_leads_as_soon_as_the_first_is_done(place: Place) -> None:
    name = LeaseName(place.namespace, "operator")
    async with reached(place.plane.kubeconfig) as cluster:
        first, second = (Candidate(cluster, name, each) for each in ("first", "second"))
        order: list[str] = []

        async def follow() -> None:
            async with second.leading():
                order.append("second")

        async with first.leading():
            waiting = asyncio.ensure_future(follow())
            await asyncio.sleep(0.5)  # some rounds of asking for it
            order.append("first")
        await asyncio.wait_for(waiting, 1.5)  # sooner than it would be over

    assert order == ["first", "second"]


def is_taken(spec: Json) -> bool:
    return bool(spec["holderIdentity"] == "impatient")


def is_renewed(spec: Json) -> bool:
    return bool(spec["renewTime"] > spec["acquireTime"])


@pytest.mark.cluster
@pytest.mark.parametrize(("verb", "done"), [("create", is_taken), ("patch", is_renewed)])
async def test_who_is_told_to_stop_while_it_asks_for_the_lease_gives_it_back(
    place: Place, proxy: Proxy, way: Path, verb: str, done: Callable[[Json], bool]
) -> None:
    proxy.on(Rule(Pass(late=1.0), verb=verb, resource="leases", times=1))
    name = LeaseName(place.namespace, "operator")

    async with reached(way) as cluster:
        leading = asyncio.ensure_future(lead_for_ever(Candidate(cluster, name, "impatient")))
        await asyncio.to_thread(eventually, lambda: done(place.found("Lease")["operator"]["spec"]))
        leading.cancel()
        await asyncio.wait([leading])

    assert leading.cancelled()
    assert place.found("Lease")["operator"]["spec"]["holderIdentity"] == ""


async def lead_for_ever(candidate: Candidate) -> None:
    async with candidate.leading():
        await asyncio.Event().wait()


@pytest.mark.cluster
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("fault", [Refuse(503), Refuse(409), Stall()])
async def test_who_cannot_renew_stops_before_another_may_begin(
    place: Place, proxy: Proxy, way: Path, fault: Refuse | Stall
) -> None:
    name = LeaseName(place.namespace, "operator")
    loop = asyncio.get_running_loop()

    async with reached(way) as cluster:
        with pytest.RaisesGroup(LeaseLost):
            async with Candidate(cluster, name, "cut-off").leading():
                proxy.on(Rule(fault, resource="leases"))
                broken_at = loop.time()
                await asyncio.sleep(30)

    assert loop.time() - broken_at < 4.0


@pytest.mark.cluster
@pytest.mark.usefixtures("hasty")
async def test_who_finds_another_on_its_lease_stops(place: Place) -> None:
    name = LeaseName(place.namespace, "operator")
    async with reached(place.plane.kubeconfig) as cluster:
        with pytest.RaisesGroup(LeaseLost):
            async with Candidate(cluster, name, "first").leading():
                place.patch("Lease", "operator", spec={"holderIdentity": "usurper"})
                await asyncio.sleep(30)

    assert place.found("Lease")["operator"]["spec"]["holderIdentity"] == "usurper"


@pytest.mark.cluster
def test_an_operator_that_ends_while_it_renews_its_lease_gives_it_back(
    place: Place, proxy: Proxy, way: Path
) -> None:
    lease = LeaseName(place.namespace, "operator")
    late = proxy.on(Rule(Pass(late=1.0), verb="patch", resource="leases", times=1))

    with working(way, namespaces=(place.namespace,), lease=lease):
        eventually(lambda: late.matched)

    assert place.found("Lease")["operator"]["spec"]["holderIdentity"] == ""


@pytest.mark.cluster
def test_a_standby_takes_over_from_a_killed_operator(place: Place, tmp_path: Path) -> None:
    lease = LeaseName(place.namespace, "operator")
    arguments = (f"--namespace={place.namespace}", f"--lease={lease}")
    kubeconfig = place.plane.kubeconfig
    with process(kubeconfig, tmp_path / "log", *arguments) as first:
        eventually(lambda: place.found("Lease")["operator"], 30)
        with working(kubeconfig, namespaces=(place.namespace,), lease=lease) as standby:
            eventually(lambda: standby.asked("/livez")[0] == 200)
            assert standby.metric("pannier_operator_leader") == 0
            first.kill()

            place.apply(bucket(), usecase())

            eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"), 40)
            assert standby.metric("pannier_operator_leader") == 1
