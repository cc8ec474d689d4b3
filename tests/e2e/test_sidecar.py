"""Applications on a real node, with the gateways that injection gives them."""

from datetime import timedelta
from pathlib import Path

import pytest
from objectstore_client import TimeToLive

from support.charts import NAMESPACE, RELEASE
from support.cluster import ControlPlane
from support.operators import eventually
from support.pods import (
    CONNECT,
    INJECTED,
    PATIENCE,
    READ,
    RESTRICTED,
    STORE,
    Json,
    Pod,
    Shop,
    pod_spec,
)
from support.prometheus import running_prometheus

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

DEFAULT = f"""{CONNECT}
attachments.put(b"x", "now")
print(attachments.get("now").metadata.expiration_policy)
"""
OPERATOR = f"deployment/{RELEASE}-operator"


def keeping(hours: int) -> dict[str, object]:
    return {"expiration": {"policy": "TimeToLive", "after": f"{hours}h"}}


def kept(hours: int) -> str:
    """What the program prints then."""
    return f"{TimeToLive(timedelta(hours=hours))}\n"


def test_an_unmodified_program_stores_and_reads_at_localhost(pod: Pod) -> None:
    assert pod.run(STORE) == "greeting\n"

    assert pod.run(READ) == "True\n"


def test_a_job_with_a_gateway_completes(shop: Shop) -> None:
    spec = pod_spec(command=["python", "-c", STORE + READ]) | {"restartPolicy": "Never"}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "nightly"}}
    shop.apply(job | {"spec": {"backoffLimit": 0, "template": {"spec": spec}}})

    shop.kubectl("wait", "--for=condition=Complete", "job/nightly", PATIENCE)
    printed = shop.kubectl("logs", "job/nightly", "--container=application")
    assert printed == "greeting\nTrue\n"


def test_prometheus_finds_and_scrapes_the_gateway(
    installed: ControlPlane, folder: Path, pod: Pod
) -> None:
    pod.run(STORE)
    here = f'namespace="{pod.shop.namespace}",pod="{pod.name}"'

    with running_prometheus(installed, folder / "prometheus") as prometheus:
        eventually(lambda: prometheus.values(f"up{{{here}}}") == [1], seconds=60)
        stored = f'pannier_requests_total{{{here},usecase="attachments",operation="put"}}'
        eventually(lambda: sum(prometheus.values(stored)) >= 1, seconds=60)


def test_a_running_gateway_obeys_a_patched_usecase(shop: Shop, pod: Pod) -> None:
    shop.patch("attachments", defaults=keeping(hours=2))

    eventually(lambda: pod.run(DEFAULT) == kept(hours=2), seconds=60)
    assert pod.restarts == 0


def test_a_pod_does_not_notice_that_the_operator_is_killed(
    installed: ControlPlane, shop: Shop, pod: Pod
) -> None:
    system = (f"--namespace={NAMESPACE}",)
    its_pod = "--selector=app.kubernetes.io/component=operator"
    installed.kubectl("scale", OPERATOR, "--replicas=0", *system)
    installed.kubectl("delete", "pod", its_pod, "--grace-period=0", "--force", *system)
    try:
        shop.patch("attachments", defaults=keeping(hours=3))

        assert pod.run(STORE + READ) == "greeting\nTrue\n"
        assert shop.start_pod("newcomer").run(STORE + READ) == "greeting\nTrue\n"
        assert pod.run(DEFAULT) != kept(hours=3)
    finally:
        installed.kubectl("scale", OPERATOR, "--replicas=1", *system)
    eventually(lambda: pod.run(DEFAULT) == kept(hours=3), seconds=60)
    assert pod.restarts == 0


def test_a_pod_may_be_older_than_the_first_configuration_of_its_namespace(
    installed: ControlPlane,
) -> None:
    shop = Shop(installed, installed.create_namespace(**RESTRICTED, **INJECTED))
    early = shop.make_pod("early")
    eventually(
        lambda: [waits(each) for each in early.status["initContainerStatuses"]] == [True], 60
    )

    shop.apply_example("quickstart.yaml")

    early.until_ready()
    assert early.run(STORE + READ) == "greeting\nTrue\n"
    assert early.restarts == 0


def waits(gateway: Json) -> bool:
    """Whether it runs, and those behind it do not yet."""
    return "running" in gateway["state"] and not gateway["started"]
