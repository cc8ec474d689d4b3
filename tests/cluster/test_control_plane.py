"""The control plane that other tests stand on: that it is a real one, and theirs alone."""

import json
import socket
from pathlib import Path

import pytest

from support import cluster
from support.cluster import ControlPlane, NotReady, Refused, running, running_control_plane

pytestmark = pytest.mark.cluster


def config_map(namespace: str, **data: str) -> cluster.Json:
    metadata = {"name": "settings", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def test_what_is_applied_is_there(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply(config_map(namespace, colour="blue"))

    said = control_plane.kubectl("get", "configmap", "settings", "-n", namespace, "-o", "json")
    assert json.loads(said)["data"] == {"colour": "blue"}


def test_what_is_not_accepted_is_said(control_plane: ControlPlane, namespace: str) -> None:
    with pytest.raises(Refused, match="data"):
        control_plane.apply(config_map(namespace) | {"data": ["blue"]})


def test_our_resources_are_served_from_the_start(control_plane: ControlPlane) -> None:
    assert control_plane.kubectl("get", "pannier", "--all-namespaces") == ""


def test_an_account_may_do_what_it_was_granted_and_nothing_else(
    control_plane: ControlPlane, namespace: str
) -> None:
    account = control_plane.kubeconfig_for(control_plane.service_account(namespace, "reader"))
    here = ("-n", namespace)
    role = ("reader", "--verb=list", "--resource=usecases.pannier.dev")
    control_plane.kubectl("create", "role", *role, *here)
    bound = ("reader", "--role=reader", f"--serviceaccount={namespace}:reader")
    control_plane.kubectl("create", "rolebinding", *bound, *here)

    assert control_plane.kubectl("get", "usecases", *here, kubeconfig=account) == ""
    with pytest.raises(Refused, match='cannot list resource "buckets"'):
        control_plane.kubectl("get", "buckets", *here, kubeconfig=account)


def test_a_request_without_a_valid_token_is_nobodys(control_plane: ControlPlane) -> None:
    with control_plane.api("guessed") as api:
        assert api.request("GET", "/api/v1/namespaces").status == 401


def test_a_connection_is_kept_from_request_to_request(
    control_plane: ControlPlane, namespace: str
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    with control_plane.api() as api:
        created = api.request("POST", path, config_map(namespace))
        again = api.request("POST", path, config_map(namespace))

    assert (created.status, created.message) == (201, "")
    assert (again.status, again.message) == (409, 'configmaps "settings" already exists')


@pytest.mark.slow
def test_controllers_make_the_pods_of_a_deployment(
    controlled_plane: ControlPlane, namespace: str
) -> None:
    here = ("-n", namespace)
    controlled_plane.kubectl("create", "deployment", "web", "--image=localhost/web:1", *here)

    controlled_plane.kubectl("wait", "--for=create", "pod", "--selector=app=web", *here)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_port_that_was_taken_meanwhile_is_given_up_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        choices = [[*cluster.free_ports(2), taken], cluster.free_ports(3)]
        monkeypatch.setattr(cluster, "free_ports", lambda _count: choices.pop(0))  # bad luck
        with running_control_plane(tmp_path) as plane, plane.api() as api:
            assert api.request("GET", "/readyz").status == 200

    with pytest.raises(ConnectionRefusedError), plane.api() as api:
        api.request("GET", "/readyz")


def test_what_cannot_start_says_why(tmp_path: Path) -> None:
    with running("etcd", ["--colour=blue"], tmp_path) as etcd:
        etcd.process.wait()

        with pytest.raises(NotReady, match=r"(?s)etcd ended with 2.*-colour"):
            etcd.check()
