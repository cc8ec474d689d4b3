"""The operator and many Usecases on a real API server: cold start, restart, changes, memory.

Beside it the same statuses written by a bare client: what the API server itself allows.
"""

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from bench.cluster import APPLY, MERGE, OURS, Crowd, Json, asking, crowded, each
from bench.load import Traffic
from bench.process import Command, Server, free_port, on, running
from bench.report import limit, table
from bench.settings import MIB, Settings
from bench.workplace import workplace

COLD_SECONDS, RESTART_SECONDS, CHANGE_SECONDS, MEMORY_MIB = 60, 10, 1.0, 250
CHANGES, QUICK_CHANGES = 200, 50
BARE = 1000
PATIENCE_SECONDS = 1800
CONFIG_MAPS = "/api/v1/configmaps?labelSelector=pannier.dev%2Fconfig%3Dgateway"
AS_OPERATOR = "fieldManager=pannier-operator&fieldValidation=Ignore&force=true"
WRITES = ("apply", "patch", "create")


class Life(NamedTuple):
    """A start of the operator: seconds until it rests, its CPU seconds, writes, peak in bytes."""

    seconds: float
    cpu: float
    writes: int
    peak: int

    @property
    def cells(self) -> list[str]:
        numbers = f"{self.seconds:.1f}", f"{self.cpu:.1f}", f"{self.writes:,}"
        return [*numbers, f"{self.peak / MIB:.0f}"]


@dataclass(frozen=True, slots=True)
class Working:
    """An operator under way, and when it was started."""

    server: Server
    crowd: Crowd
    began: float

    def until_rest(self) -> Life:
        """Returns once all is programmed and nothing waits."""
        while not self._rests(samples := self._samples()):
            if time.monotonic() > self.began + PATIENCE_SECONDS:
                raise TimeoutError(f"{self.crowd.usecases} Usecases, and no rest in sight")
            time.sleep(0.5)
        took = time.monotonic() - self.began
        name = "pannier_operator_api_requests_total"
        writes = sum(total(samples, name, verb=verb) for verb in WRITES)
        return Life(took, self.server.cpu_seconds(), int(writes), self.server.memory("VmHWM"))

    def _rests(self, samples: Sequence[Sample]) -> bool:
        waiting = total(samples, "pannier_operator_queue_depth")
        active = total(samples, "pannier_operator_reconciles_active")
        ready = total(samples, "pannier_operator_usecases", ready="True")
        return ready == self.crowd.usecases and waiting == active == 0

    def _samples(self) -> list[Sample]:
        with urllib.request.urlopen(f"{self.server.url}/metrics", timeout=60) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        return [sample for family in families for sample in family.samples]


