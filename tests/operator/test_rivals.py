"""Two operators in one place, one of them late: what it writes never overtakes newer news."""

import threading
from pathlib import Path

import pytest

from pannier_gateway.config import model
from support.apiproxy import Hold, Proxy, Rule
from support.manifests import bucket, usecase
from support.operators import Json, Place, eventually, working

pytestmark = pytest.mark.cluster

SUSPENDED = ("None", "Writes", "All")  # in this order


@pytest.mark.parametrize("held", ["usecases/status", "configmaps"])
def test_what_comes_late_takes_nobody_back(
    place: Place, proxy: Proxy, way: Path, held: str
) -> None:
    here = {"namespaces": (place.namespace,)}
    over = threading.Event()
    with working(way, **here) as late:
        place.apply(bucket(), usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))
        eventually(lambda: late.is_idle)
        before = versions(place)
        stuck = proxy.on(Rule(Hold(over), verb="patch", resource=held, times=1))
        suspend(place, "Writes")
        eventually(lambda: stuck.matched == 1)
        suspend(place, "All")
        with working(place.plane.kubeconfig, **here) as prompt:
            eventually(lambda: told(place.found("Usecase")["attachments"]) == 3)
            over.set()
            eventually(lambda: late.is_idle and prompt.is_idle)

    said = [told(each) for each in place.history("Usecase", "attachments", before["Usecase"])]
    obeyed = [
        SUSPENDED.index(obeys(each))
        for each in place.history("ConfigMap", "pannier-config", before["ConfigMap"])
    ]
    assert (said[-1], obeyed[-1]) == (3, 2)
    assert (said, obeyed) == (sorted(said), sorted(obeyed))


def suspend(place: Place, what: str) -> None:
    place.patch("Usecase", "attachments", spec={"suspend": what})


def versions(place: Place) -> dict[str, str]:
    """The resourceVersion of each kind's only object."""
    names = {"Usecase": "attachments", "ConfigMap": "pannier-config"}
    found = {kind: place.found(kind)[name] for kind, name in names.items()}
    return {kind: each["metadata"]["resourceVersion"] for kind, each in found.items()}


def told(usecase: Json) -> int:
    """Of which generation its status speaks."""
    return int(usecase["status"]["observedGeneration"])


def obeys(config_map: Json) -> str:
    """What gateways do with the Usecase."""
    config = model.parse(config_map["data"]["config.json"].encode())
    return config.usecases["attachments"].suspend
