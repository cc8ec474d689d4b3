"""What goes wrong on the way to a real API server does so where, and as often as, it is told."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse, HTTPSConnection, IncompleteRead, RemoteDisconnected
from urllib.parse import urlsplit

import pytest

from support.apiproxy import (
    Asked,
    Cut,
    Hold,
    Lose,
    Note,
    Pass,
    Proxy,
    Refuse,
    Rule,
    Stall,
    running_proxy,
)
from support.cluster import ADMIN, ControlPlane, Json, Refused

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def shared(control_plane: ControlPlane) -> Iterator[Proxy]:
    with running_proxy(control_plane) as proxy:
        yield proxy


@pytest.fixture
def proxy(shared: Proxy) -> Iterator[Proxy]:
    """One on which nothing is wrong yet."""
    shared.clear()
    yield shared
    shared.hang_up()


@pytest.fixture
def folder(control_plane: ControlPlane, namespace: str) -> str:
    """The path of three ConfigMaps."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    with control_plane.api() as api:
        for name in ("one", "two", "three"):
            assert api.request("POST", path, config_map(namespace, name)).status == 201
    return path


def config_map(namespace: str, name: str) -> Json:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


@pytest.fixture
def ask(control_plane: ControlPlane, proxy: Proxy) -> Iterator["Client"]:
    client = Client(proxy.url, control_plane)
    yield client
    client.connection.close()


class Client:
    """A client that hides nothing of what it is answered, nor when."""

    def __init__(self, url: str, plane: ControlPlane) -> None:
        trust = ssl.create_default_context(cafile=plane.ca_file)
        self.connection = HTTPSConnection(urlsplit(url).netloc, context=trust, timeout=5)
        self._headers = {"authorization": f"Bearer {plane.tokens[ADMIN]}"}

    def __call__(self, method: str, path: str, body: Json | None = None) -> HTTPResponse:
        sent = None if body is None else json.dumps(body)
        headers = self._headers | {"content-type": "application/json"}
        self.connection.request(method, path, sent, headers)
        return self.connection.getresponse()


@pytest.mark.parametrize(
    ("method", "target", "verb", "resource", "namespace", "name"),
    [
        ("GET", "/version", "get", "", "", ""),
        ("GET", "/apis/pannier.dev/v1alpha1", "get", "", "", ""),
        ("GET", "/api/v1/namespaces", "list", "namespaces", "", ""),
        ("GET", "/api/v1/namespaces/team", "get", "namespaces", "", "team"),
        ("GET", "/api/v1/pods?watch=true&x=1", "watch", "pods", "", ""),
        ("GET", "/api/v1/namespaces/a/pods/b/log", "get", "pods/log", "a", "b"),
        ("POST", "/apis/pannier.dev/v1alpha1/namespaces/a/buckets", "create", "buckets", "a", ""),
        (
            "PATCH",
            "/apis/pannier.dev/v1alpha1/namespaces/a/usecases/b/status?force=true",
            "patch",
            "usecases/status",
            "a",
            "b",
        ),
    ],
)
def test_a_request_is_read_as_rbac_reads_it(
    method: str, target: str, verb: str, resource: str, namespace: str, name: str
) -> None:
    asked = Asked.read(method, target)

    assert (asked.verb, asked.resource) == (verb, resource)
    assert (asked.namespace, asked.name) == (namespace, name)


def test_without_a_rule_everything_works_and_is_counted(
    control_plane: ControlPlane, proxy: Proxy, namespace: str
) -> None:
    around = proxy.kubeconfig(control_plane.tokens[ADMIN])
    given = json.dumps(config_map(namespace, "settings"))

    control_plane.kubectl("apply", "--server-side", "-f", "-", given=given, kubeconfig=around)
    listed = control_plane.kubectl("get", "configmap", "-n", namespace, kubeconfig=around)

    assert "settings" in listed
    assert proxy.count("patch", "configmaps") == 1
    assert proxy.count("list", "configmaps") == 1
    assert proxy.count() >= 2


def test_the_server_knows_who_asks(
    control_plane: ControlPlane, proxy: Proxy, namespace: str
) -> None:
    reader = proxy.kubeconfig(control_plane.service_account(namespace, "reader"))

    with pytest.raises(Refused, match=r"reader.*cannot list"):
        control_plane.kubectl("get", "secrets", "-n", namespace, kubeconfig=reader)


def test_a_refusal_says_when_to_come_again(ask: Client, proxy: Proxy, folder: str) -> None:
    rule = proxy.on(Rule(Refuse(429, retry_after=7), verb="list", resource="configmaps", times=1))

    refused = ask("GET", folder)
    assert (refused.status, refused.headers["retry-after"]) == (429, "7")
    assert json.load(refused)["reason"] == "TooManyRequests"
    again = ask("GET", folder)
    assert (again.status, rule.matched) == (200, 2)


def test_a_list_may_fail_on_its_second_page(ask: Client, proxy: Proxy, folder: str) -> None:
    proxy.on(Rule(Refuse(410), resource="configmaps", continues=True))

    first = json.load(ask("GET", f"{folder}?limit=2"))
    second = ask("GET", f"{folder}?limit=2&continue={first['metadata']['continue']}")

    assert len(first["items"]) == 2
    assert (second.status, json.load(second)["reason"]) == (410, "Expired")


