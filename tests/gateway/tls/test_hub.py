"""A hub in a process of its own: gateways that prove who they are, before and after changes."""

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from socket import create_connection
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from cryptography import x509

from pannier_gateway.errors import StoreRefused, StoreUnavailable
from pannier_gateway.stores.upstream import UpstreamStore
from pannier_gateway.tls import hub as tls
from pannier_gateway.tls.clients import read_clients
from pannier_gateway.tls.trust import Trusts
from support.certificates import HERE, Authority, client_context
from support.gateway import Gateway, started
from support.hubs import upstream
from support.stores import put, read, streamed
from support.wire import Wire, head, read_answer

pytestmark = pytest.mark.slow  # processes start

WEB = x509.UniformResourceIdentifier("spiffe://prod/ns/shop/sa/web")
RULES = "clients: [{identity: spiffe://prod/ns/shop/*, usecases: [%s]}]"
MANIFESTS = """
apiVersion: pannier.dev/v1alpha1
kind: Bucket
metadata: {name: kept}
spec: {type: Filesystem}
---
apiVersion: pannier.dev/v1alpha1
kind: Usecase
metadata: {name: attachments}
spec: {bucketRef: {name: kept}}
---
apiVersion: pannier.dev/v1alpha1
kind: Usecase
metadata: {name: secrets}
spec: {bucketRef: {name: kept}}
"""
EXAMPLE = Path(__file__).parents[3] / "examples" / "hub.yaml"
NOISE = bytes(range(256)) * 8000
SECONDS = 20


@dataclass
class Hub:
    """A running hub, its files, and those of a client that it knows."""

    gateway: Gateway
    folder: Path
    authority: Authority

    @property
    def port(self) -> int:
        return urlsplit(self.gateway.tls_url or "").port or 0

    def context(self, name: str = "web") -> ssl.SSLContext:
        return client_context(self.folder / name, showing=True)

    def certificates(self) -> dict[str, dict[str, object]]:
        with urlopen(f"{self.gateway.admin_url}/configz") as page:
            told: dict[str, dict[str, object]] = json.load(page)["certificates"]
            return told


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    authority = Authority()
    authority.issue(folder / "server")
    authority.issue(folder / "web", (WEB,))
    (folder / "clients.yaml").write_text(RULES % "attachments")
    (folder / "manifests.yaml").write_text(MANIFESTS)
    arguments = ["--manifests", str(folder / "manifests.yaml"), "--data-dir", str(folder / "data")]
    tls = ["--tls-listen", "127.0.0.1:0", "--tls-dir", str(folder / "server")]
    rules = ["--tls-clients", str(folder / "clients.yaml")]
    with started([*arguments, *tls, *rules], folder / "log") as gateway:
        yield Hub(gateway, folder, authority)


async def test_a_client_reaches_the_usecases_that_its_name_opens(hub: Hub) -> None:
    async with upstream(hub.port, tls=hub.context()) as store:
        for key, body in (("small", b"x"), ("large", NOISE)):
            await put(store, f"attachments/objects/{key}", streamed(body))
            assert await read(store, f"attachments/objects/{key}") == body
        with pytest.raises(StoreRefused, match="may not touch the usecase 'secrets'"):
            await put(store, "secrets/objects/k", b"x")
        with pytest.raises(StoreRefused, match="may not touch the usecase 'nowhere'"):
            await read(store, "nowhere/objects/k")


async def test_a_client_of_another_name_reaches_nothing(hub: Hub) -> None:
    hub.authority.issue(hub.folder / "other", HERE)
    async with upstream(hub.port, tls=hub.context("other")) as store:
        with pytest.raises(StoreRefused, match="localhost may not touch"):
            await put(store, "attachments/objects/k", b"x")


@pytest.mark.parametrize("showing", [True, False], ids=["a stranger's", "none"])
async def test_nobody_comes_in_without_a_certificate_of_the_authority(
    hub: Hub, tmp_path: Path, showing: bool
) -> None:
    Authority().issue(tmp_path, (WEB,))
    (tmp_path / "ca.crt").write_bytes(hub.authority.pem)
    async with upstream(hub.port, tls=client_context(tmp_path, showing=showing)) as store:
        with pytest.raises((StoreRefused, StoreUnavailable)):
            await store.head("attachments/objects/k")


