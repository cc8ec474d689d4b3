"""Start: from exec to the line that says ready, beside a Python that only imports."""

import sys
from pathlib import Path
from statistics import median

from bench import gateway
from bench.process import Command, running
from bench.report import table
from bench.settings import Settings
from bench.workplace import workplace

TIMES = 10
MOST_SECONDS = 0.4
IMPORTS = "import aiohttp.web, sqlite3, uvloop; print('http://127.0.0.1:0')"


def main(settings: Settings) -> None:
    with workplace(settings) as home:
        ours = gateway.command(settings, home / "gateway")
        imports = Command("imports alone", [sys.executable, "-c", IMPORTS], "", settings.server_cpu)
        first = _start(ours, home)
        pairs = [(_start(imports, home), _start(ours, home)) for _ in range(TIMES)]
    print(f"\nFrom exec to ready, {TIMES} times (on a fresh data directory {first:.3f} s)")
    print(table([["", "median s", "fastest s", "slowest s"], *_rows(pairs)]))
    reached = median(ours for _, ours in pairs) <= MOST_SECONDS
    print(f"  [aim at most {MOST_SECONDS} s: {'reached' if reached else 'MISSED'}]", flush=True)


def _start(command: Command, home: Path) -> float:
    with running(command, home / "start.log") as server:
        return server.start_seconds


def _rows(pairs: list[tuple[float, float]]) -> list[list[str]]:
    imports, ours = zip(*pairs, strict=True)
    named = {"imports alone": imports, "gateway": ours}
    return [
        [name, *(f"{figure:.3f}" for figure in (median(times), min(times), max(times)))]
        for name, times in named.items()
    ]


if __name__ == "__main__":
    main(Settings.parse())
