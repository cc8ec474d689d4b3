"""The same files on the same disk: the gateway beside nginx, which takes them as they are."""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench import bodies, gateway, nginx, stream, wrk
from bench.arena import Arena, started
from bench.debian import Missing
from bench.load import Sample, Workload, sample
from bench.process import Server
from bench.race import race
from bench.report import Aim, rate, show, thrift
from bench.settings import CONNECTIONS, KIB, MIB, Settings
from bench.workplace import workplace

KEYS = 1000
LARGE = 64 * MIB
DURABLE_PUT = Aim(rate, least=1.0)
PER_CORE = Aim(thrift, least=0.7)


def main(settings: Settings) -> None:
    with workplace(settings) as home:
        try:
            anchor = nginx.command(settings, home / "nginx")
        except Missing as missing:
            print(missing)
            return
        with started([anchor, gateway.command(settings, home / "gateway")], home) as servers:
            _small(Arena(servers, wrk.sender(), settings), home)
            _large(servers, settings)


def _small(arena: Arena, home: Path) -> None:
    noise = bodies.noise(home / "noise", MIB)
    stored = Workload("GET", "media", keys=KEYS, size=KIB, bodies=noise)
    arena.store(stored)
    show("1 KiB GET, 16 connections", arena.race(replace(stored, size=0)), "nginx")
    written = arena.race(Workload("PUT", "media", size=KIB, bodies=noise))
    show("1 KiB PUT, ours durable, nginx's not, 16 connections", written, "nginx", DURABLE_PUT)


def _large(servers: list[Server], settings: Settings) -> None:
    """Uploads first: they are what the downloads then read."""
    downloads = CONNECTIONS * (1 if settings.quick else 2)
    with stream.memory_body(LARGE, os.urandom(MIB)) as body:
        uploads = {server.name: partial(_upload, server, body) for server in servers}
        for warm_up in uploads.values():
            warm_up(-1)  # the first touch of the page cache is the machine's bill, not ours
        written = race(settings.rounds, uploads)
    show("64 MiB PUT, ours durable, nginx's not, 16 connections", written, "nginx", PER_CORE)
    read = race(
        settings.rounds, {server.name: partial(_download, server, downloads) for server in servers}
    )
    show("64 MiB GET, 16 connections", read, "nginx", PER_CORE)


def _paths(server: Server, count: int) -> list[str]:
    return [server.path("media", f"large-{number % CONNECTIONS}") for number in range(count)]


def _upload(server: Server, body: stream.Body, _turn: int) -> Sample:
    os.sync()  # what the last one left to the kernel is not on this one's bill
    paths = _paths(server, CONNECTIONS)
    return sample(server, partial(stream.upload, server, paths, body, CONNECTIONS))


def _download(server: Server, count: int, _turn: int) -> Sample:
    paths = _paths(server, count)
    return sample(server, partial(stream.download, server, paths, CONNECTIONS))


if __name__ == "__main__":
    main(Settings.parse())
