"""What the chart becomes with the values of its cases."""

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import convert
from msgspec.structs import asdict

from pannier_gateway.config import crds
from pannier_gateway.settings import build_parser, parse_settings
from pannier_gateway.stores import secrets
from pannier_gateway.tls.clients import Clients, read_clients
from pannier_operator import settings as operating
from pannier_operator.injector import manifests, policy, template
from pannier_operator.injector import settings as injecting
from pannier_operator.injector.manifests import Place
from pannier_operator.injector.sidecar import DEFAULTS, Sidecar
from pannier_operator.lease import LeaseName
from support.charts import (
    CASES,
    CHART,
    CRDS,
    KUBERNETES,
    NAMESPACE,
    RELEASE,
    Failed,
    Json,
    case,
    container,
    helm,
    named,
    of_kind,
    one,
    pods,
    rendered,
    selectors,
    workloads,
)

pytestmark = pytest.mark.cluster
every_case = pytest.mark.parametrize("values", CASES, ids=named)

RECOMMENDED = {"name", "instance", "version", "component", "part-of", "managed-by"}
CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


# All cases


@every_case
def test_helm_finds_nothing_to_complain_about(values: Path) -> None:
    helm("lint", "--strict", str(CHART), "--values", str(values))


@every_case
def test_every_object_is_there_once_with_the_recommended_labels(values: Path) -> None:
    objects = rendered(values)

    for each in objects:
        labels = each["metadata"]["labels"]
        assert {f"app.kubernetes.io/{name}" for name in RECOMMENDED} <= set(labels)
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert ("namespace" in each["metadata"]) == (each["kind"] not in CLUSTER_WIDE)
    identities = [
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
        for each in objects
    ]
    assert len(set(identities)) == len(identities)


def test_a_label_of_one_object_wins_over_the_same_of_all() -> None:
    same = "--set=operator.podLabels.team=a,monitoring.podMonitor.labels.team=b"
    objects = rendered(case("everything"), same)

    (operator,) = (each for each in pods(objects) if "operator" in each["metadata"]["name"])
    assert operator["metadata"]["labels"]["team"] == "a"
    assert one(objects, "PodMonitor")["metadata"]["labels"]["team"] == "b"
    assert one(objects, "Deployment", "-operator")["metadata"]["labels"]["team"] == "storage"


@every_case
def test_every_container_is_as_locked_up_as_it_can_be(values: Path) -> None:
    for pod in pods(rendered(values)):
        assert "automountServiceAccountToken" in pod["spec"]
        for each in pod["spec"]["containers"]:
            assert each["securityContext"]["readOnlyRootFilesystem"] is True
            assert each["resources"]["limits"]["memory"]
            ends = pod["spec"].get("restartPolicy") == "OnFailure"
            assert ends or {"startupProbe", "livenessProbe"} <= set(each)


@every_case
def test_every_selector_finds_the_pods_that_it_is_for_and_ports_that_they_have(
    values: Path,
) -> None:
    objects = rendered(values)
    labels_of = {pod["metadata"]["name"]: pod["metadata"]["labels"] for pod in pods(objects)}
    ports_of = {
        pod["metadata"]["name"]: {
            port["name"] for port in pod["spec"]["containers"][0].get("ports", ())
        }
        for pod in pods(objects)
    }

    for each in of_kind(objects, "Service", "PodDisruptionBudget", "NetworkPolicy"):
        spec = each["spec"]
        selector = spec.get("podSelector", spec.get("selector", {}))
        wanted = selector.get("matchLabels", selector).items()
        (found,) = (name for name, labels in labels_of.items() if wanted <= labels.items())
        assert each["metadata"]["name"] in {found, f"{found}-metrics"}
        targets = {port["targetPort"] for port in spec.get("ports", ())}
        assert targets <= ports_of[found]
    for workload in workloads(objects):
        own = labels_of[workload["metadata"]["name"]]
        assert workload["spec"]["selector"]["matchLabels"].items() <= own.items()


@every_case
def test_who_injects_never_touches_its_own_namespace_nor_those_of_the_system(values: Path) -> None:
    excluded = {*manifests.SYSTEM, NAMESPACE}
    found = [selector for each in rendered(values) for selector in selectors(each)]

    for selector in found:
        (out,) = (
            each["values"]
            for each in selector["matchExpressions"]
            if (each["key"], each["operator"]) == ("kubernetes.io/metadata.name", "NotIn")
        )
        assert excluded == set(out)
    assert bool(found) == (chosen_in(values)["injector"]["mode"] != "none")


