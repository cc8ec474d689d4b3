"""The same store through the gateway, HAProxy and nginx, each on one core: plain, TLS, mutual TLS.

HAProxy and nginx pass on what they are asked: a path of S3, for a PUT one that is signed. The
gateway signs by itself, compares checksums, can do all again that fails, and puts in parts.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic

from bench import backend, bodies, closed_loop, gateway, haproxy, nginx, stream, wrk
from bench.arena import Arena, started
from bench.backend import BUCKET, MARK, PREFIX, Backend, Places
from bench.debian import Missing
from bench.door import Door
from bench.load import Sample, Workload, sample
from bench.pace import Pace
from bench.process import Command, Server, running
from bench.race import race
from bench.report import Aim, limit, p50, show, thrift
from bench.settings import KIB, MIB, Settings
from bench.workplace import workplace
from support import example  # bench.backend says where that is
from support.engines import Engine, make_bucket, versitygw

USECASE = "media"
PLACE = f"{USECASE}/objects/"  # of the keys in the bucket
SMALL, LARGE, THROWN = "small-", "large-", "thrown-"
KEYS = 1000
SIZE = 64 * MIB
STREAMS = 4
RATE = 1000  # requests a second
ADDED_MOST = 0.3  # milliseconds
CLIENTS = 64
PEAK_MOST = 96  # MiB
TELL_SECONDS = 10
GET_SMALL = {"plain": 0.4, "TLS": 0.35, "mTLS": 0.35}
GET_LARGE = Aim(thrift, least=1.0, name="gateway")


@dataclass(frozen=True, slots=True)
class Scene:
    """A store that has its objects, and what is behind which door."""

    settings: Settings
    home: Path
    engine: Engine
    behind: Backend
    body: stream.Body


def main(settings: Settings) -> None:
    with workplace(settings) as home:
        try:
            with scene(settings, home) as ready:
                for door in ready.behind.doors:
                    through(ready, door)
                peaks(ready, ready.behind.doors[-1])
        except Missing as missing:
            print(missing)


@contextmanager
def scene(settings: Settings, home: Path) -> Iterator[Scene]:
    content = bodies.noise(home / "small", KIB + 1)  # one more: all have the same KiB
    noise = bodies.noise(home / "large", MIB)
    with (
        versitygw(home / "engine") as engine,
        stream.memory_body(peak_sizes(settings)[-1], noise.read_bytes()) as largest,
    ):
        make_bucket(engine, BUCKET)
        body = replace(largest, size=SIZE)
        fill(settings, home / "filling", Door("", engine.port), content, body)
        words = [SMALL, LARGE, *map(word_of, peak_sizes(settings))]
        places = Places([PLACE + word for word in words], PLACE + THROWN)
        with backend.serving(engine, home / "behind", settings.load_cpu, places) as behind:
            yield Scene(settings, home, engine, behind, body)


def fill(settings: Settings, home: Path, engine: Door, content: Path, body: stream.Body) -> None:
    """Have a gateway store all that is read afterwards."""
    with running(ours(settings, home, engine), home / "log") as server:
        small = Workload("PUT", USECASE, series=SMALL, keys=KEYS, size=KIB, bodies=content)
        closed_loop.send_count(server, small, connections=1, count=KEYS)
        stream.upload(server, [target(server, f"{LARGE}{n}") for n in range(STREAMS)], body, 1)
        for size in peak_sizes(settings):
            stream.upload(server, [target(server, word_of(size))], replace(body, size=size), 1)


def ours(settings: Settings, home: Path, door: Door) -> Command:
    """The gateway before what is behind `door`."""
    home.mkdir()
    manifests = home / "s3.yaml"
    text = (example.at if door.identity else example.plain)(door.url)
    manifests.write_text(text.replace("  limits: {maxObjectBytes: 268435456}\n", ""))
    secrets = door.identity.parent if door.identity else home
    options = ["--secrets-dir", str(secrets)]
    return gateway.command(settings, home / "data", manifests=manifests, options=options)


def target(server: Server, key: str) -> str:
    """Where it has the object: only the gateway knows of no mark."""
    return server.path(USECASE, key if server.name == "gateway" else key + MARK)


def contenders(ready: Scene, door: Door, home: Path) -> list[Command]:
    home.mkdir()
    return [
        haproxy.command(ready.settings, home / "haproxy", door, PREFIX),
        nginx.proxy(ready.settings, home / "nginx", door, PREFIX),
        ours(ready.settings, home / "gateway", door),
    ]


def through(ready: Scene, door: Door) -> None:
    """All that is measured behind one door."""
    home = ready.home / door.name
    with started(contenders(ready, door, home), home) as servers:
        small(ready, servers, door)
        at_a_pace(ready, servers, door)
        large(ready, servers, door)


def small(ready: Scene, servers: Sequence[Server], door: Door) -> None:
    arena = Arena(servers, wrk.sender(), ready.settings)
    for each in servers:
        closed_loop.send_count(each, readings(servers)[each.name], connections=1, count=1)
    result = arena.race_each(readings(servers))
    aim = Aim(thrift, least=GET_SMALL[door.name], name="gateway")
    show(f"1 KiB GET, 16 connections, {door.name}", result, "haproxy", aim)


def readings(servers: Sequence[Server]) -> dict[str, Workload]:
    read = Workload("GET", USECASE, series=SMALL, keys=KEYS)
    marked = replace(read, target="{key}" + MARK)
    return {each.name: read if each.name == "gateway" else marked for each in servers}


def at_a_pace(ready: Scene, servers: Sequence[Server], door: Door) -> None:
    """The store is asked straight at its plain door: that takes no TLS of the sender."""
    all_ways = [ready.behind.straight, *servers]
    arena = Arena(all_ways, Pace(RATE), ready.settings, connections=STREAMS)
    result = arena.race_each(readings(all_ways))
    show(f"1 KiB GET, {RATE:,}/s, {door.name}", result, "straight", figures=(p50,))
    for each in servers:
        added = (result.median(each.name, p50) - result.median("straight", p50)) / 1e3
        print("  " + limit(f"{each.name} adds p50", added, ADDED_MOST, "ms"), flush=True)


def large(ready: Scene, servers: Sequence[Server], door: Door) -> None:
    rounds = ready.settings.rounds
    uploads = {each.name: partial(put, each, ready.body) for each in servers}
    show(f"64 MiB PUT, {STREAMS} at once, {door.name}", race(rounds, uploads), "haproxy")
    downloads = {each.name: partial(get, each) for each in servers}
    title = f"64 MiB GET, {STREAMS} at once, {door.name}"
    show(title, race(rounds, downloads), "haproxy", GET_LARGE)


def put(server: Server, body: stream.Body, _turn: int) -> Sample:
    paths = putting(server, "put-", STREAMS)
    return sample(server, partial(stream.upload, server, paths, body, STREAMS))


def putting(server: Server, word: str, count: int) -> list[str]:
    keys = [f"{word}{number}" for number in range(count)]
    if server.name == "gateway":
        return [target(server, key) for key in keys]
    return [backend.signed_put(f"{PLACE}{key}{MARK}") for key in keys]


def get(server: Server, _turn: int) -> Sample:
    paths = [target(server, f"{LARGE}{number % STREAMS}") for number in range(4 * STREAMS)]
    return sample(server, partial(stream.download, server, paths, STREAMS))


def peak_sizes(settings: Settings) -> tuple[int, int]:
    """Bytes of a body: two sizes, so that it is seen whether memory depends on that."""
    return (8 * MIB, 64 * MIB) if settings.quick else (64 * MIB, 1024 * MIB)


def word_of(size: int) -> str:
    """The key of the object of that size, and how no other begins."""
    return f"read-{size // MIB}-"


def peaks(ready: Scene, door: Door) -> None:
    """Of the gateway, each in a process that has done nothing before."""
    for size in peak_sizes(ready.settings):
        for way in (upload, download):
            what = f"{CLIENTS} at once {way.__name__} {size // MIB} MiB each, {door.name}"
            print(f"\n{what}", flush=True)
            home = ready.home / f"{way.__name__}-{size}"
            with running(ours(ready.settings, home, door), home / "log") as server:
                watched(server, partial(way, server, replace(ready.body, size=size)))
                peak = server.memory("VmHWM") / MIB
            print("  " + limit("peak", peak, PEAK_MOST, "MiB"), flush=True)


def upload(server: Server, body: stream.Body) -> None:
    """All clients, an object each, to the engine that throws them away."""
    stream.upload(server, putting(server, THROWN, CLIENTS), body, CLIENTS)


def download(server: Server, body: stream.Body) -> None:
    """All clients, the same object."""
    stream.download(server, [target(server, word_of(body.size))] * CLIENTS, CLIENTS)


def watched(server: Server, work: Callable[[], None]) -> None:
    """Do it, telling now and then that it goes on."""
    began = monotonic()
    with ThreadPoolExecutor(1) as thread:
        working = thread.submit(work)
        while not wait([working], timeout=TELL_SECONDS).done:
            resident = server.memory("VmRSS") / MIB
            print(f"  {monotonic() - began:.0f} s: {resident:.0f} MiB resident", flush=True)
    working.result()


if __name__ == "__main__":
    main(Settings.parse())
