"""wrk, the load generator that everybody knows, or what takes its place where there is none."""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import closed_loop
from bench.debian import Missing, Program, program
from bench.load import Sender, Traffic, Workload
from bench.process import Server

SCRIPT = Path(__file__).with_name("requests.lua")


def sender() -> Sender:
    """wrk, else a loop of our own."""
    try:
        return Wrk(program("wrk"))
    except Missing as missing:
        print(f"{missing}\n(a loop of our own sends instead, with more CPU for each request)")
        return closed_loop.send_for


@dataclass(frozen=True, slots=True)
class Wrk:
    """A Sender: one thread of wrk."""

    wrk: Program

    def __call__(
        self, server: Server, workload: Workload, *, connections: int, seconds: float
    ) -> Traffic:
        """Raises CalledProcessError when wrk fails, ValueError when it says nothing."""
        fields = {
            name: getattr(workload, name) for name in ("method", "series", "keys", "size", "bodies")
        }
        fields["path"] = server.path(workload.usecase, workload.target)
        arguments = [f"{name}={value}" for name, value in fields.items()]
        command = [self.wrk.path, "-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s"]
        return figures(self._output([*command, "-s", str(SCRIPT), server.url, "--", *arguments]))

    def _output(self, command: Sequence[str]) -> str:
        return subprocess.run(
            command,
            env={**os.environ, **self.wrk.environment},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout


def figures(output: str) -> Traffic:
    """The line that requests.lua printed at the end."""
    found = re.search(r"^figures ((?:\d+ ?){6})$", output, re.MULTILINE)
    if found is None:
        raise ValueError(f"wrk printed no figures:\n{output}")
    operations, duration_us, size, p50, p99, failures = map(int, found[1].split())
    return Traffic(operations, duration_us / 1e6, size, p50, p99, failures)
