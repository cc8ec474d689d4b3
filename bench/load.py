"""Many small requests: the same workload on any server, and what a round of it came to."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from bench.process import Server

STRIDE = 7919  # a prime: visits every key in an order that no cache likes


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of request. `{key}` in `target` becomes `series` and a number of nine digits.

    The numbers are scattered over 0 to `keys` - 1, or count up for ever when `keys` is 0.
    A body is `size` bytes out of the file `bodies`, each time from another place of it.
    """

    method: str
    usecase: str
    target: str = "{key}"
    series: str = ""
    keys: int = 0
    size: int = 0
    bodies: Path = Path(os.devnull)

    def request(self, server: Server, count: int, bodies: bytes) -> bytes:
        """The `count`-th request, `bodies` being the content of that file."""
        number = (count * STRIDE) % self.keys if self.keys else count
        path = server.path(self.usecase, self.target).replace("{key}", f"{self.series}{number:09d}")
        head = f"{self.method} {path} HTTP/1.1\r\nHost: bench\r\n"
        if not self.size:
            return f"{head}\r\n".encode()
        start = (count * 97) % (len(bodies) - self.size)
        length = f"Content-Length: {self.size}\r\n\r\n"
        return (head + length).encode() + bodies[start : start + self.size]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the one who sends saw: bytes are bodies (wrk: heads too), latencies microseconds."""

    operations: int
    seconds: float
    size: int
    p50_us: float
    p99_us: float
    failures: int

    @classmethod
    def of(cls, latencies: Sequence[float], seconds: float, size: int, failures: int = 0) -> Self:
        """From each operation's latency in seconds."""
        ranked = sorted(latencies)
        p50, p99 = (ranked[int(len(ranked) * share)] * 1e6 for share in (0.5, 0.99))
        return cls(len(ranked), seconds, size, p50, p99, failures)


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: the traffic, the CPU seconds of server and sender, the server's memory."""

    traffic: Traffic
    server_cpu: float
    sender_cpu: float
    rss: int

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.traffic.operations / self.traffic.seconds

    @property
    def cpu_us(self) -> float:
        """The server's CPU microseconds per operation."""
        return self.server_cpu / max(self.traffic.operations, 1) * 1e6

    @property
    def bytes_per_cpu_second(self) -> float:
        return self.traffic.size / self.server_cpu if self.server_cpu else 0.0


def sample(server: Server | None, send: Callable[[], Traffic]) -> Sample:
    """Run `send` and put beside it what the server spent meanwhile, where there is one."""
    server_before, sender_before = _spent(server), _own_cpu()
    traffic = send()
    server_spent, sender_spent = _spent(server) - server_before, _own_cpu() - sender_before
    return Sample(traffic, server_spent, sender_spent, server.memory() if server else 0)


def _spent(server: Server | None) -> float:
    return server.cpu_seconds() if server else 0.0


def _own_cpu() -> float:
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


class Sender(Protocol):
    """Keeps `connections` busy with a workload for `seconds`."""

    def __call__(
        self, server: Server, workload: Workload, *, connections: int, seconds: float
    ) -> Traffic:
        """What was sent and what came of it."""
