"""What the injector asks of the API server: Buckets, one Secret, one webhook configuration.

A client apart from the operator's: reviews must not wait for each other, nor for a failed request
to be forgiven.
"""

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

import aiohttp
import msgspec
from msgspec import Struct, field

from pannier_operator.api import BUCKETS, Refused, Unreachable
from pannier_operator.injector import mounts
from pannier_operator.injector.mounts import Bucket
from pannier_operator.injector.rotation import TRIES, Changed, Contents, Version
from pannier_operator.unusable import Unusable

Json = dict[str, Any]

TIMEOUT = aiohttp.ClientTimeout(total=4.0)  # seconds; a review has five
PAGE = 100  # Buckets at once: each may have 256 KiB of annotations
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


class Access(Protocol):
    """How to reach the API server and who to be; paths are files."""

    @property
    def server(self) -> str: ...

    @property
    def ca_path(self) -> str | None: ...

    @property
    def ca_data(self) -> str | bytes | None: ...

    @property
    def token(self) -> str | None: ...

    @property
    def certificate_path(self) -> str | None: ...

    @property
    def key_path(self) -> str | None: ...

    @property
    def verify(self) -> bool: ...


class Login(Protocol):
    """Where access comes from, and anew when it has run out."""

    async def load(self) -> None:
        """Raises Unusable."""
        ...

    async def access(self) -> Access: ...


class ApiServer:
    """Requests with JSON. Build it with `connected`."""

    def __init__(self, session: aiohttp.ClientSession, login: Login) -> None:
        self._session = session
        self._login = login

    async def request(self, method: str, path: str, body: object = None) -> Json:
        """Asks for `path`. Raises ClusterError."""
        try:
            return await self._sent(method, path, body)
        except Refused as refusal:
            if refusal.status != 401:
                raise
        await self._log_in_again()
        return await self._sent(method, path, body)

    async def _log_in_again(self) -> None:
        try:
            await self._login.load()
        except Unusable as error:  # which may last a moment, as a token is written anew
            raise Unreachable(str(error)) from error

    async def _sent(self, method: str, path: str, body: object) -> Json:
        token = (await self._login.access()).token
        headers = {"accept": "application/json", "content-type": "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        data = None if body is None else msgspec.json.encode(body)
        try:
            async with self._session.request(method, path, data=data, headers=headers) as answer:
                return _decoded(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"{method} {path}: {type(error).__name__} {error}") from error


@asynccontextmanager
async def connected(login: Login) -> AsyncIterator[ApiServer]:
    """An API server to ask until the block ends."""
    access = await login.access()
    trust = _trust(access) if access.server.startswith("https:") else True
    connector = aiohttp.TCPConnector(ssl=trust, limit=32, keepalive_timeout=60)
    session = aiohttp.ClientSession(
        access.server, connector=connector, timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()
    )
    async with session:
        yield ApiServer(session, login)


class ClusterBuckets:
    """The Buckets of a namespace, as they are now."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    async def buckets(self, namespace: str) -> tuple[Bucket, ...]:
        found, rest = list[Bucket](), ""
        while True:
            query = urlencode({"limit": PAGE, "continue": rest})
            listed = await self._server.request("GET", f"{BUCKETS.path(namespace)}?{query}")
            try:
                page = msgspec.convert(listed, _Page)
            except msgspec.ValidationError as error:
                raise Unreachable(f"a list of Buckets that is none: {error}") from error
            found += mounts.parse(page.items)
            if not (rest := page.metadata.rest):
                return tuple(found)


class _PageMetadata(Struct, frozen=True):
    """`rest` is what the next page is asked for by; empty: there is none."""

    rest: str = field(default="", name="continue")


class _Page(Struct, frozen=True):
    """Some of a list."""

    items: list[object]
    metadata: _PageMetadata


class VaultNames(NamedTuple):
    """The Secret, and the MutatingWebhookConfiguration whose caBundle is ours."""

    namespace: str
    secret: str
    webhooks: str


class ClusterVault:
    """The certificate's Secret, which must exist, if empty; and the webhooks' caBundle."""

    def __init__(self, server: ApiServer, names: VaultNames) -> None:
        self._server = server
        self._secret = f"/api/v1/namespaces/{names.namespace}/secrets/{names.secret}"
        self._webhooks = f"{WEBHOOKS}/{names.webhooks}"

    async def read(self) -> Version:
        secret = await self._server.request("GET", self._secret)
        found = {key: base64.b64decode(each) for key, each in (secret.get("data") or {}).items()}
        return Version(found, secret["metadata"]["resourceVersion"])

    async def write(self, contents: Contents, over: str) -> None:
        secret = await self._server.request("GET", self._secret)
        if secret["metadata"]["resourceVersion"] != over:
            raise Changed
        secret["data"] = {key: base64.b64encode(each).decode() for key, each in contents.items()}
        await self._replace(self._secret, secret)

    async def trust(self, bundle: bytes) -> None:
        for _ in range(TRIES):
            try:
                return await self._trusted(base64.b64encode(bundle).decode())
            except Changed:
                continue  # by another injector, most likely to the same
        raise Unreachable("others keep changing the webhook configuration")

    async def _trusted(self, bundle: str) -> None:
        configuration = await self._server.request("GET", self._webhooks)
        clients = [each["clientConfig"] for each in configuration.get("webhooks") or ()]
        if all(client.get("caBundle") == bundle for client in clients):
            return
        for client in clients:
            client["caBundle"] = bundle
        await self._replace(self._webhooks, configuration)

    async def _replace(self, path: str, manifest: Json) -> None:
        """Raises Changed when it is no longer the version that `manifest` was."""
        try:
            await self._server.request("PUT", path, manifest)
        except Refused as refusal:
            if refusal.status == 409:
                raise Changed from refusal
            raise


def _trust(access: Access) -> ssl.SSLContext:
    data = access.ca_data.decode() if isinstance(access.ca_data, bytes) else access.ca_data
    context = ssl.create_default_context(cafile=access.ca_path, cadata=data)
    if not access.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if access.certificate_path is not None:
        context.load_cert_chain(access.certificate_path, access.key_path)
    return context


def _decoded(status: int, body: bytes) -> Json:
    try:
        found = msgspec.json.decode(body, type=Json)
    except msgspec.DecodeError as error:
        raise Unreachable(f"status {status}, and an answer that is no object") from error
    if status >= 400:
        raise Refused(status, str(found.get("message", "")))
    return found
