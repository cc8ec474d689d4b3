"""The charts on a real API server: installed, upgraded, uninstalled, and worked under."""

import asyncio
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml

from pannier_operator import command
from pannier_operator.api import BUCKETS
from pannier_operator.command import Parser
from pannier_operator.injector.settings import Settings, settings_of
from pannier_operator.injector.settings import add_options as injector_options
from pannier_operator.protection import FINALIZER
from support.charts import (
    CASES,
    CHART,
    CRDS,
    NAMESPACE,
    Failed,
    Json,
    case,
    container,
    helm,
    named,
    one,
    pods,
    rendered,
)
from support.cluster import (
    ControlPlane,
    Refused,
    free_ports,
    running_control_plane,
    running_controllers,
)
from support.injection import a_container, a_pod, is_injected, running_injector, until
from support.manifests import bucket, usecase
from support.operators import Place, eventually, logged, process
from support.page import inline, typed

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(240)]

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
NAMESPACES = (NAMESPACE, "team-a", "team-b")
DEFINITIONS = ("buckets.pannier.dev", "usecases.pannier.dev")
OWNER = "--output=jsonpath={.metadata.ownerReferences[*].kind}"
FREE = {"finalizers": None}
THEIRS = "example.com/theirs"
FOREIGN = {  # kinds of others that the chart makes objects of, here without a schema
    "monitoring.coreos.com": ("PodMonitor", "ServiceMonitor", "PrometheusRule"),
    "cert-manager.io": ("Certificate", "Issuer"),
}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of these tests' own: what a chart makes is for all of a cluster."""
    with running_control_plane(tmp_path_factory.mktemp("charts")) as plane:
        plane.apply(*(definition(group, kind) for group in FOREIGN for kind in FOREIGN[group]))
        for name in NAMESPACES:
            metadata = {"name": name, "labels": RESTRICTED}
            plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        yield plane


def definition(group: str, kind: str) -> Json:
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [version | {"schema": {"openAPIV3Schema": schema}}],
        },
    }


@pytest.fixture
def clean_plane(plane: ControlPlane) -> Iterator[ControlPlane]:
    """The same, on which before and afterwards nothing is left of any release."""
    sweep(plane)
    yield plane
    sweep(plane)


def sweep(plane: ControlPlane) -> None:
    """Take away all releases, CRDs and all: a test that broke off may have left them."""
    for release in helm("list", "-n", NAMESPACE, "-q", kubeconfig=plane.kubeconfig).split():
        uninstall(plane, release)
    with plane.api() as api:
        left = api.request("GET", BUCKETS.path(None)).body.get("items", ())
    held = [each["metadata"] for each in left if each["metadata"].get("finalizers")]
    for found in held:  # by a finalizer, and with it its CRD
        Place(plane, found["namespace"]).patch("Bucket", found["name"], metadata=FREE)
    plane.kubectl("delete", "crd", *DEFINITIONS, "--ignore-not-found")


@contextmanager
def installed(plane: ControlPlane, values: Path, *arguments: str) -> Iterator[str]:
    """A release with `values`, gone afterwards, CRDs and all; its name."""
    sweep(plane)
    release = f"r{secrets.token_hex(3)}"
    given = ("--namespace", NAMESPACE, "--values", str(values), "--set=crds.keep=false")
    helm("install", release, str(CHART), *given, *arguments, kubeconfig=plane.kubeconfig)
    try:
        yield release
    finally:
        uninstall(plane, release)


def uninstall(plane: ControlPlane, release: str) -> None:
    gone = ("uninstall", release, "--namespace", NAMESPACE, "--ignore-not-found", "--no-hooks")
    helm(*gone, kubeconfig=plane.kubeconfig)


# Every case


@pytest.mark.parametrize("values", CASES, ids=named)
def test_the_server_takes_every_object_as_it_is(plane: ControlPlane, values: Path) -> None:
    several = {"apiVersion": "v1", "kind": "List", "items": rendered(values)}
    strictly = ("--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts")

    said = plane.kubectl("apply", *strictly, "-f", "-", given=json.dumps(several))

    assert len(said.splitlines()) == len(rendered(values))


@pytest.mark.parametrize("values", CASES, ids=named)
def test_a_restricted_namespace_takes_every_pod(plane: ControlPlane, values: Path) -> None:
    namespace = plane.create_namespace(**RESTRICTED)
    found = list(pods(rendered(values)))
    for pod in found:
        plane.service_account(namespace, pod["spec"]["serviceAccountName"])

    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    with plane.api() as api:
        answers = [api.request("POST", path, pod) for pod in found]

    assert [each.message for each in answers if each.status != 201] == []
    assert answers


