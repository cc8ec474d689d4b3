"""Small objects: the gateway with everything on, beside a bare handler over one SQLite file."""

from dataclasses import replace
from pathlib import Path

from bench import bodies, floor, gateway, wrk
from bench.arena import Arena, started
from bench.load import Workload
from bench.report import Aim, rate, show, thrift
from bench.settings import CONNECTIONS, KIB, MIB, Settings
from bench.workplace import workplace

KEYS = 1000
AIMS = tuple(Aim(figure, least=0.6, name="gateway") for figure in (rate, thrift))


def main(settings: Settings) -> None:
    with workplace(settings) as home:
        commands = [
            floor.command(settings, home / "floor.db"),
            floor.command(settings, home / "application.db", application=True),
            gateway.command(settings, home / "gateway"),
        ]
        with started(commands, home) as servers:
            arena = Arena(servers, wrk.sender(), settings)
            _compare(arena, "media", bodies.noise(home / "noise", MIB))
            _compare(arena, "attachments", bodies.logs(home / "logs", MIB))


def _compare(arena: Arena, usecase: str, content: Path) -> None:
    setting = f"{usecase}: {content.name}, {CONNECTIONS} connections"
    stored = Workload("GET", usecase, keys=KEYS, size=KIB, bodies=content)
    arena.store(stored)
    read = arena.race(replace(stored, size=0))
    show(f"1 KiB GET ({setting})", read, "floor", *AIMS)
    written = arena.race(Workload("PUT", usecase, size=4 * KIB, bodies=content))
    show(f"4 KiB PUT, durable ({setting})", written, "floor", *AIMS)


if __name__ == "__main__":
    main(Settings.parse())
