"""Who looks after the certificate, with the Secret and the webhooks of a real API server."""

import asyncio
import base64
import os
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from pannier_operator.api import Unreachable
from pannier_operator.cluster import Connection
from pannier_operator.injector import certificate, manifests
from pannier_operator.injector.certificate import Kept, pem, pem_of_key
from pannier_operator.injector.cluster import ClusterBuckets, ClusterVault, VaultNames, connected
from pannier_operator.injector.metrics import Metrics
from pannier_operator.injector.rotation import (
    Changed,
    Contents,
    Mounted,
    Own,
    Rotation,
    Source,
    Version,
    packed,
    unpacked,
)
from pannier_operator.injector.serve import State, injecting, listening, serve
from pannier_operator.injector.server import Injector
from pannier_operator.injector.tls import Identity
from pannier_operator.settings import Address
from support.cluster import ControlPlane, free_ports
from support.injection import (
    PATIENCE,
    SYSTEM,
    Cluster,
    a_pod,
    applied,
    is_injected,
    namespace_of,
    place_at,
    settings,
    until,
)

pytestmark = pytest.mark.slow

NAMES = ("127.0.0.1",)
OPTED_IN = {"pannier.dev/inject": "true"}
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/pannier-injector"


@pytest.fixture
def secret(control_plane: ControlPlane, request: pytest.FixtureRequest) -> str:
    """An empty Secret in the injector's namespace, as the chart brings it."""
    name = f"certificate-{abs(hash(request.node.name))}"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}
    empty = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": SYSTEM}}
    control_plane.apply(namespace, empty)
    return name


@asynccontextmanager
async def own(plane: ControlPlane, secret: str) -> AsyncIterator[tuple[Own, ClusterVault]]:
    login = Connection(plane.kubeconfig)
    await login.load()
    async with connected(login) as server:
        vault = ClusterVault(server, VaultNames(SYSTEM, secret, "pannier-injector"))
        yield Own(vault, NAMES), vault


@asynccontextmanager
async def configured(plane: ControlPlane, port: int = 1) -> AsyncIterator[None]:
    """Webhooks that concern nobody."""
    found = manifests.webhook_configuration(place_at(port))
    async with applied(plane, found, only=["nobody"]):
        yield


def bundles(plane: ControlPlane) -> list[bytes]:
    with plane.api() as api:
        webhooks = api.request("GET", WEBHOOKS).body["webhooks"]
    return [base64.b64decode(each["clientConfig"].get("caBundle", "")) for each in webhooks]


def kept_in(plane: ControlPlane, secret: str) -> Kept:
    with plane.api() as api:
        data = api.request("GET", f"/api/v1/namespaces/{SYSTEM}/secrets/{secret}").body["data"]
    kept = unpacked({key: base64.b64decode(each) for key, each in data.items()})
    assert kept is not None
    return kept


def write(folder: Path, pair: certificate.Pair) -> None:
    (folder / "tls.crt").write_bytes(pem(pair.certificate))
    (folder / "tls.key").write_bytes(pem_of_key(pair.key))


def looks(metrics: Metrics) -> dict[str, float | None]:
    name = "pannier_injector_certificate_checks_total"
    results = ("unchanged", "loaded", "failed")
    return {each: metrics.registry.get_sample_value(name, {"result": each}) for each in results}


@asynccontextmanager
async def webhooks_of(cluster: Cluster) -> AsyncIterator[int]:
    """Webhooks for one namespace; the port where they expect somebody."""
    (port,) = free_ports(1)
    found = manifests.webhook_configuration(place_at(port))
    async with applied(cluster.plane, found, only=[cluster.namespace]):
        yield port


@asynccontextmanager
async def standing(cluster: Cluster, port: int, source: Source) -> AsyncIterator[None]:
    """An injector whose certificate is looked after once."""
    metrics, identity = Metrics(), Identity()
    assert await Rotation(source, identity, metrics).look()
    login = Connection(cluster.plane.kubeconfig)
    await login.load()
    async with connected(login) as server:
        injector = Injector(settings().sidecar, (), ClusterBuckets(server), metrics)
        async with listening(injector.application(), Address("127.0.0.1", port), identity):
            yield


