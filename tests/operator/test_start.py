"""What the operator needs before it begins, and what it may do once it has."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pannier_gateway.config import crds
from pannier_operator import command
from pannier_operator.lease import LeaseName
from pannier_operator.run import crds_served
from pannier_operator.served import SCHEMA
from pannier_operator.unusable import Unusable
from support.apiproxy import Proxy, Refuse, Rule
from support.cluster import ADMIN, ControlPlane, running_control_plane
from support.manifests import bucket, usecase
from support.operators import Json, Place, eventually, logged, process, reached, working
from support.rights import OPERATOR, keeping_a_lease

pytestmark = pytest.mark.cluster


def granted(plane: ControlPlane, name: str, account: Json, rules: list[Json]) -> None:
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name}}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    plane.apply(
        role | {"kind": "ClusterRole", "rules": rules},
        role | {"kind": "ClusterRoleBinding", "roleRef": ref, "subjects": [account]},
    )


def test_these_permissions_are_enough_everywhere(place: Place) -> None:
    account = {"kind": "ServiceAccount", "namespace": place.namespace, "name": "operator"}
    token = place.plane.service_account(place.namespace, "operator")
    granted(place.plane, place.namespace, account, OPERATOR + keeping_a_lease("operator"))
    place.apply(
        {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "operator"}}
    )

    lease = LeaseName(place.namespace, "operator")
    with working(place.plane.kubeconfig_for(token), lease=lease) as operator:
        place.apply(bucket(), usecase(), usecase("lost", bucketRef={"name": "no"}))
        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"))
        place.patch("ConfigMap", "pannier-config", data={"config.json": "{}"})
        eventually(lambda: place.config.generation == 2)
        place.delete("Usecase", "attachments")
        place.delete("Bucket", "main")

        eventually(lambda: not place.found("Bucket"))
        eventually(lambda: len(place.events) == 2)
        refused = [line for line in operator.asked("/metrics")[1].splitlines() if '"403"' in line]
    assert refused == []


async def test_a_cluster_without_our_crds_is_told_what_to_do(
    control_plane: ControlPlane, proxy: Proxy
) -> None:
    proxy.on(Rule(Refuse(404), path="^/openapi/v3/apis/pannier.dev"))
    async with reached(proxy.kubeconfig(control_plane.tokens[ADMIN])) as cluster:
        with pytest.raises(Unusable, match=r"no CRDs .*; apply .* crds \| kubectl apply"):
            await crds_served(cluster, patience=0.0)
        proxy.clear()
        proxy.on(Rule(Refuse(503), path="^/openapi", times=2))
        await crds_served(cluster, patience=0.0)


def kinds(document: Json) -> set[str]:
    schemas = document.get("components", {}).get("schemas", {})
    return {name.rpartition(".")[2] for name in schemas}


@pytest.mark.timeout(180)
async def test_crds_that_are_older_than_the_operator_are_told_by_field(tmp_path: Path) -> None:
    older = list(yaml.safe_load_all(crds.FILE.read_text()))
    for each in older:
        (version,) = each["spec"]["versions"]
        del version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["configHash"]
    with running_control_plane(tmp_path / "cluster") as plane:
        plane.apply(*older)
        with plane.api() as api:
            eventually(lambda: {"Usecase", "Bucket"} <= kinds(api.request("GET", SCHEMA).body), 30)

        async with reached(plane.kubeconfig) as cluster:
            with pytest.raises(Unusable, match=r"lack usecases.status.configHash, buckets.*apply"):
                await crds_served(cluster, patience=0.0)


def test_it_ends_when_told_to_and_gives_no_cause_for_alarm(place: Place, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with process(place.plane.kubeconfig, log, f"--namespace={place.namespace}") as operator:
        place.apply(bucket(), usecase())
        eventually(lambda: place.is_ready("Usecase", "attachments"), 30)

        operator.send_signal(signal.SIGTERM)

        assert operator.wait(10) == 0
    assert {line["level"] for line in logged(log)} == {"info"}


def test_its_user_needs_no_name(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr("getpass.getuser", nobody)  # as in its image, where users are numbers
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)):
        place.apply(bucket(), usecase())

        eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"), 30)


def test_it_ends_when_told_to_while_it_waits_for_a_cluster(
    control_plane: ControlPlane, proxy: Proxy, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    silent = proxy.on(Rule(Refuse(503)))
    with process(proxy.kubeconfig(control_plane.tokens[ADMIN]), log) as operator:
        eventually(lambda: silent.matched > 1, 30)

        operator.send_signal(signal.SIGTERM)

        assert operator.wait(10) == 0


def test_a_port_that_is_taken_is_said_in_one_line(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    with working(place.plane.kubeconfig, namespaces=(place.namespace,)) as first:
        eventually(lambda: first.asked("/livez")[0] == 200)
        listen = f"--metrics-listen={first.address.host}:{first.address.port}"
        kubeconfig = f"--kubeconfig={place.plane.kubeconfig}"

        assert command.main(["run", kubeconfig, listen]) == 2

    assert "address already in use" in capsys.readouterr().err


def test_the_command_that_is_installed_finds_the_cluster_in_its_environment(place: Place) -> None:
    installed = Path(sys.executable).with_name("pannier-operator")
    found = os.environ | {"KUBECONFIG": str(place.plane.kubeconfig)}
    here = ("--metrics-listen=127.0.0.1:0", f"--namespace={place.namespace}")
    with subprocess.Popen([installed, "run", *here], env=found) as operator:
        try:
            place.apply(bucket(), usecase())

            eventually(lambda: place.is_ready("Usecase", "attachments") == ("True", "Ready"), 30)
        finally:
            operator.kill()
