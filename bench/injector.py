"""The injector and a hundred reviews at once, beside a bare TLS server that reads and answers."""

import asyncio
import base64
import json
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import cast

import uvloop
from aiohttp import web

from bench.arena import started
from bench.closed_loop import body_end
from bench.cluster import OURS, ControlPlane, asking, bucket, emptied
from bench.load import Sample, Traffic, sample
from bench.process import Command, Server, free_port
from bench.race import race
from bench.report import SPEED, cpu, limit, show
from bench.settings import Settings
from bench.workplace import workplace
from pannier_operator.injector import certificate

AT_ONCE = 100
IDLE = 25  # connections to a webhook that an API server keeps while it has nothing to ask
MOST_MS = 50
NAMESPACE = "shop"  # of the pod in review.json
BUCKETS = 3
PATIENCE_SECONDS = 30
REVIEW = json.dumps(json.loads(Path(__file__).with_name("review.json").read_text())).encode()
REQUEST = (
    b"POST /mutate HTTP/1.1\r\nHost: injector\r\nAccept: application/json, */*\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(REVIEW)
) + REVIEW
ANSWER = json.dumps(
    {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"allowed": True, "patch": base64.b64encode(b" " * 3000).decode()},
    }
).encode()

Way = Callable[["Api", float], Coroutine[None, None, Traffic]]
"""How reviews come to a server, for so many seconds."""


class Refused(Exception):
    """An answer that gives the pod no gateway."""


class Asked(asyncio.Protocol):
    """One connection: a review at a time, and its answer."""

    def __init__(self) -> None:
        self._answer = b""
        self._whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if (end := body_end(self._answer)) and len(self._answer) >= end:
            self._whole.set_result(self._answer)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._whole.done():
            self._whole.set_exception(exc or ConnectionError("hung up"))
            self._whole.exception()  # whoever waits is told; nobody may be waiting

    async def review(self) -> None:
        """Raises Refused and OSError."""
        self._answer, self._whole = b"", asyncio.get_running_loop().create_future()
        self.transport.write(REQUEST)
        answer = await self._whole
        if b'"allowed":true' not in answer.replace(b" ", b"") or b'"patch"' not in answer:
            raise Refused(answer.decode())


class Api:
    """The API server's side: connections to one server of reviews."""

    def __init__(self, server: Server, trust: ssl.SSLContext) -> None:
        self.server = server
        self._trust = trust

    async def connected(self) -> Asked:
        loop, (host, port) = asyncio.get_running_loop(), self.server.address
        _, asked = await loop.create_connection(Asked, host, port, ssl=self._trust)
        return asked

    async def until_ready(self) -> None:
        """Returns once a review is answered: a server listens before it has its certificate."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                asked = await self.connected()
                await asked.review()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)
            else:
                return asked.transport.close()

    async def kept(self, seconds: float) -> Traffic:
        """All at once over connections that stay."""
        connections = [await self.connected() for _ in range(AT_ONCE)]
        traffic = await busy([each.review for each in connections], seconds)
        for each in connections:
            each.transport.close()
        return traffic

    async def bursts(self, seconds: float) -> Traffic:
        """All at once, then all again; between them an API server keeps few connections."""
        idle: list[Asked] = []
        latencies: list[float] = []

        async def one() -> None:
            since = time.perf_counter()
            asked = idle.pop() if idle else await self.connected()
            await asked.review()
            latencies.append(time.perf_counter() - since)
            idle.append(asked)

        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            await asyncio.gather(*(one() for _ in range(AT_ONCE)))
            for each in idle[IDLE:]:
                each.transport.close()
            del idle[IDLE:]
        for each in idle:
            each.transport.close()
        return Traffic.of(latencies, time.perf_counter() - began, len(latencies) * len(REVIEW))


async def busy(callers: list[Callable[[], Awaitable[None]]], seconds: float) -> Traffic:
    """Have each of `callers` ask again and again."""
    latencies: list[float] = []
    began = time.perf_counter()

    async def work(ask: Callable[[], Awaitable[None]]) -> None:
        while (since := time.perf_counter()) < began + seconds:
            await ask()
            latencies.append(time.perf_counter() - since)

    await asyncio.gather(*map(work, callers))
    return Traffic.of(latencies, time.perf_counter() - began, len(latencies) * len(REVIEW))


def main(settings: Settings) -> None:
    with workplace(settings) as home, emptied(home / "cluster") as plane:
        trust = certified(home)
        asyncio.run(stocked(plane))
        commands = [command(settings, home, plane.kubeconfig), echo(settings, home)]
        with started(commands, home) as servers:
            apis = {each.name: Api(each, trust) for each in servers}
            for each in apis.values():
                uvloop.run(each.until_ready())
            measure(settings, apis, f"{AT_ONCE} reviews at once, connections kept", Api.kept)
            measure(settings, apis, f"bursts of {AT_ONCE}, {IDLE} connections kept", Api.bursts)


def measure(settings: Settings, apis: Mapping[str, Api], title: str, way: Way) -> None:
    def turn(api: Api, _: int) -> Sample:
        return sample(api.server, lambda: uvloop.run(way(api, settings.seconds)))

    result = race(settings.rounds, {name: partial(turn, api) for name, api in apis.items()})
    show(title, result, "bare aiohttp", figures=(*SPEED, cpu))
    reached = result.median("injector", lambda one: one.traffic.p99_us / 1e3)
    print(f"  {limit('p99', reached, MOST_MS, 'ms')}", flush=True)


def certified(home: Path) -> ssl.SSLContext:
    """What trusts the certificate that is now in `home`."""
    kept = certificate.renewed(None, ("127.0.0.1",), datetime.now(UTC))
    (home / "tls.crt").write_bytes(certificate.pem(kept.serving.certificate))
    (home / "tls.key").write_bytes(certificate.pem_of_key(kept.serving.key))
    return ssl.create_default_context(cadata=kept.bundle.decode())


async def stocked(plane: ControlPlane) -> None:
    """The namespace of the pod, with Buckets that have Secrets to mount."""
    async with asking(plane) as server:
        await server.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        for number in range(BUCKETS):
            pair = {"accessKeyIdKey": "id", "secretAccessKeyKey": "key", "name": f"keys-{number}"}
            auth = {"mode": "Secret", "secretRef": pair}
            s3 = {"bucket": "shop", "region": "eu-west-1", "auth": auth}
            made = bucket(f"bucket-{number}", type="S3", s3=s3)
            await server.request("POST", f"{OURS}/namespaces/{NAMESPACE}/buckets", made)


def command(settings: Settings, home: Path, kubeconfig: Path) -> Command:
    port = free_port()
    listen = [f"--listen=127.0.0.1:{port}", "--metrics-listen=127.0.0.1:0"]
    given = ["--image=gateway:1", "--namespace=pannier-system", f"--certificate-dir={home}"]
    program = [sys.executable, "-m", "pannier_operator", "injector", f"--kubeconfig={kubeconfig}"]
    return Command("injector", [*program, *listen, *given], "", settings.server_cpu, port=port)


def echo(settings: Settings, home: Path) -> Command:
    port = free_port()
    program = [sys.executable, "-m", "bench.injector", "serve", str(home), str(port)]
    return Command("bare aiohttp", program, "", settings.server_cpu, port=port)


async def serve(home: Path, port: int) -> None:
    """Reads reviews, and answers all of them alike."""

    async def mutate(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=ANSWER, content_type="application/json")

    application = web.Application()
    application.add_routes([web.post("/mutate", mutate)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "tls.crt", home / "tls.key")
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(serve(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        main(Settings.parse())
