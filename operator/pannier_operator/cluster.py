"""The cluster, through `kubernetes.aio`: the only module that knows that library.

Objects go in and out as plain JSON: typed models would drop what a newer server knows and they not.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import aiohttp
import msgspec
import yaml
from kubernetes.aio import config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from msgspec import Struct

from pannier_operator.api import FIELD_MANAGER, Json, Refused, Resource, Unreachable, resource_of
from pannier_operator.metrics import ApiMetrics
from pannier_operator.pace import Gate
from pannier_operator.unusable import Unusable

PAGE = 200  # objects per page of a list: each may have 256 KiB of annotations alone
TIMEOUT_SECONDS = 30
LONGEST_WAIT_SECONDS = 120.0  # whatever a Retry-After asks for
_JSON = "application/json"
_JSON_PATCH = "application/json-patch+json"
_APPLY = "application/apply-patch+yaml; charset=utf-8"  # plain, the library would encode the body
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")  # unless escaped
# Nobody here reads warnings, and to look for any the API server parses what is applied twice.
_WRITING: dict[str, str | int] = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Ignore"}
PLAIN = {"Accept-Encoding": "identity"}  # compressing lists costs either side more than it saves


class Access(Struct, frozen=True, kw_only=True):
    """How to reach the API server and who to be; paths are files."""

    server: str
    ca_path: str | None
    ca_data: str | bytes | None
    token: str | None
    certificate_path: str | None
    key_path: str | None
    verify: bool

    def __repr__(self) -> str:
        return f"<Access to {self.server}>"


class Connection:
    """The way to the API server: by a kubeconfig, or (None) as the pod's ServiceAccount."""

    def __init__(self, kubeconfig: Path | None) -> None:
        self._kubeconfig = kubeconfig
        self._settings = Configuration()

    def __repr__(self) -> str:
        return f"<Connection to {self._settings.host}>"

    async def load(self) -> None:
        """Read it, again if need be: tokens run out. Raises Unusable."""
        settings = Configuration()
        if self._kubeconfig is not None and not self._kubeconfig.is_file():
            raise Unusable(f"no way to a cluster: there is no file {self._kubeconfig}")
        try:
            if self._kubeconfig is None:
                config.load_incluster_config(settings)  # type: ignore[no-untyped-call]  # as it comes
            else:
                await _load(self._kubeconfig, settings)
        except (config.ConfigException, OSError) as error:
            said = str(error).rstrip(".")
            raise Unusable(
                f"no way to a cluster: {said}; give --kubeconfig or KUBECONFIG, or run in a pod"
                " with a ServiceAccount"
            ) from error
        settings.client_session_kwargs = {"trust_env": False}  # each request would ask a thread
        self._settings = settings

    def client(self) -> ApiClient:
        client = ApiClient(self._settings)
        client.user_agent = FIELD_MANAGER
        return client

    async def access(self) -> Access:
        """The same for those who bring a client of their own."""
        settings = self._settings
        bearer = await settings.get_api_key_with_prefix("BearerToken")
        return Access(
            server=settings.host,
            ca_path=settings.ssl_ca_cert,
            ca_data=settings.ca_cert_data,
            token=None if bearer is None else bearer.partition(" ")[2],
            certificate_path=settings.cert_file,
            key_path=settings.key_file,
            verify=settings.verify_ssl,
        )


async def _load(kubeconfig: Path, settings: Configuration) -> None:
    """Raises ConfigException also for what the library stumbles over, and OSError."""
    try:
        await config.load_kube_config(  # type: ignore[no-untyped-call]  # as it comes
            str(kubeconfig), client_configuration=settings
        )
    except (AttributeError, TypeError, ValueError, yaml.YAMLError) as error:
        what = " ".join(str(error).split())
        raise config.ConfigException(f"{kubeconfig} is no kubeconfig: {what}") from error


class _Call(NamedTuple):
    """A request; `verb` is what metrics call it."""

    verb: str
    method: str
    path: str
    kind: str = _JSON
    body: object = None


class _Answer(NamedTuple):
    """What came back; `retry_after` is empty where the header is missing."""

    status: int
    body: bytes
    retry_after: str


