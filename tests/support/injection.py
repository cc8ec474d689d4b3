"""The injector at work in front of a real API server, and pods made through both."""

import argparse
import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiohttp import web

from pannier_operator.injector import certificate, manifests, review, serve
from pannier_operator.injector.manifests import Place
from pannier_operator.injector.settings import Settings, add_options, settings_of
from pannier_operator.injector.tls import Identity
from pannier_operator.settings import Address
from support.cluster import Answer, ControlPlane

Json = dict[str, Any]

IMAGE = "registry.example/pannier-gateway:1"
SYSTEM = "pannier-system"
SECRET = "pannier-injector-certificate"
PATIENCE = 20.0  # seconds for the API server to notice what it was told
POLL = 0.05
RESTRICTED = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def settings(*arguments: str) -> Settings:
    """Settings of an injector on loopback."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_options(parser)
    fixed = [f"--image={IMAGE}", f"--namespace={SYSTEM}", "--host=127.0.0.1", "--linger=0"]
    listen = ["--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"]
    return settings_of(parser.parse_args([*fixed, *listen, *arguments]))


def place_at(port: int) -> Place:
    """An injector that the API server reaches on loopback."""
    return Place(namespace=SYSTEM, client={"url": f"https://127.0.0.1:{port}{manifests.PATH}"})


@asynccontextmanager
async def running_injector(given: Settings) -> AsyncIterator[serve.State]:
    """An injector that is ready."""
    state = serve.State()
    async with serve.injecting(given, state):
        await until(lambda: not state.unready)
        yield state


async def until(true: Callable[[], bool]) -> None:
    """Wait for `true`, which may block. Fails the test after a while."""
    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(true):  # noqa: ASYNC110  # the world tells of no event
            await asyncio.sleep(POLL)


class Cluster(NamedTuple):
    """A namespace of a real API server."""

    plane: ControlPlane
    namespace: str

    async def created(self, pod: Json) -> Answer:
        """What would become of `pod`; it is not made."""
        return await asyncio.to_thread(self.create, pod)

    def create(self, pod: Json) -> Answer:
        """The same, for those who may block."""
        with self.plane.api() as api:
            return api.request("POST", f"/api/v1/namespaces/{self.namespace}/pods?dryRun=All", pod)

    def add(self, path: str, manifest: Json) -> None:
        """Make an object of this namespace; `path` is what comes before and after its name."""
        before, _, plural = path.rpartition("/")
        with self.plane.api() as api:
            made = api.request("POST", f"{before}/namespaces/{self.namespace}/{plural}", manifest)
        assert made.status == 201, made.message

    def take_pods(self) -> None:
        """Have the ServiceAccount that pods need; elsewhere a controller would make it."""
        account = {"apiVersion": "v1", "kind": "ServiceAccount"}
        metadata = {"name": "default", "namespace": self.namespace}
        self.plane.apply({**account, "metadata": metadata, "automountServiceAccountToken": False})

    async def until(self, pod: Json, enough: Callable[[Answer], bool]) -> Answer:
        """The answer to `pod` once it is `enough`."""
        async with asyncio.timeout(PATIENCE):
            while not enough(answer := await self.created(pod)):  # noqa: ASYNC110  # as above
                await asyncio.sleep(POLL)
        return answer


def namespace_of(plane: ControlPlane, **labels: str) -> Cluster:
    """A new namespace for pods of the restricted profile, in which none gets an API token."""
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster = Cluster(plane, plane.create_namespace(**enforced | labels))
    cluster.take_pods()
    return cluster


@asynccontextmanager
async def applied(
    plane: ControlPlane, *objects: Mapping[str, Any], only: Sequence[str]
) -> AsyncIterator[None]:
    """Cluster-wide admission objects, for some namespaces; gone afterwards."""
    narrowed = [narrow(each, only) for each in objects]
    await asyncio.to_thread(plane.apply, *narrowed)
    try:
        yield
    finally:
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": narrowed})
        await asyncio.to_thread(plane.kubectl, "delete", "-f", "-", given=listed)


def narrow(manifest: Mapping[str, Any], namespaces: Sequence[str]) -> Json:
    """`manifest`, for pods in `namespaces` alone: tests share a server."""
    found: Json = deepcopy(dict(manifest))
    spec = found.get("spec", {})
    where = (*found.get("webhooks", ()), spec.get("matchResources"), spec.get("matchConstraints"))
    for each in where:
        if each is not None:
            selector = each.setdefault("namespaceSelector", {})
            selector.setdefault("matchExpressions", []).append(
                {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [*namespaces]}
            )
    return found


@asynccontextmanager
async def foreign_webhook(
    cluster: Cluster, operations: list[Json], unless: Callable[[Json], bool] = lambda _: False
) -> AsyncIterator[None]:
    """Somebody else's webhook, which changes every pod unless it looks good to it."""

    async def mutate(request: web.Request) -> web.Response:
        asked = (await request.json())["request"]
        done: list[Json] = [] if unless(asked["object"]["spec"]) else operations
        return web.Response(
            body=review.allowed(asked["uid"], done), content_type="application/json"
        )

    ca = certificate.new_ca(datetime.now(UTC))
    serving = certificate.signed(ca, ["127.0.0.1"], datetime.now(UTC))
    identity = Identity()
    identity.take_up(certificate.pem(serving.certificate), certificate.pem_of_key(serving.key))
    application = web.Application()
    application.add_routes([web.post(manifests.PATH, mutate)])
    async with serve.listening(application, Address("127.0.0.1", 0), identity) as at:
        found: Json = dict(manifests.webhook_configuration(place_at(at.port)))
        found["metadata"] = {"name": "zz-foreign"}  # they are called by name
        trusted = base64.b64encode(certificate.pem(ca.certificate)).decode()
        for each in found["webhooks"]:
            each["clientConfig"] = {**each["clientConfig"], "caBundle": trusted}
            each["reinvocationPolicy"] = "Never"
        async with applied(cluster.plane, found, only=[cluster.namespace]):
            yield


