"""Operators at work on a real API server, and how tests look at what comes of it."""

import asyncio
import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from pannier_gateway.config import documents, model
from pannier_gateway.config.model import GatewayConfig
from pannier_gateway.config.problems import ConfigError
from pannier_operator.api import Cluster
from pannier_operator.checking import Checked
from pannier_operator.cluster import Connection, KubernetesCluster
from pannier_operator.metrics import Metrics
from pannier_operator.pace import Backoff, Gate, Tokens
from pannier_operator.run import Operator
from pannier_operator.settings import Address, Settings
from pannier_operator.world import of_manifests
from support import loops
from support.binaries import ROOT
from support.cluster import ControlPlane, free_ports
from support.manifests import placed

Json = dict[str, Any]

PATHS = {
    "Usecase": "/apis/pannier.dev/v1alpha1/namespaces/{}/usecases",
    "Bucket": "/apis/pannier.dev/v1alpha1/namespaces/{}/buckets",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Event": "/apis/events.k8s.io/v1/namespaces/{}/events",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
}


def eventually(holds: Callable[[], object], seconds: float = 15) -> None:
    """Returns once `holds` does not fail; then raises as it does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            assert holds()
        except (AssertionError, LookupError, ConnectionRefusedError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.03)
        else:
            return


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace, and what is in it."""

    plane: ControlPlane
    namespace: str

    def apply(self, *manifests: Json) -> None:
        self.plane.apply(*(placed(each, self.namespace) for each in manifests))

    def patch(self, kind: str, name: str, **parts: object) -> None:
        """As `kubectl patch --type=merge` does it."""
        path = f"{PATHS[kind].format(self.namespace)}/{name}"
        with self.plane.api() as api:
            answer = api.request("PATCH", path, parts, "application/merge-patch+json")
        assert answer.status == 200, answer.message

    def delete(self, kind: str, name: str) -> None:
        with self.plane.api() as api:
            answer = api.request("DELETE", f"{PATHS[kind].format(self.namespace)}/{name}")
        assert answer.status in {200, 202}, answer.message

    def found(self, kind: str) -> dict[str, Json]:
        """All of this kind, by name."""
        with self.plane.api() as api:
            answer = api.request("GET", PATHS[kind].format(self.namespace))
        assert answer.status == 200, answer.message
        return {each["metadata"]["name"]: each for each in answer.body["items"]}

    def history(self, kind: str, name: str, since: str) -> list[Json]:
        """What this object became after its resourceVersion `since`, up to now."""
        path = f"{PATHS[kind].format(self.namespace)}?watch=1&timeoutSeconds=1"
        named = f"&fieldSelector=metadata.name%3D{name}&resourceVersion={since}"
        told = self.plane.kubectl("get", "--raw", path + named)
        return [json.loads(line)["object"] for line in told.splitlines()]

    def condition(self, kind: str, name: str, of: str) -> tuple[str, str]:
        """Status and reason; raises LookupError where there is none yet."""
        listed = self.found(kind)[name].get("status", {}).get("conditions", [])
        by_type = {each["type"]: (each["status"], each["reason"]) for each in listed}
        return by_type[of]

    def is_ready(self, kind: str, name: str) -> tuple[str, str]:
        return self.condition(kind, name, "Ready")

    def message(self, kind: str, name: str, of: str = "Ready") -> str:
        listed = self.found(kind)[name]["status"]["conditions"]
        return next(str(each["message"]) for each in listed if each["type"] == of)

    @property
    def config(self) -> GatewayConfig:
        """What gateways are told; raises LookupError where that is nothing that they can read."""
        data = self.found("ConfigMap")["pannier-config"]["data"]["config.json"]
        try:
            return model.parse(data.encode())
        except ConfigError as error:
            raise LookupError(data) from error

    @property
    def events(self) -> list[tuple[str, str, str]]:
        """Type, reason and object of each."""
        return sorted(
            (
                each["type"],
                each["reason"],
                f"{each['regarding']['kind']}/{each['regarding']['name']}",
            )
            for each in self.found("Event").values()
        )


@dataclass(slots=True)
class Working:
    """An operator, and where it tells how it is."""

    address: Address
    ended: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def asked(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection(self.address.host, self.address.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    @property
    def is_idle(self) -> bool:
        """Whether no namespace waits or is being worked on."""
        waiting = self.metric("pannier_operator_queue_depth")
        return waiting == self.metric("pannier_operator_reconciles_active") == 0

    def metric(self, name: str, **labels: str) -> float:
        """Raises LookupError where there is none."""
        wanted = sorted(f'{key}="{value}"' for key, value in labels.items())
        for line in self.asked("/metrics")[1].splitlines():
            head, _, value = line.rpartition(" ")
            given, _, rest = head.partition("{")
            if given == name and sorted(rest.rstrip("}").split(",") if rest else []) == wanted:
                return float(value)
        raise LookupError(name)


@cache
def acquaint() -> None:
    """Have msgspec look at our types, which crashes where two threads begin it at once."""
    checked = Checked(of_manifests(documents.read(ROOT / "examples" / "quickstart.yaml")))
    for config in checked.configs.values():
        model.parse(model.dump(config))


@contextmanager
def working(kubeconfig: Path, **settings: Any) -> Iterator[Working]:
    """An operator in a thread of this process, asked to end when the block is left."""
    acquaint()
    address = Address("127.0.0.1", free_ports(1)[0])
    operator = Operator(Settings(kubeconfig=kubeconfig, metrics_listen=address, **settings))
    found = Working(address)
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        begun.append((asyncio.get_running_loop(), task))
        try:
            await operator.run()
        finally:  # streams that were cancelled are closed in the loop's next turns
            await asyncio.get_running_loop().run_in_executor(None, gc.collect)

    def run() -> None:
        try:
            loops.run(main())
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # for the test to look at
            found.error = error
        found.ended.set()

    thread = threading.Thread(target=run, name="operator")
    thread.start()
    try:
        yield found
    finally:
        eventually(lambda: begun)
        if not found.ended.is_set():
            loop, task = begun[0]
            loop.call_soon_threadsafe(task.cancel)
        thread.join(20)
        assert not thread.is_alive()


@asynccontextmanager
async def reached(kubeconfig: Path) -> AsyncIterator[Cluster]:
    """A cluster as the operator's own parts see it, without an operator."""
    connection = Connection(kubeconfig)
    await connection.load()
    gate = Gate(Tokens(100.0, 100.0), Backoff(0.1, 0.2))
    cluster = KubernetesCluster(connection, gate, Metrics().api)
    try:
        yield cluster
    finally:
        await cluster.close()  # a request that was cancelled is closed in the loop's next turns
        await asyncio.get_running_loop().run_in_executor(None, gc.collect)


@contextmanager
def process(kubeconfig: Path, log: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    """An operator as a process of its own, killed when the block is left; it logs to `log`."""
    command = [sys.executable, "-m", "pannier_operator", "run", f"--kubeconfig={kubeconfig}"]
    listen = "--metrics-listen=127.0.0.1:0"
    with (
        log.open("wb") as output,
        subprocess.Popen([*command, listen, *arguments], stderr=output) as started,
    ):
        try:
            yield started
        finally:
            started.kill()


def logged(log: Path) -> Sequence[Json]:
    """The lines of the log so far."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
