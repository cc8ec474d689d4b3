"""The gateway under test, over a data directory of its own."""

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.process import Command
from bench.settings import Settings

MANIFESTS = Path(__file__).with_name("manifests.yaml")
OBJECTS = "/v1/objects/{usecase}/_/"


def command(
    settings: Settings,
    data: Path,
    name: str = "gateway",
    manifests: Path = MANIFESTS,
    options: Sequence[str] = (),
) -> Command:
    """How to start it with everything on, as a pod would have it, on free ports."""
    listen = "127.0.0.1:0"
    arguments = [sys.executable, "-m", "pannier_gateway"]
    arguments += ["--manifests", str(manifests), "--data-dir", str(data)]
    arguments += ["--listen", listen, "--admin-listen", listen, *options]
    ready = r"data (http://[\d.]+:\d+)"
    return Command(name, arguments, OBJECTS, settings.server_cpu, ready=ready)