def test_a_list_may_be_slow(ask: Client, proxy: Proxy, folder: str) -> None:
    proxy.on(Rule(Pass(seconds=0.2), verb="list"))
    asked = time.monotonic()

    assert len(json.load(ask("GET", folder))["items"]) == 3
    assert time.monotonic() - asked >= 0.2


def test_a_request_may_be_held_until_the_test_has_done_something(
    ask: Client, proxy: Proxy, folder: str
) -> None:
    over = threading.Event()
    noted = Note()
    proxy.on(Rule(noted, verb="list"))
    held = proxy.on(Rule(Hold(over), verb="list", times=1))
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(ask, "GET", folder)
        proxy.wait_until(lambda seen: seen.count("list") == 1)
        assert not waiting.done()

        over.set()

        assert len(json.load(waiting.result())["items"]) == 3
    json.load(ask("GET", folder))
    assert (held.matched, len(noted.times)) == (2, 1)


def test_only_the_path_that_is_meant_is_hit(ask: Client, proxy: Proxy) -> None:
    proxy.on(Rule(Refuse(503), path="^/apis/metrics"))

    refused = ask("GET", "/apis/metrics.k8s.io/v1beta1")
    assert json.load(refused)["code"] == refused.status == 503
    assert json.load(ask("GET", "/apis/pannier.dev/v1alpha1"))["kind"] == "APIResourceList"


def watch(ask: Client, folder: str) -> HTTPResponse:
    response = ask("GET", f"{folder}?watch=1")
    assert response.status == 200
    return response


def test_a_watch_that_is_cut_ends_like_any_other(ask: Client, proxy: Proxy, folder: str) -> None:
    proxy.on(Rule(Cut(events=2), verb="watch"))

    lines = watch(ask, folder).read().splitlines()

    assert [json.loads(line)["type"] for line in lines] == ["ADDED", "ADDED"]


def test_a_watch_may_end_with_an_error(ask: Client, proxy: Proxy, folder: str) -> None:
    proxy.on(Rule(Cut(events=1, error=410), verb="watch"))

    _, last = watch(ask, folder).read().splitlines()

    assert json.loads(last)["type"] == "ERROR"
    assert json.loads(last)["object"]["code"] == 410


def test_a_watch_may_break_off(ask: Client, proxy: Proxy, folder: str) -> None:
    proxy.on(Rule(Cut(events=1, clean=False), verb="watch"))

    with pytest.raises((IncompleteRead, ConnectionResetError)):
        watch(ask, folder).read()


def test_a_watch_that_stalls_is_neither_going_on_nor_over(
    ask: Client, proxy: Proxy, folder: str
) -> None:
    proxy.on(Rule(Stall(events=1), verb="watch"))
    ask.connection.timeout = 0.3

    stalled = watch(ask, folder)

    assert json.loads(stalled.readline())["type"] == "ADDED"
    with pytest.raises(TimeoutError):
        stalled.readline()


@pytest.mark.parametrize(("arrived", "then"), [(True, 409), (False, 201)])
def test_a_lost_answer_leaves_its_change_behind_and_a_lost_request_none(
    ask: Client, proxy: Proxy, folder: str, namespace: str, arrived: bool, then: int
) -> None:
    proxy.on(Rule(Lose(arrived=arrived), verb="create", times=1))
    body = config_map(namespace, "four")

    with pytest.raises((RemoteDisconnected, ConnectionResetError)):
        ask("POST", folder, body)
    ask.connection.close()
    assert ask("POST", folder, body).status == then


def test_what_is_under_way_can_be_lost_as_well(ask: Client, proxy: Proxy, folder: str) -> None:
    response = watch(ask, folder)

    proxy.hang_up()

    with pytest.raises((IncompleteRead, ConnectionResetError)):
        response.read()


def test_a_test_can_wait_for_a_request(ask: Client, proxy: Proxy, folder: str) -> None:
    with pytest.raises(TimeoutError, match="not after 0 s"):
        proxy.wait_until(lambda seen: seen.count("list") == 1, seconds=0)

    ask("GET", folder)

    proxy.wait_until(lambda seen: seen.count("list") == 1)


def test_the_newest_rule_goes_first_until_it_is_spent(
    ask: Client, proxy: Proxy, folder: str
) -> None:
    proxy.on(Rule(Refuse(500), verb="list"))
    proxy.on(Rule(Refuse(503), verb="list", times=1))

    answers = [json.load(ask("GET", folder)) for _ in range(2)]

    assert [answer["code"] for answer in answers] == [503, 500]


def test_a_large_object_passes_too(ask: Client, folder: str, namespace: str) -> None:
    large = config_map(namespace, "large") | {"data": {"key": "x" * 1_040_000}}

    assert ask("POST", folder, large).status == 201


def test_some_pass_before_it_goes_wrong_and_after_it() -> None:
    rule = Rule(Pass(), verb="list", skip=1, times=1)
    asked = Asked.read("GET", "/api/v1/pods")

    assert [rule.takes(asked) for _ in range(3)] == [False, True, False]
    assert not rule.takes(Asked.read("GET", "/api/v1/pods?watch=1"))
    assert rule.matched == 3
