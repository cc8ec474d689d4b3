"""Growth: what a request costs with a thousand objects in the store, and with a million.

Each size has a gateway and a data directory of its own; all are measured in turn, over one
connection. The objects are stored by PUTs through the gateway, 64 at a time.
"""

from pathlib import Path

from bench import bodies, closed_loop, gateway, wrk
from bench.arena import Arena, started
from bench.load import Workload
from bench.process import Server, running
from bench.report import COST, Aim, p50, show
from bench.settings import KIB, Settings
from bench.workplace import workplace

SIZES = (10**3, 10**5, 10**6)
QUICK_SIZES = (10**3, 10**4)
OBJECT_BYTES = 128
PAGE = 1000
WRITERS = 64
FLAT = Aim(p50, most=1.3)


def main(settings: Settings) -> None:
    sizes = {f"{size:,}": size for size in (QUICK_SIZES if settings.quick else SIZES)}
    with workplace(settings) as home:
        content = bodies.noise(home / "noise", 64 * KIB)
        commands = [gateway.command(settings, home / name, name) for name in sizes]
        for command in commands:
            with running(command, home / "fill.log") as server:
                _fill(server, sizes[server.name], content)
        with started(commands, home) as servers:
            for server in servers:
                print(f"  {server.name} objects: ready {server.start_seconds:.2f} s after exec")
            arena = Arena(servers, wrk.sender(), settings, connections=1)
            workloads = {name: _workloads(size, content) for name, size in sizes.items()}
            for title in workloads[servers[0].name]:
                of_size = {name: each[title] for name, each in workloads.items()}
                result = arena.race_each(of_size)
                show(title, result, servers[0].name, FLAT, figures=COST)


def _fill(server: Server, count: int, content: Path) -> None:
    put = Workload("PUT", "media", size=OBJECT_BYTES, bodies=content)
    sent = closed_loop.send_count(server, put, connections=WRITERS, count=count)
    print(f"  {server.name} objects stored, {count / sent.seconds:,.0f} a second", flush=True)


def _workloads(count: int, content: Path) -> dict[str, Workload]:
    """By title, what to send to a store of `count` objects."""
    page = f"?limit={PAGE}&start_after={{key}}"
    return {
        "GET": Workload("GET", "media", keys=count),
        "PUT over an existing object": Workload(
            "PUT", "media", keys=count, size=OBJECT_BYTES, bodies=content
        ),
        "LIST, a page of 1,000 from anywhere": Workload(
            "GET", "media", page, keys=max(count - PAGE, 1)
        ),
    }


if __name__ == "__main__":
    main(Settings.parse())
