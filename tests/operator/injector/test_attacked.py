"""The injector among people who mean it ill: names taken, a Secret emptied, endless bodies."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from msgspec import convert

from pannier_operator.injector import certificate, patch, policy, server
from pannier_operator.injector.certificate import pem, pem_of_key
from pannier_operator.injector.manifests import PATH
from pannier_operator.injector.metrics import Metrics
from pannier_operator.injector.mounts import Bucket
from pannier_operator.injector.options import Refused
from pannier_operator.injector.pod import Pod
from pannier_operator.injector.review import MalformedReview, asked
from pannier_operator.injector.rotation import Changed, Contents, Own, Version, unpacked
from pannier_operator.injector.serve import listening
from pannier_operator.injector.server import Injector
from pannier_operator.injector.tls import Identity
from pannier_operator.settings import Address
from pannier_operator.unusable import Unusable
from support.cluster import Answer, ControlPlane
from support.injection import (
    Cluster,
    Json,
    a_bucket,
    a_container,
    a_pod,
    applied,
    is_injected,
    namespace_of,
    place_at,
    settings,
    until,
)

NAMES = ("127.0.0.1",)
OPTED_IN = {"pannier.dev/inject": "true"}

# Volumes with the gateway's names


MINE = {"projected": {"sources": [{"configMap": {"name": "mine"}}]}}
TAKEN: dict[str, Json] = {
    "pannier-secrets": MINE,
    "pannier-claim-other": {"emptyDir": {}},
    "pannier-claim-data": {"emptyDir": {}},
}
TWICE = ("pannier-config", "pannier-data", "pannier-socket", "pannier-secrets")


def holding(name: str, volume: Json) -> Json:
    """A pod whose application has mounted a volume of that name."""
    mounts = [{"name": name, "mountPath": "/mine"}]
    containers = [a_container("app", volumeMounts=mounts)]
    return a_pod(volumes=[{"name": name, **volume}], containers=containers)


def with_buckets(cluster: Cluster) -> Cluster:
    keys = {"mode": "Secret", "secretRef": {"name": "keys"}}
    s3 = {"bucket": "main", "region": "r", "auth": keys}
    for bucket in (
        a_bucket("main", type="S3", s3=s3),
        a_bucket("disk", type="Filesystem", filesystem={"claimName": "data"}),
    ):
        cluster.add("/apis/pannier.dev/v1alpha1/buckets", bucket)
    return cluster


def is_complete(answer: Answer) -> bool:
    """Whether the pod has what both Buckets name."""
    return all(each in str(answer.body["spec"]) for each in ("secrets/keys/", "pannier-claim-data"))


def is_refused(answer: Answer) -> bool:
    return answer.status != 201


@pytest.mark.slow
async def test_a_policy_puts_no_secret_into_a_volume_that_the_application_brought(
    control_plane: ControlPlane,
) -> None:
    cluster = with_buckets(namespace_of(control_plane, **OPTED_IN))
    wanted = policy.manifests(settings().sidecar, place_at(1))

    async with applied(control_plane, *wanted, only=[cluster.namespace]):
        await cluster.until(a_pod(), is_injected)
        await cluster.until(a_pod(), is_complete)
        await cluster.until(a_pod(labels={"pannier.dev/inject": "what"}), is_refused)
        named = [await cluster.created(holding(name, it)) for name, it in TAKEN.items()]
        named += [await cluster.created(holding(name, {"emptyDir": {}})) for name in TWICE]
        other = await cluster.created(holding("mine", MINE))

    for answer in named:
        assert is_refused(answer)
        assert patch.NAMED in answer.message
    assert is_complete(other)


@pytest.mark.parametrize("name", [*TAKEN, *TWICE])
def test_a_webhook_refuses_the_same_names_in_the_same_words(name: str) -> None:
    pod = convert(holding(name, {"emptyDir": {}}), Pod)

    with pytest.raises(Refused, match="the gateway's") as refusal:
        patch.patch(pod, settings().sidecar, [])

    assert str(refusal.value) == f"{patch.NAMED}; volume {name} has one"


# A Secret that somebody empties


class Kept:
    """A Secret in memory, and the bundle that is trusted."""

    def __init__(self) -> None:
        self.contents: Contents = {}
        self.trusted = b""
        self._number = 0

    async def read(self) -> Version:
        return Version(self.contents, str(self._number))

    async def write(self, contents: Contents, over: str) -> None:
        if over != str(self._number):
            raise Changed
        self.contents = contents
        self._number += 1

    async def trust(self, bundle: bytes) -> None:
        self.trusted = bundle


@pytest.mark.parametrize("left", [{}, {"ca.crt": b"", "tls.key": b"rubbish"}])
async def test_who_serves_what_a_secret_has_lost_is_trusted_still(left: Contents) -> None:
    vault = Kept()
    one, other = Own(vault, NAMES), Own(vault, NAMES)
    served, _ = await other.pair()
    await one.pair()
    before = unpacked(vault.contents)
    assert before is not None

    vault.contents = left
    anew, _ = await one.pair()

    assert anew != served
    trusted = certificate.certificates(vault.trusted)
    assert trusted[1:] == [before.ca.certificate]
    assert (await other.pair())[0] == anew
    assert certificate.certificates(vault.trusted) == trusted


async def test_an_injector_that_remembers_nothing_trusts_nothing_else() -> None:
    vault = Kept()
    await Own(vault, NAMES).pair()
    vault.contents = {}

    await Own(vault, NAMES).pair()

    assert len(certificate.certificates(vault.trusted)) == 1


# Bodies


KEPT = certificate.renewed(None, NAMES, datetime.now(UTC))


class NoBuckets:
    async def buckets(self, namespace: str) -> Iterable[Bucket]:
        return ()


class Door(NamedTuple):
    """An injector that may be spoken to byte by byte."""

    at: Address
    metrics: Metrics

    async def sent(
        self, head: str, body: bytes
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        trust = ssl.create_default_context(cadata=KEPT.bundle.decode())
        reader, writer = await asyncio.open_connection(*self.at, ssl=trust)
        writer.write(f"POST {PATH} HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n".encode() + body)
        await writer.drain()
        return reader, writer

    async def answer(self, head: str, body: bytes) -> tuple[int, str]:
        """Status, and the line that explains it."""
        reader, writer = await self.sent(head, body)
        found, text = (await reader.readuntil(b"\r\n\r\n")).decode(), await reader.readline()
        writer.close()
        return int(found.split()[1]), text.decode()

    @property
    def malformed(self) -> float | None:
        name = "pannier_injector_reviews_total"
        return self.metrics.registry.get_sample_value(name, {"result": "malformed"})


@asynccontextmanager
async def door() -> AsyncIterator[Door]:
    metrics, identity = Metrics(), Identity()
    identity.take_up(pem(KEPT.serving.certificate), pem_of_key(KEPT.serving.key))
    application = Injector(settings().sidecar, (), NoBuckets(), metrics).application()
    async with listening(application, Address("127.0.0.1", 0), identity) as at:
        yield Door(at, metrics)


@pytest.mark.slow
async def test_a_body_that_does_not_come_is_waited_for_only_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "BODY_SECONDS", 0.05)

    async with door() as injector:
        status, text = await injector.answer("content-length: 100", b"{")

        assert (status, text) == (408, "the review did not come within 0.05 s\n")
        assert injector.malformed == 1


async def test_what_is_not_gzip_is_the_callers_mistake(caplog: pytest.LogCaptureFixture) -> None:
    body = b"\x1f\x8brubbish"
    head = (
        f"content-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}"
    )

    async with door() as injector:
        status, text = await injector.answer(head, body)

        assert status == 400
        assert text.startswith("the review cannot be read: ")
        assert injector.malformed == 1
    assert not caplog.records


async def test_a_caller_who_hangs_up_in_the_body_is_counted_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with door() as injector:
        _, writer = await injector.sent("content-length: 100", b"{")
        writer.close()
        await until(lambda: injector.malformed == 1)
    assert not caplog.records


@pytest.mark.parametrize(
    "namespace", ["", "../../x", "a/b", "a?b", "a#", "A", "-a", "a\n", "a" * 64, "a.b"]
)
def test_what_is_no_name_of_a_namespace_never_comes_into_a_path(namespace: str) -> None:
    request = {
        "uid": "u",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": namespace,
        "object": a_pod(),
    }
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}

    with pytest.raises(MalformedReview, match="namespace"):
        asked(json.dumps(review).encode())
    mended = review | {"request": request | {"namespace": "a-1"}}
    assert asked(json.dumps(mended).encode()).namespace == "a-1"


# Defaults


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("--default-port=8651", patch.SAME_PORT),
        ("--default-memory=64Mi", patch.TOO_LITTLE_MEMORY),
        ("--default-memory-request=1Gi", patch.TOO_LITTLE_MEMORY),
    ],
)
def test_defaults_that_would_refuse_every_pod_are_refused_at_the_start(told: str, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        settings(told)
