"""A real Kubernetes control plane for tests: etcd, kube-apiserver and, when asked, its controllers.

On loopback, with RBAC on, ready in seconds; its data is thrown away. Nothing runs pods here.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pannier_gateway.config import crds
from support.binaries import binary

Json = dict[str, Any]

ADMIN = "admin"
START_SECONDS = 50
_STARTS = 3
_POLL_SECONDS = 0.05
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_CONTROLLER_MANAGER = "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"
NODE = "system:node:node1"
_GROUPS = {
    ADMIN: "system:masters",  # who may do everything
    _CONTROLLER_MANAGER: "system:masters",
    SCHEDULER: "system:authenticated",
    NODE: "system:nodes",
}
_APISERVER = (
    "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    "--service-cluster-ip-range=10.96.0.0/16",
    "--authorization-mode=Node,RBAC",
    "--anonymous-auth=false",
    "--allow-privileged=true",
    "--enable-admission-plugins=NodeRestriction",
    "--enable-priority-and-fairness=false",
    "--profiling=false",
)
_COLLECT_LESS = {"GOGC": "400"}  # a core or two is all there is: a third of it for 300 MiB
_CONTROLLERS = (
    "--leader-elect=false",
    "--secure-port=0",
    "--use-service-account-credentials=false",  # with it a namespace has its account 5 s later
)


class NotReady(Exception):
    """A part of the control plane ended, or took too long, before it was ready."""


class PortTaken(NotReady):
    """Somebody was quicker to take a port that was free a moment ago."""


class Refused(Exception):
    """kubectl failed: what it said."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Where the API server listens: by default on loopback, at any free port."""

    host: str = "127.0.0.1"
    port: int | None = None
    flags: tuple[str, ...] = ("--endpoint-reconciler-type=none",)


LOOPBACK = Listener()


class Part(NamedTuple):
    """A process of the control plane, and the file that it logs to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raises NotReady, or PortTaken, if it has ended."""
        if self.process.poll() is not None:
            log = self.log.read_text(errors="replace")
            kind = PortTaken if "address already in use" in log else NotReady
            raise kind(f"{self.name} ended with {self.process.returncode}: {log[-2000:]}")


class Answer(NamedTuple):
    """What an API server answered: the status, and the object in the body."""

    status: int
    body: Json

    @property
    def message(self) -> str:
        """What a refusal says; empty otherwise."""
        return str(self.body.get("message", ""))


class Api:
    """One kept connection to an API server, as whoever holds `token`."""

    def __init__(self, url: str, ca_file: Path, token: str) -> None:
        trust = ssl.create_default_context(cafile=ca_file)
        self._connection = HTTPSConnection(urlsplit(url).netloc, context=trust, timeout=30)
        self._headers = {"authorization": f"Bearer {token}"}

    def request(
        self, method: str, path: str, body: object = None, kind: str = "application/json"
    ) -> Answer:
        """Asks for `path`, a query included; `kind` is the media type of what is sent."""
        sent = None if body is None else json.dumps(body)
        headers = self._headers | ({} if sent is None else {"content-type": kind})
        self._connection.request(method, path, sent, headers)
        with self._connection.getresponse() as response:
            said = response.read()
        is_json = response.headers.get_content_subtype() == "json"
        return Answer(response.status, json.loads(said) if is_json else {"message": said.decode()})

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Where it serves, what it trusts, and the folder that holds all that it needs.

    `kubeconfig` is an administrator's; `kubeconfig_for` makes those of others.
    """

    url: str
    folder: Path
    tokens: Mapping[str, str] = field(repr=False)

    @property
    def ca_file(self) -> Path:
        return self.folder / "certs" / "apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / f"{ADMIN}.kubeconfig"

    @contextmanager
    def api(self, token: str | None = None) -> Iterator[Api]:
        """A connection, the administrator's unless a token is given."""
        connection = Api(self.url, self.ca_file, token or self.tokens[ADMIN])
        try:
            yield connection
        finally:
            connection.close()

    def kubectl(self, *arguments: str, given: str = "", kubeconfig: Path | None = None) -> str:
        """What kubectl prints; `given` is what `-f -` reads. Raises Refused."""
        config = ("--kubeconfig", str(kubeconfig or self.kubeconfig))
        who = (*config, "--cache-dir", str(self.folder / "kubectl"))
        command = [str(binary("kubectl")), *who, *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refused(done.stderr)
        return done.stdout

    def apply(self, *objects: Json) -> None:
        """Server-side apply, as the administrator; raises Refused."""
        several = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "--server-side", "-f", "-", given=json.dumps(several))

    def install_crds(self) -> None:
        """Pannier's CRDs, from the file that everybody installs; returns when they are served."""
        definitions = list(yaml.safe_load_all(crds.FILE.read_text()))
        with self.api() as api:
            for definition in definitions:
                created = api.request("POST", _DEFINITIONS, definition)
                assert created.status == 201, created.message
        for definition in definitions:
            plural, group = definition["metadata"]["name"].split(".", 1)
            _wait_for(self, f"/apis/{group}/v1alpha1/{plural}")

    def create_namespace(self, **labels: str) -> str:
        """A namespace that nobody else uses; its name."""
        name = f"test-{secrets.token_hex(5)}"
        metadata = {"name": name, "labels": labels}
        with self.api() as api:
            created = api.request("POST", "/api/v1/namespaces", {"metadata": metadata})
        assert created.status == 201, created.message
        return name

    def service_account(self, namespace: str, name: str) -> str:
        """A token for a ServiceAccount, which is created if need be: a user without any rights."""
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        with self.api() as api:
            created = api.request("POST", accounts, {"metadata": {"name": name}})
            assert created.status in {201, 409}, created.message
            granted = api.request("POST", f"{accounts}/{name}/token", {"spec": {}})
        assert granted.status == 201, granted.message
        return str(granted.body["status"]["token"])

    def kubeconfig_for(self, token: str, url: str | None = None) -> Path:
        """A kubeconfig of whoever holds `token`; `url` is another way to the same server."""
        file = self.folder / f"{secrets.token_hex(5)}.kubeconfig"
        file.write_text(_kubeconfig(url or self.url, self.ca_file, token))
        return file


