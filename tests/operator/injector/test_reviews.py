"""Reviews over real TLS, as an API server sends them."""

import asyncio
import base64
import io
import json
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import jsonpatch
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from pannier_operator.api import Refused
from pannier_operator.conditions import LONGEST_MESSAGE
from pannier_operator.injector import certificate, mounts, review
from pannier_operator.injector.certificate import Unreadable, pem, pem_of_key
from pannier_operator.injector.manifests import PATH
from pannier_operator.injector.metrics import Metrics
from pannier_operator.injector.mounts import Bucket
from pannier_operator.injector.review import MalformedReview, asked
from pannier_operator.injector.serve import listening
from pannier_operator.injector.server import LARGEST_REVIEW, Admin, Injector
from pannier_operator.injector.sidecar import DEFAULTS, Sidecar
from pannier_operator.injector.tls import Identity
from pannier_operator.settings import Address

SIDECAR = Sidecar(image="gateway:1", version="1", defaults=DEFAULTS)
ANY_PORT = Address("127.0.0.1", 0)
NAMES = ("127.0.0.1",)

Body = dict[str, Any]


class Listed:
    """Buckets from a list, or an error; it waits for `open` where a test must be in between."""

    def __init__(self, *items: Body, error: Refused | None = None) -> None:
        self._items = mounts.parse(list(items))
        self._error = error
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def buckets(self, namespace: str) -> Iterable[Bucket]:
        self.asked.set()
        await self.open.wait()
        if self._error is not None:
            raise self._error
        return self._items


class Running:
    """An injector behind TLS, and one connection to it at most."""

    def __init__(self, at: Address, metrics: Metrics, identity: Identity) -> None:
        self.url = f"https://127.0.0.1:{at.port}{PATH}"
        self.at = at
        self.metrics = metrics
        self.identity = identity

    async def post(self, client: aiohttp.ClientSession, body: bytes) -> tuple[int, str]:
        async with client.post(self.url, data=io.BytesIO(body)) as answer:
            return answer.status, await answer.text()

    def count(self, result: str) -> float | None:
        name = "pannier_injector_reviews_total"
        return self.metrics.registry.get_sample_value(name, {"result": result})


KEPT = certificate.renewed(None, NAMES, datetime.now(UTC))


@asynccontextmanager
async def running(buckets: Listed) -> AsyncIterator[Running]:
    metrics, identity = Metrics(), Identity()
    identity.take_up(*pair_of(KEPT.serving))
    application = Injector(SIDECAR, {"kube-system"}, buckets, metrics).application()
    async with listening(application, ANY_PORT, identity) as at:
        yield Running(at, metrics, identity)


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    trust = ssl.create_default_context(cadata=KEPT.bundle.decode())
    connector = aiohttp.TCPConnector(ssl=trust, limit=1)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


def pair_of(pair: certificate.Pair) -> tuple[bytes, bytes]:
    return pem(pair.certificate), pem_of_key(pair.key)


def a_review(pod: object = None, **fields: Any) -> Body:
    given = pod or {"metadata": {}, "spec": {"containers": [{"name": "app"}]}}
    request = {
        "uid": "u-1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "namespace": "default",
        "operation": "CREATE",
        "object": given,
        "unheard": {"of": 1},
    }
    head = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
    return {**head, "request": request | fields}


def sent(body: Body) -> bytes:
    return json.dumps(body).encode()


async def test_a_pod_is_answered_with_the_patch_that_gives_it_its_gateway() -> None:
    async with running(Listed()) as injector, client() as session:
        status, text = await injector.post(session, sent(a_review()))

    response = json.loads(text)["response"]
    assert (status, response["uid"], response["allowed"]) == (200, "u-1", True)
    patched = jsonpatch.apply_patch(
        a_review()["request"]["object"], base64.b64decode(response["patch"]).decode()
    )
    assert patched["spec"]["initContainers"][0]["name"] == "pannier-gateway"
    assert injector.count("injected") == 1


async def test_a_pod_that_asks_for_the_impossible_is_denied_with_words() -> None:
    pod = {"metadata": {"annotations": {"pannier.dev/port": "no"}}, "spec": {"containers": []}}
    async with running(Listed()) as injector, client() as session:
        status, text = await injector.post(session, sent(a_review(pod)))

    response = json.loads(text)["response"]
    assert (status, response["allowed"]) == (200, False)
    assert response["status"]["message"].startswith("annotation pannier.dev/port must be")
    assert injector.count("denied") == 1


async def test_a_denial_does_not_repeat_all_of_an_annotation_without_end() -> None:
    pod = {"metadata": {"annotations": {"pannier.dev/port": "9" * 200_000}}}
    async with running(Listed()) as injector, client() as session:
        _, text = await injector.post(session, sent(a_review(pod | {"spec": {"containers": []}})))

    message = json.loads(text)["response"]["status"]["message"]
    assert message.startswith("annotation pannier.dev/port must be")
    assert len(message.encode()) == LONGEST_MESSAGE


async def test_a_pod_of_the_system_is_not_even_looked_at() -> None:
    buckets = Listed()
    async with running(buckets) as injector, client() as session:
        status, text = await injector.post(session, sent(a_review(namespace="kube-system")))

    assert status == 200
    assert json.loads(text)["response"] == {"uid": "u-1", "allowed": True}
    assert not buckets.asked.is_set()
    assert injector.count("unchanged") == 1


async def test_when_buckets_cannot_be_listed_the_review_fails_so_that_the_policy_decides() -> None:
    async with running(Listed(error=Refused(503, "etcd is away"))) as injector, client() as session:
        status, text = await injector.post(session, sent(a_review()))

    assert status == 500
    assert "etcd is away" in text
    assert injector.count("failed") == 1