class KubernetesCluster:
    """The seam `Cluster`, over HTTP; every request passes `gate` and is counted."""

    def __init__(self, connection: Connection, gate: Gate, metrics: ApiMetrics) -> None:
        self._connection = connection
        self._client = connection.client()
        self._gate = gate
        self._metrics = metrics
        self._logging_in = asyncio.Lock()
        self._retired: list[ApiClient] = []

    def __repr__(self) -> str:
        return f"<KubernetesCluster {self._connection!r}>"

    async def close(self) -> None:
        for client in (*self._retired, self._client):
            await client.close()  # type: ignore[no-untyped-call]  # as it comes
        await asyncio.sleep(0)  # a connection is gone one turn of the loop after it is closed

    async def pages(
        self, resource: Resource, namespace: str | None, labels: str = ""
    ) -> AsyncIterator[list[Json]]:
        query: dict[str, str | int] = {"limit": PAGE}
        if labels:
            query["labelSelector"] = labels
        while True:
            page = await self._asked(_Call("list", "GET", _url(resource.path(namespace), query)))
            items: list[Json] = page["items"]
            yield items
            if not (rest := page["metadata"].get("continue")):
                return
            query["continue"] = rest

    async def get(self, path: str) -> Json:
        return await self._asked(_Call("get", "GET", path))

    async def apply(self, manifest: Json, part: str = "") -> Json:
        url = _url(_path(manifest) + part, _WRITING | {"force": "true"})
        return await self._asked(_Call("apply", "PATCH", url, _APPLY, _yaml(manifest)))

    async def patch(self, manifest: Json, operations: Sequence[Json], part: str = "") -> Json:
        url = _url(_path(manifest) + part, _WRITING)
        return await self._asked(_Call("patch", "PATCH", url, _JSON_PATCH, operations))

    async def create(self, manifest: Json) -> Json:
        path = resource_of(manifest).path(manifest["metadata"]["namespace"])
        return await self._asked(_Call("create", "POST", path, _JSON, manifest))

    async def _asked(self, call: _Call) -> Json:
        client = self._client
        try:
            return await self._answered(call)
        except Refused as refusal:
            if refusal.status != 401:
                raise
        await self._log_in_again(client)
        return await self._answered(call)

    async def _answered(self, call: _Call) -> Json:
        async with self._gate.passage(write=call.method != "GET"):
            with self._metrics.request(call.verb) as request:
                answer = await self._sent(call)
                request.code = str(answer.status)
            return _decoded(answer)

    async def _sent(self, call: _Call) -> _Answer:
        client = self._client
        kinds = {"Content-Type": call.kind, "Accept": _JSON}
        headers = client.default_headers | kinds | PLAIN
        url = client.configuration.host + call.path
        try:
            for each in (await client.configuration.auth_settings()).values():
                headers[each["key"]] = each["value"]
            sent = await client.call_api(
                call.method, url, headers, call.body, _request_timeout=TIMEOUT_SECONDS
            )
            retry_after = sent.headers.get("Retry-After", "")
            body = await sent.read()  # type: ignore[no-untyped-call]  # as it comes
            return _Answer(sent.status, body, retry_after)
        except (aiohttp.ClientError, OSError, config.ConfigException) as error:
            # a timeout is an OSError, a token that is just being written anew one of the last two
            message = f"{call.method} {call.path}: {type(error).__name__} {error}"
            raise Unreachable(message) from error

    async def _log_in_again(self, refused: ApiClient) -> None:
        """Once for all that `refused` was refused for; what is under way on it may end."""
        async with self._logging_in:
            if self._client is not refused:
                return
            try:
                await self._connection.load()
            except Unusable as error:  # which may last a moment, as a token is written anew
                raise Unreachable(str(error)) from error
            self._client = self._connection.client()
            self._retired.append(refused)


def _url(path: str, query: dict[str, str | int]) -> str:
    return f"{path}?{urlencode(query)}"


def _path(manifest: Json) -> str:
    metadata = manifest["metadata"]
    return resource_of(manifest).path(metadata["namespace"], metadata["name"])


def _yaml(manifest: Json) -> str:
    """As JSON that means the same to readers of YAML: they know no escapes of surrogates."""
    text = msgspec.json.encode(manifest).decode()
    return _NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _decoded(answer: _Answer) -> Json:
    try:
        found = msgspec.json.decode(answer.body, type=Json)
    except msgspec.DecodeError as error:
        found = {"message": answer.body[:200].decode(errors="replace")}
        if answer.status < 400:
            raise Unreachable(f"an answer that is no object: {found['message']}") from error
    if answer.status >= 400:
        text = answer.retry_after
        asked = float(text) if text.isascii() and text.isdigit() else None
        wait = None if asked is None else min(asked, LONGEST_WAIT_SECONDS)
        raise Refused(answer.status, str(found.get("message", "")), wait)
    return found