# A release's life


def test_upgrade_and_rollback_leave_the_certificate_and_an_uninstall_leaves_the_buckets(
    clean_plane: ControlPlane,
) -> None:
    where = ("--namespace", NAMESPACE, "--values", str(case("default")))
    helm("install", "pannier", str(CHART), *where, kubeconfig=clean_plane.kubeconfig)
    asyncio.run(certificate_kept(clean_plane))
    before = trusted(clean_plane)

    changed = ("--set=injector.failurePolicy=Ignore", "--set=operator.replicas=2")
    same = ("--namespace", NAMESPACE, "--reset-then-reuse-values")
    helm("upgrade", "pannier", str(CHART), *same, *changed, kubeconfig=clean_plane.kubeconfig)

    assert all(before)
    assert trusted(clean_plane) == before
    assert set(secret(clean_plane)["data"]) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    configuration = webhooks(clean_plane)
    assert {each["failurePolicy"] for each in configuration["webhooks"]} == {"Ignore"}

    helm("rollback", "pannier", "--namespace", NAMESPACE, kubeconfig=clean_plane.kubeconfig)
    assert {each["failurePolicy"] for each in webhooks(clean_plane)["webhooks"]} == {"Fail"}
    assert trusted(clean_plane) == before

    place = Place(clean_plane, "team-a")
    place.apply(bucket())
    uninstall(clean_plane, "pannier")

    left = clean_plane.kubectl("get", "all,secrets,configmaps,roles", "-n", NAMESPACE, "-o", "name")
    assert [each for each in left.split() if "pannier" in each] == []
    assert "main" in place.found("Bucket")

    helm("install", "pannier", str(CHART), *where, kubeconfig=clean_plane.kubeconfig)
    assert "main" in place.found("Bucket")


async def certificate_kept(plane: ControlPlane) -> None:
    """An injector takes up its work, with the release's arguments and permissions."""
    async with running_injector(injector_settings(plane)) as state:
        await until(lambda: not state.unready)


def injector_settings(plane: ControlPlane) -> Settings:
    parser = Parser()
    injector_options(parser)
    account = plane.kubeconfig_for(plane.service_account(NAMESPACE, "pannier-injector"))
    here = ["--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0", "--linger=0"]
    _, *arguments = container(rendered(case("default")), "injector")["args"]
    return settings_of(parser.parse_args([*arguments, *here, f"--kubeconfig={account}"]))


def webhooks(plane: ControlPlane) -> Json:
    kind = "mutatingwebhookconfiguration"
    return dict(json.loads(plane.kubectl("get", kind, "pannier-injector", "-o", "json")))


def trusted(plane: ControlPlane) -> list[str]:
    return [each["clientConfig"].get("caBundle", "") for each in webhooks(plane)["webhooks"]]


def secret(plane: ControlPlane) -> Json:
    name = ("secret", "pannier-injector-certificate", "-n", NAMESPACE)
    return dict(json.loads(plane.kubectl("get", *name, "-o", "json")))


def test_a_second_release_is_refused_where_there_is_one(clean_plane: ControlPlane) -> None:
    with installed(clean_plane, case("default")) as first:
        for namespaces in ("[]", '["team-a"]'):
            with pytest.raises(Failed, match=f"release {first} in namespace .* all namespaces"):
                beside(clean_plane, f"--set-json=namespaces={namespaces}")

        beside(clean_plane, "--set=hub.enabled=true,operator.replicas=0,injector.mode=none")

        same = ("--namespace", NAMESPACE, "--reuse-values")
        helm("upgrade", first, str(CHART), *same, kubeconfig=clean_plane.kubeconfig)


def test_releases_with_namespaces_of_their_own_go_together(clean_plane: ControlPlane) -> None:
    with installed(clean_plane, case("namespaced"), "--set=namespaces={team-a}") as first:
        for namespaces in ("[]", '["team-b","team-a"]'):
            with pytest.raises(Failed, match=f"{first} .* works in team-a already: upgrade"):
                beside(clean_plane, f"--set-json=namespaces={namespaces}")

        beside(clean_plane, "--set=namespaces={team-b}", "--set=injector.mode=none")

        same = ("--namespace", NAMESPACE, "--reuse-values")
        helm("upgrade", first, str(CHART), *same, kubeconfig=clean_plane.kubeconfig)


def beside(plane: ControlPlane, *arguments: str) -> None:
    """Another release, without the CRDs; raises Failed."""
    given = ("--namespace", NAMESPACE, "--set=crds.enabled=false,roles.aggregate=false")
    helm("install", "second", str(CHART), *given, *arguments, kubeconfig=plane.kubeconfig)


