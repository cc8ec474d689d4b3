"""A server under load: started on a core of its own, asked what it spent, ended by its id."""

import os
import re
import select
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
START_SECONDS = 120


class StartFailed(Exception):
    """A server ended, or kept silent, before it was ready."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. The objects of usecase `u` are under `url + prefix.format(usecase=u)`.

    `start_seconds` is how long it took from exec until it was ready.
    """

    name: str
    pid: int
    url: str
    prefix: str
    start_seconds: float

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def path(self, usecase: str, key: str = "") -> str:
        return self.prefix.format(usecase=usecase) + key

    def cpu_seconds(self) -> float:
        """What the server, its threads and its children have spent so far (10 ms ticks)."""
        return sum(_ticks(pid) for pid in self._pids()) * TICK_SECONDS

    def memory(self, field: str = "VmRSS") -> int:
        """Bytes of `VmRSS`, `VmHWM` (its peak) or `RssAnon`, summed over its processes."""
        return sum(_status_bytes(pid, field) for pid in self._pids())

    def forget_peak(self) -> None:
        """Let `VmHWM` start again from what is resident now."""
        for pid in self._pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [self.pid, *map(int, children.split())]


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # utime, stime


def _status_bytes(pid: int, field: str) -> int:
    line = re.search(
        rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    return int(line[1]) * 1024 if line else 0


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `ready` is what it prints when it serves; without one, its port tells."""

    name: str
    arguments: Sequence[str]
    prefix: str
    cpu: int
    environment: Mapping[str, str] | None = None
    ready: str = r"(http://[\d.]+:\d+)"
    port: int | None = None


@contextmanager
def running(command: Command, log: Path) -> Iterator[Server]:
    """Start `command` and yield it once it is ready; raises StartFailed with its log's end."""
    began = time.perf_counter()
    with log.open("wb") as errors, on(command.cpu):
        process = subprocess.Popen(
            command.arguments,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,  # so that select() and readline() see the same bytes
            env={**os.environ, **(command.environment or {})},
        )
    try:
        url = _until_ready(process, command, log)
        took = time.perf_counter() - began
        yield Server(command.name, process.pid, url, command.prefix, took)
    finally:
        _end(process)


@contextmanager
def on(cpu: int) -> Iterator[None]:
    """Whatever is started or done within runs on `cpu`, and so do its threads and children."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _until_ready(process: subprocess.Popen[bytes], command: Command, log: Path) -> str:
    url = _until_port(process, command.port) if command.port else _until_line(process, command)
    if url is None:
        tail = log.read_text(errors="replace")[-2000:]
        raise StartFailed(f"{command.name} did not start: {' '.join(command.arguments)}\n{tail}")
    return url


def _until_line(process: subprocess.Popen[bytes], command: Command) -> str | None:
    assert process.stdout is not None
    while select.select([process.stdout], [], [], START_SECONDS)[0]:
        line = process.stdout.readline()
        if found := re.search(command.ready, line.decode(errors="replace")):
            return found[1]
        if not line:
            break
    return None


def _until_port(process: subprocess.Popen[bytes], port: int) -> str | None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return f"http://127.0.0.1:{port}"
        time.sleep(0.02)
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def free_port() -> int:
    """A TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