MALFORMED = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b'"\xff"',
    "no object": b"[]",
    "another kind": sent(a_review() | {"kind": "Pod"}),
    "an old version": sent(a_review() | {"apiVersion": "admission.k8s.io/v1beta1"}),
    "no request": sent({k: v for k, v in a_review().items() if k != "request"}),
    "no pod": sent(a_review(kind={"group": "apps", "version": "v1", "kind": "Deployment"})),
    "a pod without a spec": sent(a_review({"metadata": {}})),
    "containers that are none": sent(a_review({"metadata": {}, "spec": {"containers": [1]}})),
    "labels that are none": sent(a_review({"metadata": {"labels": [1]}, "spec": {}})),
    "too deep": b"[" * 200_000,
    "an object that is too deep": sent(a_review()).replace(b'{"of": 1}', b"[" * 200_000),
}


async def test_what_is_no_review_is_the_callers_mistake() -> None:
    async with running(Listed()) as injector, client() as session:
        answers = {name: await injector.post(session, body) for name, body in MALFORMED.items()}
        too_large = await injector.post(session, b" " * (LARGEST_REVIEW + 1))

    assert {name: status for name, (status, _) in answers.items() if status != 400} == {}
    assert all(len(text) > 10 for _, text in answers.values())
    assert too_large[0] == 413
    assert injector.count("malformed") == len(MALFORMED)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_review_or_a_mistake(body: bytes) -> None:
    with pytest.raises(MalformedReview):
        asked(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["metadata", "spec", "containers", "name"]), inner)
    ),
)


@given(JSON)
def test_what_is_no_pod_is_told_as_such(data: object) -> None:
    try:
        pod = asked(sent(a_review(object=data))).pod
    except MalformedReview:
        return
    assert isinstance(data, dict)
    assert len(pod.spec.containers) == len(data["spec"]["containers"])


async def test_a_hundred_reviews_at_once_are_all_answered() -> None:
    buckets = Listed()
    buckets.open.clear()
    async with running(buckets) as injector, aiohttp.ClientSession() as session:
        trust = ssl.create_default_context(cadata=KEPT.bundle.decode())

        async def one() -> int:
            async with session.post(injector.url, data=sent(a_review()), ssl=trust) as answer:
                return answer.status

        asking = [asyncio.create_task(one()) for _ in range(100)]
        await buckets.asked.wait()
        buckets.open.set()
        assert await asyncio.gather(*asking) == [200] * 100


# Certificates


async def seen_by(injector: Running) -> x509.Certificate:
    """What the injector shows to whoever connects now."""
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection(*injector.at, ssl=blind)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(shown)


async def test_a_new_certificate_is_shown_to_new_connections_and_open_ones_go_on() -> None:
    other = certificate.signed(KEPT.ca, NAMES, datetime.now(UTC))
    buckets = Listed()
    async with running(buckets) as injector, client() as session:
        await injector.post(session, sent(a_review()))
        buckets.open.clear()
        buckets.asked.clear()
        under_way = asyncio.create_task(injector.post(session, sent(a_review())))
        await buckets.asked.wait()

        assert injector.identity.take_up(*pair_of(other))
        buckets.open.set()

        assert (await under_way)[0] == 200
        assert await seen_by(injector) == other.certificate
        assert not injector.identity.take_up(*pair_of(other))


async def test_a_pair_that_does_not_fit_changes_nothing() -> None:
    other = certificate.signed(KEPT.ca, NAMES, datetime.now(UTC))
    async with running(Listed()) as injector:
        for wrong in (
            (pem(other.certificate), pem_of_key(KEPT.serving.key)),
            (b"rubbish", pem_of_key(other.key)),
            (pem(other.certificate), b"rubbish"),
        ):
            with pytest.raises(Unreadable):
                injector.identity.take_up(*wrong)

        assert await seen_by(injector) == KEPT.serving.certificate


async def test_readiness_wants_a_certificate_that_lasts() -> None:
    past = datetime.now(UTC) - certificate.LIFETIME - timedelta(hours=1)
    identity = Identity()
    assert identity.unready == "there is no certificate yet"

    identity.take_up(*pair_of(certificate.signed(KEPT.ca, NAMES, past)))
    assert identity.unready.startswith("the certificate ended at ")

    identity.take_up(*pair_of(KEPT.serving))
    assert identity.unready == ""


# The end, and the pages


async def test_a_review_under_way_at_the_end_is_answered_still() -> None:
    buckets = Listed()
    buckets.open.clear()
    async with client() as session:
        async with running(buckets) as injector:
            under_way = asyncio.create_task(injector.post(session, sent(a_review())))
            await buckets.asked.wait()
            asyncio.get_running_loop().call_soon(buckets.open.set)

        assert (await under_way)[0] == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await injector.post(session, sent(a_review()))


class Told:
    """A health that a test sets."""

    def __init__(self) -> None:
        self.registry = Metrics().registry
        self.unready = ""


async def test_the_pages_tell_of_health_and_metrics() -> None:
    health = Told()
    async with listening(Admin(health).application(), ANY_PORT) as at, client() as session:
        base = f"http://127.0.0.1:{at.port}"

        async def page(path: str) -> tuple[int, str]:
            async with session.get(base + path) as answer:
                return answer.status, await answer.text()

        assert await page("/readyz") == (200, "ok\n")
        health.unready = "starting"
        assert await page("/readyz") == (503, "starting\n")
        assert (await page("/livez"))[0] == 200
        assert "pannier_injector_reviews_total" in (await page("/metrics"))[1]


def test_answers_are_what_an_api_server_reads() -> None:
    assert json.loads(review.allowed("u"))["response"] == {"uid": "u", "allowed": True}
    assert json.loads(review.denied("u", "no"))["response"]["status"]["message"] == "no"