def grant(plane: ControlPlane, account: str, clusterwide: list[Any], own: list[Any]) -> None:
    """Give a ServiceAccount of the injector's namespace some rights, and no others."""
    subjects = [{"kind": "ServiceAccount", "name": account, "namespace": SYSTEM}]
    for kind, rules, place in (
        ("ClusterRole", clusterwide, {}),
        ("Role", own, {"namespace": SYSTEM}),
    ):
        head = {"apiVersion": "rbac.authorization.k8s.io/v1"}
        named = {"metadata": {"name": account, **place}}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": account}
        bound = {"roleRef": reference, "subjects": subjects}
        plane.apply(
            {**head, **named, "kind": kind, "rules": rules},
            {**head, **named, "kind": f"{kind}Binding", **bound},
        )


def a_pod(*, annotations: Json | None = None, labels: Json | None = None, **spec: Any) -> Json:
    """A pod of the restricted profile; `spec` adds to it."""
    metadata: Json = {"name": "p"}
    metadata |= {} if annotations is None else {"annotations": annotations}
    metadata |= {} if labels is None else {"labels": labels}
    return {"metadata": metadata, "spec": {"containers": [a_container("app")], **spec}}


def a_container(name: str, **fields: Any) -> Json:
    return {"name": name, "image": name, "securityContext": RESTRICTED, **fields}


def a_bucket(name: str, **spec: Any) -> Json:
    head = {"apiVersion": "pannier.dev/v1alpha1", "kind": "Bucket"}
    return {**head, "metadata": {"name": name}, "spec": spec}


def is_injected(answer: Answer) -> bool:
    inits = answer.body.get("spec", {}).get("initContainers", ())
    return any(each["name"] == "pannier-gateway" for each in inits)


def essence(answer: Answer) -> Json:
    """What was made of a pod, without what differs each time, and sets in order."""
    assert answer.status == 201, answer.message
    body = deepcopy(answer.body)
    for volatile in ("uid", "creationTimestamp", "managedFields", "namespace"):
        body["metadata"].pop(volatile, None)
    for volume in body["spec"].get("volumes", ()):
        volume.get("projected", {}).get("sources", []).sort(key=json.dumps)
    body["spec"].get("volumes", []).sort(key=json.dumps)
    for container in body["spec"].get("initContainers", ()):
        container.get("volumeMounts", []).sort(key=json.dumps)
    return body