def test_a_hub_turns_to_tls_and_back(clean_plane: ControlPlane) -> None:
    port = ("service", "pannier-hub", f"--namespace={NAMESPACE}", "--output=jsonpath={.spec.ports}")
    released(clean_plane, "install", "hub-tls", "--set=hub.tls.enabled=false")
    names = []

    for enabled in ("true", "false"):
        released(clean_plane, "upgrade", "hub-tls", f"--set=hub.tls.enabled={enabled}")
        names += [each["name"] for each in json.loads(clean_plane.kubectl("get", *port))]

    assert names == ["https", "http"]


def test_the_volume_of_a_hub_changes_once_its_statefulset_is_gone(
    clean_plane: ControlPlane,
) -> None:
    pod = ("get", "pod", "pannier-hub-0", f"--namespace={NAMESPACE}", "--ignore-not-found")
    _, *deleting = inline("kubectl delete statefulset")
    released(clean_plane, "install", "hub-tls")
    with pytest.raises(Failed, match="updates to statefulset spec"):
        released(clean_plane, "upgrade", "hub-tls", "--set=hub.storage.size=20Gi")

    with running_controllers(clean_plane):  # which let go of the pod that it had
        clean_plane.kubectl(*deleting)
        released(clean_plane, "upgrade", "hub-tls", "--set=hub.storage.size=20Gi")
        eventually(lambda: clean_plane.kubectl(*pod, OWNER) == "StatefulSet")

        uninstall(clean_plane, "pannier")
        eventually(lambda: hub_pods(clean_plane) == [])
        clean_plane.kubectl(*inline("kubectl delete pvc")[1:])


def hub_pods(plane: ControlPlane) -> list[str]:
    its_own = "--selector=app.kubernetes.io/component=hub"
    return plane.kubectl("get", "pods", f"--namespace={NAMESPACE}", its_own, "-o", "name").split()


def released(plane: ControlPlane, verb: str, name: str, *changes: str) -> None:
    """Installs or upgrades the release called pannier, with the values of a case."""
    where = ("pannier", str(CHART), "--namespace", NAMESPACE, "--values", str(case(name)))
    helm(verb, *where, *changes, kubeconfig=plane.kubeconfig)


def test_the_crds_alone_are_installed_upgraded_and_kept(clean_plane: ControlPlane) -> None:
    where = ("pannier-crds", str(CRDS), "--namespace", NAMESPACE)
    helm("install", *where, kubeconfig=clean_plane.kubeconfig)
    clean_plane.kubectl("wait", "--for=condition=Established", "crd", *DEFINITIONS)
    older = [{"op": "remove", "path": "/spec/names/shortNames"}]
    patch = ("--type=json", f"--patch={json.dumps(older)}")
    clean_plane.kubectl("patch", "crd", "usecases.pannier.dev", *patch)

    helm("upgrade", *where, "--force-conflicts", kubeconfig=clean_plane.kubeconfig)

    names = clean_plane.kubectl(
        "get", "crd", "usecases.pannier.dev", "-o", "jsonpath={.spec.names}"
    )
    assert json.loads(names)["shortNames"] == ["uc"]
    uninstall(clean_plane, "pannier-crds")
    clean_plane.kubectl("get", "crd", *DEFINITIONS)


@pytest.mark.parametrize(("name", "namespace"), [("default", ""), ("namespaced", "team-a")])
def test_with_their_definitions_protected_buckets_go_too_once_nobody_works(
    clean_plane: ControlPlane, name: str, namespace: str
) -> None:
    place = Place(clean_plane, namespace or clean_plane.create_namespace())
    with installed(clean_plane, case(name), "--set=crds.enabled=true") as release:
        place.apply(bucket(), usecase())
        place.patch("Bucket", "main", metadata={"finalizers": [FINALIZER]})
        hook = helm("get", "hooks", release, "-n", NAMESPACE, kubeconfig=clean_plane.kubeconfig)
    assert "main" in place.found("Bucket")

    clean_plane.kubectl("apply", "--filename=-", given=hook)
    objects = [each for each in yaml.load_all(hook, yaml.CSafeLoader) if each]
    assert command.main(unprotecting(clean_plane, objects)) == 0

    clean_plane.kubectl("wait", "--for=delete", "crd", *DEFINITIONS, "--timeout=10s")
    assert command.main(unprotecting(clean_plane, objects)) == 0  # and finds nothing to do
    clean_plane.kubectl("delete", "--filename=-", given=hook)


