"""Pods made through a real API server: what comes of webhook and policy is what is made."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pannier_operator.injector import manifests, patch, policy
from pannier_operator.injector.options import NEITHER, OPTIONS, UNKNOWN
from pannier_operator.injector.serve import State
from support.charts import case, one, rendered
from support.cluster import Answer, ControlPlane, free_ports
from support.injection import (
    SECRET,
    SYSTEM,
    Cluster,
    Json,
    a_bucket,
    a_container,
    a_pod,
    applied,
    essence,
    foreign_webhook,
    grant,
    is_injected,
    namespace_of,
    place_at,
    running_injector,
    settings,
)

pytestmark = pytest.mark.slow
Injecting = Callable[..., AbstractAsyncContextManager[object]]

RBAC = "rbac.authorization.k8s.io/v1"
INJECT = "pannier.dev/inject"
OPTED_IN = {INJECT: "true"}
UNRESTRICTED = {"pod-security.kubernetes.io/enforce": "privileged"}
MARKED = {"pannier.dev/injected": "1"}
LONGEST_CLAIM = "a-" * 24 + "a"
BUCKETS = (
    a_bucket(
        "main",
        type="S3",
        s3={
            "bucket": "main",
            "region": "r",
            "auth": {"mode": "Secret", "secretRef": {"name": "keys"}},
        },
        tls={"secretRef": {"name": "mtls"}, "caConfigMapRef": {"name": "roots"}},
    ),
    a_bucket(
        "copy",
        type="Upstream",
        endpoints=["https://hub"],
        upstream={"tokenSecretRef": {"name": "keys"}},
        tls={"secretRef": {"name": "mtls"}},
    ),
    a_bucket("disk", type="Filesystem", filesystem={"claimName": "data.my-1"}),
    a_bucket("cache", type="Filesystem", filesystem={"claimName": LONGEST_CLAIM}),
    a_bucket("own", type="Filesystem"),
)
NATIVE = a_container("istio-proxy", restartPolicy="Always")


DEFAULT_PORT = [{"containerPort": 8650}]
PODS = {
    "plain": a_pod(),
    "with annotations": a_pod(
        annotations={
            "pannier.dev/port": "9000",
            "pannier.dev/admin-port": "9001",
            "pannier.dev/cpu": "250m",
            "pannier.dev/memory": "1Gi",
            "pannier.dev/memory-request": "1Gi",
            "pannier.dev/spool-size": "5Gi",
            "pannier.dev/drain": "0",
            "pannier.dev/log-level": "debug",
            "pannier.dev/buckets": "copy,own",
            "else.where/port": "x",
        }
    ),
    "with a mesh and init containers": a_pod(
        initContainers=[a_container("istio-init"), NATIVE, a_container("migrate")]
    ),
    "with all that could be in the way": a_pod(
        labels={"app": "a"},
        volumes=[{"name": "mine", "emptyDir": {}}],
        containers=[
            a_container("first", env=[{"name": "PANNIER_URL", "value": "http://elsewhere"}]),
            a_container("second", volumeMounts=[{"name": "mine", "mountPath": "/run/pannier/"}]),
            a_container("third", env=[{"name": "HOME", "value": "/"}]),
            a_container("linkerd-proxy", ports=[{"containerPort": 8650, "protocol": "UDP"}]),
        ],
    ),
    "with a native gateway of its own": a_pod(
        initContainers=[a_container("pannier-gateway", restartPolicy="Always"), NATIVE]
    ),
    "opted out": a_pod(labels={INJECT: "false"}),
    "with a gateway of its own": a_pod(containers=[a_container("pannier-gateway")]),
}
REFUSED = [
    *((a_pod(annotations={each.annotation: "?"}), each.complaint) for each in OPTIONS),
    (a_pod(annotations={"pannier.dev/port": "80"}), "a port from 1024 to 65535; it is '80'"),
    (a_pod(annotations={"pannier.dev/prot": "8080"}), f"{UNKNOWN}; pannier.dev/prot is none"),
    (a_pod(labels={INJECT: "yes"}), f"{NEITHER}; it is 'yes'"),
    (a_pod(annotations={"pannier.dev/port": "8651"}), patch.SAME_PORT),
    (a_pod(containers=[a_container("app", ports=DEFAULT_PORT)]), patch.CROWDED),
    (a_pod(hostNetwork=True), patch.ON_THE_NODE),
    (a_pod(annotations={"pannier.dev/memory": "64Mi"}), patch.TOO_LITTLE_MEMORY),
    (a_pod(annotations={"pannier.dev/memory-request": "1Gi"}), patch.TOO_LITTLE_MEMORY),
    (a_pod(volumes=[{"name": "pannier-data", "emptyDir": {}}]), patch.NAMED),
    (a_pod(volumes=[{"name": "pannier-claim-a", "emptyDir": {}}]), patch.NAMED),
]


@pytest.fixture(scope="module", autouse=True)
def _own_namespace(control_plane: ControlPlane) -> None:
    named = {"name": SECRET, "namespace": SYSTEM}
    control_plane.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": named},
    )


def with_buckets(cluster: Cluster) -> Cluster:
    for bucket in BUCKETS:
        cluster.add("/apis/pannier.dev/v1alpha1/buckets", bucket)
    return cluster


@asynccontextmanager
async def by_webhook(
    cluster: Cluster, *others: str, kubeconfig: Path | None = None, wait: bool = True
) -> AsyncIterator[State]:
    """Injection by a webhook, which works already unless nobody waits for it."""
    (port,) = free_ports(1)
    webhooks = manifests.webhook_configuration(place_at(port))
    who = kubeconfig or cluster.plane.kubeconfig
    given = settings(f"--listen=127.0.0.1:{port}", f"--kubeconfig={who}")
    async with (
        applied(cluster.plane, webhooks, only=[cluster.namespace, *others]),
        running_injector(given) as state,
    ):
        if wait:
            await cluster.until(a_pod(labels=OPTED_IN), is_injected)
        yield state


@asynccontextmanager
async def by_policy(cluster: Cluster, *others: str) -> AsyncIterator[None]:
    """Injection by policies, which work already."""
    wanted = policy.manifests(settings().sidecar, place_at(1))
    async with applied(cluster.plane, *wanted, only=[cluster.namespace, *others]):
        await cluster.until(a_pod(labels=OPTED_IN), is_injected)
        await cluster.until(a_pod(labels={INJECT: "what"}), is_refused)
        yield


@asynccontextmanager
async def guarded(cluster: Cluster) -> AsyncIterator[None]:
    """The guard of restartPolicy, at work already."""
    broken = a_pod(labels=MARKED, initContainers=[a_container("pannier-gateway")])
    async with applied(cluster.plane, *manifests.guard(), only=[cluster.namespace]):
        await cluster.until(broken, is_refused)
        yield


def is_refused(answer: Answer) -> bool:
    return answer.status != 201


def knows_every_bucket(answer: Answer) -> bool:
    named = ("secrets/keys/token", "secrets/keys/AWS", "secrets/mtls/", "roots", "data.my-1")
    return all(each in str(answer.body["spec"]) for each in named)


def is_plain(answer: Answer) -> bool:
    return answer.status == 201 and not is_injected(answer)


def running(cluster: Cluster, name: str) -> Answer:
    """The pod of that name, once it is said to run as a kubelet says it."""
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{name}/status"
    status = {"status": {"phase": "Running"}}
    with cluster.plane.api() as api:
        return api.request("PATCH", path, status, "application/merge-patch+json")


def has_proxy(spec: Json) -> bool:
    return "istio-proxy" in str(spec.get("initContainers"))


def names(answer: Answer) -> list[str]:
    return [each["name"] for each in answer.body["spec"]["initContainers"]]


# Who gets a gateway


async def test_pods_of_a_namespace_that_opted_in_get_a_gateway_that_restricted_accepts(
    control_plane: ControlPlane,
) -> None:
    cluster = namespace_of(control_plane, **OPTED_IN)

    async with by_webhook(cluster):
        answer = await cluster.created(a_pod())

    assert names(answer) == ["pannier-gateway"]
    assert answer.body["metadata"]["labels"] == {"pannier.dev/injected": version("pannier")}


@pytest.mark.parametrize("injecting", [by_webhook, by_policy])
@pytest.mark.parametrize("of_namespace", [None, "true", "false"])
async def test_the_label_of_a_pod_outweighs_that_of_its_namespace(
    control_plane: ControlPlane, injecting: Injecting, of_namespace: str | None
) -> None:
    cluster = namespace_of(control_plane, **({INJECT: of_namespace} if of_namespace else {}))

    async with injecting(cluster):
        assert is_injected(await cluster.created(a_pod(labels=OPTED_IN)))
        assert not is_injected(await cluster.created(a_pod(labels={INJECT: "false"})))
        assert is_injected(await cluster.created(a_pod())) == (of_namespace == "true")


@pytest.mark.parametrize("injecting", [by_webhook, by_policy])
async def test_without_the_label_of_its_namespace_a_pod_keeps_its_gateway_and_new_ones_get_none(
    control_plane: ControlPlane, injecting: Injecting
) -> None:
    cluster = namespace_of(control_plane, **OPTED_IN)
    old = a_pod() | {"metadata": {"name": "old"}}

    async with injecting(cluster):
        await asyncio.to_thread(cluster.add, "/api/v1/pods", old)
        control_plane.kubectl("label", "namespace", cluster.namespace, f"{INJECT}-")
        new = await cluster.until(a_pod(), is_plain)
        kept = await asyncio.to_thread(running, cluster, "old")

    assert names(kept) == ["pannier-gateway"]
    assert kept.body["status"]["phase"] == "Running"
    assert "pannier" not in str(new.body)


@pytest.mark.parametrize("name", ["kube-system", SYSTEM])
@pytest.mark.parametrize("injecting", [by_webhook, by_policy])
async def test_pods_of_the_system_and_of_the_injector_itself_are_left_alone(
    control_plane: ControlPlane, injecting: Injecting, name: str
) -> None:
    ordinary, special = namespace_of(control_plane), Cluster(control_plane, name)
    special.take_pods()

    async with injecting(ordinary, special.namespace):
        answer = await special.created(a_pod(labels=OPTED_IN))

    assert answer.status == 201
    assert not is_injected(answer)


async def test_the_mirror_of_a_static_pod_is_left_alone(control_plane: ControlPlane) -> None:
    cluster = namespace_of(control_plane, **OPTED_IN)
    mirror = a_pod(annotations={"kubernetes.io/config.mirror": "x"})

    async with by_webhook(cluster):
        by_one = await cluster.created(mirror)
    async with by_policy(cluster):
        by_other = await cluster.created(mirror)

    assert not is_injected(by_one)
    assert not is_injected(by_other)


# Webhook and policy


async def test_webhook_and_policy_make_the_same_pods(control_plane: ControlPlane) -> None:
    cluster = with_buckets(namespace_of(control_plane, **OPTED_IN))

    async with by_webhook(cluster):
        by_one = {name: await cluster.created(pod) for name, pod in PODS.items()}
    async with by_policy(cluster):
        await cluster.until(a_pod(), knows_every_bucket)
        by_other = {name: await cluster.created(pod) for name, pod in PODS.items()}

    for name in PODS:
        assert essence(by_one[name]) == essence(by_other[name]), name
    assert knows_every_bucket(by_one["plain"])
    changed = [name for name, answer in by_one.items() if "pannier-config" in str(answer.body)]
    assert changed == [name for name in PODS if "own" not in name and "out" not in name]


ENV = st.lists(
    st.sampled_from(["PANNIER_URL", "PANNIER_SOCKET", "HOME"]), max_size=2, unique=True
).map(lambda found: [{"name": each, "value": "x"} for each in found])
MOUNTS = st.lists(
    st.sampled_from(["/run/pannier", "/run/pannier/", "/run", "/x"]), max_size=2, unique=True
).map(lambda found: [{"name": "v", "mountPath": each} for each in found])
DETAILS = st.fixed_dictionaries(
    {},
    optional={
        "env": ENV,
        "volumeMounts": MOUNTS,
        "ports": st.sampled_from([8650, 8651, 80]).map(lambda port: [{"containerPort": port}]),
        "restartPolicy": st.just("Always"),
    },
)
CONTAINERS = st.dictionaries(
    st.sampled_from(["a", "b", "istio-proxy", "linkerd-proxy", "pannier-gateway"]),
    DETAILS,
    min_size=1,
    max_size=3,
)
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "pannier.dev/port": st.sampled_from(["1024", "8651", "1023", "65536"]),
        "pannier.dev/buckets": st.sampled_from(["*", "main", "disk,own", "none", ",", "A"]),
        "pannier.dev/spool-size": st.sampled_from(["1Mi", "1"]),
        "pannier.dev/drain": st.sampled_from(["0", "3600", "3601", "01", "1\n"]),
        "pannier.dev/else": st.just("x"),
    },
)
LABELS = st.dictionaries(
    st.sampled_from([INJECT, "pannier.dev/injected", "app"]), st.sampled_from(["true", "false", ""])
)


def generated(
    ordinary: dict[str, Json], early: dict[str, Json], choices: Json, labels: Json
) -> Json:
    early = {name: each for name, each in early.items() if name not in ordinary}
    for each in ordinary.values():
        each.pop("restartPolicy", None)
    spec = {"volumes": [{"name": "v", "emptyDir": {}}]} if "volumeMounts" in str(ordinary) else {}
    return a_pod(
        annotations=choices,
        labels=labels,
        containers=[a_container(name, **each) for name, each in ordinary.items()],
        initContainers=[a_container(name, **each) for name, each in early.items()],
        **spec,
    )


async def test_webhook_and_policy_agree_on_any_pod(control_plane: ControlPlane) -> None:
    one, other = (with_buckets(namespace_of(control_plane, **OPTED_IN)) for _ in range(2))

    @hypothesis_settings(max_examples=40, derandomize=True)
    @given(st.builds(generated, CONTAINERS, CONTAINERS, CHOICES, LABELS))
    def agree(pod: Json) -> None:
        by_one, by_other = one.create(pod), other.create(pod)
        assert is_refused(by_one) == is_refused(by_other), (by_one.message, by_other.message)
        assert is_refused(by_one) or essence(by_one) == essence(by_other)

    async with by_webhook(one), by_policy(other):
        await other.until(a_pod(), knows_every_bucket)
        await asyncio.to_thread(agree)


async def test_a_pod_copied_from_an_injected_one_stays_as_it_is(
    control_plane: ControlPlane,
) -> None:
    cluster = with_buckets(namespace_of(control_plane, **OPTED_IN))

    for injecting in (by_webhook, by_policy):
        async with injecting(cluster):
            first = await cluster.until(PODS["with a mesh and init containers"], knows_every_bucket)
            labels = first.body["metadata"]["labels"]
            again = await cluster.created(a_pod(labels=labels) | {"spec": first.body["spec"]})
            assert essence(first) == essence(again)


async def test_webhook_and_policy_refuse_the_same_pods_for_the_same_reason(
    control_plane: ControlPlane,
) -> None:
    cluster = namespace_of(control_plane, **OPTED_IN, **UNRESTRICTED)

    async with by_webhook(cluster):
        by_one = [(await cluster.created(pod), why) for pod, why in REFUSED]
    async with by_policy(cluster):
        by_other = [(await cluster.created(pod), why) for pod, why in REFUSED]

    for answer, why in by_one + by_other:
        assert is_refused(answer), why
        assert why in answer.message


async def test_a_mesh_proxy_that_comes_by_a_webhook_comes_before_the_gateway(
    control_plane: ControlPlane,
) -> None:
    cluster = namespace_of(control_plane, **OPTED_IN)
    adding = {"op": "add", "path": "/spec/initContainers/0", "value": NATIVE}

    for injecting in (by_webhook, by_policy):
        async with injecting(cluster), foreign_webhook(cluster, [adding], unless=has_proxy):
            answer = await cluster.until(a_pod(), lambda found: len(names(found)) > 1)
            assert names(answer) == ["istio-proxy", "pannier-gateway"]


# When something is wrong


@pytest.mark.parametrize(
    ("stripped", "told"),
    [
        (["restartPolicy"], "may not be set for init containers without restartPolicy=Always"),
        (["restartPolicy", "startupProbe", "livenessProbe"], "has lost restartPolicy: Always"),
    ],
)
async def test_a_webhook_that_makes_the_sidecar_an_ordinary_init_container_is_stopped(
    control_plane: ControlPlane, stripped: list[str], told: str
) -> None:
    cluster = namespace_of(control_plane, **OPTED_IN)
    removing = [{"op": "remove", "path": f"/spec/initContainers/0/{each}"} for each in stripped]

    async with by_webhook(cluster), guarded(cluster), foreign_webhook(cluster, removing):
        answer = await cluster.until(a_pod(), is_refused)

    assert told in answer.message


async def test_the_guard_lets_pods_with_their_gateway_pass(control_plane: ControlPlane) -> None:
    cluster = namespace_of(control_plane, **OPTED_IN)

    async with by_webhook(cluster), guarded(cluster):
        assert is_injected(await cluster.created(a_pod()))


async def test_without_an_injector_pods_that_asked_for_a_gateway_are_not_made(
    control_plane: ControlPlane,
) -> None:
    cluster = namespace_of(control_plane)
    webhooks = manifests.webhook_configuration(place_at(free_ports(1)[0]))

    async with applied(control_plane, webhooks, only=[cluster.namespace]):
        asking = await cluster.until(a_pod(labels=OPTED_IN), is_refused)
        assert (await cluster.created(a_pod())).status == 201

    assert "failed calling webhook" in asking.message


async def test_with_ignore_pods_are_made_without_a_gateway_while_there_is_no_injector(
    control_plane: ControlPlane,
) -> None:
    cluster = namespace_of(control_plane, **OPTED_IN)
    place = place_at(free_ports(1)[0])

    webhooks = manifests.webhook_configuration(place, failure_policy="Ignore")
    async with applied(control_plane, webhooks, only=[cluster.namespace]):
        answer = await cluster.created(a_pod())

    assert answer.status == 201
    assert not is_injected(answer)


async def test_buckets_that_cannot_be_listed_are_told_to_whoever_makes_the_pod(
    control_plane: ControlPlane,
) -> None:
    cluster = namespace_of(control_plane, **OPTED_IN)
    token = control_plane.service_account(SYSTEM, "without-buckets")
    _, keeping = manifests.permissions(SECRET)
    trusting = manifests.permissions(SECRET)[0][1:]
    grant(control_plane, "without-buckets", trusting, keeping)

    async with by_webhook(cluster, kubeconfig=control_plane.kubeconfig_for(token), wait=False):
        answer = await cluster.until(a_pod(), lambda found: "listed" in found.message)

    assert "Buckets could not be listed: 403" in answer.message


async def test_the_injector_needs_no_more_than_the_permissions_it_names(
    control_plane: ControlPlane,
) -> None:
    cluster = with_buckets(namespace_of(control_plane, **OPTED_IN))
    token = control_plane.service_account(SYSTEM, "injector")
    grant(control_plane, "injector", *manifests.permissions(SECRET))

    async with by_webhook(cluster, kubeconfig=control_plane.kubeconfig_for(token)):
        assert "secrets/keys" in str((await cluster.created(a_pod())).body)


async def test_the_monitor_of_the_chart_finds_the_gateways_of_pods_and_no_other_pod(
    control_plane: ControlPlane,
) -> None:
    cluster = namespace_of(control_plane, **OPTED_IN)
    monitor = one(rendered(case("everything")), "PodMonitor")["spec"]
    async with by_webhook(cluster):
        for name, labels in (("served", {}), ("alone", {INJECT: "false"})):
            pod = a_pod() | {"metadata": {"name": name, "labels": labels}}
            await asyncio.to_thread(cluster.add, "/api/v1/pods", pod)

    assert [each["operator"] for each in monitor["selector"]["matchExpressions"]] == ["Exists"]
    wanted = ",".join(each["key"] for each in monitor["selector"]["matchExpressions"])
    asked = ("-n", cluster.namespace, "-l", wanted, "-o", "json")
    listed = await asyncio.to_thread(control_plane.kubectl, "get", "pods", *asked)
    (found,) = json.loads(listed)["items"]
    ports = [port for each in found["spec"]["initContainers"] for port in each["ports"]]
    (scraped,) = monitor["podMetricsEndpoints"]
    assert found["metadata"]["name"] == "served"
    assert [each["containerPort"] for each in ports if each["name"] == scraped["port"]] == [8651]


async def test_for_one_namespace_the_injector_needs_to_list_buckets_there_alone(
    control_plane: ControlPlane,
) -> None:
    cluster = with_buckets(namespace_of(control_plane, **OPTED_IN))
    token = control_plane.service_account(SYSTEM, "local")
    (listing, trusting), keeping = manifests.permissions(SECRET)
    grant(control_plane, "local", [trusting], keeping)
    head = {"apiVersion": RBAC, "metadata": {"name": "local", "namespace": cluster.namespace}}
    role = {"apiGroup": RBAC.partition("/")[0], "kind": "Role", "name": "local"}
    account = {"kind": "ServiceAccount", "name": "local", "namespace": SYSTEM}
    control_plane.apply(
        head | {"kind": "Role", "rules": [listing]},
        head | {"kind": "RoleBinding", "roleRef": role, "subjects": [account]},
    )

    async with by_webhook(cluster, kubeconfig=control_plane.kubeconfig_for(token)):
        assert "secrets/keys" in str((await cluster.created(a_pod())).body)
