"""Every value does something: what each of them becomes."""

import json
from functools import cache
from types import ModuleType
from typing import Any

import pytest

from support.charts import (
    CHART,
    KUBERNETES,
    RELEASE,
    Json,
    case,
    container,
    helm,
    of_kind,
    one,
    pods,
    rendered,
)

pytestmark = pytest.mark.cluster

EVERYTHING = case("everything")
COMPONENTS = ("operator", "injector", "hub")
MINE = {"mine": "own"}
IN_PODS: Json = {
    "nodeSelector": MINE,
    "tolerations": [{"key": "mine", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "mine",
}
OF_PODS: Json = IN_PODS | {
    "podLabels": MINE,
    "podAnnotations": MINE,
    "resources": {"requests": {"cpu": "3", "memory": "2Gi"}, "limits": {"memory": "3Gi"}},
}
DIGEST = f"sha256:{'2':0>64}"
KEPT = {"injector.certificate.source": "Secret", "injector.certificate.secretName": "kept"}
FLEETING = {"hub.storage.enabled": False}

# Each value, and another one than `everything` has; what it matters with stands in `BESIDE`.
OTHERS: Json = {
    "nameOverride": "other",
    "fullnameOverride": "whole",
    "commonLabels": MINE,
    "imagePullSecrets": [{"name": "mine"}],
    "namespaces": ["mine"],
    "crds.enabled": False,
    "crds.keep": False,
    "crds.commonLabels": MINE,
    "images.operator.repository": "mine",
    "images.operator.tag": "mine",
    "images.operator.digest": DIGEST,
    "images.operator.pullPolicy": "Never",
    "images.gateway.repository": "mine",
    "images.gateway.tag": "mine",
    "images.gateway.digest": DIGEST,
    "images.gateway.pullPolicy": "Never",
    "operator.replicas": 1,
    "operator.resync": 5,
    "operator.writeRate": 5,
    "operator.logLevel": "debug",
    **{f"operator.{name}": other for name, other in OF_PODS.items()},
    "injector.mode": "policy",
    "injector.replicas": 1,
    "injector.failurePolicy": "Fail",
    "injector.guard": False,
    "injector.linger": 1,
    "injector.logLevel": "debug",
    "injector.certificate.source": "CertManager",
    "injector.certificate.issuerRef": {"name": "mine"},
    "injector.certificate.secretName": "mine",
    "injector.certificate.caBundle": "bWluZQ==",
    **{f"injector.{name}": other for name, other in OF_PODS.items()},
    "sidecar.port": 9000,
    "sidecar.adminPort": 9001,
    "sidecar.cpu": "3",
    "sidecar.cpuLimit": False,
    "sidecar.memory": "3Gi",
    "sidecar.memoryRequest": "99Mi",
    "sidecar.spoolSize": "3Gi",
    "sidecar.drain": 3,
    "sidecar.logLevel": "debug",
    "sidecar.buckets": "mine",
    "hub.enabled": False,
    "hub.replicas": 0,
    "hub.secrets": ["mine"],
    "hub.configMaps": ["mine"],
    "hub.claims": ["mine"],
    "hub.serviceAccountAnnotations": MINE,
    "hub.durability": "full",
    "hub.workers": 3,
    "hub.drain": 3,
    "hub.logLevel": "debug",
    "hub.tls.enabled": False,
    "hub.tls.secretName": "mine",
    "hub.tls.issuerRef": {"name": "mine"},
    "hub.tls.clients": [{"identity": "mine", "usecases": ["*"]}],
    "hub.storage.enabled": False,
    "hub.storage.size": "3Gi",
    "hub.storage.storageClassName": "mine",
    "hub.storage.existingClaim": "mine",
    "hub.service.type": "NodePort",
    "hub.service.port": 90,
    "hub.service.annotations": MINE,
    **{f"hub.{name}": other for name, other in OF_PODS.items()},
    "networkPolicy.enabled": False,
    "networkPolicy.apiServerPorts": [90],
    "networkPolicy.scrapers": [],
    "networkPolicy.hubClients": [],
    "networkPolicy.hubStores": [],
    "monitoring.podMonitor.enabled": False,
    "monitoring.podMonitor.labels": MINE,
    "monitoring.podMonitor.interval": "3s",
    "monitoring.serviceMonitor.enabled": False,
    "monitoring.serviceMonitor.labels": MINE,
    "monitoring.serviceMonitor.interval": "3s",
    "monitoring.rules.enabled": False,
    "monitoring.rules.labels": MINE,
    "monitoring.dashboards.enabled": False,
    "monitoring.dashboards.labels": MINE,
    "monitoring.dashboards.annotations": MINE,
    "roles.aggregate": False,
}
BESIDE: dict[str, Json] = {
    "images.operator.tag": {"images.operator.digest": ""},
    "injector.certificate.issuerRef": {"injector.certificate.source": "CertManager"},
    "injector.certificate.secretName": KEPT | {"injector.certificate.caBundle": "aGVycw=="},
    "injector.certificate.caBundle": KEPT | {"injector.certificate.caBundle": "aGVycw=="},
    "hub.workers": FLEETING,
}


def chosen(values: Json) -> list[str]:
    return [f"--set-json={path}={json.dumps(value)}" for path, value in values.items()]


def test_every_value_is_tried(files: ModuleType) -> None:
    told = [value.path for value in files.values((CHART / "values.yaml").read_text())]

    assert sorted(OTHERS) == sorted(told)


@pytest.mark.parametrize("path", [path for path in OTHERS if path.split(".")[-1] not in OF_PODS])
def test_every_value_makes_a_difference(path: str) -> None:
    beside = BESIDE.get(path, {})

    assert template(*chosen(beside)) != template(*chosen(beside | {path: OTHERS[path]}))


@cache
def template(*arguments: str) -> str:
    """The text of all objects, which takes longer to read than to make."""
    given = ("--values", str(EVERYTHING), "--kube-version", KUBERNETES, *arguments)
    return helm("template", RELEASE, str(CHART), *given)


# What of them is in which pod


def test_pods_are_placed_named_and_sized_as_it_was_asked_for_each() -> None:
    asked = {
        f"{component}.{name}": other
        for component in COMPONENTS
        for name, other in mine_of(component).items()
    }
    found = rendered(EVERYTHING, *chosen(asked))

    for component in COMPONENTS:
        pod, mine = pod_of(found, component), mine_of(component)
        assert {name: pod["spec"][name] for name in IN_PODS} == {n: mine[n] for n in IN_PODS}
        assert mine["podLabels"].items() <= pod["metadata"]["labels"].items()
        assert pod["metadata"]["annotations"] == mine["podAnnotations"]
        assert container(found, component)["resources"] == mine["resources"]
    assert IN_PODS.keys() <= pod_of(found, "unprotect")["spec"].keys()


def mine_of(component: str) -> Json:
    """Other values for one component than for the next."""
    return dict(json.loads(json.dumps(OF_PODS).replace('"own"', f'"{component}"')))


def pod_of(objects: list[Json], component: str) -> Json:
    (found,) = (
        each
        for each in pods(objects)
        if each["metadata"]["labels"]["app.kubernetes.io/component"] == component
    )
    return found


def test_all_pods_pull_with_the_secrets_that_were_named() -> None:
    found = [*pods(rendered(EVERYTHING))]

    assert len(found) == len(COMPONENTS) + 1
    for each in found:
        assert each["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_annotations_are_where_clouds_and_balancers_look_for_them() -> None:
    found = rendered(EVERYTHING)

    assert one(found, "ServiceAccount", "-hub")["metadata"]["annotations"] == {"role": "objects"}
    assert one(found, "Service", "-hub")["metadata"]["annotations"] == {"internal": "true"}


def test_labels_for_all_objects_are_on_all_of_them() -> None:
    for each in rendered(EVERYTHING):
        if each["kind"] != "CustomResourceDefinition":
            assert each["metadata"]["labels"]["team"] == "storage", each["metadata"]["name"]


# What else pods have


@pytest.mark.parametrize("component", ["injector", "hub"])
def test_who_is_not_ready_is_asked_for_nothing(component: str) -> None:
    probe = container(rendered(EVERYTHING), component)["readinessProbe"]

    assert probe["httpGet"] == {"path": "/readyz", "port": "metrics"}


def test_several_hubs_and_operators_are_on_several_nodes_and_one_hub_stays() -> None:
    several = [*rendered(case("hub-s3")), one(rendered(EVERYTHING), "Deployment", "-operator")]

    for end in ("-hub", "-operator"):
        (spread,) = spread_of([each for each in several if each["metadata"]["name"].endswith(end)])
        assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert one(several, "PodDisruptionBudget", "-hub")["spec"]["minAvailable"] == 1


def spread_of(objects: list[Json]) -> list[Json]:
    spec: Any = of_kind(objects, "Deployment", "StatefulSet")[-1]["spec"]["template"]["spec"]
    return list(spec["topologySpreadConstraints"])


SCRAPERS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
NAMES = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
SCRAPED = {"ports": [{"protocol": "TCP", "port": "metrics"}], "from": SCRAPERS}
ASKING = [NAMES, {"ports": [{"protocol": "TCP", "port": 8443}]}]


@pytest.mark.parametrize(
    ("component", "ingress", "egress"),
    [
        ("operator", [SCRAPED], ASKING),
        ("unprotect", [], ASKING),
        ("injector", [{"ports": [{"protocol": "TCP", "port": "reviews"}]}, SCRAPED], ASKING),
        (
            "hub",
            [
                {
                    "ports": [{"protocol": "TCP", "port": "https"}],
                    "from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
                },
                SCRAPED,
            ],
            [NAMES, {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}],
        ),
    ],
)
def test_the_network_is_open_for_what_each_process_does_and_for_nothing_else(
    component: str, ingress: list[Json], egress: list[Json]
) -> None:
    spec = one(rendered(EVERYTHING), "NetworkPolicy", f"-{component}")["spec"]

    assert (spec["ingress"], spec["egress"]) == (ingress, egress)
    assert spec["policyTypes"] == ["Ingress", "Egress"]


def test_where_nobody_is_named_everybody_may_come_and_every_store_may_be_reached() -> None:
    nobody = ("scrapers", "hubClients", "hubStores")
    asked = chosen({f"networkPolicy.{each}": [] for each in nobody})

    spec = one(rendered(EVERYTHING, *asked), "NetworkPolicy", "-hub")["spec"]

    ports = [{"protocol": "TCP", "port": each} for each in ("https", "metrics")]
    assert spec["ingress"] == [{"ports": [each]} for each in ports]
    assert spec["egress"] == [NAMES, {}]


@pytest.mark.parametrize(
    ("name", "namespaces"),
    [("everything", {"any": True}), ("namespaced", {"matchNames": ["team-a", "team-b"]})],
)
def test_gateways_are_scraped_in_all_namespaces_that_are_worked_in(
    name: str, namespaces: Json
) -> None:
    monitor = one(rendered(case(name)), "PodMonitor")

    assert monitor["spec"]["namespaceSelector"] == namespaces