def unprotecting(plane: ControlPlane, objects: list[Json]) -> list[str]:
    """How the Job that is among `objects` calls the operator, and as whom."""
    account = one(objects, "ServiceAccount")["metadata"]["name"]
    kubeconfig = plane.kubeconfig_for(plane.service_account(NAMESPACE, account))
    return [*container(objects, "unprotect")["args"], f"--kubeconfig={kubeconfig}"]


# At work under the chart's permissions


@pytest.mark.parametrize(
    ("name", "namespace"), [("default", ""), ("everything", ""), ("namespaced", "team-a")]
)
def test_the_operator_does_all_its_work_with_the_permissions_of_the_chart(
    plane: ControlPlane, tmp_path: Path, name: str, namespace: str
) -> None:
    with installed(plane, case(name), "--set=crds.enabled=true") as release:
        place = Place(plane, namespace or plane.create_namespace())
        log = tmp_path / "log"
        with working(plane, release, log) as metrics:
            place.apply(bucket(), usecase())

            eventually(lambda: place.condition("Usecase", "attachments", "Programmed")[0] == "True")
            eventually(lambda: place.condition("Bucket", "main", "InUse")[0] == "True")
            place.apply(usecase(suspend="All"))
            eventually(lambda: ("Normal", "Suspended", "Usecase/attachments") in place.events)
            place.delete("Usecase", "attachments")
            place.delete("Bucket", "main")
            eventually(lambda: not place.found("Bucket"))
            eventually(lambda: leases_renewed(plane))
            answered = metrics()

        assert 'code="200"' in answered
        assert 'code="403"' not in answered
        assert "pannier_operator_leader 1.0" in answered
        assert "forbidden" not in log.read_text().lower()
        assert logged(log)
        place.plane.kubectl("delete", "configmap", "pannier-config", "-n", place.namespace)


def leases_renewed(plane: ControlPlane) -> bool:
    """Whether every Lease, of which there may be none, was taken, and later renewed."""
    specs = [each["spec"] for each in Place(plane, NAMESPACE).found("Lease").values()]
    return all(each["renewTime"] > each["acquireTime"] for each in specs)


@contextmanager
def working(plane: ControlPlane, release: str, log: Path) -> Iterator[Callable[[], str]]:
    """The operator of a release, as its pod would run; what it answers for its metrics."""
    text = helm("get", "manifest", release, "-n", NAMESPACE, kubeconfig=plane.kubeconfig)
    objects = [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]
    account = one(objects, "ServiceAccount", "-operator")["metadata"]["name"]
    kubeconfig = plane.kubeconfig_for(plane.service_account(NAMESPACE, account))
    (port,) = free_ports(1)
    command, *arguments = container(objects, "operator")["args"]
    assert command == "run"

    def metrics() -> str:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    with process(kubeconfig, log, *arguments, f"--metrics-listen=127.0.0.1:{port}"):
        yield metrics


def test_a_policy_that_the_chart_has_filled_gives_pods_their_gateway(plane: ControlPlane) -> None:
    with installed(plane, case("policy")):
        path = pods_of(plane, plane.create_namespace(**{"pannier.dev/inject": "true"}))
        with plane.api() as api:
            eventually(lambda: is_injected(api.request("POST", path, a_pod())))
            (sidecar,) = api.request("POST", path, a_pod()).body["spec"]["initContainers"]

    assert sidecar["image"] == "pannier-gateway:0.1.0"
    assert sidecar["resources"]["limits"] == {"cpu": "100m", "memory": "512Mi"}


def test_the_guard_refuses_a_pod_whose_sidecar_somebody_broke(plane: ControlPlane) -> None:
    broken = a_pod(
        labels={"pannier.dev/injected": "1"}, initContainers=[a_container("pannier-gateway")]
    )
    with installed(plane, case("default")), plane.api() as api:
        path = pods_of(plane, plane.create_namespace())

        eventually(lambda: "lost restartPolicy" in api.request("POST", path, broken).message)


def test_while_no_injector_answers_only_pods_that_opted_in_are_refused(
    plane: ControlPlane,
) -> None:
    opted_in = a_pod(labels={"pannier.dev/inject": "true"})
    with installed(plane, case("default")), plane.api() as api:
        path = pods_of(plane, plane.create_namespace())
        eventually(lambda: "calling webhook" in api.request("POST", path, opted_in).message)

        others = [(path, a_pod())]
        others += [(pods_of(plane, name), opted_in) for name in (NAMESPACE, "kube-system")]
        answers = [api.request("POST", each, pod) for each, pod in others]

    assert [each.status for each in answers] == [201, 201, 201]