async def test_injectors_that_start_at_once_agree_on_one_certificate_and_have_it_trusted(
    control_plane: ControlPlane, secret: str
) -> None:
    async with configured(control_plane), own(control_plane, secret) as (one, vault):
        several = [one, *(Own(vault, NAMES) for _ in range(3))]
        pairs = await asyncio.gather(*(each.pair() for each in several))

        kept = kept_in(control_plane, secret)
        assert set(pairs) == {(pem(kept.serving.certificate), pem_of_key(kept.serving.key))}
        assert bundles(control_plane) == [kept.bundle] * 2


class Contested:
    """A vault that somebody else has always just written to."""

    async def read(self) -> Version:
        return Version({}, "1")

    async def write(self, contents: Contents, over: str) -> None:
        raise Changed

    async def trust(self, bundle: bytes) -> None:
        raise AssertionError("nothing was agreed on")


async def test_while_others_keep_changing_the_secret_there_is_no_answer() -> None:
    with pytest.raises(Unreachable, match="others keep changing"):
        await Own(Contested(), NAMES).pair()


async def test_nothing_is_written_while_nothing_is_due(
    control_plane: ControlPlane, secret: str
) -> None:
    async with configured(control_plane), own(control_plane, secret) as (source, vault):
        first = await source.pair()
        before = (await vault.read()).number

        assert await source.pair() == first
        assert (await vault.read()).number == before


async def test_a_bundle_that_somebody_took_away_is_put_back(
    control_plane: ControlPlane, secret: str
) -> None:
    async with configured(control_plane), own(control_plane, secret) as (source, vault):
        await source.pair()
        await vault.trust(b"")
        assert bundles(control_plane) == [b"", b""]

        await source.pair()

    assert kept_in(control_plane, secret).bundle


async def test_a_pair_that_nobody_can_trust_yet_is_not_taken_up(
    control_plane: ControlPlane, secret: str
) -> None:
    identity, metrics = Identity(), Metrics()
    async with own(control_plane, secret) as (source, _):
        assert not await Rotation(source, identity, metrics).look()  # there are no webhooks

    assert identity.end is None
    assert looks(metrics) == {"unchanged": 0, "loaded": 0, "failed": 1}


async def test_while_the_ca_changes_pods_are_injected_all_the_time(
    control_plane: ControlPlane, secret: str, tmp_path: Path
) -> None:
    cluster = namespace_of(control_plane, **OPTED_IN)
    now = datetime.now(UTC) - certificate.OVERLAP
    old = certificate.renewed(None, NAMES, now - certificate.CA_LIFETIME * 0.7)
    served = Kept(ca=old.ca, serving=certificate.signed(old.ca, NAMES, now))
    trusted_both = certificate.renewed(served, NAMES, now)
    signed_anew = certificate.renewed(trusted_both, NAMES, now + certificate.OVERLAP)

    async with own(control_plane, secret) as (_, vault), webhooks_of(cluster) as port:
        for step in (served, trusted_both, signed_anew):
            await vault.trust(step.bundle)
            write(tmp_path, step.serving)
            async with standing(cluster, port, Mounted(tmp_path)):
                assert is_injected(await cluster.until(a_pod(), is_injected))

    issuers = [each.serving.certificate.issuer for each in (served, trusted_both, signed_anew)]
    assert issuers[0] == issuers[1] != issuers[2]


async def test_with_a_certificate_that_has_ended_no_pod_is_made_and_the_reason_is_told(
    control_plane: ControlPlane, secret: str, tmp_path: Path
) -> None:
    cluster = namespace_of(control_plane, **OPTED_IN)
    past = datetime.now(UTC) - certificate.LIFETIME - timedelta(days=1)
    kept = certificate.renewed(None, NAMES, past)
    write(tmp_path, kept.serving)

    async with own(control_plane, secret) as (_, vault), webhooks_of(cluster) as port:
        await vault.trust(kept.bundle)
        async with standing(cluster, port, Mounted(tmp_path)):
            answer = await cluster.until(a_pod(), lambda found: "expired" in found.message)

    assert answer.status == 500
    assert "certificate has expired" in answer.message


# Files that somebody else keeps