@contextmanager
def running_control_plane(folder: Path, at: Listener = LOOPBACK) -> Iterator[ControlPlane]:
    """etcd and a kube-apiserver, ready, and killed afterwards; all of it in `folder`."""
    folder.mkdir(exist_ok=True)
    tokens = _write_credentials(folder)
    with ExitStack() as processes:
        yield _started(folder, at, tokens, processes)


@contextmanager
def running_controllers(plane: ControlPlane) -> Iterator[None]:
    """A kube-controller-manager at work on `plane`: garbage collection, and makers of pods.

    Ready when the first ServiceAccount is there: from then on pods can be created.
    """
    config = plane.kubeconfig_for(plane.tokens[_CONTROLLER_MANAGER])
    flags = [
        *(f"--{each}kubeconfig={config}" for each in ("", "authentication-", "authorization-")),
        f"--service-account-private-key-file={plane.folder / 'sa.key'}",
        f"--root-ca-file={plane.ca_file}",
        *_CONTROLLERS,
    ]
    with running("kube-controller-manager", flags, plane.folder) as part:
        _wait_for(plane, "/api/v1/namespaces/default/serviceaccounts/default", part)
        yield


@contextmanager
def running(name: str, flags: Sequence[str], folder: Path) -> Iterator[Part]:
    """The program called `name`, with a log in `folder`; killed when the block is left."""
    with started(name, [str(binary(name)), *flags], folder) as part:
        yield part


@contextmanager
def started(name: str, command: Sequence[str], folder: Path) -> Iterator[Part]:
    """The same of any command."""
    log = folder / f"{name}.log"
    environment = os.environ | _COLLECT_LESS
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environment) as it,
    ):
        try:
            yield Part(name, it, log)
        finally:
            it.kill()


def free_ports(count: int) -> list[int]:
    """Different TCP ports of loopback that nobody listens on right now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _started(
    folder: Path, at: Listener, tokens: Mapping[str, str], processes: ExitStack
) -> ControlPlane:
    for _ in range(_STARTS - 1):
        with suppress(PortTaken):
            return processes.enter_context(_attempt(folder, at, tokens))
    return processes.enter_context(_attempt(folder, at, tokens))


@contextmanager
def _attempt(folder: Path, at: Listener, tokens: Mapping[str, str]) -> Iterator[ControlPlane]:
    """Both servers on ports that were free a moment ago; raises PortTaken where one is not now."""
    client, peer, port = free_ports(3)
    port = port if at.port is None else at.port
    plane = ControlPlane(f"https://{at.host}:{port}", folder, tokens)
    plane.kubeconfig.write_text(_kubeconfig(plane.url, plane.ca_file, tokens[ADMIN]))
    flags = _etcd_flags(folder / f"etcd-{client}", client, peer)
    place = (f"--bind-address={at.host}", f"--secure-port={port}", *at.flags)
    more_flags = [*_apiserver_flags(folder, client), *place]
    with (
        running("etcd", flags, folder) as etcd,
        running("kube-apiserver", more_flags, folder) as apiserver,
    ):
        _wait_for(plane, "/readyz", etcd, apiserver)
        _wait_for(plane, "/api/v1/namespaces/default", etcd, apiserver)  # a moment later
        yield plane


def _etcd_flags(data: Path, client: int, peer: int) -> list[str]:
    here, there = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    return [
        f"--data-dir={data}",
        f"--listen-client-urls={here}",
        f"--advertise-client-urls={here}",
        f"--listen-peer-urls={there}",
        f"--initial-advertise-peer-urls={there}",
        f"--initial-cluster=default={there}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _apiserver_flags(folder: Path, etcd: int) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        f"--cert-dir={folder / 'certs'}",  # it makes its own certificate there
        f"--service-account-key-file={folder / 'sa.pub'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        *_APISERVER,
    ]


def _write_credentials(folder: Path) -> Mapping[str, str]:
    """The users' tokens, and the key that signs those of ServiceAccounts; returns the former."""
    tokens = {user: secrets.token_hex() for user in _GROUPS}
    lines = (f"{token},{user},{user},{_GROUPS[user]}\n" for user, token in tokens.items())
    (folder / "tokens.csv").write_text("".join(lines))
    key = rsa.generate_private_key(65537, 2048)
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.TraditionalOpenSSL
    (folder / "sa.key").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    (folder / "sa.pub").write_bytes(
        key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return tokens


def _kubeconfig(url: str, ca_file: Path, token: str) -> str:
    """A kubeconfig with one user of one cluster. A plain `url` needs no CA, and minds none."""
    cluster = {"server": url, "certificate-authority": str(ca_file)}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
    )


def _wait_for(plane: ControlPlane, path: str, *parts: Part) -> None:
    """Returns when `path` is there; raises NotReady with the log of what ended before."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        for part in parts:
            part.check()
        if _is_there(plane, path):
            return
        time.sleep(_POLL_SECONDS)
    raise NotReady(f"{path} was not there after {START_SECONDS} s; the logs are in {plane.folder}")


def _is_there(plane: ControlPlane, path: str) -> bool:
    try:
        with plane.api() as api:
            return api.request("GET", path).status == 200
    except (OSError, HTTPException):  # it does not listen yet, or its certificate is half written
        return False