def pods_of(plane: ControlPlane, namespace: str) -> str:
    """Where pods of a namespace are made, or would be."""
    plane.service_account(namespace, "default")
    return f"/api/v1/namespaces/{namespace}/pods?dryRun=All"


def test_who_may_change_a_namespace_may_change_its_buckets(plane: ControlPlane) -> None:
    with installed(plane, case("default")), running_controllers(plane):
        place = Place(plane, plane.create_namespace())
        for role in ("view", "edit"):
            plane.service_account(place.namespace, role)
            bound = (role, f"--clusterrole={role}", f"--serviceaccount={place.namespace}:{role}")
            plane.kubectl("create", "rolebinding", *bound, "-n", place.namespace)

        eventually(lambda: allowed(place, "edit", "create") and allowed(place, "view", "list"))
        assert not allowed(place, "view", "create")


def allowed(place: Place, account: str, verb: str) -> bool:
    user = f"--as=system:serviceaccount:{place.namespace}:{account}"
    asked = ("auth", "can-i", verb, "buckets.pannier.dev", user, "-n", place.namespace)
    try:
        return place.plane.kubectl(*asked).strip() == "yes"
    except Refused:  # kubectl ends with 1 where the answer is no
        return False


# The page


def test_the_first_lines_of_the_page_lead_to_a_usecase_that_is_ready(
    clean_plane: ControlPlane, tmp_path: Path
) -> None:
    """All that needs no node: the pod that stores an object, and what comes after it, do."""
    (_, *install), *others = typed()
    others = others[: next(i for i, words in enumerate(others) if "run" in words)]

    install.remove("--wait")
    helm(*install, kubeconfig=clean_plane.kubeconfig)
    with working(clean_plane, "pannier", tmp_path / "log"):
        for program, *arguments in others:
            assert program == "kubectl"
            clean_plane.kubectl(*arguments)
        clean_plane.kubectl("delete", "usecases,buckets", "--all", "--all-namespaces")


def test_each_line_of_the_page_on_uninstalling_goes_as_far_as_it_says(
    clean_plane: ControlPlane, tmp_path: Path
) -> None:
    deleting, (_, *uninstalling), dropping = typed("Uninstall")
    ((_, *letting_go),) = typed("Uninstall", 2)
    install = ("install", "pannier", str(CHART), "--namespace", NAMESPACE)
    helm(*install, kubeconfig=clean_plane.kubeconfig)
    place = Place(clean_plane, clean_plane.create_namespace())
    with working(clean_plane, "pannier", tmp_path / "first"):
        place.apply(bucket(), usecase())
        eventually(lambda: place.condition("Bucket", "main", "InUse")[0] == "True")

    helm(*uninstalling, "--no-hooks", kubeconfig=clean_plane.kubeconfig)
    assert "pannier-config" in place.found("ConfigMap")
    assert "attachments" in place.found("Usecase")

    helm(*install, kubeconfig=clean_plane.kubeconfig)
    with working(clean_plane, "pannier", tmp_path / "second"):
        place.apply(usecase(suspend="All"))
        eventually(lambda: ("Normal", "Suspended", "Usecase/attachments") in place.events)

    helm(*uninstalling, "--no-hooks", kubeconfig=clean_plane.kubeconfig)
    place.patch("Bucket", "main", metadata={"finalizers": [FINALIZER, THEIRS]})
    clean_plane.kubectl(*deleting[1:], "--wait=false")
    clean_plane.kubectl(*letting_go, f"--namespace={place.namespace}")
    assert place.found("Bucket")["main"]["metadata"]["finalizers"] == [THEIRS]
    with pytest.raises(Refused):
        clean_plane.kubectl(*letting_go, f"--namespace={place.namespace}")
    place.patch("Bucket", "main", metadata=FREE)
    assert place.found("Bucket") == {}
    clean_plane.kubectl(*dropping[1:])
    assert "pannier" not in clean_plane.kubectl("get", "crd", "--output=name")


def test_the_volume_of_a_hub_stays_until_somebody_deletes_it(plane: ControlPlane) -> None:
    _, *deleting = inline("kubectl delete pvc")
    claims = ("get", "pvc", f"--namespace={NAMESPACE}", "--output=name")
    with running_controllers(plane):
        with installed(plane, case("everything")) as release:
            claim = f"persistentvolumeclaim/data-{release}-pannier-hub-0"
            eventually(lambda: claim in plane.kubectl(*claims).split())
        eventually(lambda: hub_pods(plane) == [])

        assert claim in plane.kubectl(*claims).split()
        plane.kubectl(*deleting)
        eventually(lambda: plane.kubectl(*claims) == "")
