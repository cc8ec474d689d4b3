"""The way to the API server: what arrives there, also when it does not believe who we are."""

import asyncio
import datetime
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.config import incluster_config
from prometheus_client import CollectorRegistry

from pannier_operator.api import CONFIG_MAPS, Refused, Unreachable
from pannier_operator.cluster import Connection, KubernetesCluster
from pannier_operator.metrics import ApiMetrics
from pannier_operator.pace import Backoff, Gate, Tokens
from pannier_operator.unusable import Unusable
from support.certificates import Authority
from support.operators import Place

NEWER = "Bearer newer"


class Doorkeeper:
    """Believes the newer token alone. One that asks for /late hears of that when another is in.

    A real API server can't be told when to refuse.
    """

    def __init__(self) -> None:
        self._somebody_is_in = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        if request.headers["authorization"] == NEWER:
            self._somebody_is_in.set()
            return web.json_response({"path": request.path})
        if request.path == "/late":
            await self._somebody_is_in.wait()
        if request.path == "/busy":
            return web.json_response({}, status=429, headers={"Retry-After": "9" * 400})
        return web.json_response({"message": "who?"}, status=401)


class Counted(Connection):
    """Counts how often it was read."""

    loads = 0

    async def load(self) -> None:
        self.loads += 1
        await super().load()


@asynccontextmanager
async def reached(kubeconfig: Path) -> AsyncIterator[tuple[KubernetesCluster, Counted]]:
    """A cluster that is asked with the token `older`."""
    application = web.Application()
    application.router.add_get("/{path:.*}", Doorkeeper().answer)
    async with TestServer(application) as server:
        write(kubeconfig, f"http://127.0.0.1:{server.port}", "older")
        connection = Counted(kubeconfig)
        async with connected(connection) as cluster:
            yield cluster, connection


@asynccontextmanager
async def connected(connection: Connection) -> AsyncIterator[KubernetesCluster]:
    await connection.load()
    gate = Gate(Tokens(100.0, 100.0), Backoff(0.1, 0.2))
    cluster = KubernetesCluster(connection, gate, ApiMetrics(CollectorRegistry()))
    yield cluster
    await cluster.close()


def write(kubeconfig: Path, url: str, token: str) -> None:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    kubeconfig.write_text(json.dumps(config))


def renew(kubeconfig: Path) -> None:
    kubeconfig.write_text(kubeconfig.read_text().replace("older", "newer"))


async def test_requests_that_are_refused_together_all_succeed_after_one_new_login(
    tmp_path: Path,
) -> None:
    async with reached(tmp_path / "config") as (cluster, connection):
        renew(tmp_path / "config")

        several = [cluster.get("/late") for _ in range(5)]
        answers = await asyncio.gather(*several, cluster.get("/"))

        assert [each["path"] for each in answers] == ["/late"] * 5 + ["/"]
        assert connection.loads == 2


async def test_a_token_that_can_not_be_read_for_a_moment_is_an_error_of_the_cluster(
    tmp_path: Path,
) -> None:
    config, away = tmp_path / "config", tmp_path / "away"
    async with reached(config) as (cluster, _):
        config.rename(away)
        with pytest.raises(Unreachable, match="no way to a cluster"):
            await cluster.get("/")
        away.rename(config)
        renew(config)

        assert await cluster.get("/") == {"path": "/"}


async def test_a_token_of_a_pod_that_is_empty_for_a_moment_is_an_error_of_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"SERVICE_TOKEN_FILENAME": b"older", "SERVICE_CERT_FILENAME": Authority().pem}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        monkeypatch.setattr(incluster_config, name, str(tmp_path / name))
    monkeypatch.setattr(incluster_config, "datetime", NoMinutes)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    async with connected(Connection(None)) as cluster:
        (tmp_path / "SERVICE_TOKEN_FILENAME").write_bytes(b"")

        with pytest.raises(Unreachable, match="Token file exists but empty"):
            await cluster.get("/")


class NoMinutes:
    """`datetime` for a library that reads a token again when it is a minute old: always."""

    datetime = datetime.datetime
    timedelta = staticmethod(lambda **_: datetime.timedelta())


@pytest.mark.cluster
async def test_every_letter_arrives_as_it_was_sent(place: Place) -> None:
    planes = [*range(0xD800), *range(0xE000, 0x10000), 0x10000, 0x1F4BE, 0x10FFFF]
    letters = "".join(map(chr, planes))

    async with connected(Connection(place.plane.kubeconfig)) as cluster:
        sent = CONFIG_MAPS.object(place.namespace, "letters") | {"data": {"all": letters}}
        answer = await cluster.apply(sent)

    assert answer["data"]["all"] == letters


async def test_nobody_makes_the_operator_wait_for_longer_than_two_minutes(tmp_path: Path) -> None:
    async with reached(tmp_path / "config") as (cluster, _):
        with pytest.raises(Refused) as refused:
            await cluster.get("/busy")

    assert refused.value.retry_after == 120.0


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff", b"text", b"42", b"- a", b"{", b"current-context: c\ncontexts: [3]"],
)
async def test_a_kubeconfig_that_is_none_is_said_in_one_line(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "config").write_bytes(content)

    with pytest.raises(Unusable, match=r"^no way to a cluster: /.*/config is no kubeconfig: .+$"):
        await Connection(tmp_path / "config").load()
