"""A real gateway in a process of its own, on free ports."""

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.yaml"

BEHIND = """
apiVersion: pannier.dev/v1alpha1
kind: Bucket
metadata: {{name: main, namespace: default}}
spec: {{type: Upstream, allowPlaintext: true, endpoints: ["{url}"]}}
---
apiVersion: pannier.dev/v1alpha1
kind: Usecase
metadata: {{name: media, namespace: default}}
spec: {{bucketRef: {{name: main}}}}
"""  # of a gateway that keeps the objects of one usecase in another

_READY = re.compile(
    r"pannier-gateway ready: data (\S+)(?: socket (\S+))?(?: tls (\S+))? admin (\S+)"
)
_END_SECONDS = 10


@dataclass(frozen=True)
class Gateway:
    """Where it serves, its process, and the file that its standard error goes to."""

    url: str
    socket: Path | None
    admin_url: str
    process: subprocess.Popen[str]
    log: Path
    tls_url: str | None = None

    def stop(self) -> int:
        """Tell it to end and wait until it has; its exit status."""
        self.process.terminate()
        return self.process.wait(_END_SECONDS)

    def kill(self) -> None:
        """End it the hard way."""
        self.process.kill()
        self.process.wait(_END_SECONDS)

    def resident_bytes(self, field: str = "VmRSS") -> int:
        """`VmRSS`, or another size in /proc/PID/status: `VmHWM` is its peak."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB", status, re.MULTILINE)
        assert found, status
        return int(found[1]) * 1024

    @property
    def metrics(self) -> str:
        """The page of that name."""
        with urlopen(f"{self.admin_url}/metrics") as page:
            return str(page.read(), "utf-8")

    def samples(self, name: str, **labels: str) -> list[Sample]:
        """Those of a metric that have these labels."""
        families = text_string_to_metric_families(self.metrics)
        named = (each for family in families for each in family.samples if each.name == name)
        return [each for each in named if labels.items() <= each.labels.items()]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of these samples."""
        return sum(each.value for each in self.samples(name, **labels))

    def by_worker(self, name: str, **labels: str) -> dict[str, float]:
        """Their sums, one for each of the processes that share its ports."""
        sums: defaultdict[str, float] = defaultdict(float)
        for each in self.samples(name, **labels):
            sums[each.labels["worker"]] += each.value
        return dict(sums)

    @property
    def in_flight(self) -> float:
        """How many requests it is at."""
        return self.metric("pannier_requests_in_flight")

    def bytes_read(self) -> int:
        """What its system calls have read so far, from files and connections."""
        counters = Path(f"/proc/{self.process.pid}/io").read_text()
        return int(counters.splitlines()[0].removeprefix("rchar: "))


@contextmanager
def running_gateway(
    data_dir: Path, *, manifests: Path = QUICKSTART, extra_args: Sequence[str] = ()
) -> Iterator[Gateway]:
    """Start a gateway, wait for the line that says it is ready, and end it afterwards."""
    where = ["--manifests", str(manifests), "--data-dir", str(data_dir)]
    log = data_dir.with_name(f"{data_dir.name}.log")
    with started([*where, *extra_args], log) as gateway:
        yield gateway


@contextmanager
def started(arguments: Sequence[str], log: Path) -> Iterator[Gateway]:
    """A gateway with these arguments and free ports; what it complains of is added to `log`."""
    ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    command = [sys.executable, "-m", "pannier_gateway", *ports, *arguments]
    with (
        log.open("a") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            yield _ready(process, log)
        finally:
            process.terminate()
            process.wait(_END_SECONDS)


def _ready(process: subprocess.Popen[str], log: Path) -> Gateway:
    assert process.stdout is not None
    line = process.stdout.readline()
    match = _READY.match(line)
    assert match, f"the gateway said {line!r} and {log.read_text()}"
    data, socket, tls, admin = match.groups()
    return Gateway(data, Path(socket) if socket else None, admin, process, log, tls)