def total(samples: Iterable[Sample], name: str, **labels: str) -> float:
    """The sum of those that are called `name` and have these labels."""
    return sum(
        sample.value
        for sample in samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def main(settings: Settings) -> None:
    changes = QUICK_CHANGES if settings.quick else CHANGES
    with workplace(settings) as home, crowded(home / "cluster", settings.usecases) as crowd:
        with operator(settings, crowd, home) as working:
            first = working.until_rest()
            asyncio.run(check(crowd))
            calm = asyncio.run(changed(crowd, changes))
            resident = working.server.memory()
        with operator(settings, crowd, home) as working:
            second = working.until_rest()
        with operator(settings, crowd, home) as working:
            hasty = asyncio.run(changed(crowd, QUICK_CHANGES))
        with on(settings.server_cpu):
            bare = asyncio.run(written(crowd))
    print(f"\n{settings.usecases:,} Usecases in {len(crowd.namespaces)} namespaces")
    show_lives({"cold start": first, "restart, nothing to do": second}, resident)
    show_changes({"at rest": calm, "while it starts": hasty})
    show_rates(first, bare)


@contextmanager
def operator(settings: Settings, crowd: Crowd, home: Path) -> Iterator[Working]:
    """An operator, begun just now."""
    port = free_port()
    listen = f"--metrics-listen=127.0.0.1:{port}"
    arguments = ["run", f"--kubeconfig={crowd.plane.kubeconfig}", listen, "--log-level=warning"]
    program = [sys.executable, "-m", "pannier_operator", *arguments]
    began = time.monotonic()
    with running(
        Command("operator", program, "/", settings.server_cpu, port=port), home / "log"
    ) as server:
        yield Working(server, crowd, began)


async def check(crowd: Crowd) -> None:
    """Raises AssertionError if a Usecase is not Programmed, by the API server's own word."""
    async with asking(crowd.plane) as server:
        async for found in server.listed(f"{OURS}/usecases"):
            conditions = {one["type"]: one["status"] for one in found["status"]["conditions"]}
            assert conditions["Programmed"] == "True", found


async def changed(crowd: Crowd, count: int) -> Traffic:
    """Change one Usecase after the other; how long it takes from answer to new ConfigMap."""
    async with asking(crowd.plane) as server, server.watching(CONFIG_MAPS) as news:
        written = ConfigMaps(news)
        reading = asyncio.create_task(written.read())
        began, latencies = time.perf_counter(), []
        for _, (namespace, name) in zip(range(count), crowd.scattered(), strict=False):
            before = await written.after(namespace, 0)
            spec = {"limits": {"requestsPerSecond": 1 + before}}
            path = f"{OURS}/namespaces/{namespace}/usecases/{name}"
            await server.request("PATCH", path, {"spec": spec}, MERGE)
            since = time.perf_counter()
            await written.after(namespace, before)
            latencies.append(time.perf_counter() - since)
        reading.cancel()
    return Traffic.of(latencies, time.perf_counter() - began, 0)


class ConfigMaps:
    """The generation of each namespace's configuration, as a watch tells of it."""

    def __init__(self, news: aiohttp.StreamReader) -> None:
        self._news = news
        self._generations: dict[str, int] = {}
        self._changed = asyncio.Condition()

    async def read(self) -> None:
        async for line in self._news:
            metadata = json.loads(line)["object"]["metadata"]
            async with self._changed:
                generation = int(metadata["annotations"]["pannier.dev/generation"])
                self._generations[metadata["namespace"]] = generation
                self._changed.notify_all()

    async def after(self, namespace: str, generation: int) -> int:
        """The generation of `namespace` once it is above `generation`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._generations.get(namespace, 0) > generation)
        return self._generations[namespace]


async def written(crowd: Crowd) -> Traffic:
    """The statuses of a thousand Usecases, written anew by a client that does nothing else."""
    latencies: list[float] = []
    async with asking(crowd.plane) as server:

        async def write(found: Json) -> None:
            metadata = found["metadata"]
            path = f"{OURS}/namespaces/{metadata['namespace']}/usecases/{metadata['name']}/status"
            since = time.perf_counter()
            await server.request("PATCH", f"{path}?{AS_OPERATOR}", later(found), APPLY)
            latencies.append(time.perf_counter() - since)

        found = [one async for one in server.listed(f"{OURS}/usecases")][:BARE]
        began = time.perf_counter()
        await each(found, write)
        return Traffic.of(latencies, time.perf_counter() - began, 0)


def later(found: Json) -> Json:
    """A status that differs from what `found` has: its conditions begin at another time."""
    status = found["status"]
    conditions = [
        one | {"lastTransitionTime": "2001-01-01T00:00:00Z"} for one in status["conditions"]
    ]
    named = {key: found["metadata"][key] for key in ("namespace", "name", "uid")}
    kind = {key: found[key] for key in ("apiVersion", "kind")}
    return kind | {"metadata": named, "status": status | {"conditions": conditions}}


def show_lives(lives: Mapping[str, Life], resident: int) -> None:
    rows = [[name, *life.cells] for name, life in lives.items()]
    print(table([["", "seconds", "CPU s", "writes", "peak MiB"], *rows]))
    first, second = lives.values()
    peak = f"{resident / MIB:.0f} MiB at rest, at its peak"
    for line in (
        limit("cold start", first.seconds, COLD_SECONDS, "s"),
        limit("restart", second.seconds, RESTART_SECONDS, "s"),
        limit("restart", second.writes, 0, "writes"),
        limit(peak, max(first.peak, second.peak) / MIB, MEMORY_MIB, "MiB"),
    ):
        print(f"  {line}")


def show_changes(changes: Mapping[str, Traffic]) -> None:
    print("\nOne Usecase changed: from the API server's answer to the new ConfigMap")
    for name, one in changes.items():
        p50, p99 = one.p50_us / 1e6, one.p99_us / 1e6
        verdict = limit("p99", p99, CHANGE_SECONDS, "s")
        print(f"  {name}, {one.operations} times: p50 {p50:.2f} s, {verdict}")


def show_rates(first: Life, bare: Traffic) -> None:
    ours, theirs = first.writes / first.seconds, bare.operations / bare.seconds
    rates = f"cold start {ours:.0f}, bare client {theirs:.0f}, ratio {ours / theirs:.2f}"
    print(f"\nStatuses a second: {rates}", flush=True)


if __name__ == "__main__":
    main(Settings.parse())
