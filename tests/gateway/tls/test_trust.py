"""Certificates that change, well and badly, before a server that demands them."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from errno import ENOSPC
from functools import partial
from pathlib import Path
from shutil import rmtree

import pytest
from cryptography import x509
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from pannier_gateway.config.model import TlsConfig
from pannier_gateway.errors import StoreRefused
from pannier_gateway.metrics import CertificateMetrics
from pannier_gateway.stores.connecting import attempt
from pannier_gateway.stores.secrets import MountedSecrets
from pannier_gateway.tls.clients import CONNECTION_SECONDS
from pannier_gateway.tls.material import Material
from pannier_gateway.tls.sides import ClientSide, ServerSide
from pannier_gateway.tls.trust import Trust, Trusts
from pannier_gateway.upstream.errors import TlsFailed
from pannier_gateway.upstream.pool import Endpoint, Pool, PoolLimits
from pannier_gateway.upstream.request import Request
from support.certificates import DAY, HERE, Authority, server_context
from support.jumps import turns
from support.tls_server import TlsServer, serving_tls

pytestmark = pytest.mark.slow

TLS = TlsConfig(
    secret="identity", min_version="TLS12", relaxed_x509=False, insecure_skip_verify=False
)
GET = Request("GET", "/", [("host", "h")])
ENDED = timedelta(hours=-1)
OTHER = x509.UniformResourceIdentifier("spiffe://prod/ns/shop/sa/other")


class World:
    """Files that change, a server that knows their authority, and the trust in between."""

    def __init__(self, folder: Path, server: TlsServer, authority: Authority) -> None:
        self.authority = authority
        self.server = server
        self.identity = folder / "identity"
        self.files = MountedSecrets(folder)
        self.trust = Trust("ns/n", ClientSide(TLS, self.files))

    @property
    def endpoint(self) -> Endpoint:
        return self.server.endpoint(self.trust)

    async def look(self) -> None:
        await self.trust.look(partial(attempt, self.endpoint))

    async def ask(self, trust: Trust | None = None) -> str:
        """Ask over a new connection; the serial number that the server has seen."""
        pool = Pool(self.server.endpoint(trust or self.trust))
        async with pool.exchange(GET) as answer:
            assert answer.status == 204
        pool.close()
        return self.server.callers[-1]


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(tmp_path, request.param) as made:
        yield made


@asynccontextmanager
async def world_of(
    folder: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, *, sloppy: bool = False
) -> AsyncIterator[World]:
    authority = Authority(sloppy=sloppy)
    context = server_context(authority.issue(folder / "server"), demanding=True)
    context.maximum_version = version
    authority.issue(folder / "identity")
    with serving_tls(context) as server:
        yield World(folder, server, authority)
        await turns()  # in which sockets are closed: the server's threads wait for that


# Files that are fine


async def test_a_renewed_certificate_is_shown_on_new_connections(world: World) -> None:
    first = await world.ask()

    world.authority.issue(world.identity)
    assert await world.ask() == first
    await world.look()

    assert await world.ask() != first
    assert (world.trust.applied, world.trust.refused, world.trust.problem) == (1, 0, None)


async def test_files_that_stay_are_left_alone(world: World) -> None:
    await world.ask()
    asked = len(world.server.callers)

    await world.look()

    assert world.trust.applied == 0
    assert len(world.server.callers) == asked


async def test_certificates_change_under_load_and_no_request_fails(world: World) -> None:
    await world.ask()
    pool = Pool(world.endpoint, PoolLimits(age=0.02))
    changed = asyncio.Event()

    async def load() -> int:
        done = 0
        while not changed.is_set():
            async with pool.exchange(GET) as answer:
                done += answer.status == 204
        return done

    async def change() -> None:
        for turn in range(12):
            folder = world.identity
            (Authority() if turn % 3 == 2 else world.authority).issue(folder)
            await world.look()
        changed.set()

    loads = [asyncio.create_task(load()) for _ in range(4)]
    await change()
    done = [await each for each in loads]
    pool.close()

    assert sum(done) > 20
    assert (world.trust.applied, world.trust.refused) == (8, 4)
    assert len(set(world.server.callers)) > 4


async def test_the_trust_follows_by_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pannier_gateway.tls.trust.LOOK_AGAIN_SECONDS", 0.001)
    first = await world.ask()
    world.authority.issue(world.identity)
    trusts = Trusts()
    tried = asyncio.Event()

    async def accept(_: ssl.SSLContext) -> None:
        tried.set()

    async with trusts.following(world.trust, accept):
        assert trusts.in_use == {"ns/n": world.trust}
        await tried.wait()
        await asyncio.sleep(0)  # a turn in which what was accepted is taken up

    assert not trusts.in_use
    assert await world.ask() != first


class OnceFull(ClientSide):
    """ssl takes certificates from files alone, and for a moment the disk takes none."""

    full = False

    def context(self, material: Material) -> ssl.SSLContext:
        if self.full:
            self.full = False
            raise OSError(ENOSPC, "No space left on device")
        return super().context(material)


async def test_after_a_moment_without_room_for_files_it_follows_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pannier_gateway.tls.trust.LOOK_AGAIN_SECONDS", 0.001)
    side = OnceFull(TLS, world.files)
    trust = Trust("ns/n", side)
    in_force = trust()
    tried = asyncio.Event()
    kept: list[ssl.SSLContext] = []
    problems: list[str | None] = []

    async def accept(_: ssl.SSLContext) -> None:
        kept.append(trust())
        problems.append(trust.problem)
        tried.set()

    side.full = True
    world.authority.issue(world.identity)
    async with Trusts().following(trust, accept), asyncio.timeout(20):
        await tried.wait()
        await asyncio.sleep(0)  # a turn in which what was accepted is taken up

    assert kept == [in_force]
    assert "No space left on device" in str(problems)
    assert trust() is not in_force
    assert (trust.applied, trust.refused) == (1, 1)


async def test_the_end_of_an_older_configuration_does_not_hide_the_newer(world: World) -> None:
    trusts = Trusts()
    newer = Trust("ns/n", ClientSide(TLS, world.files))

    older = trusts.following(world.trust, nobody_to_ask)
    await older.__aenter__()
    async with trusts.following(newer, nobody_to_ask):
        await older.__aexit__(None, None, None)

        assert trusts.in_use == {"ns/n": newer}


# Files that are not


def half(world: World) -> None:
    """The certificate of one pair beside the key of another."""
    key = (world.identity / "tls.key").read_bytes()
    world.authority.issue(world.identity)
    (world.identity / "tls.key").write_bytes(key)


def cut(world: World) -> None:
    world.authority.issue(world.identity)
    file = world.identity / "tls.crt"
    file.write_bytes(file.read_bytes()[:200])


def empty(world: World) -> None:
    (world.identity / "tls.key").write_bytes(b"")


def gone(world: World) -> None:
    (world.identity / "tls.crt").unlink()


def unreadable(world: World) -> None:
    (world.identity / "tls.key").unlink()
    (world.identity / "tls.key").mkdir()


def ended(world: World) -> None:
    world.authority.issue(world.identity, lifetime=ENDED)


def of_a_stranger(world: World) -> None:
    Authority().issue(world.identity)
    (world.identity / "ca.crt").write_bytes(world.authority.pem)


def trusting_a_stranger(world: World) -> None:
    (world.identity / "ca.crt").write_bytes(Authority().pem)


def trusting_nobody(world: World) -> None:
    (world.identity / "ca.crt").write_bytes(b"no certificate")


def of_another_name(world: World) -> None:
    world.authority.issue(world.identity, (OTHER,))


def of_fewer_names(world: World) -> None:
    world.authority.issue(world.identity, HERE[:1])


BROKEN: Mapping[Callable[[World], None], str] = {
    half: "can't be used",
    cut: "can't be used",
    empty: "can't be used",
    gone: "there is no",
    unreadable: "can't be read",
    ended: "ended at .* have it renewed",
    of_a_stranger: "does not accept the Bucket's certificate",
    trusting_a_stranger: "none of the authorities that the Bucket trusts",
    trusting_nobody: "can't be used",
    of_another_name: "is not for 127.0.0.1 or localhost any more",
    of_fewer_names: "is not for localhost any more",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda each: each.__name__)
async def test_files_that_do_not_work_leave_the_last_good_ones_in_force(
    world: World, broken: Callable[[World], None], caplog: pytest.LogCaptureFixture
) -> None:
    first = await world.ask()

    broken(world)
    for _ in range(2):
        await world.look()

    assert await world.ask() == first
    assert world.trust.refused == 1
    with pytest.raises(AssertionError, match=BROKEN[broken]):
        raise AssertionError(world.trust.problem)
    assert [each.message for each in caplog.records].count("certificates refused") == 1

    rmtree(world.identity)
    world.authority.issue(world.identity)
    await world.look()

    assert world.trust.problem is None
    assert await world.ask() != first


async def test_a_hub_takes_up_no_certificate_that_has_lost_a_name(tmp_path: Path) -> None:
    authority = Authority()
    trust = Trust("--tls-listen", ServerSide(authority.issue(tmp_path)))
    in_force = trust()

    authority.issue(tmp_path, (OTHER, *HERE[1:]))
    await trust.look(nobody_to_ask)

    assert trust() is in_force
    assert "is not for 127.0.0.1 any more" in (trust.problem or "")

    authority.issue(tmp_path, (OTHER, *HERE))
    await trust.look(nobody_to_ask)

    assert trust() is not in_force
    assert trust.problem is None


async def nobody_to_ask(_: ssl.SSLContext) -> None: ...


async def test_files_that_never_worked_are_an_error_that_says_so(world: World) -> None:
    half(world)

    with pytest.raises(StoreRefused, match="can't be used"):
        await world.ask()

    world.authority.issue(world.identity)
    await world.look()
    assert await world.ask()


async def test_newer_files_wait_for_a_store_that_is_down(world: World, unused_port: int) -> None:
    await world.ask()
    world.authority.issue(world.identity)
    in_force = world.trust()

    await world.trust.look(partial(attempt, Endpoint("127.0.0.1", unused_port, world.trust)))

    assert world.trust() is in_force
    assert (world.trust.applied, world.trust.refused) == (0, 0)
    assert "can't be tried" in (world.trust.problem or "")


async def test_once_the_certificate_in_force_has_ended_newer_ones_are_not_tried_first(
    world: World, unused_port: int
) -> None:
    now = DAY.total_seconds()
    trust = Trust("ns/n", ClientSide(TLS, world.files), lambda: now)
    await world.ask(trust)
    world.authority.issue(world.identity, (OTHER,), lifetime=9 * DAY)
    in_force = trust()

    now = trust.expiries["certificate"] + 1
    await trust.look(partial(attempt, Endpoint("127.0.0.1", unused_port, trust)))

    assert trust() is not in_force
    assert trust.problem is None


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1")
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    return port


# What is demanded of the store


async def test_an_authority_that_breaks_the_form_is_told_of_and_can_be_accepted(
    tmp_path: Path,
) -> None:
    async with world_of(tmp_path, sloppy=True) as world:
        strict = Pool(world.endpoint)
        with pytest.raises(TlsFailed) as failed:
            async with strict.exchange(GET):
                pass
        with pytest.raises(StoreRefused, match="relaxedX509"):
            await attempt(world.endpoint, world.trust())
        relaxed = Trust("ns/n", ClientSide(replace(TLS, relaxed_x509=True), world.files))

        assert isinstance(failed.value.__cause__, ssl.SSLCertVerificationError)
        assert await world.ask(relaxed)


async def test_a_store_of_another_name_is_refused_with_the_setting_that_names_it(
    tmp_path: Path,
) -> None:
    async with world_of(tmp_path) as world:
        other = world.server.endpoint(world.trust, "store.example")

        with pytest.raises(StoreRefused, match=r"another name.*tls\.serverName"):
            await attempt(other, world.trust())
        await attempt(world.server.endpoint(world.trust, "localhost"), world.trust())


async def test_a_store_that_speaks_an_older_tls_is_refused(tmp_path: Path) -> None:
    async with world_of(tmp_path, ssl.TLSVersion.TLSv1_2) as world:
        newer = Trust("ns/n", ClientSide(replace(TLS, min_version="TLS13"), world.files))

        with pytest.raises(StoreRefused, match=r"(?i)version"):
            await attempt(world.endpoint, newer())


@pytest.mark.parametrize("config", [TLS, None], ids=["a tls block", "none"])
def test_nothing_older_than_tls_1_2_is_spoken_on_either_side(
    tmp_path: Path, config: TlsConfig | None
) -> None:
    identity = Authority().issue(tmp_path / "identity")
    sides = (ClientSide(config, MountedSecrets(tmp_path)), ServerSide(identity))

    for side in sides:
        assert side.context(side.read()).minimum_version is ssl.TLSVersion.TLSv1_2


def test_no_store_may_begin_a_handshake_in_the_middle(tmp_path: Path) -> None:
    side = ClientSide(None, MountedSecrets(tmp_path))

    assert side.context(side.read()).options & ssl.OP_NO_RENEGOTIATION


def test_both_ends_keep_a_connection_for_five_minutes() -> None:
    assert PoolLimits().age == CONNECTION_SECONDS == 300


async def test_a_store_that_is_not_verified_is_believed_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with world_of(tmp_path) as world:
        trusting_a_stranger(world)
        skipping = Trust("ns/n", ClientSide(replace(TLS, insecure_skip_verify=True), world.files))
        trusts = Trusts()

        async with trusts.following(skipping, partial(attempt, world.endpoint)):
            assert await world.ask(skipping)
            assert sample(trusts, "pannier_tls_unverified") == 1

    assert not skipping.state.verified
    assert [each.message for each in caplog.records if each.levelno == logging.WARNING] == [
        "the store is not verified"
    ]


async def test_metrics_tell_until_when_certificates_count_and_what_became_of_newer_ones(
    tmp_path: Path,
) -> None:
    async with world_of(tmp_path) as world:
        trusts = Trusts()
        async with trusts.following(world.trust, partial(attempt, world.endpoint)):
            await world.ask()
            half(world)
            await world.look()
            world.authority.issue(world.identity)
            await world.look()

            told = partial(sample, trusts)
            end = world.trust.expiries["certificate"]
            assert told("pannier_certificate_expiry_seconds", file="certificate") == end
            assert told("pannier_certificate_reloads_total", result="applied") == 1
            assert told("pannier_certificate_reloads_total", result="refused") == 1
    assert set(world.trust.state.expires) == {"certificate", "authority"}


def sample(trusts: Trusts, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    CertificateMetrics(registry).watch(trusts.in_use)
    return registry.get_sample_value(name, {"user": "ns/n", **labels})