async def test_mounted_files_are_followed_as_they_change(tmp_path: Path) -> None:
    kept = certificate.renewed(None, NAMES, datetime.now(UTC))
    later = certificate.signed(kept.ca, NAMES, datetime.now(UTC) + timedelta(days=1))
    identity, metrics = Identity(), Metrics()
    rotation = Rotation(Mounted(tmp_path), identity, metrics)

    assert not await rotation.look()  # there is nothing yet
    write(tmp_path, kept.serving)
    assert await rotation.look()
    (tmp_path / "tls.key").write_bytes(b"half of a k")
    assert not await rotation.look()
    assert identity.end == kept.serving.end
    write(tmp_path, later)
    assert await rotation.look()
    assert await rotation.look()

    assert identity.end == later.end
    assert looks(metrics) == {"unchanged": 1, "loaded": 2, "failed": 2}
    name = "pannier_injector_certificate_expiry_timestamp_seconds"
    assert metrics.registry.get_sample_value(name) == later.end.timestamp()


async def test_told_to_end_the_injector_lingers_and_goes(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    write(tmp_path, certificate.renewed(None, NAMES, datetime.now(UTC)).serving)
    (port,) = free_ports(1)
    given = settings(
        f"--kubeconfig={control_plane.kubeconfig}",
        f"--certificate-dir={tmp_path}",
        f"--metrics-listen=127.0.0.1:{port}",
        "--linger=0.2",
    )
    serving = asyncio.create_task(serve(given))

    async with aiohttp.ClientSession() as session:
        readyz = f"http://127.0.0.1:{port}/readyz"
        async with asyncio.timeout(20):
            while await page(session, readyz) != (200, "ok\n"):
                pass
            os.kill(os.getpid(), signal.SIGTERM)
            while await page(session, readyz) != (503, "shutting down\n"):
                pass
        await asyncio.wait_for(serving, 20)
        assert await page(session, readyz) == (0, "nobody listens")


async def page(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    try:
        async with session.get(url) as answer:
            return answer.status, await answer.text()
    except aiohttp.ClientConnectionError:
        return 0, "nobody listens"


# By itself


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks that follow each other at once, so that tests need not wait."""
    for each in ("Own.interval", "Mounted.interval", "RETRY"):
        monkeypatch.setattr(f"pannier_operator.injector.rotation.{each}", 0.05)


async def until_shown(at: Address, wanted: Callable[[x509.Certificate], bool]) -> x509.Certificate:
    """What whoever connects is shown, once it is what is wanted."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(PATIENCE):
        while not wanted(found := await shown(at, anybody)):
            pass
    return found


async def shown(at: Address, trust: ssl.SSLContext) -> x509.Certificate:
    _, writer = await asyncio.open_connection(*at, ssl=trust)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    await writer.wait_closed()
    return x509.load_der_x509_certificate(found)


async def until_another_failed(metrics: Metrics) -> None:
    before = looks(metrics)["failed"]
    await until(lambda: looks(metrics)["failed"] != before)


@pytest.mark.usefixtures("hasty")
async def test_an_injector_renews_its_certificate_in_time_all_by_itself(
    control_plane: ControlPlane, secret: str
) -> None:
    given = settings(f"--kubeconfig={control_plane.kubeconfig}", f"--certificate-secret={secret}")
    aged = certificate.renewed(None, given.names, datetime.now(UTC) - certificate.LIFETIME * 0.7)
    state = State()
    async with (
        configured(control_plane),
        own(control_plane, secret) as (_, vault),
        injecting(given, state) as at,
    ):
        await until(lambda: not state.unready)
        await vault.write(packed(aged), (await vault.read()).number)

        authority, old = aged.ca.certificate.subject, aged.serving.certificate
        found = await until_shown(at.reviews, lambda new: new.issuer == authority and new != old)

        assert found == kept_in(control_plane, secret).serving.certificate
        assert bundles(control_plane) == [aged.bundle] * 2


@pytest.mark.usefixtures("hasty")
async def test_an_injector_shows_what_its_files_have_become_whatever_they_were_meanwhile(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    given = settings(f"--kubeconfig={control_plane.kubeconfig}", f"--certificate-dir={tmp_path}")
    kept = certificate.renewed(None, NAMES, datetime.now(UTC))
    state = State()
    async with injecting(given, state) as at:
        await until_another_failed(state.metrics)  # there is nothing yet
        for pair in (kept.serving, certificate.signed(kept.ca, NAMES, datetime.now(UTC))):
            (tmp_path / "tls.crt").write_bytes(b"half of a c")
            await until_another_failed(state.metrics)
            write(tmp_path, pair)

            await until(lambda: not state.unready)
            await until_shown(at.reviews, pair.certificate.__eq__)
