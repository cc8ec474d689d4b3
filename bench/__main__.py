"""All programs, one after another: `python -m bench [--quick] [small files …]`."""

import sys
import time
from importlib import import_module
from importlib.util import find_spec

from bench.settings import Settings

PROGRAMS = (
    *("small", "files", "growth", "memory", "start", "client", "upstream"),
    *("proxies", "choice", "operator", "injector", "faults", "rotation", "blackhole", "storm"),
)


def main() -> int:
    offered = [name for name in PROGRAMS if find_spec(f"bench.{name}")]
    settings = Settings.parse(programs=offered)
    if unknown := [name for name in settings.programs if name not in offered]:
        print(f"no program {', '.join(unknown)}; there is: {', '.join(offered)}", file=sys.stderr)
        return 2
    for name in settings.programs or offered:
        program = import_module(f"bench.{name}")
        print(f"\n== {(program.__doc__ or name).splitlines()[0]}", flush=True)
        began = time.monotonic()
        program.main(settings)
        print(f"({name}: {time.monotonic() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
