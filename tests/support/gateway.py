"""A real gateway in a process of its own, on free ports."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.yaml"

_READY = re.compile(r"pannier-gateway ready: data (\S+)(?: socket (\S+))? admin (\S+)")
_END_SECONDS = 10


@dataclass(frozen=True)
class Gateway:
    """Where it serves, and its process."""

    url: str
    socket: Path | None
    admin_url: str
    process: subprocess.Popen[str]


@contextmanager
def running_gateway(
    data_dir: Path, *, manifests: Path = QUICKSTART, extra_args: Sequence[str] = ()
) -> Iterator[Gateway]:
    """Start a gateway, wait for the line that says it is ready, and end it afterwards."""
    process = subprocess.Popen(_command(data_dir, manifests, extra_args), stdout=-1, text=True)
    with process:
        try:
            yield _ready(process)
        finally:
            process.terminate()
            process.wait(_END_SECONDS)


def _command(data_dir: Path, manifests: Path, extra_args: Sequence[str]) -> list[str]:
    ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    where = ["--manifests", str(manifests), "--data-dir", str(data_dir)]
    return [sys.executable, "-m", "pannier_gateway", *where, *ports, *extra_args]


def _ready(process: subprocess.Popen[str]) -> Gateway:
    assert process.stdout is not None
    line = process.stdout.readline()
    match = _READY.match(line)
    assert match, f"the gateway said {line!r} and ended with {process.poll()}"
    data, socket, admin = match.groups()
    return Gateway(data, Path(socket) if socket else None, admin, process)
