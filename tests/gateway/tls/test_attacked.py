"""What was tried against TLS: sessions that outlive trust, and files that are not what they say."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from pannier_gateway.config.model import TlsConfig
from pannier_gateway.errors import StoreRefused
from pannier_gateway.stores.secrets import MountedSecrets
from pannier_gateway.tls.clients import Clients, read_clients
from pannier_gateway.tls.hub import Hub, accept
from pannier_gateway.tls.material import Material
from pannier_gateway.tls.sides import ClientSide, ServerSide
from pannier_gateway.tls.trust import Trust, Trusts
from pannier_gateway.upstream.errors import ConnectFailed
from pannier_gateway.upstream.pool import Endpoint, Pool
from pannier_gateway.upstream.request import Request
from support.certificates import Authority, client_context

GET = Request("GET", "/", [("host", "h")])
CONFIG = TlsConfig(
    secret="identity", min_version="TLS12", relaxed_x509=False, insecure_skip_verify=False
)
BOM = b"\xef\xbb\xbf"
SECONDS = 20
SIDES = pytest.mark.parametrize("kind", ["client", "server"])


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    return Authority().issue(tmp_path / "identity")


@pytest.fixture
def hub(identity: Path) -> Hub:
    rules = identity / "clients.yaml"
    rules.write_text("clients: []")
    return Hub(identity, rules)


def side_of(kind: str, identity: Path) -> ClientSide | ServerSide:
    if kind == "server":
        return ServerSide(identity)
    return ClientSide(CONFIG, MountedSecrets(identity.parent))


# Sessions


class Caller:
    """A client in TLS 1.2, with both ends in memory."""

    def __init__(self, hub: Hub, folder: Path, server_name: str | None) -> None:
        self._hub = hub
        self._server_name = server_name
        self._context = client_context(folder, showing=True)
        self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        self._context.check_hostname = server_name is not None

    def call(self, session: ssl.SSLSession | None = None) -> ssl.SSLObject:
        """Come in and leave. Raises ssl.SSLError where either end does not want to."""
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        ours = self._context.wrap_bio(
            to_client, to_server, server_hostname=self._server_name, session=session
        )
        theirs = self._hub.context.wrap_bio(to_server, to_client, server_side=True)
        together(ours.do_handshake, theirs.do_handshake)
        together(ours.unwrap, theirs.unwrap)  # a session that ends otherwise is not taken up again
        return ours


def together(*steps: Callable[[], object]) -> None:
    """Take steps until none waits for another."""
    while [step for step in steps if waits(step)]:
        pass


def waits(step: Callable[[], object]) -> bool:
    try:
        step()
    except ssl.SSLWantReadError:
        return True
    return False


@pytest.mark.parametrize("server_name", ["localhost", None], ids=["by name", "without a name"])
def test_who_comes_again_proves_again_who_it_is(
    hub: Hub, identity: Path, server_name: str | None
) -> None:
    caller = Caller(hub, identity, server_name)
    session = caller.call().session

    with pytest.raises(ssl.SSLError):
        caller.call(session)

    assert not caller.call(session).session_reused  # it was forgotten: nobody is locked out


@pytest.mark.parametrize("server_name", ["localhost", None], ids=["by name", "without a name"])
async def test_a_session_does_not_outlive_the_authority_that_it_began_with(
    hub: Hub, identity: Path, server_name: str | None
) -> None:
    caller = Caller(hub, identity, server_name)
    session = caller.call().session

    Authority().issue(identity)
    await hub.trust.look(accept)

    with pytest.raises(ssl.SSLError):
        caller.call(session)


# Files


@SIDES
@pytest.mark.parametrize("before", [BOM, "# Autorité\n".encode(), "# Autorité\n".encode("latin-1")])
def test_an_authority_may_have_more_than_ascii_around_it(
    kind: str, before: bytes, identity: Path
) -> None:
    authority = identity / "ca.crt"
    authority.write_bytes(before + authority.read_bytes())

    context = Trust("ns/n", side_of(kind, identity))()

    assert len(context.get_ca_certs()) == 1


@SIDES
def test_an_authority_of_nothing_but_other_letters_is_refused(kind: str, identity: Path) -> None:
    (identity / "ca.crt").write_bytes("é".encode())
    with pytest.raises(StoreRefused, match="can't be used"):
        Trust("ns/n", side_of(kind, identity))()


def test_text_that_ssl_does_not_take_is_refused(
    identity: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = side_of("client", identity)
    monkeypatch.setattr(side, "read", lambda: Material("é"))
    with pytest.raises(StoreRefused, match="can't be used"):
        Trust("ns/n", side)()


@SIDES
def test_an_encrypted_key_is_refused_and_nobody_is_asked(kind: str, identity: Path) -> None:
    encrypt(identity / "tls.key")
    with pytest.raises(StoreRefused, match="a key without a passphrase"):
        Trust("ns/n", side_of(kind, identity))()


def encrypt(file: Path) -> None:
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    form, secret = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, secret))


# Tasks that go on


async def test_after_a_bug_certificates_are_followed_on(
    identity: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pannier_gateway.tls.trust.LOOK_AGAIN_SECONDS", 0.001)
    side = side_of("server", identity)
    trust = Trust("ns/n", side)
    looks = iter([ArithmeticError])
    read = side.read
    again = asyncio.Event()
    loop = asyncio.get_running_loop()

    def broken_once() -> Material:
        for error in looks:
            raise error
        loop.call_soon_threadsafe(again.set)
        return read()

    monkeypatch.setattr(side, "read", broken_once)
    async with Trusts().following(trust, accept), asyncio.timeout(SECONDS):
        await again.wait()

    assert "certificates not understood" in caplog.messages


async def test_after_a_bug_rules_are_followed_on(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pannier_gateway.tls.hub.LOOK_AGAIN_SECONDS", 0.001)
    looks = iter([ArithmeticError])
    again = asyncio.Event()
    loop = asyncio.get_running_loop()

    def broken_once(file: Path) -> Clients:
        for error in looks:
            raise error
        loop.call_soon_threadsafe(again.set)
        return read_clients(file)

    monkeypatch.setattr("pannier_gateway.tls.hub.read_clients", broken_once)
    async with hub.following(Trusts()), asyncio.timeout(SECONDS):
        await again.wait()

    assert "clients not understood" in caplog.messages


# Names


@pytest.mark.parametrize("host", ["a" * 70, "a..b", "a\0b"])
async def test_a_host_that_can_be_none_is_a_failed_connect(host: str) -> None:
    with pytest.raises(ConnectFailed):
        async with Pool(Endpoint(host, 1)).exchange(GET):
            pass