@every_case
def test_the_operator_may_touch_neither_secrets_nor_pods(values: Path) -> None:
    granted = [
        rule
        for role in of_kind(rendered(values), "Role", "ClusterRole")
        if role["metadata"]["labels"]["app.kubernetes.io/component"] == "operator"
        for rule in role["rules"]
    ]

    assert granted
    for rule in granted:
        assert {"*", "secrets", "pods"}.isdisjoint(rule["resources"])
        assert "*" not in (*rule["verbs"], *rule["apiGroups"])


@every_case
def test_each_account_is_of_one_component_and_bound_to_its_roles_alone(values: Path) -> None:
    objects = rendered(values)

    used = [each["spec"]["serviceAccountName"] for each in pods(objects)]
    assert len(set(used)) == len(used)
    assert set(used) == {each["metadata"]["name"] for each in of_kind(objects, "ServiceAccount")}
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        (subject,) = binding["subjects"]
        assert subject["namespace"] == NAMESPACE
        assert binding["roleRef"]["name"].startswith(subject["name"])


@every_case
def test_what_comes_after_an_uninstallation_may_free_buckets_and_no_more(values: Path) -> None:
    hooked = [each for each in rendered(values) if is_hook(each)]

    assert {each["metadata"]["labels"]["app.kubernetes.io/component"] for each in hooked} == {
        "unprotect"
    }
    for role in of_kind(hooked, "Role", "ClusterRole"):
        (rule,) = role["rules"]
        assert (rule["resources"], rule["verbs"]) == (["buckets"], ["list", "patch"])
    assert len(of_kind(hooked, "Job")) == 1


def is_hook(manifest: Json) -> bool:
    """Whether Helm makes it after all else is gone, and deletes it again."""
    annotations = manifest["metadata"].get("annotations", {})
    deleted = annotations.get("helm.sh/hook-delete-policy", "").split(",")
    return annotations.get("helm.sh/hook") == "post-delete" and "hook-succeeded" in deleted


@every_case
def test_the_operator_understands_its_arguments(values: Path) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    operating.add_options(parser)
    objects, chosen = rendered(values), chosen_in(values)
    command, *arguments = container(objects, "operator")["args"]

    found = operating.settings_of(parser.parse_args(arguments))

    lease = LeaseName(NAMESPACE, f"{name_in(values)}-operator")
    several = chosen["operator"]["replicas"] > 1
    assert command == "run"
    assert list(found.namespaces) == chosen["namespaces"]
    assert found.lease == (lease if several else None)
    assert (found.resync, found.write_rate) == (600, 250)
    strategy = one(objects, "Deployment", "-operator")["spec"]["strategy"]["type"]
    assert strategy == ("RollingUpdate" if several else "Recreate")


