"""Releases come and go; pods that run already do not notice."""

import json
from collections.abc import Iterator

import pytest

from support import release
from support.charts import NAMESPACE
from support.cluster import ControlPlane
from support.operators import eventually
from support.pods import READ, STORE, Json, Pod, Shop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture
def uninstalled(installed: ControlPlane) -> Iterator[ControlPlane]:
    """A cluster from which the release is gone, until the test is over."""
    release.uninstall(installed)
    yield installed
    if "pannier-operator" not in installed.kubectl("get", "deployments", "--all-namespaces"):
        release.install(installed)


def gateway_of(pod: Pod) -> Json:
    """The container that injection made; raises LookupError where there is none."""
    found = json.loads(pod.shop.kubectl("get", "pod", pod.name, "--output=json"))
    containers = {each["name"]: each for each in found["spec"].get("initContainers", ())}
    return dict(containers["pannier-gateway"])


def injectors(plane: ControlPlane) -> list[str]:
    its_pods = ("pods", "--selector=app.kubernetes.io/component=injector", "--output=name")
    return plane.kubectl("get", *its_pods, f"--namespace={NAMESPACE}").split()


def test_an_upgrade_leaves_pods_as_they_are_and_reaches_new_ones(
    installed: ControlPlane, shop: Shop, pod: Pod
) -> None:
    pod.run(STORE)

    release.upgrade(installed, "--set=sidecar.memory=300Mi")
    eventually(lambda: len(injectors(installed)) == 2, seconds=60)  # the old ones linger

    assert pod.run(READ) == "True\n"
    assert pod.restarts == 0
    later = shop.start_pod("later")
    assert gateway_of(later)["resources"]["limits"]["memory"] == "300Mi"


def test_nothing_keeps_buckets_from_being_deleted_without_the_release(
    uninstalled: ControlPlane, shop: Shop
) -> None:
    finalizers = "--output=jsonpath={.items[*].metadata.finalizers}"

    assert shop.kubectl("get", "buckets", finalizers) == ""
    left = ("jobs,serviceaccounts", "--selector=app.kubernetes.io/component=unprotect")
    assert uninstalled.kubectl("get", *left, f"--namespace={NAMESPACE}", "--output=name") == ""


def test_pods_go_on_without_the_release_and_obey_the_next_one(
    uninstalled: ControlPlane, shop: Shop, pod: Pod
) -> None:
    assert pod.run(STORE + READ) == "greeting\nTrue\n"
    assert shop.kubectl("get", "configmap", "pannier-config", "--output=name")
    with pytest.raises(LookupError):
        gateway_of(shop.start_pod("alone"))

    release.install(uninstalled)
    shop.patch("attachments", suspend="Writes")

    eventually(lambda: "503" in pod.refused(STORE), seconds=60)
    assert pod.run(READ) == "True\n"
    assert pod.restarts == 0
    shop.patch("attachments", suspend="None")