async def test_a_kept_connection_ends_with_the_certificate_that_opened_it(hub: Hub) -> None:
    hub.authority.issue(hub.folder / "brief", (WEB,), lifetime=timedelta(seconds=2))
    context = hub.context("brief")

    def stay() -> tuple[int, bytes]:
        with (
            create_connection(("127.0.0.1", hub.port), SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            tls.sendall(head("GET", "/health"))
            stream = tls.makefile("rb")
            return read_answer(stream, "GET").status, stream.read()

    assert await asyncio.to_thread(stay) == (200, b"")


async def test_the_listener_of_the_pod_asks_for_no_certificate(hub: Hub) -> None:
    def ask() -> int:
        with Wire(hub.gateway.url) as wire:
            return wire.ask("PUT", "/v1/objects/secrets/_/k", body=b"x").status

    assert await asyncio.to_thread(ask) == 200


async def test_rules_and_certificates_change_while_it_serves(hub: Hub) -> None:
    rules = hub.folder / "clients.yaml"
    before = hub.certificates()["--tls-listen"]["expires"]
    newer = Authority()
    opened = asyncio.Event()

    async def load(store: UpstreamStore) -> None:
        while not opened.is_set():
            await put(store, "attachments/objects/k", b"x")

    async with upstream(hub.port, tls=hub.context()) as store:
        loading = asyncio.create_task(load(store))
        (hub.folder / "server" / "tls.key").write_bytes(b"half")
        await told(hub, "problem", "can't be used")
        rules.write_text("clients: nobody")
        newer.issue(hub.folder / "server")
        newer.issue(hub.folder / "newer", (WEB,))
        await told(hub, "problem", None)
        assert hub.certificates()["--tls-listen"]["expires"] != before
        rules.write_text(RULES % "attachments, secrets")
        async with upstream(hub.port, tls=hub.context("newer")) as later:
            await until_allowed(later, "secrets/objects/k")
        opened.set()
        await loading

    async with upstream(hub.port, tls=hub.context()) as store:
        with pytest.raises((StoreRefused, StoreUnavailable)):  # of the authority before
            await store.head("attachments/objects/k")
    newer.issue(hub.folder / "web", (WEB,))
    hub.authority = newer


async def test_after_rules_that_nobody_can_read_it_follows_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pannier_gateway.tls.hub.LOOK_AGAIN_SECONDS", 0.001)
    Authority().issue(tmp_path)
    rules, newer = tmp_path / "clients.yaml", tmp_path / "newer.yaml"
    rules.write_text(RULES % "attachments")
    side = tls.Hub(tmp_path, rules)
    before = side.clients

    async with side.following(Trusts()), asyncio.timeout(SECONDS):
        newer.write_text(RULES % "2024-13-45")  # a date for YAML, and none
        newer.replace(rules)
        while "clients refused" not in caplog.messages:  # noqa: ASYNC110  # files tell of no event
            await asyncio.sleep(0.02)
        assert side.clients == before
        newer.write_text(RULES % "secrets")
        newer.replace(rules)
        while side.clients == before:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.02)

    assert side.clients == read_clients(rules)


async def told(hub: Hub, field: str, expected: str | None) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            state = await asyncio.to_thread(hub.certificates)
            found = state["--tls-listen"][field]
            if found == expected or (expected and expected in str(found)):
                return


async def until_allowed(store: UpstreamStore, path: str) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await put(store, path, b"x")
            except StoreRefused:
                await asyncio.sleep(0.02)
            else:
                return


def test_a_pod_reaches_the_hub_through_its_own_gateway(hub: Hub, tmp_path: Path) -> None:
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(EXAMPLE.read_text().replace(":8652", f":{hub.port}"))
    arguments = ["--manifests", str(manifests), "--data-dir", str(tmp_path / "data")]
    secrets = ["--secrets-dir", str(hub.folder)]
    with (
        started([*arguments, *secrets], tmp_path / "log") as gateway,
        Wire(gateway.url) as wire,
        Wire(hub.gateway.url) as behind,
    ):
        target = "/v1/objects/attachments/_/through"
        assert wire.ask("PUT", target, body=b"text " * 1000).status == 200

        ours, theirs = (each.ask("GET", target) for each in (wire, behind))

        assert ours.body == theirs.body == b"text " * 1000
        assert ours.headers["etag"] == theirs.headers["etag"]
        with urlopen(f"{gateway.admin_url}/configz") as page:
            told = json.load(page)
        assert "a gateway, which keeps every promise" in told["stores"]["default/hub"]["by"]
        (state,) = told["certificates"].values()
        assert state["problem"] is None
        assert gateway.samples("pannier_certificate_expiry_seconds")


def test_certificates_of_both_change_under_load_and_no_request_fails(
    hub: Hub, tmp_path: Path
) -> None:
    manifests, changes = tmp_path / "manifests.yaml", 3
    manifests.write_text(EXAMPLE.read_text().replace(":8652", f":{hub.port}"))
    arguments = ["--manifests", str(manifests), "--data-dir", str(tmp_path / "data")]
    done, users = threading.Event(), 4

    def use(url: str, number: int) -> int:
        asked = 0
        while not done.is_set():
            with Wire(url) as wire:
                target = f"/v1/objects/attachments/_/of-{number}"
                assert wire.ask("PUT", target, body=b"x").status == 200
                assert wire.ask("GET", target).body == b"x"
            asked += 2
        return asked

    with (
        started([*arguments, "--secrets-dir", str(hub.folder)], tmp_path / "log") as gateway,
        ThreadPoolExecutor(users) as threads,
    ):
        using = [threads.submit(use, gateway.url, number) for number in range(users)]
        try:
            before = [taken_up(hub.gateway), taken_up(gateway)]
            for change in range(1, changes + 1):
                hub.authority.issue(hub.folder / "server")
                hub.authority.issue(hub.folder / "web", (WEB,))
                while (
                    min(taken_up(hub.gateway) - before[0], taken_up(gateway) - before[1]) < change
                ):
                    assert not any(each.done() for each in using)
        finally:
            done.set()

    assert all(each.result() > changes for each in using)


def taken_up(gateway: Gateway) -> float:
    """How often it has taken up newer certificates."""
    return gateway.metric("pannier_certificate_reloads_total", result="applied")