def chosen_in(values: Path) -> Json:
    """All values of a case, its own over the defaults."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    return dict(merged(defaults, yaml.safe_load(values.read_text()) or {}))


def merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: merged(below.get(key), each) for key, each in above.items()}


def name_in(values: Path) -> str:
    """What objects are called."""
    other = chosen_in(values)["nameOverride"]
    return f"{RELEASE}-{other}" if other else RELEASE


# The injector


WEBHOOK_CASES = [each for each in CASES if chosen_in(each)["injector"]["mode"] == "webhook"]
POLICY_CASES = [each for each in CASES if chosen_in(each)["injector"]["mode"] == "policy"]


def place(values: Path) -> Place:
    service: dict[str, template.Json] = {
        "name": f"{name_in(values)}-injector",
        "namespace": NAMESPACE,
        "path": manifests.PATH,
    }
    return Place(namespace=NAMESPACE, client={"service": service})


def sidecar(values: Path) -> Sidecar:
    chosen = chosen_in(values)["sidecar"]
    image = chosen_in(values)["images"]["gateway"]
    given = {re.sub("([A-Z])", r"-\1", name).lower(): value for name, value in chosen.items()}
    return Sidecar(
        image=f"{image['repository']}:{image['tag'] or '0.1.0'}",
        pull_policy=image["pullPolicy"],
        version="0.1.0",
        defaults={name: str(given[name]) for name in DEFAULTS},
        cpu_limit=chosen["cpuLimit"],
    )


@pytest.mark.parametrize("values", WEBHOOK_CASES, ids=named)
def test_the_injector_understands_its_arguments(values: Path) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    injecting.add_options(parser)
    objects = rendered(values)
    command, *arguments = container(objects, "injector")["args"]

    found = injecting.settings_of(parser.parse_args(arguments))

    assert command == "injector"
    assert asdict(found.sidecar) == asdict(sidecar(values))
    assert found.namespace == NAMESPACE
    pod = one(objects, "Deployment", "-injector")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > found.linger + 6  # for reviews under way
    if chosen_in(values)["injector"]["certificate"]["source"] == "Own":
        assert one(objects, "Secret")["metadata"]["name"] == found.certificate_secret
        assert one(objects, "MutatingWebhookConfiguration")["metadata"]["name"] == found.webhooks
        assert one(objects, "Service", "-injector")["metadata"]["name"] == found.service
    else:
        assert found.certificate_dir is not None
        mounts = container(objects, "injector")["volumeMounts"]
        assert str(found.certificate_dir) in {each["mountPath"] for each in mounts}


@pytest.mark.parametrize("values", WEBHOOK_CASES, ids=named)
def test_the_webhooks_are_those_that_the_injector_is_tested_with(values: Path) -> None:
    policy_on_failure = chosen_in(values)["injector"]["failurePolicy"]

    found = one(rendered(values), "MutatingWebhookConfiguration")

    wanted: Json = dict(manifests.webhook_configuration(place(values), policy_on_failure))
    assert found["webhooks"] == within(values, wanted)["webhooks"]


@pytest.mark.parametrize("values", POLICY_CASES, ids=named)
def test_the_policies_are_those_that_the_injector_is_tested_with(values: Path) -> None:
    wanted = policy.manifests(sidecar(values), place(values))

    found = {(each["kind"], each["metadata"]["name"]): each for each in rendered(values)}

    for each in wanted:
        key = (each["kind"], each["metadata"]["name"])  # type: ignore[index, call-overload]  # a template
        assert found[key]["spec"] == within(values, dict(each))["spec"]


def within(values: Path, manifest: Json) -> Json:
    """`manifest`, with the namespaces, certificate and names of a case."""
    chosen, bundle = chosen_in(values), {}
    if chosen["injector"]["certificate"]["source"] == "Secret":
        bundle = {"caBundle": chosen["injector"]["certificate"]["caBundle"]}
    for each in manifest.get("webhooks", ()):
        each["clientConfig"] = each["clientConfig"] | bundle
    if chosen["namespaces"]:
        key, some = "kubernetes.io/metadata.name", chosen["namespaces"]
        for selector in selectors(manifest):
            selector["matchExpressions"].append({"key": key, "operator": "In", "values": some})
    return manifest


@pytest.mark.parametrize(
    ("name", "held"), [("default", False), ("cert-manager", False), ("secret", True)]
)
def test_a_ca_is_in_the_webhooks_only_where_nobody_else_puts_it_there(
    name: str, held: bool
) -> None:
    configuration = one(rendered(case(name)), "MutatingWebhookConfiguration")

    bundles = ["caBundle" in each["clientConfig"] for each in configuration["webhooks"]]

    assert bundles == [held, held]


def test_cert_manager_is_told_whose_certificate_to_make_and_where_to_put_its_ca() -> None:
    objects = rendered(case("cert-manager"))
    certificate = one(objects, "Certificate")
    configuration = one(objects, "MutatingWebhookConfiguration")

    asked = configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
    (volume,) = (
        each["secret"]["secretName"]
        for pod in pods(objects)
        for each in pod["spec"]["volumes"]
        if "secret" in each
    )
    assert asked == f"{NAMESPACE}/{certificate['metadata']['name']}"
    assert certificate["spec"]["secretName"] == volume
    assert certificate["spec"]["issuerRef"]["name"] == one(objects, "Issuer")["metadata"]["name"]
    assert of_kind(rendered(case("issuer")), "Issuer") == []


def test_injectors_stay_while_nodes_are_drained() -> None:
    objects = rendered(case("default"))

    deployment = one(objects, "Deployment", "-injector")["spec"]

    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert one(objects, "PodDisruptionBudget")["spec"]["minAvailable"] == 1
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"


def test_one_injector_has_no_budget_that_would_keep_its_node_from_being_drained() -> None:
    assert (
        of_kind(rendered(case("default"), "--set=injector.replicas=1"), "PodDisruptionBudget") == []
    )


# The hub, and where all of it is


HUB_CASES = [each for each in CASES if chosen_in(each)["hub"]["enabled"]]
every_hub = pytest.mark.parametrize("values", HUB_CASES, ids=named)


@every_hub
def test_the_gateway_understands_the_arguments_of_the_hub(values: Path) -> None:
    settings = parse_settings(container(rendered(values), "hub")["args"], {})
    chosen = chosen_in(values)["hub"]

    assert (settings.durability, settings.drain) == (chosen["durability"], chosen["drain"])
    grace = one(rendered(values), "StatefulSet")["spec"]["template"]["spec"]
    assert grace["terminationGracePeriodSeconds"] > chosen["drain"]


def test_a_hub_leaves_to_chance_only_what_is_for_other_gateways() -> None:
    known = {option for each in build_parser()._actions for option in each.option_strings}
    cases = (container(rendered(values), "hub")["args"] for values in HUB_CASES)

    given = {argument.partition("=")[0] for arguments in cases for argument in arguments}

    assert known - given == {
        *("-h", "--help", "--version", "--worker"),
        *("--manifests", "--socket"),  # of laptops and of sidecars
        "--sweep-interval",  # readers never see what has expired
    }


@pytest.mark.parametrize(
    ("size", "workers", "room"),
    [("10Gi", 1, 10 << 30), ("10Gi", 3, 3413 << 20), ("9Ti", 1, 9 << 40), ("1Mi", 2, 1 << 20)],
)
def test_the_workers_of_a_hub_share_the_room_of_its_volume(
    size: str, workers: int, room: int
) -> None:
    chosen = f"--set=hub.storage.size={size},hub.workers={workers}"
    settings = parse_settings(container(rendered(case("hub-s3"), chosen), "hub")["args"], {})

    assert (settings.workers, settings.spool_size) == (workers, room)


@every_hub
def test_a_hub_is_reached_where_its_gateway_listens_and_with_tls_by_nothing_else(
    values: Path,
) -> None:
    objects = rendered(values)
    hub = container(objects, "hub")
    settings = parse_settings(hub["args"], {})
    listening = settings.listen if settings.hub is None else settings.hub.tls_listen
    open_ports = {each["name"]: each["containerPort"] for each in hub["ports"]}

    (reached,) = one(objects, "Service", "-hub")["spec"]["ports"]
    assert open_ports == {reached["targetPort"]: listening.port, "metrics": 8651}
    assert listening.host == "0.0.0.0"
    assert (settings.listen.host == "127.0.0.1") == chosen_in(values)["hub"]["tls"]["enabled"]
    if chosen_in(values)["networkPolicy"]["enabled"]:
        ingress = one(objects, "NetworkPolicy", "-hub")["spec"]["ingress"]
        assert {port["port"] for each in ingress for port in each["ports"]} == set(open_ports)


@pytest.mark.parametrize("name", ["hub-tls", "everything"])
def test_the_hub_has_its_certificate_and_its_clients_where_its_gateway_looks_for_them(
    name: str, tmp_path: Path
) -> None:
    objects = rendered(case(name))
    hub, mounted = parse_settings(container(objects, "hub")["args"], {}).hub, mounts(objects)
    clients = one(objects, "ConfigMap", "-hub-clients")
    chosen = chosen_in(case(name))["hub"]["tls"]

    assert hub is not None
    secret = mounted[f"{hub.tls_dir}"]["secret"]["secretName"]
    assert secret == (chosen["secretName"] or f"{RELEASE}-hub-certificate")
    volume = mounted[f"{hub.tls_clients.parent}"]
    assert volume["configMap"]["name"] == clients["metadata"]["name"]
    file = tmp_path / "clients.yaml"
    file.write_text(clients["data"][hub.tls_clients.name])
    assert read_clients(file) == convert({"clients": chosen["clients"]}, Clients)


def test_cert_manager_makes_the_certificate_of_the_hub_for_the_names_of_its_service() -> None:
    objects = rendered(case("everything"))
    certificate = one(objects, "Certificate", "-hub")["spec"]
    hub = parse_settings(container(objects, "hub")["args"], {}).hub

    assert hub is not None
    volume = mounts(objects)[f"{hub.tls_dir}"]
    assert volume["secret"]["secretName"] == certificate["secretName"]
    assert certificate["issuerRef"] == {"name": "company", "kind": "ClusterIssuer"}
    assert f"{RELEASE}-hub.{NAMESPACE}.svc" in certificate["dnsNames"]
    assert of_kind(rendered(case("hub-tls")), "Certificate") == []


def mounts(objects: list[Json]) -> Json:
    """The volumes of the hub by where they are."""
    (pod,) = (each for each in pods(objects) if each["metadata"]["name"].endswith("-hub"))
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    mounted = container(objects, "hub")["volumeMounts"]
    return {each["mountPath"]: volumes[each["name"]] for each in mounted}


def test_the_hub_keeps_its_objects_on_the_volume_that_was_asked_for() -> None:
    claimed = one(rendered(case("everything")), "StatefulSet")["spec"]
    given = one(rendered(case("hub")), "StatefulSet")["spec"]

    (template,) = claimed["volumeClaimTemplates"]
    assert template["spec"]["resources"]["requests"]["storage"] == "1Gi"
    assert template["spec"]["storageClassName"] == "fast"
    assert "volumeClaimTemplates" not in given
    volumes = {each["name"]: each for each in given["template"]["spec"]["volumes"]}
    assert volumes["data"]["persistentVolumeClaim"]["claimName"] == "objects"


def test_what_the_buckets_of_the_hub_name_is_where_its_gateway_looks_for_it() -> None:
    objects = rendered(case("everything"))
    settings = parse_settings(container(objects, "hub")["args"], {})

    mounted = mounts(objects)
    assert settings.secrets_dir is not None
    config_maps = settings.secrets_dir.parent / secrets.CONFIG_MAPS
    for name in ("keys", "mtls.front"):
        assert mounted[f"{settings.secrets_dir / name}"]["secret"]["secretName"] == name
    assert mounted[f"{config_maps / 'roots'}"]["configMap"]["name"] == "roots"
    claim = mounted[f"{settings.claims_dir}/archive.old"]["persistentVolumeClaim"]
    assert claim["claimName"] == "archive.old"


def test_several_hubs_share_no_volume() -> None:
    spec = one(rendered(case("hub-s3")), "StatefulSet")["spec"]

    assert spec["replicas"] == 3
    assert "volumeClaimTemplates" not in spec
    with pytest.raises(Failed, match="/hub/replicas"):
        rendered(case("hub-s3"), "--set=hub.storage.enabled=true")


def test_who_has_no_say_beyond_some_namespaces_can_install_it_there() -> None:
    objects = rendered(case("namespaced"), "--set=injector.mode=none")

    places = {each["metadata"]["namespace"] for each in objects}
    assert CLUSTER_WIDE.isdisjoint(each["kind"] for each in objects)
    assert places == {NAMESPACE, "team-a", "team-b"}


# What a cluster cannot do, and what is no value


def test_a_policy_is_refused_where_the_cluster_has_none() -> None:
    with pytest.raises(Failed, match=r"needs Kubernetes 1\.36.*use webhook"):
        rendered(case("policy"), kubernetes="1.35.2")


def test_a_cluster_without_validating_policies_gets_no_guard() -> None:
    kinds = {each["kind"] for each in rendered(case("default"), kubernetes="1.29.0")}

    assert "MutatingWebhookConfiguration" in kinds
    assert "ValidatingAdmissionPolicy" not in kinds


def test_a_cluster_without_native_sidecars_is_refused() -> None:
    with pytest.raises(Failed, match=r"1\.29\.0-0"):
        rendered(case("default"), kubernetes="1.28.9")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("operater.replicas=1", "operater"),
        ("operator.replica=1", "replica"),
        ("images.gateway.name=x", "name"),
        ("crds.install=true", "install"),
        ("injector.mode=sidecar", "webhook"),
        ("injector.certificate.source=Secret", "secretName"),
        ("sidecar.port=80", "1,024"),
        ("sidecar.memory=1e9", "memory"),
        ("images.gateway.tag=a b", "tag"),
        ("hub.tls.enabled=true", "secretName"),
        ("hub.tls.clients[0].identity=web", "usecases"),
        ("hub.tls.enabled=true,hub.tls.secretName=mine", "/hub/tls/clients"),
        ("hub.tls.issuerRef.kind=ClusterIssuer", "'name' required"),
        ("hub.service.port=-1", "/hub/service/port"),
        ("hub.drain=25s", "/hub/drain"),
        ("hub.workers=2", "/hub/workers"),
        ("hub.storage.size=lots", "/hub/storage/size"),
        ("hub.secrets={a/b}", "/hub/secrets/0"),
        ("hub=null", "missing property 'hub'"),
        ("operator.logLevel=null", "missing property 'logLevel'"),
        ("operator.resync=10m", "/operator/resync"),
        ("operator.resources.limits.memory=lots", "/operator/resources/limits/memory"),
        ("operator.resources.limits.memory=-1", "/operator/resources/limits/memory"),
        ("operator.resources.limits.ram=1Gi", "'ram' not allowed"),
        ("operator.affinity.podAffinity.preferred={a}", "'preferred' not allowed"),
        ("operator.tolerations[0].effect=Never", "/operator/tolerations/0/effect"),
        ("operator.priorityClassName=A_B", "/operator/priorityClassName"),
        (f"commonLabels.team={'a' * 64}", "/commonLabels/team"),
        ("commonLabels.the team=a", "'the team' not allowed"),
        (r"operator.podLabels.app\.kubernetes\.io/name=x", "/operator/podLabels/app"),
        ("crds.commonLabels.team=a_", "/crds/commonLabels/team"),
        ("networkPolicy.apiServerPorts={70000}", "/networkPolicy/apiServerPorts/0"),
        ("networkPolicy.scrapers[0].ipBlock.cidr=all", "/networkPolicy/scrapers/0/ipBlock/cidr"),
        ("monitoring.podMonitor.interval=30", "/monitoring/podMonitor/interval"),
    ],
)
def test_what_is_no_value_is_refused_by_name(setting: str, said: str) -> None:
    with pytest.raises(Failed, match=re.escape(said)):
        rendered(case("default"), "--set", setting)


@pytest.mark.parametrize(
    ("settings", "one", "other"),
    [
        (
            "operator.resources.limits.memory=64Mi",
            "operator.*requests.memory",
            "operator.*limits.memory",
        ),
        ("hub.enabled=true,hub.resources.limits.cpu=0.2", "hub.*requests.cpu", "hub.*limits.cpu"),
        ("sidecar.memoryRequest=1Gi", "sidecar.memoryRequest", "sidecar.memory"),
        ("sidecar.port=8651", "sidecar.port", "sidecar.adminPort"),
    ],
)
def test_values_that_contradict_each_other_are_refused_by_both_names(
    settings: str, one: str, other: str
) -> None:
    with pytest.raises(Failed, match=rf"{one}\b.* {other}\b"):
        rendered(case("default"), "--set", settings)


@pytest.mark.parametrize("asked", ["0.5Gi", "500M", "536870912", "5e8", "512Ki", "1000m"])
def test_a_request_may_be_any_quantity_up_to_its_limit(asked: str) -> None:
    chosen = f"--set-string=operator.resources.requests.memory={asked}"

    resources = container(rendered(case("default"), chosen), "operator")["resources"]

    assert f"{resources['requests']['memory']}" == asked


# CRDs, and what is told at the end


@pytest.mark.parametrize("keep", [True, False])
def test_the_crds_are_those_that_gateway_and_operator_read(keep: bool) -> None:
    text = helm("template", "x", str(CRDS), "--set", f"keep={str(keep).lower()}")
    found = list(yaml.safe_load_all(text))

    annotations = [each["metadata"].pop("annotations", {}) for each in found]
    for each in found:
        each["metadata"].pop("labels")
    assert found == list(yaml.safe_load_all(crds.FILE.read_text()))
    assert annotations == [{"helm.sh/resource-policy": "keep"} if keep else {}] * 2


def test_the_crds_of_the_chart_are_those_of_the_chart_for_them_alone() -> None:
    with_them = of_kind(rendered(case("default")), "CustomResourceDefinition")

    assert [each["metadata"]["name"] for each in with_them] == [
        "usecases.pannier.dev",
        "buckets.pannier.dev",
    ]
    assert of_kind(rendered(case("namespaced")), "CustomResourceDefinition") == []


def test_the_definitions_come_before_all_that_works_with_them() -> None:
    kinds = [each["kind"] for each in rendered(case("default"))]

    last = len(kinds) - 1 - kinds[::-1].index("CustomResourceDefinition")
    assert last < min(kinds.index("Deployment"), kinds.index("MutatingWebhookConfiguration"))


def test_a_packed_chart_is_whole_by_itself(tmp_path: Path) -> None:
    helm("package", str(CHART), "--destination", str(tmp_path))
    (packed,) = tmp_path.iterdir()

    unpacked = helm("template", RELEASE, str(packed), "--kube-version", KUBERNETES)
    here = helm("template", RELEASE, str(CHART), "--kube-version", KUBERNETES)
    assert unpacked == here


def test_a_digest_wins_over_a_tag() -> None:
    objects = rendered(case("everything"), "--set=images.operator.tag=v9")

    image = container(objects, "operator")["image"]
    assert image == f"pannier-operator@sha256:{'1':0>64}"
