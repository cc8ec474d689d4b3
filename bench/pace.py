"""Requests at a fixed rate, come what may: one that was late is counted from when it was due."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.closed_loop import body_end
from bench.load import Traffic, Workload
from bench.process import Server


@dataclass(frozen=True, slots=True)
class Pace:
    """A Sender of `rate` requests per second, spread evenly over its connections."""

    rate: float

    def __call__(
        self, server: Server, workload: Workload, *, connections: int, seconds: float
    ) -> Traffic:
        """Raises ConnectionError where one fails."""
        began = time.perf_counter()
        total = int(self.rate * seconds)

        def share(first: int) -> list[float]:
            with socket.create_connection(server.address) as connection:
                due = ((n, began + n / self.rate) for n in range(first, total, connections))
                return list(_latencies(connection, server, workload, due))

        with ThreadPoolExecutor(connections) as threads:
            latencies = [each for part in threads.map(share, range(connections)) for each in part]
        return Traffic.of(latencies, time.perf_counter() - began, 0)


def _latencies(
    connection: socket.socket,
    server: Server,
    workload: Workload,
    due: Iterator[tuple[int, float]],
) -> Iterator[float]:
    bodies = workload.bodies.read_bytes()
    for number, at in due:
        request = workload.request(server, number, bodies)
        early = at - time.perf_counter()
        if early > 0:
            time.sleep(early)
        since = time.perf_counter() if early > 0 else at  # oversleeping is no fault of the server
        connection.sendall(request)
        _answered(connection, server)
        yield time.perf_counter() - since


def _answered(connection: socket.socket, server: Server) -> None:
    answer = b""
    while not (end := body_end(answer)) or len(answer) < end:
        if not (piece := connection.recv(1 << 16)):
            raise ConnectionError(f"{server.name} hung up in an answer: {answer[:200]!r}")
        answer += piece
    if answer[9:10] != b"2":
        raise ConnectionError(f"{server.name}: {answer[:300]!r}")
