"""A hub on several cores: each of its processes goes by the same certificates and rules."""

from collections.abc import Iterator
from pathlib import Path
from socket import create_connection
from urllib.parse import urlsplit

import pytest
from cryptography import x509

from support.certificates import Authority, client_context
from support.gateway import BEHIND, Gateway, running_gateway, started
from support.wire import head, read_answer

pytestmark = pytest.mark.slow  # four processes

WEB = x509.UniformResourceIdentifier("spiffe://prod/web")
RULES = "clients: [{identity: 'spiffe://prod/web', usecases: [%s]}]"
MANY = 16  # connections, of which the kernel gives each of two processes some


class World:
    """A hub of two processes, its files, and a client that it knows."""

    def __init__(self, gateway: Gateway, folder: Path, authority: Authority) -> None:
        self.gateway = gateway
        self.authority = authority
        self.server = folder / "server"
        self.rules = folder / "clients.yaml"
        self._context = client_context(folder / "web", showing=True)

    def seen(self) -> tuple[set[int], set[bytes | None]]:
        """The statuses that many new connections get, and the certificates that they are shown."""
        asked = [self._ask() for _ in range(MANY)]
        return {status for status, _ in asked}, {shown for _, shown in asked}

    def refused_by(self) -> set[str]:
        """The workers that have."""
        refused = self.gateway.by_worker("pannier_requests_total", status="4xx")
        return {worker for worker, count in refused.items() if count}

    def _ask(self) -> tuple[int, bytes | None]:
        port = urlsplit(self.gateway.tls_url or "").port
        with (
            create_connection(("127.0.0.1", port), 20) as plain,
            self._context.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            tls.sendall(head("GET", "/v1/objects/media/_/k"))
            status = read_answer(tls.makefile("rb"), "GET").status
            return status, tls.getpeercert(binary_form=True)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    authority = Authority()
    authority.issue(tmp_path / "server")
    authority.issue(tmp_path / "web", (WEB,))
    (tmp_path / "clients.yaml").write_text(RULES % "other")
    options = ["--data-dir", str(tmp_path / "data"), "--workers=2", "--tls-listen=127.0.0.1:0"]
    files = ["--tls-dir", str(tmp_path / "server"), "--tls-clients", str(tmp_path / "clients.yaml")]
    with running_gateway(tmp_path / "behind") as behind:
        manifests = tmp_path / "hub.yaml"
        manifests.write_text(BEHIND.format(url=behind.url))
        arguments = ["--manifests", str(manifests), *options, *files]
        with started(arguments, tmp_path / "log") as gateway:
            yield World(gateway, tmp_path, authority)


def test_each_process_of_a_hub_follows_its_rules_and_certificates(world: World) -> None:
    statuses, (before,) = world.seen()
    assert statuses == {403}
    assert world.refused_by() == {"1", "2"}

    world.rules.write_text(RULES % "media")
    while world.seen()[0] != {404}:
        pass

    world.authority.issue(world.server)
    while before in world.seen()[1]:
        pass
    assert len(world.seen()[1]) == 1
